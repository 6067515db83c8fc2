/* A library with NVML's names: two devices, and the troubles that STAND_IN_NVML lists. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void *device_t;
enum { OK = 0, ERROR = 999 };

static int has(const char *word)
{
    const char *list = getenv("STAND_IN_NVML");
    return list && strstr(list, word);
}

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlSystemGetDriverVersion(char *text, unsigned int size);
int nvmlDeviceGetCount_v2(unsigned int *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device_t *device);
int nvmlDeviceGetUUID(device_t device, char *text, unsigned int size);
int nvmlDeviceGetName(device_t device, char *text, unsigned int size);
int nvmlDeviceGetPciInfo_v3(device_t device, void *info);
int nvmlDeviceGetMemoryInfo(device_t device, unsigned long long *memory);
int nvmlDeviceGetTotalEccErrors(device_t device, int type, int counter, unsigned long long *count);
int nvmlDeviceGetRemappedRows(device_t device, unsigned int *corrected, unsigned int *uncorrected,
                              unsigned int *pending, unsigned int *failed);
int nvmlDeviceGetComputeRunningProcesses_v3(device_t device, unsigned int *count, unsigned int *info);

int nvmlInit_v2(void)
{
    if (has("hang"))
        pause();
    return has("init") ? ERROR : OK;
}

int nvmlShutdown(void)
{
    return OK;
}

int nvmlSystemGetDriverVersion(char *text, unsigned int size)
{
    snprintf(text, size, "580.00");
    return OK;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = 2;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device_t *device)
{
    static char devices[2];
    *device = &devices[index];
    return OK;
}

static int number(device_t device)
{
    device_t first;
    nvmlDeviceGetHandleByIndex_v2(0, &first);
    return device != first;
}

int nvmlDeviceGetUUID(device_t device, char *text, unsigned int size)
{
    snprintf(text, size, "GPU-stand-in-%d", number(device));
    return OK;
}

int nvmlDeviceGetName(device_t device, char *text, unsigned int size)
{
    (void)device;
    snprintf(text, size, "Stand-in");
    return OK;
}

/* 0000:1a:00.0 and 0000:8b:00.0 */
int nvmlDeviceGetPciInfo_v3(device_t device, void *info)
{
    unsigned int bus = number(device) ? 0x8b : 0x1a, *fields = (unsigned int *)(void *)((char *)info + 16);
    memset(info, 0, 68);
    fields[1] = bus;
    snprintf((char *)info + 36, 32, "00000000:%02X:00.0", bus);
    return OK;
}

int nvmlDeviceGetMemoryInfo(device_t device, unsigned long long *memory)
{
    unsigned long long used = has("busy") && number(device) ? 4ULL << 30 : 0;
    memory[0] = 80ULL << 30;
    memory[1] = memory[0] - used;
    memory[2] = used;
    return OK;
}

int nvmlDeviceGetTotalEccErrors(device_t device, int type, int counter, unsigned long long *count)
{
    *count = has("ecc") && number(device) && type == 1 && counter == 0 ? 3 : 0;
    return OK;
}

int nvmlDeviceGetRemappedRows(device_t device, unsigned int *corrected, unsigned int *uncorrected,
                              unsigned int *pending, unsigned int *failed)
{
    *corrected = *uncorrected = *failed = 0;
    *pending = has("remap") && number(device);
    return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device_t device, unsigned int *count, unsigned int *info)
{
    *count = 0;
    if (has("busy") && number(device)) {
        info[0] = 4242;
        *count = 1;
    }
    return OK;
}
