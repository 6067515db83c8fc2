#include "launcher/cmd/prepare_chat.h"
#include "common/log.h"

mu_status_t mu_prepare_chat_begin(const mu_prepare_options_t *options, const mu_config_t *config,
                                  const mu_tokenizer_t *tok, mu_prepare_chat_t *out)
{
    mu_chat_choice_t choice = mu_chat_choice_of(config);
    mu_chat_files_t files;
    MU_TRY(mu_chat_files_read(config->vocab_file, &files));
    mu_status_t status = mu_chat_template_find(&choice, &files, tok, &out->template);
    mu_chat_files_release(&files);
    MU_TRY(status);
    out->how.on = options->on;
    out->how.most = config->model.seq_length > 0 ? config->model.seq_length + 1 : 0;
    mu_info("conversations become text by the template %s; answers end with %s",
            mu_chat_template_choice(out->template).name, mu_chat_template_stop(out->template));
    if (out->how.most == 0)
        mu_info("the config has no seq_length, so long conversations are kept whole");
    return MU_OK;
}

json_t *mu_prepare_chat_json(const mu_prepare_chat_t *chat)
{
    mu_chat_choice_t choice = mu_chat_template_choice(chat->template);
    return mu_chat_choice_json(&choice);
}

void mu_prepare_chat_print(const mu_prepare_chat_t *chat, const mu_shards_summary_t *sum)
{
    int64_t counted = 0, tokens = 0;
    for (int i = 0; i < MU_DATA_SPLITS; i++) {
        counted += sum->counted[i];
        tokens += sum->tokens[i];
    }
    printf("chat   template %s, %lld of %lld tokens count for the loss (%.1f %%)\n",
           mu_chat_template_choice(chat->template).name, (long long)counted, (long long)tokens,
           tokens > 0 ? 100.0 * (double)counted / (double)tokens : 0);
}
