/*
 * Attention of bfloat16 whose products go to the tile unit (tiles.h); included by vec_body.h.
 *
 * The same steps as in vec_attention.h, in tiles of 64 queries and 64 keys that begin at multiples of 64. Of the last
 * ones what is missing is zero, and hidden as later keys are. Probabilities and the gradients of scores are rounded to
 * bfloat16 before they are multiplied, as on GPUs; scores, sums and gradients stay floats.
 */

enum { VEC_TILE = 64, VEC_TILE_AREA = VEC_TILE * VEC_TILE };

/* What is held of one head. A panel has 64 rows, `each` elements. */
typedef struct vec_panels {
    int64_t dim, pad, each, tiles; /* pad: dim to the next 16; tiles: of keys */
    uint16_t *k, *v;               /* [tiles]: left, of forward v: right */
    uint16_t *k_right;             /* [tiles]: backward */
    float *dk, *dv;                /* [keys][pad] */
    float *s, *ds;                 /* [key][64], of all keys in backward */
    float *sum;                    /* [64][pad]: out, or dq */
    float *line[3];                /* [64]: maximum, sum, fade; or log-sum, sum of p, of p dp */
    uint16_t *q, *dout;            /* right, of the transpose */
    uint16_t *q_rows, *dout_rows;  /* right */
    uint16_t *half, *left;         /* a tile of s in bfloat16, then packed */
    uint16_t *part;                /* [64][dim]: rows with zeros after them */
} vec_panels_t;

static vec_panels_t vec_panels_layout(const mu_vec_attention_t *a, bool backward)
{
    int64_t tiles = (a->n + VEC_TILE - 1) / VEC_TILE, pad = vec_pad(a->head_dim);
    int64_t panel = VEC_TILE * ((pad + 31) / 32 * 32) / 2, kept = backward ? tiles : 1; /* floats */
    vec_panels_t w = {.dim = a->head_dim, .pad = pad, .each = 2 * panel, .tiles = tiles};
    const struct {
        void *at; /* the pointer's own address */
        int64_t floats;
        bool backward;
    } parts[] = {
        {&w.k, tiles * panel, false},
        {&w.v, tiles * panel, false},
        {&w.k_right, tiles * panel, true},
        {&w.dk, tiles * VEC_TILE * pad, true},
        {&w.dv, tiles * VEC_TILE * pad, true},
        {&w.s, kept * VEC_TILE_AREA, false},
        {&w.ds, kept * VEC_TILE_AREA, true},
        {&w.sum, VEC_TILE * pad, false},
        {&w.line[0], VEC_TILE, false},
        {&w.line[1], VEC_TILE, false},
        {&w.line[2], VEC_TILE, false},
        {&w.q, panel, false},
        {&w.dout, panel, true},
        {&w.q_rows, panel, true},
        {&w.dout_rows, panel, true},
        {&w.half, VEC_TILE_AREA / 2, false},
        {&w.left, VEC_TILE_AREA / 2, false},
        {&w.part, panel, false},
    };
    float *at = a->scratch;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (backward || !parts[i].backward) {
            memcpy(parts[i].at, &at, sizeof at);
            at += parts[i].floats;
        }
    return w;
}

/* 64 rows from row `at` on of the n that `from` has. */
static mu_gemm_half_t vec_panel_rows(const vec_panels_t *w, mu_array_t from, int64_t stride, int64_t at,
                                     int64_t n)
{
    const uint16_t *x = mu_array_at(from, at * stride).data;
    if (n - at >= VEC_TILE)
        return (mu_gemm_half_t){x, stride, false};
    memset(w->part, 0, (size_t)(VEC_TILE * w->dim) * sizeof *w->part);
    for (int64_t r = 0; r < n - at; r++)
        memcpy(w->part + r * w->dim, x + r * stride, (size_t)w->dim * sizeof *x);
    return (mu_gemm_half_t){w->part, w->dim, false};
}

static mu_gemm_half_t vec_turned(mu_gemm_half_t rows)
{
    return (mu_gemm_half_t){rows.data, rows.stride, !rows.transposed};
}

