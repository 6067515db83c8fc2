#include "launcher/run/cmd_run.h"
#include "common/clock.h"
#include "common/duration.h"
#include "common/run/completion.h"
#include "common/control/phase.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "common/run/orphan_cleanup.h"
#include "launcher/mpi/agent.h"
#include "launcher/ready/clean_hosts.h"
#include "launcher/preflight/requirements.h"
#include "launcher/plan/start_check.h"
#include "launcher/run/policy.h"
#include "launcher/preflight/preflight.h"
#include "launcher/ready/ready.h"
#include "launcher/run/run_notes.h"
#include "launcher/run/run_plan.h"
#include "launcher/run/source.h"
#include "launcher/run/tracker.h"
#include "launcher/monitor/supervise.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Everything that lives as long as the run. */
typedef struct run {
    mu_run_plan_t plan;
    mu_claim_t claim;
    mu_run_state_t state;
    mu_supervisor_t supervisor;
    mu_progress_t progress;
    mu_secrets_t *secrets; /* NULL once the trackers have them */
    mu_tracker_t *tracker;
    mu_ssh_t *ssh;
    mu_ready_t *ready;
    mu_buf_t tmp_dir, shm_base, ssh_args;
    int tmp_fd; /* holds tmp_dir */
    char *config_path, *hostfile, *key_path;
    bool *fit; /* of each host: it may be used */
    int *gpus; /* of each host */
    uint8_t *key;
    char config_digest[MU_DIGEST_HEX], file_digest[MU_DIGEST_HEX];
    char verdict_digest[MU_DIGEST_HEX]; /* of all that was asked for: config, workers, hosts */
    char hosts_digest[MU_DIGEST_HEX];   /* of that and the hosts that were given */
} run_t;

/* ---- the run directory ---- */

static void set_state(run_t *r, const char *word)
{
    snprintf(r->state.state, sizeof r->state.state, "%s", word);
    r->state.time = mu_wall_seconds();
    if (r->supervisor.writer)
        mu_rundir_writer_state(r->supervisor.writer, &r->state);
}

/* The checkpoint that the last launcher knew of, if it is still there; -1: none. */
static int64_t past_checkpoint(const run_t *r, const mu_run_state_t *past)
{
    char *path = mu_format("%s/checkpoints/step-%08lld", r->plan.run_dir, (long long)past->last_checkpoint);
    bool there = past->last_checkpoint >= 0 && mu_is_dir(path);
    free(path);
    return there ? past->last_checkpoint : -1;
}

/* A fresh state; what goes on from earlier launchers is what they left in run.json. */
static void read_past(run_t *r)
{
    mu_run_state_t past = {0};
    char *path = mu_path_join(r->plan.run_dir, "run.json");
    bool known = mu_is_file(path) && mu_run_state_read(r->plan.run_dir, &past) == MU_OK;
    free(path);
    r->state = (mu_run_state_t){.last_checkpoint = -1, .exit_code = -1, .pid = getpid()};
    if (known) {
        r->state.attempt = past.attempt;
        r->state.last_checkpoint = past_checkpoint(r, &past);
    }
    gethostname(r->state.host, sizeof r->state.host - 1);
    snprintf(r->state.version, sizeof r->state.version, "%s", MU_VERSION);
    snprintf(r->state.mpi, sizeof r->state.mpi, "%s", r->plan.mpirun.version);
    snprintf(r->state.config_digest, sizeof r->state.config_digest, "%s", r->config_digest);
    r->state.started = mu_wall_seconds();
}

/* What was asked of a launcher before this one, or too late of this one. */
static void forget_requests(const run_t *r)
{
    char host[256];
    mu_stop_forget(r->plan.run_dir);
    mu_drain_take(r->plan.run_dir, host);
}

/* A verdict stands as long as the same is asked for. Hosts that a scheduler gave are not asked for. */
static void digest_request(run_t *r)
{
    const mu_run_plan_t *p = &r->plan;
    mu_config_digest(p->config, r->config_digest);
    char *text = mu_format("config %s\nworkers %lld\nhosts %s\nhostfile %s\n", r->config_digest,
                           (long long)p->workers_option, p->hosts_option ? p->hosts_option : "",
                           p->hostfile ? p->hostfile : "");
    mu_digest_bytes(text, strlen(text), r->verdict_digest);
    mu_buf_t hosts = MU_BUF_INIT;
    char own[256] = "";
    gethostname(own, sizeof own - 1);
    mu_buf_addf(&hosts, "%slauncher %s\n", text, own);
    for (int i = 0; i < p->hosts->count; i++)
        mu_buf_addf(&hosts, "host %s\n", p->hosts->host[i].name);
    mu_digest_bytes(hosts.data, hosts.len, r->hosts_digest);
    mu_buf_release(&hosts);
    free(text);
}

