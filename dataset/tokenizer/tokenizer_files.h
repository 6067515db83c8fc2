/* What the readers of tokenizer.json and of vocab.json + merges.txt share; for dataset/tokenizer/tokenizer*.c only. */
#ifndef MU_DATASET_TOKENIZER_FILES_H
#define MU_DATASET_TOKENIZER_FILES_H

#include "dataset/tokenizer/part.h"
#include "dataset/tokenizer/tokenizer.h"

#include <jansson.h>

#define MU_TOKENIZER_MAX_FILE ((size_t)128 << 20)

/* json_decref() the result. Errors: MU_NOINPUT, MU_IO, MU_DATA. */
mu_status_t mu_tokenizer_read_json(const char *path, json_t **out);
/* The member "model": tokens, merges and rules; tok->pre is there already. Errors: MU_DATA. */
mu_status_t mu_tokenizer_read_model(mu_tokenizer_t *tok, const mu_part_t *root);
/* Adds the model's tokens from an object {name: id}. */
mu_status_t mu_tokenizer_read_vocab(mu_tokenizer_t *tok, const char *path, json_t *vocab);
/* Cuts "a b" at its one space; `number` counts from 1, for messages. */
mu_status_t mu_tokenizer_split_merge(const char *path, size_t number, char *line, char **right);
/* Appends to tok->merges, which has room. */
mu_status_t mu_tokenizer_add_merge(mu_tokenizer_t *tok, const char *path, size_t number, json_t *vocab,
                                   const char *left, const char *right);
/* Whether it is GPT-2's {"!": 0, ...}, and no tokenizer.json. */
bool mu_tokenizer_is_vocabulary(json_t *root);
/* Takes the end of texts from the files that lie beside `path`, and checks the tokens that they name. Errors:
 * MU_DATA. */
mu_status_t mu_tokenizer_read_beside(mu_tokenizer_t *tok, const char *path);
mu_status_t mu_tokenizer_from_gpt2(const char *vocab_path, json_t *vocab, const char *merges_path,
                                   mu_tokenizer_t **out);

#endif
