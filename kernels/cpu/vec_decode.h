/*
 * Generation: attention against a cache, in which the bits of a row depend on that row alone (products: vec_dots.h);
 * included by vec_body.h.
 */

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