/* Whether the cause of such an end may belong to a host or what it has mounted: it says nothing of other hosts. */
static bool belongs_to_hosts(mu_status_t status)
{
    return status == MU_AUTH || status == MU_NOINPUT || status == MU_RUNDIR || status == MU_NOPROGRESS;
}

static mu_status_t read_verdict(run_t *r, mu_verdict_t *out)
{
    MU_TRY(mu_verdict_read(r->plan.run_dir, r->verdict_digest, out));
    return out->status != MU_OK ? MU_OK : mu_verdict_read(r->plan.run_dir, r->hosts_digest, out);
}

/* /tmp is everybody's, and the names of the run's folders can be seen there while it runs: another user may have made
 * them before this start. Then the run takes another mark, and with it other names. */
static mu_status_t take_free_folders(run_t *r)
{
    mu_buf_t name = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    for (int i = 0; i < 8 && status == MU_OK && mu_run_folders_foreign(r->state.token); i++) {
        mu_buf_clear(&name);
        mu_run_tmp_dir(r->state.token, &name);
        mu_warn("%s, or its like in shared memory, is there and not a private folder of ours: taking another "
                "name",
                name.data);
        status = mu_rundir_new_token(r->plan.run_dir, r->state.token);
    }
    mu_buf_release(&name);
    return status;
}

static mu_status_t claim_directory(run_t *r)
{
    mu_verdict_t verdict;
    MU_TRY(mu_rundir_claim(r->plan.run_dir, &r->claim));
    digest_request(r);
    MU_TRY(read_verdict(r, &verdict));
    if (verdict.status != MU_OK)
        return mu_fail(verdict.status,
                       "%s/verdict.json: this run has ended for good: %s: change the config or the options, "
                       "or mend the cause and remove the file",
                       r->plan.run_dir, verdict.reason);
    read_past(r);
    MU_TRY(mu_rundir_token(r->plan.run_dir, r->state.token));
    forget_requests(r);
    int orphans = mu_orphan_cleanup_processes(r->state.token, INT64_MAX);
    if (orphans > 0)
        mu_warn("ended %d processes that an earlier attempt had left on this machine", orphans);
    mu_orphan_cleanup_folders(r->state.token);
    MU_TRY(take_free_folders(r));
    if (!r->plan.more)
        MU_TRY(mu_source_write(r->plan.run_dir, r->plan.files.item, r->plan.files.count));
    MU_TRY(mu_rundir_writer_start(r->plan.run_dir, r->claim.fd, &r->supervisor.writer));
    mu_rundir_writer_event(r->supervisor.writer, "launcher", r->state.host, -1, "pid %lld",
                           (long long)r->state.pid);
    return MU_OK;
}

static mu_status_t write_config(run_t *r)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_config_write_yaml(r->plan.config, false, &text);
    mu_status_t status = mu_file_replace(r->config_path, text.data, text.len, 0600);
    mu_digest_bytes(text.data, text.len, r->file_digest);
    mu_buf_release(&text);
    return status; /* 74: a volume that is full now is no directory that cannot be used */
}

static mu_status_t write_key(run_t *r)
{
    char hex[2 * MU_CONTROL_KEY_BYTES + 1];
    mu_control_key_hex(r->key, hex);
    mu_status_t status = mu_file_replace(r->key_path, hex, sizeof hex - 1, 0600);
    sodium_memzero(hex, sizeof hex);
    struct stat st = {0};
    if (status == MU_OK && lstat(r->key_path, &st) == 0)
        r->supervisor.key_inode = st.st_ino;
    return status;
}

/* ---- hosts ---- */

static volatile sig_atomic_t signals; /* requests to stop; every wait looks at it */

/* One request may come as several signals: bash passes SIGHUP on to its jobs after the kernel has sent it, timeout(1)
 * signals its child and then its group. What comes within a second of another is the same request, and a terminal that
 * closes never asks for more than the first one. */
