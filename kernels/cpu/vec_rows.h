/* Loops over rows: biases, layer norm, rotary, softmax rows; included by vec_body.h. */

static void vec_bias(float *restrict y, const float *restrict bias, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++, y += cols)
        for (int64_t j = 0; j < cols; j++)
            y[j] += bias[j];
}

static void vec_bias_gelu(float *y, float *pre, const float *bias, int64_t rows, int64_t cols,
                          mu_activation_t act)
{
    for (int64_t r = 0; r < rows; r++, pre += cols, y += cols) {
        if (bias)
            vec_add(pre, bias, cols);
        vec_gelu(y, pre, cols, act);
    }
}

static void vec_residual(float *y, const float *x, const float *branch, const float *b1, const float *b2,
                         int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++, y += cols, x += cols, branch += cols) {
        if (b1 && b2) {
            VEC_INDEPENDENT
            for (int64_t j = 0; j < cols; j++)
                y[j] = x[j] + (branch[j] + (b1[j] + b2[j]));
        } else if (b1 || b2) {
            const float *b = b1 ? b1 : b2;
            VEC_INDEPENDENT
            for (int64_t j = 0; j < cols; j++)
                y[j] = x[j] + (branch[j] + b[j]);
        } else {
            VEC_INDEPENDENT
            for (int64_t j = 0; j < cols; j++)
                y[j] = x[j] + branch[j];
        }
    }
}

/* In strips that stay in the first cache, four rows at a time, walking each row as it lies. */
static void vec_column_sums(float *restrict to, const float *restrict x, int64_t rows, int64_t stride,
                            int64_t cols)
{
    enum { STRIP = 1024 };
    float part[STRIP];
    for (int64_t at = 0; at < cols; at += STRIP) {
        int64_t n = mu_min_i64(STRIP, cols - at), r = 0;
        memset(part, 0, sizeof part);
        for (; r + 4 <= rows; r += 4) {
            const float *a = x + r * stride + at, *b = a + stride, *c = b + stride, *d = c + stride;
            for (int64_t j = 0; j < n; j++)
                part[j] += (a[j] + b[j]) + (c[j] + d[j]);
        }
        for (; r < rows; r++)
            for (int64_t j = 0; j < n; j++)
                part[j] += x[r * stride + at + j];
        for (int64_t j = 0; j < n; j++)
            to[at + j] += part[j];
    }
}

static float vec_sum(const float *x, int64_t n)
{
    float lane[VEC_LANES] = {0};
    int64_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        for (int j = 0; j < VEC_LANES; j++)
            lane[j] += x[i + j];
    for (int j = 0; i < n; i++, j++)
        lane[j] += x[i];
    return vec_lane_sum(lane);
}

static float vec_sum_around(const float *x, int64_t n, float mean)
{
    float lane[VEC_LANES] = {0};
    int64_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        for (int j = 0; j < VEC_LANES; j++)
            lane[j] += (x[i + j] - mean) * (x[i + j] - mean);
    for (int j = 0; i < n; i++, j++)
        lane[j] += (x[i] - mean) * (x[i] - mean);
    return vec_lane_sum(lane);
}

static void vec_layernorm(float *y, float *mean, float *rstd, const float *x, const float *w, const float *b,
                          int64_t rows, int64_t cols, double eps)
{
    for (int64_t r = 0; r < rows; r++, x += cols, y += cols) {
        float mu = vec_sum(x, cols) / (float)cols;
        float rs = 1.0F / sqrtf(vec_sum_around(x, cols, mu) / (float)cols + (float)eps);
        VEC_INDEPENDENT
        for (int64_t j = 0; j < cols; j++)
            y[j] = (x[j] - mu) * rs * w[j] + b[j];
        mean[r] = mu;
        rstd[r] = rs;
    }
}

