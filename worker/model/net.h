/*
 * The network on one worker: parameters, activations, forward and backward of its tp slice.
 *
 * Calling sequence of training:
 *     mu_net_new(device, &model, tp, &options, &net);
 *     mu_init_weights(net, seed);  or  mu_state_load(net, ...), by mu_net_put_weight()
 *     each step:
 *         mu_net_zero_gradients(net);
 *         for each micro batch: mu_net_forward_backward(net, tokens, 1.0 / (accumulation * dp));
 *         sum the gradients over dp                                                 (worker/model/replicas.h)
 *         mu_optimizer_norm(), mu_optimizer_step() or mu_replicas_update()          (worker/model/optimizer.h)
 *         mu_net_take_loss(net, &loss);
 *     mu_net_free(net);
 *
 * Every call named "tp-collective" must be made by all workers of the tp group, in the same order, with the
 * same tokens. Errors: those of the device (MU_NOMEM, MU_GPU, MU_BUG) and of the group (MU_NETWORK).
 *
 * Tensor parallel (Shoeybi et al., 2019): attention and MLP are column then row parallel by heads and by ffn;
 * embedding, head and loss are sliced by vocabulary. The parallel residual costs one all-reduce a layer and
 * direction: the partial outputs of attention and MLP are summed before it; backward, the norms' input
 * gradients are summed before it, and the norms' weight gradients ride after them in the same message.
 * Biases of row-parallel layers are added once, after the reduction. Replicated parameters hold the same bits
 * on every worker of the group.
 *
 * Dropout is of training alone (mu_net_forward_backward(), mu_net_forward_backward_sum()): of the embeddings with their
 * positions, of what attention and MLP add to the residual stream, their biases included (model.hidden_dropout), of
 * attention's probabilities (model.attention_dropout), and of the adapters' inputs (model.lora.dropout). What is
 * dropped follows from (seed, step, layer, kind, element), see mu_net_draw(): layouts, accumulation, recomputation and
 * restarts draw the same.
 *
 * With adapters (common/model.h) all other parameters are frozen: they have weights alone, and backward computes no
 * gradient of them. An adapter is divided as its layer: of a column-parallel one B by rows, of a row-parallel one A by
 * columns. The other of the two is replicated, and its gradient is summed over the group, of each layer's attention and
 * MLP in one message.
 */
#ifndef MU_WORKER_NET_H
#define MU_WORKER_NET_H

#include "common/model.h"
#include "kernels/device.h"
#include "worker/comm/comm.h"

typedef struct mu_net mu_net_t;

enum { MU_NET_ALIGN = 16 }; /* elements; parameters begin at multiples of this in the flat buffers */

typedef struct mu_net_options {
    int64_t micro_batch; /* sequences of one call, >= 1 */
    int64_t seq_length;  /* tokens of one sequence; 0: the model's */
    bool
        training; /* of what the model trains; false: no gradients, no optimizer state, no activations kept */
    mu_dtype_t dtype;            /* of weights and activations; everything else is float */
    bool checkpoint_activations; /* keep only each layer's input and compute the rest again in backward */
    mu_comm_t
        *shard; /* the dp group over which optimizer state is divided (ZeRO stage 1); NULL: each has all */
    /* What a mark MU_TOKEN_BEGINS (common/token_marks.h) does: attention does not look before it; positions begin at 0
     * again. */
    bool reset_attention, reset_positions;
    int32_t eod; /* >= 0: positions whose input token is this one have no loss; -1: all count */
    bool graphs; /* steps of generation are recorded and replayed, where the device has graphs */
} mu_net_options_t;

/* One parameter of the model's list (common/model.h), as this worker holds it. The addresses are the
 * device's; gradient, m, v and master are NULL without training, and where the parameter is frozen (tensor.trained is
 * false). m, v and master are those of the `owned`
 * elements from `own` on: of all, unless optimizer state is divided. With a dtype of 16 bits the master is
 * the parameter, and `weight` is always its rounded copy; with float there is no master. */
typedef struct mu_net_param {
    mu_tensor_t tensor;
    int64_t offset[2],
        count[2];       /* this worker's slice, mu_tensor_slice(), of a tensor of mu_model_spread() */
    int64_t elements;   /* count[0] * count[1], dense and row-major */
    int64_t at;         /* where it begins in the flat buffers, in elements; frozen: among the frozen ones */
    int next;           /* the index of the parameter that lies after it there; -1: none */
    int64_t own, owned; /* elements that this worker's optimizer updates */
    int64_t counted;    /* the first so many count in norms; those after are another worker's too */
    int group;          /* mu_net_group_count() */
    bool decay;         /* weight decay applies */
    double lr_scale;    /* its learning rate is that of the optimizer times this */
    mu_array_t weight;
    float *gradient, *m, *v, *master;
} mu_net_param_t;

