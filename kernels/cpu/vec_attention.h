/*
 * Attention of one head, forward and backward, in tiles; included by vec_body.h.
 *
 * After Dao et al., 2022 (FlashAttention): the softmax is kept as a running maximum and sum, backward
 * computes the scores again from the saved log-sum. Tiles of scores are held transposed, [key][query], so
 * that everything that is one number a query (maximum, sum, lse, delta) is a vector across the lanes and no
 * row is ever summed sideways. Tiles above the diagonal are never computed.
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

/* Rows of `dim` floats, copied with their rows padded by zeros to `pad`. */
static void vec_pack(float *restrict to, int64_t pad, const float *restrict from, int64_t stride,
                     int64_t rows, int64_t dim, float factor)
{
    for (int64_t r = 0; r < rows; r++, to += pad, from += stride) {
        for (int64_t i = 0; i < dim; i++)
            to[i] = from[i] * factor;
        for (int64_t i = dim; i < pad; i++)
            to[i] = 0;
    }
}

/* The transpose of up to `lanes` rows, [dim][lanes]; rows that are missing are zero. */
static void vec_pack_transposed(float *restrict to, int64_t lanes, const float *restrict from, int64_t stride,
                                int64_t rows, int64_t dim, float factor)
{
    for (int64_t i = 0; i < dim; i++) {
        for (int64_t r = 0; r < rows; r++)
            to[i * lanes + r] = from[r * stride + i] * factor;
        for (int64_t r = rows; r < lanes; r++)
            to[i * lanes + r] = 0;
    }
}

/* Scores of keys after their query become -infinity. Lane 0 is the query at position `query`. */
static void vec_mask(float *s, int64_t lanes, int64_t query, int64_t key, int64_t keys)
{
    for (int64_t j = 0; j < keys; j++) {
        int64_t hidden = mu_min_i64(key + j - query, lanes);
        for (int64_t i = 0; i < hidden; i++)
            s[j * lanes + i] = -INFINITY;
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

static void vec_attention_finish(const mu_vec_attention_t *a, int64_t at, int64_t rows, const float *out,
                                 int64_t pad, const float *max, const float *sum)
{
    for (int64_t r = 0; r < rows; r++) {
        float by = 1.0F / sum[r];
        float *to = a->out + (at + r) * a->out_stride;
        for (int64_t i = 0; i < a->head_dim; i++)
            to[i] = out[r * pad + i] * by;
        if (a->lse)
            a->lse[at + r] = max[r] + logf(sum[r]);
    }
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
        vec_pack_transposed(qt, lanes, a->q + at * a->q_stride, a->q_stride, rows, d, a->scale);
        memset(out, 0, (size_t)(lanes * pad) * sizeof *out);
        for (int64_t i = 0; i < lanes; i++) {
            max[i] = -1e30F;
            sum[i] = 0;
        }
        int64_t m;
        for (int64_t key = 0; key < query + rows; key += m) {
            m = vec_tile_keys(query, key, query + rows);
            int64_t skip = vec_tile_skip(query, key), left = lanes - skip;
            vec_product(s, left, (vec_a_t){k + key * pad, pad, 1}, qt + skip, lanes, m, left, d, false);
            if (key + m - 1 > query)
                vec_mask(s, left, query + skip, key, m);
            vec_softmax_tile(s, left, m, max + skip, sum + skip, fade + skip);
            if (key > 0)
                vec_fade(out + skip * pad, fade + skip, rows - skip, pad);
            vec_product(out + skip * pad, pad, (vec_a_t){s, 1, left}, v + key * pad, pad, rows - skip, pad, m,
                        true);
        }
        vec_attention_finish(a, at, rows, out, pad, max, sum);
    }
}

static float vec_dot(const float *x, const float *y, int64_t n)
{
    float lane[VEC_LANES] = {0};
    int64_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        for (int j = 0; j < VEC_LANES; j++)
            lane[j] += x[i + j] * y[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += x[i] * y[i];
    return vec_lane_sum(lane);
}

/* What backward needs of the queries, packed once: tile t of the transposed ones begins at t * lanes * pad.
 */
typedef struct vec_queries {
    float *qt, *dot, *q, *dout, *dq, *lse, *delta;
} vec_queries_t;

static void vec_pack_queries(const mu_vec_attention_t *a, const vec_queries_t *p, int64_t lanes, int64_t pad)
{
    int64_t d = a->head_dim;
    for (int64_t at = 0; at < a->n; at += lanes) {
        int64_t rows = mu_min_i64(lanes, a->n - at);
        const float *q = a->q + at * a->q_stride, *dout = a->dout + at * a->out_stride;
        vec_pack_transposed(p->qt + at * pad, lanes, q, a->q_stride, rows, d, a->scale);
        vec_pack_transposed(p->dot + at * pad, lanes, dout, a->out_stride, rows, d, 1.0F);
        vec_pack(p->q + at * pad, pad, q, a->q_stride, rows, d, a->scale);
        vec_pack(p->dout + at * pad, pad, dout, a->out_stride, rows, d, 1.0F);
        for (int64_t r = 0; r < lanes; r++) {
            bool there = r < rows;
            p->lse[at + r] = there ? a->lse[at + r] : 0;
            p->delta[at + r] =
                there ? vec_dot(dout + r * a->out_stride, a->out + (at + r) * a->out_stride, d) : 0;
        }
    }
}

/* s becomes the probabilities, ds the gradient of the scores. */
static void vec_score_gradient(float *s, float *ds, int64_t lanes, int64_t keys, const float *lse,
                               const float *delta)
{
    for (int64_t i = 0; i < lanes; i += MU_VEC_WIDTH) {
        vec_f l = vec_load(lse + i), d = vec_load(delta + i);
        for (int64_t at = i; at < keys * lanes; at += lanes) {
            vec_f p = vec_exp(vec_load(s + at) - l);
            vec_store(s + at, p);
            vec_store(ds + at, p * (vec_load(ds + at) - d));
        }
    }
}

static void vec_unpack(float *to, int64_t stride, const float *from, int64_t pad, int64_t rows, int64_t dim,
                       float factor)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < dim; i++)
            to[r * stride + i] = from[r * pad + i] * factor;
}

