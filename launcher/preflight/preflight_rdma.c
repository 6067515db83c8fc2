/* Checks of InfiniBand and RoCE. NCCL alone uses them: for GPUs, between hosts. */
#include "launcher/preflight/preflight_internal.h"
#include "common/ready_text.h"
#include "common/buf.h"

enum { LINE = 2000 }; /* what is reported of one host: a hundred ports have room */

static bool is_used(const json_t *port)
{
    return json_is_true(json_object_get(port, "used"));
}

static bool is_active(const json_t *port)
{
    return strcmp(mu_judge_text(port, "state"), "ACTIVE") == 0;
}

static bool is_roce(const json_t *port)
{
    return strcmp(mu_judge_text(port, "link"), "Ethernet") == 0;
}

static bool has_gid(const json_t *port)
{
    return json_is_integer(json_object_get(port, "gid_index"));
}

static int count_ports(const json_t *ibverbs, bool used)
{
    const json_t *ports = json_object_get(ibverbs, "ports"), *port;
    size_t i;
    int n = 0;
    json_array_foreach(ports, i, port) n += used ? is_used(port) : is_active(port);
    return n;
}

/* Adds a word that is not there yet. */
static void add_once(mu_buf_t *list, const char *word, const char *between)
{
    if (list->len > 0 && strstr(list->data, word))
        return;
    mu_buf_addf(list, "%s%s", list->len > 0 ? between : "", word);
}

/* "2 ports at 400 Gb/sec (4X NDR) InfiniBand": what must be equal between hosts. */
static char *links_of(const json_t *ibverbs)
{
    const json_t *port;
    mu_buf_t rates = MU_BUF_INIT, links = MU_BUF_INIT;
    size_t i;
    int n = count_ports(ibverbs, true);
    if (n == 0)
        return mu_strdup("no active port");
    json_array_foreach(json_object_get(ibverbs, "ports"), i, port)
    {
        if (!is_used(port))
            continue;
        add_once(&rates, mu_judge_text(port, "rate"), " and ");
        add_once(&links, mu_judge_text(port, "link"), " and ");
    }
    char *text = mu_format("%d port%s at %s %s", n, n == 1 ? "" : "s", rates.data, links.data);
    mu_buf_release(&rates);
    mu_buf_release(&links);
    return text;
}

/* " (mlx5_1:1 has no address)": the RoCE ports that are not used for want of one. */
static char *unaddressed_of(const json_t *ibverbs)
{
    const json_t *port;
    mu_buf_t names = MU_BUF_INIT;
    size_t i;
    int n = 0;
    json_array_foreach(json_object_get(ibverbs, "ports"), i, port)
    {
        if (is_used(port) || !is_active(port) || !is_roce(port) || has_gid(port))
            continue;
        mu_buf_addf(&names, "%s%s", n++ ? ", " : " (", mu_judge_text(port, "name"));
    }
    mu_buf_adds(&names, n == 0 ? "" : n == 1 ? " has no address)" : " have no address)");
    return mu_buf_detach(&names);
}

/* The InfiniBand subnets of the ports to use, in their order, from the first halves of their GIDs; NULL
 * without. */
static char *subnets_of(const json_t *ibverbs)
{
    const json_t *port;
    mu_buf_t subnets = MU_BUF_INIT;
    size_t i;
    json_array_foreach(json_object_get(ibverbs, "ports"), i, port)
    {
        char subnet[20];
        if (!is_used(port) || is_roce(port) || !has_gid(port))
            continue;
        snprintf(subnet, sizeof subnet, "%.19s", mu_judge_text(port, "gid"));
        add_once(&subnets, subnet, ", ");
    }
    return subnets.len > 0 ? mu_buf_detach(&subnets) : NULL;
}

/* ---- of one host ---- */

/* What the probe says of a device that does not open (worker/probe/probe_rdma.c), and what helps. */
static const char *fix_of(const char *cause)
{
    static const char *const fixes[][2] = {
        {"kernel", "load the kernel module ib_uverbs there"},
        {"missing",
         "give the container its devices (/dev/infiniband; in Kubernetes a resource such as rdma/ib), or "
         "set muster.transport=tcp"},
        {"denied", "let the user read and write it (a udev rule; the container's device rules)"},
        {"driver", "install ibverbs-providers there"},
        {"memlock", "set memlock unlimited there (limits.conf, sshd's unit, or the container's)"},
        {"gid", "look at the port's interface and its addresses there"},
    };
    for (size_t i = 0; i < sizeof fixes / sizeof *fixes; i++)
        if (strcmp(cause, fixes[i][0]) == 0)
            return fixes[i][1];
    return "look at the kernel's messages there (dmesg)";
}

