/*
 * Generation: products of rows and attention against a cache, in which the bits of a row depend on that row alone;
 * included by vec_body.h.
 *
 * A sum runs over the lanes of one register from the first element to the last, and the lanes are added in one order.
 * How many rows or columns are computed beside it changes nothing of that, so a sequence gets the same bits alone and
 * among others, with any number of threads.
 */

#if MU_VEC_WIDTH == 16
enum { VEC_DOTS_COLS = 4 }; /* 16 of 32 registers hold sums */
#else
enum { VEC_DOTS_COLS = 2 }; /* 8 of 16 */
#endif
enum { VEC_DOTS_ROWS = 4 };

static inline float vec_across(vec_f x)
{
    float lane[MU_VEC_WIDTH];
    vec_store(lane, x);
    VEC_UNROLL
    for (int half = MU_VEC_WIDTH / 2; half > 0; half /= 2) {
        VEC_UNROLL
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    }
    return lane[0];
}

/* MU_VEC_WIDTH elements from number i on. */
static inline __attribute__((always_inline)) vec_f vec_load_any(const void *from, int64_t i,
                                                                const mu_dtype_t type)
{
    if (type == MU_DTYPE_F32)
        return vec_load((const float *)from + i);
    vec_h x = *(const vec_h *)((const uint16_t *)from + i);
    return type == MU_DTYPE_BF16 ? vec_of_bfloat16(x) : vec_of_half(x);
}

/* The n < MU_VEC_WIDTH elements from number i on, the other lanes 0. */
static inline vec_f vec_load_any_part(const void *from, int64_t i, int64_t n, mu_dtype_t type)
{
    if (type == MU_DTYPE_F32)
        return vec_load_part((const float *)from + i, n, 0);
    uint16_t lane[MU_VEC_WIDTH] = {0};
    memcpy(lane, (const uint16_t *)from + i, (size_t)n * sizeof *lane);
    vec_h x = *(const vec_h *)lane;
    return type == MU_DTYPE_BF16 ? vec_of_bfloat16(x) : vec_of_half(x);
}

/* rows, cols and type are constants at every call, so that the sums are registers. */
static inline __attribute__((always_inline)) void vec_dots_block(const int rows, const int cols,
                                                                 const mu_dtype_t type, float *y,
                                                                 int64_t y_row, const float *x, const void *w,
                                                                 int64_t in)
{
    vec_f sum[VEC_DOTS_ROWS][VEC_DOTS_COLS];
    int64_t k = 0;
    VEC_UNROLL
    for (int i = 0; i < rows; i++) {
        VEC_UNROLL
        for (int j = 0; j < cols; j++)
            sum[i][j] = (vec_f){0};
    }
    for (; k + MU_VEC_WIDTH <= in; k += MU_VEC_WIDTH) {
        vec_f line[VEC_DOTS_ROWS];
        VEC_UNROLL
        for (int i = 0; i < rows; i++)
            line[i] = vec_load(x + i * in + k);
        VEC_UNROLL
        for (int j = 0; j < cols; j++) {
            vec_f weight = vec_load_any(w, j * in + k, type);
            VEC_UNROLL
            for (int i = 0; i < rows; i++)
                sum[i][j] += line[i] * weight;
        }
    }
    if (k < in) {
        VEC_UNROLL
        for (int j = 0; j < cols; j++) {
            vec_f weight = vec_load_any_part(w, j * in + k, in - k, type);
            VEC_UNROLL
            for (int i = 0; i < rows; i++)
                sum[i][j] += vec_load_part(x + i * in + k, in - k, 0) * weight;
        }
    }
    VEC_UNROLL
    for (int i = 0; i < rows; i++) {
        VEC_UNROLL
        for (int j = 0; j < cols; j++)
            y[i * y_row + j] = vec_across(sum[i][j]);
    }
}

static inline __attribute__((always_inline)) void vec_dots_columns(const int cols, const mu_dtype_t type,
                                                                   float *y, int64_t y_row, const float *x,
                                                                   const void *w, int64_t rows, int64_t in)
{
    int64_t r = 0;
    for (; r + VEC_DOTS_ROWS <= rows; r += VEC_DOTS_ROWS)
        vec_dots_block(VEC_DOTS_ROWS, cols, type, y + r * y_row, y_row, x + r * in, w, in);
    for (; r < rows; r++)
        vec_dots_block(1, cols, type, y + r * y_row, y_row, x + r * in, w, in);
}

