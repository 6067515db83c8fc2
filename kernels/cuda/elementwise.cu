/* Operations on flat arrays, and the optimizer. */
#include "kernels/cuda/cu.h"

enum { THREADS = 256 };

/* Calls launch(T(), vector width) with 16-byte accesses where n and all pointers allow them. */
template <class F>
static void flat(mu_dtype_t type, int64_t n, std::initializer_list<const void *> p, F launch)
{
    mu_by_type(type, [&](auto t) {
        using T = decltype(t);
        bool wide = true;
        for (const void *each : p)
            wide = wide && mu_wide<T>(n, each);
        if (wide)
            launch(t, std::integral_constant<int, 16 / sizeof(T)>());
        else
            launch(t, std::integral_constant<int, 1>());
    });
}

static dim3 flat_grid(int64_t n, int each)
{
    return mu_grid(mu_blocks(n, (int64_t)THREADS * each));
}

__device__ static inline int64_t flat_index(int each)
{
    return ((int64_t)blockIdx.x * THREADS + threadIdx.x) * each;
}

template <class T, int N> __global__ void gelu(T *y, const T *x, int64_t n, mu_activation_t act)
{
    int64_t i = flat_index(N);
    if (i >= n)
        return;
    mu_pack<T, N> v = mu_load<T, N>(x + i);
    for (int k = 0; k < N; k++)
        v.v[k] = mu_gelu(v.v[k], act);
    mu_store(y + i, v);
}

void mu_cuda_gelu_forward(mu_device_t *dev, mu_array_t y, mu_array_t x, int64_t n, mu_activation_t act)
{
    flat(y.type, n, {y.data, x.data}, [&](auto t, auto each) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((gelu<T, N>), flat_grid(n, N), THREADS, 0, mu_stream(dev), (T *)y.data, (const T *)x.data,
                  n, act);
    });
    mu_cuda_check(dev, "gelu");
}

template <class T, int N>
__global__ void gelu_backward(T *dx, const T *dy, const T *x, int64_t n, mu_activation_t act)
{
    int64_t i = flat_index(N);
    if (i >= n)
        return;
    mu_pack<T, N> v = mu_load<T, N>(x + i), g = mu_load<T, N>(dy + i);
    for (int k = 0; k < N; k++)
        v.v[k] = g.v[k] * mu_gelu_slope(v.v[k], act);
    mu_store(dx + i, v);
}

void mu_cuda_gelu_backward(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t x, int64_t n,
                           mu_activation_t act)
{
    flat(dx.type, n, {dx.data, dy.data, x.data}, [&](auto t, auto each) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((gelu_backward<T, N>), flat_grid(n, N), THREADS, 0, mu_stream(dev), (T *)dx.data,
                  (const T *)dy.data, (const T *)x.data, n, act);
    });
    mu_cuda_check(dev, "gelu backward");
}

/* silu(gate) up, with silu(x) = x / (1 + exp(-x)) */
template <class T, int N> __global__ void swiglu(T *y, const T *gate, const T *up, int64_t n)
{
    int64_t i = flat_index(N);
    if (i >= n)
        return;
    mu_pack<T, N> g = mu_load<T, N>(gate + i), u = mu_load<T, N>(up + i);
    for (int k = 0; k < N; k++)
        g.v[k] = g.v[k] / (1 + expf(-g.v[k])) * u.v[k];
    mu_store(y + i, g);
}

void mu_cuda_swiglu_forward(mu_device_t *dev, mu_array_t y, mu_array_t gate, mu_array_t up, int64_t n)
{
    flat(y.type, n, {y.data, gate.data, up.data}, [&](auto t, auto each) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((swiglu<T, N>), flat_grid(n, N), THREADS, 0, mu_stream(dev), (T *)y.data,
                  (const T *)gate.data, (const T *)up.data, n);
    });
    mu_cuda_check(dev, "swiglu");
}