static void count_signal(int number)
{
    static volatile int64_t last_ns; /* the handler runs with all of these signals blocked */
    int64_t now = mu_now_ns();
    bool again = signals > 0 && (number == SIGHUP || now - last_ns < 1000000000);
    last_ns = now;
    if (!again)
        signals++;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = count_signal};
    sigfillset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGQUIT, &action,
              NULL); /* a terminal's Ctrl-\\ asks for an end too; a core file would hold nothing */
    if (signal(SIGHUP, SIG_IGN) != SIG_IGN) /* nohup's wish stands */
        sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Which hosts may be used; MU_PREFLIGHT when that are fewer than muster.min_hosts. */
static mu_status_t choose_hosts(run_t *r, const mu_preflight_report_t *report, mu_status_t status)
{
    int fit = 0;
    for (int i = 0; i < r->plan.hosts->count; i++) {
        r->fit[i] = mu_preflight_fit(report, i);
        r->gpus[i] = report->gpus[i];
        fit += r->fit[i];
    }
    for (int i = 0; i < report->count; i++)
        if (report->finding[i].fatal && report->finding[i].host < 0)
            return status; /* this machine is at fault */
    int64_t least = r->plan.config->muster.min_hosts;
    if (fit == r->plan.hosts->count || (least > 0 && fit >= least))
        return MU_OK;
    return MU_PREFLIGHT;
}

static mu_status_t check_hosts(run_t *r)
{
    static const mu_need_t need[] = {
        [MU_DEVICE_AUTO] = MU_NEED_AUTO, [MU_DEVICE_CPU] = MU_NEED_NO, [MU_DEVICE_CUDA] = MU_NEED_YES};
    static const mu_need_t rdma[] = {[MU_TRANSPORT_AUTO] = MU_NEED_AUTO,
                                     [MU_TRANSPORT_RDMA] = MU_NEED_YES,
                                     [MU_TRANSPORT_TCP] = MU_NEED_NO};
    mu_requirements_t needs;
    MU_TRY(mu_requirements_of(r->plan.config, r->plan.more == NULL, &needs));
    mu_preflight_want_t want = {.run_dir = r->plan.run_dir,
                                .checkpoint_bytes = needs.checkpoint,
                                .memory_per_slot = needs.rank,
                                .gpus = need[r->plan.config->muster.device],
                                .rdma = rdma[r->plan.config->muster.transport],
                                .controller_here = mu_run_plan_controller_here(r->plan.config),
                                .settings = &r->plan.settings,
                                .token = r->state.token,
                                .attempt = r->state.attempt + 1,
                                .stop = &signals};
    mu_preflight_report_t *report = NULL;
    set_state(r, "checking");
    mu_status_t status = mu_preflight_run(r->ready, &want, &report);
    if (!report)
        return status;
    status = choose_hosts(r, report, status);
    report->goes_on = status == MU_OK;
    mu_preflight_print(report);
    snprintf(r->plan.interfaces, sizeof r->plan.interfaces, "%s", report->interfaces);
    mu_preflight_free(report);
    return status;
}

/* Every host ready and fit, or the error that says which is not. */
static mu_status_t gather(run_t *r)
{
    const mu_config_t *config = r->plan.config;
    bool local = r->plan.hosts->source == MU_HOSTS_LOCAL;
    mu_ready_options_t options = {.timeout = config->muster.ready_timeout,
                                  .min_hosts = (int)config->muster.min_hosts,
                                  .worker = r->plan.worker,
                                  .token = r->state.token,
                                  .attempt = r->state.attempt + 1,
                                  .quiet = local,
                                  .stop = &signals};
    set_state(r, "waiting");
    if (!r->ssh)
        MU_TRY(mu_ssh_new(r->plan.hosts, config->muster.ssh_args, r->tmp_dir.data, &r->ssh));
    mu_ready_free(r->ready);
    r->ready = NULL;
    MU_TRY(mu_ready_new(r->plan.hosts, r->ssh, &options, &r->ready));
    MU_TRY(mu_ready_wait(r->ready));
    mu_run_plan_prove(&r->plan, r->ready);
    MU_TRY(check_hosts(r));
    if (local) { /* no login to keep */
        mu_ready_free(r->ready);
        r->ready = NULL;
    } else if (r->ssh_args.len == 0) {
        mu_ssh_mpirun_args(r->ssh, &r->ssh_args);
    }
    return MU_OK;
}

