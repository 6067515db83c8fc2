/* Checks of GPUs. */
#include "launcher/preflight/preflight_internal.h"
#include "common/buf.h"
#include "common/num.h"

#define BUSY_BYTES (512 << 20) /* what a driver may keep on an idle device */

static void judge_device(mu_judge_t *judge, int host, const json_t *device)
{
    char *name = mu_judge_gpu(device), human[32];
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

/* The oldest driver that runs what a toolkit built (NVIDIA, CUDA compatibility: minor versions of 12 and of 13). */
static int driver_for(const char *cuda)
{
    long major = strtol(cuda, NULL, 10);
    return major >= 13 ? 580 : major == 12 ? 525 : 0;
}

static void judge_driver(mu_judge_t *judge, int host, const json_t *gpu)
{
    const char *driver = mu_judge_text(gpu, "driver"), *cuda = mu_judge_text(gpu, "cuda");
    long major = strtol(driver, NULL, 10);
    if (major == 0 || major >= driver_for(cuda))
        return;
    char *found = mu_judge_shown(driver), *built = mu_judge_shown(cuda);
    mu_judge_find(judge, host, true, "gpu.driver_old", mu_format("driver %s", found),
                  mu_format("%d or newer, for this muster's CUDA %s", driver_for(cuda), built),
                  "install that driver, or a muster built with CUDA 12; or set device to cpu");
    free(found);
    free(built);
}

static void judge_gpus(mu_judge_t *judge)
{
    bool needed = judge->want->gpus == MU_NEED_YES;
    int n = judge->hosts->count;
    for (int i = 0; i < n; i++)
        needed |= judge->report->gpus[i] > 0;
    for (int i = 0; i < n; i++) {
        const json_t *gpu = json_object_get(judge->facts[i], "gpu");
        const char *state = mu_judge_text(gpu, "state");
        bool broken = strcmp(state, "ok") != 0 && strcmp(state, "absent") != 0;
        int slots = judge->hosts->host[i].slots > 0 ? judge->hosts->host[i].slots : 1;
        if (!judge->facts[i])
            continue;
        if (broken || (needed && strcmp(state, "ok") != 0)) {
            char *safe = mu_judge_shown(mu_judge_text(gpu, "detail"));
            mu_judge_find(judge, i, true, "gpu.driver", mu_format("%s: %s", state, safe),
                          mu_strdup(needed ? "GPUs, as asked for or as on other hosts"
                                           : "a driver that answers, or none"),
                          "install or restart the driver; or set device to cpu");
            free(safe);
            continue;
        }
        if (!needed)
            continue;
        judge_driver(judge, i, gpu);
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
    judge->report->checks += 5;
}

void mu_preflight_judge_devices(mu_judge_t *judge)
{
    if (judge->want->gpus != MU_NEED_NO)
        judge_gpus(judge);
    mu_preflight_judge_rdma(judge);
}
