/*
 * RUN/track.json: how far each destination has the points of metrics.jsonl. An object of objects: destination kind,
 * then its name ("tensorboard" and the path of an event file; "mlflow" and the address of a server), then what that
 * kind keeps. Written durably. One tracker works on a run at a time (track.lock), so reading and writing back is safe.
 */
#ifndef MU_LAUNCHER_TRACK_CURSOR_H
#define MU_LAUNCHER_TRACK_CURSOR_H

#include "common/status.h"
#include <jansson.h>

/* A copy of what is kept: an object, empty when nothing is. Decref it. Errors: MU_DATA (track.json is damaged),
 * MU_IO. */
mu_status_t mu_cursor_get(const char *path, const char *kind, const char *name, json_t **out);
/* Replaces it; `value` stays the caller's. Errors: MU_DATA, MU_IO. */
mu_status_t mu_cursor_put(const char *path, const char *kind, const char *name, json_t *value);

#endif
