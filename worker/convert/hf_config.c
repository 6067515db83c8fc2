/* config.json to our YAML and back (worker/convert/hf_model.h). */
#include "common/json.h"
#include "common/log.h"
#include "common/config/config.h"
#include "worker/convert/hf_model.h"

#include <jansson.h>
#include <math.h>

typedef struct reader {
    const char *name;
    const json_t *root;
    mu_buf_t *yaml;
    mu_status_t status; /* the first error */
} reader_t;

static void set(reader_t *r, mu_status_t status)
{
    if (r->status == MU_OK)
        r->status = status;
}

/* null is as good as absent, as in Transformers */
static const json_t *get(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_null(v) ? NULL : v;
}

static int64_t get_count(reader_t *r, const char *key, int64_t otherwise)
{
    const json_t *v = get(r->root, key);
    if (!v && otherwise > 0)
        return otherwise;
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > INT32_MAX) {
        set(r, mu_fail(MU_DATA, "%s: '%s' is %s: a whole number from 1 is wanted", r->name, key,
                       v ? "out of range" : "not there"));
        return 1;
    }
    return json_integer_value(v);
}

static double get_number(reader_t *r, const json_t *object, const char *key, double otherwise)
{
    const json_t *v = get(object, key);
    if (!v)
        return otherwise;
    if (!json_is_number(v) || !isfinite(json_number_value(v))) {
        set(r, mu_fail(MU_DATA, "%s: '%s' is no number", r->name, key));
        return otherwise;
    }
    return json_number_value(v);
}

static bool get_flag(reader_t *r, const char *key, bool otherwise)
{
    const json_t *v = get(r->root, key);
    if (v && !json_is_boolean(v))
        set(r, mu_fail(MU_DATA, "%s: '%s' is neither true nor false", r->name, key));
    return v ? json_is_true(v) : otherwise;
}

/* A setting that changes what the model computes and that we have one value of. */
static void only(reader_t *r, const char *key, bool want)
{
    if (get_flag(r, key, want) != want)
        set(r, mu_fail(MU_CONFIG, "%s: '%s' %s is not supported", r->name, key, want ? "false" : "true"));
}

static void read_activation(reader_t *r, const char *key, const char *otherwise)
{
    static const struct {
        const char *name;
        bool tanh;
    } known[] = {{"gelu", false},
                 {"gelu_python", false},
                 {"gelu_new", true},
                 {"gelu_fast", true},
                 {"gelu_pytorch_tanh", true}};
    const json_t *v = get(r->root, key);
    const char *name = v ? json_string_value(v) : otherwise;
    for (size_t i = 0; name && i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) == 0) {
            mu_buf_addf(r->yaml, "bias_gelu_fusion: %s\n", known[i].tanh ? "true" : "false");
            return;
        }
    }
    set(r, mu_fail(MU_CONFIG, "%s: '%s' is '%s': gelu, gelu_new, gelu_fast or gelu_pytorch_tanh is wanted",
                   r->name, key, name ? name : "?"));
}

/* New files have rope_parameters; old ones rotary_pct and rotary_emb_base, or rope_theta and
 * partial_rotary_factor; scaled positions of any kind are others than ours. */
static void read_rotary(reader_t *r)
{
    static const char *const places[] = {"rope_parameters", "rope_scaling"};
    double share = get_number(r, r->root, "partial_rotary_factor", 0.25),
           base = get_number(r, r->root, "rope_theta", 10000);
    share = get_number(r, r->root, "rotary_pct", share);
    base = get_number(r, r->root, "rotary_emb_base", base);
    for (int i = 0; i < 2; i++) {
        const json_t *rope = get(r->root, places[i]);
        if (!rope)
            continue;
        const char *type = json_string_value(get(rope, "rope_type"));
        if (!type)
            type = json_string_value(get(rope, "type"));
        if (!json_is_object(rope))
            set(r, mu_fail(MU_DATA, "%s: '%s' is no object", r->name, places[i]));
        else if (type && strcmp(type, "default") != 0)
            set(r, mu_fail(MU_CONFIG, "%s: '%s' of type '%s' is not supported: default is wanted", r->name,
                           places[i], type));
        share = get_number(r, rope, "partial_rotary_factor", share);
        base = get_number(r, rope, "rope_theta", base);
    }
    mu_buf_addf(r->yaml, "pos_emb: rotary\nrotary_pct: %.17g\nrotary_emb_base: %.17g\n", share, base);
}

