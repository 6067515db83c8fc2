/*
 * Plans of products: what is asked once for a shape is kept, which is descriptors, layouts and the algorithm; and the
 * ways that were taken.
 */
#include "kernels/cuda/product.h"

#include <stdio.h>

/* What decides about an algorithm. Compared by bytes, so it is cleared before it is filled. */
typedef struct plan_key {
    int64_t m, n, k;
    int32_t trans_a, trans_b, type_in, type_out, epilogue, accumulate, op;
    int32_t trial; /* 0: none; else which */
    uint32_t align_a, align_b, align_c, align_d, align_extra;
} plan_key_t;

typedef struct plan {
    plan_key_t key;
    bool found;  /* whether the library has an algorithm */
    bool beyond; /* of a trial: not so many as the number of this one */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
} plan_t;

struct mu_cuda_plans {
    cublasLtHandle_t handle;
    void *workspace;
    plan_t *plan;
    int count, cap;
    mu_cuda_trial_t trial;
    mu_product_t taken[MU_PRODUCTS]; /* with their ways */
    int taken_count;
};

static cudaDataType_t type_of(mu_dtype_t type)
{
    return type == MU_DTYPE_F32 ? CUDA_R_32F : type == MU_DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

static uint32_t alignment(const void *p)
{
    uintptr_t low = (uintptr_t)p & (~(uintptr_t)p + 1);
    return low == 0 || low > 256 ? 256 : (uint32_t)low;
}

static plan_key_t key_of(const mu_cuda_product_t *p, const mu_cuda_trial_t *trial)
{
    plan_key_t key;
    memset(&key, 0, sizeof key);
    key.m = p->m;
    key.n = p->n;
    key.k = p->k;
    key.trans_a = p->trans_a;
    key.trans_b = p->trans_b;
    key.type_in = (int32_t)p->a.type;
    key.type_out = (int32_t)p->d.type;
    key.epilogue = (int32_t)p->epilogue;
    key.accumulate = p->plus.data != NULL;
    key.op = (int32_t)p->op;
    if (trial->on)
        key.trial = 1 + trial->candidate + (trial->alone ? MU_CUDA_CANDIDATES : 0);
    key.align_a = alignment(p->a.data);
    key.align_b = alignment(p->b.data);
    key.align_c = alignment(p->plus.data ? p->plus.data : p->d.data); /* as it is handed over */
    key.align_d = alignment(p->d.data);
    key.align_extra = alignment((void *)((uintptr_t)p->bias.data | (uintptr_t)p->aux));
    return key;
}

/* --- ways --- */

static const char fused_word[] = "fused ", alone_word[] = "alone ";

template <class V>
static unsigned part(const cublasLtMatmulAlgo_t *algo, cublasLtMatmulAlgoConfigAttributes_t which)
{
    V value = 0;
    size_t written = 0;
    if (cublasLtMatmulAlgoConfigGetAttribute(algo, which, &value, sizeof value, &written) !=
        CUBLAS_STATUS_SUCCESS)
        return 0;
    return (unsigned)value;
}

static void name_way(char *out, size_t size, const mu_cuda_product_t *p, const cublasLtMatmulAlgo_t *algo)
{
    snprintf(out, size, "%s%u.%u.%u.%u.%u.%u.%u.%u.%u",
             mu_cuda_optional_epilogue(p) ? fused_word : alone_word,
             part<int32_t>(algo, CUBLASLT_ALGO_CONFIG_ID), part<uint32_t>(algo, CUBLASLT_ALGO_CONFIG_TILE_ID),
             part<int32_t>(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
             part<uint32_t>(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME),
             part<uint32_t>(algo, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
             part<uint32_t>(algo, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION),
             part<uint32_t>(algo, CUBLASLT_ALGO_CONFIG_STAGES_ID),
             part<uint16_t>(algo, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID),
             part<uint16_t>(algo, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID));
}

static int find_taken(const mu_cuda_plans_t *plans, const mu_product_t *p)
{
    int i = 0;
    for (; i < plans->taken_count; i++) {
        const mu_product_t *t = &plans->taken[i];
        if (t->op == p->op && t->type == p->type && t->rows == p->rows && t->in == p->in && t->out == p->out)
            break;
    }
    return i;
}

/* The way that was taken for a product's operation, or NULL. */
static const char *way_for(const mu_cuda_plans_t *plans, const mu_cuda_product_t *p)
{
    mu_product_t asked = mu_cuda_operation_of(p);
    int i = find_taken(plans, &asked);
    return i < plans->taken_count ? plans->taken[i].way : NULL;
}

static bool is_alone(const char *way)
{
    return strncmp(way, alone_word, sizeof alone_word - 1) == 0;
}

/* --- plans --- */

template <class V> static bool set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t what, V value)
{
    return cublasLtMatmulDescSetAttribute(desc, what, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
}

template <class V>
static bool prefer(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t what, V value)
{
    return cublasLtMatmulPreferenceSetAttribute(preference, what, &value, sizeof value) ==
           CUBLAS_STATUS_SUCCESS;
}

/* The pointers of an epilogue, which change from call to call. */
static bool set_pointers(cublasLtMatmulDesc_t desc, const mu_cuda_product_t *p)
{
    return (!p->bias.data || set(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p->bias.data)) &&
           (!p->aux || set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p->aux));
}

static bool describe(plan_t *plan, const mu_cuda_product_t *p)
{
    if (cublasLtMatmulDescCreate(&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) != CUBLAS_STATUS_SUCCESS)
        return false;
    cublasLtMatmulDesc_t desc = plan->desc;
    cublasOperation_t op_a = p->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                      op_b = p->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    if (!set(desc, CUBLASLT_MATMUL_DESC_TRANSA, op_a) || !set(desc, CUBLASLT_MATMUL_DESC_TRANSB, op_b) ||
        !set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, p->epilogue) || !set_pointers(desc, p))
        return false;
    if (p->bias.data && !set(desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, (int32_t)type_of(p->bias.type)))
        return false;
    if (p->aux && !set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p->m))
        return false;
    cudaDataType_t in = type_of(p->a.type), out = type_of(p->d.type);
    int64_t rows_a = p->trans_a ? p->k : p->m, columns_a = p->trans_a ? p->m : p->k;
    int64_t rows_b = p->trans_b ? p->n : p->k, columns_b = p->trans_b ? p->k : p->n;
    return cublasLtMatrixLayoutCreate(&plan->a, in, (uint64_t)rows_a, (uint64_t)columns_a, rows_a) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutCreate(&plan->b, in, (uint64_t)rows_b, (uint64_t)columns_b, rows_b) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutCreate(&plan->d, out, (uint64_t)p->m, (uint64_t)p->n, p->m) ==
               CUBLAS_STATUS_SUCCESS;
}

