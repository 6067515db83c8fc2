/* The built-in templates as data; for dataset/chat only. */
#ifndef MU_DATASET_CHAT_RULES_H
#define MU_DATASET_CHAT_RULES_H

#include "common/digest.h"
#include "dataset/chat/chat.h"

/* Characters that stand for the tokenizer's bos_token and eos_token. */
#define MU_CHAT_BOS "\1"
#define MU_CHAT_EOS "\2"

typedef struct mu_chat_rules {
    const char *name;
    const char *bos; /* where the files name none; NULL: it uses none */
    const char *begin;
    const char *before[MU_CHAT_ROLES],
        *after[MU_CHAT_ROLES]; /* around a message; NULL: it has no such messages */
    const char *stop;          /* the beginning of after[assistant] that is part of the answer */
    const char *prompt;        /* asks for an answer */
    const char *tokens[4];     /* that must be single ones; ends with NULL */
    bool trim;                 /* messages lose the white space around them */
    bool alternates;           /* user, assistant, user, ... */
} mu_chat_rules_t;

/* NULL: no template has that name. */
const mu_chat_rules_t *mu_chat_rules_named(const char *name);
/* The template whose Jinja this is; *system is its own system message, or NULL. NULL: it is not known. */
const mu_chat_rules_t *mu_chat_rules_known(const char *jinja, const char **system);

#endif
