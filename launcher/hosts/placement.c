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
        p->place[p->count++] = (mu_host_ranks_t){hosts->host[i].name, ranks};
        if (p->slots_per_host == 0 || ranks < p->slots_per_host)
            p->slots_per_host = ranks;
        left -= ranks;
    }
    return MU_OK;
}

static void move_to_front(mu_placement_t *p, int index)
{
    mu_host_ranks_t first = p->place[index];
    memmove(p->place + 1, p->place, (size_t)index * sizeof *p->place);
    p->place[0] = first;
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
        gethostname(p->self, sizeof p->self - 1);
        seat = p->count;
        p->place[p->count++] = (mu_host_ranks_t){p->self, 0};
    }
    move_to_front(p, seat);
    p->place[0].ranks++;
    return MU_OK;
}

mu_status_t mu_placement_make(const mu_hosts_t *hosts, int workers, const char *controller_host,
                              bool here_sees_data, mu_placement_t *out)
{
    mu_placement_t p = {.local = true, .ranks = workers + 1};
    mu_status_t status;
    p.place = mu_calloc((size_t)hosts->count + 1, sizeof *p.place);
    MU_TRY_GOTO(status, spread(hosts, workers, &p), fail);
    int here = -1;
    for (int i = 0; i < p.count; i++) {
        mu_route_t route;
        if (!p.local && here >= 0)
            break; /* all that is to be known is known */
        MU_TRY_GOTO(status, mu_route_to(p.place[i].host, &route), fail);
        if (route.here && here < 0)
            here = i;
        if (i == 0 || (p.local && !route.here))
            p.route = route;
        p.local = p.local && route.here;
    }
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
    *out = p;
    if (p.place[0].host == p.self)
        out->place[0].host = out->self;
    return MU_OK;
fail:
    free(p.place);
    return status;
}

void mu_placement_free(mu_placement_t *p)
{
    free(p->place);
    *p = (mu_placement_t){0};
}
