#include "common/checkpoint/scan.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

bool mu_checkpoint_name(const char *name, int64_t *step, bool *aside)
{
    static const char start[] = "step-", old[] = ".old-";
    char digits[20];
    int64_t attempt;
    size_t n = strlen(start);
    if (strncmp(name, start, n) != 0)
        return false;
    size_t length = strspn(name + n, "0123456789");
    const char *rest = name + n + length;
    if (length < 8 || length >= sizeof digits || (length > 8 && name[n] == '0'))
        return false;
    memcpy(digits, name + n, length);
    digits[length] = '\0';
    *aside = *rest != '\0';
    if (*aside &&
        (strncmp(rest, old, strlen(old)) != 0 || strlen(name) >= sizeof((mu_checkpoint_entry_t *)0)->name ||
         !mu_parse_i64(rest + strlen(old), &attempt)))
        return false;
    return mu_parse_i64(digits, step);
}

/* Newest first; the proper name of a step before one that was put aside. */
static int newest_first(const void *a, const void *b)
{
    const mu_checkpoint_entry_t *x = a, *y = b;
    if (x->step != y->step)
        return x->step > y->step ? -1 : 1;
    size_t m = strlen(x->name), n = strlen(y->name);
    return m != n ? (m > n) - (m < n) : strcmp(x->name, y->name);
}

static void add_entry(mu_checkpoint_list_t *list, const char *name, int64_t step)
{
    list->entries = mu_realloc(list->entries, sizeof *list->entries * (size_t)(list->count + 1));
    mu_checkpoint_entry_t *entry = &list->entries[list->count++];
    *entry = (mu_checkpoint_entry_t){.step = step, .loss = (double)NAN, .valid_loss = (double)NAN};
    snprintf(entry->name, sizeof entry->name, "%.63s", name);
}

/* The names of the checkpoints in a directory, newest first; nothing is opened. */
static mu_status_t list_names(const char *dir, mu_checkpoint_list_t *out)
{
    *out = (mu_checkpoint_list_t){NULL, 0};
    DIR *stream = opendir(dir);
    if (!stream && (errno == ENOENT || errno == ENOTDIR))
        return MU_OK;
    if (!stream)
        return mu_fail(mu_open_status(errno), "%s: cannot read directory: %s", dir, strerror(errno));
    errno = 0;
    for (struct dirent *e; (e = readdir(stream)); errno = 0) {
        int64_t step;
        bool aside;
        if (mu_checkpoint_name(e->d_name, &step, &aside))
            add_entry(out, e->d_name, step);
    }
    mu_status_t status = MU_OK;
    if (errno != 0) {
        status = mu_fail(MU_IO, "%s: cannot read directory: %s", dir, strerror(errno));
        mu_checkpoint_list_release(out);
    }
    closedir(stream);
    if (out->count > 1)
        qsort(out->entries, (size_t)out->count, sizeof *out->entries, newest_first);
    return status;
}

/* A copy without slashes at the end. */
static char *without_slashes(const char *path)
{
    char *copy = mu_strdup(path);
    for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/';)
        copy[--n] = '\0';
    return copy;
}

bool mu_checkpoint_is_one(const char *path)
{
    static const char start[] = MU_MANIFEST_START;
    char *copy = without_slashes(path), *manifest = mu_path_join(path, MU_MANIFEST_NAME),
         found[sizeof start] = "";
    const char *slash = strrchr(copy, '/');
    int64_t step;
    bool aside, one = mu_is_dir(path) && mu_checkpoint_name(slash ? slash + 1 : copy, &step, &aside);
    int fd = one ? -1 : open(manifest, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        one = mu_pread_all(fd, found, sizeof start - 1, 0) && strcmp(found, start) == 0;
        close(fd);
    }
    free(manifest);
    free(copy);
    return one;
}

/* The directory that holds the checkpoints, or the one checkpoint. A new string. */
static char *resolve(const char *path, bool *one)
{
    char *below = mu_path_join(path, MU_CHECKPOINTS_DIR);
    *one = mu_checkpoint_is_one(path);
    char *result = without_slashes(*one || !mu_is_dir(below) ? path : below);
    free(below);
    return result;
}

mu_status_t mu_checkpoint_open_named(const char *dir, const char *name, int64_t step, mu_checkpoint_t **out,
                                     mu_buf_t *why)
{
    char *path = mu_path_join(dir, name);
    mu_checkpoint_t *checkpoint;
    mu_status_t status = mu_checkpoint_open_why(path, &checkpoint, why);
    if (status == MU_OK && mu_checkpoint_manifest(checkpoint)->info.step != step) {
        mu_buf_addf(why, "its manifest is the one of step %lld: it was renamed or copied by hand",
                    (long long)mu_checkpoint_manifest(checkpoint)->info.step);
        status = MU_DATA;
        mu_checkpoint_close(checkpoint);
    }
    if (status == MU_OK)
        *out = checkpoint;
    free(path);
    return status;
}

