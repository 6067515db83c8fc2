/* Which template is wished, in a configuration and in a manifest. */
#include "dataset/chat/chat_template.h"

#include <string.h>

mu_chat_choice_t mu_chat_choice_of(const mu_config_t *config)
{
    mu_chat_choice_t choice = {.name = config->muster.chat_template,
                               .begin = config->muster.chat_begin,
                               .system = config->muster.chat_system};
    for (int i = 0; i < MU_CHAT_ROLES; i++)
        choice.prefix[i] = config->muster.chat_prefix[i];
    return choice;
}

/* One string of a choice, by its name in JSON, in a choice and in a configuration. */
typedef struct member {
    const char *key;
    size_t choice, config;
} member_t;

static const member_t members[] = {
    {"template", offsetof(mu_chat_choice_t, name), offsetof(mu_config_t, muster.chat_template)},
    {"begin", offsetof(mu_chat_choice_t, begin), offsetof(mu_config_t, muster.chat_begin)},
    {"system", offsetof(mu_chat_choice_t, system), offsetof(mu_config_t, muster.chat_system)},
    {"system_prefix", offsetof(mu_chat_choice_t, prefix[0]), offsetof(mu_config_t, muster.chat_prefix[0])},
    {"user_prefix", offsetof(mu_chat_choice_t, prefix[1]), offsetof(mu_config_t, muster.chat_prefix[1])},
    {"assistant_prefix", offsetof(mu_chat_choice_t, prefix[2]), offsetof(mu_config_t, muster.chat_prefix[2])},
};
enum { MEMBERS = sizeof members / sizeof *members };

json_t *mu_chat_choice_json(const mu_chat_choice_t *choice)
{
    json_t *json = json_object();
    for (int i = 0; i < MEMBERS; i++) {
        const char *text;
        memcpy(&text, (const char *)choice + members[i].choice, sizeof text);
        if (text)
            json_object_set_new(json, members[i].key, json_string(text));
    }
    return json;
}

void mu_chat_choice_keep(const json_t *choice, mu_config_t *config)
{
    if (config->muster.chat_template || !json_object_get(choice, "template"))
        return;
    for (int i = 0; i < MEMBERS; i++) {
        const char *text = json_string_value(json_object_get(choice, members[i].key));
        char **at = (char **)(void *)((char *)config + members[i].config);
        if (text) {
            free(*at);
            *at = mu_strdup(text);
        }
    }
}
