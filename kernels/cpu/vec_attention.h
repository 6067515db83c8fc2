/*
 * Attention of one head (backward: of the heads that share a key and a value), forward and backward, in tiles;
 * included by vec_body.h.
 *
 * After Dao et al., 2022 (FlashAttention): the softmax is kept as a running maximum and sum, backward
 * computes the scores again from the saved log-sum, 64 queries at a time with all their keys. Tiles of scores
 * are held transposed, [key][query], so that everything that is one number a query (maximum, sum, lse, delta)
 * is a vector across the lanes and no row is ever summed sideways. Tiles above the diagonal are never
 * computed.
 */

enum { VEC_QUERIES = 64, VEC_KEYS = 64, VEC_KEYS_DIAGONAL = 32 };

/* Keys of the tile at `key`: narrow where the diagonal cuts it, to compute little that the mask hides. */
static inline int64_t vec_tile_keys(int64_t query, int64_t key, int64_t end)
{
    int64_t most = key + VEC_KEYS - 1 <= query ? VEC_KEYS : VEC_KEYS_DIAGONAL;
    return mu_min_i64(most, end - key);
}

/* Lanes at the left of a tile whose queries come before all its keys, as whole vectors. */
static inline int64_t vec_tile_skip(int64_t query, int64_t key)
{
    return key > query ? (key - query) / 16 * 16 : 0;
}

static inline int64_t vec_pad(int64_t n)
{
    return (n + 15) / 16 * 16;
}

/* Rows of `dim` elements, copied as floats with their rows padded by zeros to `pad`. */
static void vec_pack(float *restrict to, int64_t pad, mu_array_t from, int64_t stride, int64_t rows,
                     int64_t dim, float factor)
{
    for (int64_t r = 0; r < rows; r++, to += pad) {
        const void *row = mu_array_at(from, r * stride).data;
        const float *x = row;
        if (from.type != MU_DTYPE_F32) {
            vec_widen(to, row, dim, from.type);
            x = to;
        }
        VEC_INDEPENDENT
        for (int64_t i = 0; i < dim; i++)
            to[i] = x[i] * factor;
        for (int64_t i = dim; i < pad; i++)
            to[i] = 0;
    }
}

/* The transpose of up to `lanes` rows, [dim][lanes]; rows that are missing are zero. */
static void vec_pack_transposed(float *restrict to, int64_t lanes, mu_array_t from, int64_t stride,
                                int64_t rows, int64_t dim, float factor)
{
    enum { STRIP = 64 };
    float wide[STRIP];
    for (int64_t i = 0; i < dim; i++)
        for (int64_t r = rows; r < lanes; r++)
            to[i * lanes + r] = 0;
    if (from.type == MU_DTYPE_F32) {
        const float *x = from.data;
        for (int64_t i = 0; i < dim; i++)
            for (int64_t r = 0; r < rows; r++)
                to[i * lanes + r] = x[r * stride + i] * factor;
        return;
    }
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t at = 0; at < dim; at += STRIP) {
            int64_t n = mu_min_i64(STRIP, dim - at);
            vec_widen(wide, mu_array_at(from, r * stride + at).data, n, from.type);
            for (int64_t i = 0; i < n; i++)
                to[(at + i) * lanes + r] = wide[i] * factor;
        }
    }
}

/* Rows of `dim` floats, times a factor of all or (by_row) of each, to an array of any type. `from` is
 * changed. */
static void vec_unpack(mu_array_t to, int64_t stride, float *restrict from, int64_t pad, int64_t rows,
                       int64_t dim, float factor, const float *by_row)
{
    for (int64_t r = 0; r < rows; r++, from += pad) {
        void *row = mu_array_at(to, r * stride).data;
        float *out = to.type == MU_DTYPE_F32 ? row : from, by = by_row ? by_row[r] : factor;
        VEC_INDEPENDENT
        for (int64_t i = 0; i < dim; i++)
            out[i] = from[i] * by;
        if (to.type != MU_DTYPE_F32)
            vec_narrow(row, out, dim, to.type);
    }
}

/* Scores of keys after their query become -infinity. Lane 0 is the query at position `query`. */
static void vec_mask(float *s, int64_t stride, int64_t lanes, int64_t query, int64_t key, int64_t keys)
{
    for (int64_t j = 0; j < keys; j++) {
        int64_t hidden = mu_min_i64(key + j - query, lanes);
        for (int64_t i = 0; i < hidden; i++)
            s[j * stride + i] = -INFINITY;
    }
}

/* Scores of keys before the first that their query sees become -infinity. start: of lane 0's query on; lanes from
 * `rows` on are no queries. */
