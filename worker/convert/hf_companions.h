/*
 * What lies beside a model in a Hugging Face directory and is no weight: generation_config.json, the settings of the
 * tokenizer, the chat template. An import keeps them in the checkpoint's manifest (mu_checkpoint_info_t.companions), a
 * run takes them on into its own checkpoints, and an export writes them back.
 *
 * The text is a JSON object: {"tokenizer": digest of the tokenizer.json that they belong to, "files": {name: text}}.
 * Where the tokenizer has changed since (new tokens), its settings are written anew, with the chat template.
 */
#ifndef MU_WORKER_HF_COMPANIONS_H
#define MU_WORKER_HF_COMPANIONS_H

#include "common/buf.h"
#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

/* Those of a directory; *out is NULL where there are none. tokenizer: the path of its tokenizer.json, or NULL. A file
 * that is no UTF-8 or larger than 4 MiB is left out, which is logged. Errors: MU_IO. */
mu_status_t mu_hf_companions_read(const char *dir, const char *tokenizer, char **out);

typedef struct mu_hf_companions mu_hf_companions_t;

/* Of a manifest's text (NULL: none are there); never NULL. tokenizer: digest of the checkpoint's tokenizer.json, or
 * NULL. */
mu_hf_companions_t *mu_hf_companions_open(const char *text, const char *tokenizer);
void mu_hf_companions_close(mu_hf_companions_t *companions);
/* Whether the tokenizer's settings are the present tokenizer's. */
bool mu_hf_companions_fit(const mu_hf_companions_t *companions);
/* Whether the model's config.json is known: its ids stand then, also those that it does not have. */
bool mu_hf_companions_known(const mu_hf_companions_t *companions);
/* An id of config.json ("bos_token_id"), else of generation_config.json; -1: there is none. */
int mu_hf_companions_id(const mu_hf_companions_t *companions, const char *key);
/* A member of tokenizer_config.json as JSON ("chat_template"); NULL: it has none. free() it. */
char *mu_hf_companions_setting(const mu_hf_companions_t *companions, const char *key);
/* Writes the files into `dir`: generation_config.json with the ids `end` as its eos_token_id, if it is there (then
 * *generation is true); the chat template; the tokenizer's settings, where they fit. Errors: MU_IO. */
mu_status_t mu_hf_companions_write(const mu_hf_companions_t *companions, const char *dir, const int32_t *end,
                                   int ends, bool *generation);

#endif
