/*
 * The names by which mpirun knows the hosts. Open MPI 4 takes letters, digits, '-' and '.' and nothing else: an IPv6
 * address or a name with an underscore would end it after its start. It knows a host by its name up to the first dot,
 * and takes it for this machine when this one's is alike. (With orte_keep_fqdn_hostnames it compares whole names, but
 * does not find itself when its own has a domain.) So every host is given a short name of its own, and the agent that
 * starts mpirun's daemons (launcher/mpi/agent.h) knows which host is meant.
 */
#ifndef MU_LAUNCHER_NODE_NAMES_H
#define MU_LAUNCHER_NODE_NAMES_H

#include "common/status.h"
#include <stdbool.h>

/* Whether Open MPI 4 takes it as the name of a node. */
bool mu_node_name_fits(const char *name);

typedef struct mu_node {
    const char *host; /* as the list of hosts names it */
    bool here;        /* it is this machine; its name becomes that of `own` */
    char name[256];   /* out: for mpirun */
} mu_node_t;

/* Names `count` nodes. own: this machine's host name; agent: ours starts the daemons; without it hosts keep their
 * names. Errors: MU_CONFIG, when `own` does not fit, or a host's name does not and there is no agent; the message
 * names it. */
mu_status_t mu_node_names(mu_node_t *nodes, int count, const char *own, bool agent);

#endif
