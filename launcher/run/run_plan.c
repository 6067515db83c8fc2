#include "launcher/run/run_plan.h"
#include "launcher/mpi/agent.h"
#include "launcher/mpi/ports.h"
#include "common/file.h"
#include "common/log.h"
#include "common/pages.h"
#include "common/run/rundir.h"
#include "launcher/run/cmd_worker.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <unistd.h>

enum { WORKERS_MAX = 1 << 20 };

static const mu_option_t options[] = {
    MU_OPT("CONFIG", NULL, MU_OPTION_OPERANDS, offsetof(mu_run_plan_t, files), "GPT-NeoX YAML files",
           .required = true),
    MU_OPT("key=value", NULL, MU_OPTION_OVERRIDES, offsetof(mu_run_plan_t, overrides),
           "wins over the files: train_iters=100, muster.max_restarts=0", ),
    MU_OPT("--hosts", "h1:8,h2:8", MU_OPTION_TEXT, offsetof(mu_run_plan_t, hosts_option),
           "hosts and their slots; otherwise the config's hostfile, MPI's list, the scheduler's, or this "
           "machine", ),
    MU_OPT("--hostfile", "FILE", MU_OPTION_TEXT, offsetof(mu_run_plan_t, hostfile),
           "a file of hosts, as mpirun reads them", .choices = "FILE"),
    MU_OPT("--workers", "N", MU_OPTION_INT, offsetof(mu_run_plan_t, workers_option),
           "default: every slot; a host that names none has one for each GPU, else one", .min = 1,
           .max = WORKERS_MAX),
    MU_OPT("--run-dir", "DIR", MU_OPTION_TEXT, offsetof(mu_run_plan_t, dir_option),
           "where everything is written; default: the config's `save`", .choices = "DIR"),
    MU_OPT("--dry-run", NULL, MU_OPTION_FLAG, offsetof(mu_run_plan_t, dry_run),
           "print the command that would start the ranks, and start nothing", ),
    MU_OPT_END};

const mu_command_t mu_run_command = {
    .name = "run",
    .summary = "train: wait for the hosts, start, watch, restart",
    .about = "Waits for the hosts, checks them, starts a controller and N workers with mpirun, watches them, "
             "and starts "
             "them again from the newest checkpoint when one fails (muster.max_restarts).",
    .options = options,
    .notes = "SIGTERM, SIGINT, SIGQUIT, SIGUSR1 and `muster stop DIR` save a checkpoint and stop (exit 75); "
             "a second "
             "one stops at "
             "once.",
    .exits =
        "0 done; 75 stopped, run again to go on; 69 and 80 to 84 worth another try; " MU_PAGE("exit-codes"),
    .is_override = mu_config_is_override};

mu_status_t mu_run_plan_parse(int argc, char **argv, mu_run_plan_t *p)
{
    MU_TRY(mu_options_parse(&mu_run_command, argc, argv, p, NULL, &p->help));
    if (!p->help && p->hosts_option && p->hostfile)
        return mu_fail(MU_USAGE, "run: --hosts and --hostfile exclude each other");
    return MU_OK;
}

/* Absolute, since ranks may start elsewhere; it need not exist. */
static char *absolute(const char *path)
{
    char here[PATH_MAX];
    if (path[0] == '/' || !getcwd(here, sizeof here))
        return mu_strdup(path);
    return mu_path_join(here, path);
}

/* mpirun starts the ranks where we are, and the config's relative paths begin there. */
static mu_status_t check_here(void)
{
    char here[PATH_MAX];
    if (getcwd(here, sizeof here))
        return MU_OK;
    return mu_fail(MU_PREFLIGHT, "the current directory cannot be used: %s: change to one that is there",
                   strerror(errno));
}

