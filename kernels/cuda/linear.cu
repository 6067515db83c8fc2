/*
 * Linear layers on cuBLASLt, and the sums of columns that bias gradients are.
 *
 * cuBLASLt counts by columns: a row-major [rows][in] is its in x rows. So y = x w^T is asked for as
 * y^T = w x^T, and no array is ever transposed in memory.
 *
 * What is asked once for a shape is kept: descriptors, layouts and the algorithm that the library proposes
 * first. Trying several and timing them would make two runs differ in their last bits.
 */
#include "kernels/cuda/cu.h"

enum { THREADS = 256, WARPS = THREADS / MU_WARP };

/* What decides about an algorithm. Compared by bytes, so it is cleared before it is filled. */
typedef struct plan_key {
    int64_t m, n, k;
    int32_t trans_a, trans_b, type_in, type_out, epilogue, accumulate;
    uint32_t align_a, align_b, align_c, align_d, align_extra;
} plan_key_t;

typedef struct plan {
    plan_key_t key;
    bool found; /* whether the library has an algorithm */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
} plan_t;

struct mu_cuda_plans {
    cublasLtHandle_t handle;
    void *workspace;
    plan_t *plan;
    int count, cap;
};

/* d = op(a) op(b) (+ plus), m x n, k summed, in cuBLASLt's order of columns; every array is dense. */
typedef struct product {
    mu_array_t a, b, d, plus; /* plus: absent, d, or another of d's type */
    bool trans_a, trans_b;
    int64_t m, n, k;
    cublasLtEpilogue_t epilogue;
    mu_array_t bias; /* of BIAS: m elements, read; of BGRADB: n floats, written */
    void *aux;       /* of GELU_AUX and DGELU: m x n of d's type */
} product_t;

static cudaDataType_t type_of(mu_dtype_t type)
{
    return type == MU_DTYPE_F32 ? CUDA_R_32F : type == MU_DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

static uint32_t alignment(const void *p)
{
    uintptr_t low = (uintptr_t)p & (~(uintptr_t)p + 1);
    return low == 0 || low > 256 ? 256 : (uint32_t)low;
}

static plan_key_t key_of(const product_t *p)
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
    key.align_a = alignment(p->a.data);
    key.align_b = alignment(p->b.data);
    key.align_c = alignment(p->plus.data ? p->plus.data : p->d.data); /* as it is handed over */
    key.align_d = alignment(p->d.data);
    key.align_extra = alignment((void *)((uintptr_t)p->bias.data | (uintptr_t)p->aux));
    return key;
}

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
static bool set_pointers(cublasLtMatmulDesc_t desc, const product_t *p)
{
    return (!p->bias.data || set(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p->bias.data)) &&
           (!p->aux || set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p->aux));
}

static bool describe(plan_t *plan, const product_t *p)
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

static bool propose(cublasLtHandle_t handle, plan_t *plan)
{
    cublasLtMatmulPreference_t preference;
    if (cublasLtMatmulPreferenceCreate(&preference) != CUBLAS_STATUS_SUCCESS)
        return false;
    const plan_key_t *key = &plan->key;
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    bool ok = prefer(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, (uint64_t)MU_CUDA_WORKSPACE) &&
              prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key->align_a) &&
              prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key->align_b) &&
              prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key->align_c) &&
              prefer(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key->align_d) &&
              cublasLtMatmulAlgoGetHeuristic(handle, plan->desc, plan->a, plan->b, plan->d, plan->d,
                                             preference, 1, &result, &found) == CUBLAS_STATUS_SUCCESS &&
              found == 1 && result.state == CUBLAS_STATUS_SUCCESS;
    (void)cublasLtMatmulPreferenceDestroy(preference);
    if (ok)
        plan->algo = result.algo;
    return ok;
}

static plan_t *plan_for(mu_cuda_plans_t *plans, const product_t *p)
{
    plan_key_t key = key_of(p);
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
    plan->found = describe(plan, p) && propose(plans->handle, plan);
    return plan;
}

/* Whether the library can do it; then it is enqueued, or the device has the error. What the library proposes
 * for an epilogue and then refuses to run is asked for without the epilogue from then on. */
static bool try_product(mu_device_t *dev, const product_t *p)
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
    if (p->epilogue != CUBLASLT_EPILOGUE_DEFAULT)
        plan->found = status != CUBLAS_STATUS_NOT_SUPPORTED && status != CUBLAS_STATUS_INVALID_VALUE;
    if (status != CUBLAS_STATUS_SUCCESS && plan->found && dev->status == MU_OK)
        mu_cuda_host->error(
            dev, mu_cuda_host->fail(MU_GPU, "cuda: product of %lld x %lld x %lld: cuBLASLt error %d",
                                    (long long)p->m, (long long)p->n, (long long)p->k, (int)status));
    return plan->found;
}

