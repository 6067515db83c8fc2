/*
 * A model as the front knows it: where it lies, what it is called, its tokenizer, what ends its texts. The weights are
 * the engine's (backend.h).
 */
#ifndef MU_LAUNCHER_SERVED_H
#define MU_LAUNCHER_SERVED_H

#include "common/config/config.h"
#include "dataset/chat/chat_template.h"

typedef struct mu_served {
    char *path;    /* of the checkpoint */
    char *name;    /* what clients call it */
    char *version; /* "RUN_ID@STEP" */
    char *run;     /* its run directory; NULL: it lies in none */
    mu_tokenizer_t *tokenizer;
    int32_t ends[MU_END_TOKENS];
    int nends;
    int32_t chat_end;         /* what ends an answer of a chat beside those; -1: nothing */
    mu_chat_template_t *chat; /* NULL: none that muster knows */
    int users;                /* under the server's lock; the last one frees it */
} mu_served_t;

/* What is wished; NULL: not given. */
typedef struct mu_served_wish {
    const char *name; /* NULL: that of its run, else of its directory */
    const char *
        chat; /* a chat template's name; NULL: that of the model's configuration (muster.chat_template), else that of
                         its files, if muster knows it */
    char *const *overrides;
    int noverrides;
} mu_served_wish_t;

/* reference: as a command names a model. Errors: those of mu_checkpoint_newest(), MU_NOINPUT (it carries no tokenizer;
 * an adapter has no base),
 * MU_CONFIG (the chat template that was named does not fit; an adapter's base has other weights), of an override
 * MU_CONFIG and MU_USAGE. */
mu_status_t mu_served_open(const char *reference, const mu_served_wish_t *wish, mu_served_t **out);
void mu_served_free(mu_served_t *model); /* NULL is fine */
/* A prompt's ids, as `muster generate` makes them. Errors: MU_USAGE, it is empty and the model has no token to begin
 * from; those of the tokenizer. */
mu_status_t mu_served_encode(const mu_served_t *model, const char *text, size_t n, mu_ids_t *out);
/* The ids that ask for the next answer of a conversation: a list of messages as in a request. False: `why`. */
bool mu_served_encode_chat(const mu_served_t *model, const json_t *messages, mu_ids_t *out,
                           char why[MU_CHAT_WHY]);
/* Whether the reference is one that a run moves: RUN@best. */
bool mu_served_moves(const char *reference);

#endif
