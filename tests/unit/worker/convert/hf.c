/* config.json of every age, the shapes and counts of published models, and what import and export refuse. */
#include "tests/unit/worker/convert/hf_help.h"
#include "common/config/config.h"
#include "dataset/tokenizer/tokenizer.h"
#include "common/checkpoint/checkpoint_reader.h"
#include "worker/convert/hf_import.h"
#include "worker/convert/hf_model.h"

#include <jansson.h>
#include <math.h>
#include <sys/stat.h>

/* ---- config.json ---- */

static mu_status_t read_config(const char *json, mu_hf_family_t *family, mu_config_t **out)
{
    mu_buf_t yaml = MU_BUF_INIT;
    quiet();
    mu_status_t status = mu_hf_config_read("config.json", json, strlen(json), family, &yaml);
    if (status == MU_OK)
        status = mu_config_load_text("config.json", yaml.data, out);
    mu_buf_release(&yaml);
    return status;
}

#define NEOX                                                                                                 \
    "\"model_type\":\"gpt_neox\",\"hidden_size\":512,\"num_hidden_layers\":6,\"num_attention_heads\":8,"     \
    "\"intermediate_size\":2048,\"max_position_embeddings\":2048,\"vocab_size\":50304"
#define LLAMA                                                                                                \
    "\"model_type\":\"llama\",\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,"         \
    "\"intermediate_size\":96,\"vocab_size\":128"
#define GPT2 "\"model_type\":\"gpt2\",\"n_embd\":768,\"n_layer\":12,\"n_head\":12,\"vocab_size\":50257"

static void neox_of_every_age(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int64_t rotary;
        double base;
        mu_residual_t residual;
        mu_activation_t activation;
        bool tied;
    } row[] = {
        {"{" NEOX "}", 16, 10000, MU_RESIDUAL_PARALLEL, MU_GELU_ERF, false},
        {"{" NEOX ",\"rotary_pct\":1.0,\"rotary_emb_base\":500000}", 64, 500000, MU_RESIDUAL_PARALLEL,
         MU_GELU_ERF, false},
        {"{" NEOX ",\"rope_scaling\":null,\"partial_rotary_factor\":0.5,\"rope_theta\":20000}", 32, 20000,
         MU_RESIDUAL_PARALLEL, MU_GELU_ERF, false},
        {"{" NEOX ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":7e4,"
         "\"partial_rotary_factor\":0.75}}",
         48, 70000, MU_RESIDUAL_PARALLEL, MU_GELU_ERF, false},
        {"{" NEOX ",\"rotary_pct\":0.25,\"rope_parameters\":{\"partial_rotary_factor\":0.5}}", 32, 10000,
         MU_RESIDUAL_PARALLEL, MU_GELU_ERF, false},
        {"{" NEOX
         ",\"use_parallel_residual\":false,\"hidden_act\":\"gelu_new\",\"tie_word_embeddings\":true}",
         16, 10000, MU_RESIDUAL_SEQUENTIAL, MU_GELU_TANH, true},
        {"{" NEOX ",\"hidden_act\":\"gelu_pytorch_tanh\"}", 16, 10000, MU_RESIDUAL_PARALLEL, MU_GELU_TANH,
         false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_config_t *c;
        mu_hf_family_t family;
        if (read_config(row[i].json, &family, &c) != MU_OK)
            fail_msg("%s: %s", row[i].json, heard.data);
        const mu_model_t *m = &c->model;
        assert_int_equal(family, MU_HF_NEOX);
        assert_int_equal(m->rotary_dims, row[i].rotary);
        assert_true(m->rotary_base == row[i].base);
        assert_int_equal(m->residual, row[i].residual);
        assert_int_equal(m->activation, row[i].activation);
        assert_int_equal(m->tied_head, row[i].tied);
        assert_int_equal(m->vocab, 50304);
        assert_int_equal(mu_model_parameters(m), 70426624 - (row[i].tied ? 50304 * 512 : 0));
        mu_config_free(c);
    }
}

