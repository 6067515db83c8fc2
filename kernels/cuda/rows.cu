/* Operations on rows of the hidden width: embeddings, positions, residual. */
#include "kernels/cuda/cu.h"

enum { THREADS = 256 };

/* Rows are walked by blocks: blockIdx.x is the row, blockIdx.y and the thread choose N columns. */
template <int N> __device__ static inline int64_t column()
{
    return ((int64_t)blockIdx.y * blockDim.x + threadIdx.x) * N;
}

/* Calls launch(T(), vector width, threads, grid) for `rows` rows of `hidden` elements. */
template <class F>
static void by_rows(mu_dtype_t type, int64_t rows, int64_t hidden, std::initializer_list<const void *> p,
                    F launch)
{
    mu_by_type(type, [&](auto t) {
        using T = decltype(t);
        bool wide = true;
        for (const void *each : p)
            wide = wide && mu_wide<T>(hidden, each);
        int64_t columns = wide ? hidden / (16 / (int64_t)sizeof(T)) : hidden;
        int threads = (int)mu_min_i64(THREADS, mu_blocks(columns, MU_WARP) * MU_WARP);
        dim3 grid = mu_grid(rows, mu_blocks(columns, threads));
        if (wide)
            launch(t, std::integral_constant<int, 16 / sizeof(T)>(), threads, grid);
        else
            launch(t, std::integral_constant<int, 1>(), threads, grid);
    });
}

/* --- embeddings --- */

template <class T, int N>
__global__ void embed(T *x, const T *table, const int32_t *ids, int64_t hidden, int64_t first, int64_t count)
{
    int64_t r = blockIdx.x, c = column<N>(), id = ids[r] - first;
    if (c >= hidden)
        return;
    mu_pack<T, N> v = {};
    if (id >= 0 && id < count)
        v = mu_load<T, N>(table + id * hidden + c);
    mu_store(x + r * hidden + c, v);
}

void mu_cuda_embedding_forward(mu_device_t *dev, mu_array_t x, mu_array_t table, const int32_t *ids,
                               int64_t rows, int64_t hidden, int64_t first, int64_t count)
{
    by_rows(x.type, rows, hidden, {x.data, table.data}, [&](auto t, auto each, int threads, dim3 grid) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((embed<T, N>), grid, threads, 0, mu_stream(dev), (T *)x.data, (const T *)table.data, ids,
                  hidden, first, count);
    });
    mu_cuda_check(dev, "embedding");
}

/* Where each id of the slice occurs: its first row, and how many rows have it. Integers, so that the order of
 * atomics does not matter. */
__global__ void forget_rows(int32_t *first_row, int32_t *occurs, int64_t count, int32_t rows)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count)
        return;
    first_row[i] = rows;
    occurs[i] = 0;
}

__global__ void count_rows(int32_t *first_row, int32_t *occurs, const int32_t *ids, int64_t rows,
                           int64_t first, int64_t count)
{
    int64_t r = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t id = r < rows ? ids[r] - first : -1;
    if (id < 0 || id >= count)
        return;
    atomicMin(&first_row[id], (int32_t)r);
    atomicAdd(&occurs[id], 1);
}

/* The block of an id's first row adds all rows of that id, in order. It looks for them from there on, a block
 * of rows at a time, until it has as many as there are: frequent ids are found close together, and rare ones
 * are few. */
