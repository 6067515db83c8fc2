#include "worker/convert/hf_model.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/convert/hf_llama.h"

static const char *const gpt2_names[] = {
    [MU_T_EMBED_IN] = "wte.weight",        [MU_T_EMBED_POS] = "wpe.weight",
    [MU_T_LN1_W] = "ln_1.weight",          [MU_T_LN1_B] = "ln_1.bias",
    [MU_T_LN2_W] = "ln_2.weight",          [MU_T_LN2_B] = "ln_2.bias",
    [MU_T_QKV_W] = "attn.c_attn.weight",   [MU_T_QKV_B] = "attn.c_attn.bias",
    [MU_T_DENSE_W] = "attn.c_proj.weight", [MU_T_DENSE_B] = "attn.c_proj.bias",
    [MU_T_FC1_W] = "mlp.c_fc.weight",      [MU_T_FC1_B] = "mlp.c_fc.bias",
    [MU_T_FC2_W] = "mlp.c_proj.weight",    [MU_T_FC2_B] = "mlp.c_proj.bias",
    [MU_T_LNF_W] = "ln_f.weight",          [MU_T_LNF_B] = "ln_f.bias",
    [MU_T_EMBED_OUT] = "lm_head.weight",
};

static const char *const llama_names[] = {
    [MU_T_EMBED_IN] = "embed_tokens.weight",
    [MU_T_LN1_W] = "input_layernorm.weight",
    [MU_T_LN2_W] = "post_attention_layernorm.weight",
    [MU_T_QKV_W] = "self_attn.%c_proj.weight",
    [MU_T_QKV_B] = "self_attn.%c_proj.bias",
    [MU_T_Q_NORM_W] = "self_attn.q_norm.weight",
    [MU_T_K_NORM_W] = "self_attn.k_norm.weight",
    [MU_T_DENSE_W] = "self_attn.o_proj.weight",
    [MU_T_DENSE_B] = "self_attn.o_proj.bias",
    [MU_T_GATE_W] = "mlp.gate_proj.weight",
    [MU_T_GATE_B] = "mlp.gate_proj.bias",
    [MU_T_FC1_W] = "mlp.up_proj.weight",
    [MU_T_FC1_B] = "mlp.up_proj.bias",
    [MU_T_FC2_W] = "mlp.down_proj.weight",
    [MU_T_FC2_B] = "mlp.down_proj.bias",
    [MU_T_LNF_W] = "norm.weight",
    [MU_T_EMBED_OUT] = "lm_head.weight",
};

/* Why a GPT-NeoX or GPT-2 of Hugging Face's does not compute this; NULL: it does. */
static const char *not_neox(const mu_model_t *m)
{
    if (m->position != MU_POSITION_ROTARY)
        return "it has rotary positions";
    if (m->residual == MU_RESIDUAL_PARALLEL_TIED)
        return "it has gpt_j_tied false";
    if (m->rope.type != MU_ROPE_PLAIN)
        return "it has no rope_scaling";
    if (m->head_dim > 0 && m->head_dim * m->heads != m->hidden)
        return "a head is hidden_size / num_attention_heads wide";
    return mu_model_llama_part(m);
}

static const char *not_gpt2(const mu_model_t *m)
{
    if (m->position != MU_POSITION_LEARNED)
        return "it has learned positions";
    if (m->residual != MU_RESIDUAL_SEQUENTIAL)
        return "it has gpt_j_residual false";
    if (m->head_dim > 0 && m->head_dim * m->heads != m->hidden)
        return "a head is hidden_size / num_attention_heads wide";
    return mu_model_llama_part(m);
}

static const char *why_not(const mu_model_t *m, mu_model_type_t type)
{
    return type == MU_TYPE_GPT_NEOX ? not_neox(m)
           : type == MU_TYPE_GPT2   ? not_gpt2(m)
                                    : mu_hf_not_llama(m, type);
}

mu_hf_family_t mu_hf_family(mu_model_type_t type)
{
    return type == MU_TYPE_GPT_NEOX ? MU_HF_NEOX : type == MU_TYPE_GPT2 ? MU_HF_GPT2 : MU_HF_LLAMA;
}

mu_status_t mu_hf_type(const char *subject, const mu_model_t *m, mu_model_type_t type, mu_model_type_t *out)
{
    *out = type;
    if (type != MU_TYPE_AUTO && why_not(m, type))
        return mu_fail(MU_CONFIG, "%s: the model is no %s (muster.model_type): %s", subject,
                       mu_hf_class(type), why_not(m, type));
    for (int t = MU_TYPE_GPT_NEOX; mu_hf_class((mu_model_type_t)t) && *out == MU_TYPE_AUTO; t++)
        if (!why_not(m, (mu_model_type_t)t))
            *out = (mu_model_type_t)t;
    if (*out != MU_TYPE_AUTO)
        return MU_OK;
    mu_buf_t reasons = MU_BUF_INIT;
    for (int t = MU_TYPE_GPT_NEOX; mu_hf_class((mu_model_type_t)t); t++)
        mu_buf_addf(&reasons, "%s%s: %s", reasons.len ? "; " : "", mu_hf_class((mu_model_type_t)t),
                    why_not(m, (mu_model_type_t)t));
    mu_status_t status =
        mu_fail(MU_CONFIG, "%s: no Hugging Face model is built like this: %s", subject, reasons.data);
    mu_buf_release(&reasons);
    return status;
}

