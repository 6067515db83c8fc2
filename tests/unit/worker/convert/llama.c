/* The Llama family: keys, sizes, rotary frequencies, and config.json of its classes in both directions. */
#include "common/rope.h"
#include "tests/unit/worker/convert/hf_help.h"
#include "worker/convert/hf_model.h"

#include <math.h>

/* ---- configurations ---- */

static mu_config_t *load_text(const char *text)
{
    mu_config_t *c;
    quiet();
    if (mu_config_load_text("text", text, &c) != MU_OK)
        fail_msg("%s: %s", text, heard.data);
    return c;
}

static void the_ready_files_have_the_published_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int64_t parameters;
        double
            flops; /* of training a token: 6 a weight of the layers' products, scores and values, 4.5 h V of the head */
        mu_model_type_t type;
    } row[] = {
        {"llama-3.2-1b", 1235814400, 7825784832, MU_TYPE_LLAMA},
        {"llama-3.1-8b", 8030261248, 50682396672, MU_TYPE_LLAMA},
        {"mistral-7b", 7248023552, 48922361856, MU_TYPE_MISTRAL},
        {"qwen2.5-0.5b", 494032768, 3288047616, MU_TYPE_QWEN2},
        {"qwen3-0.6b", 596049920, 4751818752, MU_TYPE_QWEN3},
        {"smollm2-135m", 134515008, 976748544, MU_TYPE_LLAMA},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *path = mu_format("%s/configs/%s.yml", MU_SOURCE_DIR, row[i].file);
        mu_config_t *c;
        mu_model_type_t type;
        quiet();
        if (mu_config_load(&path, 1, NULL, 0, &c) != MU_OK || mu_config_resolve(c, &(mu_world_t){0}) != MU_OK)
            fail_msg("%s: %s", path, heard.data);
        if (mu_model_parameters(&c->model) != row[i].parameters)
            fail_msg("%s: %lld parameters", path, (long long)mu_model_parameters(&c->model));
        if (fabs(mu_model_flops_per_token(&c->model) - row[i].flops) > 1e-9 * row[i].flops)
            fail_msg("%s: %.0f FLOPs a token", path, mu_model_flops_per_token(&c->model));
        assert_int_equal(mu_hf_type(path, &c->model, (mu_model_type_t)c->muster.model_type, &type), MU_OK);
        assert_int_equal(type, row[i].type);
        mu_config_free(c);
        free(path);
    }
}

#define NEOX_LLAMA                                                                                           \
    "num_layers: 2, hidden_size: 4096, num_attention_heads: 32, seq_length: 4096, pos_emb: rotary, "         \
    "max_position_embeddings: 4096, rotary_pct: 1, no_weight_tying: true, gpt_j_residual: false, "           \
    "norm: rmsnorm, rms_norm_epsilon: 1.0e-5, use_bias_in_norms: false, use_bias_in_attn_linear: false, "    \
    "activation: swiglu, padded_vocab_size: 32000"

/* Widths as gpt-neox's files write them, and what its ParallelMLP makes of them. */
static void a_gated_mlp_is_as_wide_as_gpt_neox_makes_it(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        int64_t width;
        bool noted;
    } row[] = {
        {"intermediate_size: 32768, mlp_multiple_of: 256", 11008, false}, /* llama 7B, llama2 7B */
        {"intermediate_size: 41472, mlp_multiple_of: 256", 13824, false}, /* llama2 13B */
        {"intermediate_size: 86016, mlp_multiple_of: 256", 28672, false}, /* llama2 70B */
        {"mlp_multiple_of: 256", 5632, false},                            /* codellama: 4 * hidden_size */
        {"intermediate_size: 14336, mlp_multiple_of: 14336", 14336, false},
        {"expansion_factor: 3", 4096, false},
        {"intermediate_size: 14336", 4779, true}, /* mistral: gpt-neox's second product is 4778 wide */
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *text = mu_format("{" NEOX_LLAMA ", %s}", row[i].keys);
        mu_config_t *c, *again;
        mu_buf_t yaml = MU_BUF_INIT;
        c = load_text(text);
        if (c->model.ffn != row[i].width)
            fail_msg("%s: %lld wide", row[i].keys, (long long)c->model.ffn);
        assert_int_equal(strstr(mu_config_notes(c), "4778") != NULL, row[i].noted);
        mu_config_write_yaml(c, false, &yaml); /* what is stored gives the same width */
        again = load_text(yaml.data);
        assert_int_equal(again->model.ffn, row[i].width);
        assert_memory_equal(&again->model, &c->model, sizeof c->model);
        mu_config_free(again);
        mu_config_free(c);
        mu_buf_release(&yaml);
        free(text);
    }
}

