#include "kernels/cpu/ways.h"
#include "kernels/cpu/cpu.h"

static const mu_way_t float_ways[] = {
    {"rows", MU_WAY_ROWS, 0, 0, 0, false},
    {"rows 0x1024", MU_WAY_ROWS, 0, 1024, 0, false},
    {"rows 0x384", MU_WAY_ROWS, 0, 384, 0, false},
    {"rows 384x0", MU_WAY_ROWS, 384, 0, 0, false},
    {"rows 384x384", MU_WAY_ROWS, 384, 384, 0, false},
    {"rows 0x0x512", MU_WAY_ROWS, 0, 0, 512, false},
    {"packed 0x384x512", MU_WAY_PACKED, 0, 384, 512, false},
    {"packed 384x384x512", MU_WAY_PACKED, 384, 384, 512, false},
    {"first packed 384x0x512", MU_WAY_FIRST_PACKED, 384, 0, 512, false},
    {"first packed 192x0x512", MU_WAY_FIRST_PACKED, 192, 0, 512, false},
    {"columns", MU_WAY_COLUMNS, 0, 0, 0, false},
    {"columns 384x0", MU_WAY_COLUMNS, 384, 0, 0, false},
    {"columns 0x0x512", MU_WAY_COLUMNS, 0, 0, 512, false},
    {NULL, MU_WAY_ROWS, 0, 0, 0, false},
};

/* Of 16-bit arrays blocks are in scratch, so that none is undivided, and only tiles divide sums. */
static const mu_way_t half_ways[] = {
    {"rows 384x384", MU_WAY_ROWS, 384, 384, 0, false},
    {"rows 192x768", MU_WAY_ROWS, 192, 768, 0, false},
    {"rows 768x192", MU_WAY_ROWS, 768, 192, 0, false},
    {"rows 768x384", MU_WAY_ROWS, 768, 384, 0, false},
    {"rows 512x512", MU_WAY_ROWS, 512, 512, 0, false},
    {"columns 384x384", MU_WAY_COLUMNS, 384, 384, 0, false},
    {"columns 768x384", MU_WAY_COLUMNS, 768, 384, 0, false},
    {"tiles, rows 1024x256x512", MU_WAY_ROWS, 1024, 256, 512, true},
    {"tiles, rows 512x512x1024", MU_WAY_ROWS, 512, 512, 1024, true},
    {"tiles, rows 512x256x1024", MU_WAY_ROWS, 512, 256, 1024, true},
    {"tiles, rows 256x256x2048", MU_WAY_ROWS, 256, 256, 2048, true},
    {"tiles, columns 1024x256x512", MU_WAY_COLUMNS, 1024, 256, 512, true},
    {"tiles, columns 512x512x1024", MU_WAY_COLUMNS, 512, 512, 1024, true},
    {"tiles, columns 512x256x1024", MU_WAY_COLUMNS, 512, 256, 1024, true},
    {"tiles, columns 256x256x2048", MU_WAY_COLUMNS, 256, 256, 2048, true},
    {NULL, MU_WAY_ROWS, 0, 0, 0, false},
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

/* Whether the device has that way for that type. */
static bool possible(mu_device_t *dev, mu_dtype_t type, const mu_way_t *way)
{
    return !way->tiles || (type == MU_DTYPE_BF16 && mu_cpu(dev)->tiles);
}

/* Panels that fit the second cache together, 2 MB, so that each is packed once or twice. Threads divide what is longer,
 * and each packs its own part of that. */
static const mu_way_t *standard_tiles(bool columns, int64_t n, int64_t k)
{
    if (k <= 512)
        return named(half_ways, columns ? "tiles, columns 1024x256x512" : "tiles, rows 1024x256x512");
    if (n <= 512)
        return named(half_ways, columns ? "tiles, columns 512x512x1024" : "tiles, rows 512x512x1024");
    return named(half_ways, columns ? "tiles, columns 512x256x1024" : "tiles, rows 512x256x1024");
}

/* Best on the machines of docs/measured.md. Of floats, and on the tile unit, threads divide the longer side of the
 * result, so that together they read the larger operand once. oneDNN's AVX-512 kernels slow down where the rows of a
 * transposed operand are a power of two apart, and do not once pieces of it are side by side. */
static const mu_way_t *standard(mu_device_t *dev, mu_product_op_t op, mu_dtype_t type, int64_t rows,
                                int64_t in, int64_t out)
{
    bool weight = op == MU_PRODUCT_BACKWARD_WEIGHT;
    bool forward = op == MU_PRODUCT_FORWARD || op == MU_PRODUCT_GELU_FORWARD;
    bool gelu = op == MU_PRODUCT_GELU_FORWARD || op == MU_PRODUCT_GELU_BACKWARD_INPUT;
    int64_t m = weight ? out : rows, n = forward ? out : in;
    if (type == MU_DTYPE_BF16 && mu_cpu(dev)->tiles)
        return standard_tiles(n > m, n, weight ? rows : forward ? in : out);
    if (type != MU_DTYPE_F32)
        return named(half_ways, m < MU_WAY_GRAIN * dev->threads ? "columns 384x384" : "rows 384x384");
    if (n > m)
        return named(float_ways, "columns");
    if (weight && n >= 256)
        return named(float_ways, "first packed 384x0x512");
    return named(float_ways, gelu ? "rows 0x1024" : "rows");
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
    return i < w->count ? w->way[i] : standard(dev, op, type, rows, in, out);
}

const mu_way_t *mu_cpu_candidate(mu_device_t *dev, const mu_product_t *p, int i)
{
    const mu_way_t *first = standard(dev, p->op, p->type, p->rows, p->in, p->out), *way = table_of(p->type);
    if (i == 0)
        return first;
    for (; way->name; way++)
        if (way != first && possible(dev, p->type, way) && --i == 0)
            return way;
    return NULL;
}

bool mu_cpu_take_way(mu_device_t *dev, const mu_product_t *product)
{
    mu_ways_t *w = &mu_cpu(dev)->ways;
    const mu_way_t *way = named(table_of(product->type), product->way);
    int i = find(w, product);
    if (!way || !possible(dev, product->type, way) || i == MU_PRODUCTS)
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