static inline __attribute__((always_inline)) void vec_dots_of(const mu_dtype_t type, float *y, int64_t y_row,
                                                              const float *x, const void *w, int64_t rows,
                                                              int64_t cols, int64_t in)
{
    int64_t c = 0, size = mu_dtype_size(type);
    for (; c + VEC_DOTS_COLS <= cols; c += VEC_DOTS_COLS)
        vec_dots_columns(VEC_DOTS_COLS, type, y + c, y_row, x, (const char *)w + c * in * size, rows, in);
    for (; c < cols; c++)
        vec_dots_columns(1, type, y + c, y_row, x, (const char *)w + c * in * size, rows, in);
}

static void vec_dots(float *y, int64_t y_row, const float *x, mu_array_t w, int64_t rows, int64_t cols,
                     int64_t in)
{
    if (w.type == MU_DTYPE_F32)
        vec_dots_of(MU_DTYPE_F32, y, y_row, x, w.data, rows, cols, in);
    else if (w.type == MU_DTYPE_BF16)
        vec_dots_of(MU_DTYPE_BF16, y, y_row, x, w.data, rows, cols, in);
    else
        vec_dots_of(MU_DTYPE_F16, y, y_row, x, w.data, rows, cols, in);
}

/* e^(s - max) of n scores, up to a multiple of 16 with zeros after them; returns their sum. */
static float vec_softmax_row(float *s, int64_t n)
{
    float max = s[0];
    vec_f sum = {0};
    for (int64_t j = 1; j < n; j++)
        max = s[j] > max ? s[j] : max;
    for (int64_t j = n; j < vec_pad(n); j++)
        s[j] = -INFINITY;
    for (int64_t j = 0; j < vec_pad(n); j += MU_VEC_WIDTH) {
        vec_f e = vec_exp(vec_load(s + j) - max);
        vec_store(s + j, e);
        sum += e;
    }
    return vec_across(sum);
}

/* Scores of up to MU_VEC_ATTEND queries [n][pad] with the key at `j`, which those before it do not see. */
static inline void vec_scores(const mu_vec_attention_t *a, const float *q, int64_t pad, const float *k,
                              float *s, int64_t s_row, int64_t j)
{
    for (int64_t i = mu_max_i64(0, j - a->first); i < a->n; i++) {
        vec_f sum = {0};
        for (int64_t d = 0; d < pad; d += MU_VEC_WIDTH)
            sum += vec_load(q + i * pad + d) * vec_load(k + d);
        s[i * s_row + j] = vec_across(sum);
    }
}

static void vec_attend(const mu_vec_attention_t *a)
{
    int64_t d = a->head_dim, pad = vec_pad(d), keys = a->first + a->n, s_row = vec_pad(keys);
    float *q = a->scratch, *out = q + MU_VEC_ATTEND * pad, *line = out + MU_VEC_ATTEND * pad, *s = line + pad;
    float sum[MU_VEC_ATTEND];
    vec_pack(q, pad, a->q, a->q_stride, a->n, d, a->scale);
    memset(out, 0, (size_t)(a->n * pad) * sizeof *out);
    for (int64_t j = 0; j < keys; j++) {
        vec_pack(line, pad, mu_array_at(a->k, j * a->k_stride), 0, 1, d, 1.0F);
        vec_scores(a, q, pad, line, s, s_row, j);
    }
    for (int64_t i = 0; i < a->n; i++)
        sum[i] = 1.0F / vec_softmax_row(s + i * s_row, a->first + i + 1);
    for (int64_t j = 0; j < keys; j++) {
        vec_pack(line, pad, mu_array_at(a->v, j * a->v_stride), 0, 1, d, 1.0F);
        for (int64_t i = mu_max_i64(0, j - a->first); i < a->n; i++) {
            float weight = s[i * s_row + j];
            for (int64_t at = 0; at < pad; at += MU_VEC_WIDTH)
                vec_store(out + i * pad + at, vec_load(out + i * pad + at) + weight * vec_load(line + at));
        }
    }
    vec_unpack(a->out, a->out_stride, out, pad, a->n, d, 0, sum);
}
