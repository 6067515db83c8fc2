#include "launcher/mpi/ports.h"
#include "launcher/run/run_plan.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "common/rundir.h"
#include "launcher/run/cmd_worker.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <unistd.h>

const char mu_run_usage[] =
    "usage: muster run CONFIG... [key=value...] [--hosts h1:8,h2:8 | --hostfile FILE] [--workers N]\n"
    "                  [--run-dir DIR] [--dry-run]\n"
    "\n"
    "Waits for the hosts, checks them, starts a controller and N workers with mpirun, watches them, and "
    "starts them\n"
    "again from the newest checkpoint when one fails (muster.max_restarts).\n"
    "\n"
    "  CONFIG        GPT-NeoX YAML files\n"
    "  key=value     wins over the files: train_iters=100, muster.max_restarts=0\n"
    "  --hosts       hosts and their slots; otherwise the config's hostfile, MPI's or Slurm's list, or this "
    "machine\n"
    "  --workers N   default: the GPUs, else one a host\n"
    "  --run-dir     where everything is written; default: the config's `save`\n"
    "  --dry-run     print the command that would start the ranks, and start nothing\n"
    "\n"
    "SIGTERM, SIGINT, SIGUSR1 and `muster stop DIR` save a checkpoint and stop (exit 75); a second one stops "
    "at once.\n"
    "exit codes: 0 done; 75 stopped, run again to go on; 69 and 80 to 84 worth another try; "
    "docs/exit-codes.md\n";

enum { WORKERS_MAX = 1 << 20 };

/* The value of `--name VALUE` or `--name=VALUE` at argv[*i]; NULL when argv[*i] is something else. */
static const char *value_of(int argc, char **argv, int *i, const char *name, mu_status_t *status)
{
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0)
        return NULL;
    if (argv[*i][n] == '=')
        return argv[*i] + n + 1;
    if (argv[*i][n] != '\0')
        return NULL;
    if (*i + 1 == argc) {
        *status = mu_fail(MU_USAGE, "run: %s lacks its value", name);
        return NULL;
    }
    return argv[++*i];
}

/* Words of mpirun, torchrun and DeepSpeed, and what says the same here. */
static mu_status_t no_option(const char *option)
{
    static const struct {
        const char *word, *ours;
    } others[] = {{"-np", "--workers N"},
                  {"-n", "--workers N"},
                  {"--np", "--workers N"},
                  {"--nproc", "--workers N"},
                  {"--nproc_per_node", "--hosts HOST:SLOTS,..."},
                  {"--nproc-per-node", "--hosts HOST:SLOTS,..."},
                  {"--num_gpus", "--workers N"},
                  {"--num-gpus", "--workers N"},
                  {"-H", "--hosts HOST:SLOTS,..."},
                  {"-host", "--hosts HOST:SLOTS,..."},
                  {"--host", "--hosts HOST:SLOTS,..."},
                  {"--include", "--hosts HOST:SLOTS,..."},
                  {"--num_nodes", "--hosts HOST:SLOTS,... or --hostfile FILE"},
                  {"--num-nodes", "--hosts HOST:SLOTS,... or --hostfile FILE"},
                  {"--nnodes", "--hosts HOST:SLOTS,... or --hostfile FILE"},
                  {"-hostfile", "--hostfile FILE"},
                  {"-machinefile", "--hostfile FILE"},
                  {"--machinefile", "--hostfile FILE"},
                  {"-f", "--hostfile FILE"}};
    size_t n = strcspn(option, "=");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strlen(others[i].word) == n && memcmp(option, others[i].word, n) == 0)
            return mu_fail(MU_USAGE, "run: no option '%s': %s says it here; see muster run --help", option,
                           others[i].ours);
    return mu_fail(MU_USAGE, "run: no option '%s': see muster run --help", option);
}