/* All trained parameters in one buffer for each of weights and gradients, and what is owned of them in one for each
 * of m, v and masters: group by group, in a group the vectors before the matrices, each in model order.
 * Behind each, up to the next multiple of MU_NET_ALIGN, lie elements that are and stay 0. */
typedef struct mu_net_flat {
    int first;        /* the index of the parameter at the beginning */
    int64_t elements; /* padding included */
    int64_t owned;    /* of m, v and masters */
    mu_array_t weight;
    float *gradient, *m, *v, *master; /* NULL without training */
} mu_net_flat_t;

/* Losses since the last mu_net_take_loss(). */
typedef struct mu_net_loss {
    double mean_sum;       /* sum over micro batches of (loss summed over counted tokens / counted tokens) */
    double token_sum;      /* loss summed over counted tokens */
    int64_t micro_batches; /* whose mean is in mean_sum */
    int64_t tokens;        /* counted ones: not masked */
} mu_net_loss_t;

/* The device, the group and the model outlive the net (the model is copied). Weights are zero. Errors:
 * MU_NOMEM; MU_CONFIG when tp does not divide heads (mu_model_heads_fit()) or ffn, or leaves a worker no row of the
 * vocabulary, or the device has no such dtype. Not a collective. */
mu_status_t mu_net_new(mu_device_t *device, const mu_model_t *model, mu_comm_t *tp,
                       const mu_net_options_t *options, mu_net_t **out);
void mu_net_free(mu_net_t *net); /* NULL is nothing */

mu_device_t *mu_net_device(const mu_net_t *net);
mu_comm_t *mu_net_tp(const mu_net_t *net);
const mu_model_t *mu_net_model(const mu_net_t *net);
int mu_net_param_count(const mu_net_t *net);
const mu_net_param_t *mu_net_param(const mu_net_t *net, int index);
const mu_net_flat_t *mu_net_flat(const mu_net_t *net);
/* The weights of those that are not trained, in the same order: first, elements and weight are set. */
const mu_net_flat_t *mu_net_frozen(const mu_net_t *net);

mu_comm_t *mu_net_shard(const mu_net_t *net); /* options.shard */

/* The row of the model's own tensor that row `row` of a parameter's slice holds, and how many of the slice from there
 * on are its neighbours there (mu_model_spread_row()). */
int64_t mu_net_tensor_row(const mu_net_t *net, const mu_net_param_t *param, int64_t row, int64_t *rows);

/* Numbers on the device for whoever needs a few (worker/model/optimizer.h); NULL without training. */
enum { MU_NET_NUMBERS = 4 };
double *mu_net_numbers(const mu_net_t *net);

/* Elements first .. first + n - 1 of a parameter's local slice, from the host: into the master, where it is
 * owned, and rounded into the weight. */
void mu_net_put_weight(mu_net_t *net, int index, int64_t first, int64_t n, const float *host);

/* Sets `decay` and `lr_scale` of a parameter, which begin as tensor.decay and 1. The same on every worker. */
void mu_net_set_update(mu_net_t *net, int index, bool decay, double lr_scale);

/* Groups of parameters whose gradients are ready together: 0 the embeddings; of each layer norms and attention,
 * then the MLP; last the final norm with an untied head. A group lies in one piece in the flat buffers. */
int mu_net_group_count(const mu_net_t *net);

/* The products of a training step on this worker, each once, without those of adapters: how many. Of a net with
 * training. */
struct mu_product;
int mu_net_products(const mu_net_t *net,
                    struct mu_product *list); /* list: [MU_PRODUCTS] (kernels/products.h) */

/* The attention of a training step on this worker, without borders of documents and without dropout. */
mu_attention_t mu_net_attention(const mu_net_t *net);

/* The next mu_net_forward_backward() begins the gradients anew; until then they hold nothing of use. */
void mu_net_zero_gradients(mu_net_t *net);

/* With more tp ranks than key/value heads: adds up the gradients of a group's copied keys and values. Otherwise
 * nothing. Once, when the gradients of all micro batches are there. tp-collective. */
mu_status_t mu_net_sum_copies(mu_net_t *net, int group);

/* While set (NULL ends it), called within mu_net_forward_backward() when it adds nothing more to a group's
 * gradients, from the last group to the first; the work may still be enqueued on the device. Its error ends
 * the call. */
typedef mu_status_t (*mu_net_whole_t)(void *arg, int group);
void mu_net_on_whole(mu_net_t *net, mu_net_whole_t whole, void *arg);

/* While set (NULL ends it), called in every forward before it reads a group's weights, from the first group to
 * the last; what makes them readable may be enqueued on the device. Its error ends the call. */
typedef mu_status_t (*mu_net_need_t)(void *arg, int group);
void mu_net_on_need(mu_net_t *net, mu_net_need_t need, void *arg);