/* The two sums that a row's dx needs (of g and of g xhat, with g = dy w), and the row's part of dw and db. */
static void vec_layernorm_row_sums(float *restrict dw, float *restrict db, const float *restrict dy,
                                   const float *restrict x, const float *restrict w, float mu, float rs,
                                   int64_t cols, float *sum_g, float *sum_gx)
{
    float a[VEC_LANES] = {0}, c[VEC_LANES] = {0};
    int64_t i = 0;
    for (; i + VEC_LANES <= cols; i += VEC_LANES) {
        for (int j = 0; j < VEC_LANES; j++) {
            float xhat = (x[i + j] - mu) * rs, d = dy[i + j], g = d * w[i + j];
            a[j] += g;
            c[j] += g * xhat;
            dw[i + j] += d * xhat;
            db[i + j] += d;
        }
    }
    for (int j = 0; i < cols; i++, j++) {
        float xhat = (x[i] - mu) * rs, d = dy[i], g = d * w[i];
        a[j] += g;
        c[j] += g * xhat;
        dw[i] += d * xhat;
        db[i] += d;
    }
    *sum_g = vec_lane_sum(a);
    *sum_gx = vec_lane_sum(c);
}

static void vec_layernorm_backward(float *dx, float *dw, float *db, const float *dy, const float *x,
                                   const float *w, const float *mean, const float *rstd, int64_t rows,
                                   int64_t cols, bool accumulate)
{
    float by = 1.0F / (float)cols;
    for (int64_t r = 0; r < rows; r++, x += cols, dy += cols, dx += cols) {
        float mu = mean[r], rs = rstd[r], sum_g, sum_gx;
        vec_layernorm_row_sums(dw, db, dy, x, w, mu, rs, cols, &sum_g, &sum_gx);
        float mean_g = sum_g * by, mean_gx = sum_gx * by;
        if (accumulate) {
            VEC_INDEPENDENT
            for (int64_t j = 0; j < cols; j++)
                dx[j] += rs * (dy[j] * w[j] - mean_g - (x[j] - mu) * rs * mean_gx);
        } else {
            VEC_INDEPENDENT
            for (int64_t j = 0; j < cols; j++)
                dx[j] = rs * (dy[j] * w[j] - mean_g - (x[j] - mu) * rs * mean_gx);
        }
    }
}

static void vec_rmsnorm(float *y, float *rstd, const float *x, const float *w, int64_t rows, int64_t cols,
                        double eps)
{
    for (int64_t r = 0; r < rows; r++, x += cols, y += cols) {
        float rs = 1.0F / sqrtf(vec_sum_around(x, cols, 0) / (float)cols + (float)eps);
        VEC_INDEPENDENT
        for (int64_t j = 0; j < cols; j++)
            y[j] = x[j] * rs * w[j];
        rstd[r] = rs;
    }
}

/* The sum that a row's dx needs, of g xhat with g = dy w, and the row's part of dw. */
static float vec_rmsnorm_row_sum(float *restrict dw, const float *restrict dy, const float *restrict x,
                                 const float *restrict w, float rs, int64_t cols)
{
    float lane[VEC_LANES] = {0};
    int64_t i = 0;
    for (; i + VEC_LANES <= cols; i += VEC_LANES) {
        for (int j = 0; j < VEC_LANES; j++) {
            float part = dy[i + j] * (x[i + j] * rs);
            dw[i + j] += part;
            lane[j] += part * w[i + j];
        }
    }
    for (int j = 0; i < cols; i++, j++) {
        float part = dy[i] * (x[i] * rs);
        dw[i] += part;
        lane[j] += part * w[i];
    }
    return vec_lane_sum(lane);
}

static void vec_rmsnorm_backward(float *dx, float *dw, const float *dy, const float *x, const float *w,
                                 const float *rstd, int64_t rows, int64_t cols, bool accumulate)
{
    for (int64_t r = 0; r < rows; r++, x += cols, dy += cols, dx += cols) {
        float rs = rstd[r], mean = vec_rmsnorm_row_sum(dw, dy, x, w, rs, cols) / (float)cols;
        if (accumulate) {
            VEC_INDEPENDENT
            for (int64_t j = 0; j < cols; j++)
                dx[j] += rs * (dy[j] * w[j] - x[j] * rs * mean);
        } else {
            VEC_INDEPENDENT
            for (int64_t j = 0; j < cols; j++)
                dx[j] = rs * (dy[j] * w[j] - x[j] * rs * mean);
        }
    }
}

