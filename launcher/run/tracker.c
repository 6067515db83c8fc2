#include "launcher/run/tracker.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/pages.h"
#include "common/ready_text.h"
#include "launcher/http/http_client.h"
#include "launcher/run/tracker_keeper.h"
#include "launcher/track/points.h"

#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEEPERS = 2, POLL_MS = 20, END_MS = 3000, GRACE_MS = 2000, TAIL = 4096 };

struct mu_tracker {
    char *log_path;
    int64_t log_start; /* what is before was written by earlier launchers' trackers */
    double wait;
    struct {
        pid_t pid; /* 0: none */
        char *command;
    } keeper[KEEPERS];
};

/* ---- what is asked for ---- */

static void add_option(const char *option, const char *value, mu_args_t *words)
{
    if (!value || !*value)
        return;
    mu_args_add(words, option);
    mu_args_add(words, value);
}

static mu_status_t plan_mlflow(mu_secrets_t *secrets, mu_args_t *words)
{
    const char *uri = mu_secrets_get(secrets, "MLFLOW_TRACKING_URI"), *why;
    mu_buf_t base = MU_BUF_INIT, user = MU_BUF_INIT, password = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    if (!uri)
        return MU_OK;
    if (!mu_http_split_url(uri, &base, &user, &password, &why)) {
        mu_warn(
            "MLFLOW_TRACKING_URI: %s: the run goes on without MLflow; wanted http[s]://HOST[:PORT][/PATH]",
            why);
    } else {
        add_option("--mlflow", base.data, words);
        if (user.len > 0 || password.len > 0)
            status =
                mu_secrets_set_login(secrets, user.data ? user.data : "", password.data ? password.data : "");
    }
    if (password.data)
        sodium_memzero(password.data, password.len);
    mu_buf_release(&base);
    mu_buf_release(&user);
    mu_buf_release(&password);
    return status;
}

/* muster-wandb beside this program, or in PATH. */
static bool find_sidecar(const char *own_dir, mu_buf_t *out)
{
    const char *path = getenv("PATH");
    mu_buf_addf(out, "%s/muster-wandb", own_dir);
    while (access(out->data, X_OK) != 0) {
        if (!path || !*path)
            return false;
        size_t n = strcspn(path, ":");
        mu_buf_clear(out);
        mu_buf_addf(out, "%.*s/muster-wandb", n > 0 ? (int)n : 1, n > 0 ? path : ".");
        path += n + (path[n] == ':');
    }
    return true;
}

static void plan_wandb(const mu_config_t *c, const char *own_dir, mu_args_t *out)
{
    mu_buf_t program = MU_BUF_INIT;
    if (!c->use_wandb)
        return;
    if (find_sidecar(own_dir, &program)) {
        mu_args_add(out, program.data);
    } else {
        mu_buf_t page = MU_BUF_INIT;
        mu_page_add(MU_PAGE("track"), &page);
        mu_warn("use_wandb or a wandb name is set, and there is no muster-wandb beside muster or in PATH: "
                "a run goes on without Weights & Biases. The program is scripts/muster-wandb in the sources; "
                "cmake --install and the package put it beside muster (%s)",
                page.data);
        mu_buf_release(&page);
    }
    mu_buf_release(&program);
}

mu_status_t mu_tracker_check(const mu_config_t *config)
{
    mu_args_t words = {0};
    mu_buf_t dir = MU_BUF_INIT;
    mu_status_t status = mu_program_dir(&dir);
    if (status == MU_OK)
        plan_wandb(config, dir.data, &words);
    mu_args_free(&words);
    mu_buf_release(&dir);
    return status;
}

mu_status_t mu_tracker_plan(const mu_config_t *config, mu_secrets_t *secrets, const char *run_dir,
                            mu_tracker_plan_t *out)
{
    mu_args_t words = {0};
    mu_buf_t dir = MU_BUF_INIT;
    *out = (mu_tracker_plan_t){.wait = config->muster.track_wait};
    mu_status_t status = mu_program_dir(&dir);
    if (status == MU_OK)
        status = plan_mlflow(secrets, &words);
    if (status == MU_OK) {
        add_option("--tensorboard", config->tensorboard_dir, &words);
        add_option("--listen", config->muster.metrics_listen, &words);
        if (words.n > 0) {
            mu_args_addf(&out->track, "%s/muster", dir.data);
            mu_args_add(&out->track, "track");
            mu_args_add(&out->track, run_dir);
            for (int i = 0; i < words.n; i++)
                mu_args_add(&out->track, words.v[i]);
        }
        plan_wandb(config, dir.data, &out->wandb);
        if (out->wandb.n > 0)
            mu_args_add(&out->wandb, run_dir);
    }
    mu_args_free(&words);
    mu_buf_release(&dir);
    return status;
}

void mu_tracker_plan_free(mu_tracker_plan_t *plan)
{
    mu_args_free(&plan->track);
    mu_args_free(&plan->wandb);
}

/* ---- start ---- */

/* For people: the program by its name, so that what they copy runs where it is in PATH. */
static char *shown(const mu_args_t *args)
{
    mu_args_t copy = {0};
    mu_buf_t line = MU_BUF_INIT;
    const char *slash = strrchr(args->v[0], '/');
    mu_args_add(&copy, slash ? slash + 1 : args->v[0]);
    for (int i = 1; i < args->n; i++) {
        if (strcmp(args->v[i], "--listen") == 0 && i + 1 < args->n)
            i++; /* delivers nothing */
        else
            mu_args_add(&copy, args->v[i]);
    }
    mu_args_quote(&copy, &line);
    mu_args_free(&copy);
    return mu_buf_detach(&line);
}

