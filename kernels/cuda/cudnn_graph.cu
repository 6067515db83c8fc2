/* cuDNN's descriptors. What a graph makes lives as long as the graph, since plans may refer to it. */
#include "kernels/cuda/cudnn_graph.h"

#include <stdio.h>

enum { ALIGNMENT = 16, FIRST_VIRTUAL = 1000, MOST_CONFIGS = 32 };

static bool well(const mu_cudnn_graph_t *g)
{
    return g->why[0] == '\0';
}

/* The first failure is kept. */
static bool check(mu_cudnn_graph_t *g, int status, const char *doing)
{
    char said[MU_CUDA_WHY] = "";
    if (status == MU_CUDNN_SUCCESS || !well(g))
        return well(g);
    g->lib->last_error(said, sizeof said);
    said[strcspn(said, "\n")] = '\0';
    snprintf(g->why, sizeof g->why, "%.40s: %.60s%s%.150s", doing, g->lib->error_string(status),
             said[0] ? ": " : "", said);
    return false;
}

static mu_cudnn_descriptor_t make(mu_cudnn_graph_t *g, int kind)
{
    mu_cudnn_descriptor_t d = NULL;
    if (!well(g))
        return NULL;
    if (g->held_count == MU_CUDNN_HELD) {
        snprintf(g->why, sizeof g->why, "more than %d descriptors", MU_CUDNN_HELD);
        return NULL;
    }
    if (check(g, g->lib->make(kind, &d), "making a descriptor"))
        g->held[g->held_count++] = d;
    return d;
}

static void set_many(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t d, int name, int type, int64_t n,
                     const void *values)
{
    if (well(g))
        check(g, g->lib->set(d, name, type, n, values), "setting an attribute");
}

template <class V> static void set(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t d, int name, int type, V value)
{
    set_many(g, d, name, type, 1, &value);
}

static void attach(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t d, int name, mu_cudnn_descriptor_t part)
{
    set(g, d, name, MU_CUDNN_TYPE_DESCRIPTOR, part);
}

static void finish(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t d, const char *doing)
{
    if (well(g))
        check(g, g->lib->finalize(d), doing);
}

void mu_cudnn_graph_begin(mu_cudnn_graph_t *g, const mu_cudnn_t *lib, mu_cudnn_handle_t handle)
{
    memset(g, 0, sizeof *g);
    g->lib = lib;
    g->handle = handle;
    g->next_uid = FIRST_VIRTUAL;
}

void mu_cudnn_graph_end(mu_cudnn_graph_t *g)
{
    while (g->held_count > 0)
        (void)g->lib->drop(g->held[--g->held_count]);
    g->plan = NULL;
}

/* --- tensors --- */

static mu_cudnn_descriptor_t tensor(mu_cudnn_graph_t *g, int64_t uid, int type, const mu_cudnn_shape_t *shape,
                                    bool between, bool number)
{
    mu_cudnn_descriptor_t d = make(g, MU_CUDNN_TENSOR);
    set(g, d, MU_CUDNN_TENSOR_TYPE, MU_CUDNN_TYPE_DATA_TYPE, type);
    set_many(g, d, MU_CUDNN_TENSOR_DIMENSIONS, MU_CUDNN_TYPE_INT64, 4, shape->dim);
    set_many(g, d, MU_CUDNN_TENSOR_STRIDES, MU_CUDNN_TYPE_INT64, 4, shape->stride);
    set(g, d, MU_CUDNN_TENSOR_UID, MU_CUDNN_TYPE_INT64, uid);
    set(g, d, MU_CUDNN_TENSOR_ALIGNMENT, MU_CUDNN_TYPE_INT64, (int64_t)ALIGNMENT);
    set(g, d, MU_CUDNN_TENSOR_VIRTUAL, MU_CUDNN_TYPE_BOOLEAN, between);
    set(g, d, MU_CUDNN_TENSOR_BY_VALUE, MU_CUDNN_TYPE_BOOLEAN, number);
    finish(g, d, "a tensor");
    return d;
}

mu_cudnn_descriptor_t mu_cudnn_memory(mu_cudnn_graph_t *g, int64_t uid, int type, mu_cudnn_shape_t shape)
{
    return tensor(g, uid, type, &shape, false, false);
}

mu_cudnn_descriptor_t mu_cudnn_virtual(mu_cudnn_graph_t *g, int type, mu_cudnn_shape_t shape)
{
    return tensor(g, g->next_uid++, type, &shape, true, false);
}

