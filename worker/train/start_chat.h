/* How a run of conversations begins: their template becomes the model's. */
#ifndef MU_WORKER_START_CHAT_H
#define MU_WORKER_START_CHAT_H

#include "common/config/config.h"
#include "dataset/order/mixture.h"
#include "dataset/tokenizer/tokenizer.h"

/* The template of the configuration `was`, where *config has none. */
void mu_start_keep_template(const mu_config_t *was, const mu_config_t **config);
/* Puts the template of the data, if it is of conversations, and the end of its answers into the configuration, which
 * the checkpoints carry. Errors: MU_CONFIG (the configuration names another template). */
mu_status_t mu_start_chat(const mu_config_t **config, const mu_mixture_t *data, const mu_tokenizer_t *tok);

#endif
