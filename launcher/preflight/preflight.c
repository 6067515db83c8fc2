/* The exchange: one question down every open login, connections back, one answer each, all within one
 * deadline; then the hosts among themselves (preflight_mesh.c). */
#include "launcher/preflight/preflight_internal.h"
#include "launcher/preflight/preflight_back.h"
#include "launcher/preflight/preflight_mesh.h"
#include "launcher/ready/ready_internal.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "common/nccl_env.h"
#include "common/run/orphan_cleanup.h"
#include "common/control/probe_words.h"

#include <errno.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT 30.0

typedef struct exchange {
    mu_ready_t *ready;
    const mu_preflight_want_t *want;
    mu_back_t *back;
    const char *hca; /* NCCL_IB_HCA, the user's */
    mu_preflight_mesh_t *mesh;
    char token[33], *cookie_path, *cookie_name, *daemon;
    double seconds;
    double *asked; /* wall clock when host i was asked; 0: not asked */
    char **missing;
    bool *asked_back;
    json_t **facts;
    int waiting;
} exchange_t;

/* NULL when it is empty. */
static const char *of_environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* By which rule the user wants RoCE's GID to be chosen; the worker then chooses none
 * (worker/train/device_context_nccl.c). */
static char *rule_for_gid(void)
{
    static const char *const rules[] = {"NCCL_IB_GID_INDEX", "NCCL_IB_ADDR_FAMILY", "NCCL_IB_ADDR_RANGE",
                                        "NCCL_IB_ROCE_VERSION_NUM"};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (of_environment(rules[i]))
            return mu_format("%s=%s", rules[i], of_environment(rules[i]));
    return NULL;
}

static mu_status_t random_token(char out[33])
{
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return mu_fail(MU_BUG, "getrandom: %s", strerror(errno));
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return MU_OK;
}

/* The file that identifies the volume: whoever reads the token from it sees what we see. */
static mu_status_t write_cookie(exchange_t *x)
{
    const char *dir = x->want->run_dir;
    x->cookie_name = mu_format(".muster-cookie-%.16s", x->token);
    x->cookie_path = mu_path_join(dir, x->cookie_name);
    if (dir[0] != '/')
        return mu_fail(MU_BUG, "run directory %s: not an absolute path", dir);
    if (mu_file_replace(x->cookie_path, x->token, strlen(x->token), 0644) != MU_OK)
        return mu_fail(MU_IO, "run directory %s: cannot be written from this machine", dir);
    return MU_OK;
}

/* Absolute path of mpirun's program on the far side, by its names in Open MPI 4 and 5; NULL when there is
 * none. */
static char *find_daemon(void)
{
    static const char *const names[] = {"orted", "prted"};
    const char *path = getenv("PATH");
    for (size_t i = 0; i < 2; i++)
        for (const char *p = path ? path : "/usr/bin"; *p;) {
            size_t n = strcspn(p, ":");
            char *file = mu_format("%.*s/%s", (int)n, p, names[i]);
            if (file[0] == '/' && access(file, X_OK) == 0)
                return file;
            free(file);
            p += n + (p[n] == ':');
        }
    return NULL;
}

/* Where to look instead of the usual places, for hosts that keep things elsewhere (docs/readiness.md). */
static void add_paths(json_t *ask)
{
    static const char *const names[][2] = {
        {MU_ENV_NVML, "nvml"}, {MU_ENV_IBVERBS, "ibverbs"}, {MU_ENV_SYSFS, "sys"}};
    json_t *paths = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i][0]))
            json_object_set_new(paths, names[i][1], json_string(getenv(names[i][0])));
    json_object_set_new(ask, "paths", paths);
}

