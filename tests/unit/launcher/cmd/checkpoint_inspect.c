/* muster inspect on checkpoints, runs and data sets, whole and damaged: its text, its JSON, its exit. */
#include "dataset/store/dataset.h"
#include "launcher/cmd/cmd.h"
#include "tests/unit/common/checkpoint/checkpoint_help.h"
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static char *dir;
static mu_buf_t log_text = MU_BUF_INIT, output = MU_BUF_INIT;

static int begin(void **state)
{
    (void)state;
    dir = scratch_dir();
    mu_log_sink_set(keep_line, &log_text);
    return 0;
}

static int end(void **state)
{
    (void)state;
    mu_log_sink_set(NULL, NULL);
    mu_buf_release(&log_text);
    mu_buf_release(&output);
    mu_remove_tree(dir);
    free(dir);
    return 0;
}

/* Runs the verb with stdout in `output`. */
static mu_status_t inspect(const char *path, const char *one, const char *two)
{
    char *argv[] = {(char[]){"inspect"}, mu_strdup(path), one ? mu_strdup(one) : NULL,
                    two ? mu_strdup(two) : NULL};
    int argc = 2 + (one != NULL) + (two != NULL);
    char *file = mu_format("%s.out", dir);
    mu_buf_clear(&log_text);
    mu_buf_clear(&output);
    fflush(stdout);
    int keep = dup(STDOUT_FILENO), fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(keep >= 0 && fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
    mu_status_t status = mu_cmd_inspect(argc, argv);
    fflush(stdout);
    dup2(keep, STDOUT_FILENO);
    close(keep);
    close(fd);
    assert_int_equal(mu_file_read(file, 1 << 24, &output), MU_OK);
    unlink(file);
    free(file);
    for (int i = 1; i < argc; i++)
        free(argv[i]);
    return status;
}

static json_t *json_of_output(void)
{
    json_error_t error;
    json_t *root = json_loadb(output.data, output.len, 0, &error);
    if (!root)
        fail_msg("not JSON: %s in %s", error.text, output.data);
    return root;
}

static void says(const char *text)
{
    if (!strstr(output.data, text))
        fail_msg("no '%s' in: %s", text, output.data);
}

static char *save_at(int64_t step)
{
    save_t save = {
        .dir = dir, .model = tiny_model(), .tp = 2, .dp = 2, .step = step, .salt = 1, .attempt = 3};
    assert_int_equal(save_checkpoint(&save), MU_OK);
    return mu_format("%s/step-%08lld", dir, (long long)step);
}

static void flip(const char *checkpoint, const char *name, off_t at)
{
    char byte = 0, *path = mu_path_join(checkpoint, name);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 4;
    assert_true(pwrite(fd, &byte, 1, at) == 1 && close(fd) == 0);
    free(path);
}

static void a_checkpoint(void **state)
{
    (void)state;
    char *path = save_at(100);
    mu_model_t model = tiny_model();
    assert_int_equal(inspect(path, NULL, NULL), MU_OK);
    says("valid by manifest, sizes and headers");
    says("step         100 of run run-1, attempt 3, saved 2023-11-14 22:13:20 UTC by muster ");
    says("written by tp 2 x dp 2");
    assert_int_equal(inspect(path, "--json", "--verify"), MU_OK);
    json_t *root = json_of_output();
    assert_string_equal(json_string_value(json_object_get(root, "kind")), "checkpoint");
    assert_true(json_is_true(json_object_get(root, "valid")) &&
                json_is_true(json_object_get(root, "verified")));
    assert_int_equal(json_integer_value(json_object_get(root, "parameters")), mu_model_parameters(&model));
    assert_int_equal(json_array_size(json_object_get(root, "tensors")), mu_model_tensor_count(&model));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "layout"), "dp")), 2);
    assert_true(json_real_value(json_object_get(root, "loss")) == 0.1 + 0.2);
    assert_true(json_is_null(json_object_get(root, "valid_loss")));
    json_decref(root);
    free(path);
}

