/*
 * The page that a rank shares with its guard: one anonymous shared mapping, made by the guard before it forks
 * the rank. The rank writes where it is; the guard reads it for heartbeats and diagnoses, and writes what the
 * launcher asks. Single words are atomic; the collective record is guarded by an even/odd counter (odd while
 * being written). Every function takes a NULL page (a rank without a guard, a unit test) and does nothing.
 */
#ifndef MU_WORKER_PAGE_H
#define MU_WORKER_PAGE_H

#include "common/control/phase.h"
#include "common/metric_table.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A collective operation: the communicator's name, what it does, its number there, its size. */
typedef struct mu_collective {
    char comm[16], operation[16];
    uint64_t sequence;
    int64_t bytes;
} mu_collective_t;

enum { MU_COLLECTIVE_WORDS = sizeof(mu_collective_t) / sizeof(uint64_t) };

#define MU_PAGE_I(name, ...) _Atomic int64_t name;
#define MU_PAGE_F(name, ...) _Atomic double name;
typedef struct mu_page {
    _Atomic int32_t phase;                  /* mu_phase_t */
    _Atomic int32_t world_rank, world_size; /* -1 and 0 before MPI_Init */
    _Atomic int64_t step;                   /* updates done */
    _Atomic int64_t
        progress;            /* grows with everything the rank does: a hang is a progress that stands still */
    _Atomic int32_t request; /* mu_request_t, written by the guard */
    _Atomic int32_t status;  /* mu_status_t that the rank will exit with, once it knows */

    /* common/metric_table.h: of the controller, of a worker, of the controller */
    MU_METRIC_TABLE(MU_PAGE_I, MU_PAGE_F)
    MU_RANK_METRIC_TABLE(MU_PAGE_F)
    MU_STALL_TABLE(MU_PAGE_I, MU_PAGE_F)

    _Atomic int32_t in_collective;                    /* 1 while inside */
    _Atomic uint32_t collective_lock;                 /* of the record below; even: stable */
    _Atomic uint64_t collective[MU_COLLECTIVE_WORDS]; /* the last one, as a mu_collective_t */
} mu_page_t;
#undef MU_PAGE_I
#undef MU_PAGE_F

/* Maps a fresh page; NULL with errno set when the kernel has none. munmap() it. */
mu_page_t *mu_page_new(void);
void mu_page_phase(mu_page_t *page, mu_phase_t phase);
void mu_page_progress(mu_page_t *page);
/* The controller's figures, all at once. */
void mu_page_metrics(mu_page_t *page, const mu_metric_values_t *values);
void mu_page_collective_begin(mu_page_t *page, const char *comm, uint64_t sequence, const char *operation,
                              int64_t bytes);
void mu_page_collective_end(mu_page_t *page);
/* The last one, strings NUL terminated. False: of a rank that stands still while writing, it may be a
 * mixture. */
bool mu_page_collective(const mu_page_t *page, mu_collective_t *out);

#endif
