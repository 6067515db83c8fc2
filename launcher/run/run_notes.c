#include "launcher/run/run_notes.h"
#include "common/file.h"
#include "common/log.h"
#include "launcher/report/accounting.h"

#include <jansson.h>

enum { FLUSH_MS = 2000 };

void mu_note_hosts(const mu_placement_t *places, mu_run_state_t *state)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_adds(&text, "");
    for (int i = 0, rank = 0; i < places->count; i++) {
        const mu_host_ranks_t *place = &places->place[i];
        mu_buf_addf(&text, "%s%s: rank%s %d", i > 0 ? ", " : "", place->host, place->ranks > 1 ? "s" : "",
                    rank);
        rank += place->ranks;
        if (place->ranks > 1)
            mu_buf_addf(&text, "-%d", rank - 1);
    }
    snprintf(state->hosts, sizeof state->hosts, "%s", text.data);
    if (text.len >= sizeof state->hosts)
        memcpy(state->hosts + sizeof state->hosts - 4, "...", 4);
    mu_buf_release(&text);
}

void mu_note_data_version(const char *data_path, mu_run_state_t *state)
{
    if (!data_path)
        return;
    char *path = mu_path_join(data_path, "manifest.json");
    json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    const char *version = json_string_value(json_object_get(json, "version"));
    snprintf(state->data_version, sizeof state->data_version, "%s", version ? version : "");
    json_decref(json);
    free(path);
}

void mu_note_account(const char *run_dir, mu_rundir_writer_t *writer, mu_run_state_t *state)
{
    mu_account_t account;
    char *state_file = mu_path_join(run_dir, "run.json");
    bool begun = mu_is_file(state_file); /* what is refused before hosts are contacted leaves none */
    free(state_file);
    /* a volume that does not take the newest entries now may not give the older ones either */
    if (begun && mu_rundir_writer_flush(writer, FLUSH_MS) && mu_accounting_of(run_dir, &account) == MU_OK)
        state->account = account;
}

void mu_print_account(const mu_account_t *account)
{
    mu_buf_t text = MU_BUF_INIT;
    if (account->attempts == 0)
        return;
    mu_account_text(account, "  ", &text);
    for (char *at = text.data, *end; (end = strchr(at, '\n')) != NULL; at = end + 1)
        mu_info("%.*s", (int)(end - at), at);
    mu_buf_release(&text);
}
