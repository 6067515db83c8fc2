#include "launcher/hosts/hosts.h"
#include "launcher/hosts/hosts_build.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"

#include <strings.h>
#include <unistd.h>

#define HOSTFILE_MAX (4 << 20)

int mu_hosts_slots(const mu_hosts_t *hosts)
{
    int slots = 0; /* at most MU_HOSTS_MAX * MU_SLOTS_MAX = 2^26 */
    for (int i = 0; i < hosts->count; i++)
        slots += hosts->host[i].slots ? hosts->host[i].slots : 1;
    return slots;
}

int mu_hosts_index(const mu_hosts_t *hosts, const char *name)
{
    for (int i = 0; i < hosts->count; i++)
        if (strcasecmp(hosts->host[i].name, name) == 0)
            return i;
    return -1;
}

static mu_status_t this_machine(mu_hosts_t **out)
{
    char name[256] = "";
    mu_hosts_build_t build;
    mu_hosts_build_begin(&build, "this machine", MU_CONFIG);
    if (gethostname(name, sizeof name - 1) != 0 || !mu_host_name_valid(name, strlen(name)))
        snprintf(name, sizeof name, "localhost"); /* a name that nobody could use on a command line */
    mu_host_t host = {.name = mu_strdup(name)};
    return mu_hosts_build_end(&build, mu_hosts_build_add(&build, &host, (mu_origin_t){1, 1}), out);
}

static mu_status_t from_file(const char *path, mu_hosts_t **out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_file_read_text(path, HOSTFILE_MAX, &text);
    if (status == MU_OK)
        status = mu_hosts_parse_file(path, text.data ? text.data : "", text.len, out);
    mu_buf_release(&text);
    return status;
}

static const char *first_env(const char *(*env)(const char *), const char *const *names, const char **which)
{
    for (; *names; names++) {
        const char *value = env(*names);
        if (value && *value) {
            *which = *names;
            return value;
        }
    }
    return NULL;
}

/* MPIJob and MPI variables: a hostfile, and the slots of its lines without any. *out stays NULL when neither
 * is there. */
static mu_status_t from_mpi(const mu_hosts_query_t *query, const char *(*env)(const char *), mu_hosts_t **out)
{
    static const char *const file_names[] = {"OMPI_MCA_orte_default_hostfile",
                                             "PRTE_MCA_prte_default_hostfile", "I_MPI_HYDRA_HOST_FILE",
                                             "HYDRA_HOST_FILE", NULL};
    static const char *const slot_names[] = {"OMPI_MCA_orte_set_default_slots",
                                             "PRTE_MCA_prte_set_default_slots", "I_MPI_PERHOST", NULL};
    const char *which = NULL, *fallback = query->mpi_hostfile ? query->mpi_hostfile : "/etc/mpi/hostfile";
    const char *path = first_env(env, file_names, &which);
    if (!path && !mu_is_file(fallback))
        return MU_OK;
    if (path && !mu_is_file(path))
        return mu_fail(MU_NOINPUT, "%s: no such file, but %s names it as the hostfile", path, which);
    mu_hosts_t *hosts;
    MU_TRY(from_file(path ? path : fallback, &hosts));
    const char *slots = first_env(env, slot_names, &which);
    int number = 0;
    if (slots && mu_hosts_number(slots, strlen(slots), MU_SLOTS_MAX, &number))
        for (int i = 0; i < hosts->count; i++)
            if (hosts->host[i].slots == 0)
                hosts->host[i].slots = number;
    *out = hosts;
    return MU_OK;
}

/* PBS, LSF and SGE name a file. *out stays NULL when none does. */
static mu_status_t from_batch(const char *(*env)(const char *), mu_hosts_t **out)
{
    static const struct {
        const char *name;
        bool numbers;
    } files[] = {{"PBS_NODEFILE", false}, {"LSB_DJOB_HOSTFILE", false}, {"PE_HOSTFILE", true}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *path = env(files[i].name);
        mu_buf_t text = MU_BUF_INIT;
        if (!path || !*path)
            continue;
        mu_status_t status = mu_file_read_text(path, HOSTFILE_MAX, &text);
        if (status == MU_OK)
            status = mu_hosts_parse_batch(path, text.data ? text.data : "", text.len, files[i].numbers, out);
        else
            mu_error("%s names it as the list of this job's hosts", files[i].name);
        mu_buf_release(&text);
        return status;
    }
    return MU_OK;
}

static const char *env_of_process(const char *name)
{
    return getenv(name);
}

mu_status_t mu_hosts_find(const mu_hosts_query_t *query, mu_hosts_t **out)
{
    const char *(*env)(const char *) = query->env ? query->env : env_of_process;
    const char *nodes;
    mu_hosts_source_t source = MU_HOSTS_LOCAL;
    mu_hosts_t *hosts = NULL;
    mu_status_t status;

    if (query->hosts) {
        source = MU_HOSTS_OPTION;
        status = mu_hosts_parse_list(query->hosts, &hosts);
        goto done;
    }
    if (query->hostfile || (query->config_hostfile && mu_is_file(query->config_hostfile))) {
        source = MU_HOSTS_FILE;
        status = from_file(query->hostfile ? query->hostfile : query->config_hostfile, &hosts);
        goto done;
    }
    if (query->config_hostfile)
        mu_info("hostfile %s of the config does not exist: looking for hosts elsewhere",
                query->config_hostfile);
    source = MU_HOSTS_MPI;
    status = from_mpi(query, env, &hosts);
    if (status != MU_OK || hosts)
        goto done;
    source = MU_HOSTS_SLURM;
    nodes = env("SLURM_HET_SIZE");
    if (nodes && *nodes && strcmp(nodes, "1") != 0) {
        status = mu_fail(MU_CONFIG,
                         "SLURM_HET_SIZE=%.16s: a heterogeneous job: its components are not joined: name the "
                         "hosts with --hosts or --hostfile",
                         nodes);
        goto done;
    }
    nodes = env("SLURM_JOB_NODELIST");
    if (!nodes || !*nodes)
        nodes = env("SLURM_NODELIST"); /* its name in older Slurm, and all that some sites pass on */
    if (nodes && *nodes) {
        status =
            mu_hosts_parse_slurm(nodes, env("SLURM_TASKS_PER_NODE"), env("SLURM_JOB_CPUS_PER_NODE"), &hosts);
        goto done;
    }
    source = MU_HOSTS_BATCH;
    status = from_batch(env, &hosts);
    if (status != MU_OK || hosts)
        goto done;
    source = MU_HOSTS_LOCAL;
    status = this_machine(&hosts);
done:
    if (status != MU_OK)
        return status;
    hosts->source = source;
    *out = hosts;
    return MU_OK;
}
