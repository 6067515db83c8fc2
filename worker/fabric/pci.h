/*
 * How far two PCI devices are from each other, from sysfs: what decides whether a GPU's memory can be sent
 * without the host's.
 *
 *     mu_pci_place(sys, "bus/pci/devices/0000:1b:00.0", &gpu);
 *     mu_pci_place(sys, "class/infiniband/mlx5_0/device", &port);
 *     mu_pci_word(mu_pci_distance(&gpu, &port))                   "same switch"
 */
#ifndef MU_WORKER_PCI_H
#define MU_WORKER_PCI_H

typedef struct mu_pci_place {
    char path[512]; /* from the root complex: "pci0000:17/0000:17:01.0/0000:18:00.0"; "" when not known */
    int node;       /* NUMA; -1 when not known */
    int socket;     /* of that node; -1 when not known */
} mu_pci_place_t;

/* Nearest first. The words of `nvidia-smi topo -m` for the same: PIX, PXB, PHB, NODE, SYS. */
typedef enum mu_pci_distance {
    MU_PCI_SWITCH,   /* below one switch, or functions of one card */
    MU_PCI_SWITCHES, /* below one root port, with more than one switch between them */
    MU_PCI_COMPLEX,  /* below one root complex: over the CPU's own bridge */
    MU_PCI_NODE,     /* one NUMA node */
    MU_PCI_SOCKET,   /* NUMA nodes of one socket */
    MU_PCI_FAR,      /* across sockets, or NUMA nodes whose sockets are not known */
    MU_PCI_UNKNOWN
} mu_pci_distance_t;

/* The device that SYS/LINK leads to. One that is not there, or is no PCI device, has no path. */
void mu_pci_place(const char *sys, const char *link, mu_pci_place_t *out);
mu_pci_distance_t mu_pci_distance(const mu_pci_place_t *a, const mu_pci_place_t *b);
/* "same switch", "switches of one root port", "same root complex", "same NUMA node", "same socket", "across
 * sockets", "unknown" */
const char *mu_pci_word(mu_pci_distance_t distance);

#endif
