#include "worker/infer/chat_prompt.h"
#include "common/log.h"
#include "dataset/chat/chat_template.h"

#include <string.h>

static mu_status_t find(const mu_inference_model_t *l, mu_chat_template_t **out)
{
    mu_chat_choice_t choice = mu_chat_choice_of(l->config);
    mu_chat_files_t files;
    mu_chat_files_take(mu_checkpoint_path(l->checkpoint),
                       mu_checkpoint_manifest(l->checkpoint)->info.companions, &files);
    mu_status_t status = mu_chat_template_find(&choice, &files, l->tokenizer, out);
    mu_chat_files_release(&files);
    return status;
}

/* A prompt that begins with a brace is meant as JSON. */
static mu_status_t read_prompt(const char *prompt, mu_chat_t *chat)
{
    char why[MU_CHAT_WHY];
    size_t column;
    if (prompt[strspn(prompt, " \t\r\n")] != '{') {
        mu_chat_add(chat, MU_CHAT_USER, prompt, strlen(prompt));
        return MU_OK;
    }
    return mu_chat_read(prompt, strlen(prompt), chat, why, &column)
               ? MU_OK
               : mu_fail(MU_USAGE, "--chat: the prompt: byte %zu: %s", column + 1, why);
}

/* The stop is one token. */
static mu_status_t add_stop(const mu_inference_model_t *l, const char *stop, mu_generation_t *g)
{
    mu_ids_t ids = MU_IDS_INIT;
    mu_status_t status = mu_tokenizer_encode(l->tokenizer, stop, strlen(stop), &ids);
    if (status == MU_OK && ids.len == 1 && g->ends < MU_END_TOKENS)
        g->end[g->ends++] = ids.data[0];
    mu_ids_release(&ids);
    return status;
}

mu_status_t mu_chat_prompt(const mu_inference_model_t *l, const char *prompt, mu_generation_t *g)
{
    mu_chat_template_t *template = NULL;
    mu_chat_t chat = MU_CHAT_INIT;
    mu_chat_text_t text = MU_CHAT_TEXT_INIT;
    char why[MU_CHAT_WHY];
    mu_status_t status;
    MU_TRY_GOTO(status, find(l, &template), out);
    MU_TRY_GOTO(status, read_prompt(prompt, &chat), out);
    if (!mu_chat_render(template, &chat, true, &text, why)) {
        status = mu_fail(MU_USAGE, "--chat: %s", why);
        goto out;
    }
    MU_TRY_GOTO(status, mu_tokenizer_encode(l->tokenizer, text.text.data, text.text.len, &g->prompt), out);
    status = add_stop(l, mu_chat_template_stop(template), g);
out:
    mu_chat_text_release(&text);
    mu_chat_release(&chat);
    mu_chat_template_free(template);
    return status;
}
