/*
 * Copies of the state in memory, a worker's side (muster.peer_checkpoint, docs/checkpoints.md). Every worker keeps
 * its piece in the memory of its own host, and gives it to a worker on another one (peers.h). The files are
 * common/checkpoint/copies.h's. They outlive the ranks: the next attempt of the same launcher goes on from them.
 *
 *     mu_peer_copy_offer(&copy)                  once, before the first setup: what hosts hold, to the controller
 *     mu_peer_copy_restore(&copy, &path)         a setup says so: the pieces of all hosts, as a checkpoint of this host
 *     mu_peer_copy_reserve(&copy, &plan)         the memory for what is to come
 *     mu_peer_copy_begin(&copy, on)              GO
 *     mu_peer_copy_make(&copy, &plan, step)      MU_COMMAND_COPY: copied here and there, and COPIED is sent
 *     mu_peer_copy_keep(&copy, text, n)          MU_COMMAND_KEEP: all were; the manifest
 *     mu_peer_copy_release(&copy)
 *
 * All workers call each of them together; a worker whose run->copies_dir is NULL calls none.
 */
#ifndef MU_WORKER_PEER_COPY_H
#define MU_WORKER_PEER_COPY_H

#include "common/checkpoint/copies.h"
#include "worker/train/peers.h"
#include "worker/train/train_protocol.h"

typedef struct mu_peer_copy {
    mu_run_t *run; /* the caller sets it */
    mu_peers_t peers;
    MPI_Comm firsts; /* the first workers of the hosts, in the order of hosts; MPI_COMM_NULL elsewhere */
    /* what the hosts hold at the start */
    mu_copy_entry_t *entries;
    int count;
    mu_copy_set_t found; /* workers 0: nothing */
    bool whole;
    char *manifest; /* of a whole one */
    int64_t manifest_bytes;
    /* this attempt's */
    int slot; /* that is written next */
    mu_copy_piece_t own, *taken;
    int *source, taken_count; /* whose pieces are taken */
    int64_t bytes;            /* of host memory that they take; 0: none are made */
    int64_t ns;               /* that copies have held the run up since the last report */
} mu_peer_copy_t;

/* Errors: MU_NETWORK, MU_IO. */
mu_status_t mu_peer_copy_offer(mu_peer_copy_t *copy);
/* *path: a checkpoint's directory on this host, until mu_peer_copy_begin(); free() it. Errors: MU_DATA (not all is
 * there any more, or there is no room for it: an older state must do), MU_NETWORK. */
mu_status_t mu_peer_copy_restore(mu_peer_copy_t *copy, char **path);
/* copy->bytes stays 0 where a worker has no partner, and in a later attempt of a launcher where there is no room.
 * Nothing is reserved twice. Errors: MU_CONFIG (no room), MU_IO, MU_NETWORK. */
mu_status_t mu_peer_copy_reserve(mu_peer_copy_t *copy, const mu_shard_plan_t *plan);
/* on: copies will be made. */
void mu_peer_copy_begin(mu_peer_copy_t *copy, bool on);
/* Nothing is under way in the net. Errors: the plan's, MU_NETWORK, MU_IO. */
mu_status_t mu_peer_copy_make(mu_peer_copy_t *copy, const mu_shard_plan_t *plan);
/* Errors: MU_IO. */
mu_status_t mu_peer_copy_keep(mu_peer_copy_t *copy, const char *text, size_t n);
/* Milliseconds that copies have held the run up, since it was asked last. */
double mu_peer_copy_take_ms(mu_peer_copy_t *copy);
void mu_peer_copy_release(mu_peer_copy_t *copy);
MPI_Comm mu_peer_copy_workers(const mu_peer_copy_t *copy);

#endif