static mu_status_t write_hostfile(run_t *r)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_mpirun_hostfile(&r->plan.mpirun, r->plan.places.place, r->plan.places.count, &text);
    mu_status_t status = mu_file_replace(r->hostfile, text.data, text.len, 0600);
    mu_buf_release(&text);
    if (status == MU_OK && !r->plan.places.local)
        status = mu_agent_install(r->tmp_dir.data, r->plan.places.node, r->plan.places.family,
                                  r->plan.places.count);
    return status;
}

/* ---- attempts ---- */

static void make_command(run_t *r, const char *control, mu_args_t *args, mu_args_t *env)
{
    mu_args_t vars = {0};
    char *shm = mu_format("%s/%lld", r->shm_base.data, (long long)r->state.attempt);
    mu_args_addf(&vars, MU_ENV_RUN_DIR "=%s", r->plan.run_dir);
    mu_args_addf(&vars, MU_ENV_ATTEMPT "=%lld", (long long)r->state.attempt);
    mu_args_addf(&vars, MU_ENV_RUN_TOKEN "=%s", r->state.token);
    mu_args_addf(&vars, MU_ENV_CONTROL "=%s", control);
    mu_args_addf(&vars, MU_ENV_CONTROL_KEY_FILE "=%s", r->key_path);
    mu_args_addf(&vars, MU_ENV_LEASE "=%g", r->plan.config->muster.lease_timeout);
    mu_args_addf(&vars, MU_ENV_SHM_DIR "=%s", shm);
    mu_run_names_t names = {.tmp_dir = r->tmp_dir.data,
                            .shm_dir = shm,
                            .hostfile = r->hostfile,
                            .config = r->config_path,
                            .ssh_args = r->ssh_args.data,
                            .vars = &vars};
    mu_run_plan_command(&r->plan, &names, args, env);
    mu_args_free(&vars);
    free(shm);
}

static void note_account(run_t *r)
{
    if (!r->plan.more && mu_rundir_stands(r->plan.run_dir, r->claim.fd))
        mu_note_account(r->plan.run_dir, r->supervisor.writer, &r->state);
}

static mu_status_t attempt(run_t *r, mu_outcome_t *outcome)
{
    mu_supervisor_t *s = &r->supervisor;
    mu_args_t args = {0}, env = {0};
    mu_status_t status;
    if (!mu_rundir_stands(r->plan.run_dir, r->claim.fd))
        return mu_fail(
            MU_RUNDIR,
            "%s is no longer the directory that this run began in: it was moved, removed or replaced",
            r->plan.run_dir);
    MU_TRY(mu_run_tmp_room(r->tmp_dir.data));
    r->state.attempt++;
    MU_TRY(mu_completion_forget(r->plan.run_dir));
    MU_TRY(write_key(r));
    MU_TRY(write_hostfile(r));
    make_command(r, mu_server_address(s->server), &args, &env);
    s->args = &args;
    s->env = &env;
    note_account(r);
    set_state(r, "starting");
    mu_rundir_writer_event(s->writer, "attempt", NULL, -1, "attempt %lld with %d workers",
                           (long long)r->state.attempt, r->plan.places.ranks - 1);
    status = mu_supervise(s, outcome);
    mu_orphan_cleanup_processes(r->state.token, INT64_MAX);
    if (mu_rundir_stands(r->plan.run_dir, r->claim.fd))
        unlink(r->key_path);
    mu_args_free(&args);
    mu_args_free(&env);
    return status;
}

/* A pause before the next attempt, in which a stop is heard. */
static void pause_for(run_t *r, double seconds)
{
    int64_t until = mu_now_ns() + (int64_t)(seconds * 1e9);
    while (mu_now_ns() < until && r->supervisor.stops == 0) {
        mu_sleep_ms(100);
        mu_supervisor_poll_requests(&r->supervisor);
    }
}

