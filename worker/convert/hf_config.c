/* config.json to our YAML and back (worker/convert/hf_model.h). */
#include "common/json.h"
#include "common/log.h"
#include "common/config/config.h"
#include "worker/convert/hf_llama.h"
#include "worker/convert/hf_model.h"

#include <math.h>

static void read_activation(mu_hf_reader_t *r, const char *key, const char *otherwise)
{
    static const struct {
        const char *name;
        bool tanh;
    } known[] = {{"gelu", false},
                 {"gelu_python", false},
                 {"gelu_new", true},
                 {"gelu_fast", true},
                 {"gelu_pytorch_tanh", true}};
    const json_t *v = mu_hf_get(r->root, key);
    const char *name = v ? json_string_value(v) : otherwise;
    for (size_t i = 0; name && i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) == 0) {
            mu_buf_addf(r->yaml, "bias_gelu_fusion: %s\n", known[i].tanh ? "true" : "false");
            return;
        }
    }
    mu_hf_set(r,
              mu_fail(MU_CONFIG, "%s: '%s' is '%s': gelu, gelu_new, gelu_fast or gelu_pytorch_tanh is wanted",
                      r->name, key, name ? name : "?"));
}

/* New files have rope_parameters; old ones rotary_pct and rotary_emb_base, or rope_theta and
 * partial_rotary_factor; scaled positions of any kind are others than ours. */
static void read_rotary(mu_hf_reader_t *r)
{
    static const char *const places[] = {"rope_parameters", "rope_scaling"};
    double share = mu_hf_number(r, r->root, "partial_rotary_factor", 0.25),
           base = mu_hf_number(r, r->root, "rope_theta", 10000);
    share = mu_hf_number(r, r->root, "rotary_pct", share);
    base = mu_hf_number(r, r->root, "rotary_emb_base", base);
    for (int i = 0; i < 2; i++) {
        const json_t *rope = mu_hf_object(r, places[i]);
        if (rope && strcmp(mu_hf_rope_type(rope), "default") != 0)
            mu_hf_set(r, mu_fail(MU_CONFIG, "%s: '%s' of type '%s' is not supported: default is wanted",
                                 r->name, places[i], mu_hf_rope_type(rope)));
        share = mu_hf_number(r, rope, "partial_rotary_factor", share);
        base = mu_hf_number(r, rope, "rope_theta", base);
    }
    mu_buf_addf(r->yaml, "pos_emb: rotary\nrotary_pct: %.17g\nrotary_emb_base: %.17g\n", share, base);
}

/* Ours is one for embeddings and branches. */
static void read_dropout(mu_hf_reader_t *r, const char *attention, const char *hidden, double otherwise)
{
    mu_buf_addf(r->yaml, "attention_dropout: %.17g\nhidden_dropout: %.17g\n",
                mu_hf_number(r, r->root, attention, otherwise), mu_hf_number(r, r->root, hidden, otherwise));
}

static void read_neox(mu_hf_reader_t *r)
{
    int64_t hidden = mu_hf_count(r, "hidden_size", 0),
            positions = mu_hf_count(r, "max_position_embeddings", 2048);
    mu_hf_common(r, mu_hf_count(r, "num_hidden_layers", 0), hidden, mu_hf_count(r, "num_attention_heads", 0),
                 mu_hf_count(r, "intermediate_size", 4 * hidden), positions, positions);
    mu_hf_only(r, "attention_bias", true);
    mu_buf_addf(r->yaml, "layernorm_epsilon: %.17g\n", mu_hf_number(r, r->root, "layer_norm_eps", 1e-5));
    read_rotary(r);
    read_dropout(r, "attention_dropout", "hidden_dropout", 0);
    read_activation(r, "hidden_act", "gelu");
    mu_buf_addf(r->yaml, "gpt_j_residual: %s\nno_weight_tying: %s\n",
                mu_hf_flag(r, "use_parallel_residual", true) ? "true" : "false",
                mu_hf_flag(r, "tie_word_embeddings", false) ? "false" : "true");
}

static void read_gpt2(mu_hf_reader_t *r)
{
    int64_t hidden = mu_hf_count(r, "n_embd", 0), positions = mu_hf_count(r, "n_positions", 1024);
    mu_hf_common(r, mu_hf_count(r, "n_layer", 0), hidden, mu_hf_count(r, "n_head", 0),
                 mu_hf_count(r, "n_inner", 4 * hidden), positions, positions);
    mu_hf_only(r, "scale_attn_weights", true);
    mu_hf_only(r, "scale_attn_by_inverse_layer_idx", false);
    mu_hf_only(r, "add_cross_attention", false);
    mu_buf_addf(r->yaml, "layernorm_epsilon: %.17g\npos_emb: learned\ngpt_j_residual: false\n",
                mu_hf_number(r, r->root, "layer_norm_epsilon", 1e-5));
    read_dropout(r, "attn_pdrop", "resid_pdrop", 0.1);
    read_activation(r, "activation_function", "gelu_new");
    mu_buf_addf(r->yaml, "no_weight_tying: %s\n",
                mu_hf_flag(r, "tie_word_embeddings", true) ? "false" : "true");
}

