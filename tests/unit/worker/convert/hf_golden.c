/* Imported models against what Transformers computed with them in double precision (tests/data/hf, which
 * tests/parity/golden.py wrote), and exports against the files that were imported. */
#include "tests/unit/worker/convert/hf_help.h"
#include "worker/infer/inference_model.h"
#include "worker/convert/safetensors.h"

#include <jansson.h>
#include <math.h>

static const char *const models[] = {"neox",         "neox-sequential", "gpt2",  "llama",
                                     "llama-biased", "mistral",         "qwen2", "qwen3"};
enum { MODELS = sizeof models / sizeof *models };

typedef struct expected {
    json_t *root;
    int64_t rows, n; /* n: inputs of a row */
    int32_t *tokens;
} expected_t;

static void load_expected(const char *name, expected_t *e)
{
    char *path = mu_format("%s/%s/expected.json", HF_DATA, name);
    e->root = json_load_file(path, 0, NULL);
    free(path);
    assert_non_null(e->root);
    json_t *tokens = json_object_get(e->root, "tokens");
    e->rows = json_integer_value(json_object_get(e->root, "rows"));
    e->n = (int64_t)json_array_size(tokens) / e->rows - 1;
    e->tokens = mu_calloc(json_array_size(tokens), sizeof *e->tokens);
    for (size_t i = 0; i < json_array_size(tokens); i++)
        e->tokens[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
}

/* Imports tests/data/hf/NAME into NAME.ckpt, once. */
static char *imported(const char *name)
{
    char *from = mu_format("%s/%s", HF_DATA, name), *to = mu_format("%s.ckpt", name);
    if (!mu_is_dir(to))
        assert_int_equal(import_dir(from, to), MU_OK);
    free(from);
    return to;
}

static void check_logits(mu_net_t *net, const expected_t *e, const char *name)
{
    const json_t *want = json_object_get(e->root, "logits");
    size_t count = json_array_size(want);
    float *got = mu_calloc(count, sizeof *got);
    int32_t *inputs = mu_calloc((size_t)(e->rows * e->n), sizeof *inputs);
    double off = 0, size = 0;
    assert_int_equal(count, e->rows * e->n * mu_net_model(net)->vocab);
    for (int64_t r = 0; r < e->rows; r++)
        memcpy(inputs + r * e->n, e->tokens + r * (e->n + 1), (size_t)e->n * sizeof *inputs);
    assert_int_equal(mu_net_logits(net, inputs, got), MU_OK);
    for (size_t i = 0; i < count; i++) {
        double w = json_number_value(json_array_get(want, i));
        off += ((double)got[i] - w) * ((double)got[i] - w);
        size += w * w;
    }
    if (!(sqrt(off / size) <= 1e-5))
        fail_msg("%s: logits differ by %.2g of their norm", name, sqrt(off / size));
    free(inputs);
    free(got);
}

/* The norm of each gradient, and its product with cos(0), cos(1), ... which sees any element out of place. */
static void check_gradients(mu_net_t *net, const expected_t *e, const char *name)
{
    const json_t *want = json_object_get(e->root, "gradients");
    assert_int_equal(mu_net_param_count(net), json_array_size(want));
    for (int i = 0; i < mu_net_param_count(net); i++) {
        const mu_net_param_t *p = mu_net_param(net, i);
        const json_t *row = json_array_get(want, (size_t)i);
        double norm = json_number_value(json_array_get(row, 0)),
               product = json_number_value(json_array_get(row, 1)), sum = 0, along = 0;
        for (int64_t k = 0; k < p->elements; k++) { /* the CPU's memory is the host's */
            sum += (double)p->gradient[k] * (double)p->gradient[k];
            along += (double)p->gradient[k] * cos((double)k);
        }
        if (!(fabs(sqrt(sum) - norm) <= 1e-4 * norm) || !(fabs(along - product) <= 1e-4 * norm))
            fail_msg("%s: gradient of %s: norm %.9g and product %.9g, wanted %.9g and %.9g", name,
                     p->tensor.name, sqrt(sum), along, norm, product);
    }
}

static void logits_loss_and_gradients_are_those_of_transformers(void **state)
{
    (void)state;
    static char *const cpu[] = {"muster.device=cpu", "muster.threads_per_worker=1"};
    for (int i = 0; i < MODELS; i++) {
        expected_t e;
        mu_inference_model_t l;
        mu_net_t *net;
        mu_net_loss_t loss;
        char *path = imported(models[i]);
        load_expected(models[i], &e);
        assert_int_equal(mu_inference_model_open(path, cpu, 2, e.rows, &l), MU_OK);
        mu_net_options_t options = {.micro_batch = e.rows, .seq_length = e.n, .training = true, .eod = -1};
        assert_int_equal(mu_net_new(l.context.device, &l.config->model, l.context.tp, &options, &net), MU_OK);
        assert_int_equal(mu_state_load(net, l.checkpoint, false), MU_OK);
        check_logits(net, &e, models[i]);
        assert_int_equal(mu_net_forward_backward(net, e.tokens, 1), MU_OK);
        assert_int_equal(mu_net_take_loss(net, &loss), MU_OK);
        double want = json_number_value(json_object_get(e.root, "loss"));
        if (!(fabs(loss.mean_sum - want) <= 1e-5 * want))
            fail_msg("%s: loss %.9g, wanted %.9g", models[i], loss.mean_sum, want);
        check_gradients(net, &e, models[i]);
        mu_net_free(net);
        mu_inference_model_close(&l);
        json_decref(e.root);
        free(e.tokens);
        free(path);
    }
}

/* All floats of a directory's files, by name. */
static void open_all(const char *dir, mu_foreign_t *list)
{
    static const char *const names[] = {"model.safetensors", "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors"};
    for (int i = 0; i < 3; i++) {
        char *path = mu_path_join(dir, names[i]);
        if (mu_is_file(path))
            assert_int_equal(mu_safetensors_open(path, list), MU_OK);
        free(path);
    }
    assert_int_equal(mu_foreign_sort(list), MU_OK);
}

static void assert_same_tensor(const mu_foreign_t *a, const mu_foreign_tensor_t *x, const mu_foreign_t *b,
                               const mu_foreign_tensor_t *y)
{
    size_t n = (size_t)x->elements;
    float *p = mu_calloc(n, sizeof *p), *q = mu_calloc(n, sizeof *q);
    assert_int_equal(x->dims, y->dims);
    for (int d = 0; d < x->dims; d++)
        assert_int_equal(x->shape[d], y->shape[d]);
    assert_int_equal(mu_foreign_read(a, x, 0, x->elements, p), MU_OK);
    assert_int_equal(mu_foreign_read(b, y, 0, y->elements, q), MU_OK);
    assert_memory_equal(p, q, n * sizeof *p);
    free(p);
    free(q);
}

/* gpt2's own files have no prefix and a mask for each layer; exports have the prefix and no mask. */
static void an_export_holds_the_bits_that_were_imported(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        mu_foreign_t was = MU_FOREIGN_INIT, is = MU_FOREIGN_INIT;
        char *path = imported(models[i]), *out = mu_format("%s.export", models[i]),
             *from = mu_format("%s/%s", HF_DATA, models[i]);
        int compared = 0;
        assert_int_equal(export_dir(path, out), MU_OK);
        open_all(from, &was);
        open_all(out, &is);
        for (int k = 0; k < is.count; k++) {
            const char *name = is.tensors[k].name;
            const mu_foreign_tensor_t *other = mu_foreign_find(&was, name);
            if (!other && strncmp(name, "transformer.", 12) == 0)
                other = mu_foreign_find(&was, name + 12);
            assert_non_null(other);
            assert_int_equal(is.tensors[k].type, MU_FOREIGN_F32);
            assert_same_tensor(&is, &is.tensors[k], &was, other);
            compared++;
        }
        assert_int_equal(compared, was.count - (strcmp(models[i], "gpt2") == 0 ? 2 : 0));
        mu_foreign_release(&was);
        mu_foreign_release(&is);
        free(path);
        free(out);
        free(from);
    }
}

