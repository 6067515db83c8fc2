/*
 * The CUDA device from the inside: its state, the operations that its files give to the table in cuda.cu, and
 * the few words of CUDA's dialect that plain C++ lacks. A build with MU_CUDA_STAND_IN takes those words from
 * the headers of a stand-in and runs the same files on a CPU.
 *
 * How the operations are made:
 * - Everything is enqueued on one stream; nothing waits for the GPU.
 * - Same bits every time: no atomics on floats; sums are divided by shapes alone and added in a fixed order.
 * - A kernel is a template over the element type (mu_by_type) and, where rows allow 16-byte accesses, over
 *   the number of elements in one access (mu_vector).
 */
#ifndef MU_KERNELS_CUDA_CU_H
#define MU_KERNELS_CUDA_CU_H

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <type_traits>

extern "C" {
#include "common/model.h"
#include "common/num.h"
#include "kernels/cuda_plugin.h"
#include "kernels/products.h"
}

/* --- launches and shared memory --- */

/* MU_LAUNCH(kernel, grid, block, shared bytes, stream, arguments...); a kernel with commas in its name goes
 * into parentheses; a grid of nothing is nothing. MU_SHARED(type, name) declares the dynamic shared memory,
 * once a kernel. */
#ifdef MU_CUDA_STAND_IN
#define MU_LAUNCH_ALWAYS MU_STAND_IN_LAUNCH
#define MU_SHARED        MU_STAND_IN_SHARED
#else
#define MU_LAUNCH_ALWAYS(kernel, grid, block, shared, stream, ...)                                           \
    (kernel)<<<dim3(grid), dim3(block), (size_t)(shared), (stream)>>>(__VA_ARGS__)
#define MU_SHARED(type, name)                                                                                \
    extern __shared__ __align__(16) unsigned char mu_shared_memory[];                                        \
    type *name = reinterpret_cast<type *>(mu_shared_memory)
#endif
#define MU_LAUNCH(kernel, grid, block, shared, stream, ...)                                                  \
    do {                                                                                                     \
        dim3 grid_(grid);                                                                                    \
        if (grid_.x > 0 && grid_.y > 0)                                                                      \
            MU_LAUNCH_ALWAYS(kernel, grid_, block, shared, stream, __VA_ARGS__);                             \
    } while (0)

enum { MU_WARP = 32 };
#define MU_FULL 0xffffffffU /* the mask of all lanes */

/* --- the device --- */

enum {
    MU_CUDA_SLOTS = 16, /* of pinned memory, for small transfers that nobody waits for */
    MU_CUDA_SLOT_BYTES = 1 << 18,
    MU_CUDA_WORKSPACE = 32 << 20, /* of cuBLASLt */
    MU_CUDA_MAX_DIM = 256,        /* the widest head of attention */
};

typedef struct mu_cuda_plans
    mu_cuda_plans_t; /* product.cu: handle, workspace, what was planned for each shape */
typedef struct mu_cuda_cudnn mu_cuda_cudnn_t; /* attention_cudnn.cu: library, handle, plans */

typedef struct mu_cuda_state {
    int index, capability; /* 90 for 9.0 */
    int processors;
    int shared_limit;            /* bytes of shared memory that a block may ask for */
    int shared_processor;        /* that a multiprocessor has for its blocks */
    cudaStream_t stream, beside; /* the operations'; get_beside's */
    char *slots;                 /* pinned, [MU_CUDA_SLOTS][MU_CUDA_SLOT_BYTES] */
    cudaEvent_t slot_free[MU_CUDA_SLOTS];
    int slot;
    void *scratch;
    int64_t scratch_bytes;
    mu_cuda_plans_t *plans;
    mu_cuda_cudnn_t *cudnn; /* NULL: all attention is computed by muster's own kernels */
    uint64_t epoch;         /* grows with everything that a graph recorded before must not outlive */
    bool recording;         /* a graph */
    char spoiled[128];      /* what keeps it from being one; "": nothing */
} mu_cuda_t;

extern const mu_cuda_host_t *mu_cuda_host; /* what the program lent, set at the entry point */