/* The tracker gets the secrets whose names begin with `prefix`. */
static void start(mu_tracker_t *t, int i, const mu_args_t *args, const mu_secrets_t *secrets,
                  const char *prefix)
{
    mu_args_t full = {0};
    if (args->n == 0)
        return;
    for (int k = 0; k < args->n; k++)
        mu_args_add(&full, args->v[k]);
    mu_args_add(&full, "--launcher");
    mu_args_addf(&full, "%lld", (long long)getpid());
    mu_args_add(&full, "--wait");
    mu_args_addf(&full, "%g", t->wait);
    t->keeper[i].pid = mu_keeper_start(full.v, t->log_path, secrets, prefix);
    t->keeper[i].command = shown(args);
    mu_args_free(&full);
}

void mu_tracker_start(const mu_tracker_plan_t *plan, const mu_secrets_t *secrets, const char *run_dir,
                      mu_tracker_t **out)
{
    *out = NULL;
    if (plan->track.n == 0 && plan->wandb.n == 0)
        return;
    mu_tracker_t *t = mu_calloc(1, sizeof *t);
    t->log_path = mu_path_join(run_dir, "logs/track.log");
    t->log_start = mu_points_size(t->log_path);
    t->wait = plan->wait;
    start(t, 0, &plan->track, secrets, "MLFLOW_");
    start(t, 1, &plan->wandb, secrets, "WANDB_");
    for (int i = 0; i < KEEPERS; i++)
        if (t->keeper[i].pid > 0)
            mu_info("tracker: %s (its log: %s)", t->keeper[i].command, t->log_path);
    *out = t;
}

/* ---- end ---- */

static bool is_running(const mu_tracker_t *t)
{
    for (int i = 0; i < KEEPERS; i++)
        if (t->keeper[i].pid > 0)
            return true;
    return false;
}

/* The last line of the log that is an error, without what comes before its text. */
static void last_error(const char *path, int64_t from, mu_buf_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        lseek(fd, size - from > TAIL ? size - TAIL : from, SEEK_SET);
        mu_fd_drain(fd, TAIL, &text);
        close(fd);
    }
    for (char *line = text.data, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        const char *error = strstr(line, "error: ");
        if (error) {
            mu_buf_clear(out);
            mu_text_escape(error + strlen("error: "), strlen(error) - strlen("error: "), TAIL, out);
        }
    }
    mu_buf_release(&text);
}

static void report(mu_tracker_t *t, int i, int how)
{
    mu_buf_t error = MU_BUF_INIT;
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return;
    last_error(t->log_path, t->log_start, &error);
    if (WIFSIGNALED(how))
        mu_warn("tracker: its keeper was killed by signal %d: points may be missing; this command delivers "
                "them: %s",
                WTERMSIG(how), t->keeper[i].command);
    else if (error.data && strstr(error.data, ": muster track ")) /* it names the command */
        mu_warn("tracker: exit %d: %s", WEXITSTATUS(how), error.data);
    else
        mu_warn("tracker: exit %d: %s; this command delivers what is missing: %s", WEXITSTATUS(how),
                error.len > 0 ? error.data : t->log_path, t->keeper[i].command);
    mu_buf_release(&error);
}

/* Reaps those that have ended. */
static void reap(mu_tracker_t *t)
{
    for (int i = 0; i < KEEPERS; i++) {
        int how = 0;
        if (t->keeper[i].pid <= 0 || waitpid(t->keeper[i].pid, &how, WNOHANG) == 0)
            continue;
        t->keeper[i].pid = 0;
        report(t, i, how);
    }
}

static void signal_all(const mu_tracker_t *t, int number)
{
    for (int i = 0; i < KEEPERS; i++)
        if (t->keeper[i].pid > 0)
            kill(t->keeper[i].pid, number);
}

void mu_tracker_end(mu_tracker_t *t, const volatile sig_atomic_t *signals)
{
    if (!t)
        return;
    int before = *signals;
    int64_t began = mu_now_ns(), limit = began + (int64_t)(t->wait * 1e9) + (int64_t)GRACE_MS * 1000000;
    bool said = false;
    for (reap(t); is_running(t) && *signals == before && mu_now_ns() < limit; reap(t)) {
        if (!said && mu_now_ns() - began > (int64_t)2000 * 1000000) {
            mu_info("waiting %.0f s at most until the tracker has delivered the rest; a signal ends that",
                    t->wait);
            said = true;
        }
        mu_sleep_ms(POLL_MS);
    }
    signal_all(t, MU_KEEPER_END_SIGNAL);
    for (int waited = 0; is_running(t) && waited < END_MS; waited += POLL_MS) {
        mu_sleep_ms(POLL_MS);
        reap(t);
    }
    signal_all(t, SIGKILL); /* the tracker goes with it */
    while (is_running(t)) {
        mu_sleep_ms(POLL_MS);
        reap(t);
    }
    for (int i = 0; i < KEEPERS; i++)
        free(t->keeper[i].command);
    free(t->log_path);
    free(t);
}