static void gpt2_of_every_age(void **state)
{
    (void)state;
    mu_config_t *c;
    mu_hf_family_t family;
    assert_int_equal(read_config("{" GPT2 "}", &family, &c), MU_OK);
    const mu_model_t *m = &c->model;
    assert_int_equal(family, MU_HF_GPT2);
    assert_int_equal(m->position, MU_POSITION_LEARNED);
    assert_int_equal(m->residual, MU_RESIDUAL_SEQUENTIAL);
    assert_int_equal(m->activation, MU_GELU_TANH);
    assert_int_equal(m->max_positions, 1024);
    assert_int_equal(m->ffn, 3072);
    assert_true(m->tied_head);
    assert_true(m->hidden_dropout == 0.1 &&
                m->attention_dropout == 0.1); /* the class's own, where it is silent */
    assert_int_equal(mu_model_parameters(m), 124439808);
    mu_config_free(c);
    assert_int_equal(read_config("{" GPT2 ",\"resid_pdrop\":0,\"attn_pdrop\":0.0,\"n_inner\":100,\"n_"
                                 "positions\":64,\"activation_function\":\"gelu\","
                                 "\"tie_word_embeddings\":false,\"layer_norm_epsilon\":1e-6}",
                                 &family, &c),
                     MU_OK);
    assert_int_equal(c->model.ffn, 100);
    assert_int_equal(c->model.max_positions, 64);
    assert_int_equal(c->model.activation, MU_GELU_ERF);
    assert_false(c->model.tied_head);
    assert_true(c->model.norm_eps == 1e-6);
    assert_true(c->model.hidden_dropout == 0 && c->model.attention_dropout == 0);
    mu_config_free(c);
}

