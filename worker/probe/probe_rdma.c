/* InfiniBand and RoCE as this host has it: the ports and those to use, whether they can be opened, how far
 * GPUs are from them, and whether a GPU's memory can be sent directly. */
#include "worker/probe/probe_internal.h"
#include "common/buf.h"
#include "common/file.h"
#include "worker/fabric/ibverbs.h"
#include "worker/fabric/pci.h"
#include "worker/fabric/ib_ports.h"
#include "worker/fabric/sysfs.h"

#include <errno.h>
#include <unistd.h>

enum { GPUS = 64 };

/* ---- devices ---- */

/* The name of a device's file, "uverbs0"; "" when the kernel gives it none (ib_uverbs is not loaded). */
static void uverbs_of(const char *sys, const char *device, char *out, size_t size)
{
    struct dirent **list;
    char *dir = mu_format("%s/class/infiniband/%s/device/infiniband_verbs", sys, device);
    int n = scandir(dir, &list, mu_sysfs_visible, alphasort);
    out[0] = '\0';
    for (int i = 0; i < n; i++) {
        char own[64], *below = mu_path_join(dir, list[i]->d_name);
        mu_sysfs_line(below, "ibdev", own, sizeof own); /* a PCI function may carry several devices */
        if (out[0] == '\0' && strcmp(own, device) == 0)
            snprintf(out, size, "%.60s", list[i]->d_name);
        free(below);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    free(dir);
}

/* Why a device cannot be opened, as exactly as its file tells: *cause is one of the words that
 * docs/readiness.md lists. */
static char *why_closed(const json_t *ask, const char *device, const mu_ibverbs_trial_t *trial,
                        const char **cause)
{
    char name[64], *words;
    uverbs_of(mu_probe_path(ask, "sys", "/sys"), device, name, sizeof name);
    char *path = mu_format("%s/infiniband/%s", mu_probe_path(ask, "dev", "/dev"), name);
    bool there = name[0] && access(path, F_OK) == 0, ours = there && access(path, R_OK | W_OK) == 0;
    if (!name[0]) {
        *cause = "kernel";
        words = mu_strdup("the kernel has no uverbs device for it");
    } else if (!there) {
        *cause = "missing";
        words = mu_format("%s is not there", path);
    } else if (!ours) {
        *cause = "denied";
        words = mu_format("%s: %s", path, strerror(EACCES));
    } else if (trial->step == MU_IBVERBS_LIST) {
        *cause = "driver";
        words = mu_strdup("libibverbs has no driver for it");
    } else {
        *cause = "open";
        words = mu_format("cannot be opened: %s", strerror(trial->error));
    }
    free(path);
    return words;
}

static json_t *trouble(const json_t *ask, const mu_ib_port_t *port, const mu_ibverbs_trial_t *trial)
{
    const char *cause = "";
    char *words = NULL;
    switch (trial->step) {
    case MU_IBVERBS_LIST:
    case MU_IBVERBS_OPEN:
        words = why_closed(ask, port->device, trial, &cause);
        break;
    case MU_IBVERBS_DOMAIN:
        cause = "open";
        words = mu_format("gives no protection domain: %s", strerror(trial->error));
        break;
    case MU_IBVERBS_REGISTER:
        cause = trial->error == ENOMEM ? "memlock" : "register";
        words = mu_format("16 MiB of memory cannot be registered: %s", strerror(trial->error));
        break;
    case MU_IBVERBS_GID:
        cause = "gid";
        words = mu_format("GID %d cannot be read: %s", port->gid_index, strerror(trial->error));
        break;
    case MU_IBVERBS_FINE:
        if (trial->gid[0] == '\0' || strcmp(trial->gid, port->gid) == 0)
            return json_null();
        cause = "gid";
        words = mu_format("GID %d is %s, but %s in sysfs", port->gid_index, trial->gid, port->gid);
        break;
    }
    json_t *seen = json_pack("{s:s, s:s}", "cause", cause, "detail", words);
    free(words);
    return seen;
}

/* Tries the ports to use; "trouble" of each is null when it is fine. Whether all know DMA-BUF. */
static bool try_ports(const json_t *ask, const mu_ibverbs_t *verbs, const mu_ib_port_t *port, int n,
                      const json_t *seen)
{
    bool any = false, dma_buf = true;
    for (int i = 0; i < n; i++) {
        mu_ibverbs_trial_t trial;
        if (!port[i].used)
            continue;
        mu_ibverbs_try(verbs, port[i].device, port[i].number, port[i].gid_index, &trial);
        json_object_set_new(json_array_get(seen, (size_t)i), "trouble", trouble(ask, &port[i], &trial));
        any = true;
        dma_buf = dma_buf && trial.dma_buf;
    }
    return any && dma_buf;
}

/* ---- GPUs ---- */

/* The way by which a GPU's memory is sent without the host's: "DMA-BUF", "nvidia_peermem", or "". The
 * driver's half of DMA-BUF is only in its open kernel modules. */
static const char *gpu_direct(const json_t *ask, bool dma_buf)
{
    static const char *const peer_memory[] = {"module/nvidia_peermem", "kernel/mm/memory_peers/nv_mem",
                                              "kernel/mm/memory_peers/nv_mem_nc"};
    char version[256];
    char *dir = mu_path_join(mu_probe_path(ask, "proc", "/proc"), "driver/nvidia");
    mu_sysfs_line(dir, "version", version, sizeof version);
    free(dir);
    if (dma_buf && strstr(version, "Open Kernel Module"))
        return "DMA-BUF";
    for (size_t i = 0; i < sizeof peer_memory / sizeof *peer_memory; i++) {
        char *path = mu_format("%s/%s/version", mu_probe_path(ask, "sys", "/sys"), peer_memory[i]);
        bool there = access(path, F_OK) == 0;
        free(path);
        if (there)
            return "nvidia_peermem";
    }
    return "";
}

/* The used port that is nearest to the GPU at a PCI address; of equally near ones the first. */
static json_t *nearest(const char *sys, const char *address, const mu_ib_port_t *port, int n)
{
    mu_pci_place_t gpu, its;
    mu_pci_distance_t least = MU_PCI_UNKNOWN;
    const char *name = "";
    char *link = mu_format("bus/pci/devices/%s", address);
    mu_pci_place(sys, link, &gpu);
    free(link);
    for (int i = 0; i < n; i++) {
        if (!port[i].used)
            continue;
        link = mu_format("class/infiniband/%s/device", port[i].device);
        mu_pci_place(sys, link, &its);
        free(link);
        mu_pci_distance_t distance = mu_pci_distance(&gpu, &its);
        if (distance < least) {
            least = distance;
            name = port[i].device;
        }
    }
    return json_pack("{s:s, s:s}", "nearest", name, "distance", mu_pci_word(least));
}

/* {"0000:1b:00.0": {"nearest": "mlx5_0", "distance": "same switch"}} of all that NVIDIA's driver has. */
static json_t *gpus(const char *sys, const mu_ib_port_t *port, int n)
{
    struct dirent **list;
    json_t *seen = json_object();
    char *dir = mu_path_join(sys, "bus/pci/drivers/nvidia");
    int count = scandir(dir, &list, mu_sysfs_visible, alphasort);
    for (int i = 0; i < count; i++) {
        if (strchr(list[i]->d_name, ':') && json_object_size(seen) < GPUS)
            json_object_set_new(seen, list[i]->d_name, nearest(sys, list[i]->d_name, port, n));
        free(list[i]);
    }
    if (count >= 0)
        free(list);
    free(dir);
    return seen;
}

/* ---- the whole ---- */

static json_t *describe(const mu_ib_port_t *port)
{
    char *name = mu_format("%s:%d", port->device, port->number);
    json_t *seen = json_pack("{s:s, s:s, s:s, s:s, s:b}", "name", name, "state", port->state, "rate",
                             port->rate, "link", port->link, "used", port->used);
    if (port->gid_index >= 0)
        json_object_update_new(seen, json_pack("{s:s, s:i}", "gid", port->gid, "gid_index", port->gid_index));
    if (port->lid[0])
        json_object_set_new(seen, "lid", json_string(port->lid));
    free(name);
    return seen;
}

json_t *mu_probe_ibverbs(const json_t *ask)
{
    const char *sys = mu_probe_path(ask, "sys", "/sys");
    const char *hca = json_string_value(json_object_get(ask, "hca"));
    mu_ib_port_t port[MU_PORTS];
    mu_ibverbs_t verbs = {0};
    char words[1024];
    int index, n = mu_ib_ports_read(sys, port);
    if (n == 0)
        return mu_probe_state("absent", "no device in sysfs");
    mu_ports_choose(port, n, hca);
    json_t *ports = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(ports, describe(&port[i]));
    bool open =
        mu_ibverbs_open(mu_probe_path(ask, "ibverbs", "libibverbs.so.1"), &verbs, words, sizeof words);
    bool dma_buf = open && try_ports(ask, &verbs, port, n, ports);
    json_t *seen = mu_probe_state(open ? "ok" : "error", open ? NULL : words);
    mu_ib_ports_hca(port, n, words, sizeof words);
    json_object_set_new(seen, "ports", ports);
    json_object_set_new(seen, "hca", json_string(words));
    if (mu_ib_ports_gid_index(port, n, &index))
        json_object_set_new(seen, "gid_index", json_integer(index));
    json_object_set_new(seen, "gpus", gpus(sys, port, n));
    json_object_set_new(seen, "gpu_direct", json_string(gpu_direct(ask, dma_buf)));
    mu_ibverbs_close(&verbs);
    return seen;
}
