#include "launcher/run/source.h"
#include "common/clock.h"
#include "common/checkpoint/lineage.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MAX = 64 << 10, LIMIT_MS = 5000 };

/* What the child writes until it closes its end, LIMIT_MS at most: the tree may lie on storage that hangs. */
static bool read_answer(int fd, mu_buf_t *out)
{
    int64_t end = mu_now_ns() + (int64_t)LIMIT_MS * 1000000;
    char bytes[4096];
    for (;;) {
        int64_t left = (end - mu_now_ns()) / 1000000;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return false;
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n <= 0)
            return n == 0;
        if (out->len < ANSWER_MAX)
            mu_buf_add(out, bytes, (size_t)n);
    }
}

static bool spawn_git(char *const *argv, int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int error = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error == 0;
}

/* git -C dir WORD...: whether it ended with 0 in time; `out` has its stdout. */
static bool git(const char *dir, const char *const *words, mu_buf_t *out)
{
    enum { WORDS_MAX = 8 };
    const char *argv[WORDS_MAX + 5] = {"git", "--no-optional-locks", "-C", dir};
    int fds[2], how = -1;
    pid_t pid;
    for (int i = 0; words[i] && i < WORDS_MAX; i++)
        argv[4 + i] = words[i];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    bool ok = spawn_git((char *const *)argv, fds[1], &pid);
    close(fds[1]);
    if (ok) {
        ok = read_answer(fds[0], out);
        if (!ok)
            kill(pid, SIGKILL);
        while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
            continue;
        ok = ok && WIFEXITED(how) && WEXITSTATUS(how) == 0;
    }
    close(fds[0]);
    return ok;
}

static char *folder_of(const char *path)
{
    char *whole = realpath(path, NULL), *slash = whole ? strrchr(whole, '/') : NULL;
    if (slash)
        slash[slash == whole ? 1 : 0] = '\0';
    return whole ? whole : mu_strdup(".");
}

static bool is_tracked(const char *config)
{
    char *dir = folder_of(config), *whole = realpath(config, NULL);
    mu_buf_t answer = MU_BUF_INIT;
    bool yes =
        whole && git(dir, (const char *const[]){"ls-files", "--error-unmatch", "--", whole, NULL}, &answer);
    mu_buf_release(&answer);
    free(whole);
    free(dir);
    return yes;
}

static void add_revision(char *const *configs, int n, json_t *node)
{
    char *dir = folder_of(configs[0]);
    mu_buf_t revision = MU_BUF_INIT, status = MU_BUF_INIT;
    if (git(dir, (const char *const[]){"rev-parse", "HEAD", NULL}, &revision)) {
        revision.data[strcspn(revision.data, "\n")] = '\0';
        bool clean =
            git(dir, (const char *const[]){"status", "--porcelain", "--untracked-files=no", NULL}, &status) &&
            status.len == 0;
        for (int i = 0; i < n && clean; i++)
            clean = is_tracked(configs[i]);
        json_object_set_new(node, "revision", json_string(revision.data));
        json_object_set_new(node, "changed", json_boolean(!clean));
    }
    mu_buf_release(&revision);
    mu_buf_release(&status);
    free(dir);
}

mu_status_t mu_source_write(const char *run_dir, char *const *configs, int n)
{
    const char *image = getenv("IMAGE_DIGEST");
    json_t *files = json_array(),
           *config = json_pack("{s:o, s:n, s:b}", "files", files, "revision", "changed", false);
    mu_status_t status = MU_OK;
    for (int i = 0; i < n && status == MU_OK; i++) {
        json_t *file;
        if (!mu_is_file(configs[i])) /* a pipe: it has been read */
            continue;
        status = mu_lineage_file(configs[i], &file);
        if (status == MU_OK)
            json_array_append_new(files, file);
    }
    if (n > 0)
        add_revision(configs, n, config);
    json_t *root = json_pack("{s:o, s:s?}", "config", config, "image", image && *image ? image : NULL);
    char *text = json_dumps(root, JSON_INDENT(2)), *path = mu_path_join(run_dir, "source.json");
    if (status == MU_OK)
        status = text ? mu_file_replace(path, text, strlen(text), 0600)
                      : mu_fail(MU_BUG, "%s: a path or IMAGE_DIGEST is not UTF-8", path);
    free(path);
    free(text);
    json_decref(root);
    return status;
}
