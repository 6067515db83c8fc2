#include "launcher/cmd/cmd.h"
#include "launcher/hosts/hosts.h"
#include "launcher/plan/start_check.h"
#include "launcher/preflight/requirements.h"
#include "launcher/preflight/preflight.h"
#include "launcher/ready/ready.h"
#include "launcher/run/run_plan.h"
#include "launcher/run/tracker.h"
#include "launcher/ready/ssh.h"
#include "common/config/config.h"
#include "common/file.h"
#include "common/log.h"
#include "common/pages.h"
#include "common/run/rundir.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

typedef struct check_args {
    mu_words_t files, overrides;
    const char *hosts, *hostfile, *run_dir;
    bool json;
} check_args_t;

static const mu_option_t check_options[] = {
    MU_OPT("CONFIG", NULL, MU_OPTION_OPERANDS, offsetof(check_args_t, files), "GPT-NeoX YAML files",
           .required = true),
    MU_OPT("key=value", NULL, MU_OPTION_OVERRIDES, offsetof(check_args_t, overrides),
           "wins over the files", ),
    MU_OPT("--hosts", "h1:8,h2:8", MU_OPTION_TEXT, offsetof(check_args_t, hosts),
           "hosts and their slots; otherwise the config's hostfile, MPI variables, /etc/mpi/hostfile, the "
           "scheduler's list, "
           "or this machine", ),
    MU_OPT("--hostfile", "FILE", MU_OPTION_TEXT, offsetof(check_args_t, hostfile),
           "a file of hosts, as mpirun reads them", .choices = "FILE"),
    MU_OPT("--run-dir", "DIR", MU_OPTION_TEXT, offsetof(check_args_t, run_dir),
           "the run's directory; default: the config's save", .choices = "DIR"),
    MU_OPT("--json", NULL, MU_OPTION_FLAG, offsetof(check_args_t, json), "one JSON object", ),
    MU_OPT_END};

const mu_command_t mu_check_command = {
    .name = "check",
    .summary = "can every host be reached, and is it fit? trains nothing",
    .about = "Waits until every host can be reached (muster.ready_timeout), checks each one, and says what "
             "is wrong. "
             "Trains nothing. " MU_PAGE("readiness") " lists stages, causes and checks.",
    .options = check_options,
    .exits = "0 fit; 2 command line; 69 not ready in time; 77 authentication; 78 config; 80 a host is unfit",
    .is_override = mu_config_is_override};

static mu_status_t parse(int argc, char **argv, check_args_t *args, bool *help)
{
    MU_TRY(mu_options_parse(&mu_check_command, argc, argv, args, NULL, help));
    if (!*help && args->hosts && args->hostfile)
        return mu_fail(MU_USAGE, "check: --hosts and --hostfile exclude each other");
    return MU_OK;
}

static volatile sig_atomic_t stop;

