#include "launcher/plan/plan_memory.h"
#include "common/num.h"

enum { ALIGN = 16, PENDING_LOSSES = 256 };

static int64_t aligned(int64_t elements)
{
    return (elements + ALIGN - 1) / ALIGN * ALIGN;
}

/* Parameters of one worker, those that are trained, and those that its optimizer keeps; the last shard is never smaller
 * than another. */
static int64_t local_parameters(const mu_model_t *model, int tp, int shards, int64_t *trained, int64_t *owned)
{
    int64_t total = 0, offset[2], count[2], first, n;
    mu_tensor_t t;
    mu_model_t spread = mu_model_spread(model, tp);
    *owned = *trained = 0;
    for (int i = 0; i < mu_model_tensor_count(&spread); i++) {
        mu_model_tensor(&spread, i, &t);
        mu_tensor_slice(&t, tp, 0, offset, count);
        mu_tensor_owned(&t, count, shards - 1, shards, &first, &n);
        total += aligned(count[0] * count[1]);
        if (!t.trained)
            continue;
        *trained += aligned(count[0] * count[1]);
        *owned += aligned(n);
    }
    return total;
}

/* What the gradients of copied keys and values are summed in: of one layer, those of all heads. */
static int64_t copies_bytes(const mu_model_t *m, int tp)
{
    int64_t columns = m->hidden + (m->unbiased & MU_UNBIASED_QKV ? 0 : 1);
    return m->lora.rank == 0 && mu_model_kv_copies(m, tp) > 1
               ? 4 * mu_model_kv_heads(m) * 2 * mu_model_head_dim(m) * columns
               : 0;
}

/* What adapters work in: A x and its gradient, parts of query_key_value, and with tp the sums of replicated
 * gradients. */
static void add_adapters(const mu_model_t *m, const mu_plan_shape_t *shape, int64_t rows, int64_t e,
                         mu_plan_memory_t *out)
{
    int64_t part = 0, in = 0, sums[2] = {0, 0};
    for (int t = 0; t < MU_LORA_TARGETS; t++) {
        mu_lora_target_t target = (mu_lora_target_t)t;
        bool row_parallel = target == MU_LORA_DENSE || target == MU_LORA_FC2;
        if (!mu_model_adapts(m, target))
            continue;
        sums[target >= MU_LORA_GATE] +=
            m->lora.rank * (row_parallel ? mu_lora_out(m, target) : mu_lora_in(m, target));
        in = mu_max_i64(in, mu_lora_in(m, target) / (row_parallel ? shape->tp : 1));
        if (target >= MU_LORA_Q && target <= MU_LORA_V)
            part = mu_max_i64(part, mu_lora_out(m, target) / shape->tp);
    }
    out->workspace += e * rows * (2 * m->lora.rank + part + (m->lora.dropout > 0 ? in : 0));
    if (shape->tp > 1)
        out->communication += 4 * mu_max_i64(sums[0], sums[1]);
}

void mu_plan_memory(const mu_model_t *model, const mu_plan_shape_t *shape, mu_plan_memory_t *out)
{
    const mu_model_t spread = mu_model_spread(model, shape->tp), *m = &spread;
    int64_t e = shape->mixed ? 2 : 4, h = m->hidden, trained, owned;
    int64_t p = local_parameters(model, shape->tp, (int)mu_max_i64(1, shape->shards), &trained, &owned);
    int64_t rows = shape->micro_batch * m->seq_length, w = mu_model_width(m) / shape->tp,
            f = m->ffn / shape->tp, qkv = mu_model_qkv_rows(m) / shape->tp, gates = mu_model_gated(m) ? 1 : 0;
    int64_t vocab = mu_model_vocab_most(m, shape->tp), heads = m->heads / shape->tp;
    int64_t norms = m->residual == MU_RESIDUAL_PARALLEL_TIED ? 1 : 2;
    int64_t inputs = m->residual == MU_RESIDUAL_SEQUENTIAL ? 2 : 1;
    int64_t layer = rows * (e * (h * norms + qkv + w + (2 + gates) * f) + 4 * (heads + 2 * inputs));
    if (m->qk_norm)
        layer += rows * (e * qkv + 4 * (heads + mu_model_kv_heads(m) / shape->tp));
    int64_t chunk = mu_model_logit_rows(rows, vocab, shape->gpu ? MU_LOGITS_GPU : MU_LOGITS_CPU);
    out->weights = p * e;
    out->gradients = trained * 4;
    out->optimizer = owned * (shape->mixed ? 12 : 8);
    out->activations =
        m->layers * rows * h * e * inputs + layer * (shape->checkpoint_activations ? 1 : m->layers);
    out->loss = chunk * vocab * e + 12 * chunk;
    out->workspace =
        e * rows * ((shape->tp > 1 ? 6 : 5) * h + (1 + gates) * f + qkv + w) + 20 * rows + PENDING_LOSSES * 8;
    if (m->position == MU_POSITION_ROTARY)
        out->workspace += 4 * m->max_positions * m->rotary_dims;
    int64_t norm_weights = 4 * h + (m->qk_norm ? 2 * mu_model_head_dim(m) : 0);
    out->communication = shape->tp > 1 ? e * rows * h + 4 * norm_weights + copies_bytes(model, shape->tp) : 0;
    if (m->hidden_dropout > 0) /* what a branch adds, before and after */
        out->workspace += e * rows * h * (shape->tp > 1 ? 1 : 2);
    if (shape->gpu && m->attention_dropout > 0) /* what is kept of a layer's probabilities, a bit each */
        out->workspace += rows * heads * mu_model_kept_row(m->seq_length);
    if (shape->cudnn)
        out->workspace +=
            mu_model_cudnn_workspace(shape->micro_batch, heads, mu_model_kv_heads(m) / shape->tp,
                                     m->seq_length, mu_model_head_dim(m)) +
            4 * rows * heads;
    if (m->lora.rank > 0)
        add_adapters(m, shape, rows, e, out);
    if (m->lora.rank > 0 && shape->tp == 1)
        out->workspace += 4 * norm_weights; /* gradients that the norms' kernels make and nobody reads */
}

int64_t mu_plan_memory_total(const mu_plan_memory_t *m)
{
    return m->weights + m->gradients + m->optimizer + m->activations + m->loss + m->workspace +
           m->communication;
}