const char *mu_hf_prefix(mu_hf_family_t family)
{
    return family == MU_HF_NEOX ? "gpt_neox." : family == MU_HF_GPT2 ? "transformer." : "model.";
}

int mu_hf_parts(mu_hf_family_t family, const mu_tensor_t *t)
{
    return family == MU_HF_LLAMA && (t->kind == MU_T_QKV_W || t->kind == MU_T_QKV_B) ? MU_HF_PARTS : 1;
}

void mu_hf_name(mu_hf_family_t family, const mu_tensor_t *t, int part, mu_buf_t *out)
{
    const char *name = family == MU_HF_GPT2    ? gpt2_names[t->kind]
                       : family == MU_HF_LLAMA ? llama_names[t->kind]
                                               : NULL;
    mu_buf_adds(out, t->kind == MU_T_EMBED_OUT ? "" : mu_hf_prefix(family));
    if (!name)
        mu_buf_adds(out, t->name);
    else if (t->layer >= 0)
        mu_buf_addf(out, "%s.%d.", family == MU_HF_GPT2 ? "h" : "layers", t->layer);
    for (const char *p = name; p && *p; p++) {
        bool letter = p[0] == '%';
        mu_buf_addc(out, letter ? "qkv"[part] : *p);
        p += letter;
    }
}

int64_t mu_hf_run(const mu_model_t *m, int64_t row, int *part, int64_t *theirs)
{
    int64_t d = mu_model_head_dim(m), group = m->heads / mu_model_kv_heads(m), head = row / d;
    int64_t of = head / (group + 2), in = head % (group + 2);
    *part = in < group ? 0 : (int)(in - group) + 1;
    *theirs = (*part == 0 ? of * group + in : of) * d + row % d;
    return d - row % d;
}

int64_t mu_hf_row(const mu_model_t *m, int part, int64_t theirs)
{
    int64_t d = mu_model_head_dim(m), group = m->heads / mu_model_kv_heads(m), head = theirs / d;
    int64_t of = part == 0 ? head / group : head, in = part == 0 ? head % group : group + part - 1;
    return (of * (group + 2) + in) * d + theirs % d;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

bool mu_hf_ignored(mu_hf_family_t family, const mu_model_t *m, const char *name)
{
    static const char *const buffers[] = {
        ".attention.bias", ".attention.masked_bias", ".attention.rotary_emb.inv_freq", ".rotary_emb.inv_freq",
        ".attn.bias",      ".attn.masked_bias"};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (ends_with(name, buffers[i]))
            return true;
    return m->tied_head && (strcmp(name, "lm_head.weight") == 0 ||
                            (family == MU_HF_NEOX && strcmp(name, "embed_out.weight") == 0));
}

/* A linear weight, which GPT-2 transposes. */
static bool is_linear(const mu_tensor_t *t)
{
    return t->layer >= 0 && t->dims == 2;
}

bool mu_hf_reordered(mu_hf_family_t family, const mu_tensor_t *t)
{
    return family == MU_HF_GPT2 && (is_linear(t) || t->kind == MU_T_QKV_B);
}

void mu_hf_shape(mu_hf_family_t family, const mu_model_t *m, const mu_tensor_t *t, int part, int64_t out[2])
{
    bool turned = family == MU_HF_GPT2 && is_linear(t);
    out[0] = t->shape[turned ? 1 : 0];
    out[1] = t->shape[turned ? 0 : 1];
    if (mu_hf_parts(family, t) > 1)
        out[0] = (part == 0 ? m->heads : mu_model_kv_heads(m)) * mu_model_head_dim(m);
}

/* The output feature of GPT-2 that is our row `row`. */
static int64_t their_column(const mu_model_t *m, const mu_tensor_t *t, int64_t row)
{
    int64_t d = mu_model_head_dim(m);
    if (t->kind != MU_T_QKV_W && t->kind != MU_T_QKV_B)
        return row;
    int64_t head = row / (3 * d), part = row / d % 3;
    return (part * m->heads + head) * d + row % d;
}

enum { TILE = 64 }; /* rows at a time: their cache lines stay while the columns go by */

void mu_hf_gather(const mu_model_t *m, const mu_tensor_t *t, const float *theirs, int64_t first, int64_t rows,
                  float *ours)
{
    int64_t from[TILE], in = t->shape[1], out = t->shape[0];
    for (int64_t r0 = 0; r0 < rows; r0 += TILE) {
        int64_t n = mu_min_i64(TILE, rows - r0);
        for (int64_t r = 0; r < n; r++)
            from[r] = their_column(m, t, first + r0 + r);
        for (int64_t c = 0; c < in; c++)
            for (int64_t r = 0; r < n; r++)
                ours[(r0 + r) * in + c] = theirs[c * out + from[r]];
    }
}

void mu_hf_scatter(const mu_model_t *m, const mu_tensor_t *t, const float *ours, float *theirs)
{
    int64_t to[TILE], in = t->shape[1], out = t->shape[0];
    for (int64_t r0 = 0; r0 < out; r0 += TILE) {
        int64_t n = mu_min_i64(TILE, out - r0);
        for (int64_t r = 0; r < n; r++)
            to[r] = their_column(m, t, r0 + r);
        for (int64_t c = 0; c < in; c++)
            for (int64_t r = 0; r < n; r++)
                theirs[c * out + to[r]] = ours[(r0 + r) * in + c];
    }
}
