/* Dropout: threads divide the rows. */
#include "common/num.h"
#include "kernels/cpu/cpu.h"
#include "kernels/drop.h"

typedef struct drop {
    mu_device_t *dev;
    mu_array_t y, x, plus;
    int64_t cols;
    const mu_dropout_t *d;
} drop_t;

/* keep[i]: `factor`, or 0 where element first + i of the whole is dropped. */
static void draw(const mu_dropout_t *d, uint64_t first, int64_t n, float *keep)
{
    uint64_t below = mu_drop_below(d);
    uint32_t word[4];
    for (int64_t i = 0; i < n;) {
        uint64_t e = first + (uint64_t)i;
        mu_drop_words(d, e, word);
        for (int w = (int)(e % 4); w < 4 && i < n; w++, i++)
            keep[i] = word[w] < below ? 0.0F : (float)d->factor;
    }
}

static void drop(void *arg, int thread, int64_t from, int64_t to)
{
    (void)thread;
    drop_t *f = arg;
    const mu_dropout_t *d = f->d;
    float in[MU_CPU_PIECE], more[MU_CPU_PIECE], out[MU_CPU_PIECE], keep[MU_CPU_PIECE],
        factor = (float)d->factor;
    for (int64_t r = from; r < to; r++) {
        for (int64_t c = 0, n; c < f->cols; c += n) {
            int64_t at = r * f->cols + c;
            n = mu_min_i64(MU_CPU_PIECE, f->cols - c);
            const float *x = mu_cpu_read(f->dev, f->x, at, n, in),
                        *plus = mu_cpu_read(f->dev, f->plus, at, n, more);
            float *y = mu_cpu_begin(f->y, at, out);
            if (d->rate > 0)
                draw(d, (uint64_t)((d->first + r) * d->columns + d->column + c), n, keep);
            for (int64_t i = 0; i < n; i++) {
                float k = d->rate > 0 ? keep[i] : factor;
                float v = k == 0.0F ? 0.0F : k * x[i]; /* what is dropped is 0, whatever it was */
                y[i] = plus ? plus[i] + v : v;
            }
            mu_cpu_end(f->dev, f->y, at, n, y);
        }
    }
}

void mu_cpu_dropout(mu_device_t *dev, mu_array_t y, mu_array_t x, mu_array_t plus, int64_t rows, int64_t cols,
                    const mu_dropout_t *dropout)
{
    enum { GRAIN = 4096 };
    drop_t f = {.dev = dev, .y = y, .x = x, .plus = plus, .cols = cols, .d = dropout};
    mu_cpu_run(dev, rows, mu_max_i64(1, GRAIN / cols), drop, &f);
}
