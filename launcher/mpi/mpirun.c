#include "launcher/mpi/mpirun.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "common/num.h"
#include "launcher/mpi/ports.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

mu_status_t mu_mpirun_find(const char *program, mu_mpirun_t *out)
{
    int fd[2];
    char text[512];
    size_t n = 0;
    if (pipe2(fd, O_CLOEXEC) != 0)
        return mu_fail(MU_BUG, "no pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        close(fd[0]);
        close(fd[1]);
        return mu_fail(MU_BUG, "no process for %s: %s", program, strerror(errno));
    }
    if (pid == 0) {
        dup2(fd[1], STDOUT_FILENO);
        execlp(program, program, "--version", (char *)NULL);
        _exit(127);
    }
    close(fd[1]);
    for (ssize_t r; n < sizeof text - 1 && (r = read(fd[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)r;
    text[n] = '\0';
    close(fd[0]);
    int status;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return mu_fail(MU_PREFLIGHT,
                       "%s: not found: install Open MPI (Debian: openmpi-bin), or put it into PATH", program);
    /* 4: "mpirun (Open MPI) 4.1.4"; 5: the same, from PRRTE's schizo/ompi */
    const char *at = strstr(text, "(Open MPI) ");
    if (!at || sscanf(at, "(Open MPI) %d.", &out->major) != 1 || out->major < 4 || out->major > 5)
        return mu_fail(MU_PREFLIGHT, "%s: not Open MPI 4 or 5: it says '%.*s'", program,
                       (int)strcspn(text, "\n"), text);
    at += strlen("(Open MPI) ");
    snprintf(out->version, sizeof out->version, "Open MPI %.*s", (int)strcspn(at, " \n"), at);
    snprintf(out->program, sizeof out->program, "%s", program);
    return MU_OK;
}

void mu_mpirun_hostfile(const mu_mpirun_t *mpirun, const mu_host_ranks_t *places, int count, mu_buf_t *out)
{
    for (int i = 0; i < count; i++) {
        const char *host = places[i].host;
        bool six = strchr(host, ':') != NULL && mpirun->major >= 5; /* ORTE takes a bare IPv6 address */
        mu_buf_addf(out, "%s%s%s slots=%d\n", six ? "[" : "", host, six ? "]" : "", places[i].ranks);
    }
}

bool mu_mpirun_dotted(const mu_host_ranks_t *places, int count)
{
    for (int i = 0; i < count; i++)
        if (strchr(places[i].host, '.') && strspn(places[i].host, "0123456789.") != strlen(places[i].host))
            return true;
    return false;
}

/* ---- the command ---- */

typedef struct builder {
    const mu_mpirun_t *mpirun;
    const mu_settings_t *settings;
    mu_args_t *args;
} builder_t;

static const char *variable_of(const char *prefix, const char *name)
{
    char variable[128];
    snprintf(variable, sizeof variable, "%s%s", prefix, name);
    return getenv(variable);
}

/* What the user has set for a parameter of the MPI library, or of ORTE: in the environment, else elsewhere. */
static const char *user_value(const mu_settings_t *settings, const char *name)
{
    const char *value = variable_of("OMPI_MCA_", name);
    const mu_setting_t *setting = value ? NULL : mu_settings_get(settings, name);
    return setting ? setting->value : value;
}

static void add(builder_t *b, const char *option, const char *name, const char *value)
{
    mu_args_add(b->args, option);
    mu_args_add(b->args, name);
    mu_args_add(b->args, value);
}

/* A parameter of the MPI library in the ranks. */
static void rank_set(builder_t *b, const char *name, const char *value)
{
    if (!user_value(b->settings, name))
        add(b, "--mca", name, value);
}

static bool daemon_has(const builder_t *b, const char *orte, const char *prrte)
{
    return b->mpirun->major == 4 ? user_value(b->settings, orte) != NULL
                                 : variable_of("PRTE_MCA_", prrte) != NULL;
}

/* A parameter of mpirun and its daemons, by its name in ORTE and in PRRTE. */
static void daemon_set(builder_t *b, const char *orte, const char *prrte, const char *value)
{
    bool four = b->mpirun->major == 4;
    if (!daemon_has(b, orte, prrte))
        add(b, four ? "--mca" : "--prtemca", four ? orte : prrte, value);
}

#define EXCLUDE "btl_tcp_if_exclude"

/* Of the two families that an interface may have, the one over which the hosts were reached: the other may be dead. */
static void keep_family(builder_t *b, int family)
{
    if (b->mpirun->major == 4)
        rank_set(b, family == 4 ? "oob_tcp_disable_ipv6_family" : "oob_tcp_disable_ipv4_family", "1");
    rank_set(b, "btl_tcp_disable_family", family == 4 ? "6" : "4");
}

static void add_network(builder_t *b, const mu_mpi_job_t *job)
{
    char four[32], six[32], port[16], count[16];
    const char *interfaces = job->local ? "lo" : job->interfaces;
    /* Open MPI 4.1 listens on all addresses, on every port that it is given, IPv4 first: where IPv6 is given the same
     * ports it finds none free and does not listen at all. So IPv6 gets ports of its own when it is needed, and else
     * none. */
    int last = job->daemon_port + job->daemon_ports - 1, half = job->daemon_port + job->daemon_ports / 2;
    bool share = job->local || job->family == 4;
    snprintf(four, sizeof four, "%d-%d", job->daemon_port, share ? last : half - 1);
    snprintf(six, sizeof six, "%d-%d", share ? job->daemon_port : half, last);
    snprintf(port, sizeof port, "%d", MU_PORT_RANK);
    snprintf(count, sizeof count, "%d", MU_PORT_RANK_COUNT);
    /* PRRTE does not take the loopback interface, even for one machine: there it chooses for itself */
    if ((!job->local || b->mpirun->major == 4) && !daemon_has(b, "oob_tcp_if_exclude", "prte_if_exclude"))
        daemon_set(b, "oob_tcp_if_include", "prte_if_include", interfaces);
    daemon_set(b, "oob_tcp_dynamic_ipv4_ports", "oob_tcp_dynamic_ipv4_ports", four);
    daemon_set(b, "oob_tcp_dynamic_ipv6_ports", "oob_tcp_dynamic_ipv6_ports", six);
    if (!job->local && job->family != 0)
        keep_family(b, job->family);
    /* ob1 over shared memory and TCP: the same everywhere. RDMA belongs to NCCL, on GPUs. */
    rank_set(b, "pml", "ob1");
    if (b->mpirun->major == 4)
        rank_set(b, "btl", job->local ? "self,vader" : "self,vader,tcp");
    else
        rank_set(b, "btl", job->local ? "self,sm" : "self,sm,tcp");
    if (job->local)
        return;
    if (!user_value(b->settings, EXCLUDE)) /* with both lists Open MPI has no TCP at all */
        rank_set(b, "btl_tcp_if_include", interfaces);
    rank_set(b, "btl_tcp_port_min_v4", port);
    rank_set(b, "btl_tcp_port_range_v4", count);
    rank_set(b, "btl_tcp_port_min_v6", port);
    rank_set(b, "btl_tcp_port_range_v6", count);
}

static int user_number(const mu_settings_t *settings, const char *name, int ours)
{
    const char *text = user_value(settings, name);
    int64_t n;
    return text && mu_parse_i64(text, &n) && n > 0 && n <= 65535 ? (int)n : ours;
}

/* Whether a list of components ("ob1", "self,tcp", "^openib") leaves this one in; NULL: no list. */
static bool allows(const char *list, const char *component)
{
    return !list || (strstr(list, component) != NULL) == (*list != '^');
}

mu_rank_net_t mu_mpirun_rank_net(const mu_settings_t *settings, const char *ours)
{
    const char *pml = user_value(settings, "pml"), *btl = user_value(settings, "btl");
    const char *interfaces = user_value(settings, "btl_tcp_if_include");
    mu_rank_net_t net = {.interfaces = interfaces && *interfaces ? interfaces : ours};
    net.tcp = allows(pml, "ob1") && allows(btl, "tcp") && !user_value(settings, EXCLUDE);
    net.port = user_number(settings, "btl_tcp_port_min_v4", MU_PORT_RANK);
    net.ports = user_number(settings, "btl_tcp_port_range_v4", MU_PORT_RANK_COUNT);
    if (net.ports > 65536 - net.port)
        net.ports = 65536 - net.port;
    return net;
}

bool mu_mpirun_takes_agent(const mu_mpirun_t *mpirun, const mu_settings_t *settings)
{
    bool four = mpirun->major == 4;
    const char *plm = four ? user_value(settings, "plm") : variable_of("PRTE_MCA_", "plm");
    const char *agent =
        four ? user_value(settings, "plm_rsh_agent") : variable_of("PRTE_MCA_", "plm_ssh_agent");
    if (plm && strcmp(plm, four ? "rsh" : "ssh") != 0)
        return false;
    return !agent ||
           (strncmp(agent, "ssh", 3) == 0 && strchr(" :", agent[3])); /* "ssh : rsh" is the default */
}

/* Both the user's and ours, since ours name key and port: Kubeflow's MPI operator always sets the variable.
 * Of an option that is there twice ssh takes the first. Our agent finds the host after two dashes. */
static void add_ssh_args(builder_t *b, const mu_mpi_job_t *job)
{
    bool four = b->mpirun->major == 4;
    const char *his =
        four ? user_value(b->settings, "plm_rsh_args") : variable_of("PRTE_MCA_", "plm_ssh_args");
    char *both =
        mu_format("%s%s%s%s", his ? his : "", his && *his ? " " : "", job->ssh_args, job->agent ? " --" : "");
    add(b, four ? "--mca" : "--prtemca", four ? "plm_rsh_args" : "plm_ssh_args", both);
    free(both);
}

/* The daemons look for their agent too, although they start nothing, and on their hosts ours is not there. */
static void add_agent(builder_t *b, const char *agent)
{
    bool four = b->mpirun->major == 4;
    char *or_ssh = mu_format("%s : ssh", agent);
    add(b, four ? "--mca" : "--prtemca", four ? "plm_rsh_agent" : "plm_ssh_agent", or_ssh);
    free(or_ssh);
}

static void add_places(builder_t *b, const mu_mpi_job_t *job)
{
    mu_args_add(b->args, "--hostfile");
    mu_args_add(b->args, job->hostfile);
    mu_args_add(b->args, "-np");
    mu_args_addf(b->args, "%d", job->ranks);
    mu_args_add(b->args, "--map-by");
    mu_args_add(b->args, "slot:OVERSUBSCRIBE"); /* our hostfile counts; workers place themselves on cores */
    mu_args_add(b->args, "--bind-to");
    mu_args_add(b->args, "none");
    if (job->agent && b->mpirun->major == 4 && user_value(b->settings, "orte_keep_fqdn_hostnames"))
        add(b, "--mca", "orte_keep_fqdn_hostnames", "0"); /* our names have no domain (node_names.h) */
    else if (job->dotted)                                 /* else ssh is given the part before the dot */
        daemon_set(b, "orte_keep_fqdn_hostnames", "prte_keep_fqdn_hostnames", "1");
    daemon_set(b, "orte_tmpdir_base", "prte_tmpdir_base", job->tmp_dir);
    rank_set(b, b->mpirun->major == 4 ? "btl_vader_backing_directory" : "btl_sm_backing_directory",
             job->shm_dir);
    if (job->crowded)
        rank_set(b, "mpi_yield_when_idle", "1");
    if (job->local) {
        daemon_set(b, "plm", "plm", b->mpirun->major == 4 ? "isolated" : "ssh");
    } else if (!daemon_has(b, "plm", "plm") || job->agent) {
        daemon_set(b, "plm", "plm", b->mpirun->major == 4 ? "rsh" : "ssh");
        daemon_set(b, "plm_rsh_no_tree_spawn", "plm_ssh_no_tree_spawn", "1");
        if (job->agent)
            add_agent(b, job->agent);
        if (job->ssh_args)
            add_ssh_args(b, job);
    }
}

/* Which devices are ours here (CUDA_VISIBLE_DEVICES and its kin) is not true of another host. */
static bool names_devices(const char *name, size_t n)
{
    static const char end[] = "_VISIBLE_DEVICES";
    return n >= sizeof end - 1 && memcmp(name + n - (sizeof end - 1), end, sizeof end - 1) == 0;
}

void mu_mpirun_args(const mu_mpirun_t *mpirun, const mu_mpi_job_t *job, mu_args_t *out)
{
    builder_t b = {mpirun, job->settings, out};
    mu_args_add(out, mpirun->program);
    add_places(&b, job);
    add_network(&b, job);
    /* names only: values travel in the environment, where other users cannot read them */
    for (int i = 0; i < job->vars->n; i++) {
        mu_args_add(out, "-x");
        mu_args_addf(out, "%.*s", (int)strcspn(job->vars->v[i], "="), job->vars->v[i]);
    }
    for (char **e = environ; e && *e; e++) {
        size_t n = strcspn(*e, "=");
        if (mu_env_allowed(*e, n, true) && (job->local || !names_devices(*e, n))) {
            mu_args_add(out, "-x");
            mu_args_addf(out, "%.*s", (int)n, *e);
        }
    }
    mu_args_add(out, job->worker);
    mu_args_add(out, job->config);
    for (int i = 0; job->more && i < job->more->n; i++)
        mu_args_add(out, job->more->v[i]);
}

bool mu_mpirun_lost_peer(int64_t exit_code)
{
    return exit_code == 14;
}

/* ---- the environment ---- */

/* A word that ends in '*' is a prefix. */
static bool listed(const char *const *list, const char *name, size_t n)
{
    for (; *list; list++) {
        size_t m = strlen(*list);
        bool prefix = (*list)[m - 1] == '*';
        if (prefix ? n >= m - 1 && memcmp(*list, name, m - 1) == 0 : n == m && memcmp(*list, name, n) == 0)
            return true;
    }
    return false;
}

/* Muster's own that a user may set for the ranks. */
static bool passed(const char *name, size_t n)
{
    for (const mu_env_row_t *row = mu_launch_env; row->name; row++)
        if (row->kind == MU_ENV_PASSED && strlen(row->name) == n && memcmp(row->name, name, n) == 0)
            return true;
    return false;
}

bool mu_env_allowed(const char *name, size_t n, bool ranks)
{
    /* what a rank computes or talks with */
    static const char *const wanted[] = {"OMP_*",
                                         "GOMP_*",
                                         "KMP_*",
                                         "DNNL_*",
                                         "ONEDNN_*",
                                         "NCCL_*",
                                         "CUDA_*",
                                         "CUDNN_*",
                                         "NVIDIA_VISIBLE_DEVICES",
                                         "UCX_*",
                                         "HDF5_USE_FILE_LOCKING",
                                         "DATA_PATH",
                                         "MODEL_PATH",
                                         "ASAN_OPTIONS",
                                         "UBSAN_OPTIONS",
                                         "TSAN_OPTIONS",
                                         "LSAN_OPTIONS",
                                         NULL};
    /* what only mpirun needs, or what each host has of its own */
    static const char *const local[] = {"PATH",
                                        "HOME",
                                        "USER",
                                        "LOGNAME",
                                        "SHELL",
                                        "LANG",
                                        "LC_*",
                                        "TZ",
                                        "TERM",
                                        "TMPDIR",
                                        "LD_LIBRARY_PATH",
                                        "OMPI_MCA_*",
                                        "PMIX_MCA_*",
                                        "PRTE_MCA_*",
                                        "OPAL_PREFIX",
                                        "PRTE_PREFIX",
                                        "PMIX_PREFIX",
                                        "SSH_AUTH_SOCK",
                                        "SLURM_*",
                                        "SLURMD_NODENAME",
                                        "KRB5CCNAME",
                                        NULL};
    return listed(wanted, name, n) || passed(name, n) || (!ranks && listed(local, name, n));
}

void mu_mpirun_env(const mu_mpi_job_t *job, mu_args_t *out)
{
    /* A Slurm job around us is mpirun's business only when the user wants its daemons from there. Else it
     * would ask slurmctld for them, or refuse a launcher's host that is not in the allocation (salloc). */
    static const char prefix[] = "OMPI_MCA_";
    bool by_slurm = !job->local && (user_value(job->settings, "plm") || variable_of("PRTE_MCA_", "plm"));
    for (char **e = environ; e && *e; e++) {
        size_t n = strcspn(*e, "=");
        bool slurm = n >= 5 && memcmp(*e, "SLURM", 5) == 0;
        char *name = mu_format("%.*s", (int)n, *e);
        bool places =
            strncmp(name, prefix, sizeof prefix - 1) == 0 && mu_setting_places(name + sizeof prefix - 1);
        if (mu_env_allowed(*e, n, false) && (!slurm || by_slurm) && !places)
            mu_args_add(out, *e);
        free(name);
    }
    for (int i = 0; i < job->vars->n; i++)
        mu_args_add(out, job->vars->v[i]);
    if (geteuid() == 0) { /* these names in 4 and 5: as mpirun, prterun goes by OMPI's and not by its own */
        mu_args_add(out, "OMPI_ALLOW_RUN_AS_ROOT=1");
        mu_args_add(out, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1");
    }
}