static void vec_mask_before(float *s, int64_t stride, int64_t rows, const int32_t *start, int64_t key,
                            int64_t keys)
{
    for (int64_t j = 0; j < keys; j++)
        for (int64_t i = 0; i < rows; i++)
            s[j * stride + i] = key + j < start[i] ? -INFINITY : s[j * stride + i];
}

/* The first key that a tile of queries sees: those before it are never computed. */
static inline int64_t vec_first_key(const mu_vec_attention_t *a, int64_t query)
{
    return a->start ? a->start[query] : 0;
}

/* Masks what the queries `at` .. at + rows - 1 of a tile do not see of its keys; lane 0 is query at + skip. */
static inline void vec_mask_tile(const mu_vec_attention_t *a, float *s, int64_t stride, int64_t lanes,
                                 int64_t at, int64_t skip, int64_t rows, int64_t key, int64_t keys)
{
    int64_t query = a->first + at;
    if (key + keys - 1 > query)
        vec_mask(s, stride, lanes, query + skip, key, keys);
    if (a->start && key < a->start[at + rows - 1])
        vec_mask_before(s, stride, rows - skip, a->start + at + skip, key, keys);
}

/* Dropout of a tile [key][stride] of what belongs to queries `query`, ..., a lane each, and keys `key`, .... */
static void vec_drop(const mu_vec_attention_t *a, float *s, int64_t stride, int64_t lanes, int64_t keys,
                     int64_t query, int64_t key)
{
    uint64_t below = mu_drop_below(a->dropout);
    float factor = (float)a->dropout->factor;
    uint32_t word[4];
    for (int64_t i = 0; i < mu_min_i64(lanes, a->n - query); i++) {
        uint64_t first = a->drop_at + (uint64_t)((query + i) * a->n + key);
        for (int64_t j = 0; j < keys;) {
            mu_drop_words(a->dropout, first + (uint64_t)j, word);
            for (uint64_t w = (first + (uint64_t)j) % 4; w < 4 && j < keys; w++, j++)
                s[j * stride + i] *= word[w] < below ? 0.0F : factor;
        }
    }
}

/* Takes a tile of scores into the running softmax: s becomes exp(s - max), `fade` what older sums are worth.
 */
static void vec_softmax_tile(float *s, int64_t lanes, int64_t keys, float *max, float *sum, float *fade)
{
    for (int64_t i = 0; i < lanes; i += MU_VEC_WIDTH) {
        vec_f old = vec_load(max + i), top = old;
        for (int64_t j = 0; j < keys; j++)
            top = vec_max(top, vec_load(s + j * lanes + i));
        vec_f worth = vec_exp(old - top), total = vec_load(sum + i) * worth;
        for (int64_t j = 0; j < keys; j++) {
            vec_f e = vec_exp(vec_load(s + j * lanes + i) - top);
            vec_store(s + j * lanes + i, e);
            total += e;
        }
        vec_store(max + i, top);
        vec_store(fade + i, worth);
        vec_store(sum + i, total);
    }
}

/* `sum` is changed. */
static void vec_attention_finish(const mu_vec_attention_t *a, int64_t at, int64_t rows, float *out,
                                 int64_t pad, const float *max, float *sum)
{
    for (int64_t r = 0; r < rows; r++) {
        if (a->lse)
            a->lse[at + r] = max[r] + logf(sum[r]);
        sum[r] = 1.0F / sum[r];
    }
    vec_unpack(mu_array_at(a->out, at * a->out_stride), a->out_stride, out, pad, rows, a->head_dim, 0, sum);
}

static void vec_fade(float *out, const float *fade, int64_t rows, int64_t pad)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < pad; i += MU_VEC_WIDTH)
            vec_store(out + r * pad + i, vec_load(out + r * pad + i) * fade[r]);
}

