/*
 * Which ranks run where: workers fill the hosts in the order of the list; rank 0, the controller, comes
 * before them on the launcher's host when that sees the data, else on the first host. The controller's host
 * comes first, since mpirun numbers ranks by the hostfile's order.
 */
#ifndef MU_LAUNCHER_PLACEMENT_H
#define MU_LAUNCHER_PLACEMENT_H

#include "launcher/hosts/hosts.h"
#include "launcher/mpi/mpirun.h"
#include "launcher/hosts/route.h"

typedef struct mu_placement {
    mu_host_ranks_t *place; /* names point into the hosts, or to `self` */
    int count, ranks,
        slots_per_host; /* slots_per_host: the fewest that a host with workers has; 0: unknown */
    bool local;         /* all of them here */
    mu_route_t route;   /* to the first host that is elsewhere; to this one when all are here */
    char self[256];
} mu_placement_t;

/* Workers for these hosts when --workers is not given. gpus: of each host, or NULL while unknown. */
int mu_placement_workers(const mu_hosts_t *hosts, const int *gpus);
/* controller_host: the config's, or NULL; here_sees_data: whether this machine can read the training data.
 * Errors: MU_CONFIG (more workers than slots, an unknown controller_host), MU_UNREADY (a name without
 * address). */
mu_status_t mu_placement_make(const mu_hosts_t *hosts, int workers, const char *controller_host,
                              bool here_sees_data, mu_placement_t *out);
void mu_placement_free(mu_placement_t *places);

#endif