/* Four pairs at a time whatever the processor: there are often no more in a head. */
typedef float vec_quad __attribute__((vector_size(16), may_alias, aligned(4)));

static inline void vec_turn(float *x, const float *cosines, const float *sines, int64_t half, float sign)
{
    int64_t i = 0;
    for (; i + 4 <= half; i += 4) {
        vec_quad c = *(const vec_quad *)(cosines + i), s = *(const vec_quad *)(sines + i) * sign;
        vec_quad x0 = *(const vec_quad *)(x + i), x1 = *(const vec_quad *)(x + half + i);
        *(vec_quad *)(x + i) = x0 * c - x1 * s;
        *(vec_quad *)(x + half + i) = x1 * c + x0 * s;
    }
    for (; i < half; i++) {
        float c = cosines[i], s = sines[i] * sign, x0 = x[i], x1 = x[half + i];
        x[i] = x0 * c - x1 * s;
        x[half + i] = x1 * c + x0 * s;
    }
}

static void vec_rotary(float *qkv, const mu_rotary_t *r, int64_t from, int64_t to, bool inverse)
{
    int64_t half = r->dims / 2, kv_heads = r->kv_heads > 0 ? r->kv_heads : r->heads;
    int64_t turned = r->heads / kv_heads + 1; /* of a group: the queries and the key */
    for (int64_t row = from; row < to; row++) {
        int64_t position = r->first + row % r->seq - (r->start ? r->start[row] : 0);
        const float *cosines = r->table + position * r->dims;
        float *q = qkv + row * kv_heads * (turned + 1) * r->head_dim;
        for (int64_t h = 0; h < kv_heads; h++, q += (turned + 1) * r->head_dim)
            for (int64_t i = 0; i < turned; i++)
                vec_turn(q + i * r->head_dim, cosines, cosines + half, half, inverse ? -1.0F : 1.0F);
    }
}

static void vec_row_max(float *max, const float *x, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++, x += cols) {
        vec_f top[2] = {vec_all(-INFINITY), vec_all(-INFINITY)};
        int64_t i = 0;
        for (; i + 2 * MU_VEC_WIDTH <= cols; i += 2 * MU_VEC_WIDTH) {
            top[0] = vec_max(top[0], vec_load(x + i));
            top[1] = vec_max(top[1], vec_load(x + i + MU_VEC_WIDTH));
        }
        for (; i < cols; i += MU_VEC_WIDTH)
            top[0] = vec_max(top[0], i + MU_VEC_WIDTH <= cols ? vec_load(x + i)
                                                              : vec_load_part(x + i, cols - i, -INFINITY));
        float lane[MU_VEC_WIDTH];
        vec_store(lane, vec_max(top[0], top[1]));
        max[r] = lane[0];
        for (int j = 1; j < MU_VEC_WIDTH; j++)
            max[r] = lane[j] > max[r] ? lane[j] : max[r];
    }
}

static void vec_row_exp(float *x, float *sum, const float *max, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++, x += cols) {
        vec_f total[VEC_LANES / MU_VEC_WIDTH] = {{0}};
        int64_t i = 0;
        for (; i + VEC_LANES <= cols; i += VEC_LANES) {
            for (int j = 0; j < VEC_LANES / MU_VEC_WIDTH; j++) {
                vec_f e = vec_exp(vec_load(x + i + j * MU_VEC_WIDTH) - max[r]);
                vec_store(x + i + j * MU_VEC_WIDTH, e);
                total[j] += e;
            }
        }
        float lane[VEC_LANES];
        for (int j = 0; j < VEC_LANES / MU_VEC_WIDTH; j++)
            vec_store(lane + j * MU_VEC_WIDTH, total[j]);
        for (int j = 0; i < cols; i += MU_VEC_WIDTH, j += MU_VEC_WIDTH) {
            int64_t n = mu_min_i64(MU_VEC_WIDTH, cols - i);
            vec_store_part(x + i, n, vec_exp(vec_load_part(x + i, n, -INFINITY) - max[r]));
            for (int64_t k = 0; k < n; k++)
                lane[j + k] += x[i + k];
        }
        sum[r] = vec_lane_sum(lane);
    }
}