/* A thread reads all of its elements before it writes any: dgate and dup may be dy. */
template <class T, int N>
__global__ void swiglu_backward(T *dgate, T *dup, const T *dy, const T *gate, const T *up, int64_t n)
{
    int64_t i = flat_index(N);
    if (i >= n)
        return;
    mu_pack<T, N> d = mu_load<T, N>(dy + i), g = mu_load<T, N>(gate + i), u = mu_load<T, N>(up + i);
    for (int k = 0; k < N; k++) {
        float share = 1 / (1 + expf(-g.v[k])), silu = g.v[k] * share, dout = d.v[k];
        d.v[k] = dout * u.v[k] * (share + silu * (1 - share));
        u.v[k] = dout * silu;
    }
    mu_store(dgate + i, d);
    mu_store(dup + i, u);
}

void mu_cuda_swiglu_backward(mu_device_t *dev, mu_array_t dgate, mu_array_t dup, mu_array_t dy,
                             mu_array_t gate, mu_array_t up, int64_t n)
{
    flat(dy.type, n, {dgate.data, dup.data, dy.data, gate.data, up.data}, [&](auto t, auto each) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((swiglu_backward<T, N>), flat_grid(n, N), THREADS, 0, mu_stream(dev), (T *)dgate.data,
                  (T *)dup.data, (const T *)dy.data, (const T *)gate.data, (const T *)up.data, n);
    });
    mu_cuda_check(dev, "swiglu backward");
}

/* The types may differ, so an access moves one element; the large sums of one type take `residual`. */
template <class T, class U> __global__ void add(T *to, const U *from, int64_t n)
{
    int64_t i = flat_index(1);
    if (i < n)
        to[i] = mu_from<T>(mu_float(to[i]) + mu_float(from[i]));
}

template <class T, int N> __global__ void add_same(T *to, const T *from, int64_t n)
{
    int64_t i = flat_index(N);
    if (i >= n)
        return;
    mu_pack<T, N> v = mu_load<T, N>(to + i), w = mu_load<T, N>(from + i);
    for (int k = 0; k < N; k++)
        v.v[k] += w.v[k];
    mu_store(to + i, v);
}

void mu_cuda_add(mu_device_t *dev, mu_array_t to, mu_array_t from, int64_t n)
{
    if (to.type == from.type)
        flat(to.type, n, {to.data, from.data}, [&](auto t, auto each) {
            using T = decltype(t);
            constexpr int N = decltype(each)::value;
            MU_LAUNCH((add_same<T, N>), flat_grid(n, N), THREADS, 0, mu_stream(dev), (T *)to.data,
                      (const T *)from.data, n);
        });
    else
        mu_by_type(to.type, [&](auto t) {
            mu_by_type(from.type, [&](auto u) {
                using T = decltype(t);
                using U = decltype(u);
                MU_LAUNCH((add<T, U>), flat_grid(n, 1), THREADS, 0, mu_stream(dev), (T *)to.data,
                          (const U *)from.data, n);
            });
        });
    mu_cuda_check(dev, "add");
}

template <int N> __global__ void scale(float *x, int64_t n, float factor)
{
    int64_t i = flat_index(N);
    if (i >= n)
        return;
    mu_pack<float, N> v = mu_load<float, N>(x + i);
    for (int k = 0; k < N; k++)
        v.v[k] *= factor;
    mu_store(x + i, v);
}

void mu_cuda_scale(mu_device_t *dev, float *x, int64_t n, double factor)
{
    if (mu_wide<float>(n, x))
        MU_LAUNCH(scale<4>, flat_grid(n, 4), THREADS, 0, mu_stream(dev), x, n, (float)factor);
    else
        MU_LAUNCH(scale<1>, flat_grid(n, 1), THREADS, 0, mu_stream(dev), x, n, (float)factor);
    mu_cuda_check(dev, "scale");
}

/* --- AdamW --- */

/* mu_adamw_t with its divisions made once, in double. */
typedef struct update {
    float beta1, rest1, beta2, rest2; /* rest: 1 - beta */
    float step;                       /* lr / (1 - beta1^t) */
    float unbias2;                    /* 1 / (1 - beta2^t) */
    float eps, decay, grad_scale;     /* decay: lr weight_decay */
} update_t;

