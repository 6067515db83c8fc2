/*
 * CUDA's language and runtime for files under kernels/cuda/, compiled as C++17 for the CPU. Only tests see
 * this header. Blocks run one after another, the threads of a block as fibres; see simt.h for what a kernel
 * may call, and cuda_runtime_api.h for the host's side.
 */
#ifndef MU_STAND_IN_CUDA_RUNTIME_H
#define MU_STAND_IN_CUDA_RUNTIME_H

#include "cuda_runtime_api.h"

#ifdef __cplusplus
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n)    alignas(n)
#define __launch_bounds__(...)
/* Blocks do not overlap in time, so a block's static memory is the program's. */
#define __shared__ static

#include "device_math.h"
#include "launch.h"
#include "simt.h"

template <class T> cudaError_t cudaMalloc(T **p, size_t bytes)
{
    return cudaMalloc((void **)p, bytes);
}
template <class T> cudaError_t cudaMallocHost(T **p, size_t bytes)
{
    return cudaMallocHost((void **)p, bytes);
}
template <class... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value)
{
    return cudaFuncSetAttribute((const void *)kernel, attribute, value);
}
#endif

#endif
