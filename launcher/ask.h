/*
 * Verbs that ask something of a trained model: `eval` and `generate`. Without host options muster-worker answers
 * in one process; with them the ranks are started and watched as those of a run, in a run directory of their
 * own, and rank 0 leaves the answer there.
 *
 *     mu_ask_parse(&verb, argc, argv, &ask);
 *     if (!mu_ask_is_for_many(&ask))
 *         mu_ask_one(&ask);                                does not come back
 *     mu_ask_many(&ask, keys, words);
 *     mu_ask_free(&ask);
 */
#ifndef MU_LAUNCHER_ASK_H
#define MU_LAUNCHER_ASK_H

#include "common/status.h"
#include "launcher/args.h"

#include <stdbool.h>

/* A verb and its own options: those with a value, then those without. Lists end with NULL. */
typedef struct mu_ask_verb {
    const char *name;
    const char *const *valued, *const *flags;
} mu_ask_verb_t;

typedef struct mu_ask {
    const mu_ask_verb_t *verb;
    const char *checkpoint, *run_dir, *hosts, *hostfile, *workers; /* NULL: not given */
    mu_args_t own;  /* its own options, each in one word: "--data=DIR", "--json" */
    mu_args_t keys; /* key=value */
    bool help;
} mu_ask_t;

/* argv[0] is the verb. Errors: MU_USAGE. mu_ask_free() in any case. */
mu_status_t mu_ask_parse(const mu_ask_verb_t *verb, int argc, char **argv, mu_ask_t *out);
void mu_ask_free(mu_ask_t *ask);

bool mu_ask_is_for_many(const mu_ask_t *ask);
/* The value of "--name"; NULL when it is not given. */
const char *mu_ask_value(const mu_ask_t *ask, const char *name);

mu_status_t mu_ask_one(const mu_ask_t *ask);
/* A run of the checkpoint's own configuration, with `keys` (key=value, in which the user's have their place) on
 * top; `words` go to the ranks behind it. Prints the answer. What muster-worker's own verb would not begin with
 * is refused at once, with its status. */
mu_status_t mu_ask_many(const mu_ask_t *ask, const mu_args_t *keys, const mu_args_t *words);

/* The absolute path of what is there. Errors: MU_NOINPUT. */
mu_status_t mu_ask_whole_path(const char *path, char **out);

#endif
