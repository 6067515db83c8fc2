/*
 * The model: its dimensions, and the one list of its tensors.
 *
 * Everything that names a tensor (initial weights, optimizer, checkpoint, import, export, plan, inspect)
 * walks this list, in this order: embedding, positions (learned only), the layers, final norm, head (untied
 * only).
 *
 * Names are Hugging Face's GPTNeoX ones without "gpt_neox.". Linear weights are [out, in], row-major. The
 * rows of query_key_value are [key/value head][its queries, k, v][head_dim]; with as many key/value heads as
 * heads that is [head][q, k, v][head_dim]. A gated MLP (SwiGLU) has mlp.gate beside mlp.dense_h_to_4h:
 * dense_4h_to_h(silu(gate(x)) * dense_h_to_4h(x)). With qk_norm an RMS norm over head_dim, with weights of their
 * own for queries and keys, lies between query_key_value and the rotary positions.
 *
 * Adapters (LoRA: Hu et al., 2021) follow in the list after all of these: of each adapted layer A [rank, in] and
 * B [out, rank], which add scale * B A dropout(x) to its output. Then only adapters are trained, and only they are in a
 * checkpoint. query_key_value has one adapter, or one each of its queries, keys and values, whose rows of B are those
 * of Hugging Face's q_proj, k_proj and v_proj: [head][head_dim].
 */
#ifndef MU_COMMON_MODEL_H
#define MU_COMMON_MODEL_H

#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef enum mu_residual {
    MU_RESIDUAL_PARALLEL,      /* x + attn(ln1(x)) + mlp(ln2(x)) */
    MU_RESIDUAL_PARALLEL_TIED, /* x + attn(ln1(x)) + mlp(ln1(x)); there is no ln2 */
    MU_RESIDUAL_SEQUENTIAL     /* x' = x + attn(ln1(x)); x' + mlp(ln2(x')) */
} mu_residual_t;

typedef enum mu_activation { MU_GELU_ERF, MU_GELU_TANH, MU_SWIGLU } mu_activation_t;
typedef enum mu_norm {
    MU_NORM_LAYER, /* (x - mean) / sqrt(variance + eps) * w + b */
    MU_NORM_RMS    /* x / sqrt(mean of x^2 + eps) * w; there is no bias */
} mu_norm_t;
/* Linear layers that have no bias: bits of mu_model_t.unbiased. */
enum { MU_UNBIASED_QKV = 1, MU_UNBIASED_DENSE = 2, MU_UNBIASED_MLP = 4, MU_UNBIASED_ALL = 7 };

typedef enum mu_position { MU_POSITION_ROTARY, MU_POSITION_LEARNED, MU_POSITION_NONE } mu_position_t;

typedef enum mu_init {
    MU_INIT_NORMAL,        /* std = init_std */
    MU_INIT_SCALED_NORMAL, /* std = init_std / sqrt(2 layers) */
    MU_INIT_SMALL,         /* std = sqrt(2 / (5 hidden)) */
    MU_INIT_WANG           /* std = 2 / (layers sqrt(hidden)) */
} mu_init_t;

/* How rotary frequencies are changed so that a model reads texts longer than those that it first learned from
 * (common/rope.h has the formulas). */
typedef enum mu_rope_type { MU_ROPE_PLAIN, MU_ROPE_LINEAR, MU_ROPE_LLAMA3, MU_ROPE_YARN } mu_rope_type_t;

typedef struct mu_rope {
    mu_rope_type_t type;
    double factor;              /* how much longer; >= 1 */
    int64_t original_positions; /* llama3, yarn: the positions first learned; 0: max_positions */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn */
    double attention_factor;                  /* yarn: of the cosines and sines; 0: from the factor */
    bool truncate;                            /* yarn: the ramp begins and ends at whole dimensions */
} mu_rope_t;

/* The linear layers that may have an adapter, in the order of the list. */
typedef enum mu_lora_target {
    MU_LORA_QKV, /* query_key_value as one layer */
    MU_LORA_Q,   /* its parts, each a layer of its own */
    MU_LORA_K,
    MU_LORA_V,
    MU_LORA_DENSE,
    MU_LORA_GATE, /* mlp.gate; gated only */
    MU_LORA_FC1,  /* mlp.dense_h_to_4h */
    MU_LORA_FC2,  /* mlp.dense_4h_to_h */
    MU_LORA_TARGETS
} mu_lora_target_t;

typedef struct mu_lora {
    int64_t rank;     /* 0: no adapters */
    unsigned targets; /* bits 1 << mu_lora_target_t; QKV excludes Q, K and V */
    double scale;     /* alpha / rank, or alpha / sqrt(rank) */
    double dropout;   /* probability, of an element of the adapters' input, in training */
} mu_lora_t;

