/*
 * The ports that a run listens on, below the range from which kernels take outgoing ports and below
 * Kubernetes' node ports. A firewall or a NetworkPolicy between the hosts of a run lets these through.
 */
#ifndef MU_LAUNCHER_PORTS_H
#define MU_LAUNCHER_PORTS_H

enum {
    MU_PORT_CONTROL = 29000, /* guards to the launcher */
    MU_PORT_CONTROL_COUNT = 100,
    MU_PORT_DAEMON = 29100, /* mpirun and its daemons, both ways */
    MU_PORT_DAEMON_COUNT = 400,
    MU_PORT_RANK = 29500, /* ranks among themselves (MPI over TCP) */
    MU_PORT_RANK_COUNT = 500
};

#endif
