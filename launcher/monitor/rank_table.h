/*
 * What is known of every rank of an attempt, and what follows from it: has one died, hung, or fallen silent,
 * and which was the first. Pure: time comes in as an argument, nothing is sent or printed.
 *
 *     mu_roster_init(&roster, ranks, attempt, &limits, now);
 *     mu_roster_hello(), _beat(), _death()       as messages come in
 *     mu_roster_judge(&roster, now, &trouble)    at least once a second
 *     mu_roster_free(&roster);
 */
#ifndef MU_LAUNCHER_ROSTER_H
#define MU_LAUNCHER_ROSTER_H

#include "common/buf.h"
#include "common/control/control.h"

typedef struct mu_limits {
    double
        hang; /* seconds without progress in a step; 0: max(10, 4 x the 99th percentile of the last steps) */
    double heartbeat; /* seconds without any */
    double start;     /* seconds from mpirun's start to the last hello */
} mu_limits_t;

typedef struct mu_member {
    bool present, dead; /* its hello, its death have come */
    mu_hello_t hello;
    mu_beat_t beat; /* the last one */
    mu_death_t death;
    int64_t heard_ns, progress_ns,
        death_ns;     /* arrival of the last message; of the last that showed progress */
    int64_t sequence; /* highest of its heartbeats and death */
    int stopped;      /* heartbeats in a row with state T */
    int64_t lossy_ns; /* the last heartbeat that told of bytes that the network does not pass on; 0: none */
    int64_t deaf_ns;  /* since when its heartbeats say that no answers come; 0: they come */
    bool orderly;     /* dead as it should: its own end, or ours */
} mu_member_t;

enum { MU_STEP_SAMPLES = 50 };

typedef struct mu_roster {
    mu_member_t *member;
    int size, present, dead; /* ranks; those that said hello; those whose death was told */
    int64_t attempt, begin_ns;
    mu_limits_t limits;
    double step_seconds[MU_STEP_SAMPLES]; /* of the last steps, as far as heartbeats show */
    int steps;                            /* samples seen */
    int64_t last_step, last_step_ns;
} mu_roster_t;

typedef enum mu_trouble_kind {
    MU_TROUBLE_NONE,
    MU_TROUBLE_DEATH,    /* the rank died by itself: the cause */
    MU_TROUBLE_FOLLOWER, /* the rank ended because its network did; wait a moment for the cause */
    MU_TROUBLE_STUCK, /* nothing moves, for very long, and the network does not pass on what this rank sends */
    MU_TROUBLE_HUNG,  /* nothing moves, and this rank is behind */
    MU_TROUBLE_LOST,  /* no heartbeat */
    MU_TROUBLE_DEAF,  /* its heartbeats say that it gets no answers */
    MU_TROUBLE_ABSENT,  /* never said hello */
    MU_TROUBLE_VANISHED /* mpirun is gone, and so are the rank and its guard, without a report */
} mu_trouble_kind_t;

typedef struct mu_trouble {
    mu_trouble_kind_t kind;
    int rank;
    mu_status_t status; /* what the run would end with */
    double seconds;     /* how long it stood still or was silent */
} mu_trouble_t;

void mu_roster_init(mu_roster_t *roster, int ranks, int64_t attempt, const mu_limits_t *limits, int64_t now);
void mu_roster_free(mu_roster_t *roster);
/* False: not of this attempt or this world. A guard that dials again says hello again. */
bool mu_roster_hello(mu_roster_t *roster, const mu_hello_t *hello, int64_t now);
void mu_roster_beat(mu_roster_t *roster, int rank, const mu_beat_t *beat, int64_t now);
void mu_roster_death(mu_roster_t *roster, int rank, const mu_death_t *death, int64_t now);

/* The launcher itself has stood still for `pause` ns until now (its machine was paused, its process stopped): what
 * it did not hear meanwhile says nothing about anyone, so that this time is not counted. Deaths stand. */
void mu_roster_pause(mu_roster_t *roster, int64_t pause, int64_t now);

/* Seconds that a rank may stand still in a phase. */
double mu_roster_limit(const mu_roster_t *roster, int64_t phase);
/* The first trouble, deaths before hangs before silence; of several deaths the cause before those who
 * followed, and the first before the later. */
void mu_roster_judge(const mu_roster_t *roster, int64_t now, mu_trouble_t *out);
/* The rank whose bytes the network does not pass on, within the last half minute, and that has sent them most often; -1:
 * none. While there is one, standing still is judged by MU_LOSSY_LIMIT, unless limits.hang is given. */
int mu_roster_lossy(const mu_roster_t *roster, int64_t now);
#define MU_LOSSY_LIMIT 600.0 /* seconds */
/* How long all have stood still; and the limit for that in the phases they are in. */
double mu_roster_still(const mu_roster_t *roster, int64_t now, double *limit);
/* The first rank that is neither dead nor heard of, once mpirun has ended; false when there is none. */
bool mu_roster_vanished(const mu_roster_t *roster, int64_t now, mu_trouble_t *out);
/* "rank 13 (gpu-01)": with the host once it is known. */
void mu_roster_name(const mu_roster_t *roster, int rank, mu_buf_t *out);
/* What happened to it, in words: "was killed by signal 9 (Killed)". */
void mu_trouble_text(const mu_roster_t *roster, const mu_trouble_t *trouble, mu_buf_t *out);
/* The status that a rank's own end stands for. */
mu_status_t mu_death_status(const mu_death_t *death);

#endif