/* The algorithms, `most` of them, that the library proposes; how many. */
static int propose(cublasLtHandle_t handle, const plan_t *plan, int most, cublasLtMatmulAlgo_t *out)
{
    cublasLtMatmulPreference_t preference;
    if (cublasLtMatmulPreferenceCreate(&preference) != CUBLAS_STATUS_SUCCESS)
        return 0;
    const plan_key_t *key = &plan->key;
    cublasLtMatmulHeuristicResult_t result[MU_CUDA_CANDIDATES];
    int found = 0, count = 0;
    bool ok = prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, (uint64_t)MU_CUDA_WORKSPACE) &&
              prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key->align_a) &&
              prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key->align_b) &&
              prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key->align_c) &&
              prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key->align_d) &&
              cublasLtMatmulAlgoGetHeuristic(handle, plan->desc, plan->a, plan->b, plan->d, plan->d,
                                             preference, most, result, &found) == CUBLAS_STATUS_SUCCESS;
    (void)cublasLtMatmulPreferenceDestroy(preference);
    for (int i = 0; ok && i < found; i++)
        if (result[i].state == CUBLAS_STATUS_SUCCESS)
            out[count++] = result[i].algo;
    return count;
}

/* Which of `count` algorithms has the configuration of the way; -1: none. */
static int named(const cublasLtMatmulAlgo_t *algo, int count, const mu_cuda_product_t *p, const char *way)
{
    char own[sizeof mu_product_t().way];
    const char *config = strchr(way, ' ');
    for (int i = 0; config && i < count; i++) {
        name_way(own, sizeof own, p, &algo[i]);
        if (strcmp(strchr(own, ' '), config) == 0)
            return i;
    }
    return -1;
}

