/*
 * A worker: one device, one slice of the model. It obeys the controller's commands until the end
 * (worker/train/train_protocol.h).
 */
#ifndef MU_WORKER_TRAINER_H
#define MU_WORKER_TRAINER_H

#include "worker/train/run.h"

/* Every active worker calls it. Returns MU_OK at the controller's END, whatever the run's own status; else
 * the first error, after which the world must be torn down (MPI_Abort), since peers wait in collectives. */
mu_status_t mu_trainer_run(mu_run_t *run);

#endif