static void report_failure(run_t *r, const mu_outcome_t *o, const mu_policy_t *policy)
{
    char when[32];
    time_t seconds = (time_t)o->time;
    struct tm tm;
    mu_buf_t ran = MU_BUF_INIT;
    localtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%H:%M:%S", &tm);
    mu_duration_text(mu_wall_seconds() - r->state.started, &ran);
    mu_info("FAILED at step %lld after %s, restart %lld of %lld", (long long)r->state.step, ran.data,
            (long long)r->state.restarts, (long long)r->plan.config->muster.max_restarts);
    mu_info("  first cause  %s %s, at %s", o->who, o->what, when);
    if (*o->last_line)
        mu_info("  last output  %s", o->last_line);
    if (*o->log)
        mu_info("  log          %s", o->log);
    if (o->secondary_failures > 0)
        mu_info("  secondary    %d other rank%s ended afterwards (not the cause)", o->secondary_failures,
                o->secondary_failures == 1 ? "" : "s");
    if (r->state.last_checkpoint >= 0)
        mu_info("  saved        step %lld", (long long)r->state.last_checkpoint);
    else
        mu_info("  saved        no checkpoint so far");
    if (policy->again)
        mu_info("  next         attempt %lld in %.0f s, from the newest valid checkpoint",
                (long long)r->state.attempt + 1, policy->pause);
    mu_buf_release(&ran);
}

/* ---- from beginning to end ---- */

static void set_up_supervisor(run_t *r)
{
    const mu_config_t *config = r->plan.config;
    mu_supervisor_t *s = &r->supervisor;
    double lease = config->muster.lease_timeout;
    s->run_dir = r->plan.run_dir;
    s->config_digest = r->file_digest;
    s->ranks = r->plan.places.ranks;
    s->many_hosts = !r->plan.places.local;
    s->completion_wait = r->plan.places.local ? 0 : 5;
    s->progress = &r->progress;
    s->signals = &signals;
    s->state = &r->state;
    /* A cut host is named within 10 s: when it is cut off in the direction to it, its last heartbeat comes up
     * to a second after the cut. And before the guard on the other side ends its rank. */
    const double silence = 8.75;
    s->limits = (mu_limits_t){.hang = config->muster.hang_timeout,
                              .heartbeat = lease * 2 / 3 < silence ? lease * 2 / 3 : silence,
                              .start = 60 + 0.02 * s->ranks};
    r->state.tp = config->tp;
    r->state.dp = config->dp;
    r->state.workers = config->workers;
    r->state.train_iters = config->train_iters;
    mu_note_hosts(&r->plan.places, &r->state);
}

static void say_plan(const run_t *r)
{
    const mu_config_t *c = r->plan.config;
    for (const char *line = mu_config_notes(c); *line;) {
        size_t n = strcspn(line, "\n");
        mu_info("%.*s", (int)n, line);
        line += n + (line[n] != '\0');
    }
    int hosts = 0;
    for (int i = 0; i < r->plan.hosts->count; i++)
        hosts += r->fit[i];
    mu_info("%d worker%s on %d host%s (%s): tp %d x dp %d; run directory %s", c->workers,
            c->workers == 1 ? "" : "s", hosts, hosts == 1 ? "" : "s", r->plan.hosts->from, c->tp, c->dp,
            r->plan.run_dir);
}

/* Workers, layout and places for the hosts that are fit, and what follows from these. */
static mu_status_t fit(run_t *r)
{
    MU_TRY(mu_run_plan_fit(&r->plan, r->fit, r->gpus));
    MU_TRY(write_config(r));
    set_up_supervisor(r);
    return MU_OK;
}

/* For another attempt: a host may have gone since the last one, or have come back. */
static mu_status_t fit_again(run_t *r)
{
    int workers = r->plan.config->workers, hosts = r->plan.places.count;
    mu_status_t status = fit(r);
    if (status == MU_CONFIG) /* it did fit all hosts: with those it will again */
        return MU_UNREADY;
    if (r->plan.config->workers != workers || r->plan.places.count != hosts)
        say_plan(r);
    return status;
}

/* How long a host that has said that it goes may still answer: whoever asked ends it as soon as he sees that
 * the ranks have ended. One that answers later is back, or stays. */
enum { DRAIN_PAUSE = 10 };

/* The ranks have ended in good order because a host goes; that is no failure and counts as none. */
static mu_status_t start_after_drain(run_t *r)
{
    char saved[64] = "there is no checkpoint yet";
    if (r->state.last_checkpoint >= 0)
        snprintf(saved, sizeof saved, "step %lld is saved", (long long)r->state.last_checkpoint);
    snprintf(r->state.reason, sizeof r->state.reason, "a host goes: %s", saved);
    set_state(r, "restarting");
    mu_info("%s; starting again in %d s at the earliest, when all hosts are ready", saved, DRAIN_PAUSE);
    pause_for(r, DRAIN_PAUSE);
    if (r->supervisor.stops > 0)
        return MU_STOPPED;
    MU_TRY(gather(r));
    return fit_again(r);
}