template <class T, int N>
__global__ void embed_backward(float *dtable, const T *dx, const int32_t *ids, const int32_t *first_row,
                               const int32_t *occurs, int64_t rows, int64_t hidden, int64_t first,
                               int64_t count)
{
    __shared__ int32_t match[THREADS]; /* rows found, in order */
    __shared__ int32_t before[THREADS / MU_WARP + 1];
    int64_t r = blockIdx.x, id = ids[r] - first;
    if (id < 0 || id >= count || first_row[id] != r)
        return; /* the whole block */
    int64_t c = column<N>();
    int lane = threadIdx.x % MU_WARP, warp = threadIdx.x / MU_WARP;
    int32_t left = occurs[id];
    mu_pack<float, N> sum = {};
    if (c < hidden)
        sum = mu_load_floats<N>(dtable + id * hidden + c);
    for (int64_t at = r; left > 0; at += THREADS) {
        bool hit = at + threadIdx.x < rows && ids[at + threadIdx.x] - first == id;
        unsigned hits = __ballot_sync(MU_FULL, hit);
        if (lane == 0)
            before[warp + 1] = __popc(hits);
        __syncthreads();
        if (threadIdx.x == 0) {
            before[0] = 0;
            for (int w = 0; w < THREADS / MU_WARP; w++)
                before[w + 1] += before[w];
        }
        __syncthreads();
        if (hit)
            match[before[warp] + __popc(hits & ((1U << lane) - 1))] = (int32_t)(at + threadIdx.x);
        int32_t found = before[THREADS / MU_WARP];
        __syncthreads();
        if (c < hidden)
            for (int32_t i = 0; i < found; i++) {
                mu_pack<T, N> v = mu_load<T, N>(dx + match[i] * hidden + c);
                for (int k = 0; k < N; k++)
                    sum.v[k] += v.v[k];
            }
        left -= found;
    }
    if (c < hidden)
        mu_store_floats(dtable + id * hidden + c, sum);
}

/* dtable[ids[r] - first] += dx[r]; where: [2][count], scratch. */
static void add_rows(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *ids, int32_t *where,
                     int64_t rows, int64_t hidden, int64_t first, int64_t count)
{
    int32_t *first_row = where, *occurs = where + count;
    MU_LAUNCH(forget_rows, mu_grid(mu_blocks(count, THREADS)), THREADS, 0, mu_stream(dev), first_row, occurs,
              count, (int32_t)rows);
    MU_LAUNCH(count_rows, mu_grid(mu_blocks(rows, THREADS)), THREADS, 0, mu_stream(dev), first_row, occurs,
              ids, rows, first, count);
    mu_by_type(dx.type, [&](auto t) {
        using T = decltype(t);
        constexpr int N = 16 / sizeof(T);
        if (mu_wide<T>(hidden, dx.data) && mu_wide<float>(hidden, dtable))
            MU_LAUNCH((embed_backward<T, N>), mu_grid(rows, mu_blocks(hidden, THREADS * N)), THREADS, 0,
                      mu_stream(dev), dtable, (const T *)dx.data, ids, first_row, occurs, rows, hidden, first,
                      count);
        else
            MU_LAUNCH((embed_backward<T, 1>), mu_grid(rows, mu_blocks(hidden, THREADS)), THREADS, 0,
                      mu_stream(dev), dtable, (const T *)dx.data, ids, first_row, occurs, rows, hidden, first,
                      count);
    });
}

void mu_cuda_embedding_backward(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *ids,
                                int64_t rows, int64_t hidden, int64_t first, int64_t count)
{
    int32_t *where = (int32_t *)mu_cuda_scratch(dev, 2 * count * (int64_t)sizeof *where);
    if (where)
        add_rows(dev, dtable, dx, ids, where, rows, hidden, first, count);
    mu_cuda_check(dev, "embedding backward");
}

/* --- positions --- */

template <class T, int N>
__global__ void position(T *x, const T *table, const int32_t *start, int64_t seq, int64_t first,
                         int64_t hidden)
{
    int64_t r = blockIdx.x, c = column<N>();
    if (c >= hidden)
        return;
    mu_pack<T, N> v = mu_load<T, N>(x + r * hidden + c),
                  p = mu_load<T, N>(table + (first + r % seq - (start ? start[r] : 0)) * hidden + c);
    for (int k = 0; k < N; k++)
        v.v[k] += p.v[k];
    mu_store(x + r * hidden + c, v);
}

