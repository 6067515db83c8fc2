/* Every way of a product has the result of the default way, to the rounding of sums; what is taken is followed; and a
 * measurement chooses among the candidates. */
#include "common/half.h"
#include "common/num.h"
#include "kernels/convert.h"
#include "kernels/cpu/ways.h"
#include "kernels/products.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* More than a block of nearly every way, as rows, columns or depth of some product, and multiples of nothing. */
enum { ROWS = 1061, IN = 301, OUT = 533 };

static mu_device_t *dev;

static mu_array_t array(mu_dtype_t type, int64_t n, int seed)
{
    void *p;
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, n * mu_dtype_size(type), &p), MU_OK);
    for (int64_t i = 0; i < n; i++) {
        float x = (float)((i * 7919 + seed * 31) % 1009) / 500.0F - 1.0F;
        mu_convert_from_floats(mu_array_at((mu_array_t){p, type}, i).data, type, &x, 1);
    }
    return (mu_array_t){p, type};
}

/* The result of an operation that uses all it has, as floats: its array, then its bias gradient. */
static int64_t compute(const mu_product_t *p, float *out)
{
    mu_array_t x = array(p->type, ROWS * IN, 1), w = array(p->type, IN * OUT, 2),
               y = array(p->type, ROWS * OUT, 3), b = array(p->type, OUT, 4),
               pre = array(p->type, ROWS * IN, 5), act = array(p->type, ROWS * OUT, 6),
               dw = array(MU_DTYPE_F32, IN * OUT + OUT, 7);
    int64_t n = ROWS * IN;
    mu_array_t result = x;
    switch (p->op) {
    case MU_PRODUCT_FORWARD:
        dev->ops->linear_forward(dev, y, x, w, b, act, ROWS, IN, OUT);
        n = ROWS * OUT;
        result = y;
        break;
    case MU_PRODUCT_GELU_FORWARD:
        dev->ops->linear_gelu_forward(dev, act, y, x, w, b, ROWS, IN, OUT, MU_GELU_ERF);
        n = ROWS * OUT;
        result = act;
        break;
    case MU_PRODUCT_BACKWARD_INPUT:
        dev->ops->linear_backward_input(dev, x, y, w, ROWS, IN, OUT, true);
        break;
    case MU_PRODUCT_GELU_BACKWARD_INPUT:
        dev->ops->linear_gelu_backward_input(dev, x, y, w, pre, ROWS, IN, OUT, MU_GELU_TANH);
        break;
    default:
        dev->ops->linear_backward_weight(dev, dw.data, (float *)dw.data + IN * OUT, y, x, ROWS, IN, OUT,
                                         false);
        n = IN * OUT + OUT;
        result = dw;
        break;
    }
    assert_int_equal(dev->ops->sync(dev), MU_OK);
    mu_convert_to_floats(out, result.data, result.type, n);
    mu_array_t all[] = {x, w, y, b, pre, act, dw};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mu_device_free(dev, all[i].data);
    return n;
}

static double distance(const float *got, const float *want, int64_t n)
{
    double d = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        d += pow((double)got[i] - (double)want[i], 2);
        size += pow((double)want[i], 2);
    }
    return sqrt(d / size);
}

static void all_ways_agree(void **state)
{
    (void)state;
    static float want[ROWS * (IN + OUT)], got[ROWS * (IN + OUT)];
    assert_int_equal(mu_device_cpu_new(2, &dev), MU_OK);
    for (mu_product_op_t op = 0; op < MU_PRODUCT_OPS; op++)
        for (mu_dtype_t type = MU_DTYPE_F32; type <= MU_DTYPE_BF16; type++) {
            mu_product_t p = {.op = op, .type = type, .rows = ROWS, .in = IN, .out = OUT};
            int64_t n = compute(&p, want);
            const mu_way_t *way;
            int ways = 0;
            for (; (way = mu_cpu_candidate(dev, &p, ways)); ways++) {
                snprintf(p.way, sizeof p.way, "%s", way->name);
                assert_true(mu_cpu_take_way(dev, &p));
                assert_ptr_equal(mu_cpu_way(dev, op, type, ROWS, IN, OUT), way);
                compute(&p, got);
                double limit = type == MU_DTYPE_F32 || op == MU_PRODUCT_BACKWARD_WEIGHT ? 1e-5 : 0x1p-8;
                if (!(distance(got, want, n) <= limit))
                    fail_msg("%s %s, %s: off by %.3g", mu_product_name(op), mu_dtype_name(type), way->name,
                             distance(got, want, n));
            }
            assert_true(ways > 4);
        }
    mu_device_close(dev);
}

static void unknown_ways_are_refused(void **state)
{
    (void)state;
    assert_int_equal(mu_device_cpu_new(2, &dev), MU_OK);
    mu_product_t p = {MU_PRODUCT_FORWARD, MU_DTYPE_F32, ROWS, IN, OUT, "sideways", 0};
    const mu_way_t *before = mu_cpu_way(dev, p.op, p.type, ROWS, IN, OUT);
    assert_false(mu_cpu_take_way(dev, &p));
    assert_ptr_equal(mu_cpu_way(dev, p.op, p.type, ROWS, IN, OUT), before);
    snprintf(p.way, sizeof p.way, "columns");
    p.type = MU_DTYPE_BF16; /* a way of floats alone */
    assert_false(mu_cpu_take_way(dev, &p));
    p.type = MU_DTYPE_F32;
    for (int i = 0; i < MU_PRODUCTS; i++) {
        p.rows = 1000 + i;
        assert_true(mu_cpu_take_way(dev, &p));
    }
    p.rows = 1; /* the list is full; what is in it can change */
    assert_false(mu_cpu_take_way(dev, &p));
    p.rows = 1000;
    snprintf(p.way, sizeof p.way, "rows");
    assert_true(mu_cpu_take_way(dev, &p));
    mu_cpu_way_of(dev, &p);
    assert_string_equal(p.way, "rows");
    mu_device_close(dev);
}

static void a_measurement_takes_ways(void **state)
{
    (void)state;
    mu_product_t list[] = {
        {.op = MU_PRODUCT_BACKWARD_WEIGHT, .rows = 64, .in = 96, .out = 128},
        {.op = MU_PRODUCT_FORWARD, .rows = 64, .in = 1 << 16, .out = 1 << 13},
        {.op = MU_PRODUCT_GELU_FORWARD, .type = MU_DTYPE_BF16, .rows = 64, .in = 96, .out = 128}};
    assert_int_equal(mu_device_cpu_new(2, &dev), MU_OK);
    mu_products_tune(dev, list, 3, 60); /* the time is more than enough: nothing of use has so much work */
    for (int i = 0; i < 3; i++) {
        const mu_way_t *way =
            mu_cpu_way(dev, list[i].op, list[i].type, list[i].rows, list[i].in, list[i].out);
        assert_string_equal(way->name, list[i].way);
        assert_true((list[i].rate > 0) == (i != 1)); /* too large to be measured */
    }
    mu_products_tune(dev, list, 3, 0); /* no time: what is taken stays */
    for (int i = 0; i < 3; i++)
        assert_true(list[i].rate == 0 && list[i].way[0]);
    mu_device_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_ways_agree),
        cmocka_unit_test(unknown_ways_are_refused),
        cmocka_unit_test(a_measurement_takes_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