static void multiply(mu_device_t *dev, const product_t *p)
{
    if (!try_product(dev, p) && dev->status == MU_OK)
        mu_cuda_host->error(
            dev,
            mu_cuda_host->fail(MU_GPU, "cuda: cuBLASLt has no algorithm for a product of %lld x %lld x %lld",
                               (long long)p->m, (long long)p->n, (long long)p->k));
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
    for (int i = 0; i < plans->count; i++) {
        const plan_t *plan = &plans->plan[i];
        if (plan->a)
            (void)cublasLtMatrixLayoutDestroy(plan->a);
        if (plan->b)
            (void)cublasLtMatrixLayoutDestroy(plan->b);
        if (plan->d)
            (void)cublasLtMatrixLayoutDestroy(plan->d);
        if (plan->desc)
            (void)cublasLtMatmulDescDestroy(plan->desc);
    }
    free(plans->plan);
    mu_cuda_host->free(dev, plans->workspace);
    if (plans->handle)
        (void)cublasLtDestroy(plans->handle);
    free(plans);
}

/* --- sums of columns --- */

enum { COLUMN_ROWS = 512 }; /* rows of a block's part */

/* A warp a row, a lane N columns; the block's warps meet at the end. partial [gridDim.y][columns]. */
template <class T, int N>
__global__ void column_sums(float *partial, const T *x, int64_t rows, int64_t columns)
{
    __shared__ float part[WARPS][MU_WARP * N];
    int lane = threadIdx.x % MU_WARP, warp = threadIdx.x / MU_WARP;
    int64_t c = ((int64_t)blockIdx.x * MU_WARP + lane) * N, from = (int64_t)blockIdx.y * COLUMN_ROWS;
    int64_t to = from + COLUMN_ROWS < rows ? from + COLUMN_ROWS : rows;
    mu_pack<T, N> sum = {};
    if (c < columns)
        for (int64_t r = from + warp; r < to; r += WARPS) {
            mu_pack<T, N> v = mu_load<T, N>(x + r * columns + c);
            for (int k = 0; k < N; k++)
                sum.v[k] += v.v[k];
        }
    for (int k = 0; k < N; k++)
        part[warp][k * MU_WARP + lane] = sum.v[k];
    __syncthreads();
    for (int i = threadIdx.x; i < MU_WARP * N; i += THREADS) {
        float total = 0;
        for (int w = 0; w < WARPS; w++)
            total += part[w][i];
        int64_t column = ((int64_t)blockIdx.x * MU_WARP + i % MU_WARP) * N + i / MU_WARP;
        if (column < columns)
            partial[blockIdx.y * columns + column] = total;
    }
}

/* to += the parts, in order */
__global__ void add_parts(float *to, const float *partial, int64_t parts, int64_t columns)
{
    int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (c >= columns)
        return;
    float sum = 0;
    for (int64_t i = 0; i < parts; i++)
        sum += partial[i * columns + c];
    to[c] += sum;
}

static void add_column_sums(mu_device_t *dev, float *to, mu_array_t x, int64_t rows, int64_t columns)
{
    int64_t parts = mu_blocks(rows, COLUMN_ROWS);
    float *partial = (float *)mu_cuda_scratch(dev, parts * columns * (int64_t)sizeof *partial);
    if (!partial)
        return;
    mu_by_type(x.type, [&](auto t) {
        using T = decltype(t);
        constexpr int N = 16 / sizeof(T);
        if (mu_wide<T>(columns, x.data))
            MU_LAUNCH((column_sums<T, N>), mu_grid(mu_blocks(columns, MU_WARP * N), parts), THREADS, 0,
                      mu_stream(dev), partial, (const T *)x.data, rows, columns);
        else
            MU_LAUNCH((column_sums<T, 1>), mu_grid(mu_blocks(columns, MU_WARP), parts), THREADS, 0,
                      mu_stream(dev), partial, (const T *)x.data, rows, columns);
    });
    MU_LAUNCH(add_parts, mu_grid(mu_blocks(columns, THREADS)), THREADS, 0, mu_stream(dev), to, partial, parts,
              columns);
    mu_cuda_check(dev, "sums of columns");
}

/* --- the operations --- */

template <class T> __global__ void add_bias(T *y, const T *bias, int64_t n, int64_t columns)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n)
        y[i] = mu_from<T>(mu_float(y[i]) + mu_float(bias[i % columns]));
}