static mu_status_t run_attempts(run_t *r, mu_outcome_t *outcome)
{
    mu_policy_t policy = {.max_restarts = r->plan.config->muster.max_restarts,
                          .best_checkpoint = r->state.last_checkpoint + 1};
    for (;;) {
        MU_TRY(attempt(r, outcome));
        if (outcome->drained) {
            MU_TRY(start_after_drain(r));
            continue;
        }
        if (outcome->status == MU_OK || outcome->status == MU_STOPPED)
            return outcome->status;
        char place[256];
        /* what happens before the first step is one place: which of its phases a death falls into is chance */
        snprintf(place, sizeof place, "%s %s phase %d", mu_status_name(outcome->status), outcome->who,
                 outcome->phase < MU_PHASE_FIRST_STEP ? MU_PHASE_START : outcome->phase);
        mu_failed_attempt_t failed = {outcome->status, r->state.step, r->state.last_checkpoint, place};
        mu_policy_decide(&policy, &failed, r->supervisor.stops > 0);
        if (policy.status == MU_NOPROGRESS && mu_run_tmp_room(r->tmp_dir.data) != MU_OK)
            policy.status = MU_IO; /* what /tmp lacks says nothing about the run */
        report_failure(r, outcome, &policy);
        if (!policy.again)
            return policy.status;
        snprintf(r->state.reason, sizeof r->state.reason, "%s %s", outcome->who, outcome->what);
        r->state.restarts++;
        set_state(r, "restarting");
        pause_for(r, policy.pause);
        if (r->supervisor.stops > 0)
            return r->state.last_checkpoint >= 0 ? MU_STOPPED : policy.status;
        *outcome = (mu_outcome_t){.rank = -1}; /* what now goes wrong has another cause */
        MU_TRY(gather(r));
        MU_TRY(fit_again(r));
    }
}

/* What can be known of the start is said before any host is waited for. What eval and generate ask is checked by
 * themselves. */
static mu_status_t check_start(const run_t *r)
{
    mu_buf_t notes = MU_BUF_INIT; /* the controller says them, of what it sees */
    mu_start_question_t question = {.config = r->plan.config,
                                    .run_dir = r->plan.run_dir,
                                    .here = r->plan.hosts->source == MU_HOSTS_LOCAL};
    mu_status_t status = r->plan.more ? MU_OK : mu_start_check(&question, &notes);
    mu_buf_release(&notes);
    return status;
}

static mu_status_t start_and_watch(run_t *r, mu_outcome_t *outcome)
{
    MU_TRY(check_start(r));
    MU_TRY(mu_run_tmp_make(r->tmp_dir.data, &r->tmp_fd));
    MU_TRY(gather(r));
    MU_TRY(fit(r));
    say_plan(r);
    prctl(PR_SET_DUMPABLE, 0); /* no core file at all; programs that are started are not affected */
    r->key = mu_control_key_room();
    mu_control_key_new(r->key);
    MU_TRY(mu_server_open(r->plan.places.route.address, r->key, r->plan.places.ranks, &r->supervisor.server));
    mu_note_data_version(r->plan.config->data_path, &r->state);
    return run_attempts(r, outcome);
}

/* Who knocked without being let in: a scan, an old guard, or someone who should not. */
static void tell_refused(run_t *r)
{
    if (!r->supervisor.server)
        return;
    const int64_t *faults = mu_server_faults(r->supervisor.server);
    for (int i = 1; i < MU_CONTROL_FAULT_COUNT; i++)
        if (faults[i] > 0) {
            const char *cause = mu_control_fault_text((mu_control_fault_t)i);
            mu_warn("control port: %lld connections refused: %s", (long long)faults[i], cause);
            mu_rundir_writer_event(r->supervisor.writer, "refused", NULL, -1, "%lld connections: %s",
                                   (long long)faults[i], cause);
        }
}