static void what_is_not_ours_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        mu_status_t status;
        const char *said;
    } row[] = {
        {"", MU_DATA, "config.json:1"},
        {"{\"model_type\":\"gpt2\",\"model_type\":\"gpt2\"}", MU_DATA, "duplicate"},
        {"{}", MU_CONFIG, "'model_type' is 'not there'"},
        {"{\"model_type\":\"gemma\"}", MU_CONFIG, "'gemma'"},
        {"{\"model_type\":\"llama\"}", MU_DATA, "'hidden_size' is not there"},
        {"{" LLAMA ",\"hidden_act\":\"gelu\"}", MU_CONFIG, "'gelu'"},
        {"{" LLAMA ",\"partial_rotary_factor\":0.5}", MU_CONFIG, "partial_rotary_factor"},
        {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"longrope\"}}", MU_CONFIG, "'longrope'"},
        {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\"}}", MU_DATA, "'factor'"},
        {"{" LLAMA ",\"rope_parameters\":3}", MU_DATA, "no object"},
        {"{" LLAMA ",\"num_key_value_heads\":3}", MU_CONFIG, "num_kv_heads 3"},
        {"{\"model_type\":\"gpt2\"}", MU_DATA, "'n_embd' is not there"},
        {"{" GPT2 ",\"n_positions\":0}", MU_DATA, "'n_positions'"},
        {"{" GPT2 ",\"n_positions\":99999999999}", MU_DATA, "'n_positions'"},
        {"{" GPT2 ",\"n_positions\":\"many\"}", MU_DATA, "'n_positions'"},
        {"{" GPT2 ",\"scale_attn_weights\":false}", MU_CONFIG, "'scale_attn_weights' false"},
        {"{" GPT2 ",\"scale_attn_by_inverse_layer_idx\":true}", MU_CONFIG, "inverse_layer_idx' true"},
        {"{" GPT2 ",\"activation_function\":\"relu\"}", MU_CONFIG, "'relu'"},
        {"{" GPT2 ",\"layer_norm_epsilon\":\"small\"}", MU_DATA, "no number"},
        {"{" NEOX ",\"attention_bias\":false}", MU_CONFIG, "'attention_bias' false"},
        {"{" NEOX ",\"hidden_act\":\"silu\"}", MU_CONFIG, "'silu'"},
        {"{" NEOX ",\"hidden_act\":7}", MU_CONFIG, "'hidden_act'"},
        {"{" NEOX ",\"use_parallel_residual\":1}", MU_DATA, "neither true nor false"},
        {"{" NEOX ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", MU_CONFIG, "'linear'"},
        {"{" NEOX ",\"rope_parameters\":{\"rope_type\":\"yarn\"}}", MU_CONFIG, "'yarn'"},
        {"{" NEOX ",\"rope_parameters\":[]}", MU_DATA, "no object"},
        {"{" NEOX ",\"rotary_pct\":0.01}", MU_CONFIG, "rotary_pct"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_config_t *c;
        mu_hf_family_t family;
        mu_status_t status = read_config(row[i].json, &family, &c);
        if (status != row[i].status)
            fail_msg("%s: %s: %s", row[i].json, mu_status_name(status), heard.data);
        assert_heard(row[i].said);
    }
}

/* A model's config.json says the model again, whatever its share of rotary dimensions. */
static void what_is_written_is_read_back(void **state)
{
    (void)state;
    for (int64_t d = 2; d <= 256; d += 2) {
        for (int64_t rotary = 2; rotary <= d; rotary += 2) {
            mu_model_t m = {.layers = 1,
                            .hidden = d,
                            .heads = 1,
                            .ffn = 6,
                            .seq_length = 4,
                            .max_positions = 5,
                            .vocab = 7,
                            .rotary_dims = rotary,
                            .rotary_base = 12345.678,
                            .norm_eps = 1e-6,
                            .hidden_dropout = 0.25,
                            .attention_dropout = 0.1,
                            .activation = MU_GELU_TANH};
            mu_buf_t json = MU_BUF_INIT;
            mu_hf_family_t family;
            mu_model_type_t type;
            mu_config_t *c;
            if (d > 64 && rotary % 6 != 0)
                continue;
            assert_int_equal(mu_hf_type("m", &m, MU_TYPE_AUTO, &type), MU_OK);
            mu_hf_config_write(&m, type, &(mu_hf_special_t){3, -1, (const int32_t[]){3}, 1}, &json);
            assert_int_equal(read_config(json.data, &family, &c), MU_OK);
            assert_int_equal(c->model.rotary_dims, rotary);
            assert_true(c->model.rotary_base == m.rotary_base && c->model.norm_eps == m.norm_eps);
            assert_int_equal(c->model.activation, MU_GELU_TANH);
            assert_int_equal(c->model.vocab, 7);
            assert_true(c->model.hidden_dropout == 0.25 && c->model.attention_dropout == 0.1);
            mu_config_free(c);
            mu_buf_release(&json);
        }
    }
}

static void a_model_of_neither_class_has_none(void **state)
{
    (void)state;
    mu_model_type_t type;
    mu_model_t m = {
        .hidden = 8, .heads = 2, .position = MU_POSITION_LEARNED, .residual = MU_RESIDUAL_SEQUENTIAL};
    quiet();
    assert_int_equal(mu_hf_type("m", &m, MU_TYPE_AUTO, &type), MU_OK);
    assert_int_equal(type, MU_TYPE_GPT2);
    m.residual = MU_RESIDUAL_PARALLEL;
    assert_int_equal(mu_hf_type("m", &m, MU_TYPE_AUTO, &type), MU_CONFIG);
    m.position = MU_POSITION_NONE;
    assert_int_equal(mu_hf_type("m", &m, MU_TYPE_AUTO, &type), MU_CONFIG);
    m.position = MU_POSITION_ROTARY;
    assert_int_equal(mu_hf_type("m", &m, MU_TYPE_AUTO, &type), MU_OK);
    assert_int_equal(type, MU_TYPE_GPT_NEOX);
    assert_int_equal(mu_hf_type("m", &m, MU_TYPE_LLAMA, &type), MU_CONFIG);
    assert_heard("LlamaForCausalLM");
    m.head_dim = 6;
    assert_int_equal(mu_hf_type("m", &m, MU_TYPE_AUTO, &type), MU_CONFIG);
    m.head_dim = 0;
    m.rope.type = MU_ROPE_LINEAR;
    assert_int_equal(mu_hf_type("m", &m, MU_TYPE_AUTO, &type), MU_CONFIG);
    m.rope.type = MU_ROPE_PLAIN;
    m.residual = MU_RESIDUAL_PARALLEL_TIED;
    assert_int_equal(mu_hf_type("m", &m, MU_TYPE_AUTO, &type), MU_CONFIG);
}

/* ---- the order of GPT-2's elements ---- */

static void reordering_is_its_own_inverse_and_what_gpt2_means(void **state)
{
    (void)state;
    mu_model_t m = {.layers = 1,
                    .hidden = 96,
                    .heads = 3,
                    .ffn = 200,
                    .vocab = 10,
                    .max_positions = 4,
                    .position = MU_POSITION_LEARNED,
                    .residual = MU_RESIDUAL_SEQUENTIAL,
                    .tied_head = true};
    for (int i = 0; i < mu_model_tensor_count(&m); i++) {
        mu_tensor_t t;
        mu_model_tensor(&m, i, &t);
        if (!mu_hf_reordered(MU_HF_GPT2, &t))
            continue;
        int64_t out = t.shape[0], in = t.shape[1], n = out * in, d = 32;
        float *a = mu_calloc((size_t)n, sizeof *a), *b = mu_calloc((size_t)n, sizeof *b),
              *c = mu_calloc((size_t)n, sizeof *c);
        for (int64_t k = 0; k < n; k++)
            a[k] = (float)k;
        for (int64_t row = 0; row < out; row += 77) /* in pieces, as a writer asks */
            mu_hf_gather(&m, &t, a, row, out - row < 77 ? out - row : 77, b + row * in);
        mu_hf_scatter(&m, &t, b, c);
        assert_memory_equal(a, c, (size_t)n * sizeof *a);
        for (int64_t row = 0; row < out; row++) {
            bool qkv = t.kind == MU_T_QKV_W || t.kind == MU_T_QKV_B;
            int64_t head = row / (3 * d), part = row / d % 3,
                    column = qkv ? part * 96 + head * d + row % d : row;
            for (int64_t k = 0; k < in; k++)
                assert_true(b[row * in + k] == a[k * out + column]);
        }
        free(a);
        free(b);
        free(c);
    }
}

/* ---- configurations of published models ---- */

static void the_configurations_have_the_published_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int64_t vocab, parameters;
    } row[] = {
        {"gpt2-small", 50257, 124439808},   {"gpt2-medium", 50257, 354823168},
        {"gpt2-large", 50257, 774030080},   {"gpt2-xl", 50257, 1557611200},
        {"pythia-14m", 50304, 14067712},    {"pythia-31m", 50304, 30494720},
        {"pythia-70m", 50304, 70426624},    {"pythia-160m", 50304, 162322944},
        {"pythia-410m", 50304, 405334016},  {"pythia-1b", 50304, 1011781632},
        {"pythia-1.4b", 50304, 1414647808}, {"pythia-2.8b", 50304, 2775208960},
        {"pythia-6.9b", 50432, 6857302016}, {"pythia-12b", 50688, 11846072320},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *path = mu_format("%s/configs/%s.yml", MU_SOURCE_DIR, row[i].file);
        mu_config_t *c;
        int64_t vocab;
        bool gpt2 = strncmp(row[i].file, "gpt2", 4) == 0;
        quiet();
        if (mu_config_load(&path, 1, NULL, 0, &c) != MU_OK)
            fail_msg("%s: %s", path, heard.data);
        assert_int_equal(mu_config_padded_vocab(c, gpt2 ? 50257 : 50277, &vocab), MU_OK);
        c->model.vocab = vocab;
        assert_int_equal(vocab, row[i].vocab);
        assert_int_equal(mu_model_parameters(&c->model), row[i].parameters);
        assert_int_equal(c->model.position, gpt2 ? MU_POSITION_LEARNED : MU_POSITION_ROTARY);
        assert_int_equal(c->model.residual, gpt2 ? MU_RESIDUAL_SEQUENTIAL : MU_RESIDUAL_PARALLEL);
        assert_int_equal(c->model.activation, MU_GELU_TANH);
        assert_int_equal(c->model.tied_head, gpt2);
        mu_config_free(c);
        free(path);
    }
}

