/* How hosts are reached from here, as the kernel's routing table says; nothing is sent. */
#ifndef MU_LAUNCHER_ROUTE_H
#define MU_LAUNCHER_ROUTE_H

#include "common/status.h"
#include <stdbool.h>

typedef struct mu_route {
    bool here;        /* the name is this machine's */
    char address[64]; /* ours, as that host sees us; numeric */
    char interfaces
        [64];      /* for Open MPI: our network, when that host is in it ("10.1.0.0/16"); else the name of
                            our interface, as where every host or rack has a network of its own (pods) */
    char name[64]; /* of that interface */
} mu_route_t;

/* Looks the name up. Errors: MU_UNREADY (no such name, no route). */
mu_status_t mu_route_to(const char *host, mu_route_t *out);
/* The same without a message: false, and *why is a static text. */
bool mu_route_find(const char *host, mu_route_t *out, const char **why);
/* Makes route->interfaces fit the way to another host too: the network if both are in it, else the name. */
void mu_route_add(mu_route_t *route, const mu_route_t *other);

#endif
