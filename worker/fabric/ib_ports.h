/*
 * The InfiniBand and RoCE ports of this host as sysfs tells them, and which of them NCCL is to use.
 *
 *     mu_ib_ports_tell("/sys", text, sizeof text);                  before NCCL is opened
 *
 * or, to look at them,
 *
 *     mu_ib_port_t port[MU_PORTS];
 *     int n = mu_ib_ports_read("/sys", port);
 *     mu_ports_choose(port, n, getenv("NCCL_IB_HCA"));
 *     mu_ib_ports_hca(port, n, text, sizeof text);                  "mlx5_0:1,mlx5_1:1"; "" without RDMA
 *     if (mu_ib_ports_gid_index(port, n, &index)) ...               NCCL_IB_GID_INDEX
 *
 * Sources: Linux, Documentation/ABI/stable/sysfs-class-infiniband; NVIDIA NCCL documentation, environment
 * variables NCCL_IB_HCA, NCCL_IB_GID_INDEX.
 */
#ifndef MU_WORKER_IB_PORTS_H
#define MU_WORKER_IB_PORTS_H

#include <stdbool.h>
#include <stddef.h>

enum { MU_PORTS = 64 }; /* that are looked at on one host; GIDs of a port: 256 */

typedef struct mu_ib_port {
    char device[64]; /* "mlx5_0" */
    int number;      /* 1 and up */
    char state[32];  /* "ACTIVE" */
    char rate[64];   /* "400 Gb/sec (4X NDR)" */
    double gbps;     /* its number */
    char link[32];   /* "InfiniBand", "Ethernet" (RoCE) */
    char lid[16];    /* InfiniBand: "0x1a" */
    char gid[40];    /* "0000:0000:0000:0000:0000:ffff:0a00:0001"; "" when there is no usable one */
    int gid_index;   /* of gid; -1 when there is none */
    bool active, roce;
    bool used; /* set by mu_ports_choose */
} mu_ib_port_t;

/* All ports below SYS/class/infiniband by name, at most MU_PORTS; how many. The usable GID of an InfiniBand
 * port is the first one. That of a RoCE port is the first of RoCE v2 that carries an IPv4 address, else the
 * first of RoCE v2 that carries an IPv6 address other than fe80::/10: only these cross a router, and older
 * versions are not spoken by all switches. One whose type cannot be read belongs to another network
 * namespace. */
int mu_ib_ports_read(const char *sys, mu_ib_port_t port[MU_PORTS]);

/* Sets `used`. hca: what the user gave as NCCL_IB_HCA, understood as NCCL does ("mlx5" a prefix, "=mlx5_0:1"
 * exact, "^" all others); every active port that it names is used. NULL or "": of the active ports those of
 * the link layer that is fastest in sum, without those that have less than half of the fastest one's rate
 * (they are for management), and without RoCE ports that lack a usable GID where others have one. */
void mu_ports_choose(mu_ib_port_t *port, int n, const char *hca);

/* The used ports as "mlx5_0:1,mlx5_1:1", cut to whole names that fit. */
void mu_ib_ports_hca(const mu_ib_port_t *port, int n, char *out, size_t size);

/* Whether all used ports are RoCE and have their usable GID at one index, which is what NCCL_IB_GID_INDEX can
 * say. NCCL before 2.21 takes index 0 when nothing is set; later ones search each port. */
bool mu_ib_ports_gid_index(const mu_ib_port_t *port, int n, int *out);

/* All of the above for this process: sets NCCL_IB_HCA and, unless NCCL has another rule for it
 * (NCCL_IB_ADDR_FAMILY, NCCL_IB_ADDR_RANGE, NCCL_IB_ROCE_VERSION_NUM), NCCL_IB_GID_INDEX, where the environment
 * does not. out: as mu_ib_ports_hca. */
void mu_ib_ports_tell(const char *sys, char *out, size_t size);

#endif
