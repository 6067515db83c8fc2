/*
 * The controller: world rank 0, no device. It reads the training data and deals it, collects reports, writes
 * metrics.jsonl, decides that a checkpoint is whole, and says when the run ends. It never blocks inside MPI
 * while the workers train: a spinning controller would take a core from them.
 */
#ifndef MU_WORKER_CONTROLLER_H
#define MU_WORKER_CONTROLLER_H

#include "worker/train/run.h"

/* Runs to the end. Returns MU_OK, MU_STOPPED after a request to stop (its checkpoint is saved), or the first
 * error. The workers have the order to end, except after MU_NETWORK. */
mu_status_t mu_controller_run(mu_run_t *run);

#endif
