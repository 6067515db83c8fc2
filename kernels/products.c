/* What all devices share of measuring products: names, operands, and how the time is shared out. */
#include "kernels/products.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/num.h"
#include "kernels/convert.h"

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

/* A piece of numbers from the host, copied on over the array. */
static bool make(mu_device_t *dev, mu_array_t *a, mu_dtype_t type, int64_t n)
{
    enum { PIECE = 1 << 16 };
    *a = (mu_array_t){dev->ops->alloc(dev, n * mu_dtype_size(type)), type};
    if (!a->data)
        return false;
    int64_t first = mu_min_i64(PIECE, n), width = mu_dtype_size(type);
    float *piece = mu_alloc((size_t)first * sizeof *piece);
    void *narrow = mu_alloc((size_t)(first * width));
    uint64_t state = 1;
    for (int64_t i = 0; i < first; i++) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        piece[i] = 0.04F * ((float)(state >> 40) * 0x1p-24F - 0.5F);
    }
    mu_convert_from_floats(narrow, type, piece, first);
    dev->ops->put(dev, a->data, narrow, first * width);
    for (int64_t at = first; at < n; at += first)
        dev->ops->copy(dev, mu_array_at(*a, at).data, a->data, mu_min_i64(first, n - at) * width);
    free(narrow);
    free(piece);
    return true;
}

void mu_product_operands_free(mu_device_t *dev, const mu_product_operands_t *o)
{
    void *const all[] = {o->x.data, o->w.data, o->y.data, o->pre.data, o->bias.data, o->dw, o->db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            dev->ops->free(dev, all[i]);
}

bool mu_product_operands_make(mu_device_t *dev, const mu_product_t *p, int64_t most_bytes, bool with_bias,
                              bool fresh, mu_product_operands_t *out)
{
    bool forward = p->op == MU_PRODUCT_FORWARD || p->op == MU_PRODUCT_GELU_FORWARD;
    bool gelu = p->op == MU_PRODUCT_GELU_FORWARD || p->op == MU_PRODUCT_GELU_BACKWARD_INPUT;
    bool weight = p->op == MU_PRODUCT_BACKWARD_WEIGHT;
    int64_t x = p->rows * p->in, w = p->in * p->out, y = p->rows * p->out;
    int64_t pre = p->op == MU_PRODUCT_GELU_FORWARD ? y : x;
    mu_array_t dw = MU_NO_ARRAY, db = MU_NO_ARRAY;
    mu_product_operands_t o = {.fresh = fresh};
    if ((x + y + (gelu ? pre : 0)) * mu_dtype_size(p->type) + w * 4 > most_bytes)
        return false;
    bool made = make(dev, &o.x, p->type, x) && make(dev, &o.y, p->type, y) &&
                (!(with_bias && forward) || make(dev, &o.bias, p->type, p->out)) &&
                (!gelu || make(dev, &o.pre, p->type, pre)) && (weight || make(dev, &o.w, p->type, w)) &&
                (!weight || (make(dev, &dw, MU_DTYPE_F32, w) && make(dev, &db, MU_DTYPE_F32, p->out)));
    o.dw = dw.data;
    o.db = db.data;
    if (made)
        *out = o;
    else
        mu_product_operands_free(dev, &o);
    return made;
}

void mu_product_compute(mu_device_t *dev, const mu_product_t *p, const mu_product_operands_t *o)
{
    const mu_device_ops_t *ops = dev->ops;
    int64_t rows = p->rows, in = p->in, out = p->out;
    switch (p->op) {
    case MU_PRODUCT_FORWARD:
        ops->linear_forward(dev, o->y, o->x, o->w, o->bias, MU_NO_ARRAY, rows, in, out);
        break;
    case MU_PRODUCT_GELU_FORWARD:
        ops->linear_gelu_forward(dev, o->y, o->pre, o->x, o->w, o->bias, rows, in, out, MU_GELU_TANH);
        break;
    case MU_PRODUCT_BACKWARD_INPUT:
        ops->linear_backward_input(dev, o->x, o->y, o->w, rows, in, out, false);
        break;
    case MU_PRODUCT_GELU_BACKWARD_INPUT:
        ops->linear_gelu_backward_input(dev, o->x, o->y, o->w, o->pre, rows, in, out, MU_GELU_TANH);
        break;
    default:
        ops->linear_backward_weight(dev, o->dw, o->db, o->y, o->x, rows, in, out, o->fresh);
        break;
    }
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
