/*
 * A worker's part of a checkpoint, written beside the steps: a thread copies the state into memory that was reserved
 * once, and makes the file from the copy. The step that comes to change the state first copies what is left of it.
 *
 *     mu_background_save_reserve(run, device, &plan, neighbours, &save);   before the first step
 *     mu_background_save_begin(&save, &plan);
 *     ... what reads the state ...
 *     mu_background_save_hold(&save);                      before anything changes it
 *     ... steps; between them, if (mu_background_save_done(&save)) ...
 *     status = mu_background_save_take(&save, &shard);     waits for the thread
 *     mu_background_save_release(&save);
 *
 * One at a time. The thread and the one that it makes for the volume call neither MPI nor libhdf5, and have a nice
 * value of NICE above the process's: beside a thread that computes both together get a tenth of a core's time, and
 * whatever is idle. One write of 4 MiB is on its way to the volume at any time, and one waits
 * (common/checkpoint/block_writer.h).
 */
#ifndef MU_WORKER_BACKGROUND_SAVE_H
#define MU_WORKER_BACKGROUND_SAVE_H

#include "common/checkpoint/shard.h"
#include "worker/train/run.h"
#include <pthread.h>
#include <stdatomic.h>

/* muster.async_checkpoint auto writes smaller files in the foreground: they are as fast to write as to follow. */
#define MU_BACKGROUND_LEAST ((int64_t)64 << 20)

typedef struct mu_background_save {
    mu_device_t *device; /* of the state */
    void *memory;        /* NULL: none is reserved */
    uint64_t bytes;
    bool pinned;
    bool active, held; /* held: the state may change */
    int64_t began_ns;
    mu_shard_copy_t *copy;
    pthread_t thread;
    _Atomic bool done;
    /* of the thread, until it is done */
    mu_shard_t shard;
    mu_status_t status;
    double seconds; /* from begin to durable */
} mu_background_save_t;

/* Reserves the memory of copies as muster.async_checkpoint says: off: none. auto: only if the file has
 * MU_BACKGROUND_LEAST bytes and the host has twice as much available as its `neighbours` workers would take. on:
 * always. Nothing is reserved twice. `plan` is any of this worker's. Errors: MU_CONFIG (on, and the memory is not
 * there), MU_NOMEM, MU_IO. */
mu_status_t mu_background_save_reserve(const mu_run_t *run, mu_device_t *device, const mu_shard_plan_t *plan,
                                       int neighbours, mu_background_save_t *save);
/* Starts to copy and to write. Nothing changes the state before mu_background_save_hold() has returned. Errors:
 * MU_NOMEM, MU_BUG. */
mu_status_t mu_background_save_begin(mu_background_save_t *save, const mu_shard_plan_t *plan);
/* An active one, once: the state is copied and may change. If it could not be copied, the save fails. */
void mu_background_save_hold(mu_background_save_t *save);
/* The state is about to go: what is not copied is given up. */
void mu_background_save_give_up(mu_background_save_t *save);
bool mu_background_save_done(const mu_background_save_t *save); /* false when none is active */
/* Bytes handed to the volume so far. */
uint64_t mu_background_save_written(const mu_background_save_t *save);
/* Ends an active one: the result of the write. Errors: MU_IO, MU_NOMEM. */
mu_status_t mu_background_save_take(mu_background_save_t *save, mu_shard_t *out);
/* None is active; one filled with zeros is nothing. */
void mu_background_save_release(mu_background_save_t *save);

#endif
