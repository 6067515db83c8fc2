/*
 * Which ranks run where: workers fill the hosts in the order of the list; rank 0, the controller, comes
 * before them on the launcher's host when that sees the data, else on the first host. The controller's host
 * comes first, since mpirun numbers ranks by the hostfile's order.
 */
#ifndef MU_LAUNCHER_PLACEMENT_H
#define MU_LAUNCHER_PLACEMENT_H

#include "launcher/hosts/hosts.h"
#include "launcher/mpi/mpirun.h"
#include "launcher/mpi/node_names.h"
#include "launcher/hosts/route.h"

/* What readiness has found out of a host: names and resolvers say less. */
typedef struct mu_proved {
    bool local;        /* it is this machine */
    char address[64];  /* numeric, as connected to; "": none, as behind a ProxyJump */
    char launcher[64]; /* ours on that connection; "": none */
} mu_proved_t;

typedef struct mu_placement {
    mu_host_ranks_t *place; /* names point into `node`, or to "localhost" */
    mu_node_t *node;        /* of each place */
    int *family;            /* of each place: 4 or 6, by which it was reached; 0: unknown, or here */
    int count, ranks,
        slots_per_host; /* slots_per_host: the fewest that a host with workers has; 0: unknown */
    bool local;         /* all of them here */
    int all_family;     /* 4 or 6 when all hosts elsewhere were reached by it; else 0 */
    mu_route_t route;   /* to the first host that is elsewhere; to this one when all are here */
    char self[256];     /* this machine's host name */
} mu_placement_t;

/* Workers for these hosts when --workers is not given. gpus: of each host, or NULL while unknown. */
int mu_placement_workers(const mu_hosts_t *hosts, const int *gpus);
/* proved: of each host; NULL: nothing is known yet, and names are looked up. controller_host: the config's, or NULL;
 * here_sees_data: whether this machine can read the training data. The hosts must outlive *out. Errors: MU_CONFIG (more
 * workers than slots, an unknown controller_host), MU_UNREADY (a name without address). */
mu_status_t mu_placement_make(const mu_hosts_t *hosts, const mu_proved_t *proved, int workers,
                              const char *controller_host, bool here_sees_data, mu_placement_t *out);
/* Gives each place the name by which mpirun is to know it (launcher/mpi/node_names.h); nothing when all are here. */
mu_status_t mu_placement_name(mu_placement_t *places, const mu_mpirun_t *mpirun, bool agent);
void mu_placement_free(mu_placement_t *places);

#endif