static void ask_host(exchange_t *x, int i)
{
    mu_ready_host_t host = mu_ready_host(x->ready, i);
    const char *address = x->want->return_host ? x->want->return_host : mu_ready_control_address(x->ready);
    json_t *ask = json_pack("{s:f}", "seconds", x->seconds * 0.8); /* its own deadline comes before ours */
    if (x->want->run_dir)
        json_object_set_new(ask, "storage",
                            json_pack("{s:s, s:s}", "dir", x->want->run_dir, "cookie", x->cookie_name));
    if (x->want->token) {
        mu_buf_t dir = MU_BUF_INIT;
        mu_run_tmp_dir(x->want->token, &dir);
        json_object_set_new(ask, "tmp", json_pack("{s:s}", "dir", dir.data));
        mu_buf_release(&dir);
    }
    x->asked_back[i] = !host.local || x->want->return_host;
    if (x->asked_back[i])
        json_object_set_new(ask, "back",
                            json_pack("{s:s, s:i, s:s, s:f}", "address", *address ? address : "0.0.0.0",
                                      "port", mu_back_port(x->back), "token", x->token, "seconds",
                                      x->seconds < 10 ? x->seconds / 2 : 5.0));
    if (x->want->token && !host.local)
        json_object_set_new(ask, "orphan_cleanup",
                            json_pack("{s:s, s:I, s:s*}", "token", x->want->token, "last",
                                      (json_int_t)(x->want->attempt - 1), "copies", x->want->copies));
    if (x->daemon)
        json_object_set_new(ask, "daemon", json_string(x->daemon));
    if (x->hca)
        json_object_set_new(ask, "hca", json_string(x->hca));
    if (x->mesh && !host.local)
        json_object_set_new(ask, "mesh", mu_preflight_mesh_ask(x->mesh, i));
    add_paths(ask);
    char *text = json_dumps(ask, JSON_COMPACT | JSON_ENSURE_ASCII);
    char *line = mu_format(MU_PROBE_ASK "%s\n", text);
    x->asked[i] = mu_wall_seconds();
    if (mu_login_write(&x->ready->host[i].login, line, strlen(line)))
        x->waiting++;
    else
        x->missing[i] = mu_format("cannot be asked: %s", strerror(errno));
    free(line);
    free(text);
    json_decref(ask);
}

/* How far the host's clock is ahead, from the four times of one question (as NTP does). */
static void add_clock(json_t *facts, double asked, double answered)
{
    const json_t *received = json_object_get(facts, "time"), *sent = json_object_get(facts, "sent");
    if (!json_is_number(received) || !json_is_number(sent))
        return;
    double offset = ((json_number_value(received) - asked) + (json_number_value(sent) - answered)) / 2;
    json_object_set_new(facts, "clock_offset", json_real(offset));
}

static void report_orphans(const char *host, const json_t *facts)
{
    json_int_t swept = json_integer_value(json_object_get(facts, "orphans"));
    if (swept > 0)
        mu_warn("%s: ended %lld processes that an earlier attempt had left there", host, (long long)swept);
}

static void hear_host(exchange_t *x, int i)
{
    mu_login_t *login = &x->ready->host[i].login;
    mu_buf_t line = MU_BUF_INIT;
    mu_login_read(login);
    if (mu_login_line(login, MU_PROBE_FACTS, &line)) {
        json_t *facts = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
        if (json_is_object(facts)) {
            add_clock(facts, x->asked[i], mu_wall_seconds());
            report_orphans(x->ready->hosts->host[i].name, facts);
            x->facts[i] = json_incref(facts);
        } else {
            x->missing[i] = mu_strdup("answered something that is not JSON");
        }
        json_decref(facts);
        x->waiting--;
    } else if (login->ended) {
        x->missing[i] = mu_format("the login ended with %d", login->exit_code);
        x->waiting--;
    }
    mu_buf_release(&line);
}

static mu_status_t exchange(exchange_t *x)
{
    int n = x->ready->hosts->count;
    int64_t end_ns = mu_now_ns() + (int64_t)(x->seconds * 1e9);
    struct pollfd *fds = mu_calloc((size_t)n + MU_BACK_FDS, sizeof *fds);
    mu_status_t status = MU_OK;
    for (int i = 0; i < n; i++)
        if (x->ready->host[i].phase == MU_READY_PHASE_READY)
            ask_host(x, i);
    while (x->waiting > 0 && mu_now_ns() < end_ns) {
        if (x->want->stop && *x->want->stop) {
            status = mu_fail(MU_STOPPED, "stopped during preflight");
            break;
        }
        for (int i = 0; i < n; i++)
            fds[i] = (struct pollfd){
                x->asked[i] > 0 && !x->facts[i] && !x->missing[i] ? x->ready->host[i].login.out : -1, POLLIN,
                0};
        int more = mu_back_gather(x->back, fds + n);
        if (poll(fds, (nfds_t)(n + more), 50) < 0 && errno != EINTR)
            break;
        mu_back_serve(x->back, fds + n, more);
        for (int i = 0; i < n; i++)
            if (x->asked[i] > 0 && !x->facts[i] && !x->missing[i])
                hear_host(x, i);
    }
    for (int i = 0; i < n; i++)
        if (x->asked[i] > 0 && !x->facts[i] && !x->missing[i])
            x->missing[i] = mu_format("no answer in %.0f s", x->seconds);
    free(fds);
    return status;
}