static void a_damaged_checkpoint(void **state)
{
    (void)state;
    char *path = save_at(100);
    flip(path, "shard-tp01-dp01.h5", 6000);
    assert_int_equal(inspect(path, "--json", NULL), MU_OK); /* sizes and headers are as they were */
    assert_int_equal(inspect(path, "--verify", NULL), MU_DATA);
    says("damaged");
    says("run run-1"); /* what it holds is still said */
    assert_non_null(strstr(log_text.data, "'shard-tp01-dp01.h5' is damaged"));
    assert_int_equal(inspect(path, "--json", "--verify"), MU_DATA);
    json_t *root = json_of_output();
    assert_true(json_is_false(json_object_get(root, "valid")));
    assert_non_null(strstr(json_string_value(json_object_get(root, "problem")), "'shard-tp01-dp01.h5'"));
    json_decref(root);

    flip(path, "manifest.json", 3);
    assert_int_equal(inspect(path, "--json", NULL), MU_DATA);
    root = json_of_output();
    assert_true(json_is_false(json_object_get(root, "valid")) && !json_object_get(root, "run_id"));
    json_decref(root);
    free(path);
}

static void a_run(void **state)
{
    (void)state;
    char *old = save_at(100), *new = save_at(200);
    assert_int_equal(inspect(dir, NULL, NULL), MU_OK);
    says("2 checkpoints, newest first");
    assert_true(strstr(output.data, "step-00000200") < strstr(output.data, "step-00000100"));
    flip(new, "shard-tp00-dp00.h5", 0);
    assert_int_equal(inspect(dir, "--json", NULL), MU_DATA);
    json_t *root = json_of_output(), *list = json_object_get(root, "checkpoints");
    assert_true(json_is_false(json_object_get(json_array_get(list, 0), "valid")));
    assert_true(json_is_true(json_object_get(json_array_get(list, 1), "valid")));
    json_decref(root);
    flip(old, "shard-tp00-dp00.h5", 0);
    assert_int_equal(inspect(dir, NULL, NULL), MU_NOVALID);
    says("step-00000100    damaged  'shard-tp00-dp00.h5' does not begin");
    free(old);
    free(new);
}

static void a_run_without_checkpoints(void **state)
{
    (void)state;
    char *checkpoints = mu_path_join(dir, "checkpoints");
    assert_int_equal(inspect(dir, NULL, NULL), MU_NOINPUT);
    assert_int_equal(mu_make_dirs(checkpoints, 0), MU_OK);
    assert_int_equal(inspect(dir, NULL, NULL), MU_OK);
    says("0 checkpoints");
    free(checkpoints);
}

/* The smallest .idx there is: two sequences of 3 and 1 tokens of two bytes. */
static void a_data_set(void **state)
{
    (void)state;
    static const unsigned char idx[] = "MMIDIDX\0\0\1\0\0\0\0\0\0\0\x08\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"
                                       "\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0"
                                       "\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0";
    char *prefix = mu_path_join(dir, "text_document"), *file = mu_format("%s.idx", prefix);
    assert_int_equal(mu_file_replace(file, idx, sizeof idx - 1, 0600), MU_OK);
    free(file);
    file = mu_format("%s.bin", prefix);
    assert_int_equal(mu_file_replace(file, "\1\0\2\0\3\0\4\0", 8, 0600), MU_OK);
    assert_int_equal(inspect(prefix, "--verify", "--json"), MU_OK);
    json_t *root = json_of_output(), *train = json_object_get(json_object_get(root, "splits"), "train");
    assert_string_equal(json_string_value(json_object_get(root, "kind")), "dataset");
    assert_int_equal(json_integer_value(json_object_get(train, "tokens")), 4);
    json_decref(root);
    assert_int_equal(truncate(file, 7), 0);
    assert_int_equal(inspect(prefix, NULL, NULL), MU_DATA);
    free(file);
    free(prefix);
}

static void bad_commands(void **state)
{
    (void)state;
    assert_int_equal(inspect("--help", NULL, NULL), MU_OK);
    says("usage: muster inspect");
    assert_int_equal(inspect("--verify", NULL, NULL), MU_USAGE);
    assert_int_equal(inspect("a", "b", NULL), MU_USAGE);
    assert_int_equal(inspect("a", "--fast", NULL), MU_USAGE);
    assert_int_equal(inspect("/no/such/thing", NULL, NULL), MU_NOINPUT);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_checkpoint), CASE(a_damaged_checkpoint), CASE(a_run), CASE(a_run_without_checkpoints),
        CASE(a_data_set),   CASE(bad_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
