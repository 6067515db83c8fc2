/* How a run starts: its data, its tokenizer, the rows of the embedding, and whether they fit the checkpoint. The
 * controller's. */
#ifndef MU_WORKER_START_DATA_H
#define MU_WORKER_START_DATA_H

#include "worker/train/start.h"

/* Opens the data, and finds its tokenizer. Errors: MU_NOINPUT, MU_DATA, MU_CONFIG, MU_IO. */
mu_status_t mu_start_data_open(mu_run_t *run, mu_start_t *start);
/* Once the start is chosen: checks that data, tokenizer and checkpoint belong together, and sets the rows of the
 * embedding (setup.vocab, setup.growth) and what the loss leaves out. Errors: MU_CONFIG, MU_DATA, MU_NOINPUT. */
mu_status_t mu_start_data_settle(mu_run_t *run, mu_start_t *start);
/* Sets setup.train_iters: train_epochs in steps, where that is given. Errors: MU_CONFIG. */
mu_status_t mu_start_data_steps(mu_run_t *run, mu_start_t *start);

#endif
