/* Linear layers on cuBLASLt (product.h), and the sums of columns that bias gradients are. */
#include "kernels/cuda/product.h"

enum { THREADS = 256, WARPS = THREADS / MU_WARP };

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
static void multiply_biased(mu_device_t *dev, const mu_cuda_product_t *p, mu_array_t bias)
{
    if (!bias.data || mu_cuda_try_product(dev, p) || dev->status != MU_OK) {
        if (!bias.data)
            mu_cuda_multiply(dev, p);
        return;
    }
    mu_cuda_product_t bare = *p;
    bare.bias = MU_NO_ARRAY;
    bare.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    mu_cuda_multiply(dev, &bare);
    mu_by_type(bare.d.type, [&](auto t) {
        using T = decltype(t);
        int64_t n = bare.m * bare.n;
        MU_LAUNCH(add_bias<T>, mu_grid(mu_blocks(n, THREADS)), THREADS, 0, mu_stream(dev), (T *)bare.d.data,
                  (const T *)bias.data, n, bare.m);
    });
    mu_cuda_check(dev, "bias");
}

void mu_cuda_linear_forward(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                            mu_array_t plus, int64_t rows, int64_t in, int64_t out)
{
    mu_cuda_product_t p = mu_cuda_forward_product(MU_PRODUCT_FORWARD, y, x, w, bias, rows, in, out);
    p.plus = plus;
    multiply_biased(dev, &p, bias);
}

void mu_cuda_linear_gelu_forward(mu_device_t *dev, mu_array_t y, mu_array_t pre, mu_array_t x, mu_array_t w,
                                 mu_array_t bias, int64_t rows, int64_t in, int64_t out, mu_activation_t act)
{
    if (mu_cuda_fusible(y.type, out, act)) {
        mu_cuda_product_t p = mu_cuda_forward_product(MU_PRODUCT_GELU_FORWARD, y, x, w, bias, rows, in, out);
        p.epilogue = bias.data ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
        p.aux = pre.data;
        if (mu_cuda_try_product(dev, &p))
            return;
    }
    mu_cuda_product_t p = mu_cuda_forward_product(MU_PRODUCT_GELU_FORWARD, pre, x, w, bias, rows, in, out);
    multiply_biased(dev, &p, bias);
    mu_cuda_gelu_forward(dev, y, pre, rows * out, act);
}

void mu_cuda_linear_backward_input(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t w, int64_t rows,
                                   int64_t in, int64_t out, bool accumulate)
{
    mu_cuda_product_t p = mu_cuda_input_product(MU_PRODUCT_BACKWARD_INPUT, dx, dy, w, rows, in, out);
    if (accumulate)
        p.plus = dx;
    mu_cuda_multiply(dev, &p);
}

void mu_cuda_linear_gelu_backward_input(mu_device_t *dev, mu_array_t dpre, mu_array_t dy, mu_array_t w,
                                        mu_array_t pre, int64_t rows, int64_t in, int64_t out,
                                        mu_activation_t act)
{
    mu_cuda_product_t p = mu_cuda_input_product(MU_PRODUCT_GELU_BACKWARD_INPUT, dpre, dy, w, rows, in, out);
    if (mu_cuda_fusible(dpre.type, in, act)) {
        mu_cuda_product_t fused = p;
        fused.epilogue = CUBLASLT_EPILOGUE_DGELU;
        fused.aux = pre.data;
        if (mu_cuda_try_product(dev, &fused))
            return;
    }
    mu_cuda_multiply(dev, &p);
    mu_cuda_gelu_backward(dev, dpre, dpre, pre, rows * in, act);
}

void mu_cuda_linear_backward_weight(mu_device_t *dev, float *dw, float *dbias, mu_array_t dy, mu_array_t x,
                                    int64_t rows, int64_t in, int64_t out, bool fresh)
{
    mu_cuda_product_t p = mu_cuda_weight_product(mu_array_f32(dw), dy, x, rows, in, out);
    if (!fresh)
        p.plus = p.d;
    if (dbias && dy.type != MU_DTYPE_F32) {
        /* the library stores a bias gradient; ours adds up over micro batches */
        mu_cuda_product_t fused = p;
        fused.epilogue = CUBLASLT_EPILOGUE_BGRADB;
        fused.bias = mu_array_f32((float *)mu_cuda_scratch(dev, out * (int64_t)sizeof *dbias));
        if (!fused.bias.data)
            return;
        if (mu_cuda_try_product(dev, &fused)) {
            mu_cuda_add(dev, mu_array_f32(dbias), fused.bias, out);
            return;
        }
    }
    mu_cuda_multiply(dev, &p);
    if (dbias)
        add_column_sums(dev, dbias, dy, rows, out);
}
