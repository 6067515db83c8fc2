#include "common/checkpoint/commit.h"
#include "common/file.h"
#include "common/log.h"
#include "common/checkpoint/index.h"
#include "common/checkpoint/scan.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TOKENIZER_LIMIT = 256 << 20, HINT_LIMIT = 256 };

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Whether a name is one that only a save or a removal under way gives. */
static bool is_leftover(const char *name)
{
    return (starts_with(name, "step-") || starts_with(name, "latest.") || starts_with(name, "best.")) &&
           strstr(name, ".tmp-");
}

/* Whether DIR/step-N is valid, so that the one put aside for it can go. */
static bool has_successor(const char *dir, int64_t step)
{
    char name[64];
    mu_checkpoint_t *checkpoint = NULL;
    mu_buf_t why = MU_BUF_INIT;
    snprintf(name, sizeof name, "step-%08lld", (long long)step);
    bool valid = mu_checkpoint_open_named(dir, name, step, &checkpoint, &why) == MU_OK;
    mu_checkpoint_close(checkpoint);
    mu_buf_release(&why);
    return valid;
}

static mu_status_t rename_path(const char *from, const char *to)
{
    if (rename(from, to) != 0)
        return mu_fail(MU_IO, "%s: cannot rename to '%s': %s", from, to, strerror(errno));
    return MU_OK;
}

/* Out of readers' sight in one step, then gone: a kill in between leaves no half of a checkpoint. */
static mu_status_t remove_one(const char *dir, const char *name, int attempt)
{
    char *path = mu_path_join(dir, name), *away = mu_format("%s.tmp-%d", path, attempt);
    mu_status_t status = mu_remove_tree(away);
    if (status == MU_OK)
        status = rename_path(path, away);
    if (status == MU_OK)
        status = mu_remove_tree(away);
    free(away);
    free(path);
    return status;
}

mu_status_t mu_checkpoint_clean(const char *dir)
{
    mu_status_t status;
    MU_TRY(mu_make_dirs(dir, 0));
    DIR *stream = opendir(dir);
    if (!stream)
        return mu_fail(MU_RUNDIR, "%s: cannot read directory: %s", dir, strerror(errno));
    status = MU_OK;
    for (struct dirent *e; status == MU_OK && (e = readdir(stream));) {
        int64_t step;
        bool aside;
        bool old = mu_checkpoint_name(e->d_name, &step, &aside) && aside && has_successor(dir, step);
        if (!old && !is_leftover(e->d_name))
            continue;
        char *path = mu_path_join(dir, e->d_name);
        mu_info("removing '%s', which an interrupted save left", path);
        status = old ? remove_one(dir, e->d_name, 0) : mu_remove_tree(path);
        free(path);
    }
    closedir(stream);
    return status;
}

mu_status_t mu_checkpoint_begin(const char *dir, int64_t step, int attempt, char **tmp)
{
    char *path = mu_format("%s/step-%08lld.tmp-%d", dir, (long long)step, attempt);
    mu_status_t status = mu_remove_tree(path);
    if (status == MU_OK && mkdir(path, 0700) != 0)
        status = mu_fail(MU_IO, "%s: cannot make directory: %s", path, strerror(errno));
    if (status == MU_OK)
        *tmp = path;
    else
        free(path);
    return status;
}

void mu_checkpoint_abandon(const char *tmp)
{
    mu_remove_tree(tmp);
}

/* Copies tokenizer.json, so that a checkpoint can be used where the data set is not. */
static mu_status_t copy_tokenizer(const char *tmp, mu_commit_t *commit)
{
    free(commit->info->tokenizer_digest);
    commit->info->tokenizer_digest = NULL;
    if (!commit->tokenizer)
        return MU_OK;
    mu_buf_t text = MU_BUF_INIT;
    char digest[MU_DIGEST_HEX], *path = mu_path_join(tmp, MU_TOKENIZER_NAME);
    mu_status_t status = mu_file_read(commit->tokenizer, TOKENIZER_LIMIT, &text);
    if (status == MU_OK)
        status = mu_file_replace(path, text.data, text.len, 0600);
    if (status == MU_OK) {
        mu_digest_bytes(text.data, text.len, digest);
        commit->info->tokenizer_digest = mu_strdup(digest);
    }
    free(path);
    mu_buf_release(&text);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const mu_shard_t *)a)->name, ((const mu_shard_t *)b)->name);
}