static mu_preflight_report_t *judge(exchange_t *x)
{
    int n = x->ready->hosts->count;
    mu_preflight_report_t *report = mu_calloc(1, sizeof *report);
    report->hosts = x->ready->hosts;
    report->gpus = mu_calloc((size_t)n, sizeof *report->gpus);
    report->facts = x->facts;
    if (x->mesh)
        snprintf(report->interfaces, sizeof report->interfaces, "%s", x->mesh->route.interfaces);
    report->gid = rule_for_gid();
    for (int i = 0; i < n; i++)
        report->looked_at += x->asked[i] > 0;
    mu_judge_t all = {.hosts = x->ready->hosts,
                      .want = x->want,
                      .facts = x->facts,
                      .missing = x->missing,
                      .cookie = x->token,
                      .asked_daemon = x->daemon != NULL,
                      .asked_back = x->asked_back,
                      .hca = x->hca,
                      .without_rdma = mu_nccl_env_without_rdma(),
                      .mesh = x->mesh,
                      .report = report};
    mu_preflight_judge(&all);
    x->facts = NULL;
    return report;
}

mu_status_t mu_preflight_run(mu_ready_t *ready, const mu_preflight_want_t *want, mu_preflight_report_t **out)
{
    int n = ready->hosts->count;
    int64_t begin = mu_now_ns();
    exchange_t x = {.ready = ready,
                    .want = want,
                    .hca = of_environment("NCCL_IB_HCA"),
                    .seconds = want->timeout > 0 ? want->timeout : TIMEOUT};
    mu_preflight_report_t *report = NULL;
    mu_status_t status;
    x.asked = mu_calloc((size_t)n, sizeof *x.asked);
    x.asked_back = mu_calloc((size_t)n, sizeof *x.asked_back);
    x.missing = mu_calloc((size_t)n, sizeof *x.missing);
    x.facts = mu_calloc((size_t)n, sizeof *x.facts);
    x.daemon = want->daemon ? mu_strdup(want->daemon) : find_daemon();
    MU_TRY_GOTO(status, random_token(x.token), done);
    if (want->run_dir)
        MU_TRY_GOTO(status, write_cookie(&x), done);
    MU_TRY_GOTO(status, mu_back_new(want->return_port, x.token, &x.back), done);
    x.mesh = mu_preflight_mesh_new(ready, want, x.token);
    MU_TRY_GOTO(status, exchange(&x), done);
    if (x.mesh)
        MU_TRY_GOTO(status, mu_preflight_mesh_run(x.mesh, x.facts, want->stop), done);
    report = judge(&x);
    report->seconds = (double)(mu_now_ns() - begin) * 1e-9;
    status = report->fatal ? MU_PREFLIGHT : MU_OK;
    *out = report;
done:
    mu_back_free(x.back);
    mu_preflight_mesh_free(x.mesh);
    if (x.cookie_path && unlink(x.cookie_path) != 0 && errno != ENOENT)
        mu_warn("%s: cannot remove: %s", x.cookie_path, strerror(errno));
    for (int i = 0; i < n; i++) {
        free(x.missing[i]);
        if (x.facts)
            json_decref(x.facts[i]);
    }
    free(x.asked);
    free(x.asked_back);
    free(x.missing);
    free(x.facts);
    free(x.daemon);
    free(x.cookie_path);
    free(x.cookie_name);
    return status;
}

void mu_preflight_free(mu_preflight_report_t *report)
{
    if (!report)
        return;
    for (int i = 0; i < report->count; i++) {
        free(report->finding[i].found);
        free(report->finding[i].wanted);
        free(report->finding[i].fix);
    }
    for (int i = 0; i < report->hosts->count; i++)
        json_decref(report->facts[i]);
    free(report->finding);
    free(report->facts);
    free(report->gpus);
    free(report->gid);
    free(report);
}
