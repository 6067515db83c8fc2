/* The network from the inside, shared by net*.c alone. */
#ifndef MU_WORKER_NET_IMPL_H
#define MU_WORKER_NET_IMPL_H

#include "worker/model/net.h"

/* What forward leaves for backward in one layer. With checkpointed activations all layers share one set but
 * for x and mid, which are enough to make the rest again without a collective. */
typedef struct mu_layer_saved {
    mu_array_t x;         /* [rows][hidden], the layer's input */
    mu_array_t mid;       /* sequential residual: x + attention; else absent */
    mu_array_t ln1, ln2;  /* [rows][hidden]; tied norm: ln2 is ln1 */
    float *mean1, *rstd1; /* [rows] */
    float *mean2, *rstd2; /* sequential residual; else both norms' are the first's */
    mu_array_t qkv;       /* [rows][qkv], turned */
    mu_array_t raw;       /* [rows][qkv], before the norms of queries and keys; qk_norm only */
    float *rstd_qk;       /* [rows][heads + kv_heads] / tp; qk_norm only */
    mu_array_t ctx;       /* [rows][width] */
    float *lse;           /* [batch][heads / tp][seq] */
    mu_array_t pre, act;  /* [rows][ffn] */
    mu_array_t gate;      /* [rows][ffn]; gated only */
} mu_layer_saved_t;

/* The parameters of one layer, by kind; absent ones (ln2 when tied, biases) are NULL. */
typedef struct mu_layer_params {
    const mu_net_param_t *ln1_w, *ln1_b, *ln2_w, *ln2_b, *qkv_w, *qkv_b, *q_norm, *k_norm, *dense_w, *dense_b,
        *gate_w, *gate_b, *fc1_w, *fc1_b, *fc2_w, *fc2_b;
    const mu_net_param_t *lora_a[MU_LORA_TARGETS], *lora_b[MU_LORA_TARGETS];
} mu_layer_params_t;

/* Steps of generation of so many rows. */
typedef struct mu_step_graph {
    bool seen;         /* one was launched, which made whatever such a step makes once */
    mu_graph_t *graph; /* NULL: not recorded */
} mu_step_graph_t;

/* Losses that may wait on the device; one more makes the call wait. */
enum { MU_NET_PENDING = 256 };

struct mu_net {
    mu_device_t *dev;
    const mu_device_ops_t *ops; /* dev->ops */
    mu_comm_t *tp;
    mu_model_t model;
    mu_net_options_t options;

    mu_net_whole_t whole; /* may be NULL */
    void *whole_arg;
    mu_net_need_t need; /* may be NULL */
    void *need_arg;

    mu_net_param_t *param;
    int param_count;
    mu_net_flat_t flat, frozen;
    mu_layer_params_t *layer; /* [layers] */
    const mu_net_param_t *embed_in, *embed_pos, *lnf_w, *lnf_b,
        *embed_out; /* embed_out is embed_in when tied */

    /* sizes on this worker */
    int64_t batch, seq, rows;     /* of one call: rows = batch * seq */
    int64_t heads, kv_heads, ffn; /* slices: those of mu_model_spread() divided by tp */
    int64_t width, qkv;           /* of the slice: of attention's output, of query_key_value's */
    int64_t vocab, vocab_most;    /* rows of the vocabulary here, and of the worker that has the most */
    int64_t vocab_first;
    int64_t chunk; /* rows of the head at a time */

    mu_layer_saved_t *saved; /* [layers] */
    float *rotary;           /* the table; NULL unless rotary */
    mu_array_t hidden;       /* [rows][hidden]: output of the last layer */
    mu_array_t normed;       /* [rows][hidden]: after the final norm */
    float *mean, *rstd;      /* the final norm's */
    mu_array_t branch;     /* tp > 1, or hidden dropout: [rows][hidden], partial sums before the reduction */
    mu_array_t logits;     /* [chunk][vocab] */
    float *max, *sums;     /* [chunk], [2][chunk] */
    int32_t *ids, *labels; /* [rows] */
    float *weights;        /* [rows] */
    int32_t
        *start; /* [rows]: where each one's document begins in its sequence; NULL until there are borders */
    const int32_t *attention_start, *position_start; /* start, where it counts in this call; else NULL */
    double *numbers;                                 /* [MU_NET_NUMBERS], with training */
    double *loss; /* [MU_NET_PENDING] on the device: the loss summed over one call's counted tokens */

    bool
        fresh; /* nothing was added to the gradients yet: those of products hold what they held, to be replaced */

