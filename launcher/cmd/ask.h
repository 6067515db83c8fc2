/*
 * Verbs that ask something of a trained model: `eval` and `generate`. Without host options muster-worker answers
 * in one process; with them the ranks are started and watched as those of a run, in a run directory of their
 * own, and rank 0 leaves the answer there.
 *
 *     mu_ask(&mu_eval_command, argc, argv, &args, &args.on, many)      calls `many` with host options, which makes of
 *         mu_ask_many(&ask, 0, keys, words, ...)                       the verb's own options what a run is given
 */
#ifndef MU_LAUNCHER_ASK_H
#define MU_LAUNCHER_ASK_H

#include "common/commands/model_commands.h"

typedef struct mu_ask {
    const mu_command_t *command;
    void *args;                /* the structure that the command's table fills */
    const mu_model_args_t *on; /* its part that both verbs have */
    mu_args_t own; /* the options that muster-worker is to see, each in one word: "--data=DIR", "--json" */
} mu_ask_t;

/* argv[0] is the verb; args holds the defaults. In one process muster-worker takes this one's place. Errors: MU_USAGE,
 * and the verb's. */
mu_status_t mu_ask(const mu_command_t *command, int argc, char **argv, void *args, const mu_model_args_t *on,
                   mu_status_t (*many)(const mu_ask_t *ask));

/* Does something with the answer that the ranks left in the run directory, before that is removed. */
typedef mu_status_t (*mu_ask_take_t)(void *arg, const char *run_dir);

/* A run of the checkpoint's own configuration, with `keys` (key=value, in which the user's have their place) on
 * top; `words` go to the ranks after it. Of several models `model` counts from 0: then a --run-dir holds a directory of
 * each. take NULL: prints the answer. What muster-worker's own verb would not begin with is refused at once, with its
 * status. */
mu_status_t mu_ask_many(const mu_ask_t *ask, int model, const mu_args_t *keys, const mu_args_t *words,
                        mu_ask_take_t take, void *arg);
/* Prints RUN_DIR/result. Errors: MU_IO. */
mu_status_t mu_ask_print(const char *run_dir);

/* The absolute path of what is there. Errors: MU_NOINPUT. */
mu_status_t mu_ask_whole_path(const char *path, char **out);

#endif