/* What is true of a run that was asked to stop: the step that is saved, and whether later ones are lost. */
static void stop_reason(run_t *r)
{
    if (r->state.last_checkpoint < 0)
        snprintf(r->state.reason, sizeof r->state.reason, "stopped on request before the first checkpoint");
    else if (r->state.last_checkpoint >= r->state.step)
        snprintf(r->state.reason, sizeof r->state.reason, "stopped on request: step %lld is saved",
                 (long long)r->state.last_checkpoint);
    else
        snprintf(r->state.reason, sizeof r->state.reason,
                 "stopped on request at step %lld: the newest checkpoint is of step %lld",
                 (long long)r->state.step, (long long)r->state.last_checkpoint);
}

/* Why it ended, for run.json and the verdict. What another start would only repeat is told with its own words, since
 * the next one tells nothing else. */
static void set_reason(run_t *r, mu_status_t status, const mu_outcome_t *o)
{
    char newest[256];
    mu_log_newest_error(newest, sizeof newest);
    if (status == MU_STOPPED) {
        stop_reason(r);
        return;
    }
    bool last = mu_status_is_final(status);
    const char *words = !*o->who ? newest : o->last_line;
    if (*o->who)
        snprintf(r->state.reason, sizeof r->state.reason, "%s %s%s%s", o->who, o->what,
                 last && *words ? ": " : "", last ? words : "");
    else
        snprintf(r->state.reason, sizeof r->state.reason, "%s",
                 last && *words ? words : mu_status_text(status));
}

/* The last lines, run.json, and the verdict. */
static void finish(run_t *r, mu_status_t status, const mu_outcome_t *o)
{
    const char *word = status == MU_OK ? "done" : status == MU_STOPPED ? "stopped" : "failed";
    tell_refused(r);
    r->state.exit_code = mu_status_exit(status);
    set_reason(r, status, o);
    mu_rundir_writer_event(r->supervisor.writer, "end", NULL, -1, "exit %d: %s", mu_status_exit(status),
                           r->state.reason);
    note_account(r);
    set_state(r, word);
    if (mu_status_is_final(status) && mu_rundir_stands(r->plan.run_dir, r->claim.fd)) {
        mu_verdict_t verdict = {.status = status};
        snprintf(verdict.config_digest, sizeof verdict.config_digest, "%s",
                 belongs_to_hosts(status) ? r->hosts_digest : r->verdict_digest);
        snprintf(verdict.reason, sizeof verdict.reason, "%s", r->state.reason);
        mu_verdict_write(r->plan.run_dir, &verdict);
    }
    if (!r->plan.more)
        mu_print_account(&r->state.account);
    if (status == MU_OK && r->plan.more)
        mu_debug("done");
    else if (status == MU_OK)
        mu_info("done: step %lld", (long long)r->state.step);
    else if (status == MU_STOPPED && r->state.last_checkpoint >= r->state.step &&
             r->state.last_checkpoint >= 0)
        mu_info("stopped: step %lld is saved; run again to go on (exit 75)",
                (long long)r->state.last_checkpoint);
    else if (status == MU_STOPPED && r->state.last_checkpoint >= 0)
        mu_info("stopped at step %lld: the newest checkpoint is of step %lld; run again to go on (exit 75)",
                (long long)r->state.step, (long long)r->state.last_checkpoint);
    else if (status == MU_STOPPED)
        mu_info("stopped before a first checkpoint; run again to begin anew (exit 75)");
    else if (*o->who)
        mu_error("%s %s: exit %d (%s)", o->who, o->what, mu_status_exit(status), mu_status_text(status));
}

static void clean_up(run_t *r)
{
    mu_server_close(r->supervisor.server);
    if (r->ready)
        mu_clean_hosts(r->ready, r->state.token);
    mu_ready_free(r->ready);
    mu_ssh_free(r->ssh);
    if (mu_rundir_stands(r->plan.run_dir, r->claim.fd)) {
        forget_requests(r);
        unlink(r->key_path);
    }
    if (r->tmp_fd >= 0)
        close(r->tmp_fd);
    mu_orphan_cleanup_folders(r->state.token);
    mu_rundir_writer_end(r->supervisor.writer);
    mu_control_key_free(r->key);
    r->key = NULL;
}

static void name_files(run_t *r)
{
    r->config_path = mu_path_join(r->plan.run_dir, "config.yml");
    r->key_path = mu_path_join(r->plan.run_dir, "control.key");
    mu_run_tmp_dir(r->state.token, &r->tmp_dir);
    mu_run_shm_dir(r->state.token, &r->shm_base);
    r->hostfile = mu_path_join(r->tmp_dir.data, "hostfile");
}