    /* backward; NULL without training */
    mu_array_t dy;      /* [rows][hidden]: gradient of the residual stream */
    mu_array_t dnormed; /* [rows][hidden]; also dln1 */
    mu_array_t dln2;    /* [rows][hidden] */
    /* tp > 1: the norms' dx [rows][hidden], and the gradients of their weights: [2][head_dim] of queries and keys
     * (qk_norm only), then [4][hidden]; float dx and those are neighbours */
    mu_array_t reduced;
    float *reduced_norms; /* tp 1: with a frozen base alone, for gradients that nobody reads */
    float *
        copies; /* tp > key/value heads: [key/value heads][k, v][head_dim]([hidden], [1]), gradients of one layer */
    mu_array_t dact, dqkv, dctx; /* [rows][ffn], [rows][qkv], [rows][width] */
    mu_array_t dgate;            /* [rows][ffn]; gated only */

    /* adapters; rank > 0 only */
    mu_array_t lora_inner, lora_dinner; /* [rows][rank]: scale * A x, and its gradient */
    mu_array_t lora_part;               /* [rows][width of queries or keys]; parts of query_key_value only */
    mu_array_t lora_x;                  /* [rows][widest input], dropped out; with dropout only */
    float *lora_sums;                   /* tp > 1: gradients of a group's replicated adapters, side by side */

    /* dropout */
    mu_net_draw_t draw;
    bool dropping;      /* within mu_net_forward_backward() */
    mu_array_t dropped; /* [rows][hidden]; hidden_dropout only, which wants `branch` with tp 1 too */

    /* host */
    int32_t *host_ids, *host_labels; /* [rows] */
    float *host_weights;
    int64_t pending_tokens[MU_NET_PENDING]; /* counted tokens of losses not yet read */
    int pending;
    mu_net_loss_t taken; /* what has been read already */

    /* generation */
    mu_array_t *cache;       /* [layers], each [slots][capacity][kv_heads][2][head_dim] */
    int64_t slots, capacity; /* capacity: tokens of a slot */
    int64_t length;          /* of the one sequence of mu_net_decode() */
    int32_t *row_place;      /* [2][slots] on the device: mu_net_place_t.slot and start */
    mu_step_graph_t step_graph[MU_NET_GRAPHS + 1]; /* by rows */
    mu_net_graphs_t graphs;
    bool no_graphs;   /* they are not wanted, or not possible, which was logged */
    mu_array_t slice; /* [chunk][vocab_most]: another worker's logits; tp > 1, from the first use on */

    void **memory; /* what mu_net_free() gives back */
    int memory_count, memory_cap;
};

/* Rows of the vocabulary that a worker of the tp group holds. */
static inline int64_t mu_net_vocab_of(const mu_net_t *net, int rank)
{
    int64_t left = net->model.vocab - rank * net->vocab_most;
    return left < net->vocab_most ? left : net->vocab_most;
}
/* An absent parameter is an absent array. */
static inline mu_array_t mu_net_weight(const mu_net_param_t *p)
{
    return p ? p->weight : MU_NO_ARRAY;
}
/* Floats of the weights' gradients of queries' and keys' norms, both. */
static inline int64_t mu_net_qk_weights(const mu_net_t *net)
{
    return net->model.qk_norm ? 2 * mu_model_head_dim(&net->model) : 0;
}
/* Floats of the gradients of a layer's norms' weights. */
static inline int64_t mu_net_norm_sums(const mu_net_t *net)
{
    return 4 * net->model.hidden + mu_net_qk_weights(net);
}
/* Whether everything but adapters is frozen. */
static inline bool mu_net_is_frozen(const mu_net_t *net)
{
    return net->model.lora.rank > 0;
}
/* The norm of `rows` rows of x; mean is not touched by an RMS norm, which has no bias either. */
void mu_net_norm(mu_net_t *net, mu_array_t y, float *mean, float *rstd, mu_array_t x, const mu_net_param_t *w,
                 const mu_net_param_t *b, int64_t rows);

/* net_params.c: all parameters, by model, tp and options. */
mu_status_t mu_net_make_params(mu_net_t *net);

/* Dropout (net_dropout.c): what is dropped, of a layer or (layer 0) of the embeddings. Adapters: MU_DROP_LORA +
 * target. */
enum { MU_DROP_EMBEDDING, MU_DROP_ATTENTION, MU_DROP_DENSE, MU_DROP_MLP, MU_DROP_LORA };
/* Rows are those of a call, columns those from `column` on of `columns`. */
mu_dropout_t mu_net_dropout(const mu_net_t *net, double rate, int64_t l, int kind, int64_t column,
                            int64_t columns);
/* The same of attention's probabilities: for mu_attention_t. */
mu_dropout_t mu_net_attention_dropout(const mu_net_t *net, int64_t l);
/* Whether the call at work drops elements of the residual stream. */
static inline bool mu_net_drops(const mu_net_t *net)
{
    return net->dropping && net->model.hidden_dropout > 0;
}
/* y = x, dropped out (+ plus), of net->rows rows; y may be x or plus. */
void mu_net_drop(mu_net_t *net, int64_t l, int kind, mu_array_t y, mu_array_t x, mu_array_t plus);

