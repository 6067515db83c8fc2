/*
 * Where an export is made: OUTPUT.tmp-PID, which becomes OUTPUT when it is whole. Its maker holds a lock of it (flock)
 * for as long as it lives, so that the next export to OUTPUT knows what a killed one left, and removes it.
 */
#ifndef MU_WORKER_EXPORT_PLACE_H
#define MU_WORKER_EXPORT_PLACE_H

#include "common/status.h"

typedef struct mu_export_place {
    char *dir; /* NULL: none */
    int lock;
} mu_export_place_t;

/* `output` has no slash at its end. Errors: MU_RUNDIR (something is there, or another export makes it). */
mu_status_t mu_export_place_make(const char *output, mu_export_place_t *out);
/* Syncs it and renames it to `output`. Errors: MU_RUNDIR, MU_IO. */
mu_status_t mu_export_place_publish(const mu_export_place_t *place, const char *output);
/* Frees it, and removes the directory unless it was published. */
void mu_export_place_leave(mu_export_place_t *place, mu_status_t status);

#endif
