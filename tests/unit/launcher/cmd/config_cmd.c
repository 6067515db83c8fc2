/* `muster config`: what goes to stdout, what is said, and the exit code. */
#include "tests/unit/common/config/config_test.h"
#include "launcher/cmd/cmd.h"
#include <fcntl.h>
#include <jansson.h>

static mu_buf_t printed = MU_BUF_INIT;

/* Runs `muster LINE`, with stdout kept in `printed`. */
static mu_status_t run(const char *line)
{
    char *argv[16], *copy = mu_strdup(line), *rest = copy;
    int argc = 0;
    for (char *word; (word = strsep(&rest, " "));)
        argv[argc++] = word;
    fflush(stdout);
    int saved = dup(STDOUT_FILENO), file = open("stdout", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(saved >= 0 && file >= 0);
    dup2(file, STDOUT_FILENO);
    hear();
    mu_status_t status = mu_cmd_config(argc, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(file);
    free(copy);
    mu_buf_clear(&printed);
    assert_int_equal(mu_file_read("stdout", 1 << 20, &printed), MU_OK);
    return status;
}

static void assert_printed(const char *what)
{
    if (!strstr(printed.data, what))
        fail_msg("wanted \"%s\" in:\n%s", what, printed.data);
}

static void values_come_with_their_origin(void **state)
{
    (void)state;
    write_text("small.yml", SMALL "train_batch_size: 64\nnum_workers: 3\n");
    assert_int_equal(run("config small seed=5 --workers 4"), MU_OK);
    assert_printed("# 4 workers: tp 1 x dp 4; a step is 64 samples = 4 x 4 x 4\n");
    assert_printed("\nnum_layers: 4  # small.yml:1:1\n");
    assert_printed("\nseed: 5  # command line\n");
    assert_printed("\ngradient_accumulation_steps: 4  # inferred\n");
    assert_printed("\n  params:\n    lr: 0.001  # small.yml:9:34\n");
    assert_printed("\nmuster:\n  ready_timeout: 300.0  # default\n");
    assert_said("accepted without effect: num_workers");

    mu_config_t *back; /* it is a configuration itself */
    assert_int_equal(mu_config_load_text("printed", printed.data, &back), MU_OK);
    assert_int_equal(back->accumulation, 4);
    mu_config_free(back);
}

static void json_stands_alone_on_stdout(void **state)
{
    (void)state;
    json_error_t error;
    write_text("small.yml", SMALL);
    assert_int_equal(run("config --json small.yml"), MU_OK);
    json_t *top = json_loads(printed.data, 0, &error);
    assert_non_null(top);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(top, "num_layers"), "value")), 4);
    assert_null(json_object_get(top, "dp"));
    json_decref(top);
}

static void a_part_is_shown_but_fits_no_world(void **state)
{
    (void)state;
    write_text("part.yml", "temperature: 0.5\n");
    assert_int_equal(run("config part.yml"), MU_OK);
    assert_printed("temperature: 0.5  # part.yml:1:1");
    assert_said("a part of a configuration: a run also needs num_layers");
    assert_int_equal(run("config part.yml --workers 1"), MU_CONFIG);
    assert_int_equal(printed.len, 0);
}

static void bad_command_lines_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *line, *said;
        mu_status_t status;
    } row[] = {
        {"config", "no CONFIG given", MU_USAGE},
        {"config seed=1", "no CONFIG given", MU_USAGE},
        {"config a.yml --worker 2", "did you mean --workers", MU_USAGE},
        {"config a.yml --workers", "--workers needs a value", MU_USAGE},
        {"config a.yml --workers=0", "--workers '0'", MU_USAGE},
        {"config a.yml --workers x", "--workers 'x'", MU_USAGE},
        {"config absent.yml", "absent.yml: cannot open", MU_NOINPUT},
        {"config bad.yml", "bad.yml:1:1: unknown key 'sed': did you mean seed?", MU_CONFIG},
        {"config small.yml --workers 2 model_parallel_size=3",
         "exceeds the 2 workers: start more (--workers, slots of hosts) or lower it; what fits: "
         "tp 1 x dp 2, tp 2 x dp 1",
         MU_CONFIG},
    };
    write_text("bad.yml", "sed: 1\n");
    write_text("small.yml", SMALL);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        assert_int_equal(run(row[i].line), row[i].status);
        assert_said(row[i].said);
        assert_int_equal(printed.len, 0);
    }
}

static void help_and_keys_need_no_file(void **state)
{
    (void)state;
    assert_int_equal(run("config --help"), MU_OK);
    assert_printed("usage: muster config");
    assert_int_equal(run("config --keys"), MU_OK);
    assert_printed("\nmuster.ready_timeout ");
    mu_buf_release(&printed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_with_their_origin),     cmocka_unit_test(json_stands_alone_on_stdout),
        cmocka_unit_test(a_part_is_shown_but_fits_no_world), cmocka_unit_test(bad_command_lines_are_told),
        cmocka_unit_test(help_and_keys_need_no_file),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
