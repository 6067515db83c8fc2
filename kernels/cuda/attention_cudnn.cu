/*
 * Causal attention of cuDNN, forward and backward, for bf16 and fp16 without borders of documents and without dropout:
 * what it takes, a plan for each shape, and the calls. An engine that cuDNN notes as nondeterministic is never taken.
 * The same bits in each run cost a workspace that grows with the square of the sequence.
 *
 * Queries that share keys and values lie group by group, [kv_heads][queries, k, v], which no stride over all heads
 * describes. One sequence at a time is a batch of kv_heads, each with the queries of one group and one head of keys
 * and values: so grouped queries are a run for each sequence, and nothing is copied.
 */
#include "kernels/cuda/attention_graph.h"

#include <float.h>
#include <stdio.h>

typedef struct plan {
    mu_cuda_fused_t key;
    mu_cudnn_graph_t *graph; /* NULL: refused */
    char why[MU_CUDA_WHY];
} plan_t;

struct mu_cuda_cudnn {
    mu_cudnn_t lib;
    mu_cudnn_handle_t handle;
    plan_t *plan;
    int count, cap;
};

/* A call as `times` runs of one plan, and elements from one run's parts to the next one's. */
typedef struct runs {
    mu_cuda_fused_t key;
    int64_t times, group, qkv_apart, out_apart, rows_apart;
} runs_t;

static runs_t runs_of(mu_dtype_t type, const mu_attention_t *s, bool backward)
{
    runs_t r;
    int64_t kv = mu_attention_kv_heads(s), d = s->head_dim, group = s->heads / kv;
    int64_t row = kv * (group + 2) * d, sequence = s->seq * row, width = s->heads * d;
    bool apart = kv != s->heads && kv > 1; /* one sequence a run */
    memset(&r, 0, sizeof r);
    mu_cuda_fused_t *k = &r.key;
    k->type = type == MU_DTYPE_BF16 ? MU_CUDNN_BF16 : MU_CUDNN_F16;
    k->backward = backward;
    k->seq = s->seq;
    k->dim = d;
    k->batch = apart ? kv : s->batch;
    k->heads = apart ? group : s->heads;
    k->kv_heads = apart ? 1 : kv;
    const int64_t head = (group + 2) * d;
    const int64_t q[3] = {apart ? head : sequence, group == 1 ? head : d, row};
    const int64_t pair[3] = {apart ? head : sequence, head, row};
    const int64_t out[3] = {apart ? group * d : s->seq * width, d, width};
    memcpy(k->q_stride, q, sizeof q);
    memcpy(k->kv_stride, pair, sizeof pair);
    memcpy(k->out_stride, out, sizeof out);
    r.times = apart ? s->batch : 1;
    r.group = group;
    r.qkv_apart = sequence;
    r.out_apart = s->seq * width;
    r.rows_apart = s->seq * s->heads;
    return r;
}

/* --- plans --- */

/* What is not asked of cuDNN; NULL: it is. */
static const char *beyond(const mu_cuda_t *cuda, int version, mu_dtype_t type, const mu_attention_t *s,
                          bool backward)
{
    if (type == MU_DTYPE_F32)
        return "it has none in fp32";
    if (cuda->capability < 80)
        return "it needs compute capability 8.0";
    if (s->dropout && s->dropout->rate > 0)
        return "attention dropout draws muster's own numbers";
    if (s->start)
        return "documents have borders inside a sample";
    if (s->head_dim % 8 != 0 || s->head_dim > (cuda->capability == 90 ? 256 : 128))
        return cuda->capability == 90 ? "heads have a multiple of 8 elements, at most 256"
                                      : "heads have a multiple of 8 elements, at most 128";
    if (s->seq < 2)
        return "a sequence has two tokens or more";
    if (backward && cuda->capability >= 100 && version < 91801)
        return "its backward has the same bits in each run from cuDNN 9.18.1 on";
    if (backward && version <= 91500 && s->seq % 128 != 0)
        return "up to cuDNN 9.15.0 sequences are a multiple of 128 tokens";
    return NULL;
}