static inline mu_cuda_t *mu_cuda(const mu_device_t *dev)
{
    return (mu_cuda_t *)dev->impl;
}
static inline cudaStream_t mu_stream(const mu_device_t *dev)
{
    return mu_cuda(dev)->stream;
}

/* Logs what CUDA said of `doing` and gives the status: MU_NOMEM or MU_GPU; MU_OK for success. */
mu_status_t mu_cuda_status(cudaError_t error, const char *doing);
/* After launches: a refused launch becomes the device's error. Does not wait. */
void mu_cuda_check(mu_device_t *dev, const char *doing);
/* While a graph is recorded an error is its end and not the device's: true, and the first one is kept. */
bool mu_cuda_spoils(mu_device_t *dev, const char *doing, const char *why);
/* At least `bytes` of scratch, 256-byte aligned, valid until the next call; NULL after an error, which the
 * device keeps. */
void *mu_cuda_scratch(mu_device_t *dev, int64_t bytes);

mu_status_t mu_cuda_plans_new(mu_device_t *dev, mu_cuda_plans_t **out);
void mu_cuda_plans_free(mu_device_t *dev, mu_cuda_plans_t *plans); /* NULL is nothing */

/* Lets `kernel` be launched with `bytes` of dynamic shared memory; false after an error, which the device
 * keeps. */
bool mu_cuda_shared(mu_device_t *dev, const void *kernel, int64_t bytes, const char *doing);

static inline int64_t mu_blocks(int64_t n, int64_t each)
{
    return (n + each - 1) / each;
}
static inline dim3 mu_grid(int64_t x, int64_t y = 1, int64_t z = 1)
{
    return dim3((unsigned)x, (unsigned)y, (unsigned)z);
}

/* --- element types --- */

__device__ static inline float mu_float(float x)
{
    return x;
}
__device__ static inline float mu_float(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}
__device__ static inline float mu_float(__half x)
{
    return __half2float(x);
}
template <class T> __device__ static inline T mu_from(float x);
template <> __device__ inline float mu_from<float>(float x)
{
    return x;
}
template <> __device__ inline __nv_bfloat16 mu_from<__nv_bfloat16>(float x)
{
    return __float2bfloat16(x);
}
template <> __device__ inline __half mu_from<__half>(float x)
{
    return __float2half(x);
}

/* N elements of T as floats, moved in one access: N * sizeof(T) is 16, or N is 1. */
template <class T, int N> struct mu_pack {
    float v[N];
};
template <class T, int N> __device__ static inline mu_pack<T, N> mu_load(const T *p)
{
    mu_pack<T, N> out;
    if constexpr (N == 1) {
        out.v[0] = mu_float(*p);
    } else {
        static_assert(N * sizeof(T) == sizeof(uint4), "one access");
        uint4 raw = *reinterpret_cast<const uint4 *>(p);
        T t[N];
        memcpy((void *)t, &raw, sizeof raw);
        for (int i = 0; i < N; i++)
            out.v[i] = mu_float(t[i]);
    }
    return out;
}
template <class T, int N> __device__ static inline void mu_store(T *p, const mu_pack<T, N> &x)
{
    if constexpr (N == 1) {
        *p = mu_from<T>(x.v[0]);
    } else {
        T t[N];
        for (int i = 0; i < N; i++)
            t[i] = mu_from<T>(x.v[i]);
        uint4 raw;
        memcpy(&raw, (const void *)t, sizeof raw);
        *reinterpret_cast<uint4 *>(p) = raw;
    }
}

/* N floats, in accesses of 16 bytes: N is a multiple of 4, or 1. */
template <int N> __device__ static inline mu_pack<float, N> mu_load_floats(const float *p)
{
    if constexpr (N <= 4) {
        return mu_load<float, N>(p);
    } else {
        mu_pack<float, N> out;
        for (int i = 0; i < N; i += 4) {
            mu_pack<float, 4> part = mu_load<float, 4>(p + i);
            for (int k = 0; k < 4; k++)
                out.v[i + k] = part.v[k];
        }
        return out;
    }
}
template <int N> __device__ static inline void mu_store_floats(float *p, const mu_pack<float, N> &x)
{
    if constexpr (N <= 4)
        mu_store(p, x);
    else
        for (int i = 0; i < N; i += 4)
            mu_store(p + i, mu_pack<float, 4>{{x.v[i], x.v[i + 1], x.v[i + 2], x.v[i + 3]}});
}

