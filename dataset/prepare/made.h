/*
 * What a data set was made of: the member `made` of its manifest (docs/format-dataset.md). It says which files with
 * which digests and which options, and what was counted on the way. The data version does not depend on it.
 *
 * The same command on its own output finds there what it would make again.
 */
#ifndef MU_DATASET_MADE_H
#define MU_DATASET_MADE_H

#include "dataset/prepare/reader.h"
#include "dataset/prepare/tally.h"
#include <jansson.h>

/* The inputs, one tag each (NULL: none). */
typedef struct mu_made_inputs {
    char *const *paths;
    const char *const *tags;
    int count;
    mu_text_format_t format; /* the reader's */
} mu_made_inputs_t;

/* Conversations of more tokens than a sample: cut, and left out. */
typedef struct mu_made_chat {
    int64_t cut, left_out;
} mu_made_chat_t;

/* `options` is an object of everything besides the inputs that decides the result; it is taken over. The reader has
 * come to its end. chat: NULL where the inputs are no conversations. free with json_decref(). */
json_t *mu_made_new(json_t *options, const mu_made_inputs_t *inputs, mu_reader_t *reader,
                    const mu_tally_t *tally, const mu_made_chat_t *chat);

/* Whether a data set that says it is made of `made` (NULL: it does not say) is what these options and inputs would
 * make; *why is what differs, which the caller frees, or NULL. Reads all inputs. Errors: MU_NOINPUT, MU_DATA,
 * MU_IO. */
mu_status_t mu_made_compare(const json_t *made, const json_t *options, const mu_made_inputs_t *inputs,
                            char **why);

#endif