static void make_plan(mu_cuda_cudnn_t *own, plan_t *plan)
{
    const mu_cuda_fused_t *k = &plan->key;
    mu_cudnn_graph_t *g = (mu_cudnn_graph_t *)calloc(1, sizeof *g);
    if (!g) {
        snprintf(plan->why, sizeof plan->why, "no memory for a plan");
        return;
    }
    mu_cudnn_graph_begin(g, &own->lib, own->handle);
    if (k->backward)
        mu_cuda_backward_graph(g, k);
    else
        mu_cuda_forward_graph(g, k);
    if (mu_cudnn_plan(g, mu_model_cudnn_workspace(k->batch, k->heads, k->kv_heads, k->seq, k->dim))) {
        plan->graph = g;
        return;
    }
    memcpy(plan->why, g->why, sizeof plan->why);
    mu_cudnn_graph_end(g);
    free(g);
}

/* NULL without memory. */
static plan_t *plan_for(mu_cuda_cudnn_t *own, const mu_cuda_fused_t *key)
{
    for (int i = 0; i < own->count; i++)
        if (memcmp(&own->plan[i].key, key, sizeof *key) == 0)
            return &own->plan[i];
    if (own->count == own->cap) {
        int cap = own->cap ? 2 * own->cap : 8;
        plan_t *more = (plan_t *)realloc(own->plan, (size_t)cap * sizeof *more);
        if (!more)
            return NULL;
        own->plan = more;
        own->cap = cap;
    }
    plan_t *plan = &own->plan[own->count++];
    memset(plan, 0, sizeof *plan);
    plan->key = *key;
    make_plan(own, plan);
    return plan;
}

/* Bytes of `delta`, which lies before the workspace of backward. */
static int64_t delta_bytes(const mu_cuda_fused_t *k)
{
    int64_t bytes = k->backward ? k->batch * k->heads * k->seq * (int64_t)sizeof(float) : 0;
    return (bytes + 255) / 256 * 256;
}

static void *room_for(mu_device_t *dev, const plan_t *plan)
{
    return mu_cuda_scratch(dev, mu_max_i64(1, delta_bytes(&plan->key) + plan->graph->workspace));
}

bool mu_cuda_cudnn_taken(mu_device_t *dev, mu_dtype_t type, const mu_attention_t *shape, bool backward,
                         char why[MU_CUDA_WHY])
{
    mu_cuda_cudnn_t *own = mu_cuda(dev)->cudnn;
    const char *what =
        own ? beyond(mu_cuda(dev), own->lib.version, type, shape, backward) : "it is not in use";
    why[0] = '\0';
    if (what) {
        snprintf(why, MU_CUDA_WHY, "%s", what);
        return false;
    }
    const runs_t r = runs_of(type, shape, backward);
    const plan_t *plan = plan_for(own, &r.key);
    if (!plan || !plan->graph) {
        snprintf(why, MU_CUDA_WHY, "%s", plan ? plan->why : "no memory for a plan");
        return false;
    }
    return room_for(dev, plan) != NULL;
}

/* --- calls --- */

/* Where the parts of a call lie; NULL: not in this direction. */
typedef struct parts {
    mu_array_t qkv, out, dout, dqkv;
    float *lse;
} parts_t;

static const plan_t *plan_of_call(mu_device_t *dev, mu_dtype_t type, const mu_attention_t *shape,
                                  bool backward, runs_t *r)
{
    mu_cuda_cudnn_t *own = mu_cuda(dev)->cudnn;
    if (!own || beyond(mu_cuda(dev), own->lib.version, type, shape, backward))
        return NULL;
    *r = runs_of(type, shape, backward);
    const plan_t *plan = plan_for(own, &r->key);
    return plan && plan->graph ? plan : NULL;
}

