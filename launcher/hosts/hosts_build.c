#include "launcher/hosts/hosts_build.h"
#include "common/buf.h"
#include "common/log.h"

#include <strings.h>

void mu_host_release(mu_host_t *host)
{
    free(host->name);
    free(host->user);
    free(host->extra);
    memset(host, 0, sizeof *host);
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

/* By name, then by position: of two equal names the second one in the file is reported. */
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
