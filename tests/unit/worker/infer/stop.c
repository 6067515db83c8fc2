/* Texts that end what a model writes. */
#include "worker/infer/stop.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void assert_visible(const mu_words_t *stops, const char *text, bool end, size_t wanted,
                           bool wanted_hit)
{
    bool hit;
    assert_int_equal(mu_stop_visible(stops, text, strlen(text), end, &hit), wanted);
    assert_int_equal(hit, wanted_hit);
}

static void the_first_stop_counts(void **state)
{
    char a[] = "END", b[] = "\n\n", none[] = "";
    char *items[] = {a, b, none};
    mu_words_t stops = {items, 3}, no = {NULL, 0};
    (void)state;
    assert_visible(&no, "some text", false, 9, false);
    assert_visible(&stops, "some text", false, 9, false);
    assert_visible(&stops, "a END b\n\n", false, 2, true);
    assert_visible(&stops, "a\n\n END", false, 1, true);
    assert_visible(&stops, "", false, 0, false);
    assert_visible(&stops, "END", false, 0, true);
}

static void what_may_begin_one_is_held_back(void **state)
{
    char a[] = "END", b[] = "\n\n";
    char *items[] = {a, b};
    mu_words_t stops = {items, 2};
    (void)state;
    assert_visible(&stops, "the E", false, 4, false);
    assert_visible(&stops, "the EN", false, 4, false);
    assert_visible(&stops, "the ENE", false, 6, false);
    assert_visible(&stops, "line\n", false, 4, false);
    assert_visible(&stops, "the EN", true, 6, false); /* nothing follows */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_stop_counts),
        cmocka_unit_test(what_may_begin_one_is_held_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