static void write_common(reader_t *r, int64_t layers, int64_t hidden, int64_t heads, int64_t ffn,
                         int64_t positions)
{
    mu_buf_addf(r->yaml,
                "num_layers: %lld\nhidden_size: %lld\nnum_attention_heads: %lld\nintermediate_size: %lld\n"
                "seq_length: %lld\nmax_position_embeddings: %lld\npadded_vocab_size: %lld\n",
                (long long)layers, (long long)hidden, (long long)heads, (long long)ffn, (long long)positions,
                (long long)positions, (long long)get_count(r, "vocab_size", 0));
    mu_buf_addf(r->yaml, "init_method: normal\ninit_method_std: %.17g\n",
                get_number(r, r->root, "initializer_range", 0.02));
}

static void read_neox(reader_t *r)
{
    int64_t hidden = get_count(r, "hidden_size", 0);
    write_common(r, get_count(r, "num_hidden_layers", 0), hidden, get_count(r, "num_attention_heads", 0),
                 get_count(r, "intermediate_size", 4 * hidden),
                 get_count(r, "max_position_embeddings", 2048));
    only(r, "attention_bias", true);
    mu_buf_addf(r->yaml, "layernorm_epsilon: %.17g\n", get_number(r, r->root, "layer_norm_eps", 1e-5));
    read_rotary(r);
    read_activation(r, "hidden_act", "gelu");
    mu_buf_addf(r->yaml, "gpt_j_residual: %s\nno_weight_tying: %s\n",
                get_flag(r, "use_parallel_residual", true) ? "true" : "false",
                get_flag(r, "tie_word_embeddings", false) ? "false" : "true");
}

static void read_gpt2(reader_t *r)
{
    int64_t hidden = get_count(r, "n_embd", 0);
    write_common(r, get_count(r, "n_layer", 0), hidden, get_count(r, "n_head", 0),
                 get_count(r, "n_inner", 4 * hidden), get_count(r, "n_positions", 1024));
    only(r, "scale_attn_weights", true);
    only(r, "scale_attn_by_inverse_layer_idx", false);
    only(r, "add_cross_attention", false);
    mu_buf_addf(r->yaml, "layernorm_epsilon: %.17g\npos_emb: learned\ngpt_j_residual: false\n",
                get_number(r, r->root, "layer_norm_epsilon", 1e-5));
    read_activation(r, "activation_function", "gelu_new");
    mu_buf_addf(r->yaml, "no_weight_tying: %s\n",
                get_flag(r, "tie_word_embeddings", true) ? "false" : "true");
}

mu_status_t mu_hf_config_read(const char *name, const char *text, size_t n, mu_hf_family_t *family,
                              mu_buf_t *yaml)
{
    json_error_t error;
    json_t *root = mu_json_parse(text, n, MU_JSON_CONFIG, &error);
    reader_t r = {.name = name, .root = root, .yaml = yaml};
    const char *type = json_string_value(json_object_get(root, "model_type"));
    if (!root) {
        r.status = mu_fail(MU_DATA, "%s:%d:%d: %s", name, error.line, error.column, error.text);
    } else if (type && strcmp(type, "gpt_neox") == 0) {
        *family = MU_HF_NEOX;
        read_neox(&r);
    } else if (type && strcmp(type, "gpt2") == 0) {
        *family = MU_HF_GPT2;
        read_gpt2(&r);
    } else {
        r.status = mu_fail(MU_CONFIG, "%s: 'model_type' is '%s': gpt_neox or gpt2 is wanted", name,
                           type ? type : "not there");
    }
    json_decref(root);
    return r.status;
}

static void write_neox(const mu_model_t *m, mu_buf_t *out)
{
    double d = (double)mu_model_head_dim(m), share = (double)m->rotary_dims / d;
    if ((int64_t)(share * d) < m->rotary_dims) /* a reader multiplies and cuts off */
        share = nextafter(share, 1);
    mu_buf_addf(out,
                "  \"architectures\": [\"GPTNeoXForCausalLM\"],\n  \"model_type\": \"gpt_neox\",\n"
                "  \"hidden_size\": %lld,\n  \"num_hidden_layers\": %lld,\n"
                "  \"num_attention_heads\": %lld,\n  \"intermediate_size\": %lld,\n"
                "  \"max_position_embeddings\": %lld,\n  \"hidden_act\": \"%s\",\n"
                "  \"layer_norm_eps\": %.17g,\n  \"use_parallel_residual\": %s,\n"
                "  \"attention_bias\": true,\n  \"attention_dropout\": 0.0,\n  \"hidden_dropout\": 0.0,\n"
                "  \"rotary_pct\": %.17g,\n  \"rotary_emb_base\": %.17g,\n"
                "  \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": %.17g, "
                "\"partial_rotary_factor\": %.17g},\n",
                (long long)m->hidden, (long long)m->layers, (long long)m->heads, (long long)m->ffn,
                (long long)m->max_positions, m->activation == MU_GELU_TANH ? "gelu_new" : "gelu", m->norm_eps,
                m->residual == MU_RESIDUAL_PARALLEL ? "true" : "false", share, m->rotary_base, m->rotary_base,
                share);
}

