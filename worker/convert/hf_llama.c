#include "worker/convert/hf_llama.h"
#include "common/log.h"
#include "common/num.h"
#include "common/rope.h"

#include <math.h>

/* What a class has, beside what all have. */
typedef struct llama_class {
    const char *type;     /* model_type */
    int64_t kv_heads;     /* where config.json is silent; 0: as many as heads */
    int64_t head_dim;     /* the same; 0: hidden_size / num_attention_heads */
    bool attention_bias;  /* has the setting: biases of queries, keys, values and output */
    bool mlp_bias;        /* has the setting */
    bool qkv_bias;        /* of queries, keys and values, always */
    bool qk_norm;         /* always */
    bool window;          /* sliding_window, 4096 where config.json is silent */
    bool optional_window; /* only with use_sliding_window, from layer max_window_layers on */
} llama_class_t;

static const llama_class_t llama_classes[] = {
    [MU_TYPE_LLAMA] = {.type = "llama", .attention_bias = true, .mlp_bias = true},
    [MU_TYPE_MISTRAL] = {.type = "mistral", .kv_heads = 8, .window = true},
    [MU_TYPE_QWEN2] =
        {.type = "qwen2", .kv_heads = 32, .qkv_bias = true, .window = true, .optional_window = true},
    [MU_TYPE_QWEN3] = {.type = "qwen3",
                       .kv_heads = 32,
                       .head_dim = 128,
                       .attention_bias = true,
                       .qk_norm = true,
                       .window = true,
                       .optional_window = true},
};

static int class_of(const char *model_type)
{
    for (int t = MU_TYPE_LLAMA; t <= MU_TYPE_QWEN3; t++)
        if (model_type && strcmp(model_type, llama_classes[t].type) == 0)
            return t;
    return -1;
}

/* ---- reading ---- */

static void read_activation(mu_hf_reader_t *r)
{
    const json_t *v = mu_hf_get(r->root, "hidden_act");
    const char *name = v ? json_string_value(v) : "silu";
    if (!name || (strcmp(name, "silu") != 0 && strcmp(name, "swish") != 0))
        mu_hf_set(r,
                  mu_fail(MU_CONFIG, "%s: 'hidden_act' is '%s': silu is wanted", r->name, name ? name : "?"));
}

/* DeepSeek's and others' two factors of yarn, which together are one. */
static double yarn_attention(mu_hf_reader_t *r, const json_t *rope, double factor)
{
    double one = mu_hf_number(r, rope, "mscale", 0), all = mu_hf_number(r, rope, "mscale_all_dim", 0);
    if (one == 0 || all == 0 || factor <= 1)
        return 0;
    return (0.1 * one * log(factor) + 1) / (0.1 * all * log(factor) + 1);
}

static void read_yarn(mu_hf_reader_t *r, const json_t *rope, double factor)
{
    const json_t *truncate = mu_hf_get(rope, "truncate");
    double attention = mu_hf_number(r, rope, "attention_factor", yarn_attention(r, rope, factor));
    mu_buf_addf(r->yaml, "    beta_fast: %.17g\n    beta_slow: %.17g\n    truncate: %s\n",
                mu_hf_number(r, rope, "beta_fast", 32), mu_hf_number(r, rope, "beta_slow", 1),
                json_is_false(truncate) ? "false" : "true");
    if (attention != 0)
        mu_buf_addf(r->yaml, "    attention_factor: %.17g\n", attention);
}

