/* What `muster prepare --chat` adds to prepare: the template, how conversations become tokens, and what it prints. */
#ifndef MU_LAUNCHER_PREPARE_CHAT_H
#define MU_LAUNCHER_PREPARE_CHAT_H

#include "common/config/config.h"
#include "dataset/prepare/made.h"
#include "dataset/prepare/pipeline.h"
#include "dataset/prepare/shards.h"
#include "launcher/cmd/prepare_options.h"

typedef struct mu_prepare_chat {
    mu_chat_template_t *template;
    mu_pipeline_chat_t how;
    mu_made_chat_t counts;
} mu_prepare_chat_t;

/* Finds the template: muster.chat_template, else that of the files beside vocab_file. A conversation is to fit a sample
 * of the config's seq_length, if it has one. Errors: MU_CONFIG, MU_DATA, MU_IO. mu_chat_template_free()
 * out->template. */
mu_status_t mu_prepare_chat_begin(const mu_prepare_options_t *options, const mu_config_t *config,
                                  const mu_tokenizer_t *tok, mu_prepare_chat_t *out);
/* The template, for the manifest. */
json_t *mu_prepare_chat_json(const mu_prepare_chat_t *chat);
void mu_prepare_chat_print(const mu_prepare_chat_t *chat, const mu_shards_summary_t *sum);

#endif