/* c [64][pad] += the tile or its transpose, rounded, times 64 packed rows. */
static void vec_panel_add(const mu_panels_t *panels, const vec_panels_t *w, float *c, const float *tile,
                          bool transposed, const uint16_t *rows)
{
    for (int64_t i = 0; i < VEC_TILE_AREA; i += MU_VEC_WIDTH)
        *(vec_h *)(w->half + i) = vec_to_bfloat16(vec_load(tile + i));
    panels->pack_left(w->left, (mu_gemm_half_t){w->half, VEC_TILE, transposed}, VEC_TILE, VEC_TILE);
    panels->multiply(c, w->pad, w->left, rows, VEC_TILE, w->pad, VEC_TILE, true);
}

/* Scores of the queries from `at` on with the keys from `key` on: [key][query]. */
static void vec_panel_scores(const mu_vec_attention_t *a, const vec_panels_t *w, float *s, int64_t at,
                             int64_t key)
{
    a->panels->multiply(s, VEC_TILE, w->k + key / VEC_TILE * w->each, w->q, VEC_TILE, VEC_TILE, w->dim,
                        false);
    vec_scale(s, VEC_TILE_AREA, a->scale);
    vec_mask_tile(a, s, VEC_TILE, VEC_TILE, at, 0, mu_min_i64(VEC_TILE, a->n - at), key, VEC_TILE);
}

static int64_t vec_panel_begin(const mu_vec_attention_t *a, int64_t at)
{
    return vec_first_key(a, at) / VEC_TILE * VEC_TILE;
}

static void vec_panels_queries(const mu_vec_attention_t *a, const vec_panels_t *w, int64_t at)
{
    float *max = w->line[0], *sum = w->line[1], *fade = w->line[2];
    int64_t begin = vec_panel_begin(a, at);
    a->panels->pack_right(w->q, vec_turned(vec_panel_rows(w, a->q, a->q_stride, at, a->n)), w->dim, VEC_TILE);
    memset(w->sum, 0, (size_t)(VEC_TILE * w->pad) * sizeof *w->sum);
    for (int64_t i = 0; i < VEC_TILE; i++) {
        max[i] = -1e30F;
        sum[i] = 0;
    }
    for (int64_t key = begin; key <= at; key += VEC_TILE) {
        vec_panel_scores(a, w, w->s, at, key);
        vec_softmax_tile(w->s, VEC_TILE, VEC_TILE, max, sum, fade);
        if (a->dropout)
            vec_drop(a, w->s, VEC_TILE, VEC_TILE, VEC_TILE, at, key);
        if (key > begin)
            vec_fade(w->sum, fade, VEC_TILE, w->pad);
        vec_panel_add(a->panels, w, w->sum, w->s, true, w->v + key / VEC_TILE * w->each);
    }
    vec_attention_finish(a, at, mu_min_i64(VEC_TILE, a->n - at), w->sum, w->pad, max, sum);
}

static void vec_panels_attention(const mu_vec_attention_t *a)
{
    vec_panels_t w = vec_panels_layout(a, false);
    for (int64_t t = 0; t < w.tiles; t++) {
        a->panels->pack_left(w.k + t * w.each, vec_panel_rows(&w, a->k, a->k_stride, t * VEC_TILE, a->n),
                             VEC_TILE, w.dim);
        a->panels->pack_right(w.v + t * w.each, vec_panel_rows(&w, a->v, a->v_stride, t * VEC_TILE, a->n),
                              VEC_TILE, w.dim);
    }
    for (int64_t at = 0; at < a->n; at += VEC_TILE)
        vec_panels_queries(a, &w, at);
}

