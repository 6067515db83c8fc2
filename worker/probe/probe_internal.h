/* The parts of the probe. Each looks at one thing and returns a new JSON object with a "state" of "ok",
 * "absent" or "error" (with "detail"); none waits without a deadline, none judges. */
#ifndef MU_WORKER_PROBE_INTERNAL_H
#define MU_WORKER_PROBE_INTERNAL_H

#include "worker/probe/probe.h"
#include <stdbool.h>
#include <stdint.h>

/* Runs `look` in a child, since storage and drivers can stop answering for good. */
typedef struct mu_probe_child {
    int fd; /* of a pipe with the child's JSON */
    int pid;
} mu_probe_child_t;
typedef json_t *(*mu_probe_look_t)(const json_t *ask);

mu_probe_child_t mu_probe_child(mu_probe_look_t look, const json_t *ask);
/* Its answer; {"state": "error", "detail": "no answer in ..."} at the deadline, when the child is killed and
 * left (one in uninterruptible sleep cannot be waited for). */
json_t *mu_probe_collect(mu_probe_child_t *child, double seconds, int64_t begin_ns);

json_t *mu_probe_state(const char *state, const char *detail);
/* ask.paths.KEY, else `usual`. */
const char *mu_probe_path(const json_t *ask, const char *key, const char *usual);

json_t *mu_probe_versions(const json_t *ask);
json_t *mu_probe_libraries(void); /* of this process: {"libmpi.so.40": "libmpi.so.40.30.4 1a2b3c4d"} */
json_t *mu_probe_daemon(const json_t *ask);
json_t *mu_probe_resources(const json_t *ask); /* cores, memory, shm, limits */
json_t *mu_probe_gpu(const json_t *ask);
json_t *mu_probe_ibverbs(const json_t *ask);
json_t *mu_probe_storage(const json_t *ask);
/* Makes the run's folder and writes 1 MiB there; nothing is left. */
json_t *mu_probe_tmp(const json_t *ask);
json_t *mu_probe_back(const json_t *ask);

#endif
