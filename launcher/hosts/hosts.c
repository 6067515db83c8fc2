#include "launcher/hosts/hosts.h"
#include "launcher/hosts/hosts_build.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"

#include <strings.h>
#include <unistd.h>

#define HOSTFILE_MAX (4 << 20)

void mu_hosts_build_begin(mu_hosts_build_t *build, const char *source, mu_status_t error)
{
    *build = (mu_hosts_build_t){.source = source, .error = error};
    build->hosts = mu_calloc(1, sizeof *build->hosts);
}

mu_status_t mu_hosts_build_fail(const mu_hosts_build_t *build, mu_origin_t place, const char *format, ...)
{
    mu_buf_t text = MU_BUF_INIT;
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(&text, format, args);
    va_end(args);
    mu_status_t status =
        mu_fail(build->error, "%s:%d:%d: %s", build->source, place.line, place.column, text.data);
    mu_buf_release(&text);
    return status;
}

/* A name and nothing else. */
static bool is_bare(const mu_host_t *host)
{
    return host->slots == 0 && host->port == 0 && !host->user && !host->extra;
}

mu_status_t mu_hosts_build_add(mu_hosts_build_t *build, mu_host_t *host, mu_origin_t place)
{
    mu_hosts_t *hosts = build->hosts;
    mu_host_t *last = hosts->count > 0 ? &hosts->host[hosts->count - 1] : NULL;
    if (build->repeats_count && last && is_bare(host) && is_bare(last) &&
        strcasecmp(last->name, host->name) == 0 && last->repeats < MU_SLOTS_MAX) {
        last->repeats += last->repeats == 0 ? 2 : 1;
        mu_host_release(host);
        return MU_OK;
    }
    if (hosts->count == MU_HOSTS_MAX) {
        mu_host_release(host);
        return mu_hosts_build_fail(build, place, "more than %d hosts", MU_HOSTS_MAX);
    }
    if (hosts->count == build->capacity) {
        build->capacity = build->capacity ? 2 * build->capacity : 16;
        hosts->host = mu_realloc(hosts->host, (size_t)build->capacity * sizeof *hosts->host);
        build->place = mu_realloc(build->place, (size_t)build->capacity * sizeof *build->place);
    }
    build->place[hosts->count] = place;
    hosts->host[hosts->count++] = *host;
    *host = (mu_host_t){0};
    return MU_OK;
}

/* By name, then by position: of two equal names the second one in the file is told. */
static int by_name(const void *a, const void *b, void *arg)
{
    const mu_host_t *host = arg;
    int i = *(const int *)a, j = *(const int *)b;
    int order = strcasecmp(host[i].name, host[j].name);
    return order ? order : (i > j) - (i < j);
}

static void add_repeats(mu_host_t *to, mu_host_t *from)
{
    int sum = (to->repeats ? to->repeats : 1) + (from->repeats ? from->repeats : 1);
    to->repeats = sum < MU_SLOTS_MAX ? sum : MU_SLOTS_MAX;
    from->repeats = -1; /* goes */
}

/* What was counted becomes slots, and the hosts that were counted elsewhere go. */
static void settle_repeats(mu_hosts_t *hosts)
{
    int kept = 0;
    for (int i = 0; i < hosts->count; i++) {
        mu_host_t host = hosts->host[i];
        if (host.repeats < 0) {
            mu_host_release(&host);
            continue;
        }
        if (host.repeats > 0)
            host.slots = host.repeats;
        hosts->host[kept++] = host;
    }
    hosts->count = kept;
}

static mu_status_t merge_or_refuse_duplicates(const mu_hosts_build_t *build)
{
    const mu_hosts_t *hosts = build->hosts;
    int *order = mu_alloc((size_t)hosts->count * sizeof *order);
    mu_status_t status = MU_OK;
    for (int i = 0; i < hosts->count; i++)
        order[i] = i;
    qsort_r(order, (size_t)hosts->count, sizeof *order, by_name, hosts->host);
    for (int i = 1; i < hosts->count && status == MU_OK; i++) {
        int first = order[i - 1], again = order[i];
        if (strcasecmp(hosts->host[first].name, hosts->host[again].name) != 0)
            continue;
        if (build->repeats_count && is_bare(&hosts->host[first]) && is_bare(&hosts->host[again])) {
            add_repeats(&hosts->host[first], &hosts->host[again]);
            order[i] = first; /* a third one is compared with the first again */
        } else
            status = mu_hosts_build_fail(
                build, build->place[again],
                "host %s is there twice (first in line %d, column %d): give it once, with all its slots",
                hosts->host[again].name, build->place[first].line, build->place[first].column);
    }
    free(order);
    if (status == MU_OK)
        settle_repeats(build->hosts);
    return status;
}

mu_status_t mu_hosts_build_end(mu_hosts_build_t *build, mu_status_t status, mu_hosts_t **out)
{
    if (status == MU_OK && build->hosts->count == 0)
        status = mu_hosts_build_fail(build, (mu_origin_t){1, 1}, "names no host");
    if (status == MU_OK)
        status = merge_or_refuse_duplicates(build);
    free(build->place);
    if (status != MU_OK) {
        mu_hosts_free(build->hosts);
        return status;
    }
    build->hosts->from = mu_strdup(build->source);
    *out = build->hosts;
    return MU_OK;
}

void mu_hosts_free(mu_hosts_t *hosts)
{
    if (!hosts)
        return;
    for (int i = 0; i < hosts->count; i++)
        mu_host_release(&hosts->host[i]);
    free(hosts->host);
    free(hosts->from);
    free(hosts);
}

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
    if ((nodes = env("SLURM_JOB_NODELIST")) && *nodes) {
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
