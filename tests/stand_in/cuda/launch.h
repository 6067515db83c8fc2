/*
 * Launching a kernel without nvcc. kernels/cuda/cu.h says MU_LAUNCH and MU_SHARED; without nvcc they are
 * these:
 *
 *     MU_STAND_IN_LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...)
 *     MU_STAND_IN_SHARED(type, name)       in a kernel: type *name = the block's dynamic shared memory
 *
 * A template-id with a comma goes in parentheses. Arguments are converted to the kernel's parameters and kept
 * by value. Every argument that is a pointer must point into device memory of the stream's device (or be
 * NULL). Dynamic shared memory above 48 KiB needs cudaFuncSetAttribute; it holds a pattern when a block
 * begins.
 */
#ifndef MU_STAND_IN_LAUNCH_H
#define MU_STAND_IN_LAUNCH_H

#include "cuda_runtime_api.h"
#include <functional>
#include <tuple>
#include <type_traits>

struct mu_stand_in_kernel {
    const char *name, *inside; /* its name, the function that launches it, with a template's arguments */
    const void *function;
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
    int device; /* the stream's */
};

int mu_stand_in_stream_device(cudaStream_t stream);
/* Enqueues. Ends the program when the shape is one that no card runs. `check` looks at the arguments: now, and at each
 * launch of a graph that the kernel becomes part of. */
void mu_stand_in_launch(const mu_stand_in_kernel &kernel, std::function<void()> thread,
                        std::function<void()> check);
/* Ends the program unless p is NULL or lies in memory of the stream's device; index counts the arguments
 * from 1. */
void mu_stand_in_check_argument(const mu_stand_in_kernel &kernel, int index, const void *p);
/* The block's dynamic shared memory. */
void *mu_stand_in_shared(void);

template <class T> void mu_stand_in_check_any(const mu_stand_in_kernel &kernel, int index, const T &value)
{
    if constexpr (std::is_pointer_v<T>)
        mu_stand_in_check_argument(kernel, index, (const void *)value);
}

template <class... P, class... A>
void mu_stand_in_call(const char *name, const char *inside, void (*kernel)(P...), dim3 grid, dim3 block,
                      size_t shared, cudaStream_t stream, A... arguments)
{
    static_assert((std::is_trivially_copyable_v<P> && ...), "a kernel's parameters are copied as bytes");
    mu_stand_in_kernel k = {
        name, inside, (const void *)kernel, grid, block, shared, stream, mu_stand_in_stream_device(stream)};
    std::tuple<P...> values{static_cast<P>(arguments)...};
    auto check = [k, values] {
        int index = 0;
        (void)k, (void)index;
        std::apply([&](const auto &...value) { (mu_stand_in_check_any(k, ++index, value), ...); }, values);
    };
    mu_stand_in_launch(
        k, [kernel, values] { std::apply(kernel, values); }, check);
}

#define MU_STAND_IN_LAUNCH(kernel, grid, block, shared, stream, ...)                                         \
    mu_stand_in_call(#kernel, __PRETTY_FUNCTION__, kernel, grid, block, shared, stream, ##__VA_ARGS__)
#define MU_STAND_IN_SHARED(type, name) type *name = (type *)mu_stand_in_shared()

#endif