typedef struct mu_model {
    int64_t layers, hidden, heads, ffn;
    int64_t kv_heads;      /* key/value heads, a divisor of heads; 0: as many as heads */
    int64_t head_dim;      /* 0: hidden / heads */
    int64_t seq_length;    /* tokens of a training sequence */
    int64_t max_positions; /* >= seq_length */
    int64_t vocab;         /* rows of the embedding (padded); 0 while unknown */
    mu_residual_t residual;
    mu_activation_t activation;
    mu_position_t position;
    int64_t rotary_dims; /* even, <= head_dim; 0 unless rotary */
    double rotary_base;
    mu_rope_t rope;
    int64_t window; /* tokens that a token sees at most, itself included; 0: all. Sequences are no longer */
    bool tied_head;
    mu_norm_t norm;
    double norm_eps;             /* of the norms of queries and keys too */
    bool qk_norm;                /* queries and keys are normed, head by head */
    unsigned unbiased;           /* MU_UNBIASED_* */
    mu_init_t init, output_init; /* output_init: attention.dense and mlp.dense_4h_to_h */
    double init_std;
    double hidden_dropout, attention_dropout; /* probabilities, in training alone (worker/model/net.h) */
    mu_lora_t lora;
} mu_model_t;

static inline int64_t mu_model_head_dim(const mu_model_t *model)
{
    return model->head_dim > 0 ? model->head_dim : model->hidden / model->heads;
}
static inline int64_t mu_model_kv_heads(const mu_model_t *model)
{
    return model->kv_heads > 0 ? model->kv_heads : model->heads;
}
/* Width of the queries, which attention's output has too. */
static inline int64_t mu_model_width(const mu_model_t *model)
{
    return model->heads * mu_model_head_dim(model);
}
/* Rows of query_key_value. */
static inline int64_t mu_model_qkv_rows(const mu_model_t *model)
{
    return (model->heads + 2 * mu_model_kv_heads(model)) * mu_model_head_dim(model);
}
/* Whether tp ranks can divide the heads: with fewer key/value heads than ranks each of those is copied. */
static inline bool mu_model_heads_fit(const mu_model_t *model, int64_t tp)
{
    int64_t kv = mu_model_kv_heads(model);
    return model->heads % tp == 0 && (kv % tp == 0 || tp % kv == 0);
}
/* Ranks of a tp group that hold one key/value head; its queries are divided among them. */
static inline int64_t mu_model_kv_copies(const mu_model_t *model, int64_t tp)
{
    int64_t kv = mu_model_kv_heads(model);
    return tp > kv ? tp / kv : 1;
}
/* The longest sequence that the model computes. */
static inline int64_t mu_model_longest(const mu_model_t *model)
{
    return model->window > 0 && model->window < model->max_positions ? model->window : model->max_positions;
}
static inline bool mu_model_gated(const mu_model_t *model)
{
    return model->activation == MU_SWIGLU;
}
static inline bool mu_model_adapts(const mu_model_t *model, mu_lora_target_t target)
{
    return model->lora.rank > 0 && (model->lora.targets >> target & 1U);
}
/* "attention.query": what a layer that may have an adapter is called in the list. */
const char *mu_lora_target_name(mu_lora_target_t target);
/* Columns and rows of the weight of that layer. */
int64_t mu_lora_in(const mu_model_t *model, mu_lora_target_t target);
int64_t mu_lora_out(const mu_model_t *model, mu_lora_target_t target);

/* The key and value of a part that Hugging Face's GPT-NeoX and GPT-2 lack: "norm: rmsnorm"; NULL when the model has
 * none. */
const char *mu_model_llama_part(const mu_model_t *model);

/* Bytes in which a GPU notes what attention_dropout keeps of one query's `seq` probabilities: a bit each, and those of
 * keys up to the end of the last tile. */
static inline int64_t mu_model_kept_row(int64_t seq)
{
    return (seq + 127) / 128 * 16;
}

/* The most workspace, in bytes, that attention of cuDNN gets for `batch` sequences; a plan that needs more is not taken
 * (kernels/cuda/attention_cudnn.cu). The same bits in each run cost some cards a 16-bit number for each score. Grouped
 * queries are computed a sequence at a time. */
static inline int64_t mu_model_cudnn_workspace(int64_t batch, int64_t heads, int64_t kv_heads, int64_t seq,
                                               int64_t dim)
{
    int64_t rows = (seq + 127) / 128 * 128, all = kv_heads == heads || kv_heads == 1 ? batch * heads : heads;
    return all * rows * (2 * rows + 8 * dim + 8) + ((int64_t)1 << 20);
}

/* How tp divides a tensor: not at all (each worker has all), by rows (dim 0), or by columns (dim 1). */
typedef enum mu_split { MU_SPLIT_NONE, MU_SPLIT_ROWS, MU_SPLIT_COLS } mu_split_t;

typedef enum mu_tensor_kind {
    MU_T_EMBED_IN,
    MU_T_EMBED_POS,
    MU_T_LN1_W,
    MU_T_LN1_B,
    MU_T_LN2_W,
    MU_T_LN2_B,
    MU_T_QKV_W,
    MU_T_QKV_B,
    MU_T_DENSE_W,
    MU_T_DENSE_B,
    MU_T_FC1_W, /* mlp.dense_h_to_4h */
    MU_T_FC1_B,
    MU_T_FC2_W, /* mlp.dense_4h_to_h */
    MU_T_FC2_B,
    MU_T_GATE_W, /* mlp.gate; gated only */
    MU_T_GATE_B,
    MU_T_Q_NORM_W, /* attention.q_norm; qk_norm only, as the next */
    MU_T_K_NORM_W,
    MU_T_LNF_W,
    MU_T_LNF_B,
    MU_T_EMBED_OUT,
    MU_T_LORA_A,
    MU_T_LORA_B
} mu_tensor_kind_t;

