/*
 * The process that writes the launcher's part of the run directory and looks for its files `stop` and
 * `drain`.
 *
 * The launcher answers heartbeats; a volume that hangs for half a minute must not keep it from that, or every
 * guard would end its rank. So a child does all that touches the run directory while ranks run. What it
 * cannot take (its queue is full) is dropped, counted, and reported at the end.
 */
#ifndef MU_LAUNCHER_RUNDIR_WRITER_H
#define MU_LAUNCHER_RUNDIR_WRITER_H

#include "common/run/rundir.h"

#include <sys/types.h>

typedef struct mu_rundir_writer mu_rundir_writer_t;

/* Forks. lock_fd: a descriptor that the child keeps open (the claim of the directory); -1: none. A child that dies is
 * reported and started again, with the newest state. Errors: MU_BUG. */
mu_status_t mu_rundir_writer_start(const char *run_dir, int lock_fd, mu_rundir_writer_t **out);
/* run.json becomes this. */
void mu_rundir_writer_state(mu_rundir_writer_t *writer, const mu_run_state_t *state);
/* A line for events.jsonl. */
void mu_rundir_writer_event(mu_rundir_writer_t *writer, const char *kind, const char *host, int rank,
                            const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The event `over`: the end of an attempt, with what the state says of its checkpoints. */
void mu_rundir_writer_over(mu_rundir_writer_t *writer, int exit_code, const mu_run_state_t *state);
/* control.key goes, unless it is another file by then: the next attempt's. */
void mu_rundir_writer_remove_key(mu_rundir_writer_t *writer, ino_t inode);
/* Bytes for logs/mpirun.log. */
void mu_rundir_writer_output(mu_rundir_writer_t *writer, const char *bytes, size_t n);
/* Waits until all that was queued is written, at most so long. False: it is not. */
bool mu_rundir_writer_flush(mu_rundir_writer_t *writer, int ms);
/* Readable when something was seen; then ask mu_rundir_writer_stop(), which never falls. */
int mu_rundir_writer_fd(const mu_rundir_writer_t *writer);
mu_stop_t mu_rundir_writer_stop(mu_rundir_writer_t *writer);
/* Whether the directory has been moved, removed or replaced since it was claimed. Nothing is written from then on. */
bool mu_rundir_writer_moved(mu_rundir_writer_t *writer);
/* The name of a host that is about to go, once for each that was announced; NULL otherwise. Any bytes: escape it.
 */
const char *mu_rundir_writer_drain(mu_rundir_writer_t *writer);
/* Waits at most 5 s for what is queued to be written. NULL is fine. */
void mu_rundir_writer_end(mu_rundir_writer_t *writer);

#endif