/* llama2-7B.yml leaves the biases of the MLP on, by gpt-neox's default. */
static void biases_follow_their_keys(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        unsigned unbiased;
    } row[] = {
        {"", MU_UNBIASED_QKV | MU_UNBIASED_DENSE},
        {", use_bias_in_mlp: false", MU_UNBIASED_ALL},
        {", use_bias_in_mlp: false, muster: {qkv_bias: true}", MU_UNBIASED_DENSE | MU_UNBIASED_MLP},
    };
    for (size_t i = 0; i < 3; i++) {
        char *text = mu_format("{" NEOX_LLAMA ", mlp_multiple_of: 256%s}", row[i].keys);
        mu_config_t *c = load_text(text);
        assert_int_equal(c->model.unbiased, row[i].unbiased);
        assert_true(c->model.norm_eps == 1e-5 && c->model.norm == MU_NORM_RMS);
        mu_config_free(c);
        free(text);
    }
}

static void what_contradicts_is_refused(void **state)
{
    (void)state;
    static const char *const row[][2] = {
        {"num_kv_heads: 5", "num_kv_heads 5 does not divide num_attention_heads 32"},
        {"sliding_window_width: 4095", "sliding_window_width 4095 is less than seq_length 4096"},
        {"norm: layernorm", "use_bias_in_norms"},
        {"norm: layernorm, use_bias_in_norms: true, use_qk_layernorm: true", "use_qk_layernorm"},
        {"pos_emb: none, muster: {rope_scaling: {type: linear, factor: 2}}", "muster.rope_scaling"},
        {"muster: {rope_scaling: {type: llama3, factor: 2, low_freq_factor: 4}}", "high_freq_factor"},
        {"muster: {rope_scaling: {type: yarn, factor: 2, beta_fast: 1}}", "beta_fast"},
        {"muster: {rope_scaling: {type: dynamic}}", "rope_scaling.type"},
        {"muster: {head_dim: 3}", "rotary_pct"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_config_t *c;
        char *overrides[4] = {NULL}, *words = mu_strdup(row[i][0]), *rest = words;
        int n = 0;
        write_text("bad.yml", "{" NEOX_LLAMA "}");
        char *path = mu_strdup("bad.yml");
        for (char *p = words, *end; n < 4 && *p; p = end) { /* "a: b, c: d" to a=b c=d */
            bool muster = strncmp(p, "muster", 6) == 0;
            end = muster ? p + strlen(p) : p + strcspn(p, ",");
            bool more = *end == ',';
            *end = '\0';
            char *colon = strchr(p, ':');
            *colon = '\0';
            overrides[n++] = mu_format("%s=%s", p, colon + 2);
            end += more ? 2 : 0;
        }
        quiet();
        assert_int_equal(mu_config_load(&path, 1, overrides, n, &c), MU_CONFIG);
        assert_heard(row[i][1]);
        for (int k = 0; k < n; k++)
            free(overrides[k]);
        free(rest);
        free(path);
    }
    mu_config_t *c = load_text("{" NEOX_LLAMA ", sliding_window_width: 4096}");
    assert_int_equal(mu_model_longest(&c->model), 4096);
    mu_config_free(c);
}

/* ---- rotary frequencies: what Transformers 4.57 computes ---- */

static void frequencies_are_those_of_transformers(void **state)
{
    (void)state;
    static const struct {
        mu_rope_t rope;
        double base, want[8], scale;
    } row[] = {
        {{.type = MU_ROPE_LINEAR, .factor = 2.5},
         1e4,
         {0.40000001, 0.1264911, 0.039999999, 0.012649111, 0.0039999997, 0.0012649111, 0.00040000002,
          0.00012649111},
         1},
        {{.type = MU_ROPE_LLAMA3,
          .factor = 8,
          .low_freq_factor = 1,
          .high_freq_factor = 4,
          .original_positions = 512},
         5e5,
         {1, 0.19392276, 0.027344134, 0.00091158313, 0.00017677668, 3.4281024e-05, 6.6478697e-06,
          1.2891732e-06},
         1},
        {{.type = MU_ROPE_YARN,
          .factor = 4,
          .beta_fast = 32,
          .beta_slow = 1,
          .original_positions = 1024,
          .truncate = true},
         1e4,
         {1, 0.31622776, 0.081250004, 0.019764237, 0.004375, 0.00079056947, 0.00025000001, 7.9056947e-05},
         1.1386294},
        {{.type = MU_ROPE_YARN,
          .factor = 4,
          .beta_fast = 8,
          .beta_slow = 2,
          .original_positions = 1024,
          .attention_factor = 1.25},
         1e4,
         {1, 0.31622776, 0.1, 0.024099857, 0.0024999999, 0.00079056947, 0.00025000001, 7.9056947e-05},
         1.25},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_model_t m = {
            .rotary_dims = 16, .rotary_base = row[i].base, .max_positions = 4096, .rope = row[i].rope};
        double got[8], scale;
        mu_rope_frequencies(&m, got, &scale);
        assert_true(fabs(scale - row[i].scale) < 1e-7);
        for (int k = 0; k < 8; k++)
            if (!(fabs(got[k] - row[i].want[k]) <= 3e-7 * row[i].want[k]))
                fail_msg("%s: pair %d: %.9g, wanted %.9g", mu_rope_name(row[i].rope.type), k, got[k],
                         row[i].want[k]);
    }
}

/* ---- config.json ---- */

#define SIZES                                                                                                \
    "\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"intermediate_size\":96,"         \
    "\"vocab_size\":128,\"max_position_embeddings\":512,\"num_key_value_heads\":2"
#define SIZES_BUT_KV                                                                                         \
    "\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"intermediate_size\":96,"         \
    "\"vocab_size\":128,\"max_position_embeddings\":512"

static mu_config_t *read_json(const char *json)
{
    mu_buf_t yaml = MU_BUF_INIT;
    mu_hf_family_t family;
    mu_config_t *c = NULL;
    quiet();
    if (mu_hf_config_read("config.json", json, strlen(json), &family, &yaml) != MU_OK ||
        mu_config_load_text("config.json", yaml.data, &c) != MU_OK)
        fail_msg("%s: %s", json, heard.data);
    assert_int_equal(family, MU_HF_LLAMA);
    mu_buf_release(&yaml);
    return c;
}

/* Old and new spelling, windows, biases: the class is read, and what is written of it reads back to the same. */
static void config_json_is_read_and_written_back(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        mu_model_type_t type;
        int64_t kv, head_dim, window, seq;
        mu_rope_type_t rope;
        double base;
        unsigned unbiased;
    } row[] = {
        {"{\"model_type\":\"llama\"," SIZES "}", MU_TYPE_LLAMA, 2, 16, 0, 512, MU_ROPE_PLAIN, 1e4, 7},
        {"{\"model_type\":\"llama\"," SIZES ",\"attention_bias\":true,\"rope_theta\":5e5,\"head_dim\":20,"
         "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}}",
         MU_TYPE_LLAMA, 2, 20, 0, 512, MU_ROPE_LINEAR, 5e5, MU_UNBIASED_MLP},
        {"{\"model_type\":\"llama\"," SIZES ",\"mlp_bias\":true,\"rope_parameters\":{\"rope_theta\":7e5,"
         "\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
         "\"original_max_position_embeddings\":64}}",
         MU_TYPE_LLAMA, 2, 16, 0, 512, MU_ROPE_LLAMA3, 7e5, MU_UNBIASED_QKV | MU_UNBIASED_DENSE},
        {"{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":null}", MU_TYPE_MISTRAL, 2, 16, 0, 512,
         MU_ROPE_PLAIN, 1e4, 7},
        {"{\"model_type\":\"mistral\"," SIZES_BUT_KV ",\"num_key_value_heads\":null,\"sliding_window\":null}",
         MU_TYPE_MISTRAL, 4, 16, 0, 512, MU_ROPE_PLAIN, 1e4, 7},
        {"{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":100}", MU_TYPE_MISTRAL, 2, 16, 100, 100,
         MU_ROPE_PLAIN, 1e4, 7},
        {"{\"model_type\":\"qwen2\"," SIZES ",\"use_sliding_window\":false,\"sliding_window\":100}",
         MU_TYPE_QWEN2, 2, 16, 0, 512, MU_ROPE_PLAIN, 1e4, MU_UNBIASED_DENSE | MU_UNBIASED_MLP},
        {"{\"model_type\":\"qwen2\"," SIZES
         ",\"use_sliding_window\":true,\"max_window_layers\":1,\"sliding_window\":100}",
         MU_TYPE_QWEN2, 2, 16, 100, 100, MU_ROPE_PLAIN, 1e4, MU_UNBIASED_DENSE | MU_UNBIASED_MLP},
        {"{\"model_type\":\"qwen2\"," SIZES
         ",\"use_sliding_window\":true,\"max_window_layers\":2,\"sliding_window\":100}",
         MU_TYPE_QWEN2, 2, 16, 0, 512, MU_ROPE_PLAIN, 1e4, MU_UNBIASED_DENSE | MU_UNBIASED_MLP},
        {"{\"model_type\":\"qwen3\"," SIZES
         ",\"tie_word_embeddings\":true,\"rope_scaling\":{\"rope_type\":\"yarn\","
         "\"factor\":4.0,\"mscale\":1.0,\"mscale_all_dim\":0.5,\"truncate\":false}}",
         MU_TYPE_QWEN3, 2, 128, 0, 512, MU_ROPE_YARN, 1e4, 7},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_config_t *c = read_json(row[i].json), *again;
        mu_model_t *m = &c->model;
        mu_model_type_t type;
        mu_buf_t json = MU_BUF_INIT;
        assert_int_equal(c->muster.model_type, row[i].type);
        assert_int_equal(mu_model_kv_heads(m), row[i].kv);
        assert_int_equal(mu_model_head_dim(m), row[i].head_dim);
        assert_int_equal(m->rotary_dims, row[i].head_dim);
        assert_int_equal(m->window, row[i].window);
        assert_int_equal(m->seq_length, row[i].seq);
        assert_int_equal(m->rope.type, row[i].rope);
        assert_int_equal(m->unbiased, row[i].unbiased);
        assert_int_equal(m->qk_norm, row[i].type == MU_TYPE_QWEN3);
        assert_int_equal(m->ffn, 96);
        assert_true(m->rotary_base == row[i].base && m->norm_eps == 1e-6);
        assert_int_equal(mu_hf_type("c", m, row[i].type, &type), MU_OK);
        mu_hf_config_write(m, type, &(mu_hf_special_t){1, -1, (const int32_t[]){2}, 1}, &json);
        again = read_json(json.data);
        again->model.head_dim = m->head_dim; /* written out where it need not be */
        assert_memory_equal(&again->model, m, sizeof *m);
        assert_int_equal(again->muster.model_type, row[i].type);
        mu_config_free(again);
        mu_config_free(c);
        mu_buf_release(&json);
    }
}