void mu_cuda_position_forward(mu_device_t *dev, mu_array_t x, mu_array_t table, const int32_t *start,
                              int64_t rows, int64_t seq, int64_t first, int64_t hidden)
{
    by_rows(x.type, rows, hidden, {x.data, table.data}, [&](auto t, auto each, int threads, dim3 grid) {
        using T = decltype(t);
        constexpr int N = decltype(each)::value;
        MU_LAUNCH((position<T, N>), grid, threads, 0, mu_stream(dev), (T *)x.data, (const T *)table.data,
                  start, seq, first, hidden);
    });
    mu_cuda_check(dev, "positions");
}

/* blockIdx.x is the position; its rows are `seq` apart. */
template <class T>
__global__ void position_backward(float *dtable, const T *dx, int64_t rows, int64_t seq, int64_t hidden)
{
    int64_t c = column<1>();
    if (c >= hidden)
        return;
    float sum = dtable[blockIdx.x * hidden + c];
    for (int64_t r = blockIdx.x; r < rows; r += seq)
        sum += mu_float(dx[r * hidden + c]);
    dtable[blockIdx.x * hidden + c] = sum;
}

__global__ void number_positions(int32_t *positions, const int32_t *start, int64_t rows, int64_t seq)
{
    int64_t r = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (r < rows)
        positions[r] = (int32_t)(r % seq) - start[r];
}

/* Positions that begin anew may be those of any rows: as ids of an embedding. */
static void add_numbered(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *start, int64_t rows,
                         int64_t seq, int64_t hidden)
{
    int32_t *positions = (int32_t *)mu_cuda_scratch(dev, (rows + 2 * seq) * (int64_t)sizeof *positions);
    if (!positions)
        return;
    MU_LAUNCH(number_positions, mu_grid(mu_blocks(rows, THREADS)), THREADS, 0, mu_stream(dev), positions,
              start, rows, seq);
    add_rows(dev, dtable, dx, positions, positions + rows, rows, hidden, 0, seq);
}

void mu_cuda_position_backward(mu_device_t *dev, float *dtable, mu_array_t dx, const int32_t *start,
                               int64_t rows, int64_t seq, int64_t hidden)
{
    if (start)
        add_numbered(dev, dtable, dx, start, rows, seq, hidden);
    else
        mu_by_type(dx.type, [&](auto t) {
            using T = decltype(t);
            MU_LAUNCH(position_backward<T>, mu_grid(mu_min_i64(rows, seq), mu_blocks(hidden, THREADS)),
                      THREADS, 0, mu_stream(dev), dtable, (const T *)dx.data, rows, seq, hidden);
        });
    mu_cuda_check(dev, "positions backward");
}

/* --- residual --- */

template <class T, int N>
__global__ void residual(T *y, const T *x, const T *branch, const T *bias1, const T *bias2, int64_t hidden)
{
    int64_t r = blockIdx.x, c = column<N>();
    if (c >= hidden)
        return;
    mu_pack<T, N> v = mu_load<T, N>(x + r * hidden + c), b = mu_load<T, N>(branch + r * hidden + c);
    for (int k = 0; k < N; k++)
        v.v[k] += b.v[k];
    for (int i = 0; i < 2; i++) {
        const T *bias = i ? bias2 : bias1;
        if (!bias)
            continue;
        b = mu_load<T, N>(bias + c);
        for (int k = 0; k < N; k++)
            v.v[k] += b.v[k];
    }
    mu_store(y + r * hidden + c, v);
}

void mu_cuda_residual(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t branch, mu_array_t bias1,
                      mu_array_t bias2, int64_t rows, int64_t hidden)
{
    by_rows(y.type, rows, hidden, {y.data, x.data, branch.data, bias1.data, bias2.data},
            [&](auto t, auto each, int threads, dim3 grid) {
                using T = decltype(t);
                constexpr int N = decltype(each)::value;
                MU_LAUNCH((residual<T, N>), grid, threads, 0, mu_stream(dev), (T *)y.data, (const T *)x.data,
                          (const T *)branch.data, (const T *)bias1.data, (const T *)bias2.data, hidden);
            });
    mu_cuda_check(dev, "residual");
}
