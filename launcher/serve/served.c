#include "launcher/serve/served.h"
#include "common/checkpoint/adapter.h"
#include "common/checkpoint/foreign.h"
#include "common/checkpoint/reference.h"
#include "common/file.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

static char *last_part(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t at = n;
    while (at > 0 && path[at - 1] != '/')
        at--;
    return mu_format("%.*s", (int)(n - at), path + at);
}

static void name_it(mu_served_t *m, const mu_manifest_t *manifest, const char *name)
{
    char *whole = realpath(m->path, NULL);
    m->run = mu_reference_run(m->path);
    m->name = name ? mu_strdup(name) : last_part(m->run ? m->run : whole ? whole : m->path);
    m->version = mu_format("%s@%lld", manifest->info.run_id ? manifest->info.run_id : "model",
                           (long long)manifest->info.step);
    free(whole);
}

/* The model's own ends, else the tokenizer's, as `muster generate` has them. */
static void take_ends(mu_served_t *m, const mu_config_t *config)
{
    m->nends = mu_config_end_tokens(config, m->ends);
    if (m->nends > 0)
        return;
    m->ends[0] = mu_tokenizer_eod(m->tokenizer);
    m->nends = m->ends[0] >= 0;
}

/* One that is named, on the command line or by the model's configuration, must fit; that of the model's files is used
 * when muster knows it. */
static mu_status_t find_chat(mu_served_t *m, const mu_checkpoint_t *files_of, const mu_config_t *config,
                             const char *name)
{
    mu_chat_choice_t choice = mu_chat_choice_of(config);
    mu_chat_files_t files;
    mu_status_t status = MU_OK;
    choice.name = name ? name : choice.name;
    mu_chat_files_take(m->path, mu_checkpoint_manifest(files_of)->info.companions, &files);
    if (choice.name || files.jinja)
        status = mu_chat_template_find(&choice, &files, m->tokenizer, &m->chat);
    mu_chat_files_release(&files);
    if (status != MU_CONFIG || choice.name)
        return status;
    mu_warn("%s: no chats are answered: --chat-template NAME chooses a template", m->path);
    return MU_OK;
}

/* An answer of a chat ends as the template says, too. */
static mu_status_t add_chat_end(mu_served_t *m)
{
    const char *stop = m->chat ? mu_chat_template_stop(m->chat) : "";
    mu_ids_t ids = MU_IDS_INIT;
    mu_status_t status = *stop ? mu_tokenizer_encode(m->tokenizer, stop, strlen(stop), &ids) : MU_OK;
    m->chat_end = ids.len == 1 ? ids.data[0] : -1;
    mu_ids_release(&ids);
    return status;
}

/* An adapter that carries none has that of its base. */
static mu_status_t load_tokenizer(mu_served_t *m, const mu_checkpoint_t *base)
{
    char *file = mu_path_join(m->path, MU_TOKENIZER_NAME);
    if (base && !mu_is_file(file)) {
        free(file);
        file = mu_path_join(mu_checkpoint_path(base), MU_TOKENIZER_NAME);
    }
    mu_status_t status = mu_is_file(file) ? mu_tokenizer_load(file, &m->tokenizer)
                                          : mu_fail(MU_NOINPUT, "%s: carries no tokenizer", m->path);
    free(file);
    return status;
}

static mu_status_t read_it(mu_served_t *m, const mu_checkpoint_t *checkpoint, const mu_served_wish_t *wish)
{
    const mu_manifest_t *manifest = mu_checkpoint_manifest(checkpoint);
    mu_config_t *config = NULL;
    mu_checkpoint_t *base = NULL;
    mu_status_t status;
    m->path = mu_strdup(mu_checkpoint_path(checkpoint));
    name_it(m, manifest, wish->name);
    if (!manifest->info.config)
        return mu_fail(MU_DATA, "%s: holds no configuration", m->path);
    MU_TRY(
        mu_config_load_trained(m->path, manifest->info.config, wish->overrides, wish->noverrides, &config));
    if (mu_checkpoint_is_adapter(checkpoint))
        MU_TRY_GOTO(status, mu_adapter_base(checkpoint, config->muster.lora_base, &base), out);
    MU_TRY_GOTO(status, load_tokenizer(m, base), out);
    take_ends(m, config);
    MU_TRY_GOTO(status,
                find_chat(m, base && !manifest->info.companions ? base : checkpoint, config, wish->chat),
                out);
    status = add_chat_end(m);
out:
    mu_checkpoint_close(base);
    mu_config_free(config);
    return status;
}

mu_status_t mu_served_open(const char *reference, const mu_served_wish_t *wish, mu_served_t **out)
{
    mu_checkpoint_t *checkpoint;
    MU_TRY(mu_checkpoint_newest(reference, INT64_MAX, &checkpoint));
    if (!checkpoint)
        return mu_foreign_refuse(NULL, reference);
    mu_served_t *m = mu_calloc(1, sizeof *m);
    mu_status_t status = read_it(m, checkpoint, wish);
    mu_checkpoint_close(checkpoint);
    m->users = 1;
    if (status == MU_OK)
        *out = m;
    else
        mu_served_free(m);
    return status;
}

void mu_served_free(mu_served_t *m)
{
    if (!m)
        return;
    mu_chat_template_free(m->chat);
    mu_tokenizer_free(m->tokenizer);
    free(m->path);
    free(m->name);
    free(m->version);
    free(m->run);
    free(m);
}

mu_status_t mu_served_encode(const mu_served_t *m, const char *text, size_t n, mu_ids_t *out)
{
    MU_TRY(mu_tokenizer_encode_prompt(m->tokenizer, text, n, out));
    if (out->len > 0)
        return MU_OK;
    if (mu_tokenizer_eod(m->tokenizer) < 0)
        return MU_USAGE;
    mu_ids_add(out, mu_tokenizer_eod(m->tokenizer));
    return MU_OK;
}

bool mu_served_encode_chat(const mu_served_t *m, const json_t *messages, mu_ids_t *out, char why[MU_CHAT_WHY])
{
    mu_chat_t chat = MU_CHAT_INIT;
    mu_chat_text_t text = MU_CHAT_TEXT_INIT;
    bool good =
        mu_chat_take_messages(&chat, messages, why) && mu_chat_render(m->chat, &chat, true, &text, why);
    if (good &&
        (mu_tokenizer_encode(m->tokenizer, text.text.data, text.text.len, out) != MU_OK || out->len == 0)) {
        snprintf(why, MU_CHAT_WHY, "the conversation cannot be made tokens of");
        good = false;
    }
    mu_chat_text_release(&text);
    mu_chat_release(&chat);
    return good;
}

bool mu_served_moves(const char *reference)
{
    const char *at = strrchr(reference, '@');
    return at && strcmp(at, "@best") == 0;
}