/* ---- import and export ---- */

static void copy_model(const char *name, const char *to)
{
    char *from = mu_format("%s/%s", HF_DATA, name);
    copy_file(from, to, "config.json");
    if (strcmp(name, "neox-sequential") == 0) {
        copy_file(from, to, "model.safetensors.index.json");
        copy_file(from, to, "model-00001-of-00002.safetensors");
        copy_file(from, to, "model-00002-of-00002.safetensors");
    } else {
        copy_file(from, to, "model.safetensors");
    }
    free(from);
}

/* Replaces the first `what` in a file by `with` of the same length. */
static void patch(const char *path, const char *what, const char *with)
{
    mu_buf_t bytes = MU_BUF_INIT;
    read_all(path, &bytes);
    char *at = memmem(bytes.data, bytes.len, what, strlen(what));
    assert_non_null(at);
    assert_int_equal(strlen(what), strlen(with));
    memcpy(at, with, strlen(with));
    write_bytes(path, bytes.data, bytes.len);
    mu_buf_release(&bytes);
}

/* Replaces the first `what` in a safetensors header by `with` of any length. */
static void rename_tensor(const char *path, const char *what, const char *with)
{
    mu_buf_t bytes = MU_BUF_INIT, out = MU_BUF_INIT;
    uint64_t length;
    read_all(path, &bytes);
    memcpy(&length, bytes.data, sizeof length);
    char *at = memmem(bytes.data + 8, length, what, strlen(what));
    assert_non_null(at);
    size_t before = (size_t)(at - bytes.data), after = before + strlen(what);
    length += strlen(with) - strlen(what);
    mu_buf_add(&out, &length, sizeof length);
    mu_buf_add(&out, bytes.data + 8, before - 8);
    mu_buf_adds(&out, with);
    mu_buf_add(&out, bytes.data + after, bytes.len - after);
    write_bytes(path, out.data, out.len);
    mu_buf_release(&bytes);
    mu_buf_release(&out);
}

/* The one matrix of a tied model under its other name, with and without safetensors' word for it; and an index that
 * lists the head, which no file has. */