/* One run: its queries begin at `qkv`, and keys and values follow those of a group. */
static int run(const plan_t *plan, const runs_t *r, const parts_t *p, int64_t which, float scale, char *room)
{
    const mu_cuda_fused_t *k = &plan->key;
    const float masked = plan->graph->lib->version < 91000 ? -FLT_MAX : -INFINITY, one = 1;
    const int64_t keys = which * r->qkv_apart + r->group * k->dim, values = keys + k->dim;
    int64_t uid[MU_FUSED_MOST_POINTERS];
    void *pointer[MU_FUSED_MOST_POINTERS];
    int n = 0;
    auto add = [&](int64_t id, const void *at) {
        uid[n] = id;
        pointer[n++] = const_cast<void *>(at);
    };
    add(MU_FUSED_QUERIES, mu_array_at(p->qkv, which * r->qkv_apart).data);
    add(MU_FUSED_KEYS, mu_array_at(p->qkv, keys).data);
    add(MU_FUSED_VALUES, mu_array_at(p->qkv, values).data);
    add(MU_FUSED_OUT, mu_array_at(p->out, which * r->out_apart).data);
    add(MU_FUSED_LOG_SUMS, p->lse + which * r->rows_apart);
    add(MU_FUSED_SCALE, &scale);
    add(MU_FUSED_MASKED, &masked);
    if (k->backward) {
        add(MU_FUSED_ONE, &one);
        add(MU_FUSED_DOUT, mu_array_at(p->dout, which * r->out_apart).data);
        add(MU_FUSED_DQUERIES, mu_array_at(p->dqkv, which * r->qkv_apart).data);
        add(MU_FUSED_DKEYS, mu_array_at(p->dqkv, keys).data);
        add(MU_FUSED_DVALUES, mu_array_at(p->dqkv, values).data);
        add(MU_FUSED_DELTA, room);
    }
    return mu_cudnn_run(plan->graph, uid, pointer, n, room + delta_bytes(k));
}

static void run_all(mu_device_t *dev, const plan_t *plan, const runs_t *r, const parts_t *p, double scale)
{
    char *room = (char *)room_for(dev, plan);
    for (int64_t i = 0; room && i < r->times; i++) {
        int status = run(plan, r, p, i, (float)scale, room);
        if (status == MU_CUDNN_SUCCESS)
            continue;
        char said[MU_CUDA_WHY] = "";
        plan->graph->lib->last_error(said, sizeof said);
        mu_cuda_host->error(dev, mu_cuda_host->fail(MU_GPU, "cuda: attention of cuDNN: %s: %s",
                                                    plan->graph->lib->error_string(status), said));
        return;
    }
    mu_cuda_check(dev, "attention of cuDNN");
}

bool mu_cuda_cudnn_forward(mu_device_t *dev, mu_array_t out, float *lse, mu_array_t qkv,
                           const mu_attention_t *shape)
{
    runs_t r;
    const plan_t *plan = plan_of_call(dev, qkv.type, shape, false, &r);
    const parts_t p = {qkv, out, MU_NO_ARRAY, MU_NO_ARRAY, lse};
    if (plan)
        run_all(dev, plan, &r, &p, shape->scale);
    return plan != NULL;
}

bool mu_cuda_cudnn_backward(mu_device_t *dev, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv,
                            mu_array_t out, const float *lse, const mu_attention_t *shape)
{
    runs_t r;
    const plan_t *plan = plan_of_call(dev, qkv.type, shape, true, &r);
    const parts_t p = {qkv, out, dout, dqkv, const_cast<float *>(lse) /* read only */};
    if (plan)
        run_all(dev, plan, &r, &p, shape->scale);
    return plan != NULL;
}

/* --- its life --- */

void mu_cuda_cudnn_free(mu_cuda_cudnn_t *own)
{
    if (!own)
        return;
    for (int i = 0; i < own->count; i++)
        if (own->plan[i].graph) {
            mu_cudnn_graph_end(own->plan[i].graph);
            free(own->plan[i].graph);
        }
    free(own->plan);
    if (own->handle)
        (void)own->lib.destroy(own->handle);
    free(own);
}

mu_status_t mu_cuda_cudnn_use(mu_device_t *dev, int *version)
{
    mu_cuda_t *cuda = mu_cuda(dev);
    if (!cuda->cudnn) {
        mu_cuda_cudnn_t *own = (mu_cuda_cudnn_t *)calloc(1, sizeof *own);
        if (!own)
            return mu_cuda_host->fail(MU_NOMEM, "cuda: no memory for cuDNN");
        mu_status_t status = mu_cudnn_open(&own->lib);
        if (status != MU_OK) {
            free(own);
            return status;
        }
        int error = own->lib.create(&own->handle);
        if (error == MU_CUDNN_SUCCESS)
            error = own->lib.set_stream(own->handle, cuda->stream);
        if (error != MU_CUDNN_SUCCESS) {
            status =
                mu_cuda_host->fail(MU_GPU, "cuda: cannot start cuDNN %d.%d: %s", own->lib.version / 10000,
                                   own->lib.version / 100 % 100, own->lib.error_string(error));
            mu_cuda_cudnn_free(own);
            return status;
        }
        cuda->cudnn = own;
    }
    *version = cuda->cudnn->lib.version;
    return MU_OK;
}