mu_status_t mu_commit_manifest(const mu_commit_t *commit, const char *where, mu_buf_t *text)
{
    char writer[] = "muster " MU_VERSION;
    int first = mu_model_saved_first(commit->model);
    mu_manifest_t m = {.info = *commit->info,
                       .written_by = writer,
                       .optimizer = commit->optimizer,
                       .tensor_count = mu_model_tensor_count(commit->model) - first,
                       .shards = commit->shards,
                       .shard_count = commit->shard_count};
    mu_buf_t why = MU_BUF_INIT;
    mu_status_t status;
    m.tensors = mu_calloc((size_t)m.tensor_count, sizeof *m.tensors);
    for (int i = 0; i < m.tensor_count; i++) {
        mu_tensor_t t;
        mu_model_tensor(commit->model, first + i, &t);
        m.tensors[i] = (mu_manifest_tensor_t){.dims = t.dims, .shape = {t.shape[0], t.shape[1]}};
        snprintf(m.tensors[i].name, sizeof m.tensors[i].name, "%s", t.name);
    }
    /* any order came in; the same checkpoint is the same text */
    qsort(commit->shards, (size_t)commit->shard_count, sizeof *commit->shards, by_name);
    if (commit->shard_count != m.info.tp * m.info.dp)
        status =
            mu_fail(MU_BUG, "%s: %d shards of %d workers", where, commit->shard_count, m.info.tp * m.info.dp);
    else if (!mu_manifest_check(&m, &why))
        status = mu_fail(MU_BUG, "%s: the shards do not make up the model: %s", where, why.data);
    else
        status = mu_manifest_write(&m, text);
    free(m.tensors);
    mu_buf_release(&why);
    return status;
}

static mu_status_t write_manifest(const char *tmp, const mu_commit_t *commit)
{
    mu_buf_t text = MU_BUF_INIT;
    char *path = mu_path_join(tmp, MU_MANIFEST_NAME);
    mu_status_t status = mu_commit_manifest(commit, tmp, &text);
    if (status == MU_OK)
        status = mu_file_replace(path, text.data, text.len, 0600);
    free(path);
    mu_buf_release(&text);
    return status;
}

/* Looks at the whole with a reader's eyes before anyone else can. */
static mu_status_t check_whole(const char *tmp)
{
    mu_checkpoint_t *checkpoint = NULL;
    mu_buf_t why = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    if (mu_checkpoint_open_why(tmp, &checkpoint, &why) != MU_OK)
        status = mu_fail(
            MU_IO, "%s: not as the workers wrote it: %s; every host must see the run directory as one volume",
            tmp, why.data);
    mu_checkpoint_close(checkpoint);
    mu_buf_release(&why);
    return status;
}

/* tmp -> DIR/NAME, durably. A checkpoint that is there already is put aside first, and never out of readers'
 * sight. */
static mu_status_t publish(const char *dir, const char *tmp, const char *name, int attempt)
{
    char *final = mu_path_join(dir, name), *old = mu_format("%s.old-%d", name, attempt),
         *aside = mu_path_join(dir, old);
    struct stat st;
    mu_status_t status;
    bool again = lstat(final, &st) == 0;
    if (again) {
        mu_info("checkpoint '%s' exists already and is replaced", final);
        MU_TRY_GOTO(status, mu_remove_tree(aside), out);
        MU_TRY_GOTO(status, rename_path(final, aside), out);
    }
    status = rename_path(tmp, final);
    if (status != MU_OK && again)
        rename_path(aside, final); /* as it was */
    if (status == MU_OK)
        status = mu_sync_dir(dir);
    if (status == MU_OK && again)
        status = remove_one(dir, old, attempt);
out:
    free(aside);
    free(old);
    free(final);
    return status;
}

static mu_status_t write_hint(const char *dir, const char *hint, const char *name)
{
    char *path = mu_path_join(dir, hint), *line = mu_format("%s\n", name);
    mu_status_t status = mu_file_replace(path, line, strlen(line), 0600);
    if (status != MU_OK)
        mu_error("%s: checkpoint '%s' is whole all the same", path, name);
    free(line);
    free(path);
    return status;
}

mu_status_t mu_checkpoint_commit(const char *dir, const char *tmp, mu_commit_t *commit)
{
    char name[64];
    snprintf(name, sizeof name, "step-%08lld", (long long)commit->info->step);
    MU_TRY(copy_tokenizer(tmp, commit));
    MU_TRY(write_manifest(tmp, commit)); /* syncs the names in tmp too, the shards' among them */
    MU_TRY(check_whole(tmp));
    MU_TRY(publish(dir, tmp, name, commit->info->attempt));
    MU_TRY(write_hint(dir, "latest", name));
    if (commit->best)
        MU_TRY(write_hint(dir, "best", name));
    return MU_OK;
}

