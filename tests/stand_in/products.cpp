/* cuBLASLt's products on the CPU, against plain sums in double: transposes, leading dimensions, types,
 * epilogues. */
#include "cublasLt.h"
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "support.h"

#include <math.h>

#define LT(call) assert_int_equal((int)(call), (int)CUBLAS_STATUS_SUCCESS)

enum { M = 24, N = 7, K = 13, LD = 32 };

/* What a product is asked for, and what came of it. */
struct question {
    cudaDataType_t in, out;
    bool trans_a, trans_b;
    cublasLtEpilogue_t epilogue;
    float beta;
};

static float value(int i)
{
    return (float)((i * 37 + 11) % 29) / 16 - 0.8125F; /* exact in bf16 and fp16 */
}

static void narrow(void *to, size_t i, float f, cudaDataType_t type)
{
    if (type == CUDA_R_32F)
        ((float *)to)[i] = f;
    else if (type == CUDA_R_16BF)
        ((__nv_bfloat16 *)to)[i] = f;
    else
        ((__half *)to)[i] = f;
}
static double wide(const void *from, size_t i, cudaDataType_t type)
{
    if (type == CUDA_R_32F)
        return (double)((const float *)from)[i];
    if (type == CUDA_R_16BF)
        return (double)(float)((const __nv_bfloat16 *)from)[i];
    return (double)(float)((const __half *)from)[i];
}
static size_t width(cudaDataType_t type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

/* A column-major array of LD x columns, filled from `seed` on. */
struct matrix {
    cudaDataType_t type;
    array<char> memory;
    std::vector<char> host;

    matrix(cudaDataType_t t, size_t columns, int seed)
        : type(t), memory(LD * columns * width(t)), host(LD * columns * width(t))
    {
        for (size_t i = 0; i < LD * columns; i++)
            narrow(host.data(), i, value(seed + (int)i), type);
        OK(cudaMemcpyAsync(memory.p, host.data(), host.size(), cudaMemcpyHostToDevice, stream));
    }
    double at(size_t row, size_t column) const
    {
        return wide(host.data(), column * LD + row, type);
    }
    void fetch()
    {
        host = memory.get();
    }
};

static double gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * pow(x, 3))));
}

static cublasStatus_t ask(const question &q, const matrix &a, const matrix &b, matrix &d, void *bias,
                          void *aux, int64_t aux_ld)
{
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t la, lb, ld;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t result;
    int32_t ta = q.trans_a, tb = q.trans_b;
    uint32_t epilogue = q.epilogue;
    size_t workspace_bytes = 4096;
    int count;
    LT(cublasLtCreate(&handle));
    LT(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    LT(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta));
    LT(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb));
    LT(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    LT(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
    LT(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &aux, sizeof aux));
    LT(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &aux_ld, sizeof aux_ld));
    LT(cublasLtMatrixLayoutCreate(&la, q.in, q.trans_a ? K : M, q.trans_a ? M : K, LD));
    LT(cublasLtMatrixLayoutCreate(&lb, q.in, q.trans_b ? N : K, q.trans_b ? K : N, LD));
    LT(cublasLtMatrixLayoutCreate(&ld, q.out, M, N, LD));
    LT(cublasLtMatmulPreferenceCreate(&preference));
    LT(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                            &workspace_bytes, sizeof workspace_bytes));
    cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, desc, la, lb, ld, ld, preference, 1, &result, &count);
    if (status == CUBLAS_STATUS_SUCCESS) {
        array<char> workspace(workspace_bytes);
        float alpha = 2, beta = q.beta;
        assert_int_equal(count, 1);
        status = cublasLtMatmul(handle, desc, &alpha, a.memory.p, la, b.memory.p, lb, &beta, d.memory.p, ld,
                                d.memory.p, ld, &result.algo, workspace.p, workspace_bytes, stream);
        OK(cudaStreamSynchronize(stream));
    }
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatrixLayoutDestroy(la);
    cublasLtMatrixLayoutDestroy(lb);
    cublasLtMatrixLayoutDestroy(ld);
    cublasLtMatmulDescDestroy(desc);
    cublasLtDestroy(handle);
    return status;
}

static void near(double got, double want, cudaDataType_t type)
{
    double limit = type == CUDA_R_32F ? 1e-6 : type == CUDA_R_16F ? 1e-3 : 5e-3;
    if (!(fabs(got - want) <= limit * (1 + fabs(want))))
        fail_msg("%.9g, wanted %.9g", got, want);
}