static void ask_to_stop(int signal)
{
    (void)signal;
    stop = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = ask_to_stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

static mu_status_t make_tmp(char **out)
{
    const char *base = getenv("TMPDIR");
    char *path = mu_format("%s/muster-XXXXXX", base && *base == '/' ? base : "/tmp");
    if (!mkdtemp(path)) {
        mu_status_t status = mu_fail(MU_IO, "%s: cannot make a temporary folder: %s", path, strerror(errno));
        free(path);
        return status;
    }
    *out = path;
    return MU_OK;
}

/* The run directory as an absolute path; *made when it was not there, as before a first run. */
static mu_status_t open_run_dir(const char *path, char **out, bool *made)
{
    if (!path) {
        mu_info("no run directory is known (save, or --run-dir): storage is not checked");
        return MU_OK;
    }
    MU_TRY(mu_rundir_check_name(path));
    *made = !mu_is_dir(path);
    MU_TRY(mu_make_dirs(path, 0));
    *out = realpath(path, NULL);
    return *out ? MU_OK : mu_fail(MU_RUNDIR, "run directory %s: %s", path, strerror(errno));
}

typedef struct check {
    const check_args_t *args;
    const mu_config_t *config;
    mu_hosts_t *hosts;
    mu_ssh_t *ssh;
    mu_ready_t *ready;
    mu_preflight_report_t *report;
    char *run_dir;
    mu_settings_t settings;
} check_t;

static void print_result(const check_t *check, mu_status_t status)
{
    if (!check->args->json) {
        if (status == MU_OK)
            printf("%d of %d hosts are fit (from %s)\n", check->report->looked_at, check->hosts->count,
                   check->hosts->from);
        return;
    }
    json_t *result = mu_ready_json(check->ready);
    json_object_set_new(result, "from", json_string(check->hosts->from));
    json_object_set_new(result, "status", json_string(mu_status_name(status)));
    json_object_set_new(result, "exit", json_integer(mu_status_exit(status)));
    json_object_set_new(result, "preflight", check->report ? mu_preflight_json(check->report) : json_null());
    json_dumpf(result, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    putchar('\n');
    json_decref(result);
}

/* That fp16 will not be fp16, which the hosts' devices decide. */
static void note_numbers(const check_t *check)
{
    mu_buf_t note = MU_BUF_INIT;
    bool gpus = false;
    for (int i = 0; i < check->hosts->count; i++)
        gpus = gpus || check->report->gpus[i] > 0;
    mu_config_fp16_note(check->config, gpus && check->config->muster.device != MU_DEVICE_CPU, &note);
    if (note.len > 0)
        mu_log_lines(MU_LOG_INFO, note.data);
    mu_buf_release(&note);
}

static mu_status_t look_at_hosts(check_t *check)
{
    static const mu_need_t need[] = {
        [MU_DEVICE_AUTO] = MU_NEED_AUTO, [MU_DEVICE_CPU] = MU_NEED_NO, [MU_DEVICE_CUDA] = MU_NEED_YES};
    static const mu_need_t rdma[] = {[MU_TRANSPORT_AUTO] = MU_NEED_AUTO,
                                     [MU_TRANSPORT_RDMA] = MU_NEED_YES,
                                     [MU_TRANSPORT_TCP] = MU_NEED_NO};
    mu_requirements_t needs;
    MU_TRY(mu_requirements_of(check->config, true, &needs));
    mu_preflight_want_t want = {.run_dir = check->run_dir,
                                .checkpoint_bytes = needs.checkpoint,
                                .memory_per_slot = needs.rank,
                                .gpus = need[check->config->muster.device],
                                .rdma = rdma[check->config->muster.transport],
                                .controller_here = mu_run_plan_controller_here(check->config),
                                .settings = &check->settings,
                                .stop = &stop};
    mu_status_t status = mu_preflight_run(check->ready, &want, &check->report);
    if (check->report)
        mu_preflight_print(check->report);
    if (check->report && status == MU_OK)
        note_numbers(check);
    return status;
}

static mu_status_t check_all(const check_args_t *args, const mu_config_t *config, const char *tmp)
{
    check_t check = {.args = args, .config = config, .settings = {.fd = -1}};
    bool made = false;
    mu_status_t status;
    mu_hosts_query_t query = {
        .hosts = args->hosts, .hostfile = args->hostfile, .config_hostfile = config->hostfile};
    mu_ready_options_t options = {
        .timeout = config->muster.ready_timeout, .min_hosts = (int)config->muster.min_hosts, .stop = &stop};
    MU_TRY_GOTO(status, mu_hosts_find(&query, &check.hosts), done);
    MU_TRY_GOTO(status, mu_ssh_new(check.hosts, config->muster.ssh_args, tmp, &check.ssh), done);
    MU_TRY_GOTO(status, open_run_dir(args->run_dir ? args->run_dir : config->save, &check.run_dir, &made),
                done);
    MU_TRY_GOTO(status, mu_ready_new(check.hosts, check.ssh, &options, &check.ready), done);
    mu_settings_start(&check.settings);
    status = mu_ready_wait(check.ready);
    mu_settings_read(&check.settings);
    if (status == MU_OK)
        status = mu_settings_check(&check.settings, 0);
    if (status == MU_OK)
        status = look_at_hosts(&check);
    print_result(&check, status);
done:
    if (made && check.run_dir && rmdir(check.run_dir) != 0)
        mu_warn("%s: cannot remove: %s", check.run_dir, strerror(errno));
    mu_preflight_free(check.report);
    mu_ready_free(check.ready);
    mu_ssh_free(check.ssh);
    mu_settings_free(&check.settings);
    mu_hosts_free(check.hosts);
    free(check.run_dir);
    return status;
}

/* Of data and model, what can be seen from here, before any host is asked. */
static mu_status_t check_start(const check_args_t *args, mu_config_t *config, const char *missing)
{
    mu_buf_t notes = MU_BUF_INIT;
    mu_status_t status = missing ? MU_OK : mu_config_resolve(config, &(mu_world_t){.device_has_fp16 = true});
    if (status == MU_OK && !missing)
        status = mu_start_check(&(mu_start_question_t){.config = config, .run_dir = args->run_dir}, &notes);
    if (status == MU_OK)
        mu_log_lines(MU_LOG_INFO, notes.data);
    if (status == MU_OK)
        status = mu_tracker_check(config);
    mu_buf_release(&notes);
    return status;
}

mu_status_t mu_cmd_check(int argc, char **argv)
{
    check_args_t args = {0};
    mu_config_t *config = NULL;
    char *tmp = NULL;
    bool help;
    mu_status_t status;
    MU_TRY_GOTO(status, parse(argc, argv, &args, &help), done);
    if (help)
        goto done;
    MU_TRY_GOTO(
        status,
        mu_config_load(args.files.item, args.files.count, args.overrides.item, args.overrides.count, &config),
        done);
    mu_log_level_set(config->muster.log_level);
    const char *missing = mu_config_missing(config);
    if (missing)
        mu_info("a part of a configuration: a run also needs %s", missing);
    MU_TRY_GOTO(status, check_start(&args, config, missing), done);
    MU_TRY_GOTO(status, make_tmp(&tmp), done);
    catch_signals();
    status = check_all(&args, config, tmp);
done:
    if (tmp && mu_remove_tree(tmp) != MU_OK && status == MU_OK)
        status = MU_IO;
    free(tmp);
    mu_config_free(config);
    mu_options_release(&mu_check_command, &args);
    return status;
}
