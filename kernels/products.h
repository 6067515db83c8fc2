/*
 * The matrix products of a model, and the way in which a device computes each. On a CPU: how threads divide it, and in
 * which blocks. On a GPU: the algorithm of cuBLASLt, and whether what follows is fused into it. Ways differ in the
 * order of sums, so in the last bits of results, and in speed.
 *
 *     mu_product_t list[MU_PRODUCTS];
 *     int n = mu_net_products(net, list);            the products of a training step
 *     mu_products_tune(device, list, n, seconds);    times the candidates, and takes the fastest
 *     ... keep list ...
 * A process that computes with the same bits then takes what was kept:
 *     device->ops->take_way(device, &list[i]);
 * A product for which nothing was taken is computed in the way that was measured best on the machines of
 * docs/measured.md, or that cuBLASLt proposes first. mu_device_t.description names what a measurement holds for:
 * threads, instruction set, library; or card and library.
 */
#ifndef MU_KERNELS_PRODUCTS_H
#define MU_KERNELS_PRODUCTS_H

#include "kernels/device.h"

enum { MU_PRODUCTS = 64 };    /* of one device */
enum { MU_TUNE_SECONDS = 2 }; /* that a run's start has for it */

/* Operations of kernels/device.h; linear_rows has one way only. */
typedef enum mu_product_op {
    MU_PRODUCT_FORWARD,
    MU_PRODUCT_GELU_FORWARD,
    MU_PRODUCT_BACKWARD_INPUT,
    MU_PRODUCT_GELU_BACKWARD_INPUT,
    MU_PRODUCT_BACKWARD_WEIGHT,
    MU_PRODUCT_OPS
} mu_product_op_t;

typedef struct mu_product {
    mu_product_op_t op;
    mu_dtype_t type;
    int64_t rows, in, out;
    char way[64]; /* its name, as "rows 384x384", "fused 66.15.1.0.0.0.35.0.0" */
    double rate;  /* GFLOP/s; 0: not measured */
} mu_product_t;

const char *mu_product_name(mu_product_op_t op); /* "linear_forward" */

/* Fills way and rate, and takes the ways: of all products that `seconds` suffice for, those with the most work first.
 * The others get their default and rate 0, as one whose operands are larger than 1 GiB (a GPU: 2 GiB) does. The
 * operands are memory that is not counted, given back at the end. Errors: none; without memory nothing is measured. */
void mu_products_tune(mu_device_t *dev, mu_product_t *list, int n, double seconds);

/* For implementations: what a product is timed on. x [rows][in], w [out][in], y [rows][out], pre: the second of what y
 * or x is; bias [out]; dw and db of floats. Those that the product does not use are absent. */
typedef struct mu_product_operands {
    mu_array_t x, w, y, pre, bias;
    float *dw, *db;
    bool fresh; /* gradients of weights are replaced, not added to */
} mu_product_operands_t;

/* Numbers like a model's: a product of zeros may be faster, since it takes less power. with_bias: forward has one.
 * False, with nothing held: they take more than most_bytes, or there is no memory. */
bool mu_product_operands_make(mu_device_t *dev, const mu_product_t *product, int64_t most_bytes,
                              bool with_bias, bool fresh, mu_product_operands_t *out);
void mu_product_operands_free(mu_device_t *dev, const mu_product_operands_t *operands);
/* Enqueues the product's operation. */
void mu_product_compute(mu_device_t *dev, const mu_product_t *product, const mu_product_operands_t *operands);

/* For implementations: a candidate is timed again only while it is so close to the best, and displaces the default only
 * when it is so much faster: choices shall not follow noise. */
#define MU_TUNE_NEAR  1.2
#define MU_TUNE_WORTH 0.97
enum { MU_TUNE_ROUNDS = 3 };

#endif