mu_cudnn_descriptor_t mu_cudnn_number(mu_cudnn_graph_t *g, int64_t uid, int type)
{
    const mu_cudnn_shape_t one = mu_cudnn_dense(1, 1, 1, 1);
    return tensor(g, uid, type, &one, false, true);
}

mu_cudnn_shape_t mu_cudnn_dense(int64_t b, int64_t h, int64_t m, int64_t n)
{
    return {{b, h, m, n}, {h * m * n, m * n, n, 1}};
}

mu_cudnn_shape_t mu_cudnn_transposed(mu_cudnn_shape_t s)
{
    return {{s.dim[0], s.dim[1], s.dim[3], s.dim[2]}, {s.stride[0], s.stride[1], s.stride[3], s.stride[2]}};
}

/* --- operations --- */

static void add_operation(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t d, const char *doing)
{
    finish(g, d, doing);
    if (!well(g))
        return;
    if (g->operations == MU_CUDNN_OPERATIONS)
        snprintf(g->why, sizeof g->why, "more than %d operations", MU_CUDNN_OPERATIONS);
    else
        g->operation[g->operations++] = d;
}

mu_cudnn_descriptor_t mu_cudnn_matmul(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t a, mu_cudnn_descriptor_t b,
                                      mu_cudnn_descriptor_t c)
{
    mu_cudnn_descriptor_t how = make(g, MU_CUDNN_MATMUL), d;
    set(g, how, MU_CUDNN_MATMUL_COMPUTE, MU_CUDNN_TYPE_DATA_TYPE, (int)MU_CUDNN_F32);
    finish(g, how, "a product");
    d = make(g, MU_CUDNN_OPERATION_MATMUL);
    attach(g, d, MU_CUDNN_OPERATION_MATMUL_A, a);
    attach(g, d, MU_CUDNN_OPERATION_MATMUL_B, b);
    attach(g, d, MU_CUDNN_OPERATION_MATMUL_C, c);
    attach(g, d, MU_CUDNN_OPERATION_MATMUL_DESC, how);
    add_operation(g, d, "a product");
    return c;
}

/* axis < 0: the mode has none. */
static mu_cudnn_descriptor_t pointwise(mu_cudnn_graph_t *g, int mode, int64_t axis, mu_cudnn_descriptor_t x,
                                       mu_cudnn_descriptor_t b, mu_cudnn_descriptor_t t,
                                       mu_cudnn_descriptor_t y)
{
    const int compute = mode == MU_CUDNN_GREATER_EQUAL ? MU_CUDNN_BOOL : MU_CUDNN_F32;
    mu_cudnn_descriptor_t how = make(g, MU_CUDNN_POINTWISE), d;
    set(g, how, MU_CUDNN_POINTWISE_MODE, MU_CUDNN_TYPE_POINTWISE_MODE, mode);
    set(g, how, MU_CUDNN_POINTWISE_COMPUTE, MU_CUDNN_TYPE_DATA_TYPE, compute);
    if (axis >= 0)
        set(g, how, MU_CUDNN_POINTWISE_AXIS, MU_CUDNN_TYPE_INT64, axis);
    finish(g, how, "a pointwise operation");
    d = make(g, MU_CUDNN_OPERATION_POINTWISE);
    attach(g, d, MU_CUDNN_OPERATION_POINTWISE_DESC, how);
    attach(g, d, MU_CUDNN_OPERATION_POINTWISE_X, x);
    attach(g, d, MU_CUDNN_OPERATION_POINTWISE_Y, y);
    if (b)
        attach(g, d, MU_CUDNN_OPERATION_POINTWISE_B, b);
    if (t)
        attach(g, d, MU_CUDNN_OPERATION_POINTWISE_T, t);
    set(g, d, MU_CUDNN_OPERATION_POINTWISE_ALPHA1, MU_CUDNN_TYPE_FLOAT, 1.0F);
    set(g, d, MU_CUDNN_OPERATION_POINTWISE_ALPHA2, MU_CUDNN_TYPE_FLOAT, 1.0F);
    add_operation(g, d, "a pointwise operation");
    return y;
}

mu_cudnn_descriptor_t mu_cudnn_pointwise(mu_cudnn_graph_t *g, int mode, mu_cudnn_descriptor_t x,
                                         mu_cudnn_descriptor_t b, mu_cudnn_descriptor_t t,
                                         mu_cudnn_descriptor_t y)
{
    return pointwise(g, mode, -1, x, b, t, y);
}