static void a_tied_matrix_has_two_names(void **state)
{
    (void)state;
    mu_buf_t was = MU_BUF_INIT, is = MU_BUF_INIT;
    static const char *const renamed[][2] = {
        {"\"wte.weight\"", "\"lm_head.weight\""},
        {"{", "{\"__metadata__\":{\"format\":\"pt\",\"wte.weight\":\"lm_head.weight\"},"}};
    copy_model("gpt2", "tied");
    assert_int_equal(import_dir("tied", "tied.ckpt"), MU_OK);
    assert_int_equal(export_dir("tied.ckpt", "tied-out"), MU_OK);
    read_all("tied-out/model.safetensors", &was);
    for (int i = 0; i < 2; i++) {
        char *ckpt = mu_format("tied.ckpt-%d", i), *out = mu_format("tied-out-%d", i);
        rename_tensor("tied/model.safetensors", renamed[i][0], renamed[i][1]);
        assert_int_equal(import_dir("tied", ckpt), MU_OK);
        assert_int_equal(export_dir(ckpt, out), MU_OK);
        char *file = mu_path_join(out, "model.safetensors");
        read_all(file, &is);
        assert_int_equal(was.len, is.len);
        assert_memory_equal(was.data, is.data, is.len);
        free(file);
        free(ckpt);
        free(out);
    }
    copy_model("gpt2", "listed");
    assert_int_equal(rename("listed/model.safetensors", "listed/one.safetensors"), 0);
    write_text(
        "listed/model.safetensors.index.json",
        "{\"weight_map\":{\"wte.weight\":\"one.safetensors\",\"lm_head.weight\":\"one.safetensors\"}}");
    assert_int_equal(import_dir("listed", "listed.ckpt"), MU_OK);
    mu_buf_release(&was);
    mu_buf_release(&is);
}

/* config.json ties them, the file has another head: refused, and both are named. */
static void a_tied_head_that_is_another_is_refused(void **state)
{
    (void)state;
    copy_model("neox", "untied");
    patch("untied/config.json", "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true ");
    assert_int_equal(import_dir("untied", "untied.ckpt"), MU_DATA);
    assert_heard("embed_out.weight");
    assert_heard("gpt_neox.embed_in.weight");
}

