#include "worker/train/start_chat.h"
#include "common/log.h"
#include "dataset/chat/chat_template.h"

#include <string.h>

void mu_start_keep_template(const mu_config_t *was, const mu_config_t **config)
{
    mu_chat_choice_t choice = mu_chat_choice_of(was);
    if (!(*config)->muster.chat_template && choice.name)
        mu_chat_choice_settle(&choice, config);
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
static void add_end(const mu_config_t **config, const mu_tokenizer_t *tok, int32_t stop)
{
    int32_t ids[MU_END_TOKENS];
    int n = mu_config_end_tokens(*config, ids);
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
    mu_config_settle(config, &(mu_config_facts_t){.end_tokens = text.data});
    mu_buf_release(&text);
}

mu_status_t mu_start_chat(const mu_config_t **config, const mu_mixture_t *data, const mu_tokenizer_t *tok)
{
    const json_t *chat = mu_mixture_chat(data);
    mu_chat_choice_t choice = mu_chat_choice_read(chat);
    mu_chat_template_t *template;
    int32_t stop;
    if (!choice.name)
        return MU_OK;
    if (mu_config_given(*config, "muster.chat_template") &&
        strcmp((*config)->muster.chat_template, choice.name) != 0)
        return mu_fail(
            MU_CONFIG,
            "muster.chat_template (%s): the data was prepared with the template %s: leave it out, or prepare "
            "the data again",
            mu_config_origin(*config, "muster.chat_template"), choice.name);
    mu_chat_choice_settle(&choice, config); /* the checkpoint's gives way to the data's */
    choice = mu_chat_choice_of(*config);
    MU_TRY(mu_chat_template_find(&choice, NULL, tok, &template));
    mu_status_t status = id_of(tok, mu_chat_template_stop(template), &stop);
    if (status == MU_OK)
        add_end(config, tok, stop);
    mu_chat_template_free(template);
    return status;
}
