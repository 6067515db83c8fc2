/*
 * The verbs that need a model on a device (eval, generate, import, export) live in muster-worker, since the
 * launcher links no kernels: `muster VERB ARGS...` becomes `muster-worker VERB ARGS...`, the program beside
 * this one. One process, no MPI job; stdin, stdout, exit code and signals are the worker's own.
 */
#ifndef MU_LAUNCHER_CMD_WORKER_H
#define MU_LAUNCHER_CMD_WORKER_H

#include "common/buf.h"
#include "common/status.h"

/* Returns only when the program cannot be started (MU_BUG). */
mu_status_t mu_cmd_worker(int argc, char **argv);
/* The same in a child that is waited for. The status that it exits with; MU_BUG when it cannot be started or is
 * ended by a signal. */
mu_status_t mu_cmd_worker_wait(int argc, char **argv);
/* Path of muster-worker: beside this program. Errors: MU_BUG when it is not there. */
mu_status_t mu_worker_program(mu_buf_t *out);

#endif