mu_cudnn_descriptor_t mu_cudnn_index(mu_cudnn_graph_t *g, int64_t axis, mu_cudnn_descriptor_t x,
                                     mu_cudnn_descriptor_t y)
{
    return pointwise(g, MU_CUDNN_GEN_INDEX, axis, x, NULL, NULL, y);
}

mu_cudnn_descriptor_t mu_cudnn_reduce(mu_cudnn_graph_t *g, int op, mu_cudnn_descriptor_t x,
                                      mu_cudnn_descriptor_t y)
{
    mu_cudnn_descriptor_t how = make(g, MU_CUDNN_REDUCTION), d;
    set(g, how, MU_CUDNN_REDUCTION_OPERATOR, MU_CUDNN_TYPE_REDUCTION_OPERATOR, op);
    set(g, how, MU_CUDNN_REDUCTION_COMPUTE, MU_CUDNN_TYPE_DATA_TYPE, (int)MU_CUDNN_F32);
    finish(g, how, "a reduction");
    d = make(g, MU_CUDNN_OPERATION_REDUCTION);
    attach(g, d, MU_CUDNN_OPERATION_REDUCTION_DESC, how);
    attach(g, d, MU_CUDNN_OPERATION_REDUCTION_X, x);
    attach(g, d, MU_CUDNN_OPERATION_REDUCTION_Y, y);
    add_operation(g, d, "a reduction");
    return y;
}

mu_cudnn_descriptor_t mu_cudnn_reshape(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t x, mu_cudnn_descriptor_t y)
{
    mu_cudnn_descriptor_t d = make(g, MU_CUDNN_OPERATION_RESHAPE);
    attach(g, d, MU_CUDNN_OPERATION_RESHAPE_X, x);
    attach(g, d, MU_CUDNN_OPERATION_RESHAPE_Y, y);
    add_operation(g, d, "a reshape");
    return y;
}

/* --- plans --- */

/* What was found among the engines that are proposed: each keeps a plan from being taken. */
typedef struct survey {
    int proposed, without_same_bits, refused;
    int64_t least_workspace; /* of those that need too much; 0: none does */
} survey_t;

/* Whether the engine of a configuration gives the same bits in each run. One that does not answer does not count. */
static bool same_bits(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t config, int64_t *index)
{
    int note[MU_CUDNN_NOTES];
    int64_t n = 0;
    mu_cudnn_descriptor_t engine = make(g, MU_CUDNN_ENGINE);
    if (!well(g) ||
        g->lib->get(config, MU_CUDNN_ENGINE_CONFIG_ENGINE, MU_CUDNN_TYPE_DESCRIPTOR, 1, &n, &engine) !=
            MU_CUDNN_SUCCESS ||
        g->lib->get(engine, MU_CUDNN_ENGINE_NOTES, MU_CUDNN_TYPE_NUMERICAL_NOTE, MU_CUDNN_NOTES, &n, note) !=
            MU_CUDNN_SUCCESS ||
        n > MU_CUDNN_NOTES)
        return false;
    for (int64_t i = 0; i < n; i++)
        if (note[i] == MU_CUDNN_NOTE_NONDETERMINISTIC)
            return false;
    *index = -1;
    (void)g->lib->get(engine, MU_CUDNN_ENGINE_INDEX, MU_CUDNN_TYPE_INT64, 1, &n, index);
    return true;
}

/* Takes the configuration, unless something keeps it from that. */
static bool take(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t config, int64_t most, survey_t *survey)
{
    int64_t n = 0, index = -1, workspace = 0;
    survey->proposed++;
    if (!same_bits(g, config, &index)) {
        survey->without_same_bits++;
        return false;
    }
    mu_cudnn_descriptor_t plan = make(g, MU_CUDNN_PLAN);
    if (!well(g))
        return false;
    if (g->lib->set(plan, MU_CUDNN_PLAN_ENGINE_CONFIG, MU_CUDNN_TYPE_DESCRIPTOR, 1, &config) !=
            MU_CUDNN_SUCCESS ||
        g->lib->finalize(plan) != MU_CUDNN_SUCCESS ||
        g->lib->get(plan, MU_CUDNN_PLAN_WORKSPACE, MU_CUDNN_TYPE_INT64, 1, &n, &workspace) !=
            MU_CUDNN_SUCCESS) {
        survey->refused++;
        return false;
    }
    if (workspace > most) {
        if (survey->least_workspace == 0 || workspace < survey->least_workspace)
            survey->least_workspace = workspace;
        return false;
    }
    g->plan = plan;
    g->workspace = workspace;
    g->engine = index;
    return true;
}

