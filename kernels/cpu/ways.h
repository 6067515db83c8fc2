/* The ways to compute a product, from the inside: a table of candidates, and what each product takes. */
#ifndef MU_KERNELS_CPU_WAYS_H
#define MU_KERNELS_CPU_WAYS_H

#include "kernels/products.h"

enum {
    MU_WAY_GRAIN = 48
}; /* threads' parts begin at multiples of this, which keeps oneDNN's register blocks whole */

/* Result [m][n] of a sum over k. Threads divide m, or n. Each computes blocks of rows x cols, summed in pieces of
 * depth; 0: undivided. Packed: as rows, with depth x cols of the second operand side by side. First packed: the same
 * with rows x depth of the first. What is packed has no 0. */
typedef enum mu_way_kind { MU_WAY_ROWS, MU_WAY_PACKED, MU_WAY_FIRST_PACKED, MU_WAY_COLUMNS } mu_way_kind_t;
typedef struct mu_way {
    const char *name;
    mu_way_kind_t kind;
    int rows, cols, depth;
    bool tiles; /* by the tile unit (tiles.h), bfloat16 alone: blocks and depth are those of the panels */
} mu_way_t;

/* What a device took: mu_cpu_take_way(). */
typedef struct mu_ways {
    int count;
    mu_product_t product[MU_PRODUCTS];
    const mu_way_t *way[MU_PRODUCTS];
    const mu_way_t *trial; /* while it is timed, every product goes this way; else NULL */
} mu_ways_t;

/* The way of a product whose result has m rows. */
const mu_way_t *mu_cpu_way(mu_device_t *dev, mu_product_op_t op, mu_dtype_t type, int64_t rows, int64_t in,
                           int64_t out);
bool mu_cpu_take_way(mu_device_t *dev, const mu_product_t *product);
void mu_cpu_way_of(mu_device_t *dev, mu_product_t *product);
void mu_cpu_tune_product(mu_device_t *dev, mu_product_t *product, int64_t deadline);
/* Candidate number i of a product, the default first; NULL after the last. */
const mu_way_t *mu_cpu_candidate(mu_device_t *dev, const mu_product_t *product, int i);

#endif
