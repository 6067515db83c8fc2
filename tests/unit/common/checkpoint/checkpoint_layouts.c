/* Written in one layout, read in another: every bit comes back, each element is stored once, h5py reads it
 * too. */
#include "tests/unit/common/checkpoint/checkpoint_help.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const int layouts[][2] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}, {4, 1},
                                 {1, 3}, {4, 3}, {2, 5}, {1, 7}, {2, 23}};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static void parts_cover_each_element_once(void **state)
{
    (void)state;
    mu_model_t m = small_model();
    int tensors = mu_model_tensor_count(&m);
    for (int l = 0; l < LAYOUTS; l++) {
        int tp = layouts[l][0], dp = layouts[l][1];
        for (int i = 0; i < tensors; i++) {
            mu_tensor_t t;
            mu_model_tensor(&m, i, &t);
            size_t n = (size_t)(t.shape[0] * t.shape[1]);
            char *seen = mu_calloc(n, 1);
            for (int w = 0; w < tp * dp; w++) {
                int count;
                mu_slice_t *list = mu_slices_of(&m, tp, dp, w % tp, w / tp, false, &count);
                for (int k = 0; k < count; k++)
                    for (int64_t r = 0; list[k].tensor == i && r < list[k].count[0]; r++)
                        for (int64_t c = 0; c < list[k].count[1]; c++)
                            seen[(list[k].offset[0] + r) * t.shape[1] + list[k].offset[1] + c]++;
                free(list);
            }
            for (size_t e = 0; e < n; e++)
                assert_int_equal(seen[e], 1);
            free(seen);
        }
    }
}

static void any_layout_reads_any_other(void **state)
{
    (void)state;
    char *dir = scratch_dir();
    for (int a = 0; a < LAYOUTS; a++) {
        save_t save = {.dir = dir,
                       .model = small_model(),
                       .tp = layouts[a][0],
                       .dp = layouts[a][1],
                       .step = a,
                       .salt = 77 + a};
        mu_checkpoint_t *checkpoint;
        assert_int_equal(save_checkpoint(&save), MU_OK);
        assert_int_equal(mu_checkpoint_newest(dir, INT64_MAX, &checkpoint), MU_OK);
        assert_non_null(checkpoint);
        assert_int_equal(mu_checkpoint_manifest(checkpoint)->info.step, a);
        assert_int_equal(mu_checkpoint_match(checkpoint, &save.model), MU_OK);
        assert_int_equal(mu_checkpoint_verify(checkpoint, 0, 1), MU_OK);
        for (int tp = 1; tp <= 4; tp *= 2)
            for (int rank = 0; rank < tp; rank++)
                assert_int_equal(compare_rank(checkpoint, &save.model, save.salt, tp, rank, true), MU_OK);
        mu_checkpoint_close(checkpoint);
    }
    mu_remove_tree(dir);
    free(dir);
}

static void any_rectangle_can_be_read(void **state)
{
    (void)state;
    char *dir = scratch_dir();
    save_t save = {.dir = dir, .model = small_model(), .tp = 4, .dp = 3, .step = 5, .salt = 9};
    mu_checkpoint_t *checkpoint;
    assert_int_equal(save_checkpoint(&save), MU_OK);
    assert_int_equal(mu_checkpoint_newest(dir, INT64_MAX, &checkpoint), MU_OK);
    srand(1);
    for (int k = 0; k < 2000; k++) {
        mu_tensor_t t;
        int index = rand() % mu_model_tensor_count(&save.model);
        mu_model_tensor(&save.model, index, &t);
        int64_t offset[2], count[2];
        for (int d = 0; d < 2; d++) {
            offset[d] = rand() % t.shape[d];
            count[d] = 1 + rand() % (t.shape[d] - offset[d]);
        }
        assert_int_equal(
            compare_part(checkpoint, save.salt, index, t.name, (mu_state_t)(k % 3), offset, count), MU_OK);
    }
    mu_checkpoint_close(checkpoint);
    mu_remove_tree(dir);
    free(dir);
}

static void slices_larger_than_the_staging_come_in_pieces(void **state)
{
    (void)state;
    char *dir = scratch_dir();
    save_t save = {
        .dir = dir, .model = small_model(), .tp = 1, .dp = 1, .step = 1, .salt = 3, .weights_only = true};
    save.model.hidden = 1020; /* no piece ends with a slice */
    save.model.vocab = 5000;  /* 20 MB: three pieces to write, five to read */
    save.model.layers = 1;
    mu_checkpoint_t *checkpoint;
    assert_int_equal(save_checkpoint(&save), MU_OK);
    assert_int_equal(mu_checkpoint_newest(dir, INT64_MAX, &checkpoint), MU_OK);
    assert_int_equal(compare_rank(checkpoint, &save.model, 3, 2, 1, false), MU_OK);
    mu_checkpoint_close(checkpoint);
    mu_remove_tree(dir);
    free(dir);
}

