/*
 * Chat templates: the text that a model is to read for a conversation, and which parts of it are answers.
 *
 * Templates are built in, by name (mu_chat_template_names()). What a tokenizer's files hold is Jinja, a language that
 * muster does not run: their template is recognised when its text is one of those that are known, letter for letter,
 * and refused otherwise.
 *
 *     mu_chat_choice_t choice = {.name = config->muster.chat_template, ...};
 *     mu_chat_template_t *template;
 *     MU_TRY(mu_chat_template_find(&choice, &files, tokenizer, &template));
 *     mu_chat_text_t text = MU_CHAT_TEXT_INIT;
 *     if (!mu_chat_render(template, &chat, true, &text, why)) ...      text.text: the prompt for the next answer
 *     ids: mu_tokenizer_encode(tokenizer, text.text.data, text.text.len, &ids), nothing before or after
 *     an answer ends with mu_chat_template_stop(), or the tokenizer's own end
 *     mu_chat_text_release(&text);  mu_chat_template_free(template);
 *
 * The ids are those of Transformers' apply_chat_template() for the same template. As there, a message that spells a
 * special token ("<|im_end|>") becomes that token: mu_chat_holds_tokens() finds such messages.
 */
#ifndef MU_DATASET_CHAT_TEMPLATE_H
#define MU_DATASET_CHAT_TEMPLATE_H

#include "common/config/config.h"
#include "dataset/chat/chat.h"
#include "dataset/tokenizer/tokenizer.h"

typedef struct mu_chat_template mu_chat_template_t;

/* What is wished, in strings of the caller; NULL where nothing is. */
typedef struct mu_chat_choice {
    const char *name;   /* of a built-in template; NULL: as the files have it */
    const char *begin;  /* the token before the first message, as bos_token; NULL: the template's own */
    const char *system; /* the system message of a conversation that has none; NULL: none */
    const char *prefix
        [MU_CHAT_ROLES]; /* of `plain`: before each message of that role; NULL: "", "User: ", "Assistant: " */
} mu_chat_choice_t;

/* That of a configuration. The strings are its own. */
mu_chat_choice_t mu_chat_choice_of(const mu_config_t *config);
/* As JSON, for a data set's manifest, and back: the strings are the JSON's, and a name of NULL is no choice. */
json_t *mu_chat_choice_json(const mu_chat_choice_t *choice);
mu_chat_choice_t mu_chat_choice_read(const json_t *json);
/* Makes it the configuration's. What is NULL stays as the configuration has it. */
void mu_chat_choice_settle(const mu_chat_choice_t *choice, const mu_config_t **config);

/* What lies beside a tokenizer. */
typedef struct mu_chat_files {
    char *jinja; /* chat_template of tokenizer_config.json, or chat_template.jinja; NULL: none */
    char *bos;   /* bos_token; NULL: none */
    char *where; /* the file with the template, for messages */
} mu_chat_files_t;

/* Those in the directory of a tokenizer's file. Absent ones are fine. Errors: MU_DATA, MU_IO. */
mu_status_t mu_chat_files_read(const char *tokenizer, mu_chat_files_t *out);
/* Those that a checkpoint carries: mu_checkpoint_info_t.companions, or NULL. `name` stands for it in messages. */
void mu_chat_files_take(const char *name, const char *companions, mu_chat_files_t *out);
void mu_chat_files_release(mu_chat_files_t *files);

/* The names of built-in templates; ends with NULL. */
const char *const *mu_chat_template_names(void);

/* The strings of `choice` and `files` are copied. The tokenizer is needed until this returns. Errors: MU_CONFIG (78):
 * no such name; the files' template is not known, or there is none and none was named; the tokenizer lacks a token
 * that the template uses. */
mu_status_t mu_chat_template_find(const mu_chat_choice_t *choice, const mu_chat_files_t *files,
                                  const mu_tokenizer_t *tok, mu_chat_template_t **out);
void mu_chat_template_free(mu_chat_template_t *template); /* NULL is fine */

/* A choice that finds this template again with any files. The strings are the template's. */
mu_chat_choice_t mu_chat_template_choice(const mu_chat_template_t *template);
/* What ends an answer, as "<|im_end|>"; it is one token of the tokenizer. */
const char *mu_chat_template_stop(const mu_chat_template_t *template);

/* Bytes [from, to) of a text. */
typedef struct mu_chat_span {
    size_t from, to;
} mu_chat_span_t;

typedef struct mu_chat_text {
    mu_buf_t text;
    mu_chat_span_t
        *answers; /* of each assistant's message what the model has to write: the message and its end */
    mu_chat_span_t
        *turns;    /* turns[i]: to the end of answer i from that of the one before, or from the start */
    bool *trained; /* whether answer i may count */
    int count, room;
} mu_chat_text_t;

#define MU_CHAT_TEXT_INIT                                                                                    \
    {                                                                                                        \
        MU_BUF_INIT, NULL, NULL, NULL, 0, 0                                                                  \
    }
void mu_chat_text_release(mu_chat_text_t *text);

/* Replaces what `out` holds. `prompt`: it ends with what asks for an answer. False: `why` says what the template cannot
 * do with this conversation (mistral: a system message, roles that do not alternate). Logs nothing. */
bool mu_chat_render(const mu_chat_template_t *template, const mu_chat_t *chat, bool prompt,
                    mu_chat_text_t *out, char why[MU_CHAT_WHY]);

/* Whether a message spells an end of answers or another token of the template. */
bool mu_chat_holds_tokens(const mu_chat_template_t *template, const mu_chat_t *chat);

#endif
