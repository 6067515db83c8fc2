/*
 * GPUs through NVML, opened at run time. Only what the documented ABI of NVML fixes is declared here (NVML
 * API Reference: nvmlInit_v2, nvmlDeviceGetCount_v2, nvmlDeviceGetMemoryInfo, nvmlDeviceGetTotalEccErrors,
 * nvmlDeviceGetRemappedRows, nvmlDeviceGetComputeRunningProcesses_v3, nvmlDeviceGetPciInfo_v3).
 */
#include "worker/probe/probe_internal.h"
#include "common/buf.h"

#include <dlfcn.h>

typedef void *device_t;
typedef struct memory_info {
    unsigned long long total, free, used;
} memory_info_t;
typedef struct process_info {
    unsigned int pid;
    unsigned long long used;
    unsigned int gpu_instance, compute_instance;
} process_info_t;

typedef struct pci_info {
    char legacy[16];
    unsigned int domain, bus, device, ids[2];
    char text[32];
} pci_info_t;

enum { NVML_OK = 0, ECC_UNCORRECTED = 1, ECC_VOLATILE = 0, PROCESSES = 32 };

/* Fills the struct below; a function that this NVML lacks stays NULL. */
#define NVML_TABLE(X)                                                                                        \
    X(init, "nvmlInit_v2", (void))                                                                           \
    X(shutdown, "nvmlShutdown", (void))                                                                      \
    X(driver, "nvmlSystemGetDriverVersion", (char *, unsigned int))                                          \
    X(count, "nvmlDeviceGetCount_v2", (unsigned int *))                                                      \
    X(handle, "nvmlDeviceGetHandleByIndex_v2", (unsigned int, device_t *))                                   \
    X(uuid, "nvmlDeviceGetUUID", (device_t, char *, unsigned int))                                           \
    X(name, "nvmlDeviceGetName", (device_t, char *, unsigned int))                                           \
    X(memory, "nvmlDeviceGetMemoryInfo", (device_t, memory_info_t *))                                        \
    X(ecc, "nvmlDeviceGetTotalEccErrors", (device_t, int, int, unsigned long long *))                        \
    X(remapped, "nvmlDeviceGetRemappedRows",                                                                 \
      (device_t, unsigned int *, unsigned int *, unsigned int *, unsigned int *))                            \
    X(pci, "nvmlDeviceGetPciInfo_v3", (device_t, pci_info_t *))                                              \
    X(processes, "nvmlDeviceGetComputeRunningProcesses_v3", (device_t, unsigned int *, process_info_t *))

typedef struct nvml {
    void *library;
#define NVML_MEMBER(name, symbol, args) int(*name) args;
    NVML_TABLE(NVML_MEMBER)
#undef NVML_MEMBER
} nvml_t;

static bool open_nvml(const char *path, nvml_t *nvml)
{
    nvml->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!nvml->library)
        return false;
#define NVML_LOAD(member, symbol, args) *(void **)&nvml->member = dlsym(nvml->library, symbol);
    NVML_TABLE(NVML_LOAD)
#undef NVML_LOAD
    return true;
}

static json_t *look_at_device(const nvml_t *nvml, unsigned int index)
{
    device_t device;
    char uuid[96] = "", name[96] = "", address[32] = "";
    pci_info_t pci = {0};
    memory_info_t memory = {0};
    unsigned long long ecc = 0;
    unsigned int corrected = 0, uncorrected = 0, pending = 0, failure = 0, count = PROCESSES;
    process_info_t process[PROCESSES];
    int error = nvml->handle(index, &device);
    if (!error)
        error = nvml->uuid(device, uuid, sizeof uuid);
    if (!error)
        error = nvml->memory(device, &memory);
    if (error)
        return json_pack("{s:i, s:i}", "index", (int)index, "error", error);
    nvml->name(device, name, sizeof name);
    if (nvml->pci && nvml->pci(device, &pci) == NVML_OK) /* as sysfs writes it */
        snprintf(address, sizeof address, "%04x:%02x:%02x.0", pci.domain, pci.bus, pci.device);
    /* devices without ECC or row remapping answer "not supported" here: nothing is wrong with them */
    if (!nvml->ecc || nvml->ecc(device, ECC_UNCORRECTED, ECC_VOLATILE, &ecc) != NVML_OK)
        ecc = 0;
    if (!nvml->remapped || nvml->remapped(device, &corrected, &uncorrected, &pending, &failure) != NVML_OK)
        pending = failure = 0;
    json_t *seen = json_pack("{s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:b, s:[]}", "index", (int)index,
                             "uuid", uuid, "name", name, "pci", address, "memory", (json_int_t)memory.total,
                             "used", (json_int_t)memory.used, "ecc_uncorrected", (json_int_t)ecc,
                             "remap_pending", pending != 0, "remap_failed", failure != 0, "processes");
    if (nvml->processes && nvml->processes(device, &count, process) == NVML_OK)
        for (unsigned int i = 0; i < count && i < PROCESSES; i++)
            json_array_append_new(json_object_get(seen, "processes"),
                                  json_integer((json_int_t)process[i].pid));
    return seen;
}

json_t *mu_probe_gpu(const json_t *ask)
{
    nvml_t nvml = {0};
    char driver[96] = "";
    unsigned int count = 0;
    if (!open_nvml(mu_probe_path(ask, "nvml", "libnvidia-ml.so.1"), &nvml))
        return mu_probe_state("absent", "libnvidia-ml.so.1 is not there");
    if (!nvml.init || !nvml.driver || !nvml.count || !nvml.handle || !nvml.uuid || !nvml.name || !nvml.memory)
        return mu_probe_state("error", "this NVML lacks functions of driver 450 and later");
    int error = nvml.init();
    if (error) {
        char *why = mu_format("nvmlInit failed with %d (the driver does not answer)", error);
        json_t *seen = mu_probe_state("error", why);
        free(why);
        return seen;
    }
    nvml.driver(driver, sizeof driver);
    error = nvml.count(&count);
    json_t *seen = mu_probe_state(error ? "error" : "ok", error ? "nvmlDeviceGetCount failed" : NULL);
    json_t *devices = json_array();
    for (unsigned int i = 0; i < count && !error; i++)
        json_array_append_new(devices, look_at_device(&nvml, i));
    json_object_set_new(seen, "driver", json_string(driver));
#ifdef MU_CUDA_BUILT
    json_object_set_new(seen, "cuda", json_string(MU_CUDA_BUILT));
#endif
    json_object_set_new(seen, "devices", devices);
    if (nvml.shutdown)
        nvml.shutdown();
    return seen;
}