/* The algorithm of a trial, of the way that was taken, or the first. */
static bool choose(mu_cuda_plans_t *plans, plan_t *plan, const mu_cuda_product_t *p)
{
    cublasLtMatmulAlgo_t algo[MU_CUDA_CANDIDATES];
    const mu_cuda_trial_t *trial = &plans->trial;
    const char *way = trial->on ? NULL : way_for(plans, p);
    if (mu_cuda_optional_epilogue(p) && (trial->on ? trial->alone : way && is_alone(way)))
        return false;
    int count =
        describe(plan, p) ? propose(plans->handle, plan, trial->on || way ? MU_CUDA_CANDIDATES : 1, algo) : 0;
    int i = trial->on ? trial->candidate : way ? named(algo, count, p, way) : 0;
    plan->beyond = trial->on && i >= count;
    if (count > 0)
        plan->algo = algo[i < 0 || i >= count ? 0 : i];
    return count > 0;
}

static plan_t *plan_for(mu_cuda_plans_t *plans, const mu_cuda_product_t *p)
{
    plan_key_t key = key_of(p, &plans->trial);
    for (int i = 0; i < plans->count; i++)
        if (memcmp(&plans->plan[i].key, &key, sizeof key) == 0)
            return &plans->plan[i];
    if (plans->count == plans->cap) {
        int cap = plans->cap ? 2 * plans->cap : 32;
        plan_t *more = (plan_t *)realloc(plans->plan, (size_t)cap * sizeof *more);
        if (!more)
            return NULL;
        plans->plan = more;
        plans->cap = cap;
    }
    plan_t *plan = &plans->plan[plans->count++];
    memset(plan, 0, sizeof *plan);
    plan->key = key;
    plan->found = choose(plans, plan, p);
    return plan;
}

/* A trial learns what ran. What could not is no candidate, and no error. */
static void report_trial(mu_cuda_trial_t *trial, const plan_t *plan, const mu_cuda_product_t *p, bool ran)
{
    trial->beyond = plan->beyond;
    trial->ran[0] = '\0';
    if (ran)
        name_way(trial->ran, sizeof trial->ran, p, &plan->algo);
}

/* What the library proposes for an epilogue and then refuses to run is asked for without the epilogue from then on. */
bool mu_cuda_try_product(mu_device_t *dev, const mu_cuda_product_t *p)
{
    mu_cuda_plans_t *plans = mu_cuda(dev)->plans;
    plan_t *plan = plan_for(plans, p);
    if (!plan || !plan->found)
        return false;
    const float one = 1, beta = p->plus.data ? 1 : 0;
    const void *c = p->plus.data ? p->plus.data : p->d.data;
    cublasStatus_t status =
        !set_pointers(plan->desc, p)
            ? CUBLAS_STATUS_INVALID_VALUE
            : cublasLtMatmul(plans->handle, plan->desc, &one, p->a.data, plan->a, p->b.data, plan->b, &beta,
                             c, plan->d, p->d.data, plan->d, &plan->algo, plans->workspace, MU_CUDA_WORKSPACE,
                             mu_stream(dev));
    if (status != CUBLAS_STATUS_SUCCESS && mu_cuda_spoils(dev, "product", "cuBLASLt refuses to enqueue it"))
        return true;
    if (plans->trial.on) {
        report_trial(&plans->trial, plan, p, status == CUBLAS_STATUS_SUCCESS);
        return true;
    }
    if (p->epilogue != CUBLASLT_EPILOGUE_DEFAULT)
        plan->found = status != CUBLAS_STATUS_NOT_SUPPORTED && status != CUBLAS_STATUS_INVALID_VALUE;
    if (status != CUBLAS_STATUS_SUCCESS && plan->found && dev->status == MU_OK)
        mu_cuda_host->error(
            dev, mu_cuda_host->fail(MU_GPU, "cuda: product of %lld x %lld x %lld: cuBLASLt error %d",
                                    (long long)p->m, (long long)p->n, (long long)p->k, (int)status));
    return plan->found;
}

void mu_cuda_multiply(mu_device_t *dev, const mu_cuda_product_t *p)
{
    if (!mu_cuda_try_product(dev, p) && !mu_cuda_spoils(dev, "product", "cuBLASLt has no algorithm") &&
        dev->status == MU_OK)
        mu_cuda_host->error(
            dev,
            mu_cuda_host->fail(MU_GPU, "cuda: cuBLASLt has no algorithm for a product of %lld x %lld x %lld",
                               (long long)p->m, (long long)p->n, (long long)p->k));
}

