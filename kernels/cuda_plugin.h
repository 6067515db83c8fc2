/*
 * Between the program and its CUDA part. The CUDA device is a shared library of its own, libmuster-cuda.so,
 * so that one program runs on hosts with and without a GPU. It has one entry point:
 *
 *     const mu_cuda_plugin_t *plugin = mu_cuda_plugin(&host);
 *     plugin->device_new(0, &device);
 *
 * and links nothing of the program: what it needs is lent in mu_cuda_host_t. Both sides are built from one
 * tree; `version` and `layout` tell when they were not. Programs reach it by kernels/cuda_load.h.
 */
#ifndef MU_KERNELS_CUDA_PLUGIN_H
#define MU_KERNELS_CUDA_PLUGIN_H

#include "kernels/products.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the program lends; valid as long as the library is in use. */
typedef struct mu_cuda_host_table {
    mu_status_t (*fail)(mu_status_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));
    mu_status_t (*alloc)(mu_device_t *dev, mu_memory_t kind, int64_t bytes, void **out);
    void (*free)(mu_device_t *dev, void *p);
    void (*error)(mu_device_t *dev, mu_status_t status);
    void (*count)(mu_device_t *dev, mu_memory_t kind, int64_t bytes);
    bool (*product_operands_make)(mu_device_t *dev, const mu_product_t *product, int64_t most_bytes,
                                  bool with_bias, bool fresh, mu_product_operands_t *out);
    void (*product_operands_free)(mu_device_t *dev, const mu_product_operands_t *operands);
    void (*product_compute)(mu_device_t *dev, const mu_product_t *product,
                            const mu_product_operands_t *operands);
} mu_cuda_host_t;

enum { MU_CUDA_WHY = 256 }; /* bytes of a reason */

typedef struct mu_cuda_plugin_table {
    const char *version; /* MU_VERSION */
    uint64_t layout;     /* MU_CUDA_LAYOUT */

    /* GPUs that this process may use. Errors: MU_GPU (no driver, a driver older than the library). */
    mu_status_t (*device_count)(int *out);
    /* The GPU at `index` of those. Errors: MU_GPU, MU_NOMEM. */
    mu_status_t (*device_new)(int index, mu_device_t **out);
    /* Its UUID: the same in every process that sees it, whatever it is numbered there. Errors: MU_GPU. */
    mu_status_t (*device_id)(int index, unsigned char out[16]);

    /* Streams, for collectives beside the device's own work; a stream is a cudaStream_t. The device's own
     * stream takes its operations. */
    void *(*stream)(mu_device_t *dev);
    mu_status_t (*stream_new)(mu_device_t *dev, void **out);
    void (*stream_free)(mu_device_t *dev, void *stream); /* NULL is nothing */
    /* What is enqueued on `waiter` from now on runs after all that is enqueued on `other` now. The host does
     * not wait. */
    mu_status_t (*stream_wait)(mu_device_t *dev, void *waiter, void *other);
    /* Whether everything enqueued on `stream` is done. Does not wait. Errors: MU_GPU. */
    mu_status_t (*stream_idle)(mu_device_t *dev, void *stream, bool *out);

    /* Marks, to learn what of a stream is done and when: one after what is enqueued on `stream` now. Errors
     * of mark_passed: MU_GPU. mark_ms waits for `to`, which was made after `from`. */
    mu_status_t (*mark_new)(mu_device_t *dev, void *stream, void **out);
    void (*mark_free)(mu_device_t *dev, void *mark); /* NULL is nothing */
    mu_status_t (*mark_passed)(mu_device_t *dev, void *mark, bool *out);
    mu_status_t (*mark_ms)(mu_device_t *dev, void *from, void *to, double *out);
    /* What is enqueued on `stream` from now on runs after the mark. The host does not wait. */
    mu_status_t (*mark_wait)(mu_device_t *dev, void *stream, void *mark);

    /* From now on attention goes to cuDNN, where it takes the call; else to the device's own kernels (docs/cuda.md).
     * *version: 91900 for 9.19.0. Asking again is nothing. Errors: MU_CONFIG (not there, too
     * old), MU_GPU (it does not start), MU_NOMEM. */
    mu_status_t (*cudnn_use)(mu_device_t *dev, int *version);
    /* Whether calls of this type and shape go to cuDNN, forward or backward. They are planned, and what they work in is
     * reserved. `why`: what keeps them from it; "" where the device has the error. */
    bool (*cudnn_taken)(mu_device_t *dev, mu_dtype_t type, const mu_attention_t *shape, bool backward,
                        char why[MU_CUDA_WHY]);
} mu_cuda_plugin_t;

/* Changes with the shapes that both sides must agree on. */
#define MU_CUDA_LAYOUT                                                                                       \
    ((uint64_t)sizeof(mu_cuda_host_t) << 48 | (uint64_t)sizeof(mu_device_t) << 32 |                          \
     (uint64_t)sizeof(mu_device_ops_t) << 16 | (uint64_t)sizeof(mu_cuda_plugin_t))

/* The entry point; NULL when `host` is. */
const mu_cuda_plugin_t *mu_cuda_plugin(const mu_cuda_host_t *host);

#ifdef __cplusplus
}
#endif
#endif
