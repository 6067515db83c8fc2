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

/* One string of a choice, by its name in JSON. */
typedef struct member {
    const char *key;
    size_t choice;
} member_t;

static const member_t members[] = {
    {"template", offsetof(mu_chat_choice_t, name)},
    {"begin", offsetof(mu_chat_choice_t, begin)},
    {"system", offsetof(mu_chat_choice_t, system)},
    {"system_prefix", offsetof(mu_chat_choice_t, prefix[0])},
    {"user_prefix", offsetof(mu_chat_choice_t, prefix[1])},
    {"assistant_prefix", offsetof(mu_chat_choice_t, prefix[2])},
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

mu_chat_choice_t mu_chat_choice_read(const json_t *json)
{
    mu_chat_choice_t choice = {0};
    for (int i = 0; i < MEMBERS; i++) {
        const char *text = json_string_value(json_object_get(json, members[i].key));
        memcpy((char *)&choice + members[i].choice, &text, sizeof text);
    }
    return choice;
}

void mu_chat_choice_settle(const mu_chat_choice_t *choice, const mu_config_t **config)
{
    mu_config_facts_t facts = {
        .chat_template = choice->name, .chat_begin = choice->begin, .chat_system = choice->system};
    memcpy(facts.chat_prefix, choice->prefix, sizeof facts.chat_prefix);
    mu_config_settle(config, &facts);
}
