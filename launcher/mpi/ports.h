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
    MU_PORT_DAEMON_LOCAL = 2, /* of these for a run on one machine, */
    MU_PORT_DAEMON_HOSTS = 4, /* and for one over hosts: mpirun listens on each port that it is given */
    MU_PORT_RANK = 29500,     /* ranks among themselves (MPI over TCP) */
    MU_PORT_RANK_COUNT = 500
};

/* The first of `count` ports of mpirun's range that are free on this machine; its beginning if there are none. */
int mu_port_daemon_block(int count);

#endif
