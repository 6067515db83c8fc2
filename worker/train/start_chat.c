#include "worker/train/start_chat.h"
#include "common/log.h"
#include "dataset/chat/chat_template.h"

#include <string.h>

void mu_start_keep_template(const mu_config_t *was, mu_config_t *config)
{
    mu_chat_choice_t choice = mu_chat_choice_of(was);
    json_t *json = mu_chat_choice_json(&choice);
    mu_chat_choice_keep(json, config);
    json_decref(json);
}

/* The id of a text that is one token; template_find() has seen that it is. */
static mu_status_t id_of(const mu_tokenizer_t *tok, const char *text, int32_t *out)
{
    mu_ids_t ids = MU_IDS_INIT;
    mu_status_t status = mu_tokenizer_encode(tok, text, strlen(text), &ids);
    *out = ids.len == 1 ? ids.data[0] : -1;
    mu_ids_release(&ids);
    return status;
}

/* An answer's end ends a text, as what ended one before. */
static void add_end(mu_config_t *config, const mu_tokenizer_t *tok, int32_t stop)
{
    int32_t ids[MU_END_TOKENS];
    int n = mu_config_end_tokens(config, ids);
    mu_buf_t text = MU_BUF_INIT;
    if (n <= 0 && mu_tokenizer_eod(tok) >= 0) {
        n = 1;
        ids[0] = mu_tokenizer_eod(tok);
    }
    for (int i = 0; i < n; i++)
        if (ids[i] == stop)
            return;
    mu_buf_addf(&text, "%d", stop);
    for (int i = 0; i < n && i < MU_END_TOKENS - 1; i++)
        mu_buf_addf(&text, ", %d", ids[i]);
    free(config->muster.end_tokens);
    config->muster.end_tokens = mu_buf_detach(&text);
}

mu_status_t mu_start_chat(mu_config_t *config, const mu_mixture_t *data, const mu_tokenizer_t *tok)
{
    const json_t *chat = mu_mixture_chat(data);
    const char *its = json_string_value(json_object_get(chat, "template"));
    mu_chat_template_t *template;
    int32_t stop;
    if (!its)
        return MU_OK;
    if (mu_config_given(config, "muster.chat_template") && strcmp(config->muster.chat_template, its) != 0)
        return mu_fail(
            MU_CONFIG,
            "muster.chat_template (%s): the data was prepared with the template %s: leave it out, or prepare "
            "the data again",
            mu_config_origin(config, "muster.chat_template"), its);
    free(config->muster.chat_template); /* the checkpoint's gives way to the data's */
    config->muster.chat_template = NULL;
    mu_chat_choice_keep(chat, config);
    mu_chat_choice_t choice = mu_chat_choice_of(config);
    MU_TRY(mu_chat_template_find(&choice, NULL, tok, &template));
    mu_status_t status = id_of(tok, mu_chat_template_stop(template), &stop);
    if (status == MU_OK)
        add_end(config, tok, stop);
    mu_chat_template_free(template);
    return status;
}