static void vec_attention(const mu_vec_attention_t *a)
{
    int64_t d = a->head_dim, pad = vec_pad(d), keys = a->first + a->n;
    int64_t lanes = mu_min_i64(VEC_QUERIES, vec_pad(a->n));
    float *k = a->scratch, *v = k + keys * pad, *qt = v + keys * pad;
    float *s = qt + pad * VEC_QUERIES, *out = s + VEC_QUERIES * VEC_KEYS, *max = out + VEC_QUERIES * pad;
    float *sum = max + VEC_QUERIES, *fade = sum + VEC_QUERIES;
    vec_pack(k, pad, a->k, a->k_stride, keys, d, 1.0F);
    vec_pack(v, pad, a->v, a->v_stride, keys, d, 1.0F);
    for (int64_t at = 0; at < a->n; at += lanes) {
        int64_t rows = mu_min_i64(lanes, a->n - at), query = a->first + at;
        vec_pack_transposed(qt, lanes, mu_array_at(a->q, at * a->q_stride), a->q_stride, rows, d, a->scale);
        memset(out, 0, (size_t)(lanes * pad) * sizeof *out);
        for (int64_t i = 0; i < lanes; i++) {
            max[i] = -1e30F;
            sum[i] = 0;
        }
        int64_t m, begin = vec_first_key(a, at);
        for (int64_t key = begin; key < query + rows; key += m) {
            m = vec_tile_keys(query, key, query + rows);
            int64_t skip = vec_tile_skip(query, key), left = lanes - skip;
            vec_product(s, left, (vec_a_t){k + key * pad, pad, 1}, qt + skip, lanes, m, left, d, false);
            vec_mask_tile(a, s, left, left, at, skip, rows, key, m);
            vec_softmax_tile(s, left, m, max + skip, sum + skip, fade + skip);
            if (a->dropout)
                vec_drop(a, s, left, left, m, at + skip, key);
            if (key > begin)
                vec_fade(out + skip * pad, fade + skip, rows - skip, pad);
            vec_product(out + skip * pad, pad, (vec_a_t){s, 1, left}, v + key * pad, pad, rows - skip, pad, m,
                        true);
        }
        vec_attention_finish(a, at, rows, out, pad, max, sum);
    }
}

/* What backward holds of one head, [rows][pad], and of the queries of one tile. */
typedef struct vec_backward {
    int64_t pad, lanes;
    float *k, *v, *dk, *dv;        /* all keys */
    float *s, *ds;                 /* [key][lanes]: the scores of the tile's queries with all their keys */
    float *qt, *dot;               /* [dim][lanes] */
    float *q, *dout, *dq;          /* [lanes][pad] */
    float *lse, *weight, *product; /* [lanes]: log-sum; sum of p, of p dp */
} vec_backward_t;

static vec_backward_t vec_backward_layout(const mu_vec_attention_t *a)
{
    int64_t pad = vec_pad(a->head_dim), all = a->n * pad, tile = VEC_QUERIES * pad;
    vec_backward_t w = {.pad = pad, .lanes = mu_min_i64(VEC_QUERIES, vec_pad(a->n))};
    float **const part[] = {&w.k, &w.v, &w.dk, &w.dv, &w.qt, &w.dot, &w.q, &w.dout, &w.dq};
    float *at = a->scratch;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        *part[i] = at;
        at += i < 4 ? all : tile;
    }
    w.s = at;
    w.ds = w.s + a->n * VEC_QUERIES;
    w.lse = w.ds + a->n * VEC_QUERIES;
    w.weight = w.lse + VEC_QUERIES;
    w.product = w.weight + VEC_QUERIES;
    return w;
}

static void vec_backward_pack(const mu_vec_attention_t *a, const vec_backward_t *w, int64_t at, int64_t rows)
{
    int64_t d = a->head_dim;
    mu_array_t q = mu_array_at(a->q, at * a->q_stride), dout = mu_array_at(a->dout, at * a->out_stride);
    vec_pack_transposed(w->qt, w->lanes, q, a->q_stride, rows, d, a->scale);
    vec_pack_transposed(w->dot, w->lanes, dout, a->out_stride, rows, d, 1.0F);
    vec_pack(w->q, w->pad, q, a->q_stride, rows, d, a->scale);
    vec_pack(w->dout, w->pad, dout, a->out_stride, rows, d, 1.0F);
    for (int64_t r = 0; r < w->lanes; r++) {
        w->lse[r] = r < rows ? a->lse[at + r] : 0;
        w->weight[r] = w->product[r] = 0;
    }
}

/* s: scores become probabilities p; their sums, and those of p dp, are taken over the keys. */
static void vec_probabilities(float *s, const float *dp, int64_t stride, int64_t lanes, int64_t keys,
                              const float *lse, float *weight, float *product)
{
    for (int64_t i = 0; i < lanes; i += MU_VEC_WIDTH) {
        vec_f l = vec_load(lse + i), sum = vec_load(weight + i), with = vec_load(product + i);
        for (int64_t at = i; at < keys * stride; at += stride) {
            vec_f p = vec_exp(vec_load(s + at) - l);
            vec_store(s + at, p);
            sum += p;
            with += p * vec_load(dp + at);
        }
        vec_store(weight + i, sum);
        vec_store(product + i, with);
    }
}

/* ds: dp becomes p (dp - delta). */
static void vec_score_gradient(const float *p, float *ds, int64_t stride, int64_t lanes, int64_t keys,
                               const float *delta)
{
    for (int64_t i = 0; i < lanes; i += MU_VEC_WIDTH) {
        vec_f d = vec_load(delta + i);
        for (int64_t at = i; at < keys * stride; at += stride)
            vec_store(ds + at, vec_load(p + at) * (vec_load(ds + at) - d));
    }
}

