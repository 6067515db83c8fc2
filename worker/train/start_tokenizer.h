/* The tokenizer of a run, which its checkpoints carry. */
#ifndef MU_WORKER_START_TOKENIZER_H
#define MU_WORKER_START_TOKENIZER_H

#include "common/config/config.h"
#include "dataset/order/mixture.h"
#include "dataset/tokenizer/tokenizer.h"

/* Reads it, once. *path is a tokenizer.json: the data's own, else what vocab_file is or holds, else RUN/tokenizer.json,
 * made of GPT-2's two files. free() it; mu_tokenizer_free() the other. Both NULL: none is named. On the controller.
 * Errors: MU_NOINPUT, MU_DATA, MU_IO. */
mu_status_t mu_start_tokenizer(const mu_config_t *config, const char *run_dir, const mu_mixture_t *data,
                               char **path, mu_tokenizer_t **out);

#endif
