/*
 * The watch over the NCCL communicators of one device, for comm_nccl.c alone.
 *
 * The host can wait inside CUDA where nothing polls: in a copy that finds all pinned slots taken, in a launch that
 * finds a stream's queue full. So a thread of its own looks at asynchronous errors and at the age of the oldest
 * operation. Whoever finds a failure first, that thread or the host in mu_comm_sync(), gives up all communicators
 * together: an abort waits for the device, where the kernel of another communicator may spin. From then on every call
 * returns the failure. When the device does not leave in `leave` seconds, the process ends with its exit code.
 *
 * Locking: mu_nccl_lock() for calls of NCCL and for a group's members that are marked. No call that can wait for the
 * device is made with the lock held. The page's collective record has one writer, the host: the thread writes
 * progress alone.
 */
#ifndef MU_WORKER_NCCL_WATCH_H
#define MU_WORKER_NCCL_WATCH_H

#include "kernels/cuda_load.h"
#include "worker/comm/comm_nccl.h"
#include "worker/comm/nccl.h"

/* From one mark on a stream to another: an operation, or the wait for begun ones. */
typedef struct mu_nccl_span {
    void *from, *to;  /* marks */
    bool waits;       /* the device's own stream stands still meanwhile */
    int64_t begun_ns; /* when `from` was first seen passed; 0: not yet */
    uint64_t sequence;
    int64_t bytes;
    const char *operation;
} mu_nccl_span_t;

typedef struct mu_nccl_group {
    mu_nccl_t nccl;
    const mu_cuda_plugin_t *cuda;
    mu_device_t *device;
    mu_comm_t *owner;
    mu_nccl_watch_t *watch;
    mu_nccl_comm_t *comm; /* with the lock; NULL: none, or aborted */
    void *side;           /* the stream of begun operations */
    mu_nccl_span_t *span; /* with the lock: enqueued and not known to be done */
    int count, cap;
    int64_t waited_ns; /* with the lock */
    double hang;       /* seconds; while it is being made, those of `meet` */
    uint64_t shown;    /* on the page */
} mu_nccl_group_t;

const mu_nccl_limits_t *mu_nccl_limits(const mu_nccl_watch_t *watch);
/* Takes the lock unless the watch has given up: then its status, and no lock. */
mu_status_t mu_nccl_lock(mu_nccl_watch_t *watch);
void mu_nccl_unlock(mu_nccl_watch_t *watch);
/* Gives all groups up, unless that has been done, and waits until the device has left them. Returns what the watch gave
 * up for first. Without the lock. */
mu_status_t mu_nccl_give_up(mu_nccl_watch_t *watch, mu_status_t status);

/* Between these, which take the lock, the thread looks at a group. */
void mu_nccl_watch_add(mu_nccl_group_t *group);
void mu_nccl_watch_remove(mu_nccl_group_t *group);

/* A span that ends with what is enqueued on `stream` now. `from`, a mark, is taken over. Takes the lock. */
mu_status_t mu_nccl_span_add(mu_nccl_group_t *group, void *stream, mu_nccl_span_t span);
/* Looks once, as the host: errors, spans that are done, the page. *idle: none is left. Takes the lock; gives up. */
mu_status_t mu_nccl_look(mu_nccl_group_t *group, bool *idle);
/* Gives up, since NCCL answered `result` to `what`. */
mu_status_t mu_nccl_broke(mu_nccl_group_t *group, int result, const char *what);

#endif
