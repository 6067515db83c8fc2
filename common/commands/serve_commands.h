/*
 * The command line of `muster serve`. The front, in `muster`, takes all of it; the engine, in muster-worker, what is
 * about the model and its cache (common/options.h: forward).
 */
#ifndef MU_COMMON_SERVE_COMMANDS_H
#define MU_COMMON_SERVE_COMMANDS_H

#include "common/commands/model_commands.h"

enum {
    MU_SERVE_SLOTS = 8,
    MU_SERVE_SLOT_TOKENS = 2048, /* at most, unless asked for */
    MU_SERVE_CHUNK = 64,
    MU_SERVE_QUEUE = 64,
    MU_SERVE_MAX_NEW = 4096,
    MU_SERVE_BODY = 1 << 20,
    MU_SERVE_DRAIN_S = 30,
    MU_SERVE_FEEDBACK_SIZE = 64 << 20
};
#define MU_SERVE_LISTEN "127.0.0.1:8080"

typedef struct mu_serve_args {
    mu_model_args_t on; /* models: one */
    int64_t slots, slot_tokens, chunk, queue;
    const char *engine; /* the front's socket; the engine's own word */
    /* the front's */
    const char *listen, *token_file, *name, *feedback, *chat_template;
    bool no_auth, follow;
    int64_t max_new_tokens, drain_s;
    uint64_t body, feedback_size;
} mu_serve_args_t;
#define MU_SERVE_ARGS_INIT                                                                                   \
    {                                                                                                        \
        .slots = MU_SERVE_SLOTS, .chunk = MU_SERVE_CHUNK, .queue = MU_SERVE_QUEUE,                           \
        .listen = MU_SERVE_LISTEN, .max_new_tokens = MU_SERVE_MAX_NEW, .drain_s = MU_SERVE_DRAIN_S,          \
        .body = MU_SERVE_BODY, .feedback_size = MU_SERVE_FEEDBACK_SIZE                                       \
    }

extern const mu_command_t mu_serve_command;

#endif
