/* Dropout, and parts of query_key_value as arrays of their own. */
#include "kernels/cuda/cu.h"
#include "kernels/drop.h"

enum { THREADS = 256 };

/* What a thread needs of mu_dropout_t. */
typedef struct draws {
    mu_dropout_t d;
    uint64_t below; /* an element whose word is less is dropped; 0: none */
    float factor;
} draws_t;

static draws_t draws_of(const mu_dropout_t *d)
{
    return {*d, mu_drop_below(d), (float)d->factor};
}

/* A register for each word: they cannot be indexed by a variable. */
__device__ static inline uint32_t word_at(const uint32_t word[4], uint64_t e)
{
    return e % 4 < 2 ? (e % 2 ? word[1] : word[0]) : (e % 2 ? word[3] : word[2]);
}

/* A thread takes N neighbours of a row. */
template <class T, int N>
__global__ void dropout(T *y, const T *x, const T *plus, int64_t rows, int64_t cols, draws_t f)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (i >= rows * cols)
        return;
    mu_pack<T, N> v = mu_load<T, N>(x + i), p = {};
    if (plus)
        p = mu_load<T, N>(plus + i);
    uint64_t e = (uint64_t)((f.d.first + i / cols) * f.d.columns + f.d.column + i % cols);
    uint32_t word[4] = {};
    for (int k = 0; k < N; k++, e++) {
        if (f.below > 0 && (k == 0 || e % 4 == 0))
            mu_drop_words(&f.d, e, word);
        /* what is dropped is 0, whatever it was */
        v.v[k] = p.v[k] + (f.below > 0 && word_at(word, e) < f.below ? 0 : f.factor * v.v[k]);
    }
    mu_store(y + i, v);
}

void mu_cuda_dropout(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t plus, int64_t rows,
                     int64_t cols, const mu_dropout_t *d)
{
    mu_by_type(y.type, [&](auto t) {
        using T = decltype(t);
        constexpr int N = 16 / sizeof(T);
        int64_t n = rows * cols;
        if (mu_wide<T>(cols, y.data) && mu_wide<T>(cols, x.data) && mu_wide<T>(cols, plus.data))
            MU_LAUNCH((dropout<T, N>), mu_grid(mu_blocks(n, THREADS * N)), THREADS, 0, mu_stream(dev),
                      (T *)y.data, (const T *)x.data, (const T *)plus.data, rows, cols, draws_of(d));
        else
            MU_LAUNCH((dropout<T, 1>), mu_grid(mu_blocks(n, THREADS)), THREADS, 0, mu_stream(dev),
                      (T *)y.data, (const T *)x.data, (const T *)plus.data, rows, cols, draws_of(d));
    });
    mu_cuda_check(dev, "dropout");
}

/* --- attention's probabilities --- */

/* A thread makes a word of 32 keys of a query. Words that its query sees nothing of are left as they are. */
__global__ void draw_kept(uint32_t *kept, draws_t f, int64_t seq, int64_t heads, int64_t words, int64_t n)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, key = i % words * 32, query = i / words % seq,
            which = i / words / seq; /* batch * heads + head */
    if (i >= n || key > query)
        return;
    int64_t head = (f.d.first + which / heads) * f.d.columns + f.d.column + which % heads;
    uint64_t e = (uint64_t)((head * seq + query) * seq + key);
    uint32_t word[4] = {}, bits = 0;
    for (int k = 0; k < 32; k++, e++) {
        if (k == 0 || e % 4 == 0)
            mu_drop_words(&f.d, e, word);
        bits |= (uint32_t)(word_at(word, e) >= f.below) << k;
    }
    kept[i] = bits;
}

int64_t mu_cuda_kept_bytes(const mu_attention_t *s)
{
    return s->dropout ? s->batch * s->heads * s->seq * mu_model_kept_row(s->seq) : 0;
}

mu_cuda_kept_t mu_cuda_draw_kept(mu_device_t *dev, void *room, const mu_attention_t *s)
{
    if (!s->dropout)
        return {NULL, 0, 1};
    int64_t row = mu_model_kept_row(s->seq), words = row / 4, n = s->batch * s->heads * s->seq * words;
    MU_LAUNCH(draw_kept, mu_grid(mu_blocks(n, THREADS)), THREADS, 0, mu_stream(dev), (uint32_t *)room,
              draws_of(s->dropout), s->seq, s->heads, words, n);
    mu_cuda_check(dev, "attention's dropout");
    return {(const uint8_t *)room, row, (float)s->dropout->factor};
}

/* --- parts of query_key_value --- */

/* Lines of one part, and where they lie in qkv. */
typedef struct part {
    int64_t n, wide, line, at; /* elements; of a group's part, of a group, before the part in it */
} part_t;

static part_t part_of(int part, const mu_qkv_t *s)
{
    int64_t group = s->heads / s->kv_heads, d = s->head_dim, wide = part == 0 ? group * d : d;
    return {s->rows * s->kv_heads * wide, wide, (group + 2) * d, part == 0 ? 0 : (group + part - 1) * d};
}

template <class T, int N, bool ADD> __global__ void move_part(T *qkv, T *apart, part_t p)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (i >= p.n)
        return;
    T *inside = qkv + i / p.wide * p.line + p.at + i % p.wide;
    mu_pack<T, N> v = mu_load<T, N>(inside);
    if constexpr (ADD) {
        mu_pack<T, N> more = mu_load<T, N>(apart + i);
        for (int k = 0; k < N; k++)
            v.v[k] += more.v[k];
    }
    mu_store(ADD ? inside : apart + i, v);
}

template <bool ADD>
static void part(mu_device_t *dev, mu_array_t qkv, mu_array_t apart, int which, const mu_qkv_t *shape)
{
    part_t p = part_of(which, shape);
    mu_by_type(qkv.type, [&](auto t) {
        using T = decltype(t);
        constexpr int N = 16 / sizeof(T);
        if (mu_wide<T>(shape->head_dim, qkv.data) && mu_wide<T>(shape->head_dim, apart.data))
            MU_LAUNCH((move_part<T, N, ADD>), mu_grid(mu_blocks(p.n, THREADS * N)), THREADS, 0,
                      mu_stream(dev), (T *)qkv.data, (T *)apart.data, p);
        else
            MU_LAUNCH((move_part<T, 1, ADD>), mu_grid(mu_blocks(p.n, THREADS)), THREADS, 0, mu_stream(dev),
                      (T *)qkv.data, (T *)apart.data, p);
    });
    mu_cuda_check(dev, "part of query_key_value");
}

void mu_cuda_qkv_add(mu_device_t *dev, mu_array_t qkv, mu_array_t from, int which, const mu_qkv_t *shape)
{
    part<true>(dev, qkv, from, which, shape);
}

void mu_cuda_qkv_take(mu_device_t *dev, mu_array_t out, mu_array_t qkv, int which, const mu_qkv_t *shape)
{
    part<false>(dev, qkv, out, which, shape);
}