static void an_import_that_fails_leaves_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *model, *file, *what, *with;
        mu_status_t status;
        const char *said;
    } row[] = {
        {"neox", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", MU_DATA, "no place"},
        {"neox", "config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", MU_DATA,
         "layers.2.input_layernorm.weight' is not there"},
        {"neox", "config.json", "\"intermediate_size\": 16", "\"intermediate_size\": 12", MU_DATA,
         "is [16, 8], config.json makes it [12, 8]"},
        {"neox", "config.json", "\"vocab_size\": 24", "\"vocab_size\": 25", MU_DATA, "[25, 8]"},
        {"neox", "config.json", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"silu\"", MU_CONFIG, "silu"},
        {"neox", "model.safetensors", "embed_in", "embed_im", MU_DATA, "embed_in.weight' is not there"},
        {"neox", "model.safetensors", "\"F16\"", "\"I16\"", MU_DATA, "F32, F16 or BF16"},
        {"gpt2", "model.safetensors", "h.0.attn.c_attn.weight", "h.0.attn.c_xttn.weight", MU_DATA, "c_attn"},
        {"neox-sequential", "model.safetensors.index.json", "model-00001-of-00002", "model-00001/of-00002",
         MU_DATA, "a plain name"},
        {"neox-sequential", "model.safetensors.index.json", "model-00001-of-00002", "..-----------------.",
         MU_DATA, "a plain name"},
        {"neox-sequential", "model.safetensors.index.json", "model-00001-of-00002", "model-00009-of-00002",
         MU_NOINPUT, "model-00009"},
        {"neox-sequential", "model.safetensors.index.json", "model-00001-of-00002", "model-00002-of-00002",
         MU_DATA, "is not in"},
        {"neox-sequential", "model.safetensors.index.json", "weight_map", "weight_mop", MU_DATA,
         "weight_map"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *dir = mu_format("broken-%zu", i), *file = mu_path_join(dir, row[i].file);
        copy_model(row[i].model, dir);
        patch(file, row[i].what, row[i].with);
        mu_status_t status = import_dir(dir, "never");
        if (status != row[i].status)
            fail_msg("%s: %s -> %s: %s: %s", row[i].file, row[i].what, row[i].with, mu_status_name(status),
                     heard.data);
        assert_heard(row[i].said);
        assert_false(mu_is_dir("never"));
        free(dir);
        free(file);
    }
    assert_int_equal(import_dir("absent", "never"), MU_NOINPUT);
    assert_int_equal(mu_make_dirs("empty", 0), MU_OK);
    assert_int_equal(import_dir("empty", "never"), MU_NOINPUT);
    copy_model("neox", "no-weights");
    assert_int_equal(unlink("no-weights/model.safetensors"), 0);
    assert_int_equal(import_dir("no-weights", "never"), MU_NOINPUT);
    assert_heard("save_pretrained");
    assert_false(mu_is_dir("never"));
}

static void nothing_is_overwritten(void **state)
{
    (void)state;
    mu_buf_t before = MU_BUF_INIT, after = MU_BUF_INIT;
    copy_model("neox", "model");
    assert_int_equal(import_dir("model", "ckpt"), MU_OK);
    read_all("ckpt/step-00000000/manifest.json", &before);
    assert_int_equal(import_dir("model", "ckpt"), MU_OK); /* the same again */
    assert_heard("is there already");
    patch("model/config.json", "\"initializer_range\": 0.02", "\"initializer_range\": 0.03");
    assert_int_equal(import_dir("model", "ckpt"), MU_RUNDIR);
    assert_heard("holds 1 checkpoints already");
    read_all("ckpt/step-00000000/manifest.json", &after);
    assert_string_equal(before.data, after.data);

    write_text("file", "mine");
    assert_int_equal(import_dir("model", "file"), MU_RUNDIR);
    assert_int_equal(export_dir("ckpt", "model"), MU_RUNDIR);
    assert_int_equal(export_dir("ckpt", "file"), MU_RUNDIR);
    assert_int_equal(export_dir("absent", "out"), MU_NOINPUT);
    assert_int_equal(mu_make_dirs("out", 0), MU_OK); /* an empty one will do; so will a slash after */
    assert_int_equal(export_dir("ckpt", "out/"), MU_OK);
    assert_true(mu_is_file("out/model.safetensors") && mu_is_file("out/config.json"));
    assert_int_equal(export_dir("ckpt", "out"), MU_OK); /* the same again */
    assert_heard("is there already");
    assert_int_equal(import_dir("model", "ckpt-other"), MU_OK);
    assert_int_equal(export_dir("ckpt-other", "out"), MU_RUNDIR);
    mu_buf_release(&before);
    mu_buf_release(&after);
}

static void a_damaged_checkpoint_is_not_exported(void **state)
{
    (void)state;
    mu_buf_t bytes = MU_BUF_INIT;
    copy_model("neox", "sound");
    assert_int_equal(import_dir("sound", "hurt"), MU_OK);
    mu_checkpoint_t *whole;
    assert_int_equal(mu_checkpoint_newest("hurt", INT64_MAX, &whole), MU_OK);
    uint64_t at = mu_checkpoint_manifest(whole)->shards[0].slices[7].at;
    mu_checkpoint_close(whole);
    read_all("hurt/step-00000000/shard-tp00-dp00.h5", &bytes);
    bytes.data[at + 5] ^= 1;
    write_bytes("hurt/step-00000000/shard-tp00-dp00.h5", bytes.data, bytes.len);
    assert_int_equal(export_dir("hurt", "hurt-out"), MU_DATA);
    assert_false(mu_is_dir("hurt-out"));
    mu_buf_release(&bytes);
}

#define LETTERS                                                                                              \
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":%d,\"content\":\"<|endoftext|>\",\"special\":true,"      \
    "\"normalized\":false,\"single_word\":false,\"lstrip\":false,\"rstrip\":false}],\"normalizer\":null,"    \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true},"           \
    "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"                 \
    "\"trim_offsets\":true},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}"

/* Of generation_config.json, else of config.json; an id that the model does not have is left out. */
static void the_end_of_a_text_goes_along(void **state)
{
    (void)state;
    mu_buf_t is = MU_BUF_INIT;
    copy_model("neox", "ending"); /* its config.json says 2 */
    assert_int_equal(import_dir("ending", "ending.ckpt"), MU_OK);
    assert_int_equal(export_dir("ending.ckpt", "ending-out"), MU_OK);
    read_all("ending-out/config.json", &is);
    assert_non_null(strstr(is.data, "\"eos_token_id\": 2"));
    write_text("ending/generation_config.json", "{\"eos_token_id\": [5, 7, -1, 99]}");
    assert_int_equal(import_dir("ending", "ending.ckpt2"), MU_OK);
    assert_heard("99");
    assert_int_equal(export_dir("ending.ckpt2", "ending-out2"), MU_OK);
    read_all("ending-out2/config.json", &is);
    assert_non_null(strstr(is.data, "\"eos_token_id\": [5, 7]"));
    read_all("ending-out2/generation_config.json", &is);
    assert_non_null(strstr(is.data, "\"eos_token_id\": [5, 7]"));
    write_text("ending/generation_config.json", "{\"eos_token_id\": \"5\"}");
    assert_int_equal(import_dir("ending", "ending.ckpt3"), MU_DATA);
    assert_heard("generation_config.json");
    mu_buf_release(&is);
}

