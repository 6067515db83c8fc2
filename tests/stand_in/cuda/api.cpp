/* The host's interface: devices, errors, copies. */
#include "runtime.h"

#include <memory>
#include <sstream>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <vector>

static thread_local int current_device;
static thread_local cudaError_t last_error;

static long option_number(const char *word, long otherwise)
{
    const char *text = mu_stand_in_option("STAND_IN_CUDA", word);
    return text ? strtol(text, NULL, 10) : otherwise;
}

static std::string uuid_text(int card)
{
    char text[64];
    snprintf(text, sizeof text, "GPU-7374616e-642d-696e-0000-%012x", card);
    return text;
}

/* The cards that CUDA_VISIBLE_DEVICES names (CUDA C++ Programming Guide, "CUDA Environment Variables"): indices, UUIDs
 * or beginnings of them, or one part of a card (MIG-<UUID>/<instance>/<instance>). What follows a name that is none is
 * not seen. */
static std::vector<int> visible(void)
{
    std::vector<int> cards;
    int count = mu_stand_in_option("STAND_IN_CUDA", "none") ? 0 : (int)option_number("devices=", 8);
    int first = (int)option_number("first=", 0);
    const char *given = getenv("CUDA_VISIBLE_DEVICES");
    if (!given) {
        for (int i = 0; i < count; i++)
            cards.push_back(first + i);
        return cards;
    }
    std::stringstream list(given);
    for (std::string word; std::getline(list, word, ',');) {
        int found = -1;
        bool part = word.compare(0, 4, "MIG-") == 0;
        for (int i = 0; i < count; i++) {
            std::string uuid = uuid_text(first + i);
            if (part ? word.compare(4, uuid.size(), uuid) == 0
                     : word == std::to_string(i) ||
                           (word.size() > 4 && uuid.compare(0, word.size(), word) == 0))
                found = first + i;
        }
        if (found < 0)
            break;
        cards.push_back(found);
        if (part)
            break;
    }
    return cards;
}

int mu_stand_in_device_count(void)
{
    return (int)visible().size();
}

int mu_stand_in_card(int device)
{
    return visible().at((size_t)device);
}

int mu_stand_in_capability(void)
{
    return (int)option_number("sm=", 90);
}

/* KiB of shared memory that a block may ask for (CUDA C++ Programming Guide, "Technical Specifications"). */
static int shared_limit(int capability)
{
    if (capability < 80)
        return 64;
    if (capability == 80 || capability == 87)
        return 163;
    return capability == 86 || capability == 89 || capability >= 120 ? 99 : 227;
}

size_t mu_stand_in_processor_shared(void)
{
    int capability = mu_stand_in_capability();
    return (size_t)(capability < 80 ? 64 : shared_limit(capability) + 1) << 10;
}

int mu_stand_in_device(void)
{
    return current_device;
}

size_t mu_stand_in_memory_size(void)
{
    const char *text = mu_stand_in_option("STAND_IN_CUDA", "memory=");
    if (!text)
        return 4UL << 30;
    char *unit;
    size_t size = strtoul(text, &unit, 10);
    return size << (*unit == 'g' ? 30 : *unit == 'm' ? 20 : *unit == 'k' ? 10 : 0);
}