mu_status_t mu_checkpoint_set_aside(const char *dir, int64_t above, int attempt)
{
    mu_checkpoint_list_t list = {NULL, 0};
    int moved = 0;
    MU_TRY(mu_checkpoint_scan(dir, false, &list));
    mu_status_t status = MU_OK;
    for (int i = 0; status == MU_OK && i < list.count && list.entries[i].step > above; i++) {
        char *from = mu_path_join(dir, list.entries[i].name);
        char *to = mu_format("%s/damaged-%s-%d", dir, list.entries[i].name, attempt);
        if (rename(from, to) != 0)
            status = mu_fail(mu_open_status(errno), "%s: cannot be renamed to '%s': %s", from, to,
                             strerror(errno));
        else
            mu_warn("checkpoint '%s' is damaged: kept as '%s'", from, to);
        moved += status == MU_OK;
        free(from);
        free(to);
    }
    mu_checkpoint_list_release(&list);
    return status == MU_OK && moved > 0 ? mu_sync_dir(dir) : status;
}

/* The name that a hint holds; empty when there is none. */
static mu_status_t read_hint(const char *dir, const char *hint, mu_buf_t *out)
{
    char *path = mu_path_join(dir, hint);
    mu_status_t status = MU_OK;
    mu_buf_reserve(out, 0);
    if (access(path, F_OK) == 0)
        status = mu_file_read(path, HINT_LIMIT, out);
    if (out->len > 0 && out->data[out->len - 1] == '\n')
        out->data[--out->len] = '\0';
    free(path);
    return status;
}

/* Entries are newest first. NULL: there is none. */
static void choose_hints(const mu_checkpoint_list_t *list, int64_t step, const char *named,
                         const mu_checkpoint_entry_t **latest, const mu_checkpoint_entry_t **best)
{
    *latest = *best = NULL;
    for (int i = 0; i < list->count; i++) {
        const mu_checkpoint_entry_t *entry = &list->entries[i];
        int64_t number;
        bool aside;
        if (entry->status != MU_OK || entry->step > step ||
            !mu_checkpoint_name(entry->name, &number, &aside) || aside)
            continue;
        if (!*latest)
            *latest = entry;
        if (isnan(entry->valid_loss))
            continue;
        bool stays = *best && strcmp((*best)->name, named) == 0 && (*best)->valid_loss == entry->valid_loss;
        if (!*best || (entry->valid_loss <= (*best)->valid_loss && !stays))
            *best = entry;
    }
}

static mu_status_t mend_hint(const char *dir, const char *hint, const char *was,
                             const mu_checkpoint_entry_t *entry)
{
    if (!entry || strcmp(was, entry->name) == 0)
        return MU_OK;
    mu_info("%s/%s: names '%s' now: an interrupted save had left '%s'", dir, hint, entry->name, was);
    return write_hint(dir, hint, entry->name);
}

mu_status_t mu_checkpoint_mend_hints(const char *dir, int64_t step, double *lowest)
{
    mu_checkpoint_list_t list = {NULL, 0};
    mu_buf_t newest = MU_BUF_INIT, named = MU_BUF_INIT;
    const mu_checkpoint_entry_t *latest, *best;
    mu_status_t status;
    *lowest = (double)INFINITY;
    MU_TRY_GOTO(status, read_hint(dir, "latest", &newest), out);
    MU_TRY_GOTO(status, read_hint(dir, "best", &named), out);
    MU_TRY_GOTO(status, mu_checkpoint_scan(dir, false, &list), out);
    choose_hints(&list, step, named.data, &latest, &best);
    *lowest = best ? best->valid_loss : *lowest;
    MU_TRY_GOTO(status, mend_hint(dir, "latest", newest.data, latest), out);
    status = mend_hint(dir, "best", named.data, best);
out:
    mu_checkpoint_list_release(&list);
    mu_buf_release(&newest);
    mu_buf_release(&named);
    return status;
}

mu_status_t mu_checkpoint_prune(const char *dir, int64_t keep, int attempt)
{
    mu_checkpoint_list_t list = {NULL, 0};
    mu_buf_t best = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    if (keep <= 0)
        return MU_OK;
    MU_TRY_GOTO(status, read_hint(dir, "best", &best), out);
    MU_TRY_GOTO(status, mu_checkpoint_scan(dir, false, &list), out);
    int64_t valid = 0;
    for (int i = 0; status == MU_OK && i < list.count; i++) {
        const mu_checkpoint_entry_t *entry = &list.entries[i];
        if (valid >= keep && strcmp(entry->name, best.data) != 0)
            status = remove_one(dir, entry->name, attempt);
        else if (entry->status == MU_OK)
            valid++;
    }
out:
    mu_checkpoint_list_release(&list);
    mu_buf_release(&best);
    return status;
}