static void judge_open(mu_judge_t *judge, int i, const json_t *ibverbs)
{
    const char *state = mu_judge_text(ibverbs, "state");
    const json_t *port, *first = NULL;
    size_t p;
    int closed = 0;
    bool seen = json_object_get(ibverbs, "ports") != NULL; /* else the look hung, or crashed in a driver */
    if (strcmp(state, "ok") != 0 && strcmp(state, "absent") != 0 &&
        (count_ports(ibverbs, false) > 0 || !seen))
        mu_judge_find(judge, i, true, "net.ibverbs", mu_judge_shown(mu_judge_text(ibverbs, "detail")),
                      mu_strdup(seen ? "the library, as the host has such devices" : "devices that answer"),
                      seen ? "install libibverbs1 there" : "look at the kernel's messages there (dmesg)");
    json_array_foreach(json_object_get(ibverbs, "ports"), p, port)
    {
        if (!is_used(port) || !json_is_object(json_object_get(port, "trouble")))
            continue;
        first = first ? first : port;
        closed++;
    }
    if (!first)
        return;
    const json_t *failure = json_object_get(first, "trouble");
    char *name = mu_judge_shown(mu_judge_text(first, "name"));
    char *detail = mu_judge_shown(mu_judge_text(failure, "detail"));
    char *more = closed > 1 ? mu_format("; of %d ports the first", closed) : mu_strdup("");
    mu_judge_find(judge, i, true, "net.device", mu_format("%s: %s%s", name, detail, more),
                  mu_strdup("a device that opens and registers memory"),
                  fix_of(mu_judge_text(failure, "cause")));
    free(name);
    free(detail);
    free(more);
}

static void judge_memlock(mu_judge_t *judge, int i)
{
    const json_t *memlock = mu_judge_at(judge->facts[i], "resources.memlock");
    if ((json_is_integer(memlock) && json_integer_value(memlock) == -1) ||
        json_is_true(mu_judge_at(judge->facts[i], "resources.ipc_lock")))
        return;
    mu_judge_find(judge, i, true, "limits.memlock",
                  json_is_integer(memlock)
                      ? mu_format("%" JSON_INTEGER_FORMAT " bytes", json_integer_value(memlock))
                      : mu_strdup("unknown"),
                  mu_strdup("unlimited, since RDMA locks memory"),
                  "set memlock unlimited there (limits.conf, sshd's unit, or the container's)");
}

static void judge_gids(mu_judge_t *judge, int i, const json_t *ibverbs)
{
    const json_t *port;
    size_t p;
    json_array_foreach(json_object_get(ibverbs, "ports"), p, port)
    {
        if (!is_used(port) || !is_roce(port) || has_gid(port) || judge->report->gid)
            continue;
        char *name = mu_judge_shown(mu_judge_text(port, "name"));
        mu_judge_find(judge, i, true, "net.gid", mu_format("%s: no GID of RoCE v2 with an address", name),
                      mu_strdup("one, as RoCE between hosts needs it"),
                      "give the port's interface an IP address, or set NCCL_IB_GID_INDEX");
        free(name);
    }
}

/* NCCL_IB_HCA as the user set it, and transport rdma: both want a port. */
static void judge_wanted(mu_judge_t *judge, int i, const json_t *ibverbs)
{
    int active = count_ports(ibverbs, false);
    if (count_ports(ibverbs, true) > 0)
        return;
    if (judge->hca && active > 0) {
        char *hca = mu_judge_shown(judge->hca);
        mu_judge_find(judge, i, true, "net.hca", mu_format("NCCL_IB_HCA=%s names no active port", hca),
                      mu_format("one of the host's %d", active),
                      "correct NCCL_IB_HCA, or unset it: then muster chooses");
        free(hca);
    } else if (judge->want->rdma == MU_NEED_YES) {
        mu_judge_find(judge, i, true, "net.ports", mu_strdup("no active port"),
                      mu_strdup("InfiniBand or RoCE, since muster.transport is rdma"),
                      "look at its cables, switch ports and subnet manager; or set muster.transport=auto");
    }
}

/* How its GPUs get at the ports: slow, but they do. */
static void judge_gpus(mu_judge_t *judge, int i, const json_t *ibverbs)
{
    const json_t *devices = mu_judge_at(judge->facts[i], "gpu.devices"), *device;
    size_t d;
    if (json_array_size(devices) == 0)
        return;
    if (strcmp(mu_judge_text(ibverbs, "gpu_direct"), "") == 0)
        mu_judge_find(judge, i, false, "gpu.direct", mu_strdup("neither DMA-BUF nor nvidia_peermem"),
                      mu_strdup("one of them, or messages go through the host's memory"),
                      "modprobe nvidia_peermem there; or the driver's open kernel modules, Linux 5.12 and "
                      "rdma-core 34");
    json_array_foreach(devices, d, device)
    {
        const json_t *near = json_object_get(json_object_get(ibverbs, "gpus"), mu_judge_text(device, "pci"));
        if (strcmp(mu_judge_text(near, "distance"), "across sockets") != 0)
            continue;
        char *gpu = mu_judge_gpu(device), *port = mu_judge_shown(mu_judge_text(near, "nearest"));
        mu_judge_find(judge, i, false, "gpu.nic",
                      mu_format("%s: the nearest is %s, across sockets", gpu, port),
                      mu_strdup("a port on the GPU's own socket"),
                      "move the card or the port; its messages cross the link between sockets");
        free(gpu);
        free(port);
    }
}

