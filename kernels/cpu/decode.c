/*
 * Generation: linear layers and attention in which a row's bits depend on that row alone, whatever is computed beside
 * it (vec_dots.h, tiles.h, vec_decode.h). Threads share columns of a product, and heads and rows of attention.
 */
#include "common/num.h"
#include "kernels/cpu/cpu.h"

enum { GRAIN = 16, PACK_GRAIN = 512 };

enum { BLOCK = 64 }; /* columns at a time, where a result is rounded */

typedef struct rows {
    mu_device_t *dev;
    mu_array_t y, x, w, bias, plus;
    int64_t rows, in, out;
    const mu_tiles_t *tiles; /* NULL: no product for them */
    const float *wide;       /* x */
    uint16_t *packed;        /* x for the tiles */
    float *stage;            /* [threads][rows][BLOCK] sums */
} rows_t;

/* Sums of columns col .. col + n - 1, to be finished. */
static void finish(const rows_t *l, float *sums, int64_t stride, int64_t col, int64_t n)
{
    const mu_vec_t *vec = mu_cpu_vec(l->dev);
    float bias[BLOCK], plus[BLOCK];
    const float *b = mu_cpu_read(l->dev, l->bias, col, n, bias);
    for (int64_t r = 0; r < l->rows; r++, sums += stride) {
        if (b)
            vec->add(sums, b, n);
        if (l->plus.data)
            vec->add(sums, mu_cpu_read(l->dev, l->plus, r * l->out + col, n, plus), n);
        mu_cpu_end(l->dev, l->y, r * l->out + col, n, sums);
    }
}

static void columns(void *arg, int thread, int64_t from, int64_t to)
{
    rows_t *l = arg;
    float *stage = l->stage + (int64_t)thread * l->rows * BLOCK;
    if (l->tiles)
        l->tiles->begin(l->rows);
    for (int64_t col = from; col < to; col += BLOCK) {
        int64_t n = mu_min_i64(BLOCK, to - col);
        mu_array_t w = mu_array_at(l->w, col * l->in);
        if (l->tiles)
            l->tiles->dots(stage, BLOCK, l->packed, w.data, l->rows, n, l->in);
        else
            mu_cpu_vec(l->dev)->dots(stage, BLOCK, l->wide, w, l->rows, n, l->in);
        finish(l, stage, BLOCK, col, n);
        for (int64_t r = 0; r < l->rows && l->y.type == MU_DTYPE_F32; r++) /* plus may be y */
            memcpy(mu_f32(l->y) + r * l->out + col, stage + r * BLOCK, (size_t)n * sizeof *stage);
    }
    if (l->tiles)
        l->tiles->end();
}

static void pack(void *arg, int thread, int64_t from, int64_t to)
{
    rows_t *l = arg;
    (void)thread;
    l->tiles->pack(l->packed, l->x.data, l->rows, l->in, from, to);
}

void mu_cpu_linear_rows(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t w, mu_array_t bias,
                        mu_array_t plus, int64_t rows, int64_t in, int64_t out)
{
    bool halves = x.type == MU_DTYPE_BF16 && w.type == MU_DTYPE_BF16;
    int64_t sums = dev->threads * rows * BLOCK; /* a multiple of 64 bytes */
    const mu_tiles_t *tiles = halves ? mu_cpu(dev)->tiles : NULL;
    float *scratch = mu_cpu_scratch(dev, sums + (tiles ? mu_tiles_packed(rows, in) / 2 : rows * in));
    if (!scratch)
        return;
    rows_t l = {dev, y, x, w, bias, plus, rows, in, out, .tiles = tiles, .stage = scratch};
    if (tiles) {
        l.packed = (uint16_t *)(scratch + sums);
        mu_cpu_run(dev, mu_tiles_blocks(in), PACK_GRAIN / rows + 1, pack, &l);
    } else {
        l.wide = mu_cpu_read(dev, x, 0, rows * in, scratch + sums);
    }
    mu_cpu_run(dev, out, GRAIN, columns, &l);
}

