/* The model's dimensions, which several keys decide together. */
#include "common/config/config_keys.h"
#include "common/log.h"
#include "common/num.h"

static bool given(const mu_config_source_t *s, const char *key)
{
    return mu_config_given(&s->config, key);
}

/* The first error of several, all logged. */
static void also(mu_status_t *status, mu_status_t next)
{
    if (*status == MU_OK)
        *status = next;
}

static int64_t round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* gpt-neox (ParallelMLP): of a width F a gated MLP has int(2F/3), for both halves together; the first product's rows
 * are rounded up to twice mlp_multiple_of, the second's columns to mlp_multiple_of. */
static mu_status_t derive_ffn(mu_config_source_t *s)
{
    mu_model_t *m = &s->config.model;
    const char *key = given(s, "expansion_factor") ? "expansion_factor" : "intermediate_size";
    int64_t unit = s->mlp_multiple_of, wide = s->intermediate_size;
    if (given(s, "intermediate_size") && given(s, "expansion_factor"))
        return mu_fail(MU_CONFIG, "%s: expansion_factor excludes intermediate_size (%s): keep one of them",
                       mu_config_where(s, "expansion_factor"), mu_config_where(s, "intermediate_size"));
    if (given(s, "expansion_factor"))
        wide = (int64_t)(s->expansion_factor * (double)m->hidden);
    else if (!given(s, "intermediate_size"))
        wide = 4 * m->hidden;
    int64_t rows = mu_model_gated(m) ? 2 * wide / 3 : wide, columns = mu_model_gated(m) ? rows / 2 : rows;
    rows = round_up(rows, 2 * unit);
    columns = round_up(columns, unit);
    m->ffn = mu_model_gated(m) ? rows / 2 : rows;
    if (m->hidden > 0 && (m->ffn < 1 || (!mu_model_gated(m) && columns != rows)))
        return mu_fail(MU_CONFIG, "%s: the MLP would be %lld wide: %s is wanted", mu_config_where(s, key),
                       (long long)(m->ffn < 1 ? m->ffn : columns),
                       unit == 1 ? "an even number" : "a multiple of twice mlp_multiple_of");
    if (m->hidden > 0 && columns != m->ffn)
        mu_buf_addf(
            &s->load_notes,
            "%s: %s %lld makes gpt-neox's two products of the MLP %lld and %lld wide: %lld is taken\n",
            mu_config_where(s, key), key, (long long)wide, (long long)m->ffn, (long long)columns,
            (long long)m->ffn);
    s->intermediate_size = mu_model_gated(m) ? 3 * m->ffn : m->ffn;
    return MU_OK;
}

static mu_status_t derive_rotary(mu_config_source_t *s)
{
    mu_model_t *m = &s->config.model;
    const mu_rope_t *r = &m->rope;
    int64_t d = mu_model_head_dim(m);
    m->rotary_dims = s->rotary_pct >= 1 ? d : (int64_t)((double)d * s->rotary_pct);
    if (m->rotary_dims < 2 || m->rotary_dims % 2 != 0)
        return mu_fail(
            MU_CONFIG,
            "%s: rotary_pct %g of a head of %lld dimensions is %lld: an even number from 2 is wanted",
            mu_config_where(s, "rotary_pct"), s->rotary_pct, (long long)d, (long long)m->rotary_dims);
    if (r->type == MU_ROPE_LLAMA3 && r->high_freq_factor <= r->low_freq_factor)
        return mu_fail(MU_CONFIG,
                       "%s: muster.rope_scaling.high_freq_factor %g must be above low_freq_factor %g",
                       mu_config_where(s, "muster.rope_scaling.high_freq_factor"), r->high_freq_factor,
                       r->low_freq_factor);
    if (r->type == MU_ROPE_YARN && r->beta_fast <= r->beta_slow)
        return mu_fail(MU_CONFIG, "%s: muster.rope_scaling.beta_fast %g must be above beta_slow %g",
                       mu_config_where(s, "muster.rope_scaling.beta_fast"), r->beta_fast, r->beta_slow);
    if (r->type == MU_ROPE_YARN && m->rotary_base <= 1)
        return mu_fail(MU_CONFIG, "%s: rotary_emb_base %g: yarn needs one above 1",
                       mu_config_where(s, "rotary_emb_base"), m->rotary_base);
    return MU_OK;
}

