/*
 * The command lines of `muster eval` and `muster generate`: one table each, by which `muster` and muster-worker read
 * the same words. `muster` keeps what says on which hosts, and hands the rest on (common/options.h: forward,
 * mu_options_parse_worker()).
 */
#ifndef MU_COMMON_MODEL_COMMANDS_H
#define MU_COMMON_MODEL_COMMANDS_H

#include "common/gate.h"
#include "common/options.h"

/* What both have. Strings are NULL and numbers 0 where they are not given. */
typedef struct mu_model_args {
    mu_words_t models, keys; /* keys: key=value */
    int64_t threads;         /* of a worker; 0: all cores */
    bool check;              /* only whether it could begin, for a launcher */
    const char *hosts, *hostfile, *run_dir;
    int64_t workers;
} mu_model_args_t;

typedef struct mu_eval_args {
    mu_model_args_t on;
    const char *data, *labelled, *delimiter, *split, *feedback; /* split: train, valid or test */
    int64_t seq_length;
    mu_words_t gate_words;
    mu_gate_t gates[MU_GATES_MAX]; /* of gate_words, after mu_eval_args_finish() */
    int ngates;
    bool json, best;
} mu_eval_args_t;
#define MU_EVAL_ARGS_INIT                                                                                    \
    {                                                                                                        \
        .split = "valid", .delimiter = " "                                                                   \
    }

typedef struct mu_generate {
    mu_model_args_t on;
    const char *prompt, *prompt_file; /* prompt_file: muster reads it, and hands a prompt on */
    bool chat;                        /* the prompt is a message, or a conversation */
    mu_words_t stops;                 /* texts that end the answer */
    int64_t max_new_tokens;           /* -1: the configuration's */
    int64_t min_new_tokens;
    double temperature, top_p;
    int64_t top_k;       /* each -1: not given */
    int64_t seed, bench; /* bench: requests to time; 0: none */
    bool json;           /* of the bench: one JSON object */
} mu_generate_t;
#define MU_GENERATE_INIT                                                                                     \
    {                                                                                                        \
        .max_new_tokens = -1, .temperature = -1, .top_p = -1, .top_k = -1                                    \
    }

/* They fill the structures above. */
extern const mu_command_t mu_eval_command, mu_generate_command;

/* What the table cannot say: something is to be measured. Reads the gates, which must be on it. Errors: MU_USAGE. */
mu_status_t mu_eval_args_finish(mu_eval_args_t *args);

#endif
