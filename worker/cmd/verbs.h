/*
 * What `muster-worker` can be started for. Each verb gets its own argv (argv[0] is the verb) and returns the
 * status that the process exits with. Their --help has the options.
 */
#ifndef MU_WORKER_VERBS_H
#define MU_WORKER_VERBS_H

#include "common/status.h"

/* muster-worker CONFIG... [key=value...]: a rank of a training run. argv[0] is the program. Forks its guard,
 * then needs mpirun or srun around it. */
mu_status_t mu_verb_train(int argc, char **argv);
/* muster-worker eval CKPT --data DIR ...: one process, no MPI. With --check it ends where it would begin to
 * compute; so does generate. */
mu_status_t mu_verb_eval(int argc, char **argv);
/* muster-worker generate CKPT --prompt TEXT ...: one process, no MPI. */
mu_status_t mu_verb_generate(int argc, char **argv);
/* muster-worker import DIR --output CKPT: one process, no MPI. */
mu_status_t mu_verb_import(int argc, char **argv);
/* muster-worker export CKPT --output HF_DIR: one process, no MPI. */
mu_status_t mu_verb_export(int argc, char **argv);
/* muster-worker serve CKPT --engine SOCKET ...: one process, no MPI: the engine of `muster serve`. */
mu_status_t mu_verb_serve(int argc, char **argv);
/* muster-worker --drain RUN_DIR [SECONDS]: this host goes; returns when the run no longer needs it. One
 * process, no MPI. argv[0] is "--drain". */
mu_status_t mu_verb_drain(int argc, char **argv);

#endif
