/*
 * The command lines of `muster import` and `muster export`. `muster` shows them and completes them, muster-worker obeys
 * them (mu_options_parse_worker()). Registration of an export is the launcher's alone.
 */
#ifndef MU_COMMON_CONVERT_COMMANDS_H
#define MU_COMMON_CONVERT_COMMANDS_H

#include "common/options.h"

typedef struct mu_import_args {
    mu_words_t dir, configs, specials; /* dir: one */
    const char *output;
    const char *base; /* of an adapter: its model, a checkpoint; NULL: not given */
    bool allow_nonfinite;
} mu_import_args_t;

typedef struct mu_export_args {
    mu_words_t model; /* one: a checkpoint, RUN, RUN@best, RUN@STEP */
    const char *output;
    const char *base; /* of an adapter: where its model lies now; NULL: where the checkpoint says */
    bool merge;
    const char *name, *alias, *mlflow; /* of the launcher; NULL: not given */
} mu_export_args_t;

/* They fill the structures above, from zeros. */
extern const mu_command_t mu_import_command, mu_export_command;

#endif
