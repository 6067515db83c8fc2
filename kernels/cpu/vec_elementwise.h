/* Elementwise loops; included by vec_body.h. */

static inline float vec_gelu_tanh_one(float x)
{
    /* 0.5 (1 + tanh u) = 1 / (1 + e^(-2u)) */
    float u2 = 1.5957691216057308F * x * (1.0F + 0.044715F * x * x);
    return x / (1.0F + vec_exp(-u2));
}

static inline float vec_gelu_tanh_slope(float x)
{
    float x2 = x * x;
    float s = 1.0F / (1.0F + vec_exp(-1.5957691216057308F * x * (1.0F + 0.044715F * x2)));
    return s + x * s * (1.0F - s) * 1.5957691216057308F * (1.0F + 0.134145F * x2);
}

static inline float vec_gelu_erf_one(float x)
{
    float ax = x < 0 ? -x : x;
    float tail = vec_normal_tail(ax, vec_exp(-0.5F * x * x));
    return x * (x < 0 ? tail : 1.0F - tail);
}

static inline float vec_gelu_erf_slope(float x)
{
    float ax = x < 0 ? -x : x;
    float e = vec_exp(-0.5F * x * x);
    float tail = vec_normal_tail(ax, e);
    return (x < 0 ? tail : 1.0F - tail) + x * e * 0.3989422804014327F;
}

static void vec_gelu(float *y, const float *x, int64_t n, mu_activation_t act)
{
    if (act == MU_GELU_TANH) {
        VEC_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            y[i] = vec_gelu_tanh_one(x[i]);
    } else {
        VEC_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            y[i] = vec_gelu_erf_one(x[i]);
    }
}

static void vec_gelu_backward(float *dx, const float *dy, const float *x, int64_t n, mu_activation_t act)
{
    if (act == MU_GELU_TANH) {
        VEC_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            dx[i] = dy[i] * vec_gelu_tanh_slope(x[i]);
    } else {
        VEC_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            dx[i] = dy[i] * vec_gelu_erf_slope(x[i]);
    }
}

static void vec_add(float *restrict to, const float *restrict from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] += from[i];
}

static void vec_scale(float *x, int64_t n, float factor)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= factor;
}

static double vec_sum_squares(const float *x, int64_t n)
{
    double lane[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++)
            lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += (double)x[i] * (double)x[i];
    double sum = 0;
    for (int j = 0; j < 16; j++)
        sum += lane[j];
    return sum;
}

static void vec_adamw(float *restrict p, float *restrict m, float *restrict v, const float *restrict g,
                      int64_t n, const mu_adamw_t *a)
{
    float b1 = (float)a->beta1, c1 = (float)(1.0 - a->beta1), b2 = (float)a->beta2,
          c2 = (float)(1.0 - a->beta2);
    float gs = (float)a->grad_scale, eps = (float)a->eps;
    float step = (float)(a->lr / (1.0 - pow(a->beta1, (double)a->t)));
    float unbias = (float)(1.0 / sqrt(1.0 - pow(a->beta2, (double)a->t)));
    float keep = (float)(1.0 - a->lr * a->weight_decay);
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * gs;
        m[i] = b1 * m[i] + c1 * gi;
        v[i] = b2 * v[i] + c2 * gi * gi;
        p[i] = p[i] * keep - step * (m[i] / (sqrtf(v[i]) * unbias + eps));
    }
}