static void vec_attention_backward(const mu_vec_attention_t *a)
{
    int64_t d = a->head_dim, pad = vec_pad(d), lanes = mu_min_i64(VEC_QUERIES, vec_pad(a->n));
    int64_t padded = (a->n + lanes - 1) / lanes * lanes;
    float *k = a->scratch, *v = k + a->n * pad, *s = v + a->n * pad, *ds = s + VEC_QUERIES * VEC_KEYS;
    float *dk = ds + VEC_QUERIES * VEC_KEYS, *dv = dk + VEC_KEYS * pad, *rest = dv + VEC_KEYS * pad;
    vec_queries_t p = {rest,
                       rest + padded * pad,
                       rest + 2 * padded * pad,
                       rest + 3 * padded * pad,
                       rest + 4 * padded * pad,
                       rest + 5 * padded * pad,
                       rest + 5 * padded * pad + padded};
    vec_pack(k, pad, a->k, a->k_stride, a->n, d, 1.0F);
    vec_pack(v, pad, a->v, a->v_stride, a->n, d, 1.0F);
    vec_pack_queries(a, &p, lanes, pad);
    memset(p.dq, 0, (size_t)(padded * pad) * sizeof *p.dq);
    for (int64_t key = 0; key < a->n; key += VEC_KEYS) {
        int64_t keys = mu_min_i64(VEC_KEYS, a->n - key);
        memset(dk, 0, (size_t)(VEC_KEYS * pad) * 2 * sizeof *dk);
        for (int64_t at = key / lanes * lanes; at < a->n; at += lanes) {
            int64_t rows = mu_min_i64(lanes, a->n - at), m;
            for (int64_t i = 0; i < keys && key + i < at + rows; i += m) {
                m = vec_tile_keys(at, key + i, key + keys);
                int64_t skip = vec_tile_skip(at, key + i), left = lanes - skip, from = at + skip;
                const float *ki = k + (key + i) * pad, *vi = v + (key + i) * pad;
                vec_product(s, left, (vec_a_t){ki, pad, 1}, p.qt + at * pad + skip, lanes, m, left, d, false);
                vec_product(ds, left, (vec_a_t){vi, pad, 1}, p.dot + at * pad + skip, lanes, m, left, d,
                            false);
                if (key + i + m - 1 > at)
                    vec_mask(s, left, from, key + i, m);
                vec_score_gradient(s, ds, left, m, p.lse + from, p.delta + from);
                vec_product(dv + i * pad, pad, (vec_a_t){s, left, 1}, p.dout + from * pad, pad, m, pad,
                            rows - skip, true);
                vec_product(dk + i * pad, pad, (vec_a_t){ds, left, 1}, p.q + from * pad, pad, m, pad,
                            rows - skip, true);
                vec_product(p.dq + from * pad, pad, (vec_a_t){ds, 1, left}, ki, pad, rows - skip, pad, m,
                            true);
            }
        }
        vec_unpack(a->dk + key * a->d_stride, a->d_stride, dk, pad, keys, d, 1.0F);
        vec_unpack(a->dv + key * a->d_stride, a->d_stride, dv, pad, keys, d, 1.0F);
    }
    vec_unpack(a->dq, a->d_stride, p.dq, pad, a->n, d, a->scale);
}
