/* Elementwise loops; included by vec_body.h. */

static inline vec_f vec_abs(vec_f x)
{
    return (vec_f)((vec_i)x & 0x7fffffff);
}

/* 0.5 (1 + tanh u) = 1 / (1 + e^(-2u)), and 2u = x (c + d x^2) */
static const float vec_gelu_c = 1.5957691216057308F, vec_gelu_d = 0.0713548162726F;

static inline vec_f vec_gelu_one(vec_f x, bool tanh_form)
{
    if (tanh_form)
        return x / (1.0F + vec_exp(-x * (vec_gelu_c + vec_gelu_d * (x * x))));
    vec_f tail = vec_normal_tail(vec_abs(x), vec_exp(-0.5F * (x * x)));
    return x * vec_select(x < 0.0F, tail, 1.0F - tail);
}

static inline vec_f vec_gelu_slope(vec_f x, bool tanh_form)
{
    vec_f x2 = x * x;
    if (tanh_form) {
        vec_f s = 1.0F / (1.0F + vec_exp(-x * (vec_gelu_c + vec_gelu_d * x2)));
        return s + x * s * (1.0F - s) * (vec_gelu_c + 3.0F * vec_gelu_d * x2);
    }
    vec_f e = vec_exp(-0.5F * x2), tail = vec_normal_tail(vec_abs(x), e);
    return vec_select(x < 0.0F, tail, 1.0F - tail) + x * e * 0.3989422804014327F;
}

static inline __attribute__((always_inline)) void vec_gelu_loop(float *y, const float *x, int64_t n,
                                                                const bool tanh_form)
{
    int64_t i = 0;
    for (; i + MU_VEC_WIDTH <= n; i += MU_VEC_WIDTH)
        vec_store(y + i, vec_gelu_one(vec_load(x + i), tanh_form));
    if (i < n)
        vec_store_part(y + i, n - i, vec_gelu_one(vec_load_part(x + i, n - i, 0), tanh_form));
}

static void vec_gelu(float *y, const float *x, int64_t n, mu_activation_t act)
{
    if (act == MU_GELU_TANH)
        vec_gelu_loop(y, x, n, true);
    else
        vec_gelu_loop(y, x, n, false);
}

static inline __attribute__((always_inline)) void vec_gelu_backward_loop(float *dx, const float *dy,
                                                                         const float *x, int64_t n,
                                                                         const bool tanh_form)
{
    int64_t i = 0;
    for (; i + MU_VEC_WIDTH <= n; i += MU_VEC_WIDTH)
        vec_store(dx + i, vec_load(dy + i) * vec_gelu_slope(vec_load(x + i), tanh_form));
    if (i < n)
        vec_store_part(dx + i, n - i,
                       vec_load_part(dy + i, n - i, 0) *
                           vec_gelu_slope(vec_load_part(x + i, n - i, 0), tanh_form));
}

static void vec_gelu_backward(float *dx, const float *dy, const float *x, int64_t n, mu_activation_t act)
{
    if (act == MU_GELU_TANH)
        vec_gelu_backward_loop(dx, dy, x, n, true);
    else
        vec_gelu_backward_loop(dx, dy, x, n, false);
}

static void vec_swiglu(float *y, const float *gate, const float *up, int64_t n)
{
    int64_t i = 0;
    for (; i + MU_VEC_WIDTH <= n; i += MU_VEC_WIDTH) {
        vec_f g = vec_load(gate + i);
        vec_store(y + i, g / (1.0F + vec_exp(-g)) * vec_load(up + i));
    }
    if (i < n) {
        vec_f g = vec_load_part(gate + i, n - i, 0);
        vec_store_part(y + i, n - i, g / (1.0F + vec_exp(-g)) * vec_load_part(up + i, n - i, 0));
    }
}

/* With s the logistic function of g: (g s)' = s (1 + g (1 - s)). */
static void vec_swiglu_backward(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                                int64_t n)
{
    for (int64_t i = 0; i < n; i += MU_VEC_WIDTH) {
        int64_t m = mu_min_i64(MU_VEC_WIDTH, n - i);
        bool whole = m == MU_VEC_WIDTH;
        vec_f g = whole ? vec_load(gate + i) : vec_load_part(gate + i, m, 0);
        vec_f u = whole ? vec_load(up + i) : vec_load_part(up + i, m, 0);
        vec_f d = whole ? vec_load(dy + i) : vec_load_part(dy + i, m, 0);
        vec_f s = 1.0F / (1.0F + vec_exp(-g));
        vec_f to_gate = d * u * s * (1.0F + g * (1.0F - s)), to_up = d * g * s;
        if (whole) {
            vec_store(dgate + i, to_gate);
            vec_store(dup + i, to_up);
        } else {
            vec_store_part(dgate + i, m, to_gate);
            vec_store_part(dup + i, m, to_up);
        }
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
