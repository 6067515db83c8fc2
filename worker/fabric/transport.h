/*
 * How NCCL reaches other hosts: over which interfaces it may, and what it says that it took. worker/fabric/ib_ports.h
 * chooses among RDMA ports.
 *
 *     mu_transport_interfaces(include, names, sizeof names);      "=eth0"
 *     ... NCCL_SOCKET_IFNAME, NCCL_DEBUG_FILE are set; communicators are made ...
 *     mu_transport_read(log, &seen);
 *
 * NCCL has no call that tells the transport; its log does, one line a channel ("Channel 00/0 : 0[0] -> 1[0]
 * [send] via NET/IB/0/GDRDMA"; NCCL's transport/ *.cc), so the log is read.
 */
#ifndef MU_WORKER_TRANSPORT_H
#define MU_WORKER_TRANSPORT_H

#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>

/* This host's interfaces that `include` names, in the form of NCCL_SOCKET_IFNAME. include: names and IPv4
 * networks ("10.1.0.0/16") separated by commas, as Open MPI's btl_tcp_if_include. "" when none is here. */
void mu_transport_interfaces(const char *include, char *out, size_t size);

/* Channels by what they go over. */
typedef struct mu_transport_seen {
    int peer, shared; /* within a host: GPU to GPU, the host's memory */
    int rdma, tcp;    /* between hosts: a plugin that is not sockets counts as rdma */
    bool gpu_direct;  /* some go from the GPU's memory without the host's */
} mu_transport_seen_t;

/* Of a log of NCCL_DEBUG=INFO; a file that is not there is an empty one. */
void mu_transport_read(const char *log, mu_transport_seen_t *out);
/* "P2P", "SHM, NET/RDMA with GPUDirect", "" when nothing was seen. */
void mu_transport_words(const mu_transport_seen_t *seen, char *out, size_t size);

#endif
