/* Generation: products in which a row's bits depend on that row alone. */
#include "tests/unit/kernels/cases/support.h"

enum { MOST = 37 }; /* rows */

typedef struct product {
    int64_t in, out;
    float *x, *w, *b, *plus;
    mu_array_t y, weight, bias;
} product_t;

static void rows_from(const product_t *p, int64_t first, int64_t rows)
{
    op->linear_rows(dev, p->y, put(p->x + first * p->in, rows * p->in), p->weight, p->bias,
                    p->plus ? put(p->plus + first * p->out, rows * p->out) : MU_NO_ARRAY, rows, p->in,
                    p->out);
}

/* What the formula says, of all rows; then rows from each on, alone and with others, have the same bits. */
static void rows_at(int64_t in, int64_t out, bool more)
{
    static const int64_t count[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31};
    product_t p = {.in = in,
                   .out = out,
                   .x = noisy(MOST * in, 1),
                   .w = noisy(out * in, 0.3),
                   .b = noisy(out, 1),
                   .plus = more ? noisy(MOST * out, 1) : NULL,
                   .y = room(MOST * out)};
    double *want = doubles(MOST * out);
    for (int64_t r = 0; r < MOST; r++)
        for (int64_t o = 0; o < out; o++) {
            double sum = more ? (double)p.b[o] + (double)p.plus[r * out + o] : 0;
            for (int64_t i = 0; i < in; i++)
                sum += (double)p.x[r * in + i] * (double)p.w[o * in + i];
            want[r * out + o] = sum;
        }
    p.weight = put(p.w, out * in);
    p.bias = more ? put(p.b, out) : MU_NO_ARRAY;
    rows_from(&p, 0, MOST);
    float *all = get(p.y, MOST * out);
    assert_near(all, want, MOST * out, 1e-6, 1);
    for (size_t c = 0; c < sizeof count / sizeof *count; c++)
        for (int64_t first = 0; first + count[c] <= MOST; first += count[c] + 5) {
            rows_from(&p, first, count[c]);
            if (memcmp(get(p.y, count[c] * out), all + first * out, (size_t)(count[c] * out) * sizeof *all) !=
                0)
                fail_msg("%s: rows %d of %d by %d from %d on differ from the same among %d", dev->description,
                         (int)count[c], (int)in, (int)out, (int)first, MOST);
        }
}

void rows_test(void)
{
    static const int64_t size[][2] = {{1, 1},    {5, 3},   {16, 64},  {31, 15},  {32, 16},  {33, 17},
                                      {64, 130}, {65, 63}, {96, 128}, {130, 65}, {257, 81}, {512, 32}};
    for (size_t i = 0; op->linear_rows && i < sizeof size / sizeof *size; i++)
        rows_at(size[i][0], size[i][1], i % 2);
}