/* Delta is summed from the same p and dp that it is taken from, not from dout and out as flash attention has
 * it: the gradients of a query's scores then cancel to the last bits, as their sum over keys needs that
 * reaches biases. It costs no product, since a tile of queries keeps its scores with all keys. */
static void vec_backward_queries(const mu_vec_attention_t *a, const void *held, int64_t at)
{
    const vec_backward_t *w = held;
    int64_t d = a->head_dim, pad = w->pad, lanes = w->lanes, rows = mu_min_i64(lanes, a->n - at);
    int64_t end = at + rows, begin = vec_first_key(a, at), m;
    vec_backward_pack(a, w, at, rows);
    for (int64_t key = begin; key < end; key += m) {
        m = vec_tile_keys(at, key, end);
        int64_t skip = vec_tile_skip(at, key), left = lanes - skip;
        float *s = w->s + key * lanes + skip, *dp = w->ds + key * lanes + skip;
        vec_product(s, lanes, (vec_a_t){w->k + key * pad, pad, 1}, w->qt + skip, lanes, m, left, d, false);
        vec_product(dp, lanes, (vec_a_t){w->v + key * pad, pad, 1}, w->dot + skip, lanes, m, left, d, false);
        vec_mask_tile(a, s, lanes, left, at, skip, rows, key, m);
        if (a->dropout)
            vec_drop(a, dp, lanes, left, m, at + skip, key);
        vec_probabilities(s, dp, lanes, left, m, w->lse + skip, w->weight + skip, w->product + skip);
    }
    for (int64_t i = 0; i < lanes; i++)
        w->product[i] /= w->weight[i];
    memset(w->dq, 0, (size_t)(lanes * pad) * sizeof *w->dq);
    for (int64_t key = begin; key < end; key += m) {
        m = vec_tile_keys(at, key, end);
        int64_t skip = vec_tile_skip(at, key), left = lanes - skip;
        float *p = w->s + key * lanes + skip, *ds = w->ds + key * lanes + skip;
        vec_score_gradient(p, ds, lanes, left, m, w->product + skip);
        if (a->dropout) /* v was met by what was left of p */
            vec_drop(a, p, lanes, left, m, at + skip, key);
        vec_product(w->dv + key * pad, pad, (vec_a_t){p, lanes, 1}, w->dout + skip * pad, pad, m, pad,
                    rows - skip, true);
        vec_product(w->dk + key * pad, pad, (vec_a_t){ds, lanes, 1}, w->q + skip * pad, pad, m, pad,
                    rows - skip, true);
        vec_product(w->dq + skip * pad, pad, (vec_a_t){ds, 1, lanes}, w->k + key * pad, pad, rows - skip, pad,
                    m, true);
    }
    vec_unpack(mu_array_at(a->dq, at * a->d_stride), a->d_stride, w->dq, pad, rows, d, a->scale, NULL);
}

/* Backward of all queries that share a key and a value, `lanes` at a time. */
static void vec_backward_group(const mu_vec_attention_t *a, int64_t lanes,
                               void (*queries)(const mu_vec_attention_t *a, const void *held, int64_t at),
                               const void *held)
{
    mu_vec_attention_t one = *a;
    for (int64_t query = 0; query < a->group; query++) {
        for (int64_t at = 0; at < a->n; at += lanes)
            queries(&one, held, at);
        one.q = mu_array_at(one.q, a->head_dim);
        one.dq = mu_array_at(one.dq, a->head_dim);
        one.dout = mu_array_at(one.dout, a->head_dim);
        one.lse += a->n;
        one.drop_at += (uint64_t)(a->n * a->n);
    }
}

static void vec_attention_backward(const mu_vec_attention_t *a)
{
    vec_backward_t w = vec_backward_layout(a);
    vec_pack(w.k, w.pad, a->k, a->k_stride, a->n, a->head_dim, 1.0F);
    vec_pack(w.v, w.pad, a->v, a->v_stride, a->n, a->head_dim, 1.0F);
    memset(w.dk, 0, (size_t)(2 * a->n * w.pad) * sizeof *w.dk); /* and dv after it */
    vec_backward_group(a, w.lanes, vec_backward_queries, &w);
    vec_unpack(a->dk, a->d_stride, w.dk, w.pad, a->n, a->head_dim, 1.0F, NULL);
    vec_unpack(a->dv, a->d_stride, w.dv, w.pad, a->n, a->head_dim, 1.0F, NULL);
}