/* ---- between hosts ---- */

static void judge_links(mu_judge_t *judge)
{
    int n = judge->hosts->count, times, any = 0;
    char **links = mu_calloc((size_t)n, sizeof *links);
    for (int i = 0; i < n; i++) {
        const json_t *ibverbs = json_object_get(judge->facts[i], "ibverbs");
        if (!judge->facts[i])
            continue;
        links[i] = links_of(ibverbs);
        any += count_ports(ibverbs, true) > 0;
    }
    const char *common = any ? mu_judge_majority((const char *const *)links, n, &times) : NULL;
    for (int i = 0; i < n; i++) {
        if (!any || !links[i] || strcmp(links[i], common) == 0)
            continue;
        char *safe = mu_judge_shown(common);
        char *without = unaddressed_of(json_object_get(judge->facts[i], "ibverbs"));
        char *found = mu_format("%s%s", links[i], without);
        mu_judge_find(judge, i, true, "net.ports", mu_judge_shown(found),
                      mu_format("%s, as on %d of %d hosts", safe, times, n),
                      "look at its cables, switch ports and subnet manager (RoCE: at its addresses)");
        free(found);
        free(without);
        free(safe);
    }
    for (int i = 0; i < n; i++)
        free(links[i]);
    free(links);
}

static void judge_subnets(mu_judge_t *judge)
{
    int n = judge->hosts->count, times;
    char **subnets = mu_calloc((size_t)n, sizeof *subnets);
    for (int i = 0; i < n; i++)
        subnets[i] = subnets_of(json_object_get(judge->facts[i], "ibverbs"));
    const char *common = mu_judge_majority((const char *const *)subnets, n, &times);
    for (int i = 0; i < n; i++) {
        if (!subnets[i] || strcmp(subnets[i], common) == 0)
            continue;
        char *safe = mu_judge_shown(common);
        mu_judge_find(judge, i, false, "net.subnet", mu_judge_shown(subnets[i]),
                      mu_format("%s, as on %d of %d hosts", safe, times, n),
                      "see that its ports are cabled in the same order and routers know both subnets");
        free(safe);
    }
    for (int i = 0; i < n; i++)
        free(subnets[i]);
    free(subnets);
}

void mu_preflight_judge_rdma(mu_judge_t *judge)
{
    int n = judge->hosts->count, any = 0;
    mu_need_t need =
        judge->want->rdma == MU_NEED_AUTO && judge->without_rdma ? MU_NEED_NO : judge->want->rdma;
    bool gpus = judge->want->gpus == MU_NEED_YES;
    for (int i = 0; i < n; i++) {
        gpus |= judge->report->gpus[i] > 0;
        any += count_ports(json_object_get(judge->facts[i], "ibverbs"), false);
    }
    judge->report->rdma = gpus && n > 1 && need != MU_NEED_NO;
    if (!judge->report->rdma)
        return;
    for (int i = 0; i < n; i++) {
        const json_t *ibverbs = json_object_get(judge->facts[i], "ibverbs");
        if (!judge->facts[i])
            continue;
        judge_open(judge, i, ibverbs);
        judge_wanted(judge, i, ibverbs);
        if (count_ports(ibverbs, true) == 0)
            continue;
        judge_memlock(judge, i);
        judge_gids(judge, i, ibverbs);
        judge_gpus(judge, i, ibverbs);
    }
    judge->report->checks += 2;
    if (any == 0)
        return;
    judge_links(judge);
    judge_subnets(judge);
    judge->report->checks += 7;
}

char *mu_preflight_network(const mu_preflight_report_t *report, int host)
{
    const json_t *facts = report->facts[host], *ibverbs = json_object_get(facts, "ibverbs");
    const json_t *index = json_object_get(ibverbs, "gid_index");
    const char *direct = mu_judge_text(ibverbs, "gpu_direct");
    mu_buf_t text = MU_BUF_INIT;
    if (!json_object_get(ibverbs, "ports"))
        return NULL;
    char *links = links_of(ibverbs);
    mu_buf_adds(&text, links);
    free(links);
    if (count_ports(ibverbs, true) > 0)
        mu_buf_addf(&text, ", NCCL_IB_HCA=%s", mu_judge_text(ibverbs, "hca"));
    if (report->gid)
        mu_buf_addf(&text, ", %s", report->gid);
    else if (json_is_integer(index))
        mu_buf_addf(&text, ", NCCL_IB_GID_INDEX=%" JSON_INTEGER_FORMAT, json_integer_value(index));
    if (json_array_size(mu_judge_at(facts, "gpu.devices")) > 0 && count_ports(ibverbs, true) > 0)
        mu_buf_addf(&text, ", %s%s", *direct ? "GPUDirect by " : "no GPUDirect", direct);
    mu_buf_t safe = MU_BUF_INIT;
    mu_text_escape(text.data, text.len, LINE, &safe);
    mu_buf_release(&text);
    return mu_buf_detach(&safe);
}