mu_status_t mu_run_plan_find(mu_run_plan_t *p)
{
    mu_world_t unknown = {.device_has_fp16 = true};
    MU_TRY(mu_config_load(p->files.item, p->files.count, p->overrides.item, p->overrides.count, &p->config));
    mu_log_level_set(p->config->muster.log_level);
    MU_TRY(mu_config_resolve(p->config,
                             &unknown)); /* what fits no world is said before anyone waits for hosts */
    const char *dir = p->dir_option ? p->dir_option : p->config->save;
    if (!dir || !*dir)
        return mu_fail(MU_CONFIG, "no run directory: give --run-dir DIR, or `save` in the config");
    MU_TRY(check_here());
    p->run_dir = absolute(dir);
    MU_TRY(mu_rundir_check_name(p->run_dir));
    mu_hosts_query_t query = {
        .hosts = p->hosts_option, .hostfile = p->hostfile, .config_hostfile = p->config->hostfile};
    MU_TRY(mu_hosts_find(&query, &p->hosts));
    mu_buf_t worker = MU_BUF_INIT;
    mu_status_t status = mu_worker_program(&worker);
    p->worker = mu_buf_detach(&worker);
    MU_TRY(status);
    MU_TRY(mu_mpirun_find("mpirun", &p->mpirun));
    mu_settings_start(&p->settings);
    return MU_OK;
}

static bool sees_path(const char *path)
{
    char *index = mu_format("%s.idx", path);
    bool seen = access(path, R_OK) == 0 || access(index, R_OK) == 0;
    free(index);
    return seen;
}

static bool sees_data(const mu_config_t *config)
{
    bool seen = !config->data_path || sees_path(config->data_path);
    for (char *const *p = config->train_data_paths; seen && p && *p; p++)
        seen = sees_path(*p);
    for (char *const *p = config->valid_data_paths; seen && p && *p; p++)
        seen = sees_path(*p);
    return seen;
}

mu_status_t mu_run_plan_foresee(const mu_run_plan_t *p)
{
    mu_world_t unknown = {.device_has_fp16 = true}, world = unknown;
    world.workers = p->workers_option > 0 ? (int)p->workers_option : mu_placement_workers(p->hosts, NULL);
    for (int i = 0; p->workers_option == 0 && i < p->hosts->count; i++)
        if (p->hosts->host[i].slots == 0)
            return MU_OK; /* as many as it has GPUs */
    MU_TRY(mu_config_resolve(p->config, &world));
    return mu_config_resolve(p->config, &unknown); /* fewer hosts may be fit, and start */
}

bool mu_run_plan_controller_here(const mu_config_t *config)
{
    return !config->muster.controller_host && sees_data(config);
}

/* Places for `workers`, and the config for what fits there; fewer when the batch does not divide. */
static mu_status_t fit_workers(mu_run_plan_t *p, const mu_hosts_t *hosts, const mu_proved_t *proved,
                               int workers)
{
    bool data = sees_data(p->config);
    int asked = workers;
    for (;;) {
        MU_TRY(
            mu_placement_make(hosts, proved, workers, p->config->muster.controller_host, data, &p->places));
        mu_world_t world = {
            .workers = workers, .slots_per_host = p->places.slots_per_host, .device_has_fp16 = true};
        mu_status_t status = mu_config_resolve(p->config, &world);
        if (status == MU_OK && p->config->workers == workers) {
            if (workers < asked)
                mu_info("%d of %d workers are not started: the batch of %lld sequences cannot be divided "
                        "among more than %d "
                        "x %d",
                        asked - workers, asked, (long long)p->config->train_batch_size, p->config->tp,
                        p->config->dp);
            return MU_OK;
        }
        workers = p->config->workers;
        mu_placement_free(&p->places);
        if (status != MU_OK)
            return status;
    }
}

/* --workers on a part of the hosts: none gets more than it has slots, or, where nothing says how many, than
 * it would have had on all of them. */
static int workers_asked(const mu_run_plan_t *p, const mu_hosts_t *hosts, const int *gpus)
{
    int asked = (int)p->workers_option, all = p->hosts->count, most = 0;
    if (asked == 0)
        return mu_placement_workers(hosts, gpus);
    if (hosts->count == all)
        return asked;
    for (int i = 0; i < hosts->count; i++)
        most += hosts->host[i].slots > 0 ? hosts->host[i].slots : (asked + all - 1) / all;
    if (asked > most)
        mu_info("%d of %d workers: %d of %d hosts are not fit", most, asked, all - hosts->count, all);
    return asked < most ? asked : most;
}