static void read_scaling(mu_hf_reader_t *r, const json_t *rope)
{
    const char *type = mu_hf_rope_type(rope);
    double factor = mu_hf_number(r, rope, "factor", 1);
    if (strcmp(type, "default") == 0)
        return;
    if (strcmp(type, "linear") != 0 && strcmp(type, "llama3") != 0 && strcmp(type, "yarn") != 0) {
        mu_hf_set(
            r,
            mu_fail(MU_CONFIG,
                    "%s: rotary positions scaled as '%s' are not supported: default, linear, llama3 or yarn "
                    "is wanted",
                    r->name, type));
        return;
    }
    if (!mu_hf_get(rope, "factor"))
        mu_hf_set(r, mu_fail(MU_DATA, "%s: rotary positions scaled as '%s' need a 'factor'", r->name, type));
    mu_buf_addf(r->yaml, "  rope_scaling:\n    type: %s\n    factor: %.17g\n", type, factor);
    double original = mu_hf_number(r, rope, "original_max_position_embeddings", 0);
    if (original > 0)
        mu_buf_addf(r->yaml, "    original_max_position_embeddings: %.17g\n", original);
    if (strcmp(type, "llama3") == 0)
        mu_buf_addf(r->yaml, "    low_freq_factor: %.17g\n    high_freq_factor: %.17g\n",
                    mu_hf_number(r, rope, "low_freq_factor", 1),
                    mu_hf_number(r, rope, "high_freq_factor", 4));
    if (strcmp(type, "yarn") == 0)
        read_yarn(r, rope, factor);
}

/* New files have rope_parameters, with the base in it; old ones rope_theta and rope_scaling. */
static const json_t *read_rotary(mu_hf_reader_t *r)
{
    const json_t *now = mu_hf_object(r, "rope_parameters"), *old = mu_hf_object(r, "rope_scaling");
    const json_t *rope = now ? now : old;
    double base = mu_hf_number(r, rope, "rope_theta", mu_hf_number(r, r->root, "rope_theta", 10000));
    double share =
        mu_hf_number(r, rope, "partial_rotary_factor", mu_hf_number(r, r->root, "partial_rotary_factor", 1));
    if (share != 1)
        mu_hf_set(r, mu_fail(MU_CONFIG, "%s: 'partial_rotary_factor' %g is not supported: 1 is wanted",
                             r->name, share));
    mu_buf_addf(r->yaml, "pos_emb: rotary\nrotary_emb_base: %.17g\n", base);
    return rope;
}

/* Whether some layer's tokens see less than all before them. */
static bool any_window(mu_hf_reader_t *r, const llama_class_t *c, int64_t layers)
{
    const json_t *types = mu_hf_get(r->root, "layer_types"), *type;
    size_t i;
    if (!c->optional_window)
        return c->window;
    if (!mu_hf_flag(r, "use_sliding_window", false))
        return false;
    if (json_is_array(types)) {
        json_array_foreach(types, i, type)
        {
            if (json_string_value(type) && strcmp(json_string_value(type), "sliding_attention") == 0)
                return true;
        }
        return false;
    }
    double from = mu_hf_number(r, r->root, "max_window_layers", 28);
    return from < (double)layers;
}

/* Sequences are no longer than the window, so that it changes nothing. */
static int64_t read_window(mu_hf_reader_t *r, const llama_class_t *c, int64_t layers)
{
    const json_t *window = json_object_get(r->root, "sliding_window");
    if (!any_window(r, c, layers) || json_is_null(window))
        return 0;
    return mu_hf_count(r, "sliding_window", 4096);
}

/* An explicit null means as many as heads; the class's own number is for a missing key. */
static int64_t read_kv_heads(mu_hf_reader_t *r, const llama_class_t *c, int64_t heads)
{
    static const char key[] = "num_key_value_heads";
    bool missing = !json_object_get(r->root, key);
    return mu_hf_count(r, key, missing && c->kv_heads > 0 ? c->kv_heads : heads);
}