static void what_is_not_there_is_refused(void **state)
{
    (void)state;
    char *dir = scratch_dir();
    float out[64];
    save_t save = {.dir = dir, .model = small_model(), .tp = 1, .dp = 1, .step = 1, .weights_only = true};
    mu_checkpoint_t *checkpoint;
    mu_buf_t log = MU_BUF_INIT;
    assert_int_equal(save_checkpoint(&save), MU_OK);
    assert_int_equal(mu_checkpoint_newest(dir, INT64_MAX, &checkpoint), MU_OK);
    mu_log_sink_set(keep_line, &log);
    const int64_t zero[2] = {0, 0}, one[2] = {1, 1}, many[2] = {21, 1}, negative[2] = {-1, 0},
                  huge[2] = {INT64_MAX, 0};
    const char *bias = "final_layer_norm.bias";
    assert_int_equal(mu_checkpoint_read(checkpoint, bias, MU_STATE_WEIGHT, zero, one, out), MU_OK);
    assert_int_equal(mu_checkpoint_read(checkpoint, bias, MU_STATE_EXP_AVG, zero, one, out), MU_DATA);
    assert_int_equal(mu_checkpoint_read(checkpoint, bias, MU_STATE_WEIGHT, zero, many, out), MU_DATA);
    assert_int_equal(mu_checkpoint_read(checkpoint, bias, MU_STATE_WEIGHT, negative, one, out), MU_DATA);
    assert_int_equal(mu_checkpoint_read(checkpoint, bias, MU_STATE_WEIGHT, huge, one, out), MU_DATA);
    assert_int_equal(mu_checkpoint_read(checkpoint, "no.such", MU_STATE_WEIGHT, zero, one, out), MU_DATA);
    mu_model_t wider = save.model;
    wider.ffn = 48;
    wider.tied_head = true;
    assert_int_equal(mu_checkpoint_match(checkpoint, &wider), MU_CONFIG);
    mu_log_sink_set(NULL, NULL);
    assert_non_null(strstr(log.data, "saved without optimizer state"));
    assert_non_null(
        strstr(log.data, "'layers.0.mlp.dense_h_to_4h.weight' is 44 x 20, the model's is 48 x 20"));
    assert_non_null(strstr(log.data, "'embed_out.weight', which the model has not"));
    mu_buf_release(&log);
    mu_checkpoint_close(checkpoint);
    mu_remove_tree(dir);
    free(dir);
}

static void what_the_training_knew_comes_back(void **state)
{
    (void)state;
    char *dir = scratch_dir(), *tokenizer = mu_path_join(dir, "t.json");
    save_t save = {.dir = dir, .model = small_model(), .tp = 2, .dp = 1, .step = 100, .attempt = 3};
    save.tokenizer = tokenizer;
    mu_checkpoint_t *checkpoint;
    char digest[MU_DIGEST_HEX];
    assert_int_equal(mu_file_replace(tokenizer, "{}\n", 3, 0600), MU_OK);
    mu_digest_bytes("{}\n", 3, digest);
    assert_int_equal(save_checkpoint(&save), MU_OK);
    assert_int_equal(mu_checkpoint_newest(dir, INT64_MAX, &checkpoint), MU_OK);
    const mu_checkpoint_info_t *info = &mu_checkpoint_manifest(checkpoint)->info;
    mu_checkpoint_info_t want = save_info(&save);
    assert_string_equal(info->run_id, want.run_id);
    assert_string_equal(info->config, want.config);
    assert_string_equal(info->data_version, want.data_version);
    assert_string_equal(info->tokenizer_digest, digest);
    assert_string_equal(info->schedule.style, want.schedule.style);
    assert_string_equal(info->environment.libraries, want.environment.libraries);
    assert_true(info->loss == want.loss && isnan(info->valid_loss) && info->schedule.lr == want.schedule.lr);
    assert_int_equal(info->attempt, 3);
    assert_int_equal(info->samples, 400);
    assert_true(info->order_samples[0] == 480 && info->order_samples[1] == 24);
    assert_int_equal(info->parent_step, -1);
    assert_memory_equal(&info->loss_scale, &want.loss_scale, sizeof want.loss_scale);
    assert_int_equal(info->seed, 1234);
    assert_int_equal(info->schedule.train_iters, 120);
    mu_checkpoint_info_release(&want);
    mu_checkpoint_close(checkpoint);
    mu_remove_tree(dir);
    free(tokenizer);
    free(dir);
}

typedef struct reading {
    const mu_checkpoint_t *checkpoint;
    const mu_model_t *model;
    mu_status_t status;
} reading_t;

