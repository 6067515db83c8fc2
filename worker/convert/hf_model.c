#include "worker/convert/hf_model.h"
#include "common/log.h"
#include "common/num.h"

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

mu_status_t mu_hf_family(const char *subject, const mu_model_t *m, mu_hf_family_t *out)
{
    if (m->position == MU_POSITION_ROTARY && m->residual != MU_RESIDUAL_PARALLEL_TIED)
        *out = MU_HF_NEOX;
    else if (m->position == MU_POSITION_LEARNED && m->residual == MU_RESIDUAL_SEQUENTIAL)
        *out = MU_HF_GPT2;
    else
        return mu_fail(MU_CONFIG,
                       "%s: no Hugging Face model is built like this: GPTNeoX has rotary positions and "
                       "gpt_j_tied false, GPT-2 has learned positions and gpt_j_residual false",
                       subject);
    return MU_OK;
}

const char *mu_hf_prefix(mu_hf_family_t family)
{
    return family == MU_HF_NEOX ? "gpt_neox." : "transformer.";
}

void mu_hf_name(mu_hf_family_t family, const mu_tensor_t *t, mu_buf_t *out)
{
    mu_buf_adds(out, t->kind == MU_T_EMBED_OUT ? "" : mu_hf_prefix(family));
    if (family == MU_HF_NEOX)
        mu_buf_adds(out, t->name);
    else if (t->layer >= 0)
        mu_buf_addf(out, "h.%d.%s", t->layer, gpt2_names[t->kind]);
    else
        mu_buf_adds(out, gpt2_names[t->kind]);
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

void mu_hf_shape(mu_hf_family_t family, const mu_tensor_t *t, int64_t out[2])
{
    bool turned = family == MU_HF_GPT2 && is_linear(t);
    out[0] = t->shape[turned ? 1 : 0];
    out[1] = t->shape[turned ? 0 : 1];
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
