/* The page's record of the last collective, read by one thread while another writes: never a mixture. */
#include "worker/guard/page.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

enum { WRITES = 200000 };

static void *write_many(void *arg)
{
    mu_page_t *page = arg;
    char name[24];
    for (uint64_t i = 1; i <= WRITES; i++) {
        snprintf(name, sizeof name, "c%llu", (unsigned long long)i);
        mu_page_collective_begin(page, name, i, name, -(int64_t)i);
        mu_page_collective_end(page);
    }
    return NULL;
}

static void a_record_is_read_whole(void **state)
{
    (void)state;
    mu_page_t *page = mu_page_new();
    mu_collective_t last = {0};
    pthread_t writer;
    assert_non_null(page);
    assert_int_equal(pthread_create(&writer, NULL, write_many, page), 0);
    while (last.sequence < WRITES) {
        char name[24] = "";
        if (!mu_page_collective(page, &last))
            continue; /* the writer lost its core in the middle */
        if (last.sequence > 0)
            snprintf(name, sizeof name, "c%llu", (unsigned long long)last.sequence);
        assert_string_equal(last.comm, name);
        assert_string_equal(last.operation, name);
        assert_true(last.bytes == -(int64_t)last.sequence);
    }
    pthread_join(writer, NULL);
    assert_int_equal(atomic_load(&page->progress), 2 * WRITES);
    munmap(page, sizeof *page);
}

static void a_name_is_cut_to_its_room(void **state)
{
    (void)state;
    mu_page_t *page = mu_page_new();
    mu_collective_t last;
    mu_page_collective_begin(page, "a name that is too long", 7, "reduce", 3);
    mu_page_collective(page, &last);
    assert_string_equal(last.comm, "a name that is ");
    assert_int_equal(atomic_load(&page->in_collective), 1);
    mu_page_collective_begin(NULL, "x", 1, "y", 1); /* no guard: nothing to tell */
    munmap(page, sizeof *page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read_whole),
        cmocka_unit_test(a_name_is_cut_to_its_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
