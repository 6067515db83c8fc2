#include "common/checkpoint/foreign.h"
#include "common/args.h"
#include "common/buf.h"
#include "common/checkpoint/manifest.h"
#include "common/file.h"
#include "common/log.h"

#include <dirent.h>

enum { LATEST_LIMIT = 256 };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool has_neox_files(const char *dir)
{
    DIR *stream = opendir(dir);
    bool found = false;
    for (struct dirent *e; stream && !found && (e = readdir(stream));)
        found = (strncmp(e->d_name, "layer_", 6) == 0 || strncmp(e->d_name, "mp_rank_", 8) == 0) &&
                ends_with(e->d_name, "model_states.pt");
    if (stream)
        closedir(stream);
    return found;
}

static bool is_neox(const char *path)
{
    mu_buf_t name = MU_BUF_INIT;
    char *latest = mu_path_join(path, "latest"), *named = NULL;
    bool found = has_neox_files(path);
    if (!found && mu_is_file(latest) && mu_file_read(latest, LATEST_LIMIT, &name) == MU_OK) {
        name.data[strcspn(name.data, "\r\n")] = '\0';
        if (mu_manifest_name_ok(name.data))
            named = mu_path_join(path, name.data);
        found = named && has_neox_files(named);
    }
    mu_buf_release(&name);
    free(latest);
    free(named);
    return found;
}

mu_foreign_kind_t mu_foreign_kind(const char *path)
{
    char *config = mu_path_join(path, "config.json");
    bool hf = mu_is_file(config);
    free(config);
    return hf ? MU_FOREIGN_HF : is_neox(path) ? MU_FOREIGN_NEOX : MU_FOREIGN_NONE;
}

/* A command for a shell that makes a checkpoint of `path` beside it, then the checkpoint's name. */
static void import_command(const char *path, mu_buf_t *command, mu_buf_t *checkpoint)
{
    mu_args_t words = {0}, made = {0};
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    const char *const fixed[] = {"muster", "import", path, "--output"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        mu_args_add(&words, fixed[i]);
    mu_args_addf(&words, "%.*s.imported", (int)n, path);
    mu_args_add(&made, words.v[words.n - 1]);
    mu_args_quote(&words, command);
    mu_args_quote(&made, checkpoint);
    mu_args_free(&words);
    mu_args_free(&made);
}

mu_status_t mu_foreign_refuse(const char *subject, const char *path)
{
    mu_foreign_kind_t kind = mu_foreign_kind(path);
    const char *front = subject ? subject : "", *colon = subject ? " " : "";
    mu_buf_t command = MU_BUF_INIT, checkpoint = MU_BUF_INIT;
    if (kind == MU_FOREIGN_NONE)
        return mu_fail(MU_NOINPUT, "%s%s'%s': there is no checkpoint%s", front, colon, path,
                       mu_is_dir(path) ? "" : ": no such directory");
    import_command(path, &command, &checkpoint);
    mu_status_t status = mu_fail(
        MU_NOINPUT, "%s%s'%s': is %s, not a checkpoint of muster: make one of it, `%s`, and name %s", front,
        colon, path, kind == MU_FOREIGN_HF ? "a Hugging Face directory" : "a checkpoint of gpt-neox",
        command.data, checkpoint.data);
    mu_buf_release(&command);
    mu_buf_release(&checkpoint);
    return status;
}
