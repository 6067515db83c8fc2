/* What all devices share of measuring products: names, and how the time is shared out. */
#include "kernels/products.h"
#include "common/buf.h"
#include "common/clock.h"

static double flops(const mu_product_t *p)
{
    return 2.0 * (double)p->rows * (double)p->in * (double)p->out;
}

void mu_products_tune(mu_device_t *dev, mu_product_t *list, int n, double seconds)
{
    int64_t began = mu_now_ns();
    double all = 0, done = 0;
    bool *tuned = mu_calloc((size_t)n + 1, sizeof *tuned);
    for (int i = 0; i < n; i++) {
        dev->ops->way_of(dev, &list[i]);
        list[i].rate = 0;
        all += flops(&list[i]);
    }
    for (int left = n; left > 0; left--) {
        int most = -1;
        for (int i = 0; i < n; i++)
            if (!tuned[i] && (most < 0 || flops(&list[i]) > flops(&list[most])))
                most = i;
        tuned[most] = true;
        done += flops(&list[most]); /* each has its share of the time, and what those before it left */
        int64_t deadline = began + (int64_t)(seconds * done / all * 1e9);
        if (mu_now_ns() < deadline)
            dev->ops->tune_product(dev, &list[most], deadline);
        dev->ops->take_way(dev, &list[most]);
    }
    free(tuned);
}

const char *mu_product_name(mu_product_op_t op)
{
    static const char *const names[MU_PRODUCT_OPS] = {
        [MU_PRODUCT_FORWARD] = "linear_forward",
        [MU_PRODUCT_GELU_FORWARD] = "linear_gelu_forward",
        [MU_PRODUCT_BACKWARD_INPUT] = "linear_backward_input",
        [MU_PRODUCT_GELU_BACKWARD_INPUT] = "linear_gelu_backward_input",
        [MU_PRODUCT_BACKWARD_WEIGHT] = "linear_backward_weight",
    };
    return names[op];
}