typedef struct pieces {
    mu_device_t *dev;
    mu_array_t out, cache, qkv;
    const mu_cached_piece_t *piece;
    int64_t count;
    const mu_attention_t *shape;
    int64_t kv, group, stride,
        token; /* key/value heads; queries of one; elements of a row of qkv, of a token's cache */
    float *scratch;
    int64_t each;
} pieces_t;

/* Keys and values of the piece's tokens go into the cache. */
static void append(void *arg, int thread, int64_t from, int64_t to)
{
    pieces_t *p = arg;
    int64_t d = p->shape->head_dim;
    (void)thread;
    for (int64_t i = from; i < to; i++) {
        const mu_cached_piece_t *piece = &p->piece[i];
        for (int64_t r = 0; r < piece->rows; r++)
            for (int64_t kv = 0; kv < p->kv; kv++)
                memcpy(
                    mu_array_at(p->cache, (piece->base + piece->first + r) * p->token + kv * 2 * d).data,
                    mu_array_at(p->qkv, (piece->row + r) * p->stride + (kv * (p->group + 2) + p->group) * d)
                        .data,
                    (size_t)(2 * d * mu_dtype_size(p->cache.type)));
    }
}

/* Rows `at` .. of a piece, up to MU_VEC_ATTEND, of all queries that share a key. */
static void attend_rows(const pieces_t *p, int thread, const mu_cached_piece_t *piece, int64_t at, int64_t kv)
{
    int64_t d = p->shape->head_dim, row = piece->row + at;
    mu_array_t cache = mu_array_at(p->cache, piece->base * p->token + kv * 2 * d);
    mu_vec_attention_t a = {.n = mu_min_i64(MU_VEC_ATTEND, piece->rows - at),
                            .first = piece->first + at,
                            .head_dim = d,
                            .scale = (float)p->shape->scale,
                            .q = mu_array_at(p->qkv, row * p->stride + kv * (p->group + 2) * d),
                            .q_stride = p->stride,
                            .k = cache,
                            .v = mu_array_at(cache, d),
                            .k_stride = p->token,
                            .v_stride = p->token,
                            .out = mu_array_at(p->out, (row * p->shape->heads + kv * p->group) * d),
                            .out_stride = p->shape->heads * d,
                            .scratch = p->scratch + thread * p->each};
    for (int64_t query = 0; query < p->group; query++) {
        mu_cpu_vec(p->dev)->attend(&a);
        a.q = mu_array_at(a.q, d);
        a.out = mu_array_at(a.out, d);
    }
}

/* Units: blocks of rows of all pieces in order, each with every key/value head. */
static void attend(void *arg, int thread, int64_t from, int64_t to)
{
    const pieces_t *p = arg;
    int64_t unit = 0;
    for (int64_t i = 0; i < p->count && unit < to; i++)
        for (int64_t at = 0; at < p->piece[i].rows && unit < to; at += MU_VEC_ATTEND)
            for (int64_t kv = 0; kv < p->kv; kv++, unit++)
                if (unit >= from && unit < to)
                    attend_rows(p, thread, &p->piece[i], at, kv);
}

void mu_cpu_attention_pieces(mu_device_t *dev, mu_array_t out, mu_array_t cache, mu_array_t qkv,
                             const mu_cached_piece_t *piece, int64_t count, const mu_attention_t *shape)
{
    int64_t kv = mu_attention_kv_heads(shape), units = 0, keys = 0, d = shape->head_dim;
    for (int64_t i = 0; i < count; i++) {
        units += (piece[i].rows + MU_VEC_ATTEND - 1) / MU_VEC_ATTEND * kv;
        keys = mu_max_i64(keys, piece[i].first + piece[i].rows);
    }
    pieces_t p = {.dev = dev,
                  .out = out,
                  .cache = cache,
                  .qkv = qkv,
                  .piece = piece,
                  .count = count,
                  .shape = shape,
                  .kv = kv,
                  .group = shape->heads / kv,
                  .stride = (shape->heads + 2 * kv) * d,
                  .token = kv * 2 * d,
                  .each = mu_vec_attend_scratch(keys, d)};
    p.scratch = mu_cpu_scratch(dev, p.each * dev->threads);
    if (!p.scratch)
        return;
    mu_cpu_run(dev, count, 1, append, &p);
    mu_cpu_run(dev, units, 1, attend, &p);
}
