/* Rotary positions: a thread turns N pairs of a query or a key. */
#include "kernels/cuda/cu.h"

enum { THREADS = 256 };

template <class T, int N> __global__ void turn(T *qkv, mu_rotary_t r, float sign)
{
    int64_t half = r.dims / 2, pieces = half / N,
            turned = r.heads / r.kv_heads + 1; /* queries and key of a group */
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t at = i % pieces * N, part = i / pieces % turned, group = i / (turned * pieces) % r.kv_heads,
            row = i / (turned * pieces * r.kv_heads);
    if (row >= r.rows)
        return;
    int64_t position = r.first + row % r.seq - (r.start ? r.start[row] : 0);
    const float *cosines = r.table + position * r.dims + at;
    T *x = qkv + ((row * r.kv_heads + group) * (turned + 1) + part) * r.head_dim + at;
    mu_pack<T, N> a = mu_load<T, N>(x), b = mu_load<T, N>(x + half);
    for (int k = 0; k < N; k++) {
        float c = cosines[k], s = sign * cosines[half + k], old = a.v[k];
        a.v[k] = old * c - b.v[k] * s;
        b.v[k] = b.v[k] * c + old * s;
    }
    mu_store(x, a);
    mu_store(x + half, b);
}

void mu_cuda_rotary(mu_device_t *dev, mu_array_t qkv, const mu_rotary_t *r, bool inverse)
{
    mu_by_type(qkv.type, [&](auto t) {
        using T = decltype(t);
        constexpr int N = 16 / sizeof(T);
        mu_rotary_t shape = *r;
        shape.kv_heads = r->kv_heads > 0 ? r->kv_heads : r->heads;
        float sign = inverse ? -1.0F : 1.0F;
        int64_t threads = r->rows * (r->heads + shape.kv_heads) * (r->dims / 2);
        if (mu_wide<T>(r->dims / 2, qkv.data) && mu_wide<T>(r->head_dim, qkv.data))
            MU_LAUNCH((turn<T, N>), mu_grid(mu_blocks(threads / N, THREADS)), THREADS, 0, mu_stream(dev),
                      (T *)qkv.data, shape, sign);
        else
            MU_LAUNCH((turn<T, 1>), mu_grid(mu_blocks(threads, THREADS)), THREADS, 0, mu_stream(dev),
                      (T *)qkv.data, shape, sign);
    });
    mu_cuda_check(dev, "rotary positions");
}