/* The parts of query_key_value: where each of our rows lies in theirs, and back. */
static void queries_keys_and_values_are_parts(void **state)
{
    (void)state;
    mu_model_t m = {.hidden = 12, .heads = 6, .kv_heads = 2, .head_dim = 4};
    int64_t rows = mu_model_qkv_rows(&m), seen[3] = {0};
    assert_int_equal(rows, 40);
    for (int64_t row = 0; row < rows; row++) {
        int part;
        int64_t theirs, run = mu_hf_run(&m, row, &part, &theirs);
        assert_int_equal(run, 4 - row % 4);
        assert_int_equal(mu_hf_row(&m, part, theirs), row);
        seen[part]++;
    }
    assert_int_equal(seen[0], 24);
    assert_int_equal(seen[1], 8);
    assert_int_equal(seen[2], 8);
    int part;
    int64_t theirs;
    mu_hf_run(&m, 5 * 4, &part, &theirs); /* the second key's first query */
    assert_true(part == 0 && theirs == 12);
    mu_hf_run(&m, 8 * 4, &part, &theirs);
    assert_true(part == 1 && theirs == 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ready_files_have_the_published_sizes),
        cmocka_unit_test(a_gated_mlp_is_as_wide_as_gpt_neox_makes_it),
        cmocka_unit_test(biases_follow_their_keys),
        cmocka_unit_test(what_contradicts_is_refused),
        cmocka_unit_test(frequencies_are_those_of_transformers),
        cmocka_unit_test(config_json_is_read_and_written_back),
        cmocka_unit_test(queries_keys_and_values_are_parts),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