static void write_gpt2(const mu_model_t *m, mu_buf_t *out)
{
    mu_buf_addf(out,
                "  \"architectures\": [\"GPT2LMHeadModel\"],\n  \"model_type\": \"gpt2\",\n"
                "  \"n_embd\": %lld,\n  \"n_layer\": %lld,\n  \"n_head\": %lld,\n  \"n_inner\": %lld,\n"
                "  \"n_positions\": %lld,\n  \"n_ctx\": %lld,\n  \"activation_function\": \"%s\",\n"
                "  \"layer_norm_epsilon\": %.17g,\n  \"scale_attn_weights\": true,\n"
                "  \"attn_pdrop\": 0.0,\n  \"embd_pdrop\": 0.0,\n  \"resid_pdrop\": 0.0,\n",
                (long long)m->hidden, (long long)m->layers, (long long)m->heads, (long long)m->ffn,
                (long long)m->max_positions, (long long)m->max_positions,
                m->activation == MU_GELU_TANH ? "gelu_new" : "gelu", m->norm_eps);
}

mu_status_t mu_hf_end_tokens(const char *name, const char *text, size_t n, int64_t vocab, mu_buf_t *out)
{
    json_error_t error;
    json_t *root = mu_json_parse(text, n, MU_JSON_CONFIG, &error);
    if (!root)
        return mu_fail(MU_DATA, "%s:%d:%d: %s", name, error.line, error.column, error.text);
    const json_t *v = get(root, "eos_token_id");
    size_t count = json_is_array(v) ? json_array_size(v) : v ? 1 : 0;
    mu_status_t status = MU_OK;
    int taken = 0;
    for (size_t i = 0; i < count && status == MU_OK; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id))
            status = mu_fail(MU_DATA, "%s: 'eos_token_id' is neither an id nor a list of ids", name);
        else if (value >= vocab)
            mu_warn("%s: 'eos_token_id' %lld is no id of the %lld that the model has: left out", name,
                    (long long)value, (long long)vocab);
        else if (value >= 0 && taken++ < MU_END_TOKENS) /* some files write -1 for none */
            mu_buf_addf(out, "%s%lld", taken > 1 ? ", " : "", (long long)value);
    }
    json_decref(root);
    return status;
}

void mu_hf_ids(const int32_t *ids, int n, mu_buf_t *out)
{
    if (n == 0)
        mu_buf_adds(out, "null");
    for (int i = 0; i < n; i++)
        mu_buf_addf(out, "%s%d", i > 0 ? ", " : n > 1 ? "[" : "", (int)ids[i]);
    if (n > 1)
        mu_buf_adds(out, "]");
}

void mu_hf_config_write(const mu_model_t *m, mu_hf_family_t family, int bos, const int32_t *end, int ends,
                        mu_buf_t *out)
{
    char id[16] = "null";
    mu_buf_t eos = MU_BUF_INIT;
    if (bos >= 0)
        snprintf(id, sizeof id, "%d", bos);
    mu_hf_ids(end, ends, &eos);
    mu_buf_adds(out, "{\n");
    (family == MU_HF_NEOX ? write_neox : write_gpt2)(m, out);
    mu_buf_addf(out,
                "  \"vocab_size\": %lld,\n  \"tie_word_embeddings\": %s,\n  \"initializer_range\": %.17g,\n"
                "  \"bos_token_id\": %s,\n  \"eos_token_id\": %s,\n  \"use_cache\": true,\n"
                "  \"torch_dtype\": \"float32\"\n}\n",
                (long long)m->vocab, m->tied_head ? "true" : "false", m->init_std > 0 ? m->init_std : 0.02,
                id, eos.data);
    mu_buf_release(&eos);
}
