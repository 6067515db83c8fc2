/* cuBLASLt's products, by their definition: D = epilogue(alpha op(A) op(B) + beta C), column-major, summed in
 * double. */
#include "cublasLt.h"
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "runtime.h"

#include <math.h>
#include <stdlib.h>
#include <chrono>
#include <string.h>
#include <thread>
#include <vector>

namespace
{
struct layout {
    cudaDataType_t type;
    int32_t order;
    uint64_t rows, columns;
    int64_t ld;
    int32_t batches;
    int64_t stride;
};
struct operation {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    int32_t pointer_mode, op_a, op_b;
    uint32_t epilogue;
    void *bias, *aux;
    int64_t bias_stride, aux_ld, aux_stride;
    int32_t bias_type, aux_type; /* -1: that of D */
};
struct preference {
    uint64_t workspace;
    uint32_t alignment[4]; /* of A, B, C, D */
};
static_assert(sizeof(layout) <= sizeof(cublasLtMatrixLayoutOpaque_t), "a layout fits the caller's space");
static_assert(sizeof(operation) <= sizeof(cublasLtMatmulDescOpaque_t),
              "an operation fits the caller's space");
static_assert(sizeof(preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t), "a preference fits");

const uint64_t ALGORITHM = 0x6d75737465720001; /* what the heuristic gives out: this and the next ones */
const int ALGORITHMS = 4, FIRST_ID = 10;

const layout &get(cublasLtMatrixLayout_t l)
{
    return *(const layout *)l->data;
}
const operation &get(cublasLtMatmulDesc_t o)
{
    return *(const operation *)o->data;
}

size_t size_of(cudaDataType_t type)
{
    return type == CUDA_R_32F || type == CUDA_R_32I ? 4 : type == CUDA_R_64F ? 8 : 2;
}
bool is_float(cudaDataType_t type)
{
    return type == CUDA_R_32F || type == CUDA_R_16F || type == CUDA_R_16BF;
}

float load(const void *p, int64_t i, cudaDataType_t type)
{
    if (type == CUDA_R_32F)
        return ((const float *)p)[i];
    if (type == CUDA_R_16BF)
        return ((const __nv_bfloat16 *)p)[i];
    return ((const __half *)p)[i];
}
void store(void *p, int64_t i, cudaDataType_t type, double value)
{
    if (type == CUDA_R_32F)
        ((float *)p)[i] = (float)value;
    else if (type == CUDA_R_16BF)
        ((__nv_bfloat16 *)p)[i] = (float)value;
    else
        ((__half *)p)[i] = (float)value;
}

double gelu(double x)
{
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}
double gelu_slope(double x)
{
    double t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
}

struct problem {
    operation o;
    layout a, b, c, d;
    const void *pa, *pb, *pc;
    void *pd;
    double alpha, beta;
    int64_t m, n, k;
    int algorithm; /* 0 .. ALGORITHMS - 1 */
};

cudaDataType_t bias_type(const operation &o, const layout &d)
{
    return o.bias_type < 0 ? d.type : (cudaDataType_t)o.bias_type;
}
cudaDataType_t aux_type(const operation &o, const layout &d)
{
    return o.aux_type < 0 ? d.type : (cudaDataType_t)o.aux_type;
}
bool has_aux(uint32_t epilogue)
{
    return epilogue & 128;
}
bool has_bias(uint32_t epilogue) /* reads one or writes its gradient */
{
    return epilogue & (4 | 16 | 256 | 512);
}

/* The shape of op(X): rows, columns. */
void shape(const layout &l, int32_t op, uint64_t *rows, uint64_t *columns)
{
    *rows = op == CUBLAS_OP_N ? l.rows : l.columns;
    *columns = op == CUBLAS_OP_N ? l.columns : l.rows;
}

/* What the types, shapes and epilogue of a call make of it. */
cublasStatus_t judge(const operation &o, const layout &a, const layout &b, const layout &c, const layout &d)
{
    uint64_t am, ak, bk, bn;
    shape(a, o.op_a, &am, &ak);
    shape(b, o.op_b, &bk, &bn);
    if (ak != bk || am != d.rows || bn != d.columns || c.rows != d.rows || c.columns != d.columns)
        return CUBLAS_STATUS_INVALID_VALUE;
    for (const layout *l : {&a, &b, &c, &d})
        if (l->ld < (int64_t)l->rows || l->batches != d.batches)
            return CUBLAS_STATUS_INVALID_VALUE;
    for (const layout *l : {&a, &b, &c, &d})
        if (l->order != CUBLASLT_ORDER_COL || !is_float(l->type))
            return CUBLAS_STATUS_NOT_SUPPORTED;
    if (o.scale != CUDA_R_32F || o.pointer_mode != CUBLASLT_POINTER_MODE_HOST)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (a.type != b.type || c.type != d.type || (d.type != a.type && d.type != CUDA_R_32F))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if ((a.type == CUDA_R_16BF) && mu_stand_in_capability() < 80)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    switch (o.epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
        break;
    case CUBLASLT_EPILOGUE_BIAS:
        if (mu_stand_in_shall_fail("EPILOGUE_BIAS"))
            return CUBLAS_STATUS_NOT_SUPPORTED;
        break;
    case CUBLASLT_EPILOGUE_BGRADA:
    case CUBLASLT_EPILOGUE_BGRADB:
    case CUBLASLT_EPILOGUE_GELU:
    case CUBLASLT_EPILOGUE_GELU_BIAS:
        break;
    case CUBLASLT_EPILOGUE_GELU_AUX:
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
    case CUBLASLT_EPILOGUE_DGELU:
    case CUBLASLT_EPILOGUE_DGELU_BGRAD:
        if (o.aux_ld % 8 != 0 || o.aux_ld < (int64_t)d.rows || d.type == CUDA_R_32F ||
            aux_type(o, d) != d.type)
            return CUBLAS_STATUS_NOT_SUPPORTED;
        break;
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (has_bias(o.epilogue) && bias_type(o, d) != d.type && bias_type(o, d) != CUDA_R_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

/* op(X) as floats, row by row when `by_row`, else column by column. */
std::vector<float> unpack(const void *p, const layout &l, int32_t op, int64_t batch, bool by_row)
{
    std::vector<float> out(l.rows * l.columns);
    bool swap = by_row == (op == CUBLAS_OP_N); /* against the order in memory */
    for (int64_t column = 0; column < (int64_t)l.columns; column++)
        for (int64_t row = 0; row < (int64_t)l.rows; row++)
            out[(size_t)(swap ? row * (int64_t)l.columns + column : column * (int64_t)l.rows + row)] =
                load(p, batch * l.stride + column * l.ld + row, l.type);
    return out;
}

double dot(const float *x, const float *y, int64_t n)
{
    double sum[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++)
            sum[j] += (double)x[i + j] * (double)y[i + j];
    for (; i < n; i++)
        sum[0] += (double)x[i] * (double)y[i];
    return sum[0] + sum[1] + sum[2] + sum[3];
}

double float_dot(const float *x, const float *y, int64_t n, bool backwards)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = backwards ? n - 1 - i : i;
        sum += x[at] * y[at];
    }
    return (double)sum;
}

bool is_slow(const problem &q)
{
    const char *word = mu_stand_in_option("STAND_IN_CUDA", "slow=");
    if (word && strncmp(word, "gelu", 4) == 0)
        return q.o.epilogue & 32;
    if (word && strncmp(word, "fused", 5) == 0)
        return q.o.epilogue != CUBLASLT_EPILOGUE_DEFAULT;
    return word && atoi(word) == FIRST_ID + q.algorithm;
}

/* Sums of op(A)'s rows or op(B)'s columns, which are the gradient of a bias. */
void sums(const problem &q, const std::vector<float> &x, int64_t lines, int64_t batch)
{
    for (int64_t i = 0; i < lines; i++) {
        double sum = 0;
        for (int64_t k = 0; k < q.k; k++)
            sum += (double)x[(size_t)(i * q.k + k)];
        store(q.o.bias, batch * q.o.bias_stride + i, bias_type(q.o, q.d), sum);
    }
}

double finish(const problem &q, double value, int64_t i, int64_t j, int64_t batch)
{
    uint32_t e = q.o.epilogue;
    cudaDataType_t kind = aux_type(q.o, q.d);
    int64_t at = batch * q.o.aux_stride + j * q.o.aux_ld + i;
    if (e & 4)
        value += (double)load(q.o.bias, batch * q.o.bias_stride + i, bias_type(q.o, q.d));
    if ((e & 32) && has_aux(e))
        store(q.o.aux, at, kind, value);
    if (e & 32)
        value = gelu(value);
    if (e & 64)
        value *= gelu_slope((double)load(q.o.aux, at, kind));
    return value;
}

void multiply(const problem &q, int64_t batch)
{
    std::vector<float> a = unpack(q.pa, q.a, q.o.op_a, batch, true),
                       b = unpack(q.pb, q.b, q.o.op_b, batch, false);
    std::vector<double> row_sums((size_t)q.m);
    for (int64_t j = 0; j < q.n; j++) {
        for (int64_t i = 0; i < q.m; i++) {
            const float *x = a.data() + i * q.k, *y = b.data() + j * q.k;
            double value =
                q.alpha * (q.algorithm < 2 ? dot(x, y, q.k) : float_dot(x, y, q.k, q.algorithm == 3));
            if (q.beta != 0)
                value += q.beta * (double)load(q.pc, batch * q.c.stride + j * q.c.ld + i, q.c.type);
            value = finish(q, value, i, j, batch);
            row_sums[(size_t)i] += value;
            store(q.pd, batch * q.d.stride + j * q.d.ld + i, q.d.type, value);
        }
    }
    if (q.o.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD)
        for (int64_t i = 0; i < q.m; i++)
            store(q.o.bias, batch * q.o.bias_stride + i, bias_type(q.o, q.d), row_sums[(size_t)i]);
    if (q.o.epilogue == CUBLASLT_EPILOGUE_BGRADA)
        sums(q, a, q.m, batch);
    if (q.o.epilogue == CUBLASLT_EPILOGUE_BGRADB)
        sums(q, b, q.n, batch);
}

void check_matrix(const char *what, const void *p, const layout &l, int device)
{
    int64_t elements = (l.batches - 1) * l.stride + ((int64_t)l.columns - 1) * l.ld + (int64_t)l.rows;
    mu_stand_in_check_device_range(what, p, (size_t)elements * size_of(l.type), device);
    if ((uintptr_t)p % size_of(l.type) != 0)
        mu_stand_in_fail("%s: %p is no multiple of its element's size", what, p);
}

template <class T> cublasStatus_t take(void *to, T *field, const void *value, size_t bytes)
{
    (void)to;
    if (!value || bytes != sizeof(T))
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, sizeof(T));
    return CUBLAS_STATUS_SUCCESS;
}
} // namespace