/* f(T()) for the type of the elements. */
template <class F> static inline void mu_by_type(mu_dtype_t type, F f)
{
    if (type == MU_DTYPE_F32)
        f(float());
    else if (type == MU_DTYPE_BF16)
        f(__nv_bfloat16());
    else
        f(__half());
}

/* Whether rows of `width` elements of T at p (NULL: absent) may be moved by 16 bytes. */
template <class T> static inline bool mu_wide(int64_t width, const void *p)
{
    return width * (int64_t)sizeof(T) % 16 == 0 && (uintptr_t)p % 16 == 0;
}

/* --- sums over a warp and a block; every thread must come, and every thread gets the result --- */

template <class V> __device__ static inline V mu_warp_sum(V x)
{
    for (int lane = MU_WARP / 2; lane > 0; lane /= 2)
        x += __shfl_xor_sync(MU_FULL, x, lane);
    return x;
}
__device__ static inline float mu_warp_max(float x)
{
    for (int lane = MU_WARP / 2; lane > 0; lane /= 2)
        x = fmaxf(x, __shfl_xor_sync(MU_FULL, x, lane));
    return x;
}
/* `each` holds a value for each warp; the block may use it again after its next barrier but one. */
template <class V> __device__ static inline V mu_block_sum(V x, V *each)
{
    int warps = (int)blockDim.x / MU_WARP;
    x = mu_warp_sum(x);
    __syncthreads(); /* what an earlier sum left has been read */
    if (threadIdx.x % MU_WARP == 0)
        each[threadIdx.x / MU_WARP] = x;
    __syncthreads();
    V sum = each[0];
    for (int i = 1; i < warps; i++)
        sum += each[i];
    return sum;
}
__device__ static inline float mu_block_max(float x, float *each)
{
    int warps = (int)blockDim.x / MU_WARP;
    x = mu_warp_max(x);
    __syncthreads();
    if (threadIdx.x % MU_WARP == 0)
        each[threadIdx.x / MU_WARP] = x;
    __syncthreads();
    float max = each[0];
    for (int i = 1; i < warps; i++)
        max = fmaxf(max, each[i]);
    return max;
}

/* --- gelu --- */

__device__ static inline float mu_gelu(float x, mu_activation_t act)
{
    if (act == MU_GELU_ERF)
        return 0.5F * x * erfcf(-0.70710678F * x);
    float inner = 0.79788456F * (x + 0.044715F * x * x * x);
    /* (1 + tanh a) / 2 = 1 / (1 + exp(-2a)): keeps its digits where tanh nears -1 */
    return x / (1 + expf(-2 * inner));
}
__device__ static inline float mu_gelu_slope(float x, mu_activation_t act)
{
    if (act == MU_GELU_ERF)
        return 0.5F * erfcf(-0.70710678F * x) + x * 0.39894228F * expf(-0.5F * x * x);
    float inner = 0.79788456F * (x + 0.044715F * x * x * x);
    float p = 1 / (1 + expf(-2 * inner));
    return p + x * 2 * p * (1 - p) * 0.79788456F * (1 + 3 * 0.044715F * x * x);
}

/* --- the operations --- */

