/* How hosts are reached from here, as the kernel's routing table says; nothing is sent. */
#ifndef MU_LAUNCHER_ROUTE_H
#define MU_LAUNCHER_ROUTE_H

#include "common/status.h"
#include <stdbool.h>

typedef struct mu_route {
    bool here;           /* the name is this machine's */
    char address[64];    /* ours, as that host sees us; numeric */
    char interfaces[64]; /* for Open MPI: our network there ("10.1.0.0/16"), or the interface's name where
                            every host is a network of its own (pods) */
} mu_route_t;

/* Looks the name up. Errors: MU_UNREADY (no such name, no route). */
mu_status_t mu_route_to(const char *host, mu_route_t *out);

#endif