extern "C" {

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
        return "CUBLAS_STATUS_INTERNAL_ERROR";
    }
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return cublasLtGetStatusName(status);
}

size_t cublasLtGetVersion(void)
{
    return 130000;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = (cublasLtHandle_t)calloc(1, 1);
    return *handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType_t type, uint64_t rows,
                                          uint64_t cols, int64_t ld)
{
    *out = (cublasLtMatrixLayout_t)calloc(1, sizeof **out);
    if (!*out)
        return CUBLAS_STATUS_ALLOC_FAILED;
    layout l = {type, CUBLASLT_ORDER_COL, rows, cols, ld, 1, 0};
    memcpy((*out)->data, &l, sizeof l);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    free(l);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t opaque,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void *value,
                                                size_t bytes)
{
    layout *l = (layout *)opaque->data;
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
        return take(l, &l->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        return take(l, &l->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
        return take(l, &l->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
        return take(l, &l->columns, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
        return take(l, &l->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return take(l, &l->batches, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        return take(l, &l->stride, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    *out = (cublasLtMatmulDesc_t)calloc(1, sizeof **out);
    if (!*out)
        return CUBLAS_STATUS_ALLOC_FAILED;
    operation o = {};
    o.compute = compute;
    o.scale = scale;
    o.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    o.bias_type = o.aux_type = -1;
    memcpy((*out)->data, &o, sizeof o);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    free(desc);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute, const void *value,
                                              size_t bytes)
{
    operation *o = (operation *)desc->data;
    int32_t ignored;
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_COMPUTE_TYPE:
        return take(o, &o->compute, value, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
        return take(o, &o->scale, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
        return take(o, &o->pointer_mode, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return take(o, &o->op_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return take(o, &o->op_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return take(o, &o->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return take(o, &o->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE:
        return take(o, &o->bias_stride, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
        return take(o, &o->aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
        return take(o, &o->aux_ld, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE:
        return take(o, &o->aux_stride, value, bytes);
    case CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET:
        return take(o, &ignored, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE:
        return take(o, &o->aux_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        return take(o, &o->bias_type, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    *out = (cublasLtMatmulPreference_t)calloc(1, sizeof **out);
    if (!*out)
        return CUBLAS_STATUS_ALLOC_FAILED;
    preference p = {0, {256, 256, 256, 256}};
    memcpy((*out)->data, &p, sizeof p);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p)
{
    free(p);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t opaque,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes)
{
    preference *p = (preference *)opaque->data;
    int32_t ignored;
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return take(p, &p->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return take(p, &p->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
    case CUBLASLT_MATMUL_PREF_SEARCH_MODE:
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return take(p, &ignored, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preferred, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int *found)
{
    *found = 0;
    if (!handle || wanted < 1)
        return CUBLAS_STATUS_INVALID_VALUE;
    cublasStatus_t status = judge(get(desc), get(a), get(b), get(c), get(d));
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    const preference &p = *(const preference *)preferred->data;
    for (int k = 0; k < wanted && k < ALGORITHMS; k++) {
        cublasLtMatmulHeuristicResult_t &result = results[k];
        memset(&result, 0, sizeof result);
        result.algo.data[0] = ALGORITHM + (uint64_t)k;
        /* what the algorithm may rely on */
        for (int i = 0; i < 4; i++)
            result.algo.data[1 + i] = p.alignment[i];
        result.workspaceSize = p.workspace < 1024 ? p.workspace : 1024;
        result.algo.data[5] = result.workspaceSize;
        result.wavesCount = 1;
        *found = k + 1;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void *value, size_t bytes, size_t *written)
{
    bool narrow = attribute == CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID ||
                  attribute == CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID;
    *written = narrow ? 2 : 4;
    if (algo->data[0] - ALGORITHM >= (uint64_t)ALGORITHMS || bytes < *written)
        return CUBLAS_STATUS_INVALID_VALUE;
    uint32_t number = attribute == CUBLASLT_ALGO_CONFIG_ID ? (uint32_t)(FIRST_ID + algo->data[0] - ALGORITHM)
                      : attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM ? 1
                                                                     : 0;
    memcpy(value, &number, *written); /* its low bytes */
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream)
{
    problem q = {};
    q.o = get(desc);
    q.a = get(a_layout);
    q.b = get(b_layout);
    q.c = get(c_layout);
    q.d = get(d_layout);
    q.pa = a;
    q.pb = b;
    q.pc = c;
    q.pd = d;
    q.alpha = (double)*(const float *)alpha;
    q.beta = (double)*(const float *)beta;
    cublasStatus_t status = handle ? judge(q.o, q.a, q.b, q.c, q.d) : CUBLAS_STATUS_NOT_INITIALIZED;
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    uint64_t rows, columns;
    shape(q.a, q.o.op_a, &rows, &columns);
    q.m = (int64_t)rows;
    q.k = (int64_t)columns;
    q.n = (int64_t)q.d.columns;
    int device = mu_stand_in_stream_device(stream);
    auto check = [q, device] { /* now, and when a graph runs it again */
                               check_matrix("cublasLtMatmul: A", q.pa, q.a, device);
                               check_matrix("cublasLtMatmul: B", q.pb, q.b, device);
                               check_matrix("cublasLtMatmul: D", q.pd, q.d, device);
    };
    check();
    if (q.beta != 0)
        check_matrix("cublasLtMatmul: C", c, q.c, device);
    if (has_bias(q.o.epilogue)) {
        int64_t lines = q.o.epilogue == CUBLASLT_EPILOGUE_BGRADB ? q.n : q.m;
        mu_stand_in_check_device_range("cublasLtMatmul: bias", q.o.bias,
                                       (size_t)lines * size_of(bias_type(q.o, q.d)), device);
    }
    if (has_aux(q.o.epilogue))
        mu_stand_in_check_device_range("cublasLtMatmul: aux", q.o.aux,
                                       (size_t)((q.n - 1) * q.o.aux_ld + q.m) * size_of(aux_type(q.o, q.d)),
                                       device);
    if (algo) {
        if (algo->data[0] - ALGORITHM >= (uint64_t)ALGORITHMS)
            return CUBLAS_STATUS_INVALID_VALUE;
        q.algorithm = (int)(algo->data[0] - ALGORITHM);
        const void *pointers[4] = {a, b, q.beta != 0 ? c : NULL, d};
        for (int i = 0; i < 4; i++)
            if ((uintptr_t)pointers[i] % algo->data[1 + i] != 0)
                mu_stand_in_fail(
                    "cublasLtMatmul: %p is no multiple of the %d bytes that the preference promised for %c",
                    pointers[i], (int)algo->data[1 + i], "ABCD"[i]);
        if (workspace_bytes < algo->data[5])
            return CUBLAS_STATUS_INVALID_VALUE;
        mu_stand_in_check_device_range("cublasLtMatmul: workspace", workspace, workspace_bytes, device);
    }
    cudaError_t error = mu_stand_in_enqueue(
        stream,
        [q] {
            mu_stand_in_touch();
            if (is_slow(q))
                std::this_thread::sleep_for(std::chrono::milliseconds(5));
            for (int64_t batch = 0; batch < q.d.batches; batch++)
                multiply(q, batch);
            return true;
        },
        check);
    return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

} /* extern "C" */