typedef struct mu_tensor {
    mu_tensor_kind_t kind;
    int layer;               /* -1 outside the layers */
    mu_lora_target_t target; /* of an adapter's: what it adapts */
    bool trained;            /* false: the model has adapters, and this is none */
    char name[80];           /* "layers.3.attention.dense.weight" */
    int dims;                /* 1 or 2 */
    int64_t shape[2];        /* global; shape[1] is 1 for dims 1 */
    mu_split_t split;
    bool decay;      /* weight decay applies: linear and embedding weights */
    double init_std; /* initial values: normal(0, init_std) when > 0, else the constant below */
    double init_value;
} mu_tensor_t;

/* Number of tensors, and the one at `index` (0 <= index < count). The model's dimensions must be set. */
int mu_model_tensor_count(const mu_model_t *model);
void mu_model_tensor(const mu_model_t *model, int index, mu_tensor_t *out);
/* The index of a name, -1 when there is none. */
int mu_model_tensor_find(const mu_model_t *model, const char *name);
/* The index of the first tensor that is trained, and that a checkpoint has: 0, or that of the first adapter's. All
 * after it are trained too. */
int mu_model_saved_first(const mu_model_t *model);
/* The same model without its adapters. */
static inline mu_model_t mu_model_base(const mu_model_t *model)
{
    mu_model_t base = *model;
    memset(&base.lora, 0, sizeof base.lora);
    return base;
}

/* The part of `tensor` that tp rank `rank` of `tp` holds: offset and count of each dimension. Where tp does not divide
 * it, which happens to a vocabulary alone, every rank has ceil(shape / tp) and the last ones have fewer. */
static inline int64_t mu_model_vocab_most(const mu_model_t *model, int64_t tp)
{
    return (model->vocab + tp - 1) / tp; /* rows of the first rank, which has the most */
}
/* Whether each of tp ranks has rows of the vocabulary. */
static inline bool mu_model_vocab_fits(const mu_model_t *model, int64_t tp)
{
    return model->vocab > mu_model_vocab_most(model, tp) * (tp - 1);
}
void mu_tensor_slice(const mu_tensor_t *tensor, int tp, int rank, int64_t offset[2], int64_t count[2]);

/* What the tp ranks divide: the model, with as many key/value heads as ranks where it has fewer. Rows of its
 * query_key_value are [rank][the rank's queries, k, v][head_dim]. */
mu_model_t mu_model_spread(const mu_model_t *model, int tp);
/* Of a tensor of that list, the row of the model's own tensor that its row `row` holds. *rows: how many from there on
 * are neighbours in both. *copy: another rank's row is the same one, and counts in norms and checkpoints: of copied
 * keys and values the last rank's, which lie after its queries in the model's tensor too. */
int64_t mu_model_spread_row(const mu_model_t *model, int tp, const mu_tensor_t *tensor, int64_t row,
                            int64_t *rows, bool *copy);

/* Where part `part` of `parts` of `n` things begins: floor(n part / parts), without a product that could
 * overflow. part = parts gives n. */
int64_t mu_part_begin(int64_t n, int64_t part, int64_t parts);

/* Which elements of its slice (`count`, of mu_tensor_slice()) a replica's optimizer keeps when optimizer
 * state is divided over `shards` replicas (ZeRO stage 1): of a matrix the rows of part `shard`, of a vector
 * all. The elements from *first, *n of them. */
void mu_tensor_owned(const mu_tensor_t *tensor, const int64_t count[2], int shard, int shards, int64_t *first,
                     int64_t *n);

/* All parameters of the model, each counted once; and those that are trained. */
int64_t mu_model_parameters(const mu_model_t *model);
int64_t mu_model_trained_parameters(const mu_model_t *model);

/* Rows of logits [rows][vocab] that the head makes at a time: even pieces, multiples of 16 and at least 64, of no
 * more elements than `most` where that leaves 64 rows. `most`: on CPUs what a cache holds; on GPUs, whose
 * cache is small beside the head's weights, what reads those seldom enough. */
enum { MU_LOGITS_CPU = 16 << 20, MU_LOGITS_GPU = 256 << 20 };
int64_t mu_model_logit_rows(int64_t rows, int64_t vocab, int64_t most);

/* Training FLOPs of one token, gpt-neox's formula with F = 3: 24 F L h^2 (1 + s/(6h) + V/(16 L h)). In a gated
 * MLP, with grouped queries or with a head_dim of its own, the weights of the linear layers take the place of the
 * 12 h^2 a layer that the formula stands for. */
double mu_model_flops_per_token(const mu_model_t *model);

#endif