/* T: the type of p. With a master the new weight is made there, and p is its rounded copy. */
template <class T, int N>
__global__ void adamw(T *p, float *master, float *m, float *v, const float *g, int64_t n, update_t u)
{
    int64_t i = flat_index(N);
    if (i >= n)
        return;
    mu_pack<float, N> gs = mu_load_floats<N>(g + i), ms = mu_load_floats<N>(m + i),
                      vs = mu_load_floats<N>(v + i), w;
    mu_pack<T, N> rounded;
    if (master) {
        w = mu_load_floats<N>(master + i);
    } else {
        rounded = mu_load<T, N>(p + i);
        for (int k = 0; k < N; k++)
            w.v[k] = rounded.v[k];
    }
    for (int k = 0; k < N; k++) {
        float grad = gs.v[k] * u.grad_scale;
        ms.v[k] = u.beta1 * ms.v[k] + u.rest1 * grad;
        vs.v[k] = u.beta2 * vs.v[k] + u.rest2 * grad * grad;
        w.v[k] -= u.step * ms.v[k] / (sqrtf(vs.v[k] * u.unbias2) + u.eps) + u.decay * w.v[k];
    }
    mu_store_floats(m + i, ms);
    mu_store_floats(v + i, vs);
    if (master)
        mu_store_floats(master + i, w);
    for (int k = 0; k < N; k++)
        rounded.v[k] = w.v[k];
    mu_store(p + i, rounded);
}

void mu_cuda_adamw(mu_device_t *dev, mu_array_t p, float *master, float *m, float *v, const float *g,
                   int64_t n, const mu_adamw_t *params)
{
    double t = (double)params->t;
    update_t u = {(float)params->beta1,
                  (float)(1 - params->beta1),
                  (float)params->beta2,
                  (float)(1 - params->beta2),
                  (float)(params->lr / (1 - pow(params->beta1, t))),
                  (float)(1 / (1 - pow(params->beta2, t))),
                  (float)params->eps,
                  (float)(params->lr * params->weight_decay),
                  (float)params->grad_scale};
    bool wide =
        mu_wide<float>(n, master) && mu_wide<float>(n, m) && mu_wide<float>(n, v) && mu_wide<float>(n, g);
    mu_by_type(p.type, [&](auto type) {
        using T = decltype(type);
        constexpr int N = 16 / sizeof(T);
        if (wide && mu_wide<T>(n, p.data))
            MU_LAUNCH((adamw<T, N>), flat_grid(n, N), THREADS, 0, mu_stream(dev), (T *)p.data, master, m, v,
                      g, n, u);
        else
            MU_LAUNCH((adamw<T, 1>), flat_grid(n, 1), THREADS, 0, mu_stream(dev), (T *)p.data, master, m, v,
                      g, n, u);
    });
    mu_cuda_check(dev, "adamw");
}

/* --- sum of squares: blocks take equal runs of the array, and one block adds their sums in order --- */

enum { SUM_RUN = 1 << 16 };

template <int N> __global__ void sum_squares(double *partial, const float *x, int64_t n)
{
    __shared__ double each[THREADS / MU_WARP];
    int64_t from = (int64_t)blockIdx.x * SUM_RUN, to = from + SUM_RUN < n ? from + SUM_RUN : n;
    double sum = 0;
    for (int64_t i = from + (int64_t)threadIdx.x * N; i < to; i += THREADS * N) {
        mu_pack<float, N> v = mu_load<float, N>(x + i);
        for (int k = 0; k < N; k++)
            sum += (double)v.v[k] * (double)v.v[k];
    }
    sum = mu_block_sum(sum, each);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

__global__ void add_partial(double *out, const double *partial, int64_t n)
{
    __shared__ double each[THREADS / MU_WARP];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        sum += partial[i];
    sum = mu_block_sum(sum, each);
    if (threadIdx.x == 0)
        *out += sum;
}

void mu_cuda_sum_squares(mu_device_t *dev, double *out, const float *x, int64_t n)
{
    int64_t blocks = mu_blocks(n, SUM_RUN);
    double *partial = (double *)mu_cuda_scratch(dev, blocks * (int64_t)sizeof *partial);
    if (!partial)
        return;
    if (mu_wide<float>(n, x))
        MU_LAUNCH(sum_squares<4>, mu_grid(blocks), THREADS, 0, mu_stream(dev), partial, x, n);
    else
        MU_LAUNCH(sum_squares<1>, mu_grid(blocks), THREADS, 0, mu_stream(dev), partial, x, n);
    MU_LAUNCH(add_partial, 1, THREADS, 0, mu_stream(dev), out, partial, blocks);
    mu_cuda_check(dev, "sum of squares");
}