static void vec_panels_pack_queries(const mu_vec_attention_t *a, const vec_panels_t *w, int64_t at)
{
    mu_gemm_half_t q = vec_panel_rows(w, a->q, a->q_stride, at, a->n);
    a->panels->pack_right(w->q, vec_turned(q), w->dim, VEC_TILE);
    a->panels->pack_right(w->q_rows, q, VEC_TILE, w->dim);
    mu_gemm_half_t dout = vec_panel_rows(w, a->dout, a->out_stride, at, a->n);
    a->panels->pack_right(w->dout, vec_turned(dout), w->dim, VEC_TILE);
    a->panels->pack_right(w->dout_rows, dout, VEC_TILE, w->dim);
    for (int64_t r = 0; r < VEC_TILE; r++) {
        w->line[0][r] = at + r < a->n ? a->lse[at + r] : 0;
        w->line[1][r] = w->line[2][r] = 0;
    }
}

/* Delta as in vec_backward_queries(). */
static void vec_panels_backward_queries(const mu_vec_attention_t *a, const void *panels, int64_t at)
{
    const vec_panels_t *w = panels;
    float *lse = w->line[0], *weight = w->line[1], *product = w->line[2];
    int64_t begin = vec_panel_begin(a, at);
    vec_panels_pack_queries(a, w, at);
    for (int64_t key = begin; key <= at; key += VEC_TILE) {
        float *s = w->s + key * VEC_TILE, *dp = w->ds + key * VEC_TILE;
        vec_panel_scores(a, w, s, at, key);
        a->panels->multiply(dp, VEC_TILE, w->v + key / VEC_TILE * w->each, w->dout, VEC_TILE, VEC_TILE,
                            w->dim, false);
        if (a->dropout)
            vec_drop(a, dp, VEC_TILE, VEC_TILE, VEC_TILE, at, key);
        vec_probabilities(s, dp, VEC_TILE, VEC_TILE, VEC_TILE, lse, weight, product);
    }
    for (int64_t i = 0; i < VEC_TILE; i++)
        product[i] /= weight[i];
    memset(w->sum, 0, (size_t)(VEC_TILE * w->pad) * sizeof *w->sum);
    for (int64_t key = begin; key <= at; key += VEC_TILE) {
        float *p = w->s + key * VEC_TILE, *ds = w->ds + key * VEC_TILE;
        vec_score_gradient(p, ds, VEC_TILE, VEC_TILE, VEC_TILE, product);
        if (a->dropout)
            vec_drop(a, p, VEC_TILE, VEC_TILE, VEC_TILE, at, key);
        vec_panel_add(a->panels, w, w->dv + key * w->pad, p, false, w->dout_rows);
        vec_panel_add(a->panels, w, w->dk + key * w->pad, ds, false, w->q_rows);
        vec_panel_add(a->panels, w, w->sum, ds, true, w->k_right + key / VEC_TILE * w->each);
    }
    vec_unpack(mu_array_at(a->dq, at * a->d_stride), a->d_stride, w->sum, w->pad,
               mu_min_i64(VEC_TILE, a->n - at), w->dim, a->scale, NULL);
}

static void vec_panels_backward(const mu_vec_attention_t *a)
{
    vec_panels_t w = vec_panels_layout(a, true);
    for (int64_t t = 0; t < w.tiles; t++) {
        int64_t at = t * VEC_TILE;
        mu_gemm_half_t k = vec_panel_rows(&w, a->k, a->k_stride, at, a->n);
        a->panels->pack_left(w.k + t * w.each, k, VEC_TILE, w.dim);
        a->panels->pack_right(w.k_right + t * w.each, k, VEC_TILE, w.dim);
        a->panels->pack_left(w.v + t * w.each, vec_panel_rows(&w, a->v, a->v_stride, at, a->n), VEC_TILE,
                             w.dim);
    }
    memset(w.dk, 0, (size_t)(2 * w.tiles * VEC_TILE * w.pad) * sizeof *w.dk); /* and dv after it */
    vec_backward_group(a, VEC_TILE, vec_panels_backward_queries, &w);
    vec_unpack(a->dk, a->d_stride, w.dk, w.pad, a->n, w.dim, a->scale, NULL);
    vec_unpack(a->dv, a->d_stride, w.dv, w.pad, a->n, w.dim, 1.0F, NULL);
}
