/* The table of environment variables: each name once, a row each in docs/environment.md, and which of them travel. */
#include "common/launch_env.h"
#include "common/buf.h"
#include "common/file.h"
#include "launcher/mpi/mpirun.h"
#include "worker/guard/guard_impl.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

static void every_name_once(void **state)
{
    (void)state;
    int n = 0;
    for (const mu_env_row_t *row = mu_launch_env; row->name; row++, n++) {
        assert_int_equal(strncmp(row->name, "MUSTER_", 7), 0);
        for (const mu_env_row_t *other = row + 1; other->name; other++)
            assert_string_not_equal(row->name, other->name);
    }
    assert_true(n > 10);
}

/* A row of the manual: "| `NAME` | readers | meaning |", with as many rows as the table has. */
static void each_has_its_row_in_the_manual(void **state)
{
    (void)state;
    mu_buf_t manual = MU_BUF_INIT;
    assert_int_equal(mu_file_read(MU_SOURCE_DIR "/docs/environment.md", 1 << 20, &manual), MU_OK);
    int rows = 0, found = 0;
    for (const char *at = manual.data; (at = strstr(at, "\n| `MUSTER_")); at++)
        found++;
    for (const mu_env_row_t *row = mu_launch_env; row->name; row++, rows++) {
        char *start = mu_format("\n| `%s` | ", row->name);
        const char *line = strstr(manual.data, start);
        if (!line)
            fail_msg("docs/environment.md has no row for %s", row->name);
        const char *end = strchr(line + 1, '\n');
        char *text = mu_format("%.*s", (int)(end - line), line);
        assert_int_equal(strstr(text, "| secret: ") != NULL, row->kind == MU_ENV_SECRET);
        free(text);
        free(start);
    }
    assert_int_equal(found, rows);
    mu_buf_release(&manual);
}

/* mpirun takes a user's variable along exactly if its row says so; what the launcher makes it sets itself. */
static void mpirun_passes_what_the_table_says(void **state)
{
    (void)state;
    for (const mu_env_row_t *row = mu_launch_env; row->name; row++)
        assert_int_equal(mu_env_allowed(row->name, strlen(row->name), true), row->kind == MU_ENV_PASSED);
}

static void the_rank_has_no_secret(void **state)
{
    (void)state;
    for (const mu_env_row_t *row = mu_launch_env; row->name; row++)
        setenv(row->name, "value", 1);
    mu_guard_env_scrub();
    for (const mu_env_row_t *row = mu_launch_env; row->name; row++) {
        assert_int_equal(getenv(row->name) == NULL, row->kind == MU_ENV_SECRET);
        unsetenv(row->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_once),
        cmocka_unit_test(each_has_its_row_in_the_manual),
        cmocka_unit_test(mpirun_passes_what_the_table_says),
        cmocka_unit_test(the_rank_has_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