/* Adapters (net_lora.c). All of these do nothing where a layer has none. */
mu_status_t mu_net_lora_make(mu_net_t *net);
/* Whether an adapted layer is of the MLP's group. */
static inline bool mu_net_lora_of_mlp(mu_lora_target_t target)
{
    return target >= MU_LORA_GATE;
}
/* Whether each worker of the tp group makes a part of this parameter's gradient. */
bool mu_net_lora_summed(const mu_net_t *net, const mu_net_param_t *param);
/* y += the adapter's output for the layer's input x; QKV adapts query_key_value, as one or by its parts. each: as in
 * mu_net_linear(). */
void mu_net_lora_forward(mu_net_t *net, int64_t l, mu_lora_target_t target, mu_array_t y, mu_array_t x,
                         int64_t rows, bool each);
/* dx += the gradient through the adapter; its own gradients += theirs. dx holds the layer's own gradient. */
void mu_net_lora_backward(mu_net_t *net, int64_t l, mu_lora_target_t target, mu_array_t dx, mu_array_t dy,
                          mu_array_t x);
/* After the backward of a layer's attention, or MLP: sums over the tp group what needs it. */
mu_status_t mu_net_lora_sum(mu_net_t *net, int64_t l, bool mlp);

/* Allocates for the net: freed with it. */
mu_status_t mu_net_get_memory(mu_net_t *net, mu_memory_t kind, int64_t bytes, void **out);
mu_status_t mu_net_get_array(mu_net_t *net, mu_memory_t kind, int64_t elements, mu_array_t *out);
mu_status_t mu_net_get_floats(mu_net_t *net, mu_memory_t kind, int64_t elements, float **out);

/* Memory for mu_net_sum_copies(). */
mu_status_t mu_net_make_copies(mu_net_t *net);

/* Where the rows of a call sit. Training and evaluation: batch sequences from position 0. Generation: `seq` rows, those
 * of the pieces one after the other, against the cache. */
typedef struct mu_net_place {
    int64_t batch, seq;
    const mu_net_piece_t *piece; /* NULL: training, evaluation */
    int pieces;
    /* The device's, [pieces], of a step in which each piece is one row, else NULL: slots, and minus the positions. */
    const int32_t *slot, *start;
} mu_net_place_t;

/* ids (device) -> net->hidden; the head's weights may be read then, too. Layer inputs are kept when training. */
mu_status_t mu_net_trunk_forward(mu_net_t *net, const mu_net_place_t *place);
/* net->dy, the gradient of net->hidden, back to the embeddings. */
mu_status_t mu_net_trunk_backward(mu_net_t *net);
/* Final norm of rows from .. from + rows - 1 of net->hidden into the same rows of net->normed. */
void mu_net_final_norm(mu_net_t *net, int64_t from, int64_t rows);
/* The whole vocabulary's logits of rows from .. from + rows - 1 of net->normed, rows <= chunk; out: host. each: a row's
 * bits depend on that row alone, where the device promises it. */
mu_status_t mu_net_gather_logits(mu_net_t *net, int64_t from, int64_t rows, bool each, float *out);
/* y = x w^T (+ bias) (+ plus); each: as above. */
static inline void mu_net_linear(mu_net_t *net, bool each, mu_array_t y, mu_array_t x, mu_array_t w,
                                 mu_array_t bias, mu_array_t plus, int64_t rows, int64_t in, int64_t out)
{
    if (each && net->ops->linear_rows)
        net->ops->linear_rows(net->dev, y, x, w, bias, plus, rows, in, out);
    else
        net->ops->linear_forward(net->dev, y, x, w, bias, plus, rows, in, out);
}
/* Of a layer: its norms are of the first group. */
#define MU_GROUP_ATTENTION(layer) (1 + 2 * (int)(layer))
#define MU_GROUP_MLP(layer)       (2 + 2 * (int)(layer))
/* Waits, if somebody asked for it, until a group's weights may be read. */
mu_status_t mu_net_group_need(mu_net_t *net, int group);
/* Tells who asked that backward has finished with a group's gradients. */
mu_status_t mu_net_group_whole(mu_net_t *net, int group);
/* Generation (net_graph.c): the trunk and the final norm of a step in which each sequence has one row, launched or as a
 * graph. */
mu_status_t mu_net_step_rows(mu_net_t *net, const mu_net_place_t *place);
void mu_net_drop_graphs(mu_net_t *net);
/* Host tokens to net->ids. */
mu_status_t mu_net_put_ids(mu_net_t *net, const int32_t *tokens, int64_t count);

#endif