/* --- the ways from outside --- */

static void release(const plan_t *plan)
{
    if (plan->a)
        (void)cublasLtMatrixLayoutDestroy(plan->a);
    if (plan->b)
        (void)cublasLtMatrixLayoutDestroy(plan->b);
    if (plan->d)
        (void)cublasLtMatrixLayoutDestroy(plan->d);
    if (plan->desc)
        (void)cublasLtMatmulDescDestroy(plan->desc);
}

/* Whether the library proposes such a way for the operation; way "" asks for the first, and gets its name. */
static bool offers(mu_device_t *dev, const mu_product_t *o, bool fused, char *way, size_t size)
{
    cublasLtMatmulAlgo_t algo[MU_CUDA_CANDIDATES];
    const mu_cuda_trial_t none = {};
    mu_cuda_product_t p;
    plan_t plan = {};
    if (!mu_cuda_sample_product(o, fused, &p))
        return false;
    plan.key = key_of(&p, &none);
    int count =
        describe(&plan, &p) ? propose(mu_cuda(dev)->plans->handle, &plan, MU_CUDA_CANDIDATES, algo) : 0;
    bool found = way[0] ? named(algo, count, &p, way) >= 0 : count > 0;
    if (found && !way[0])
        name_way(way, size, &p, &algo[0]);
    release(&plan);
    return found;
}

bool mu_cuda_take_way(mu_device_t *dev, const mu_product_t *product)
{
    mu_cuda_plans_t *plans = mu_cuda(dev)->plans;
    mu_product_t asked = *product;
    bool alone = is_alone(asked.way), fused = strncmp(asked.way, fused_word, sizeof fused_word - 1) == 0;
    int i = find_taken(plans, &asked);
    if (i == MU_PRODUCTS || !(alone || fused) || !offers(dev, &asked, fused, asked.way, sizeof asked.way))
        return false;
    plans->taken_count += i == plans->taken_count;
    plans->taken[i] = asked;
    mu_cuda_plans_forget(dev);
    return true;
}

void mu_cuda_way_of(mu_device_t *dev, mu_product_t *product)
{
    const mu_cuda_plans_t *plans = mu_cuda(dev)->plans;
    int i = find_taken(plans, product);
    if (i < plans->taken_count) {
        memcpy(product->way, plans->taken[i].way, sizeof product->way);
        return;
    }
    product->way[0] = '\0';
    if (!offers(dev, product, true, product->way, sizeof product->way))
        (void)offers(dev, product, false, product->way, sizeof product->way);
}

/* --- their life --- */

mu_cuda_trial_t *mu_cuda_trial(mu_device_t *dev)
{
    return &mu_cuda(dev)->plans->trial;
}

void mu_cuda_plans_forget(mu_device_t *dev)
{
    mu_cuda_plans_t *plans = mu_cuda(dev)->plans;
    for (int i = 0; i < plans->count; i++)
        release(&plans->plan[i]);
    plans->count = 0;
    mu_cuda(dev)->epoch++;
}

mu_status_t mu_cuda_plans_new(mu_device_t *dev, mu_cuda_plans_t **out)
{
    mu_cuda_plans_t *plans = (mu_cuda_plans_t *)calloc(1, sizeof *plans);
    if (!plans)
        return mu_cuda_host->fail(MU_NOMEM, "cuda: no memory for a device");
    *out = plans; /* the device frees it whatever happens */
    cublasStatus_t status = cublasLtCreate(&plans->handle);
    if (status != CUBLAS_STATUS_SUCCESS)
        return mu_cuda_host->fail(MU_GPU, "cuda: cannot start cuBLASLt: error %d", (int)status);
    return mu_cuda_host->alloc(dev, MU_MEM_WORKSPACE, MU_CUDA_WORKSPACE, &plans->workspace);
}

void mu_cuda_plans_free(mu_device_t *dev, mu_cuda_plans_t *plans)
{
    if (!plans)
        return;
    mu_cuda_plans_forget(dev);
    free(plans->plan);
    mu_cuda_host->free(dev, plans->workspace);
    if (plans->handle)
        (void)cublasLtDestroy(plans->handle);
    free(plans);
}
