#include "kernels/cpu/ways.h"
#include "kernels/cpu/cpu.h"

static const mu_way_t float_ways[] = {
    {"rows", MU_WAY_ROWS, 0, 0, 0},
    {"rows 0x1024", MU_WAY_ROWS, 0, 1024, 0},
    {"rows 0x384", MU_WAY_ROWS, 0, 384, 0},
    {"rows 384x0", MU_WAY_ROWS, 384, 0, 0},
    {"rows 384x384", MU_WAY_ROWS, 384, 384, 0},
    {"rows 0x0x512", MU_WAY_ROWS, 0, 0, 512},
    {"packed 0x384x512", MU_WAY_PACKED, 0, 384, 512},
    {"packed 384x384x512", MU_WAY_PACKED, 384, 384, 512},
    {"columns", MU_WAY_COLUMNS, 0, 0, 0},
    {"columns 384x0", MU_WAY_COLUMNS, 384, 0, 0},
    {"columns 0x0x512", MU_WAY_COLUMNS, 0, 0, 512},
    {NULL, MU_WAY_ROWS, 0, 0, 0},
};

/* Of 16-bit arrays blocks are in scratch, so that none is undivided, and sums are not divided. */
static const mu_way_t half_ways[] = {
    {"rows 384x384", MU_WAY_ROWS, 384, 384, 0},       {"rows 192x768", MU_WAY_ROWS, 192, 768, 0},
    {"rows 768x192", MU_WAY_ROWS, 768, 192, 0},       {"rows 768x384", MU_WAY_ROWS, 768, 384, 0},
    {"rows 512x512", MU_WAY_ROWS, 512, 512, 0},       {"columns 384x384", MU_WAY_COLUMNS, 384, 384, 0},
    {"columns 768x384", MU_WAY_COLUMNS, 768, 384, 0}, {NULL, MU_WAY_ROWS, 0, 0, 0},
};

/* The way of that name, or NULL. */
static const mu_way_t *named(const mu_way_t *table, const char *name)
{
    while (table->name && strcmp(table->name, name) != 0)
        table++;
    return table->name ? table : NULL;
}

static const mu_way_t *table_of(mu_dtype_t type)
{
    return type == MU_DTYPE_F32 ? float_ways : half_ways;
}

/* Best on the machines of docs/measured.md. With fewer rows than a part for each thread (generation) threads divide the
 * columns, so that each reads its own part of w. */
static const mu_way_t *standard(mu_device_t *dev, mu_product_op_t op, mu_dtype_t type, int64_t rows,
                                int64_t out)
{
    bool few = (op == MU_PRODUCT_BACKWARD_WEIGHT ? out : rows) < MU_WAY_GRAIN * dev->threads;
    static const char *const of_floats[MU_PRODUCT_OPS] = {
        [MU_PRODUCT_FORWARD] = "rows",         [MU_PRODUCT_GELU_FORWARD] = "rows 0x1024",
        [MU_PRODUCT_BACKWARD_INPUT] = "rows",  [MU_PRODUCT_GELU_BACKWARD_INPUT] = "rows 0x1024",
        [MU_PRODUCT_BACKWARD_WEIGHT] = "rows",
    };
    if (type == MU_DTYPE_F32)
        return named(float_ways, few ? "columns" : of_floats[op]);
    return named(half_ways, few ? "columns 384x384" : "rows 384x384");
}

static bool same(const mu_product_t *a, const mu_product_t *b)
{
    return a->op == b->op && a->type == b->type && a->rows == b->rows && a->in == b->in && a->out == b->out;
}

static int find(const mu_ways_t *w, const mu_product_t *p)
{
    int i = 0;
    while (i < w->count && !same(&w->product[i], p))
        i++;
    return i;
}

const mu_way_t *mu_cpu_way(mu_device_t *dev, mu_product_op_t op, mu_dtype_t type, int64_t rows, int64_t in,
                           int64_t out)
{
    const mu_ways_t *w = &mu_cpu(dev)->ways;
    mu_product_t p = {.op = op, .type = type, .rows = rows, .in = in, .out = out};
    if (w->trial)
        return w->trial;
    int i = find(w, &p);
    return i < w->count ? w->way[i] : standard(dev, op, type, rows, out);
}

const mu_way_t *mu_cpu_candidate(mu_device_t *dev, const mu_product_t *p, int i)
{
    const mu_way_t *first = standard(dev, p->op, p->type, p->rows, p->out), *way = table_of(p->type);
    if (i == 0)
        return first;
    for (; way->name; way++)
        if (way != first && --i == 0)
            return way;
    return NULL;
}

bool mu_cpu_take_way(mu_device_t *dev, const mu_product_t *product)
{
    mu_ways_t *w = &mu_cpu(dev)->ways;
    const mu_way_t *way = named(table_of(product->type), product->way);
    int i = find(w, product);
    if (!way || i == MU_PRODUCTS)
        return false;
    w->count = i == w->count ? i + 1 : w->count;
    w->product[i] = *product;
    w->way[i] = way;
    return true;
}

void mu_cpu_way_of(mu_device_t *dev, mu_product_t *p)
{
    snprintf(p->way, sizeof p->way, "%s", mu_cpu_way(dev, p->op, p->type, p->rows, p->in, p->out)->name);
}