/* Those that one mode of cuDNN's heuristics proposes, the best first. A mode that fails proposes none. */
static bool try_mode(mu_cudnn_graph_t *g, mu_cudnn_descriptor_t graph, int mode, int64_t most,
                     survey_t *survey)
{
    mu_cudnn_descriptor_t heuristics = make(g, MU_CUDNN_HEURISTICS), config[MOST_CONFIGS];
    int64_t n = 0;
    attach(g, heuristics, MU_CUDNN_HEURISTICS_GRAPH, graph);
    set(g, heuristics, MU_CUDNN_HEURISTICS_MODE, MU_CUDNN_TYPE_HEUR_MODE, mode);
    if (!well(g) || g->lib->finalize(heuristics) != MU_CUDNN_SUCCESS ||
        g->lib->get(heuristics, MU_CUDNN_HEURISTICS_RESULTS, MU_CUDNN_TYPE_DESCRIPTOR, 0, &n, NULL) !=
            MU_CUDNN_SUCCESS)
        return false;
    n = mu_min_i64(n, MOST_CONFIGS);
    for (int64_t i = 0; i < n; i++)
        config[i] = make(g, MU_CUDNN_ENGINE_CONFIG);
    if (!well(g) || n == 0 ||
        g->lib->get(heuristics, MU_CUDNN_HEURISTICS_RESULTS, MU_CUDNN_TYPE_DESCRIPTOR, n, &n, config) !=
            MU_CUDNN_SUCCESS)
        return false;
    for (int64_t i = 0; i < n && well(g); i++)
        if (take(g, config[i], most, survey))
            return true;
    return false;
}

static void say_why(mu_cudnn_graph_t *g, const survey_t *s)
{
    char said[MU_CUDA_WHY] = "";
    if (s->least_workspace > 0) {
        snprintf(g->why, sizeof g->why, "it needs %lld MiB of workspace, more than is planned for",
                 (long long)(s->least_workspace >> 20));
        return;
    }
    if (s->proposed > 0 && s->without_same_bits == s->proposed) {
        snprintf(g->why, sizeof g->why, "it has no engine with the same bits in each run");
        return;
    }
    g->lib->last_error(said, sizeof said);
    said[strcspn(said, "\n")] = '\0';
    snprintf(g->why, sizeof g->why, "it has no engine for it%s%.150s", said[0] ? ": " : "", said);
}

bool mu_cudnn_plan(mu_cudnn_graph_t *g, int64_t most)
{
    survey_t survey = {};
    mu_cudnn_descriptor_t graph = make(g, MU_CUDNN_OPERATION_GRAPH);
    set(g, graph, MU_CUDNN_GRAPH_HANDLE, MU_CUDNN_TYPE_HANDLE, g->handle);
    set_many(g, graph, MU_CUDNN_GRAPH_OPERATIONS, MU_CUDNN_TYPE_DESCRIPTOR, g->operations, g->operation);
    finish(g, graph, "the graph");
    if (!well(g))
        return false;
    if (try_mode(g, graph, MU_CUDNN_HEUR_A, most, &survey) ||
        try_mode(g, graph, MU_CUDNN_HEUR_FALLBACK, most, &survey))
        return true;
    if (well(g))
        say_why(g, &survey);
    return false;
}

int mu_cudnn_run(const mu_cudnn_graph_t *g, const int64_t *uids, void *const *pointers, int n,
                 void *workspace)
{
    mu_cudnn_descriptor_t pack = NULL;
    int status = g->lib->make(MU_CUDNN_VARIANT_PACK, &pack);
    if (status == MU_CUDNN_SUCCESS)
        status = g->lib->set(pack, MU_CUDNN_PACK_UIDS, MU_CUDNN_TYPE_INT64, n, uids);
    if (status == MU_CUDNN_SUCCESS)
        status = g->lib->set(pack, MU_CUDNN_PACK_POINTERS, MU_CUDNN_TYPE_VOID_PTR, n, pointers);
    if (status == MU_CUDNN_SUCCESS)
        status = g->lib->set(pack, MU_CUDNN_PACK_WORKSPACE, MU_CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (status == MU_CUDNN_SUCCESS)
        status = g->lib->finalize(pack);
    if (status == MU_CUDNN_SUCCESS)
        status = g->lib->execute(g->handle, g->plan, pack);
    if (pack)
        (void)g->lib->drop(pack);
    return status;
}