/* Touches nothing: a directory that no run has used yet has no mark, so its command shows zeros. */
static void dry_token(run_t *r)
{
    char *path = mu_path_join(r->plan.run_dir, "run.id");
    if (!mu_is_file(path) || mu_rundir_token(r->plan.run_dir, r->state.token) != MU_OK)
        memset(r->state.token, '0', sizeof r->state.token - 1);
    free(path);
}

static mu_status_t dry_run(run_t *r)
{
    mu_args_t args = {0}, env = {0};
    mu_buf_t line = MU_BUF_INIT;
    MU_TRY(check_start(r));
    mu_settings_read(&r->plan.settings);
    MU_TRY(mu_run_plan_fit(&r->plan, NULL, NULL));
    read_past(r);
    r->state.attempt++;
    dry_token(r);
    name_files(r);
    make_command(r, "0.0.0.0:0", &args, &env);
    mu_args_quote(&args, &line);
    mu_status_t status =
        puts(line.data) < 0 || fflush(stdout) != 0 ? mu_fail(MU_IO, "stdout: cannot write") : MU_OK;
    mu_buf_release(&line);
    mu_args_free(&args);
    mu_args_free(&env);
    return status;
}

/* Its trackers read what the run writes; ranks that do not train write no points. */
static mu_status_t start_tracker(run_t *r)
{
    mu_tracker_plan_t plan;
    if (r->plan.more)
        return MU_OK;
    mu_status_t status = mu_tracker_plan(r->plan.config, r->secrets, r->plan.run_dir, &plan);
    if (status == MU_OK)
        mu_tracker_start(&plan, r->secrets, r->plan.run_dir, &r->tracker);
    mu_tracker_plan_free(&plan);
    mu_secrets_free(r->secrets); /* who needs them has them */
    r->secrets = NULL;
    return status;
}

static mu_status_t whole_run(run_t *r)
{
    mu_outcome_t outcome = {.rank = -1};
    MU_TRY(claim_directory(r));
    MU_TRY(start_tracker(r));
    name_files(r);
    catch_signals();
    r->fit = mu_calloc((size_t)r->plan.hosts->count, sizeof *r->fit);
    r->gpus = mu_calloc((size_t)r->plan.hosts->count, sizeof *r->gpus);
    mu_async_stderr_t *screen = mu_async_stderr_open(STDERR_FILENO);
    mu_progress_begin(&r->progress, screen, r->plan.config->log_interval);
    mu_status_t status = start_and_watch(r, &outcome);
    mu_progress_end(&r->progress);
    finish(r, status, &outcome);
    clean_up(r);
    mu_rundir_release(
        &r->claim); /* whoever does not read our last words does not hold up the next launcher */
    mu_tracker_end(r->tracker, &signals);
    mu_async_stderr_close(screen, &signals);
    return status;
}

static void run_free(run_t *r)
{
    mu_rundir_release(&r->claim);
    mu_buf_release(&r->tmp_dir);
    mu_buf_release(&r->shm_base);
    mu_buf_release(&r->ssh_args);
    free(r->config_path);
    free(r->hostfile);
    free(r->key_path);
    free(r->fit);
    free(r->gpus);
    mu_run_plan_free(&r->plan);
    mu_secrets_free(r->secrets);
}

mu_status_t mu_cmd_run(int argc, char **argv)
{
    return mu_cmd_run_as(argc, argv, NULL);
}

mu_status_t mu_cmd_run_as(int argc, char **argv, const mu_args_t *more)
{
    run_t r = {.claim = {.fd = -1}, .tmp_fd = -1, .plan = {.more = more}};
    mu_status_t status;
    if (sodium_init() < 0)
        return mu_fail(MU_BUG, "libsodium does not start");
    MU_TRY(mu_secrets_take(&r.secrets)); /* ranks and ssh do not get them */
    MU_TRY_GOTO(status, mu_run_plan_parse(argc, argv, &r.plan), out);
    if (r.plan.help)
        goto out;
    MU_TRY_GOTO(status, mu_run_plan_find(&r.plan), out);
    status = r.plan.dry_run ? dry_run(&r) : whole_run(&r);
out:
    run_free(&r);
    return status;
}
