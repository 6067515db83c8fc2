/* Checks of GPUs and of InfiniBand or RoCE ports. */
#include "launcher/preflight_internal.h"
#include "launcher/ready_text.h"
#include "common/buf.h"
#include "common/num.h"

#define BUSY_BYTES (512 << 20) /* what a driver may keep on an idle device */

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "unknown";
}

static char *shown(const char *text)
{
    mu_buf_t out = MU_BUF_INIT;
    mu_text_escape(text, strlen(text), 120, &out);
    return mu_buf_detach(&out);
}

/* "GPU 5 (GPU-4f2a...)" */
static char *name_of(const json_t *device)
{
    char *uuid = shown(text_at(device, "uuid"));
    char *name = mu_format("GPU %d (%.12s)", (int)json_integer_value(json_object_get(device, "index")), uuid);
    free(uuid);
    return name;
}

static void judge_device(mu_judge_t *judge, int host, const json_t *device)
{
    char *name = name_of(device), human[32];
    const json_t *error = json_object_get(device, "error");
    json_int_t ecc = json_integer_value(json_object_get(device, "ecc_uncorrected"));
    json_int_t used = json_integer_value(json_object_get(device, "used"));
    const json_t *processes = json_object_get(device, "processes");
    if (error) {
        mu_judge_find(judge, host, true, "gpu.health",
                      mu_format("%s: NVML error %d", name, (int)json_integer_value(error)),
                      mu_strdup("a device that answers"), "reset or replace the device");
        free(name);
        return;
    }
    if (ecc > 0 || json_is_true(json_object_get(device, "remap_pending")) ||
        json_is_true(json_object_get(device, "remap_failed")))
        mu_judge_find(
            judge, host, true, "gpu.health",
            mu_format("%s: %" JSON_INTEGER_FORMAT " uncorrectable memory errors%s%s", name, ecc,
                      json_is_true(json_object_get(device, "remap_pending")) ? ", row remap pending" : "",
                      json_is_true(json_object_get(device, "remap_failed")) ? ", row remap failed" : ""),
            mu_strdup("none"), "reset the device (row remap pending), or replace it");
    if (used > BUSY_BYTES || json_array_size(processes) > 0) {
        mu_buf_t found = MU_BUF_INIT;
        mu_buf_addf(&found, "%s: %s in use", name, mu_human_bytes((uint64_t)used, human, sizeof human));
        for (size_t i = 0; i < json_array_size(processes); i++)
            mu_buf_addf(&found, "%s%d", i ? ", " : " by process ",
                        (int)json_integer_value(json_array_get(processes, i)));
        mu_judge_find(judge, host, true, "gpu.busy", mu_buf_detach(&found), mu_strdup("an idle device"),
                      "end the processes that use it");
    }
    free(name);
}

static void judge_gpus(mu_judge_t *judge)
{
    bool needed = judge->want->gpus == MU_NEED_YES;
    int n = judge->hosts->count;
    for (int i = 0; i < n; i++)
        needed |= judge->report->gpus[i] > 0;
    for (int i = 0; i < n; i++) {
        const json_t *gpu = json_object_get(judge->facts[i], "gpu");
        const char *state = text_at(gpu, "state");
        bool broken = strcmp(state, "ok") != 0 && strcmp(state, "absent") != 0;
        int slots = judge->hosts->host[i].slots > 0 ? judge->hosts->host[i].slots : 1;
        if (!judge->facts[i])
            continue;
        if (broken || (needed && strcmp(state, "ok") != 0)) {
            char *safe = shown(text_at(gpu, "detail"));
            mu_judge_find(judge, i, true, "gpu.driver", mu_format("%s: %s", state, safe),
                          mu_strdup(needed ? "GPUs, as asked for or as on other hosts"
                                           : "a driver that answers, or none"),
                          "install or restart the driver; or set device to cpu");
            free(safe);
            continue;
        }
        if (!needed)
            continue;
        if (judge->report->gpus[i] < slots)
            mu_judge_find(judge, i, true, "gpu.count", mu_format("%d GPUs", judge->report->gpus[i]),
                          mu_format("%d, one for each slot", slots),
                          "give the host as many slots as it has GPUs");
        const json_t *devices = json_object_get(gpu, "devices");
        for (size_t d = 0; d < json_array_size(devices); d++)
            judge_device(judge, i, json_array_get(devices, d));
    }
    judge->report->checks++;
    if (!needed)
        return;
    mu_judge_same(judge, "gpu.driver_version", "gpu.driver", false, "install the same driver on every host");
    judge->report->checks += 4;
}

