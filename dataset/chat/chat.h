/*
 * Conversations, as the JSON of chat data and of chat requests holds them.
 *
 *     mu_chat_t chat = MU_CHAT_INIT;
 *     char why[MU_CHAT_WHY];
 *     if (mu_chat_read(line, n, &chat, why, &column)) ...            a line of a file
 *     if (mu_chat_take_messages(&chat, list, why)) ...               the `messages` of a request
 *     mu_chat_release(&chat);
 *
 * dataset/chat/chat_template.h makes a text of one.
 */
#ifndef MU_DATASET_CHAT_H
#define MU_DATASET_CHAT_H

#include "common/buf.h"
#include <jansson.h>
#include <stdbool.h>

typedef enum mu_chat_role { MU_CHAT_SYSTEM, MU_CHAT_USER, MU_CHAT_ASSISTANT, MU_CHAT_ROLES } mu_chat_role_t;
/* "system", "user", "assistant": OpenAI's words, which templates use too. */
const char *mu_chat_role_name(mu_chat_role_t role);

typedef struct mu_chat_message {
    mu_chat_role_t role;
    size_t at, n;   /* its text in chat->text */
    bool untrained; /* an answer with "weight": 0, of which no token counts */
} mu_chat_message_t;

typedef struct mu_chat {
    mu_buf_t text; /* of all messages, valid UTF-8 */
    mu_chat_message_t *message;
    int count, room;
} mu_chat_t;

#define MU_CHAT_INIT                                                                                         \
    {                                                                                                        \
        MU_BUF_INIT, NULL, 0, 0                                                                              \
    }
enum { MU_CHAT_WHY = 160 }; /* bytes for what is wrong */

void mu_chat_clear(mu_chat_t *chat);
void mu_chat_release(mu_chat_t *chat);
void mu_chat_add(mu_chat_t *chat, mu_chat_role_t role, const char *text, size_t n);

/* Appends the messages of a list: OpenAI's {"role", "content"}, where the content is a string or a list of
 * {"type": "text", "text"}, and the role system, developer (which is system), user or assistant; or ShareGPT's
 * {"from", "value"}, where `from` is system, human, user, gpt or assistant. False: `why` says what is wrong, and the
 * chat is not to be used. Logs nothing. */
bool mu_chat_take_messages(mu_chat_t *chat, const json_t *list, char why[MU_CHAT_WHY]);

/* One line of JSON Lines replaces what `chat` holds: an object with `messages` or `conversations` (lists as above; with
 * a string `system` beside them, that comes first), or `prompt` and `completion` (strings: a user's and an assistant's
 * message; or lists of messages). Other members do not matter. line: valid UTF-8. False: `why` and the byte *column,
 * from 0 (0 where it is not known), say what is wrong. Logs nothing. */
bool mu_chat_read(const char *line, size_t n, mu_chat_t *chat, char why[MU_CHAT_WHY], size_t *column);

#endif