static mu_status_t derive_heads(mu_config_source_t *s)
{
    mu_model_t *m = &s->config.model;
    m->rotary_dims = 0;
    if (m->hidden == 0 || m->heads == 0)
        return MU_OK;
    if (m->heads % mu_model_kv_heads(m) != 0)
        return mu_fail(MU_CONFIG, "%s: num_kv_heads %lld does not divide num_attention_heads %lld (%s)",
                       mu_config_where(s, "num_kv_heads"), (long long)m->kv_heads, (long long)m->heads,
                       mu_config_where(s, "num_attention_heads"));
    if (m->head_dim == 0 && m->hidden % m->heads != 0)
        return mu_fail(MU_CONFIG, "%s: num_attention_heads %lld does not divide hidden_size %lld (%s)",
                       mu_config_where(s, "num_attention_heads"), (long long)m->heads, (long long)m->hidden,
                       mu_config_where(s, "hidden_size"));
    if (m->position == MU_POSITION_ROTARY)
        return derive_rotary(s);
    if (m->rope.type != MU_ROPE_PLAIN)
        return mu_fail(MU_CONFIG, "%s: muster.rope_scaling needs pos_emb: rotary (%s)",
                       mu_config_where(s, "muster.rope_scaling.type"), mu_config_where(s, "pos_emb"));
    return MU_OK;
}

static mu_status_t derive_norms(mu_config_source_t *s)
{
    mu_model_t *m = &s->config.model;
    m->norm_eps = m->norm == MU_NORM_RMS ? s->rms_norm_epsilon : s->layernorm_epsilon;
    if (m->norm == MU_NORM_LAYER && !s->bias_in_norms)
        return mu_fail(MU_CONFIG,
                       "%s: use_bias_in_norms: false is not supported with norm: layernorm: use rmsnorm",
                       mu_config_where(s, "use_bias_in_norms"));
    if (m->norm == MU_NORM_LAYER && m->qk_norm)
        return mu_fail(MU_CONFIG,
                       "%s: use_qk_layernorm: true is not supported with norm: layernorm: use rmsnorm",
                       mu_config_where(s, "use_qk_layernorm"));
    return MU_OK;
}

/* What the sequence must fit into. */
static mu_status_t check_lengths(const mu_config_source_t *s)
{
    const mu_model_t *m = &s->config.model;
    if (m->seq_length > 0 && m->max_positions > 0 && m->max_positions < m->seq_length)
        return mu_fail(MU_CONFIG, "%s: max_position_embeddings %lld is less than seq_length %lld (%s)",
                       mu_config_where(s, "max_position_embeddings"), (long long)m->max_positions,
                       (long long)m->seq_length, mu_config_where(s, "seq_length"));
    if (m->window > 0 && m->window < m->seq_length)
        return mu_fail(MU_CONFIG,
                       "%s: sliding_window_width %lld is less than seq_length %lld (%s), and windows are not "
                       "computed: use seq_length %lld or less",
                       mu_config_where(s, "sliding_window_width"), (long long)m->window,
                       (long long)m->seq_length, mu_config_where(s, "seq_length"), (long long)m->window);
    return MU_OK;
}

mu_status_t mu_config_derive_model(mu_config_source_t *s)
{
    enum { SWIGLU = 1 }; /* its place in the choices of `activation` */
    mu_model_t *m = &s->config.model;
    m->activation = s->activation == SWIGLU ? MU_SWIGLU : s->bias_gelu_fusion ? MU_GELU_TANH : MU_GELU_ERF;
    m->residual = !s->gpt_j_residual ? MU_RESIDUAL_SEQUENTIAL
                  : s->gpt_j_tied    ? MU_RESIDUAL_PARALLEL_TIED
                                     : MU_RESIDUAL_PARALLEL;
    m->unbiased = (s->bias_in_attention || s->qkv_bias ? 0U : MU_UNBIASED_QKV) |
                  (s->bias_in_attention ? 0U : MU_UNBIASED_DENSE) | (s->bias_in_mlp ? 0U : MU_UNBIASED_MLP);
    m->tied_head = !s->no_weight_tying;
    m->vocab = s->config.padded_vocab_size;
    mu_status_t status = derive_ffn(s);
    also(&status, derive_heads(s));
    also(&status, derive_norms(s));
    also(&status, check_lengths(s));
    also(&status, mu_config_derive_lora(s));
    also(&status, mu_config_check_groups(s));
    return status;
}