static void an_export_imports_to_the_same_checkpoint(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        char *path = imported(models[i]), *out = mu_format("%s.again", models[i]),
             *back = mu_format("%s.again.ckpt", models[i]);
        mu_checkpoint_t *a, *b;
        assert_int_equal(export_dir(path, out), MU_OK);
        assert_int_equal(import_dir(out, back), MU_OK);
        assert_int_equal(mu_checkpoint_newest(path, INT64_MAX, &a), MU_OK);
        assert_int_equal(mu_checkpoint_newest(back, INT64_MAX, &b), MU_OK);
        const mu_manifest_t *x = mu_checkpoint_manifest(a), *y = mu_checkpoint_manifest(b);
        assert_int_equal(x->shards[0].count, y->shards[0].count);
        for (int k = 0; k < x->shards[0].count; k++) /* digests of the values */
            assert_string_equal(x->shards[0].slices[k].digest, y->shards[0].slices[k].digest);
        assert_int_equal(x->info.step, 0);
        assert_false(x->optimizer);
        mu_checkpoint_close(a);
        mu_checkpoint_close(b);
        free(path);
        free(out);
        free(back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_loss_and_gradients_are_those_of_transformers),
        cmocka_unit_test(an_export_holds_the_bits_that_were_imported),
        cmocka_unit_test(an_export_imports_to_the_same_checkpoint),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
