/*
 * A tracker: takes the points of a run to where people look at them. It reads metrics.jsonl and run.json of the run
 * directory and writes there only its cursor, track.json, and its lock, track.lock, so it cannot touch the training.
 *
 * Each point is delivered once. Points are appended to the event file and synced, then the cursor says how long the event
 * file is and how far metrics.jsonl was read. What lies in the event file after that length was written by a tracker that
 * was killed before it wrote its cursor: it is cut off and written again. Without a cursor, or when the event file is
 * shorter than the cursor says or metrics.jsonl is another one, everything is written from the start into the same file.
 */
#ifndef MU_LAUNCHER_TRACK_H
#define MU_LAUNCHER_TRACK_H

#include "common/status.h"
#include <stdbool.h>

typedef struct mu_track {
    const char *run_dir;
    const char *tensorboard; /* folder of the event file; made if it is missing */
    bool once;               /* deliver what is there and return; else go on until the run has ended */
} mu_track_t;

/* Errors: MU_NOINPUT (no run there), MU_DATA (run.json, metrics.jsonl or track.json damaged), MU_RUNDIR (another tracker
 * has the run; a folder cannot be made), MU_IO (only with `once`, or after the run has ended: until then a storage
 * failure is logged and tried again). */
mu_status_t mu_track(const mu_track_t *track);

#endif