/* With the bias in the product where the library can, else after it. */
static void multiply_biased(mu_device_t *dev, const product_t *p, mu_array_t bias)
{
    if (!bias.data || try_product(dev, p) || dev->status != MU_OK) {
        if (!bias.data)
            multiply(dev, p);
        return;
    }
    product_t bare = *p;
    bare.bias = MU_NO_ARRAY;
    bare.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    multiply(dev, &bare);
    mu_by_type(bare.d.type, [&](auto t) {
        using T = decltype(t);
        int64_t n = bare.m * bare.n;
        MU_LAUNCH(add_bias<T>, mu_grid(mu_blocks(n, THREADS)), THREADS, 0, mu_stream(dev), (T *)bare.d.data,
                  (const T *)bias.data, n, bare.m);
    });
    mu_cuda_check(dev, "bias");
}

static product_t forward_product(mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias, int64_t rows,
                                 int64_t in, int64_t out)
{
    product_t p = {};
    p.d = y;
    p.a = w;
    p.trans_a = true;
    p.b = x;
    p.m = out;
    p.n = rows;
    p.k = in;
    p.bias = bias;
    p.epilogue = bias.data ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    return p;
}

void mu_cuda_linear_forward(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                            mu_array_t plus, int64_t rows, int64_t in, int64_t out)
{
    product_t p = forward_product(y, x, w, bias, rows, in, out);
    p.plus = plus;
    multiply_biased(dev, &p, bias);
}

/* cuBLASLt's GELU is the tanh form, made fast at the cost of digits that only narrow types do not miss. Its input's
 * rows must be a multiple of 8 wide (cuBLAS, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD). */
static bool fusible(mu_array_t a, int64_t width, mu_activation_t act)
{
    return a.type != MU_DTYPE_F32 && act == MU_GELU_TANH && width % 8 == 0;
}

void mu_cuda_linear_gelu_forward(mu_device_t *dev, mu_array_t y, mu_array_t pre, mu_array_t x, mu_array_t w,
                                 mu_array_t bias, int64_t rows, int64_t in, int64_t out, mu_activation_t act)
{
    if (fusible(y, out, act)) {
        product_t p = forward_product(y, x, w, bias, rows, in, out);
        p.epilogue = bias.data ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
        p.aux = pre.data;
        if (try_product(dev, &p))
            return;
    }
    product_t p = forward_product(pre, x, w, bias, rows, in, out);
    multiply_biased(dev, &p, bias);
    mu_cuda_gelu_forward(dev, y, pre, rows * out, act);
}

static product_t input_product(mu_array_t dx, mu_array_t dy, mu_array_t w, int64_t rows, int64_t in,
                               int64_t out)
{
    product_t p = {};
    p.d = dx;
    p.a = w;
    p.b = dy;
    p.m = in;
    p.n = rows;
    p.k = out;
    p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    return p;
}

void mu_cuda_linear_backward_input(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t w, int64_t rows,
                                   int64_t in, int64_t out, bool accumulate)
{
    product_t p = input_product(dx, dy, w, rows, in, out);
    if (accumulate)
        p.plus = dx;
    multiply(dev, &p);
}

void mu_cuda_linear_gelu_backward_input(mu_device_t *dev, mu_array_t dpre, mu_array_t dy, mu_array_t w,
                                        mu_array_t pre, int64_t rows, int64_t in, int64_t out,
                                        mu_activation_t act)
{
    product_t p = input_product(dpre, dy, w, rows, in, out);
    if (fusible(dpre, in, act)) {
        product_t fused = p;
        fused.epilogue = CUBLASLT_EPILOGUE_DGELU;
        fused.aux = pre.data;
        if (try_product(dev, &fused))
            return;
    }
    multiply(dev, &p);
    mu_cuda_gelu_backward(dev, dpre, dpre, pre, rows * in, act);
}

void mu_cuda_linear_backward_weight(mu_device_t *dev, float *dw, float *dbias, mu_array_t dy, mu_array_t x,
                                    int64_t rows, int64_t in, int64_t out, bool fresh)
{
    product_t p = {};
    p.d = mu_array_f32(dw);
    p.a = x;
    p.b = dy;
    p.trans_b = true;
    if (!fresh)
        p.plus = p.d;
    p.m = in;
    p.n = out;
    p.k = rows;
    p.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    if (dbias && dy.type != MU_DTYPE_F32) {
        /* the library stores a bias gradient; ours adds up over micro batches */
        product_t fused = p;
        fused.epilogue = CUBLASLT_EPILOGUE_BGRADB;
        fused.bias = mu_array_f32((float *)mu_cuda_scratch(dev, out * (int64_t)sizeof *dbias));
        if (!fused.bias.data)
            return;
        if (try_product(dev, &fused)) {
            mu_cuda_add(dev, mu_array_f32(dbias), fused.bias, out);
            return;
        }
    }
    multiply(dev, &p);
    if (dbias)
        add_column_sums(dev, dbias, dy, rows, out);
}