/* "2 active ports at 400 Gb/sec (4X NDR) InfiniBand": what must be equal between hosts. */
static char *ports_of(const json_t *ibverbs, int *active)
{
    const json_t *ports = json_object_get(ibverbs, "ports");
    mu_buf_t out = MU_BUF_INIT;
    const char *rate = "", *link = "";
    *active = 0;
    for (size_t i = 0; i < json_array_size(ports); i++) {
        const json_t *port = json_array_get(ports, i);
        if (strcmp(text_at(port, "state"), "ACTIVE") != 0)
            continue;
        if ((*active)++ == 0) {
            rate = text_at(port, "rate");
            link = text_at(port, "link");
        } else if (strcmp(rate, text_at(port, "rate")) != 0) {
            rate = "different rates";
        }
    }
    if (*active == 0)
        mu_buf_adds(&out, "no active port");
    else
        mu_buf_addf(&out, "%d active ports at %s %s", *active, rate, link);
    return mu_buf_detach(&out);
}

static void judge_ports(mu_judge_t *judge)
{
    int n = judge->hosts->count, times, any = 0;
    char **ports = mu_calloc((size_t)n, sizeof *ports);
    for (int i = 0; i < n; i++) {
        const json_t *ibverbs = json_object_get(judge->facts[i], "ibverbs");
        const char *state = text_at(ibverbs, "state");
        int active = 0;
        if (!judge->facts[i])
            continue;
        ports[i] = ports_of(ibverbs, &active);
        any += active > 0;
        if (strcmp(state, "ok") != 0 && strcmp(state, "absent") != 0 &&
            (active > 0 || !json_object_get(ibverbs, "ports")))
            mu_judge_find(judge, i, true, "net.ibverbs", shown(text_at(ibverbs, "detail")),
                          mu_strdup("the library, as the host has such devices"),
                          "install libibverbs1 there");
        const json_t *memlock = mu_judge_at(judge->facts[i], "resources.memlock");
        if (active > 0 && !(json_is_integer(memlock) && json_integer_value(memlock) == -1))
            mu_judge_find(judge, i, true, "limits.memlock",
                          json_is_integer(memlock)
                              ? mu_format("%" JSON_INTEGER_FORMAT " bytes", json_integer_value(memlock))
                              : mu_strdup("unknown"),
                          mu_strdup("unlimited, since RDMA locks memory"),
                          "set memlock unlimited there (limits.conf, sshd's unit, or the container's)");
    }
    judge->report->checks += 2;
    if (any > 0) {
        const char *common = mu_judge_majority((const char *const *)ports, n, &times);
        for (int i = 0; i < n; i++)
            if (ports[i] && strcmp(ports[i], common) != 0)
                mu_judge_find(judge, i, true, "net.ports", shown(ports[i]),
                              mu_format("%s, as on %d of %d hosts", common, times, n),
                              "look at its cables, switch ports and subnet manager");
        judge->report->checks++;
    }
    for (int i = 0; i < n; i++)
        free(ports[i]);
    free(ports);
}

void mu_preflight_judge_devices(mu_judge_t *judge)
{
    if (judge->want->gpus != MU_NEED_NO)
        judge_gpus(judge);
    judge_ports(judge);
}
