/*
 * The memory of one worker, from the model's dimensions alone.
 *
 * With P parameters on the worker (its tp slice; each tensor rounded up to 16 elements), r = micro batch *
 * sequence length rows, h hidden, w = heads * head_dim / tp, q = width of query_key_value / tp (3 w, less with grouped
 * queries), f = ffn / tp, n = heads / tp, V = vocabulary / tp, L layers, e bytes of an element:
 *
 *     weights        P e
 *     gradients      4 P                           fp32, summed over the micro batches of a step
 *     optimizer      8 Q                           AdamW's two moments; + 4 Q masters when e is 2
 *     layer          r (e (h norms + q + w + 2 f) + 4 (n + 2 inputs))
 *                                                  norms 2, or 1 where both branches share one: their outputs, qkv,
 *                                                  context, MLP before and after GELU (a gated MLP:
 *                                                  3 f); statistics
 *     activations    L (r h e inputs + layer)      inputs 2 in the sequential residual, else 1
 *                    L r h e inputs + layer        with checkpoint_activations: backward makes the rest again
 *     loss           c V e + 12 c                  c rows of logits at a time: mu_model_logit_rows()
 *     workspace      e r (5 h + f + q + w) + 20 r + 4 positions rotary_dims + 2048
 *                                                  gradients in flight, ids, tables; with tp > 1 6 h, in a gated
 *                                                  MLP 2 f
 *     communication  e r h + 16 h                  when tp > 1
 *
 * With adapters (LoRA) of rank k, gradients and optimizer are of their T parameters alone (P stays the whole: base and
 * adapters), and workspace has 2 e r k more, with adapters of queries, keys or values e r times the widest of them,
 * with tp 1 also 16 h; communication has 4 times the replicated halves of the adapters of a layer's attention, or MLP.
 *
 * hidden_dropout: workspace has 2 e r h more, with tp > 1 e r h; muster.lora_dropout: e r times the widest adapted
 * input; attention_dropout on GPUs: n r mu_model_kept_row(s), a bit for each probability of one layer;
 * muster.attention cudnn: at most mu_model_cudnn_workspace(), and 4 n r.
 *
 * With optimizer state divided over `shards` replicas (ZeRO stage 1) Q is what one keeps: the vectors, and
 * the shards-th part of each matrix's rows, rounded up; else Q is P.
 *
 * These are what worker/model/net.c allocates; a test holds the two together. Attention keeps no scores (they live
 * in tiles). e = 4 is fp32; e = 2 is 16-bit weights and activations with fp32 masters, gradients and
 * moments, 18 bytes a parameter.
 */
#ifndef MU_LAUNCHER_PLAN_MEMORY_H
#define MU_LAUNCHER_PLAN_MEMORY_H

#include "common/model.h"

/* Copies in memory (muster.peer_checkpoint): each piece lies on two hosts, and the newest whole one stays while the
 * next is made. */
enum { MU_PLAN_COPIES = 4 };

typedef struct mu_plan_shape {
    int tp;
    int shards; /* replicas that divide optimizer state; 1 (or 0): each keeps all */
    int64_t micro_batch;
    bool checkpoint_activations;
    bool mixed; /* e = 2 with masters */
    bool gpu;
    bool cudnn; /* attention of cuDNN may take workspace */
} mu_plan_shape_t;

/* Bytes. */
typedef struct mu_plan_memory {
    int64_t weights, gradients, optimizer, activations, loss, workspace, communication;
} mu_plan_memory_t;

/* model->vocab is known and tp divides heads and ffn. */
void mu_plan_memory(const mu_model_t *model, const mu_plan_shape_t *shape, mu_plan_memory_t *out);
int64_t mu_plan_memory_total(const mu_plan_memory_t *memory);

#endif
