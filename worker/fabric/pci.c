#include "worker/fabric/pci.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/num.h"
#include "worker/fabric/sysfs.h"

#include <ctype.h>
#include <stdlib.h>

static int number_at(const char *dir, const char *name)
{
    char text[64];
    int64_t value;
    mu_sysfs_line(dir, name, text, sizeof text);
    text[strcspn(text, "-,")] = '\0'; /* the first of "0-31,64-95"; nothing of "-1" */
    return mu_parse_i64(text, &value) && value >= 0 && value < 1 << 20 ? (int)value : -1;
}

/* The socket of a node's first CPU. */
static int socket_of(const char *sys, int node)
{
    if (node < 0)
        return -1;
    char *dir = mu_format("%s/devices/system/node/node%d", sys, node);
    int cpu = number_at(dir, "cpulist");
    free(dir);
    if (cpu < 0)
        return -1;
    dir = mu_format("%s/devices/system/cpu/cpu%d/topology", sys, cpu);
    int socket = number_at(dir, "physical_package_id");
    free(dir);
    return socket;
}

/* Where "/pci0000:17" begins. The last one counts: behind some host bridges there is another (VMD). */
static const char *root_complex(const char *path)
{
    const char *found = NULL;
    for (const char *at = path; (at = strstr(at, "/pci")) != NULL; at += 4)
        if (isxdigit((unsigned char)at[4]) && strcspn(at + 4, "/") > 4)
            found = at + 1;
    return found;
}

void mu_pci_place(const char *sys, const char *link, mu_pci_place_t *out)
{
    char *path = mu_path_join(sys, link), *real = realpath(path, NULL);
    const char *root = real ? root_complex(real) : NULL;
    *out = (mu_pci_place_t){.node = -1, .socket = -1};
    if (root && strlen(root) < sizeof out->path) {
        memcpy(out->path, root, strlen(root) + 1);
        out->node = number_at(real, "numa_node");
        out->socket = socket_of(sys, out->node);
    }
    free(real);
    free(path);
}

static int parts(const char *path)
{
    int n = *path != '\0';
    for (; *path; path++)
        n += *path == '/';
    return n;
}

static int common_parts(const char *a, const char *b)
{
    int n = 0;
    for (;;) {
        size_t length = strcspn(a, "/");
        if (length == 0 || length != strcspn(b, "/") || memcmp(a, b, length) != 0)
            return n;
        n++;
        a += length + (a[length] == '/');
        b += length + (b[length] == '/');
    }
}

mu_pci_distance_t mu_pci_distance(const mu_pci_place_t *a, const mu_pci_place_t *b)
{
    int common = common_parts(a->path, b->path), below_a = parts(a->path) - common;
    int below_b = parts(b->path) - common;
    if (!a->path[0] || !b->path[0])
        return MU_PCI_UNKNOWN;
    if (common >= 2) /* complex, root port, switch's upper port | its lower port, device */
        return below_a <= 2 && below_b <= 2 ? MU_PCI_SWITCH : MU_PCI_SWITCHES;
    if (common == 1)
        return MU_PCI_COMPLEX;
    if (a->node < 0 || b->node < 0)
        return MU_PCI_UNKNOWN;
    if (a->node == b->node)
        return MU_PCI_NODE;
    return a->socket >= 0 && a->socket == b->socket ? MU_PCI_SOCKET : MU_PCI_FAR;
}

const char *mu_pci_word(mu_pci_distance_t distance)
{
    static const char *const words[] = {
        [MU_PCI_SWITCH] = "same switch",        [MU_PCI_SWITCHES] = "switches of one root port",
        [MU_PCI_COMPLEX] = "same root complex", [MU_PCI_NODE] = "same NUMA node",
        [MU_PCI_SOCKET] = "same socket",        [MU_PCI_FAR] = "across sockets",
        [MU_PCI_UNKNOWN] = "unknown",
    };
    return words[distance];
}