mu_status_t mu_run_plan_fit(mu_run_plan_t *p, const bool *fit, const int *gpus)
{
    mu_placement_free(&p->places);
    /* a list of the fit ones; its entries belong to the whole list */
    mu_hosts_t hosts = *p->hosts;
    mu_proved_t *proved = mu_calloc((size_t)hosts.count, sizeof *proved);
    int *gpu = mu_calloc((size_t)hosts.count, sizeof *gpu);
    hosts.host = mu_calloc((size_t)hosts.count, sizeof *hosts.host);
    hosts.count = 0;
    for (int i = 0; i < p->hosts->count; i++) {
        if (fit && !fit[i])
            continue;
        gpu[hosts.count] = gpus ? gpus[i] : 0;
        if (p->proved)
            proved[hosts.count] = p->proved[i];
        hosts.host[hosts.count++] = p->hosts->host[i];
    }
    mu_status_t status =
        hosts.count == 0 ? mu_fail(MU_PREFLIGHT, "no host is fit")
                         : fit_workers(p, &hosts, p->proved ? proved : NULL, workers_asked(p, &hosts, gpu));
    if (status == MU_OK)
        status = mu_placement_name(&p->places, &p->mpirun, mu_mpirun_takes_agent(&p->mpirun, &p->settings));
    if (status == MU_OK)
        status = mu_settings_check(&p->settings, p->places.all_family);
    free(proved);
    free(hosts.host);
    free(gpu);
    return status;
}

void mu_run_plan_prove(mu_run_plan_t *p, const mu_ready_t *ready)
{
    free(p->proved);
    p->proved = mu_calloc((size_t)p->hosts->count, sizeof *p->proved);
    for (int i = 0; i < p->hosts->count; i++) {
        mu_ready_host_t host = mu_ready_host(ready, i);
        p->proved[i].local = host.local;
        snprintf(p->proved[i].address, sizeof p->proved[i].address, "%s", host.address);
        snprintf(p->proved[i].launcher, sizeof p->proved[i].launcher, "%s", host.launcher);
    }
    mu_settings_read(&p->settings);
}

/* Whether ranks must yield to each other: workers take all cores unless the configuration says less, and the
 * controller is one more. */
static bool is_crowded(const mu_run_plan_t *p)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    int most = 0;
    for (int i = 0; i < p->places.count; i++)
        most = p->places.place[i].ranks > most ? p->places.place[i].ranks : most;
    int64_t threads = p->config->muster.threads_per_worker;
    if (threads <= 0)
        threads = most > 0 && cores / most > 1 ? cores / most : 1;
    return most * threads >= cores;
}

void mu_run_plan_command(const mu_run_plan_t *p, const mu_run_names_t *names, mu_args_t *args, mu_args_t *env)
{
    bool agent = !p->places.local && mu_mpirun_takes_agent(&p->mpirun, &p->settings);
    char *program = agent ? mu_path_join(names->tmp_dir, MU_AGENT_NAME) : NULL;
    mu_mpi_job_t job = {.ranks = p->places.ranks,
                        .local = p->places.local,
                        .crowded = is_crowded(p),
                        .dotted = !p->places.local && mu_mpirun_dotted(p->places.place, p->places.count),
                        .hostfile = names->hostfile,
                        .tmp_dir = names->tmp_dir,
                        .shm_dir = names->shm_dir,
                        .interfaces = *p->interfaces ? p->interfaces : p->places.route.interfaces,
                        .family = p->places.all_family,
                        .ssh_args = names->ssh_args,
                        .agent = program,
                        .settings = &p->settings,
                        .worker = p->worker,
                        .config = names->config,
                        .daemon_ports = p->places.local ? MU_PORT_DAEMON_LOCAL : MU_PORT_DAEMON_HOSTS,
                        .more = p->more,
                        .vars = names->vars};
    job.daemon_port = mu_port_daemon_block(job.daemon_ports);
    mu_mpirun_args(&p->mpirun, &job, args);
    mu_mpirun_env(&job, env);
    free(program);
}

void mu_run_plan_free(mu_run_plan_t *p)
{
    mu_placement_free(&p->places);
    mu_settings_free(&p->settings);
    free(p->proved);
    mu_hosts_free(p->hosts);
    mu_config_free(p->config);
    mu_options_release(&mu_run_command, p);
    free(p->run_dir);
    free(p->worker);
}