static void *read_all(void *arg)
{
    reading_t *r = arg;
    for (int round = 0; round < 5 && r->status == MU_OK; round++)
        r->status = compare_rank(r->checkpoint, r->model, 4, 2, round % 2, true);
    return NULL;
}

static void threads_may_share_an_open_checkpoint(void **state)
{
    (void)state;
    char *dir = scratch_dir();
    save_t save = {.dir = dir, .model = small_model(), .tp = 2, .dp = 3, .step = 1, .salt = 4};
    mu_checkpoint_t *checkpoint;
    pthread_t threads[4];
    reading_t readings[4];
    assert_int_equal(save_checkpoint(&save), MU_OK);
    assert_int_equal(mu_checkpoint_newest(dir, INT64_MAX, &checkpoint), MU_OK);
    for (int i = 0; i < 4; i++) {
        readings[i] = (reading_t){checkpoint, &save.model, MU_OK};
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &readings[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readings[i].status, MU_OK);
    }
    mu_checkpoint_close(checkpoint);
    mu_remove_tree(dir);
    free(dir);
}

/* The oracle: libhdf5 through h5py sees the same numbers, at the offsets that the attributes say. */
static void h5py_reads_the_same_numbers(void **state)
{
    (void)state;
    static const char script[] =
        "import sys, glob, h5py, numpy as np\n"
        "M = (1 << 64) - 1\n"
        "def bits(salt, tensor, state, row, column):\n"
        "    x = (salt * 0x9e3779b97f4a7c15 + tensor * 0xbf58476d1ce4e5b9 + state * 0x94d049bb133111eb\n"
        "         + row * 0xd6e8feb86659fd93 + column) & M\n"
        "    x = ((x ^ (x >> 29)) * 0xbf58476d1ce4e5b9) & M\n"
        "    x = ((x ^ (x >> 32)) * 0x94d049bb133111eb) & M\n"
        "    return x >> 32\n"
        "names, total = sys.argv[2].split(), 0\n"
        "for path in glob.glob(sys.argv[1] + '/*.h5'):\n"
        "    f = h5py.File(path, 'r')\n"
        "    assert f.attrs['format'] == b'muster-checkpoint' and f.attrs['step'][0] == 8\n"
        "    for s, state in enumerate(['weight', 'exp_avg', 'exp_avg_sq']):\n"
        "        for name, d in f[state].items():\n"
        "            o, g = d.attrs['offset'], d.attrs['global_shape']\n"
        "            assert all(o + d.shape <= g) and d.dtype == '<f4'\n"
        "            v = d[()].view('<u4').reshape(d.shape[0], -1)\n"
        "            for (r, c), x in np.ndenumerate(v):\n"
        "                assert x == bits(6, names.index(name), s, int(o[0]) + r, (int(o[1]) if len(o) > 1 "
        "else 0) + c)\n"
        "            total += v.size\n"
        "assert total == int(sys.argv[3]), total\n";
    if (system("python3 -c 'import h5py, numpy' 2>/dev/null || /usr/bin/python3 -c 'import h5py, numpy' "
               "2>/dev/null")) {
        print_message("skipped: no python3 with h5py\n");
        skip();
    }
    char *dir = scratch_dir();
    save_t save = {.dir = dir, .model = small_model(), .tp = 2, .dp = 3, .step = 8, .salt = 6};
    assert_int_equal(save_checkpoint(&save), MU_OK);
    char *file = mu_path_join(dir, "check.py");
    assert_int_equal(mu_file_replace(file, script, sizeof script - 1, 0600), MU_OK);
    mu_buf_t command = MU_BUF_INIT;
    mu_buf_addf(&command,
                "p=/usr/bin/python3; python3 -c 'import h5py, numpy' 2>/dev/null && p=python3; "
                "$p %s %s/step-00000008 '",
                file, dir);
    for (int i = 0; i < mu_model_tensor_count(&save.model); i++) {
        mu_tensor_t t;
        mu_model_tensor(&save.model, i, &t);
        mu_buf_addf(&command, "%s ", t.name);
    }
    mu_buf_addf(&command, "' %lld", (long long)(3 * mu_model_parameters(&save.model)));
    assert_int_equal(system(command.data), 0);
    mu_buf_release(&command);
    mu_remove_tree(dir);
    free(file);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_cover_each_element_once),
        cmocka_unit_test(any_layout_reads_any_other),
        cmocka_unit_test(any_rectangle_can_be_read),
        cmocka_unit_test(slices_larger_than_the_staging_come_in_pieces),
        cmocka_unit_test(what_is_not_there_is_refused),
        cmocka_unit_test(what_the_training_knew_comes_back),
        cmocka_unit_test(threads_may_share_an_open_checkpoint),
        cmocka_unit_test(h5py_reads_the_same_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