/* Of config.json, else of generation_config.json; none where the model has none, although <|endoftext|> is there. */
static void where_a_text_begins_and_what_fills_it_up(void **state)
{
    (void)state;
    mu_buf_t is = MU_BUF_INIT;
    json_t *config = NULL;
    char *letters = mu_format(LETTERS, 2);
    copy_model("neox", "special");
    config = json_load_file("special/config.json", 0, NULL);
    write_text("special/tokenizer.json", letters);
    json_object_set_new(config, "bos_token_id", json_integer(4));
    json_object_set_new(config, "pad_token_id", json_integer(6));
    assert_int_equal(json_dump_file(config, "special/config.json", 0), 0);
    assert_int_equal(import_dir("special", "special.ckpt"), MU_OK);
    assert_int_equal(export_dir("special.ckpt", "special-out"), MU_OK);
    for (int i = 0; i < 2; i++) {
        read_all(i ? "special-out/generation_config.json" : "special-out/config.json", &is);
        assert_non_null(strstr(is.data, "\"bos_token_id\": 4"));
        assert_non_null(strstr(is.data, "\"pad_token_id\": 6"));
    }
    json_object_del(config, "bos_token_id");
    json_object_del(config, "pad_token_id");
    assert_int_equal(json_dump_file(config, "special/config.json", 0), 0);
    assert_int_equal(import_dir("special", "special.ckpt2"), MU_OK);
    assert_int_equal(export_dir("special.ckpt2", "special-out2"), MU_OK);
    read_all("special-out2/config.json", &is);
    assert_non_null(strstr(is.data, "\"bos_token_id\": null"));
    assert_null(strstr(is.data, "pad_token_id"));
    write_text("special/generation_config.json", "{\"bos_token_id\": 5, \"pad_token_id\": 7}");
    assert_int_equal(import_dir("special", "special.ckpt3"), MU_OK);
    assert_int_equal(export_dir("special.ckpt3", "special-out3"), MU_OK);
    read_all("special-out3/config.json", &is);
    assert_non_null(strstr(is.data, "\"bos_token_id\": 5"));
    assert_non_null(strstr(is.data, "\"pad_token_id\": 7"));
    json_decref(config);
    free(letters);
    mu_buf_release(&is);
}

/* A tokenizer's settings, the chat template and the settings of generation are kept byte for byte, unless the
 * tokenizer changes: then its settings are made anew, with the template. */
static void what_lies_beside_a_model_goes_along(void **state)
{
    (void)state;
    static const char *const names[] = {"tokenizer_config.json", "chat_template.jinja",
                                        "generation_config.json", "special_tokens_map.json"};
    mu_buf_t was = MU_BUF_INIT, is = MU_BUF_INIT;
    char *text = mu_format(LETTERS, 2);
    char *special[] = {mu_strdup("import"),
                       mu_strdup("beside"),
                       mu_strdup("--output"),
                       mu_strdup("beside.ckpt2"),
                       mu_strdup("--special"),
                       mu_strdup("<|chat|>"),
                       NULL};
    copy_model("llama", "beside");
    write_text("beside/tokenizer.json", text);
    write_text("beside/tokenizer_config.json",
               "{\"chat_template\": \"{{ \\\"x\\\" }}\", \"add_bos_token\": true, \"eos_token\": \"a\"}");
    write_text("beside/chat_template.jinja", "{% for m in messages %}\n");
    write_text("beside/generation_config.json", "{\"eos_token_id\": 7, \"temperature\": 0.25}\n");
    write_text("beside/special_tokens_map.json", "{}");
    assert_int_equal(import_dir("beside", "beside.ckpt"), MU_OK);
    assert_int_equal(export_dir("beside.ckpt", "beside-out"), MU_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *from = mu_path_join("beside", names[i]), *to = mu_path_join("beside-out", names[i]);
        read_all(from, &was);
        read_all(to, &is);
        assert_string_equal(was.data, is.data);
        free(from);
        free(to);
    }
    quiet();
    assert_int_equal(mu_verb_import(6, special), MU_OK);
    assert_int_equal(export_dir("beside.ckpt2", "beside-out2"), MU_OK);
    read_all("beside-out2/tokenizer_config.json", &is);
    assert_non_null(strstr(is.data, "\"chat_template\": \"{{ \\\"x\\\" }}\""));
    assert_null(strstr(is.data, "add_bos_token"));
    assert_non_null(strstr(is.data, "\"eos_token\": \"a\""));
    assert_false(mu_is_file("beside-out2/special_tokens_map.json"));
    assert_true(mu_is_file("beside-out2/chat_template.jinja"));
    write_text("beside/chat_template.jinja", "another"); /* other files: another import */
    assert_int_equal(import_dir("beside", "beside.ckpt"), MU_RUNDIR);
    for (int i = 0; i < 6; i++)
        free(special[i]);
    free(text);
    mu_buf_release(&was);
    mu_buf_release(&is);
}