mu_status_t mu_hf_config_read(const char *name, const char *text, size_t n, mu_hf_family_t *family,
                              mu_buf_t *yaml)
{
    json_error_t error;
    json_t *root = mu_json_parse(text, n, MU_JSON_CONFIG, &error);
    mu_hf_reader_t r = {.name = name, .root = root, .yaml = yaml};
    const char *type = json_string_value(json_object_get(root, "model_type"));
    if (!root) {
        r.status = mu_fail(MU_DATA, "%s:%d:%d: %s", name, error.line, error.column, error.text);
    } else if (type && strcmp(type, "gpt_neox") == 0) {
        *family = MU_HF_NEOX;
        read_neox(&r);
    } else if (type && strcmp(type, "gpt2") == 0) {
        *family = MU_HF_GPT2;
        read_gpt2(&r);
    } else if (mu_hf_llama_read(&r, type)) {
        *family = MU_HF_LLAMA;
    } else {
        r.status = mu_fail(
            MU_CONFIG, "%s: 'model_type' is '%s': gpt_neox, gpt2, llama, mistral, qwen2 or qwen3 is wanted",
            name, type ? type : "not there");
    }
    json_decref(root);
    return r.status;
}

static void write_dropout(const char *name, double p, mu_buf_t *out)
{
    mu_buf_adds(out, "  ");
    mu_hf_number_write(name, p, out);
    mu_buf_adds(out, ",\n");
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
                "  \"attention_bias\": true,\n"
                "  \"rotary_pct\": %.17g,\n  \"rotary_emb_base\": %.17g,\n"
                "  \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": %.17g, "
                "\"partial_rotary_factor\": %.17g},\n",
                (long long)m->hidden, (long long)m->layers, (long long)m->heads, (long long)m->ffn,
                (long long)m->max_positions, m->activation == MU_GELU_TANH ? "gelu_new" : "gelu", m->norm_eps,
                m->residual == MU_RESIDUAL_PARALLEL ? "true" : "false", share, m->rotary_base, m->rotary_base,
                share);
    write_dropout("attention_dropout", m->attention_dropout, out);
    write_dropout("hidden_dropout", m->hidden_dropout, out);
}

static void write_gpt2(const mu_model_t *m, mu_buf_t *out)
{
    mu_buf_addf(out,
                "  \"architectures\": [\"GPT2LMHeadModel\"],\n  \"model_type\": \"gpt2\",\n"
                "  \"n_embd\": %lld,\n  \"n_layer\": %lld,\n  \"n_head\": %lld,\n  \"n_inner\": %lld,\n"
                "  \"n_positions\": %lld,\n  \"n_ctx\": %lld,\n  \"activation_function\": \"%s\",\n"
                "  \"layer_norm_epsilon\": %.17g,\n  \"scale_attn_weights\": true,\n",
                (long long)m->hidden, (long long)m->layers, (long long)m->heads, (long long)m->ffn,
                (long long)m->max_positions, (long long)m->max_positions,
                m->activation == MU_GELU_TANH ? "gelu_new" : "gelu", m->norm_eps);
    write_dropout("attn_pdrop", m->attention_dropout, out);
    write_dropout("embd_pdrop", m->hidden_dropout, out);
    write_dropout("resid_pdrop", m->hidden_dropout, out);
}

mu_status_t mu_hf_end_tokens(const char *name, const char *text, size_t n, int64_t vocab, mu_buf_t *out)
{
    json_error_t error;
    json_t *root = mu_json_parse(text, n, MU_JSON_CONFIG, &error);
    if (!root)
        return mu_fail(MU_DATA, "%s:%d:%d: %s", name, error.line, error.column, error.text);
    const json_t *v = mu_hf_get(root, "eos_token_id");
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

void mu_hf_special_write(const mu_hf_special_t *ids, mu_buf_t *out)
{
    int32_t bos = ids->bos;
    mu_buf_adds(out,
                "  \"bos_token_id\": "); /* also null: a class of Transformers has a default of its own */
    mu_hf_ids(&bos, bos >= 0, out);
    if (ids->pad >= 0)
        mu_buf_addf(out, ",\n  \"pad_token_id\": %d", ids->pad);
    mu_buf_adds(out, ",\n  \"eos_token_id\": ");
    mu_hf_ids(ids->end, ids->ends, out);
}

void mu_hf_config_write(const mu_model_t *m, mu_model_type_t type, const mu_hf_special_t *ids, mu_buf_t *out)
{
    mu_buf_adds(out, "{\n");
    if (type == MU_TYPE_GPT_NEOX)
        write_neox(m, out);
    else if (type == MU_TYPE_GPT2)
        write_gpt2(m, out);
    else
        mu_hf_llama_write(m, type, out);
    mu_buf_addf(out,
                "  \"vocab_size\": %lld,\n  \"tie_word_embeddings\": %s,\n  \"initializer_range\": %.17g,\n",
                (long long)m->vocab, m->tied_head ? "true" : "false", m->init_std > 0 ? m->init_std : 0.02);
    mu_hf_special_write(ids, out);
    mu_buf_adds(out, ",\n  \"use_cache\": true,\n  \"torch_dtype\": \"float32\"\n}\n");
}