/* What the dropout of the next mu_net_forward_backward() follows from; needed where the model has any. */
typedef struct mu_net_draw {
    uint64_t seed;
    int64_t step;   /* number of the update, below 2^32 */
    int64_t sample; /* number of the micro batch's first sequence within the global batch */
} mu_net_draw_t;
void mu_net_draw(mu_net_t *net, const mu_net_draw_t *draw);

/* tokens: host, [micro_batch][seq_length + 1], with marks (common/token_marks.h); the first seq_length of each row are
 * the input, the last seq_length the labels, of which those that are marked as uncounted have no loss. Adds to the
 * gradients those of scale * (mean loss of the micro batch), and adds the loss to what mu_net_take_loss() returns. A
 * micro batch whose tokens are all masked adds 0. tp-collective. Errors: also MU_DATA, a token outside the
 * vocabulary. */
mu_status_t mu_net_forward_backward(mu_net_t *net, const int32_t *tokens, double scale);
/* The same with the gradients of each * (loss summed over counted tokens). */
mu_status_t mu_net_forward_backward_sum(mu_net_t *net, const int32_t *tokens, double each);
/* The loss alone. `rows` <= micro_batch sequences. tp-collective. */
mu_status_t mu_net_forward_loss(mu_net_t *net, const int32_t *tokens, int64_t rows);
/* Waits for the device; then starts again from 0. The same values on every worker of the group. */
mu_status_t mu_net_take_loss(mu_net_t *net, mu_net_loss_t *out);

/* For tests and export checks: the logits of one micro batch. tokens: host, [micro_batch][seq_length]; out:
 * host, [micro_batch][seq_length][vocab]. tp-collective; every worker gets all of it. */
mu_status_t mu_net_logits(mu_net_t *net, const int32_t *tokens, float *out);

/* Generation of many sequences, each in a slot of a key/value cache.
 *     mu_net_slots(net, slots, capacity);
 *     mu_net_step(net, pieces, n, tokens, logits);        some tokens of some sequences
 * A piece adds tokens to a slot, whose sequence is then first + count tokens long; first 0 begins it anew, and a
 * smaller `first` than before forgets what came after. A slot is in one piece of a step at most. On CPUs a sequence's
 * logits have the same bits however its tokens are cut into pieces, whatever else is in a step, and with any number of
 * threads. */
typedef struct mu_net_piece {
    int64_t slot;   /* 0 .. slots - 1 */
    int64_t first;  /* tokens that its sequence has before these */
    int64_t count;  /* >= 1; those of all pieces together: at most mu_net_rows() */
    int64_t wanted; /* logits are wanted after each of the last `wanted` of them, 0 .. count */
} mu_net_piece_t;

/* Room for `slots` sequences of at most `capacity` tokens (at most max_positions); what it was is lost where the cache
 * is made anew. Errors: MU_CONFIG, MU_NOMEM. Not a collective. */
mu_status_t mu_net_slots(mu_net_t *net, int64_t slots, int64_t capacity);
/* Bytes of that cache on this worker. */
int64_t mu_net_slots_bytes(const mu_net_t *net, int64_t slots, int64_t capacity);
int64_t mu_net_rows(const mu_net_t *net); /* micro_batch * seq_length */
/* tokens: host, those of the pieces one after the other; logits: host, [wanted of all pieces][vocab]. tp-collective. */
mu_status_t mu_net_step(mu_net_t *net, const mu_net_piece_t *pieces, int n, const int32_t *tokens,
                        float *logits);

/* A step in which each sequence has one row, whose logits are wanted, is recorded as a graph when so many sequences
 * come for the second time, up to MU_NET_GRAPHS of them, and replayed from then on: the same bits as without. */
enum { MU_NET_GRAPHS = 64 };
typedef struct mu_net_graphs {
    int64_t recorded, replayed; /* so far: graphs, steps */
} mu_net_graphs_t;
mu_net_graphs_t mu_net_graphs(const mu_net_t *net);

/* The same of one sequence, in slot 0.
 *     mu_net_decode_begin(net, capacity);
 *     mu_net_decode(net, prompt, n, logits);  pick a token;  mu_net_decode(net, &token, 1, logits);  ...
 * begin: an empty sequence of at most `capacity` tokens (at most max_positions; the cache is kept when it is
 * large enough). decode: appends n >= 1 tokens and gives the logits after the last one: host, [vocab], may
 * be NULL. Both tp-collective. Errors: MU_CONFIG, more tokens than capacity or positions. */
mu_status_t mu_net_decode_begin(mu_net_t *net, int64_t capacity);
mu_status_t mu_net_decode(mu_net_t *net, const int32_t *tokens, int64_t n, float *logits);
/* Back to the first `length` tokens of the sequence, 0 to as many as it has: what was appended after them is forgotten.
 * Errors: MU_BUG. */
mu_status_t mu_net_decode_back(mu_net_t *net, int64_t length);

#endif
