/*
 * Where every byte of a worker's shard files lies, and what libhdf5 puts between the values: the same in each file of a
 * run but for the step and the time, so it is made once. libhdf5 lays a file out in memory (hdf5.h), where the places
 * of the values are holes. What lies around them is kept here: the frame.
 */
#ifndef MU_COMMON_LAYOUT_H
#define MU_COMMON_LAYOUT_H

#include "common/checkpoint/shard.h"

struct mu_shard_layout {
    /* the worker that it is of */
    char *run_id;
    int tp, dp, tp_rank, dp_rank;
    bool optimizer;

    mu_shard_t shard; /* without digests */
    int *order;       /* mu_frame_order() */
    uint64_t *
        skipped; /* [count + 1]: bytes of values before the slice order[k]: byte b of the file, when it lies before
                          that slice and after the one before, is byte b - skipped[k] of the frame */
    char *frame; /* of step MU_LAYOUT_STEP, its header zeros */
    size_t frame_bytes;
    uint64_t step;   /* byte of the frame where the step is: a number of 8 bytes */
    uint64_t *times; /* and where a time is: seconds since 1970, 4 bytes */
    int time_count;
};

/* A number that nothing else in a frame is. */
#define MU_LAYOUT_STEP ((int64_t)0x5e4c7a1f93d2b806)

/* Whether the layout is that of the plan's worker in the plan's run. */
bool mu_shard_layout_fits(const mu_shard_layout_t *layout, const mu_shard_plan_t *plan);
/* The frame of the plan's file, as libhdf5 would make it now: a new array. */
char *mu_shard_layout_frame(const mu_shard_layout_t *layout, const mu_shard_plan_t *plan);

#endif