/* Writes every reason of `list` before the entry `end` at one level. */
static void report(mu_log_level_t level, const char *dir, const mu_checkpoint_list_t *list, int end,
                   int64_t below)
{
    for (int i = 0; i < end; i++)
        if (list->entries[i].step < below)
            mu_log(level, "checkpoint '%s/%s' is not valid: %s", dir, list->entries[i].name,
                   list->entries[i].why);
}

/* Of the first n: one that storage did not give. It may be the newest valid one, so nothing older may take its
 * place. */
static const mu_checkpoint_entry_t *first_unread(const mu_checkpoint_list_t *list, int n)
{
    for (int i = 0; i < n; i++)
        if (list->entries[i].status == MU_IO)
            return &list->entries[i];
    return NULL;
}

static mu_status_t newest_of(const char *dir, int64_t below, mu_checkpoint_t **out)
{
    mu_checkpoint_list_t list;
    MU_TRY(list_names(dir, &list));
    mu_status_t status = MU_OK;
    mu_checkpoint_t *found = NULL;
    int i;
    for (i = 0; i < list.count && !found; i++) {
        mu_checkpoint_entry_t *entry = &list.entries[i];
        mu_buf_t why = MU_BUF_INIT;
        if (entry->step < below)
            entry->status = mu_checkpoint_open_named(dir, entry->name, entry->step, &found, &why);
        if (entry->status != MU_OK)
            entry->why = mu_buf_detach(&why);
        mu_buf_release(&why);
    }
    const mu_checkpoint_entry_t *unread = first_unread(&list, i);
    if (unread) {
        status = mu_fail(MU_IO, "checkpoint '%s/%s' cannot be read: %s", dir, unread->name, unread->why);
        mu_checkpoint_close(found);
    } else if (found) {
        report(MU_LOG_WARN, dir, &list, i - 1, below);
        if (i > 1)
            mu_warn("going back to checkpoint '%s'", mu_checkpoint_path(found));
    } else if (list.count > 0) {
        report(MU_LOG_ERROR, dir, &list, list.count, below);
        status = mu_fail(MU_NOVALID, "%s: %d checkpoint%s, none of them valid", dir, list.count,
                         list.count == 1 ? "" : "s");
    }
    if (status == MU_OK)
        *out = found;
    mu_checkpoint_list_release(&list);
    return status;
}

mu_status_t mu_checkpoint_newest_in(const char *path, int64_t below, mu_checkpoint_t **out)
{
    bool one;
    char *resolved = resolve(path, &one);
    mu_status_t status;
    if (one) {
        mu_checkpoint_t *found = NULL;
        mu_buf_t why = MU_BUF_INIT;
        status = mu_checkpoint_open_why(resolved, &found, &why);
        if (status != MU_OK)
            status = mu_fail(MU_NOVALID, "checkpoint '%s' is not valid: %s", resolved, why.data);
        else if (mu_checkpoint_manifest(found)->info.step >= below) {
            mu_checkpoint_close(found);
            status = mu_fail(MU_NOVALID, "checkpoint '%s' is the only one here", resolved);
        } else {
            *out = found;
        }
        mu_buf_release(&why);
    } else {
        status = newest_of(resolved, below, out);
    }
    free(resolved);
    return status;
}

/* Fills an entry with what opening (and verifying) the checkpoint says. */
static void examine(const char *path, const char *dir, bool full, mu_checkpoint_entry_t *entry)
{
    mu_checkpoint_t *checkpoint = NULL;
    mu_buf_t why = MU_BUF_INIT;
    entry->status = dir ? mu_checkpoint_open_named(dir, entry->name, entry->step, &checkpoint, &why)
                        : mu_checkpoint_open_why(path, &checkpoint, &why);
    if (entry->status == MU_OK) {
        const mu_manifest_t *m = mu_checkpoint_manifest(checkpoint);
        entry->step = m->info.step;
        entry->loss = m->info.loss;
        entry->valid_loss = m->info.valid_loss;
        entry->tp = m->info.tp;
        entry->dp = m->info.dp;
        for (int i = 0; i < m->shard_count; i++)
            entry->bytes += m->shards[i].size;
        if (full)
            entry->status = mu_checkpoint_verify_why(checkpoint, 0, 1, &why);
        mu_checkpoint_close(checkpoint);
    }
    if (entry->status != MU_OK)
        entry->why = mu_buf_detach(&why);
    mu_buf_release(&why);
}

mu_status_t mu_checkpoint_scan(const char *path, bool full, mu_checkpoint_list_t *out)
{
    bool one;
    mu_checkpoint_list_t list = {NULL, 0};
    char *resolved = resolve(path, &one);
    mu_status_t status = MU_OK;
    if (one) {
        const char *slash = strrchr(resolved, '/');
        add_entry(&list, slash ? slash + 1 : resolved, -1);
        examine(resolved, NULL, full, &list.entries[0]);
    } else {
        status = list_names(resolved, &list);
        for (int i = 0; status == MU_OK && i < list.count; i++)
            examine(NULL, resolved, full, &list.entries[i]);
    }
    if (status == MU_OK)
        *out = list;
    free(resolved);
    return status;
}

void mu_checkpoint_list_release(mu_checkpoint_list_t *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->entries[i].why);
    free(list->entries);
    *list = (mu_checkpoint_list_t){NULL, 0};
}
