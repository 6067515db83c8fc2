/* Operations on flat arrays. */
#include "common/num.h"
#include "kernels/cpu/cpu.h"

enum { GRAIN = 4096 };

/* What loops over 16-bit arrays stage at a time where five arrays are staged: the stack is a thread's. */
enum { SWIGLU_PIECE = 2048 };

typedef struct flat {
    mu_device_t *dev;
    mu_array_t to, a, b;
    mu_activation_t act;
    float factor;
} flat_t;

static void gelu(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    flat_t *f = arg;
    float in[MU_CPU_PIECE], out[MU_CPU_PIECE];
    for (int64_t at = from, n; at < to; at += n) {
        n = mu_cpu_step(f->to.type, to - at, MU_CPU_PIECE);
        float *y = mu_cpu_begin(f->to, at, out);
        mu_cpu_vec(f->dev)->gelu(y, mu_cpu_read(f->dev, f->a, at, n, in), n, f->act);
        mu_cpu_end(f->dev, f->to, at, n, y);
    }
}

void mu_cpu_gelu_forward(mu_device_t *dev, mu_array_t y, mu_array_t x, int64_t n, mu_activation_t act)
{
    flat_t f = {.dev = dev, .to = y, .a = x, .act = act};
    mu_cpu_run(dev, n, GRAIN, gelu, &f);
}

static void gelu_backward(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    flat_t *f = arg;
    float in_y[MU_CPU_PIECE], in_x[MU_CPU_PIECE], out[MU_CPU_PIECE];
    for (int64_t at = from, n; at < to; at += n) {
        n = mu_cpu_step(f->to.type, to - at, MU_CPU_PIECE);
        float *dx = mu_cpu_begin(f->to, at, out);
        mu_cpu_vec(f->dev)->gelu_backward(dx, mu_cpu_read(f->dev, f->a, at, n, in_y),
                                          mu_cpu_read(f->dev, f->b, at, n, in_x), n, f->act);
        mu_cpu_end(f->dev, f->to, at, n, dx);
    }
}

void mu_cpu_gelu_backward(mu_device_t *dev, mu_array_t dx, mu_array_t dy, mu_array_t x, int64_t n,
                          mu_activation_t act)
{
    flat_t f = {.dev = dev, .to = dx, .a = dy, .b = x, .act = act};
    mu_cpu_run(dev, n, GRAIN, gelu_backward, &f);
}

typedef struct gated {
    mu_device_t *dev;
    mu_array_t y, gate, up; /* backward: y is dy */
    mu_array_t dgate, dup;
} gated_t;

static void swiglu(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    gated_t *s = arg;
    float in_gate[SWIGLU_PIECE], in_up[SWIGLU_PIECE], out[SWIGLU_PIECE];
    for (int64_t at = from, n; at < to; at += n) {
        n = mu_cpu_step(s->y.type, to - at, SWIGLU_PIECE);
        float *y = mu_cpu_begin(s->y, at, out);
        mu_cpu_vec(s->dev)->swiglu(y, mu_cpu_read(s->dev, s->gate, at, n, in_gate),
                                   mu_cpu_read(s->dev, s->up, at, n, in_up), n);
        mu_cpu_end(s->dev, s->y, at, n, y);
    }
}

void mu_cpu_swiglu_forward(mu_device_t *dev, mu_array_t y, mu_array_t gate, mu_array_t up, int64_t n)
{
    gated_t s = {.dev = dev, .y = y, .gate = gate, .up = up};
    mu_cpu_run(dev, n, GRAIN, swiglu, &s);
}

static void swiglu_backward(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    gated_t *s = arg;
    float in_dy[SWIGLU_PIECE], in_gate[SWIGLU_PIECE], in_up[SWIGLU_PIECE], out_gate[SWIGLU_PIECE],
        out_up[SWIGLU_PIECE];
    for (int64_t at = from, n; at < to; at += n) {
        n = mu_cpu_step(s->y.type, to - at, SWIGLU_PIECE);
        float *dgate = mu_cpu_begin(s->dgate, at, out_gate), *dup = mu_cpu_begin(s->dup, at, out_up);
        mu_cpu_vec(s->dev)->swiglu_backward(dgate, dup, mu_cpu_read(s->dev, s->y, at, n, in_dy),
                                            mu_cpu_read(s->dev, s->gate, at, n, in_gate),
                                            mu_cpu_read(s->dev, s->up, at, n, in_up), n);
        mu_cpu_end(s->dev, s->dgate, at, n, dgate);
        mu_cpu_end(s->dev, s->dup, at, n, dup);
    }
}