mu_status_t mu_run_plan_parse(int argc, char **argv, mu_run_plan_t *p)
{
    mu_status_t status = MU_OK;
    p->files = mu_calloc((size_t)argc, sizeof *p->files);
    p->overrides = mu_calloc((size_t)argc, sizeof *p->overrides);
    for (int i = 1; i < argc && status == MU_OK; i++) {
        const char *v;
        if (strcmp(argv[i], "--dry-run") == 0)
            p->dry_run = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            p->help = true;
        else if ((v = value_of(argc, argv, &i, "--hosts", &status)))
            p->hosts_option = v;
        else if (status == MU_OK && (v = value_of(argc, argv, &i, "--hostfile", &status)))
            p->hostfile = v;
        else if (status == MU_OK && (v = value_of(argc, argv, &i, "--run-dir", &status)))
            p->dir_option = v;
        else if (status == MU_OK && (v = value_of(argc, argv, &i, "--workers", &status))) {
            if (!mu_parse_i64(v, &p->workers_option) || p->workers_option < 1 ||
                p->workers_option > WORKERS_MAX)
                status =
                    mu_fail(MU_USAGE, "run: --workers wants a number from 1 to %d, not '%s'", WORKERS_MAX, v);
        } else if (status != MU_OK)
            break;
        else if (argv[i][0] == '-' && argv[i][1])
            status = no_option(argv[i]);
        else if (mu_config_is_override(argv[i]))
            p->overrides[p->noverrides++] = argv[i];
        else
            p->files[p->nfiles++] = argv[i];
    }
    if (status == MU_OK && !p->help && p->nfiles == 0)
        status = mu_fail(MU_USAGE, "run: no CONFIG given: see muster run --help");
    if (status == MU_OK && p->hosts_option && p->hostfile)
        status = mu_fail(MU_USAGE, "run: --hosts and --hostfile exclude each other");
    return status;
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
    MU_TRY(mu_config_load(p->files, p->nfiles, p->overrides, p->noverrides, &p->config));
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
    return mu_mpirun_find("mpirun", &p->mpirun);
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

bool mu_run_plan_controller_here(const mu_config_t *config)
{
    return !config->muster.controller_host && sees_data(config);
}

/* Places for `workers`, and the config for what fits there; fewer when the batch does not divide. */
static mu_status_t fit_workers(mu_run_plan_t *p, const mu_hosts_t *hosts, int workers)
{
    bool data = sees_data(p->config);
    int asked = workers;
    for (;;) {
        MU_TRY(mu_placement_make(hosts, workers, p->config->muster.controller_host, data, &p->places));
        if (p->places.place[0].host && strcmp(p->places.place[0].host, p->places.self) == 0)
            p->places.place[0].host = p->places.self;
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
    int *gpu = mu_calloc((size_t)hosts.count, sizeof *gpu);
    hosts.host = mu_calloc((size_t)hosts.count, sizeof *hosts.host);
    hosts.count = 0;
    for (int i = 0; i < p->hosts->count; i++) {
        if (fit && !fit[i])
            continue;
        gpu[hosts.count] = gpus ? gpus[i] : 0;
        hosts.host[hosts.count++] = p->hosts->host[i];
    }
    mu_status_t status = hosts.count == 0 ? mu_fail(MU_PREFLIGHT, "no host is fit")
                                          : fit_workers(p, &hosts, workers_asked(p, &hosts, gpu));
    free(hosts.host);
    free(gpu);
    return status;
}

/* Whether ranks must yield to each other: workers take all cores unless told otherwise, and the controller is
 * one more. */
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
    mu_mpi_job_t job = {.ranks = p->places.ranks,
                        .local = p->places.local,
                        .crowded = is_crowded(p),
                        .dotted = !p->places.local && mu_mpirun_dotted(p->places.place, p->places.count),
                        .hostfile = names->hostfile,
                        .tmp_dir = names->tmp_dir,
                        .shm_dir = names->shm_dir,
                        .interfaces = *p->interfaces ? p->interfaces : p->places.route.interfaces,
                        .ssh_args = names->ssh_args,
                        .worker = p->worker,
                        .config = names->config,
                        .daemon_ports = p->places.local ? MU_PORT_DAEMON_LOCAL : MU_PORT_DAEMON_HOSTS,
                        .more = p->more,
                        .vars = names->vars};
    job.daemon_port = mu_port_daemon_block(job.daemon_ports);
    mu_mpirun_args(&p->mpirun, &job, args);
    mu_mpirun_env(&job, env);
}

void mu_run_plan_free(mu_run_plan_t *p)
{
    mu_placement_free(&p->places);
    mu_hosts_free(p->hosts);
    mu_config_free(p->config);
    free(p->files);
    free(p->overrides);
    free(p->run_dir);
    free(p->worker);
}
