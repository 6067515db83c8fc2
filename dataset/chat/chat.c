#include "dataset/chat/chat.h"
#include "common/json.h"

#include <string.h>

enum { MESSAGES_MAX = 100000 };

const char *mu_chat_role_name(mu_chat_role_t role)
{
    static const char *const names[MU_CHAT_ROLES] = {"system", "user", "assistant"};
    return names[role];
}

void mu_chat_clear(mu_chat_t *chat)
{
    mu_buf_clear(&chat->text);
    chat->count = 0;
}

void mu_chat_release(mu_chat_t *chat)
{
    mu_buf_release(&chat->text);
    free(chat->message);
    *chat = (mu_chat_t)MU_CHAT_INIT;
}

void mu_chat_add(mu_chat_t *chat, mu_chat_role_t role, const char *text, size_t n)
{
    if (chat->count == chat->room) {
        chat->room = chat->room > 0 ? chat->room * 2 : 16;
        chat->message = mu_realloc(chat->message, (size_t)chat->room * sizeof *chat->message);
    }
    chat->message[chat->count++] = (mu_chat_message_t){role, chat->text.len, n, false};
    mu_buf_add(&chat->text, text, n);
}

static bool wrong(char why[MU_CHAT_WHY], const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(char why[MU_CHAT_WHY], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, MU_CHAT_WHY, format, args);
    va_end(args);
    return false;
}

/* ---- messages ---- */

static bool read_role(const char *word, int index, mu_chat_role_t *out, char why[MU_CHAT_WHY])
{
    static const struct {
        const char *word;
        mu_chat_role_t role;
    } known[] = {{"system", MU_CHAT_SYSTEM},    {"developer", MU_CHAT_SYSTEM},
                 {"user", MU_CHAT_USER},        {"human", MU_CHAT_USER},
                 {"gpt", MU_CHAT_ASSISTANT},    {"assistant", MU_CHAT_ASSISTANT},
                 {"chatgpt", MU_CHAT_ASSISTANT}};
    if (!word)
        return wrong(why, "message %d has no role ('role' or 'from')", index + 1);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(word, known[i].word) == 0) {
            *out = known[i].role;
            return true;
        }
    return wrong(why,
                 "message %d: the role '%.40s' is none of system, developer, user, human, assistant, gpt",
                 index + 1, word);
}

/* A string, or OpenAI's list of parts, of which all must be text. */
static bool add_content(mu_chat_t *chat, mu_chat_role_t role, const json_t *content, int index,
                        char why[MU_CHAT_WHY])
{
    const json_t *part;
    size_t i;
    if (json_is_string(content)) {
        mu_chat_add(chat, role, json_string_value(content), json_string_length(content));
        return true;
    }
    if (!json_is_array(content))
        return wrong(why, "message %d: its content must be a string, or a list of parts of text", index + 1);
    mu_chat_add(chat, role, "", 0);
    json_array_foreach(content, i, part)
    {
        const json_t *text = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || strcmp(type, "text") != 0 || !json_is_string(text))
            return wrong(why, "message %d: part %zu of its content is no text", index + 1, i + 1);
        mu_buf_add(&chat->text, json_string_value(text), json_string_length(text));
        chat->message[chat->count - 1].n += json_string_length(text);
    }
    return true;
}

static bool add_message(mu_chat_t *chat, const json_t *message, int index, char why[MU_CHAT_WHY])
{
    const json_t *role = json_object_get(message, "role"), *content = json_object_get(message, "content");
    const json_t *weight = json_object_get(message, "weight");
    mu_chat_role_t who = MU_CHAT_SYSTEM;
    if (!json_is_object(message))
        return wrong(why, "message %d is no object", index + 1);
    if (!role && !content) {
        role = json_object_get(message, "from");
        content = json_object_get(message, "value");
    }
    if (!read_role(json_string_value(role), index, &who, why) || !add_content(chat, who, content, index, why))
        return false;
    if (weight && !json_is_null(weight)) {
        if (!json_is_number(weight) || (json_number_value(weight) != 0 && json_number_value(weight) != 1))
            return wrong(why, "message %d: its weight must be 0 or 1", index + 1);
        chat->message[chat->count - 1].untrained = json_number_value(weight) == 0;
    }
    return true;
}

bool mu_chat_take_messages(mu_chat_t *chat, const json_t *list, char why[MU_CHAT_WHY])
{
    if (!json_is_array(list))
        return wrong(why, "the messages must be a list");
    if (json_array_size(list) > MESSAGES_MAX)
        return wrong(why, "more than %d messages", MESSAGES_MAX);
    for (int i = 0; i < (int)json_array_size(list); i++)
        if (!add_message(chat, json_array_get(list, (size_t)i), i, why))
            return false;
    return true;
}

/* ---- records ---- */

/* A prompt or a completion: a text of that role, or a list of messages. */
static bool add_side(mu_chat_t *chat, const json_t *side, mu_chat_role_t role, const char *name,
                     char why[MU_CHAT_WHY])
{
    if (json_is_array(side))
        return mu_chat_take_messages(chat, side, why);
    if (!json_is_string(side))
        return wrong(why, "'%s' must be a string or a list of messages", name);
    mu_chat_add(chat, role, json_string_value(side), json_string_length(side));
    return true;
}

static bool read_record(const json_t *root, mu_chat_t *chat, char why[MU_CHAT_WHY])
{
    const json_t *list = json_object_get(root, "messages"), *system = json_object_get(root, "system");
    const json_t *prompt = json_object_get(root, "prompt"), *completion = json_object_get(root, "completion");
    if (!json_is_object(root))
        return wrong(why, "each line must be one JSON object");
    if (!list)
        list = json_object_get(root, "conversations");
    if (!list && !(prompt && completion))
        return wrong(why,
                     "the object has no 'messages', no 'conversations', and no 'prompt' with 'completion'");
    if (json_is_string(system) && json_string_length(system) > 0)
        mu_chat_add(chat, MU_CHAT_SYSTEM, json_string_value(system), json_string_length(system));
    if (list)
        return mu_chat_take_messages(chat, list, why);
    return add_side(chat, prompt, MU_CHAT_USER, "prompt", why) &&
           add_side(chat, completion, MU_CHAT_ASSISTANT, "completion", why);
}

bool mu_chat_read(const char *line, size_t n, mu_chat_t *chat, char why[MU_CHAT_WHY], size_t *column)
{
    json_error_t error;
    json_t *root = mu_json_parse(line, n, MU_JSON_CHAT, &error);
    mu_chat_clear(chat);
    mu_buf_reserve(&chat->text, 0);
    *column = 0;
    if (!root) {
        if (error.position > 0 && (size_t)error.position <= n)
            *column = (size_t)error.position - 1;
        return wrong(why, "not a JSON object: %.120s", error.text);
    }
    bool good = read_record(root, chat, why);
    if (good && chat->count == 0)
        good = wrong(why, "the conversation has no messages");
    json_decref(root);
    return good;
}