static void check(const question &q)
{
    matrix a(q.in, q.trans_a ? M : K, 1), b(q.in, q.trans_b ? K : N, 2), d(q.out, N, 3), aux(q.out, N, 4);
    matrix bias(q.out, 1, 5), before = matrix(q.out, N, 3), aux_before = matrix(q.out, N, 4);
    bool grad_b = q.epilogue == CUBLASLT_EPILOGUE_BGRADB, grad_a = q.epilogue == CUBLASLT_EPILOGUE_BGRADA;
    bool slope = q.epilogue & 64, curve = q.epilogue & 32;
    LT(ask(q, a, b, d, bias.memory.p, aux.memory.p, LD));
    std::vector<double> rows(M, 0.0);
    matrix old_bias(q.out, 1, 5);
    d.fetch();
    aux.fetch();
    bias.fetch();
    for (size_t j = 0; j < N; j++) {
        double column = 0;
        for (size_t k = 0; k < K; k++)
            column += q.trans_b ? b.at(j, k) : b.at(k, j);
        if (grad_b)
            near(bias.at(j, 0), column, q.out);
        for (size_t i = 0; i < M; i++) {
            double sum = 0, row = 0;
            for (size_t k = 0; k < K; k++) {
                double left = q.trans_a ? a.at(k, i) : a.at(i, k);
                sum += left * (q.trans_b ? b.at(j, k) : b.at(k, j));
                row += left;
            }
            double want = 2 * sum + (double)q.beta * before.at(i, j);
            if (q.epilogue & 4)
                want += old_bias.at(i, 0);
            if (curve && (q.epilogue & 128))
                near(aux.at(i, j), want, q.out);
            if (curve)
                want = gelu(want);
            double x = aux_before.at(i, j), h = 1e-5;
            if (slope)
                want *= (gelu(x + h) - gelu(x - h)) / (2 * h);
            near(d.at(i, j), want, q.out);
            rows[i] += want;
            if (grad_a)
                near(bias.at(i, 0), row, q.out);
        }
        assert_true(d.at(M, j) == before.at(M, j)); /* after the rows nothing was written */
    }
    if (q.epilogue == CUBLASLT_EPILOGUE_DGELU_BGRAD)
        for (size_t i = 0; i < M; i++)
            near(bias.at(i, 0), rows[i], q.out);
}

static void products_of_every_type_and_transpose(void **)
{
    const cudaDataType_t types[][2] = {{CUDA_R_32F, CUDA_R_32F},
                                       {CUDA_R_16BF, CUDA_R_16BF},
                                       {CUDA_R_16F, CUDA_R_16F},
                                       {CUDA_R_16BF, CUDA_R_32F},
                                       {CUDA_R_16F, CUDA_R_32F}};
    for (const auto &t : types)
        for (int transposed = 0; transposed < 4; transposed++)
            check({t[0], t[1], (transposed & 1) != 0, (transposed & 2) != 0, CUBLASLT_EPILOGUE_DEFAULT,
                   transposed ? 1.0F : 0.0F});
}

static void every_epilogue(void **)
{
    for (cublasLtEpilogue_t e :
         {CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_GELU_AUX,
          CUBLASLT_EPILOGUE_GELU_BIAS, CUBLASLT_EPILOGUE_GELU_AUX_BIAS, CUBLASLT_EPILOGUE_DGELU,
          CUBLASLT_EPILOGUE_DGELU_BGRAD, CUBLASLT_EPILOGUE_BGRADA, CUBLASLT_EPILOGUE_BGRADB}) {
        check({CUDA_R_16BF, CUDA_R_16BF, true, false, e, 0});
        if (!(e & 128))
            check({CUDA_R_32F, CUDA_R_32F, false, true, e, 1});
    }
}

static void what_a_card_refuses_is_refused(void **)
{
    matrix a(CUDA_R_32F, K, 1), b(CUDA_R_32F, N, 2), d(CUDA_R_32F, N, 3), narrow_d(CUDA_R_16BF, N, 3);
    question q = {CUDA_R_32F, CUDA_R_32F, false, false, CUBLASLT_EPILOGUE_GELU_AUX, 0};
    assert_int_equal(ask(q, a, b, d, NULL, d.memory.p, LD), CUBLAS_STATUS_NOT_SUPPORTED); /* aux of floats */
    q = {CUDA_R_16BF, CUDA_R_16BF, false, false, CUBLASLT_EPILOGUE_DGELU, 0};
    assert_int_equal(ask(q, a, b, narrow_d, NULL, d.memory.p, 28), CUBLAS_STATUS_NOT_SUPPORTED);
    q = {CUDA_R_32F, CUDA_R_16BF, false, false, CUBLASLT_EPILOGUE_DEFAULT, 0};
    assert_int_equal(ask(q, a, b, narrow_d, NULL, NULL, 0), CUBLAS_STATUS_NOT_SUPPORTED);
    setenv("STAND_IN_CUDA", "sm=75", 1);
    q = {CUDA_R_16BF, CUDA_R_16BF, false, false, CUBLASLT_EPILOGUE_DEFAULT, 0};
    assert_int_equal(ask(q, a, b, narrow_d, NULL, NULL, 0), CUBLAS_STATUS_NOT_SUPPORTED);
    unsetenv("STAND_IN_CUDA");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(products_of_every_type_and_transpose, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(every_epilogue, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(what_a_card_refuses_is_refused, make_stream, free_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