bool mu_hf_llama_read(mu_hf_reader_t *r, const char *model_type)
{
    int type = class_of(model_type);
    if (type < 0)
        return false;
    const llama_class_t *c = &llama_classes[type];
    int64_t hidden = mu_hf_count(r, "hidden_size", 0), heads = mu_hf_count(r, "num_attention_heads", 0);
    int64_t layers = mu_hf_count(r, "num_hidden_layers", 0), window = read_window(r, c, layers);
    int64_t positions = mu_hf_count(r, "max_position_embeddings", 2048), head_dim = 0;
    if (mu_hf_get(r->root, "head_dim") || c->head_dim > 0)
        head_dim = mu_hf_count(r, "head_dim", c->head_dim);
    mu_hf_common(r, layers, hidden, heads, 3 * mu_hf_count(r, "intermediate_size", 0), positions,
                 window > 0 ? mu_min_i64(positions, window) : positions);
    bool bias = c->attention_bias && mu_hf_flag(r, "attention_bias", false);
    mu_buf_addf(
        r->yaml,
        "num_kv_heads: %lld\nnorm: rmsnorm\nrms_norm_epsilon: %.17g\nactivation: swiglu\n"
        "use_bias_in_norms: false\nuse_bias_in_attn_linear: %s\nuse_bias_in_mlp: %s\nuse_qk_layernorm: %s\n"
        "gpt_j_residual: false\nno_weight_tying: %s\n",
        (long long)read_kv_heads(r, c, heads), mu_hf_number(r, r->root, "rms_norm_eps", 1e-6),
        bias ? "true" : "false", c->mlp_bias && mu_hf_flag(r, "mlp_bias", false) ? "true" : "false",
        c->qk_norm ? "true" : "false", mu_hf_flag(r, "tie_word_embeddings", false) ? "false" : "true");
    mu_buf_addf(r->yaml, "attention_dropout: %.17g\n", mu_hf_number(r, r->root, "attention_dropout", 0));
    if (window > 0)
        mu_buf_addf(r->yaml, "sliding_window_width: %lld\n", (long long)window);
    read_activation(r);
    const json_t *rope = read_rotary(r);
    mu_buf_addf(r->yaml, "muster:\n  model_type: %s\n  qkv_bias: %s\n", c->type,
                c->qkv_bias ? "true" : "false");
    if (head_dim > 0)
        mu_buf_addf(r->yaml, "  head_dim: %lld\n", (long long)head_dim);
    if (rope)
        read_scaling(r, rope);
    return true;
}

/* ---- writing ---- */

const char *mu_hf_not_llama(const mu_model_t *m, mu_model_type_t type)
{
    const llama_class_t *c = &llama_classes[type];
    bool qkv = !(m->unbiased & MU_UNBIASED_QKV), dense = !(m->unbiased & MU_UNBIASED_DENSE);
    if (m->norm != MU_NORM_RMS || m->activation != MU_SWIGLU)
        return "it has norm rmsnorm and activation swiglu";
    if (m->residual != MU_RESIDUAL_SEQUENTIAL || m->position != MU_POSITION_ROTARY)
        return "it has pos_emb rotary and gpt_j_residual false";
    if (m->rotary_dims != mu_model_head_dim(m))
        return "it has rotary_pct 1";
    if (m->qk_norm != c->qk_norm)
        return c->qk_norm ? "it has use_qk_layernorm true" : "it has use_qk_layernorm false";
    if (!(m->unbiased & MU_UNBIASED_MLP) && !c->mlp_bias)
        return "it has use_bias_in_mlp false";
    if (c->qkv_bias && (!qkv || dense))
        return "it has muster.qkv_bias true and use_bias_in_attn_linear false";
    if (!c->qkv_bias && qkv != dense)
        return "it has muster.qkv_bias false";
    if (!c->qkv_bias && !c->attention_bias && qkv)
        return "it has use_bias_in_attn_linear false";
    return m->window > 0 && !c->window ? "it has no sliding_window_width" : NULL;
}

