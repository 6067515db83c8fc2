/*
 * What is known of every rank of an attempt, and what follows from it: has one died, hung, or fallen silent,
 * and which was the first. Pure: time comes in as an argument, nothing is sent or printed.
 *
 *     mu_rank_table_init(&rank_table, ranks, attempt, &limits, now);
 *     mu_rank_table_hello(), _beat(), _death()       as messages come in
 *     mu_rank_table_failure(&rank_table, now, &failure)    at least once a second
 *     mu_rank_table_free(&rank_table);
 */
#ifndef MU_LAUNCHER_RANK_TABLE_H
#define MU_LAUNCHER_RANK_TABLE_H

#include "common/buf.h"
#include "common/control/control.h"
#include "common/run/rundir.h"

typedef struct mu_limits {
    double
        hang; /* seconds without progress in a step; 0: max(10, 4 x the 99th percentile of the last steps) */
    double heartbeat; /* seconds without any */
    double start;     /* seconds from mpirun's start to the last hello */
} mu_limits_t;

typedef struct mu_rank_entry {
    bool present, dead; /* its hello, its death have come */
    mu_hello_t hello;
    mu_heartbeat_t heartbeat; /* the last one */
    mu_death_t death;
    int64_t heard_ns, progress_ns,
        death_ns;     /* arrival of the last message; of the last that showed progress */
    int64_t sequence; /* highest of its heartbeats and death */
    int stopped;      /* heartbeats in a row with state T */
    int64_t
        retransmitting_ns; /* the last heartbeat that reported bytes that the network does not pass on; 0: none */
    int64_t no_acks_ns; /* since when its heartbeats say that no answers come; 0: they come */
    bool orderly;       /* dead as it should: its own end, or ours */
} mu_rank_entry_t;

enum { MU_STEP_SAMPLES = 50 };

typedef struct mu_rank_table {
    mu_rank_entry_t *member;
    int size, present, dead; /* ranks; those that said hello; those whose death was reported */
    int64_t attempt, begin_ns;
    mu_limits_t limits;
    double step_seconds[MU_STEP_SAMPLES]; /* of the last steps, as far as heartbeats show */
    int steps;                            /* samples seen */
    int64_t last_step, last_step_ns;
} mu_rank_table_t;

typedef enum mu_failure_kind {
    MU_FAILURE_NONE,
    MU_FAILURE_DEATH,     /* the rank died by itself: the cause */
    MU_FAILURE_SECONDARY, /* the rank ended because its network did; wait a moment for the cause */
    MU_FAILURE_STUCK, /* nothing moves, for very long, and the network does not pass on what this rank sends */
    MU_FAILURE_HUNG,  /* nothing moves, and this rank is behind */
    MU_FAILURE_LOST,  /* no heartbeat */
    MU_FAILURE_NO_ACKS, /* its heartbeats say that it gets no answers */
    MU_FAILURE_ABSENT,  /* never said hello */
    MU_FAILURE_VANISHED /* mpirun is gone, and so are the rank and its guard, without a report */
} mu_failure_kind_t;

typedef struct mu_failure {
    mu_failure_kind_t kind;
    int rank;
    mu_status_t status; /* what the run would end with */
    double seconds;     /* how long it stood still or was silent */
} mu_failure_t;

void mu_rank_table_init(mu_rank_table_t *rank_table, int ranks, int64_t attempt, const mu_limits_t *limits,
                        int64_t now);
void mu_rank_table_free(mu_rank_table_t *rank_table);
/* False: not of this attempt or this world. A guard that dials again says hello again. */
bool mu_rank_table_hello(mu_rank_table_t *rank_table, const mu_hello_t *hello, int64_t now);
void mu_rank_table_heartbeat(mu_rank_table_t *rank_table, int rank, const mu_heartbeat_t *heartbeat,
                             int64_t now);
void mu_rank_table_death(mu_rank_table_t *rank_table, int rank, const mu_death_t *death, int64_t now);

/* The launcher itself has stood still for `pause` ns until now (its machine was paused, its process stopped): what
 * it did not hear meanwhile says nothing about anyone, so that this time is not counted. Deaths stand. */
void mu_rank_table_pause(mu_rank_table_t *rank_table, int64_t pause, int64_t now);

/* Seconds that a rank may stand still in a phase. */
double mu_rank_table_limit(const mu_rank_table_t *rank_table, int64_t phase);
/* The first failure, deaths before hangs before silence; of several deaths the cause before those who
 * followed, and the first before the later. */
void mu_rank_table_failure(const mu_rank_table_t *rank_table, int64_t now, mu_failure_t *out);
/* The rank whose bytes the network does not pass on, within the last half minute, and that has sent them most often;
 * -1: none. While there is one, standing still is judged by MU_RETRANSMIT_LIMIT, unless limits.hang is given. */
int mu_rank_table_retransmitting(const mu_rank_table_t *rank_table, int64_t now);
#define MU_RETRANSMIT_LIMIT 600.0 /* seconds */
/* How long all have stood still; and the limit for that in the phases they are in. */
double mu_rank_table_stalled(const mu_rank_table_t *rank_table, int64_t now, double *limit);
/* The first rank that is neither dead nor heard of, once mpirun has ended; false when there is none. */
bool mu_rank_table_vanished(const mu_rank_table_t *rank_table, int64_t now, mu_failure_t *out);
/* Least, median and most over the workers of a figure of their heartbeats: `offset` of a double in mu_heartbeat_t.
 * Workers that have none yet (0) do not count; out->rank 0: none has. */
void mu_rank_table_spread(const mu_rank_table_t *rank_table, size_t offset, mu_spread_t *out);
/* "rank 13 (gpu-01)": with the host once it is known. */
void mu_rank_table_name(const mu_rank_table_t *rank_table, int rank, mu_buf_t *out);
/* What happened to it, in words: "was killed by signal 9 (Killed)". */
void mu_failure_text(const mu_rank_table_t *rank_table, const mu_failure_t *failure, mu_buf_t *out);
/* The status that a rank's own end stands for. */
mu_status_t mu_death_status(const mu_death_t *death);

#endif
