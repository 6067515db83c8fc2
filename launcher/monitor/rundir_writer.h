/*
 * The process that writes the launcher's part of the run directory and looks for its files `stop` and
 * `drain`.
 *
 * The launcher answers heartbeats; a volume that hangs for half a minute must not keep it from that, or every
 * guard would end its rank. So a child does all that touches the run directory while ranks run. What it
 * cannot take (its queue is full) is dropped, counted, and reported at the end.
 */
#ifndef MU_LAUNCHER_SCRIBE_H
#define MU_LAUNCHER_SCRIBE_H

#include "common/rundir.h"

#include <sys/types.h>

typedef struct mu_scribe mu_scribe_t;

/* Forks. lock_fd: a descriptor that the child keeps open (the claim of the directory); -1: none. A child that dies is
 * reported and started again, with the newest state. Errors: MU_BUG. */
mu_status_t mu_scribe_start(const char *run_dir, int lock_fd, mu_scribe_t **out);
/* run.json becomes this. */
void mu_scribe_state(mu_scribe_t *scribe, const mu_run_state_t *state);
/* A line for events.jsonl. */
void mu_scribe_event(mu_scribe_t *scribe, const char *kind, const char *host, int rank, const char *format,
                     ...) __attribute__((format(printf, 5, 6)));
/* control.key goes, unless it is another file by then: the next attempt's. */
void mu_scribe_remove_key(mu_scribe_t *scribe, ino_t inode);
/* Bytes for logs/mpirun.log. */
void mu_scribe_output(mu_scribe_t *scribe, const char *bytes, size_t n);
/* Readable when something was seen; then ask mu_scribe_stop(), which never falls. */
int mu_scribe_fd(const mu_scribe_t *scribe);
mu_stop_t mu_scribe_stop(mu_scribe_t *scribe);
/* Whether the directory has been moved, removed or replaced since it was claimed. Nothing is written from then on. */
bool mu_scribe_moved(mu_scribe_t *scribe);
/* The name of a host that is about to go, once for each that was told; NULL otherwise. Any bytes: escape it.
 */
const char *mu_scribe_drain(mu_scribe_t *scribe);
/* Waits at most 5 s for what is queued to be written. NULL is fine. */
void mu_scribe_end(mu_scribe_t *scribe);

#endif
