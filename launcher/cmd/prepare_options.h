/* The command line of muster prepare. */
#ifndef MU_LAUNCHER_PREPARE_OPTIONS_H
#define MU_LAUNCHER_PREPARE_OPTIONS_H

#include "common/options.h"
#include "dataset/chat/chat_ids.h"
#include "dataset/prepare/reader.h"
#include <jansson.h>

typedef struct mu_prepare_options {
    mu_words_t configs, inputs, overrides, specials, text_keys, columns;
    const char **tags;                         /* one an input; NULL: none */
    const char *output, *template, *end, *tag; /* tag: of the inputs that follow */
    const char *boundary, *format, *delimiter, *split_by, *loss_on;
    mu_template_t json, table; /* what `reader` points to */
    mu_reader_options_t reader;
    bool by_digest, force, as_json, chat;
    mu_loss_on_t on; /* of loss_on */
    int64_t threads;
    uint64_t max_document;
} mu_prepare_options_t;

/* Errors: MU_USAGE. Free it in any case; it must stay where it is meanwhile. */
mu_status_t mu_prepare_parse(int argc, char **argv, mu_prepare_options_t *out, bool *help);
void mu_prepare_options_free(mu_prepare_options_t *o);
/* What of them decides the data set, besides the inputs. */
json_t *mu_prepare_options_json(const mu_prepare_options_t *o);

#endif