/* The members of rope_scaling and rope_parameters. */
static void write_scaling(const mu_model_t *m, mu_buf_t *out)
{
    const mu_rope_t *r = &m->rope;
    const struct {
        const char *name;
        double value;
        bool there;
    } numbers[] = {
        {"factor", r->factor, r->type != MU_ROPE_PLAIN},
        {"low_freq_factor", r->low_freq_factor, r->type == MU_ROPE_LLAMA3},
        {"high_freq_factor", r->high_freq_factor, r->type == MU_ROPE_LLAMA3},
        {"beta_fast", r->beta_fast, r->type == MU_ROPE_YARN},
        {"beta_slow", r->beta_slow, r->type == MU_ROPE_YARN},
        {"attention_factor", r->attention_factor, r->type == MU_ROPE_YARN && r->attention_factor > 0},
    };
    mu_buf_addf(out, "\"rope_type\": \"%s\"", mu_rope_name(r->type));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!numbers[i].there)
            continue;
        mu_buf_adds(out, ", ");
        mu_hf_number_write(numbers[i].name, numbers[i].value, out);
    }
    if (r->type == MU_ROPE_LLAMA3 || (r->type == MU_ROPE_YARN && r->original_positions > 0))
        mu_buf_addf(out, ", \"original_max_position_embeddings\": %lld",
                    (long long)(r->original_positions > 0 ? r->original_positions : m->max_positions));
    if (r->type == MU_ROPE_YARN)
        mu_buf_addf(out, ", \"truncate\": %s", r->truncate ? "true" : "false");
}

/* In both spellings: old versions of Transformers read the first, new ones the second. */
static void write_rotary(const mu_model_t *m, mu_buf_t *out)
{
    mu_buf_adds(out, "  ");
    mu_hf_number_write("rope_theta", m->rotary_base, out);
    mu_buf_adds(out, ",\n");
    if (m->rope.type != MU_ROPE_PLAIN) {
        mu_buf_adds(out, "  \"rope_scaling\": {");
        write_scaling(m, out);
        mu_buf_adds(out, "},\n");
    }
    mu_buf_adds(out, "  \"rope_parameters\": {");
    mu_hf_number_write("rope_theta", m->rotary_base, out);
    mu_buf_adds(out, ", ");
    write_scaling(m, out);
    mu_buf_adds(out, "},\n");
}

static void write_window(const mu_model_t *m, const llama_class_t *c, mu_buf_t *out)
{
    if (!c->window)
        return;
    if (c->optional_window)
        mu_buf_addf(out, "  \"use_sliding_window\": %s,\n  \"max_window_layers\": %lld,\n",
                    m->window > 0 ? "true" : "false", m->window > 0 ? 0LL : (long long)m->layers);
    if (m->window > 0)
        mu_buf_addf(out, "  \"sliding_window\": %lld,\n", (long long)m->window);
    else
        mu_buf_adds(out, "  \"sliding_window\": null,\n");
}

void mu_hf_llama_write(const mu_model_t *m, mu_model_type_t type, mu_buf_t *out)
{
    const llama_class_t *c = &llama_classes[type];
    mu_buf_addf(
        out,
        "  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n  \"hidden_size\": %lld,\n"
        "  \"num_hidden_layers\": %lld,\n  \"num_attention_heads\": %lld,\n"
        "  \"num_key_value_heads\": %lld,\n  \"head_dim\": %lld,\n  \"intermediate_size\": %lld,\n"
        "  \"max_position_embeddings\": %lld,\n  \"hidden_act\": \"silu\",\n  \"rms_norm_eps\": %.17g,\n  ",
        mu_hf_class(type), c->type, (long long)m->hidden, (long long)m->layers, (long long)m->heads,
        (long long)mu_model_kv_heads(m), (long long)mu_model_head_dim(m), (long long)m->ffn,
        (long long)m->max_positions, m->norm_eps);
    mu_hf_number_write("attention_dropout", m->attention_dropout, out);
    mu_buf_adds(out, ",\n");
    if (c->attention_bias)
        mu_buf_addf(out, "  \"attention_bias\": %s,\n", m->unbiased & MU_UNBIASED_QKV ? "false" : "true");
    if (c->mlp_bias)
        mu_buf_addf(out, "  \"mlp_bias\": %s,\n", m->unbiased & MU_UNBIASED_MLP ? "false" : "true");
    write_rotary(m, out);
    write_window(m, c, out);
}
