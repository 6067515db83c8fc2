#include "launcher/hosts/placement.h"
#include "common/log.h"

#include <strings.h>
#include <unistd.h>

static int slots_of(const mu_host_t *host, int gpus)
{
    return host->slots > 0 ? host->slots : gpus > 0 ? gpus : 1;
}

int mu_placement_workers(const mu_hosts_t *hosts, const int *gpus)
{
    int sum = 0;
    for (int i = 0; i < hosts->count; i++)
        sum += slots_of(&hosts->host[i], gpus ? gpus[i] : 0);
    return sum;
}

/* Workers a host: up to its slots, in order; where no host says how many it has, evenly. */
static mu_status_t spread(const mu_hosts_t *hosts, int workers, mu_placement_t *p)
{
    int left = workers, slots = 0;
    bool silent = true;
    for (int i = 0; i < hosts->count; i++) {
        silent = silent && hosts->host[i].slots == 0;
        slots += slots_of(&hosts->host[i], 0);
    }
    if (!silent && workers > slots)
        return mu_fail(MU_CONFIG,
                       "%d workers do not fit %d slots (from %s): give fewer --workers or more slots",
                       workers, slots, hosts->from);
    for (int i = 0; i < hosts->count && left > 0; i++) {
        int share = (left + hosts->count - i - 1) / (hosts->count - i);
        int ranks = silent ? share : slots_of(&hosts->host[i], 0);
        ranks = ranks < left ? ranks : left;
        p->node[p->count].host = hosts->host[i].name;
        p->place[p->count++] = (mu_host_ranks_t){hosts->host[i].name, ranks};
        if (p->slots_per_host == 0 || ranks < p->slots_per_host)
            p->slots_per_host = ranks;
        left -= ranks;
    }
    return MU_OK;
}

static void move_to_front(mu_placement_t *p, int index)
{
    mu_host_ranks_t place = p->place[index];
    mu_node_t node = p->node[index];
    int family = p->family[index];
    memmove(p->place + 1, p->place, (size_t)index * sizeof *p->place);
    memmove(p->node + 1, p->node, (size_t)index * sizeof *p->node);
    memmove(p->family + 1, p->family, (size_t)index * sizeof *p->family);
    p->place[0] = place;
    p->node[0] = node;
    p->family[0] = family;
}

/* Index of the place that the controller joins; a new one for this machine when it has no workers. */
static mu_status_t seat_controller(const char *wanted, bool here_sees_data, int here, mu_placement_t *p)
{
    int seat = 0;
    if (wanted) {
        for (seat = 0; seat < p->count && strcasecmp(p->place[seat].host, wanted) != 0; seat++)
            ;
        if (seat == p->count)
            return mu_fail(MU_CONFIG, "muster.controller_host '%s' is not among the hosts", wanted);
    } else if (here >= 0 && here_sees_data) {
        seat = here;
    } else if (here_sees_data) {
        seat = p->count;
        p->node[seat] = (mu_node_t){.here = true};
        p->place[p->count++] = (mu_host_ranks_t){NULL, 0};
    }
    move_to_front(p, seat);
    p->place[0].ranks++;
    return MU_OK;
}

/* The way to a host. What its login has proved counts: a resolver's first answer may be an address that leads
 * nowhere. */
static mu_status_t find_way(const char *name, const mu_proved_t *proved, mu_route_t *route)
{
    const char *way = proved && *proved->address ? proved->address : name;
    if (proved && proved->local)
        way = "localhost";
    MU_TRY(mu_route_to(way, route));
    if (proved)
        route->here = proved->local;
    if (proved && *proved->launcher && !proved->local)
        snprintf(route->address, sizeof route->address, "%s", proved->launcher);
    return MU_OK;
}

static int family_of(const char *address)
{
    return strchr(address, ':') ? 6 : 4;
}

static int common_family(const mu_placement_t *p)
{
    int family = -1;
    for (int i = 0; i < p->count; i++)
        if (!p->node[i].here)
            family = family < 0 || family == p->family[i] ? p->family[i] : 0;
    return family < 0 ? 0 : family;
}

/* Which places are here, and the way to the first one that is not. *here: the first that is; -1: none. */
static mu_status_t find_ways(const mu_proved_t *proved, mu_placement_t *p, int *here)
{
    for (int i = 0; i < p->count; i++) {
        const mu_proved_t *one = proved ? &proved[i] : NULL;
        mu_route_t route;
        if (!one && !p->local && *here >= 0)
            break; /* all that is to be known without a login is known */
        MU_TRY(find_way(p->place[i].host, one, &route));
        p->node[i].here = route.here;
        p->family[i] = one && *one->address && !route.here ? family_of(one->address) : 0;
        if (route.here && *here < 0)
            *here = i;
        if (i == 0 || (p->local && !route.here))
            p->route = route;
        p->local = p->local && route.here;
    }
    return MU_OK;
}

mu_status_t mu_placement_make(const mu_hosts_t *hosts, const mu_proved_t *proved, int workers,
                              const char *controller_host, bool here_sees_data, mu_placement_t *out)
{
    mu_placement_t p = {.local = true, .ranks = workers + 1};
    mu_status_t status;
    size_t most = (size_t)hosts->count + 1;
    int here = -1;
    p.place = mu_calloc(most, sizeof *p.place);
    p.node = mu_calloc(most, sizeof *p.node);
    p.family = mu_calloc(most, sizeof *p.family);
    gethostname(p.self, sizeof p.self - 1);
    MU_TRY_GOTO(status, spread(hosts, workers, &p), fail);
    MU_TRY_GOTO(status, find_ways(proved, &p, &here), fail);
    if (p.local) {
        /* one machine, whatever its names: mpirun knows it by this one */
        p.place[0] = (mu_host_ranks_t){"localhost", workers};
        p.count = 1;
        here = 0;
        here_sees_data = true;
        controller_host = NULL;
        MU_TRY_GOTO(status, mu_route_to("localhost", &p.route), fail);
    }
    MU_TRY_GOTO(status, seat_controller(controller_host, here_sees_data, here, &p), fail);
    p.all_family = common_family(&p);
    *out = p;
    for (int i = 0; i < p.count; i++) { /* this machine, which the list does not name */
        if (!out->node[i].host)
            out->node[i].host = out->self;
        if (!out->place[i].host)
            out->place[i].host = out->self;
    }
    return MU_OK;
fail:
    mu_placement_free(&p);
    return status;
}

mu_status_t mu_placement_name(mu_placement_t *p, const mu_mpirun_t *mpirun, bool agent)
{
    if (p->local || mpirun->major >= 5)
        return MU_OK;
    MU_TRY(mu_node_names(p->node, p->count, p->self, agent));
    for (int i = 0; i < p->count; i++)
        p->place[i].host = p->node[i].name;
    return MU_OK;
}

void mu_placement_free(mu_placement_t *p)
{
    free(p->place);
    free(p->node);
    free(p->family);
    *p = (mu_placement_t){0};
}
