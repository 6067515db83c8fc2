/* Pages of docs/ in texts: those of this source tree by their path, others by their name. */
#include "common/pages.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char *expanded(const char *text)
{
    mu_buf_t out = MU_BUF_INIT;
    mu_pages_expand(text, &out);
    return mu_buf_detach(&out);
}

static void a_text_without_a_page_stays(void **state)
{
    (void)state;
    static const char *const text[] = {"", "docs/", "docs/.m", "see docs/no page.md",
                                       "docs/nowhere-at-all.md, and"};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        char *out = expanded(text[i]);
        assert_string_equal(out, text[i]);
        free(out);
    }
    assert_false(mu_pages_named("see docs/"));
    assert_true(mu_pages_named("see " MU_PAGE("plan")));
}

static void a_page_is_named_by_a_path_that_is_there(void **state)
{
    (void)state;
    char *out = expanded("a " MU_PAGE("exit-codes") ", b"), *path = out + 2;
    if (*path != '/') { /* built apart from the sources */
        free(out);
        skip();
    }
    size_t n = strlen(path) - strlen(", b");
    assert_string_equal(path + n, ", b");
    path[n] = '\0';
    assert_int_equal(access(path, R_OK), 0);
    assert_null(strstr(path, "/../"));
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_without_a_page_stays),
        cmocka_unit_test(a_page_is_named_by_a_path_that_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
