/*
 * The machine's own cuDNN without a device, from 9.11 on: graphs have no handle, and heuristics get the properties of a
 * card (NVIDIA cuDNN documentation, "Deviceless ahead-of-time compilation"). Plans are made, compiled and looked at as
 * on that card, and cannot be run. STAND_IN_CUDA=sm=80 says which card, DEVICELESS_CUDNN names the library.
 */
#include "../cuda/runtime.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>

namespace
{
enum { HEURISTICS = 4, PROPERTIES = 38 };                                            /* descriptors */
enum { HEURISTICS_PROPERTIES = 204, GRAPH_HANDLE = 800, PROPERTIES_AS_JSON = 2702 }; /* attributes */
enum { DESCRIPTOR = 15, CHARACTERS = 24 };                                           /* types */
enum { NOT_SUPPORTED = 3000 };

typedef int (*make_t)(int, void **);
typedef int (*set_t)(void *, int, int, int64_t, const void *);

void *properties; /* of the card for which plans are made */

void *real(const char *name)
{
    static void *library = dlopen(getenv("DEVICELESS_CUDNN"), RTLD_NOW | RTLD_LOCAL);
    void *symbol = library ? dlsym(library, name) : NULL;
    if (!symbol)
        mu_stand_in_fail("DEVICELESS_CUDNN: %s: %s", name, dlerror());
    return symbol;
}

/* CUDA C++ Programming Guide, "Technical Specifications"; data sheets of A100, H200, B200 and RTX 5090. */
std::string card(int capability)
{
    int processors = capability == 80 ? 108 : capability == 90 ? 132 : capability == 100 ? 148 : 170;
    int shared = capability == 80 ? 163 : capability >= 120 ? 99 : 227;
    char text[2048];
    snprintf(text, sizeof text,
             "{\"deviceName\": \"a card\", \"deviceVer\": %d, \"driverVer\": 13000, \"cudaDeviceId\": 0, "
             "\"totalGlobalMem\": 85899345920, \"maxGridSize\": "
             "[2147483647, "
             "65535, 65535], \"maxBlockSize\": [1024, 1024, 64], \"regsPerBlock\": 65536, "
             "\"multiProcessorCount\": "
             "%d, \"smCountOrigin\": 0, \"warpSize\": 32, \"maxSharedMemoryPerBlock\": 49152, "
             "\"maxSharedMemoryPerBlockOptin\": %d, \"oversizedSharedMemoryPerBlock\": 0, "
             "\"reservedSharedMemoryPerBlock\": 1024, \"maxRegistersPerSM\": 65536, \"maxCtasPerSM\": 32, "
             "\"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": %d, \"pciDeviceId\": 0, \"isTccDriver\": 0, "
             "\"supportCoopLaunch\": 1, \"smClockRateKHz\": 1500000, \"memClockRateKHz\": 2000000, "
             "\"l2CacheSize\": 50331648}",
             10 * capability, processors, shared << 10, capability >= 120 ? 1536 : 2048);
    return text;
}
} // namespace

extern "C" {

size_t cudnnGetVersion(void)
{
    return ((size_t(*)(void))real("cudnnGetVersion"))();
}

const char *cudnnGetErrorString(int status)
{
    return ((const char *(*)(int))real("cudnnGetErrorString"))(status);
}

void cudnnGetLastErrorString(char *message, size_t size)
{
    ((void (*)(char *, size_t))real("cudnnGetLastErrorString"))(message, size);
}

int cudnnBackendFinalize(void *d)
{
    return ((int (*)(void *))real("cudnnBackendFinalize"))(d);
}

int cudnnCreate(void **handle)
{
    static char something;
    std::string json = card(mu_stand_in_capability());
    *handle = &something;
    int status = ((make_t)real("cudnnBackendCreateDescriptor"))(PROPERTIES, &properties);
    if (status == 0)
        status = ((set_t)real("cudnnBackendSetAttribute"))(properties, PROPERTIES_AS_JSON, CHARACTERS,
                                                           (int64_t)json.size(), json.data());
    return status ? status : cudnnBackendFinalize(properties);
}

int cudnnDestroy(void *)
{
    return ((int (*)(void *))real("cudnnBackendDestroyDescriptor"))(properties);
}

int cudnnSetStream(void *, void *)
{
    return 0;
}

int cudnnBackendCreateDescriptor(int kind, void **out)
{
    int status = ((make_t)real("cudnnBackendCreateDescriptor"))(kind, out);
    if (status == 0 && kind == HEURISTICS)
        status = ((set_t)real("cudnnBackendSetAttribute"))(*out, HEURISTICS_PROPERTIES, DESCRIPTOR, 1,
                                                           &properties);
    return status;
}

int cudnnBackendDestroyDescriptor(void *d)
{
    return ((int (*)(void *))real("cudnnBackendDestroyDescriptor"))(d);
}

int cudnnBackendSetAttribute(void *d, int name, int type, int64_t count, const void *values)
{
    return name == GRAPH_HANDLE ? 0 : ((set_t)real("cudnnBackendSetAttribute"))(d, name, type, count, values);
}

int cudnnBackendGetAttribute(void *d, int name, int type, int64_t wanted, int64_t *count, void *values)
{
    return ((int (*)(void *, int, int, int64_t, int64_t *, void *))real("cudnnBackendGetAttribute"))(
        d, name, type, wanted, count, values);
}

int cudnnBackendExecute(void *, void *, void *)
{
    return NOT_SUPPORTED;
}

} /* extern "C" */
