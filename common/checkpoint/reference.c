#include "common/checkpoint/reference.h"
#include "common/buf.h"
#include "common/checkpoint/scan.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

#include <unistd.h>

enum { HINT_LIMIT = 256, SHOWN = 5 };

/* "RUN" of "RUN@what", and *what; NULL when it is no such form. */
static char *run_of(const char *reference, const char **what)
{
    const char *at = strrchr(reference, '@');
    if (!at || at == reference || strchr(at, '/') || access(reference, F_OK) == 0)
        return NULL;
    char *run = mu_format("%.*s", (int)(at - reference), reference);
    if (!mu_is_dir(run)) {
        free(run);
        return NULL;
    }
    *what = at + 1;
    return run;
}

/* The folder of a run's checkpoints, or the folder itself. */
static char *folder_of(const char *run)
{
    char *below = mu_path_join(run, MU_CHECKPOINTS_DIR);
    if (mu_is_dir(below))
        return below;
    free(below);
    return mu_strdup(run);
}

/* The checkpoint that the file DIR/NAME names; NULL when it names none. */
static char *named_by(const char *dir, const char *name)
{
    mu_buf_t text = MU_BUF_INIT;
    char *file = mu_path_join(dir, name), *path = NULL;
    int64_t step;
    bool aside;
    if (mu_is_file(file) && mu_file_read(file, HINT_LIMIT, &text) == MU_OK) {
        text.data[strcspn(text.data, "\r\n")] = '\0';
        if (mu_checkpoint_name(text.data, &step, &aside))
            path = mu_path_join(dir, text.data);
    }
    mu_buf_release(&text);
    free(file);
    return path;
}

static mu_status_t none_of_that(const char *reference, const char *dir, const char *what)
{
    mu_checkpoint_list_t list;
    mu_buf_t steps = MU_BUF_INIT;
    MU_TRY(mu_checkpoint_scan(dir, false, &list));
    for (int i = 0; i < list.count && i < SHOWN; i++)
        mu_buf_addf(&steps, "%s%lld", i ? ", " : "", (long long)list.entries[i].step);
    mu_status_t status = mu_fail(MU_NOINPUT, "%s: %s; the steps of '%s' are %s%s", reference, what, dir,
                                 steps.len ? steps.data : "none", list.count > SHOWN ? ", ..." : "");
    mu_buf_release(&steps);
    mu_checkpoint_list_release(&list);
    return status;
}

static mu_status_t find_step(const char *reference, const char *dir, int64_t step, char **out)
{
    char *path = mu_format("%s/step-%08lld", dir, (long long)step);
    if (mu_is_dir(path)) {
        *out = path;
        return MU_OK;
    }
    free(path);
    return none_of_that(reference, dir, "there is no checkpoint of that step");
}

static mu_status_t find_best(const char *reference, const char *dir, char **out)
{
    char *path = named_by(dir, "best");
    if (path) {
        *out = path;
        return MU_OK;
    }
    return none_of_that(reference, dir, "the run has no best checkpoint: it has not evaluated yet");
}

mu_status_t mu_reference_path(const char *reference, char **out)
{
    const char *what = NULL, *slash = strrchr(reference, '/');
    char *run = run_of(reference, &what), *dir = NULL;
    int64_t step;
    mu_status_t status = MU_OK;
    *out = NULL;
    if (!run) {
        const char *name = slash ? slash + 1 : reference;
        dir = slash ? mu_format("%.*s", slash == reference ? 1 : (int)(slash - reference), reference)
                    : mu_strdup(".");
        if (mu_is_file(reference) && (strcmp(name, "best") == 0 || strcmp(name, "latest") == 0))
            *out = named_by(dir, name);
        if (!*out)
            *out = mu_strdup(reference);
        free(dir);
        return MU_OK;
    }
    dir = folder_of(run);
    if (strcmp(what, "latest") == 0)
        *out = mu_strdup(run);
    else if (strcmp(what, "best") == 0)
        status = find_best(reference, dir, out);
    else if (mu_parse_i64(what, &step) && step >= 0)
        status = find_step(reference, dir, step, out);
    else
        status =
            mu_fail(MU_USAGE, "%s: what follows the @ is best, latest or a step, not '%s'", reference, what);
    free(run);
    free(dir);
    return status;
}

bool mu_reference_here(const char *reference)
{
    const char *what;
    char *run = run_of(reference, &what);
    bool here = run || access(reference, F_OK) == 0;
    free(run);
    return here;
}

char *mu_reference_run(const char *checkpoint)
{
    static const char folder[] = "/" MU_CHECKPOINTS_DIR;
    char *path = realpath(checkpoint, NULL), *slash = path ? strrchr(path, '/') : NULL;
    if (slash)
        *slash = '\0';
    size_t n = path ? strlen(path) : 0, m = sizeof folder - 1;
    if (!slash || n <= m || strcmp(path + n - m, folder) != 0) {
        free(path);
        return NULL;
    }
    path[n - m] = '\0';
    return path;
}

mu_status_t mu_checkpoint_newest(const char *path, int64_t below, mu_checkpoint_t **out)
{
    char *named;
    MU_TRY(mu_reference_path(path, &named));
    mu_status_t status = mu_checkpoint_newest_in(named, below, out);
    free(named);
    return status;
}