void mu_cpu_swiglu_backward(mu_device_t *dev, mu_array_t dgate, mu_array_t dup, mu_array_t dy,
                            mu_array_t gate, mu_array_t up, int64_t n)
{
    gated_t s = {.dev = dev, .y = dy, .gate = gate, .up = up, .dgate = dgate, .dup = dup};
    mu_cpu_run(dev, n, GRAIN, swiglu_backward, &s);
}

static void add(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    flat_t *f = arg;
    float in[MU_CPU_PIECE], out[MU_CPU_PIECE];
    bool staged = f->to.type != MU_DTYPE_F32 || f->a.type != MU_DTYPE_F32;
    for (int64_t at = from, n; at < to; at += n) {
        n = staged ? mu_min_i64(MU_CPU_PIECE, to - at) : to - at;
        float *y = mu_cpu_change(f->dev, f->to, at, n, out);
        mu_cpu_vec(f->dev)->add(y, mu_cpu_read(f->dev, f->a, at, n, in), n);
        mu_cpu_end(f->dev, f->to, at, n, y);
    }
}

void mu_cpu_add(mu_device_t *dev, mu_array_t to, mu_array_t from, int64_t n)
{
    flat_t f = {.dev = dev, .to = to, .a = from};
    mu_cpu_run(dev, n, GRAIN, add, &f);
}

static void scale(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    flat_t *f = arg;
    mu_cpu_vec(f->dev)->scale(mu_f32(f->to) + from, to - from, f->factor);
}

void mu_cpu_scale(mu_device_t *dev, float *x, int64_t n, double factor)
{
    flat_t f = {.dev = dev, .to = mu_array_f32(x), .factor = (float)factor};
    mu_cpu_run(dev, n, GRAIN, scale, &f);
}

typedef struct update {
    mu_device_t *dev;
    mu_array_t p;
    float *master, *m, *v; /* master: p itself, where that is float */
    const float *g;
    const mu_adamw_t *params;
} update_t;

static void adamw(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    update_t *u = arg;
    for (int64_t at = from, n; at < to; at += n) {
        n = mu_cpu_step(u->p.type, to - at, MU_CPU_PIECE);
        mu_cpu_vec(u->dev)->adamw(u->master + at, u->m + at, u->v + at, u->g + at, n, u->params);
        mu_cpu_end(u->dev, u->p, at, n, u->master + at);
    }
}

void mu_cpu_adamw(mu_device_t *dev, mu_array_t p, float *master, float *m, float *v, const float *g,
                  int64_t n, const mu_adamw_t *params)
{
    update_t u = {dev, p, master ? master : mu_f32(p), m, v, g, params};
    mu_cpu_run(dev, n, GRAIN, adamw, &u);
}

/* Blocks of a fixed size, added in order: the sum does not depend on the number of threads. */
enum { SUM_BLOCK = 1 << 16 };

typedef struct squares {
    mu_device_t *dev;
    const float *x;
    int64_t n;
    double *partial;
} squares_t;

static void sum_squares(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    squares_t *s = arg;
    for (int64_t block = from; block < to; block++) {
        int64_t at = block * SUM_BLOCK;
        s->partial[block] = mu_cpu_vec(s->dev)->sum_squares(s->x + at, mu_min_i64(SUM_BLOCK, s->n - at));
    }
}

void mu_cpu_sum_squares(mu_device_t *dev, double *out, const float *x, int64_t n)
{
    int64_t blocks = (n + SUM_BLOCK - 1) / SUM_BLOCK;
    squares_t s = {dev, x, n, (double *)(void *)mu_cpu_scratch(dev, 2 * blocks)};
    if (!s.partial)
        return;
    mu_cpu_run(dev, blocks, 1, sum_squares, &s);
    for (int64_t block = 0; block < blocks; block++)
        *out += s.partial[block];
}
