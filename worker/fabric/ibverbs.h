/*
 * libibverbs, opened at run time, tried on a port: what sysfs cannot tell is whether this process may open
 * the device and register memory with it.
 *
 *     mu_ibverbs_t verbs;
 *     if (mu_ibverbs_open("libibverbs.so.1", &verbs, why, sizeof why)) {
 *         mu_ibverbs_try(&verbs, "mlx5_0", 1, 3, &trial);         for each port
 *         mu_ibverbs_close(&verbs);
 *     }
 *
 * Declared is what the ABI of IBVERBS_1.1 has kept since 2006 (rdma-core, libibverbs/libibverbs.map.in and
 * its manual pages); all structures stay opaque. A device that hangs hangs the caller: call it in a process
 * that can be given up.
 */
#ifndef MU_WORKER_IBVERBS_H
#define MU_WORKER_IBVERBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MU_IBVERBS_TABLE(X)                                                                                  \
    X(get_device_list, void **, "ibv_get_device_list", (int *))                                              \
    X(free_device_list, void, "ibv_free_device_list", (void **))                                             \
    X(get_device_name, const char *, "ibv_get_device_name", (void *))                                        \
    X(open_device, void *, "ibv_open_device", (void *))                                                      \
    X(close_device, int, "ibv_close_device", (void *))                                                       \
    X(alloc_pd, void *, "ibv_alloc_pd", (void *))                                                            \
    X(dealloc_pd, int, "ibv_dealloc_pd", (void *))                                                           \
    X(reg_mr, void *, "ibv_reg_mr", (void *, void *, size_t, int))                                           \
    X(dereg_mr, int, "ibv_dereg_mr", (void *))                                                               \
    X(query_gid, int, "ibv_query_gid", (void *, uint8_t, int, unsigned char[16]))

typedef struct mu_ibverbs {
    void *library;
#define MU_IBVERBS_MEMBER(name, type, symbol, args) type(*name) args;
    MU_IBVERBS_TABLE(MU_IBVERBS_MEMBER)
#undef MU_IBVERBS_MEMBER
    /* IBVERBS_1.12, rdma-core 34 and later; NULL before */
    void *(*reg_dmabuf_mr)(void *, uint64_t, size_t, uint64_t, int, int);
} mu_ibverbs_t;

/* false: why not. */
bool mu_ibverbs_open(const char *path, mu_ibverbs_t *out, char *why, size_t size);
void mu_ibverbs_close(mu_ibverbs_t *verbs);

/* How far the trial came. */
typedef enum mu_ibverbs_step {
    MU_IBVERBS_LIST,     /* the library does not list the device */
    MU_IBVERBS_OPEN,     /* ... */
    MU_IBVERBS_DOMAIN,   /* no protection domain */
    MU_IBVERBS_REGISTER, /* 16 MiB of memory cannot be registered */
    MU_IBVERBS_GID,      /* the GID cannot be asked for */
    MU_IBVERBS_FINE
} mu_ibverbs_step_t;

typedef struct mu_ibverbs_trial {
    mu_ibverbs_step_t step; /* what failed, else FINE */
    int error;              /* errno of it */
    char gid[40];           /* as sysfs writes it; "" when not asked for */
    bool dma_buf;           /* the library, the kernel and the device's driver know DMA-BUF */
} mu_ibverbs_trial_t;

/* gid_index -1: no GID is asked for. dma_buf is found out as NCCL does: by a registration of no file, which
 * those that know the call answer with another error than "not supported". */
void mu_ibverbs_try(const mu_ibverbs_t *verbs, const char *device, int port, int gid_index,
                    mu_ibverbs_trial_t *out);

#endif