cudaError_t mu_stand_in_error(cudaError_t error)
{
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

bool mu_stand_in_shall_fail(const char *function)
{
    const char *name = mu_stand_in_option("STAND_IN_CUDA", "fail=");
    size_t length = strlen(function);
    return name && strncmp(name, function, length) == 0 && (name[length] == ' ' || !name[length]);
}

static bool inside(int device)
{
    return device >= 0 && device < mu_stand_in_device_count();
}

/* Where a copy goes from and to, when the caller leaves it open. */
static enum cudaMemcpyKind kind_of(const void *to, const void *from, enum cudaMemcpyKind kind)
{
    if (kind != cudaMemcpyDefault)
        return kind;
    bool to_device = mu_stand_in_in_arena(to), from_device = mu_stand_in_in_arena(from);
    return to_device ? (from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice)
                     : (from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost);
}

static void check_copy(const char *what, const void *to, const void *from, size_t bytes,
                       enum cudaMemcpyKind kind, int device)
{
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (to_device)
        mu_stand_in_check_device_range(what, to, bytes, kind == cudaMemcpyDeviceToDevice ? -1 : device);
    else
        mu_stand_in_check_host(what, to);
    if (from_device)
        mu_stand_in_check_device_range(what, from, bytes, kind == cudaMemcpyDeviceToDevice ? -1 : device);
    else
        mu_stand_in_check_host(what, from);
}

extern "C" {

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "cudaSuccess";
    case cudaErrorInvalidValue:
        return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
        return "cudaErrorMemoryAllocation";
    case cudaErrorInitializationError:
        return "cudaErrorInitializationError";
    case cudaErrorInvalidConfiguration:
        return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
        return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
        return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
        return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
        return "cudaErrorInvalidResourceHandle";
    case cudaErrorIllegalState:
        return "cudaErrorIllegalState";
    case cudaErrorNotReady:
        return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
        return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
        return "cudaErrorLaunchFailure";
    case cudaErrorNotSupported:
        return "cudaErrorNotSupported";
    case cudaErrorStreamCaptureUnsupported:
        return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
        return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureIsolation:
        return "cudaErrorStreamCaptureIsolation";
    case cudaErrorStreamCaptureImplicit:
        return "cudaErrorStreamCaptureImplicit";
    case cudaErrorCapturedEvent:
        return "cudaErrorCapturedEvent";
    case cudaErrorStreamCaptureWrongThread:
        return "cudaErrorStreamCaptureWrongThread";
    default:
        return "cudaErrorUnknown";
    }
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? "out of memory" : cudaGetErrorName(error);
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    const char *given = mu_stand_in_option("STAND_IN_CUDA", "driver=");
    *version = given ? atoi(given) : mu_stand_in_device_count() ? CUDART_VERSION : 0;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    int driver;
    *count = mu_stand_in_device_count();
    (void)cudaDriverGetVersion(&driver);
    if (*count && driver / 1000 < CUDART_VERSION / 1000) /* 0: there is none, as CUDA answers then */
        return mu_stand_in_error(cudaErrorInsufficientDriver);
    return mu_stand_in_error(*count ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device)
{
    if (mu_stand_in_device_count() == 0)
        return mu_stand_in_error(cudaErrorNoDevice);
    if (!inside(device))
        return mu_stand_in_error(cudaErrorInvalidDevice);
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = current_device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    if (!inside(device))
        return mu_stand_in_error(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "Stand-in");
    memcpy(p->uuid.bytes, "stand-in", 8);
    p->uuid.bytes[15] = (char)mu_stand_in_card(device);
    p->totalGlobalMem = mu_stand_in_memory_size();
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = (size_t)shared_limit(mu_stand_in_capability()) << 10;
    p->sharedMemPerMultiprocessor = mu_stand_in_processor_shared();
    p->regsPerBlock = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = INT32_MAX;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->major = mu_stand_in_capability() / 10;
    p->minor = mu_stand_in_capability() % 10;
    p->multiProcessorCount = 4;
    p->maxThreadsPerMultiProcessor = 2048;
    p->l2CacheSize = 4 << 20;
    p->pciBusID = mu_stand_in_card(device) + 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    struct cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess)
        return error;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = p.maxThreadsPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = (int)p.sharedMemPerBlock;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = p.multiProcessorCount;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = p.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = p.minor;
        break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = (int)p.sharedMemPerMultiprocessor;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)p.sharedMemPerBlockOptin;
        break;
    default:
        return mu_stand_in_error(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int size, int device)
{
    if (!inside(device))
        return mu_stand_in_error(cudaErrorInvalidDevice);
    snprintf(text, (size_t)size, "0000:%02x:00.0", mu_stand_in_card(device) + 1);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    if (mu_stand_in_shall_fail("cudaMemcpyAsync"))
        return mu_stand_in_error(cudaErrorUnknown);
    if (bytes == 0)
        return cudaSuccess;
    kind = kind_of(to, from, kind);
    int device = mu_stand_in_stream_device(stream);
    auto check = [=] { check_copy("cudaMemcpyAsync", to, from, bytes, kind, device); };
    check();
    bool reads_pageable = kind == cudaMemcpyHostToDevice && !mu_stand_in_is_pinned(from),
         writes_pageable = kind == cudaMemcpyDeviceToHost && !mu_stand_in_is_pinned(to);
    if (reads_pageable || writes_pageable) /* with which the host waits */
        if (cudaError_t error = mu_stand_in_uncapturable(stream))
            return error;
    if (reads_pageable) {
        /* pageable memory is read before the call returns */
        std::shared_ptr<char> staged((char *)malloc(bytes), free);
        memcpy(staged.get(), from, bytes);
        return mu_stand_in_enqueue(stream, [=] {
            mu_stand_in_touch();
            memcpy(to, staged.get(), bytes);
            return true;
        });
    }
    cudaError_t error = mu_stand_in_enqueue(
        stream,
        [=] {
            mu_stand_in_touch();
            memmove(to, from, bytes);
            return true;
        },
        check);
    /* pageable memory is written before the call returns */
    return error == cudaSuccess && writes_pageable ? cudaStreamSynchronize(stream) : error;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    cudaError_t error = mu_stand_in_unsafe();
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(to, from, bytes, kind, NULL);
    return error == cudaSuccess ? cudaStreamSynchronize(NULL) : error;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    if (width > to_pitch || width > from_pitch)
        return mu_stand_in_error(cudaErrorInvalidValue);
    for (size_t i = 0; i < height; i++) {
        cudaError_t error = cudaMemcpyAsync((char *)to + i * to_pitch, (const char *)from + i * from_pitch,
                                            width, kind, stream);
        if (error != cudaSuccess)
            return error;
    }
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
    int device = mu_stand_in_stream_device(stream);
    auto check = [=] { mu_stand_in_check_device_range("cudaMemsetAsync", p, bytes, device); };
    check();
    return mu_stand_in_enqueue(
        stream,
        [=] {
            mu_stand_in_touch();
            memset(p, value, bytes);
            return true;
        },
        check);
}

cudaError_t cudaMemset(void *p, int value, size_t bytes)
{
    cudaError_t error = mu_stand_in_unsafe();
    return error != cudaSuccess ? error : cudaMemsetAsync(p, value, bytes, NULL);
}

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value)
{
    if (value < 0 || (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize &&
                      value > shared_limit(mu_stand_in_capability()) << 10))
        return mu_stand_in_error(cudaErrorInvalidValue);
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize)
        mu_stand_in_allow_shared(function, (size_t)value);
    return cudaSuccess;
}

} /* extern "C" */