static void the_tokenizer_goes_along(void **state)
{
    (void)state;
    mu_buf_t was = MU_BUF_INIT, is = MU_BUF_INIT;
    char *text = mu_format(LETTERS, 2);
    copy_model("neox", "words");
    write_text("words/tokenizer.json", text);
    assert_int_equal(import_dir("words", "words.ckpt"), MU_OK);
    assert_int_equal(export_dir("words.ckpt", "words-out"), MU_OK);
    read_all("words/tokenizer.json", &was);
    read_all("words-out/tokenizer.json", &is);
    assert_string_equal(was.data, is.data);
    read_all("words-out/config.json", &is);
    assert_non_null(strstr(is.data, "\"eos_token_id\": 2"));
    read_all("words-out/tokenizer_config.json", &is);
    assert_non_null(strstr(is.data, "\"eos_token\": \"<|endoftext|>\""));
    assert_non_null(strstr(is.data, "\"model_input_names\": [\"input_ids\", \"attention_mask\"]"));
    free(text);

    text = mu_format(LETTERS, 24); /* one more than there are rows */
    write_text("words/tokenizer.json", text);
    assert_int_equal(import_dir("words", "words.ckpt2"), MU_DATA);
    assert_heard("25 ids");
    write_text("words/tokenizer.json", "{}");
    assert_int_equal(import_dir("words", "words.ckpt2"), MU_DATA);

    /* GPT-2's two files become one */
    assert_int_equal(unlink("words/tokenizer.json"), 0);
    write_text("words/vocab.json", "{\"a\":0,\"b\":1,\"ab\":2,\"<|endoftext|>\":3}");
    write_text("words/merges.txt", "#version: 0.2\na b\n");
    if (import_dir("words", "words.ckpt3") != MU_OK)
        fail_msg("%s", heard.data);
    assert_true(mu_is_file("words.ckpt3/step-00000000/tokenizer.json"));
    assert_false(mu_is_file("words.ckpt3/tokenizer.json.tmp-import"));
    free(text);
    mu_buf_release(&was);
    mu_buf_release(&is);
}

static void command_lines_are_checked(void **state)
{
    (void)state;
    char verb[] = "import", dir[] = "x", output[] = "--output", unknown[] = "--what";
    char *none[] = {verb, NULL}, *lone[] = {verb, dir, NULL}, *odd[] = {verb, dir, unknown, NULL},
         *two[] = {verb, dir, dir, output, dir, NULL};
    struct {
        int argc;
        char **argv;
    } row[] = {{1, none}, {2, lone}, {3, odd}, {5, two}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        quiet();
        assert_int_equal(mu_verb_import(row[i].argc, row[i].argv), MU_USAGE);
        assert_int_equal(mu_verb_export(row[i].argc, row[i].argv), MU_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neox_of_every_age),
        cmocka_unit_test(gpt2_of_every_age),
        cmocka_unit_test(what_is_not_ours_is_refused),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(a_model_of_neither_class_has_none),
        cmocka_unit_test(reordering_is_its_own_inverse_and_what_gpt2_means),
        cmocka_unit_test(the_configurations_have_the_published_sizes),
        cmocka_unit_test(a_tied_matrix_has_two_names),
        cmocka_unit_test(a_tied_head_that_is_another_is_refused),
        cmocka_unit_test(an_import_that_fails_leaves_nothing),
        cmocka_unit_test(nothing_is_overwritten),
        cmocka_unit_test(a_damaged_checkpoint_is_not_exported),
        cmocka_unit_test(the_end_of_a_text_goes_along),
        cmocka_unit_test(where_a_text_begins_and_what_fills_it_up),
        cmocka_unit_test(what_lies_beside_a_model_goes_along),
        cmocka_unit_test(the_tokenizer_goes_along),
        cmocka_unit_test(command_lines_are_checked),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