#define MU_CUDA_OPS(X)                                                                                       \
    X(linear_forward)                                                                                        \
    X(linear_gelu_forward)                                                                                   \
    X(linear_backward_input)                                                                                 \
    X(linear_gelu_backward_input)                                                                            \
    X(linear_backward_weight)                                                                                \
    X(embedding_forward)                                                                                     \
    X(embedding_backward)                                                                                    \
    X(position_forward)                                                                                      \
    X(position_backward)                                                                                     \
    X(layernorm_forward)                                                                                     \
    X(layernorm_backward)                                                                                    \
    X(layernorm_pair_forward)                                                                                \
    X(layernorm_pair_backward)                                                                               \
    X(rmsnorm_forward)                                                                                       \
    X(rmsnorm_backward)                                                                                      \
    X(qk_norm_forward)                                                                                       \
    X(qk_norm_backward)                                                                                      \
    X(gelu_forward)                                                                                          \
    X(gelu_backward)                                                                                         \
    X(swiglu_forward)                                                                                        \
    X(swiglu_backward)                                                                                       \
    X(residual)                                                                                              \
    X(dropout)                                                                                               \
    X(qkv_add)                                                                                               \
    X(qkv_take)                                                                                              \
    X(add)                                                                                                   \
    X(scale)                                                                                                 \
    X(rotary)                                                                                                \
    X(attention_forward)                                                                                     \
    X(attention_backward)                                                                                    \
    X(attention_cached)                                                                                      \
    X(attention_rows)                                                                                        \
    X(graph_record)                                                                                          \
    X(graph_run)                                                                                             \
    X(graph_free)                                                                                            \
    X(cross_entropy_max)                                                                                     \
    X(cross_entropy_exp)                                                                                     \
    X(cross_entropy_loss)                                                                                    \
    X(cross_entropy_backward)                                                                                \
    X(adamw)                                                                                                 \
    X(sum_squares)                                                                                           \
    X(tune_product)                                                                                          \
    X(take_way)                                                                                              \
    X(way_of)

/* mu_cuda_NAME has the type that device.h gives to NAME: each file's definition is checked against it. */
#define MU_CUDA_DECLARE(name) std::remove_pointer_t<decltype(mu_device_ops_t::name)> mu_cuda_##name;
MU_CUDA_OPS(MU_CUDA_DECLARE)
#undef MU_CUDA_DECLARE

/* attention.cu: whether there are kernels for heads so wide; else the device has the error. */
bool mu_cuda_heads_fit(mu_device_t *dev, int64_t dim);
/* attention.cu: shape->seq queries of one sequence against the first + shape->seq keys and values of a cache. */
void mu_cuda_plain_cached(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv, int64_t first,
                          const mu_attention_t *shape);
/* norm.cu: each of the `count` arrays to[i] [width] += the sum over b of partial [blocks][count][width], in order. */
enum { MU_CUDA_MOST_SUMS = 4 };
void mu_cuda_add_blocks(mu_device_t *dev, float *const *to, int count, const float *partial, int64_t blocks,
                        int64_t width);

/* Attention's probabilities that dropout keeps, a bit each: that of query q and key k of head `which` of batch * heads
 * is bit k % 8 of bits[(which seq + q) row + k / 8]. Those of keys after the query's are not drawn. What is kept counts
 * `factor` times. bits NULL: all are kept. */
typedef struct mu_cuda_kept {
    const uint8_t *bits;
    int64_t row;
    float factor;
} mu_cuda_kept_t;
/* dropout.cu: the bytes that they take (0: all are kept), and drawing them into so many at `room`. */
int64_t mu_cuda_kept_bytes(const mu_attention_t *shape);
mu_cuda_kept_t mu_cuda_draw_kept(mu_device_t *dev, void *room, const mu_attention_t *shape);
/* attention_mma.cu: whether the matrix units can do it; then it is enqueued. delta: [batch][heads][seq]. */
bool mu_cuda_mma_forward(mu_device_t *dev, mu_array_t out, float *lse, mu_array_t qkv,
                         const mu_cuda_kept_t *kept, const mu_attention_t *shape);
bool mu_cuda_mma_backward(mu_device_t *dev, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv, mu_array_t out,
                          const float *lse, float *delta, const mu_cuda_kept_t *kept,
                          const mu_attention_t *shape);
/* attention_cudnn.cu: whether cuDNN is in use and can do it; then it is enqueued. The others are the plugin's. */
bool mu_cuda_cudnn_forward(mu_device_t *dev, mu_array_t out, float *lse, mu_array_t qkv,
                           const mu_attention_t *shape);
bool mu_cuda_cudnn_backward(mu_device_t *dev, mu_array_t dqkv, mu_array_t dout, mu_array_t qkv,
                            mu_array_t out, const float *lse, const mu_attention_t *shape);
mu_status_t mu_cuda_cudnn_use(mu_device_t *dev, int *version);
bool mu_cuda_cudnn_taken(mu_device_t *dev, mu_dtype_t type, const mu_attention_t *shape, bool backward,
                         char why[MU_CUDA_WHY]);
void mu_cuda_cudnn_free(mu_cuda_cudnn_t *own); /* NULL is nothing */

#endif
