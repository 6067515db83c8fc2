/*
 * Device memory: one range of addresses, which nobody may touch while the device rests. New memory holds ones
 * in every bit (a NaN of every float type, -1 of every integer). Each allocation has a margin on both sides:
 * closed by the address sanitizer where there is one, else holding a pattern that is looked at when the
 * allocation is freed.
 */
#include "poison.h"
#include "runtime.h"

#include <map>
#include <mutex>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

namespace
{
const size_t ARENA = 64UL << 30, ALIGN = 256, MARGIN = 256, PAGE = 4096;
const size_t LARGE = 2 << 20; /* pages that are opened and closed quickly, where the system has them */

struct allocation {
    size_t size;
    int device;
};

struct memory {
    std::mutex lock;
    char *arena = nullptr;
    size_t high = 0; /* bytes of the arena that were ever used */
    int open = 0;
    std::map<char *, allocation> held;
    std::map<void *, size_t> pinned;
    std::map<int, size_t> used;
};

memory &m()
{
    static auto *the = new memory;
    return *the;
}

size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* With the margins. */
size_t footprint(size_t size)
{
    return round_up(size, ALIGN) + 2 * MARGIN;
}

void reserve()
{
    if (m().arena)
        return;
    void *p = mmap(NULL, ARENA + LARGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        mu_stand_in_fail("no addresses for the device's memory");
    m().arena = (char *)round_up((size_t)p, LARGE);
    madvise(m().arena, ARENA, MADV_HUGEPAGE);
    mu_stand_in_report_faults();
}

void protect(size_t from, size_t to, int how)
{
    if (to > from && mprotect(m().arena + from, to - from, how) != 0)
        mu_stand_in_fail("mprotect of the device's memory failed");
}

/* The first gap that is large enough, from the start. */
char *find_place(size_t bytes)
{
    char *at = m().arena;
    for (const auto &h : m().held) {
        if ((size_t)(h.first - MARGIN - at) >= bytes)
            return at;
        at = h.first + footprint(h.second.size) - MARGIN;
    }
    return (size_t)(m().arena + ARENA - at) >= bytes ? at : nullptr;
}

std::map<char *, allocation>::iterator holder(const void *p)
{
    auto h = m().held.upper_bound((char *)p);
    if (h == m().held.begin())
        return m().held.end();
    --h;
    return (const char *)p <= h->first + h->second.size ? h : m().held.end();
}

#ifndef MU_ASAN
void check_margins(char *p, size_t size)
{
    for (char *q : {p - MARGIN, p + round_up(size, ALIGN)})
        for (size_t i = 0; i < MARGIN; i++)
            if (q[i] != (char)0xfd)
                mu_stand_in_fail("device memory %p of %zu bytes was overrun: byte %td was written", (void *)p,
                                 size, q + i - p);
    for (size_t i = size; i < round_up(size, ALIGN); i++)
        if (p[i] != (char)0xfd)
            mu_stand_in_fail("device memory %p of %zu bytes was overrun: byte %zu was written", (void *)p,
                             size, i);
}
#endif
} // namespace

void mu_stand_in_memory_open(void)
{
    std::lock_guard<std::mutex> guard(m().lock);
    reserve();
    if (m().open++ == 0)
        protect(0, m().high, PROT_READ | PROT_WRITE);
}

void mu_stand_in_memory_close(void)
{
    std::lock_guard<std::mutex> guard(m().lock);
    if (--m().open == 0)
        protect(0, m().high, PROT_NONE);
}

bool mu_stand_in_in_arena(const void *p)
{
    return m().arena && (const char *)p >= m().arena && (const char *)p < m().arena + ARENA;
}

int mu_stand_in_device_of(const void *p)
{
    std::lock_guard<std::mutex> guard(m().lock);
    auto h = holder(p);
    return h == m().held.end() ? -1 : h->second.device;
}

void mu_stand_in_check_device_range(const char *what, const void *p, size_t bytes, int device)
{
    if (bytes == 0)
        return;
    std::lock_guard<std::mutex> guard(m().lock);
    auto h = holder(p);
    if (h == m().held.end())
        mu_stand_in_fail("%s: %p points to no device memory%s", what, p,
                         mu_stand_in_in_arena(p) ? " (freed, or outside of every allocation)"
                                                 : " but to the host's");
    size_t left = (size_t)(h->first + h->second.size - (const char *)p);
    if (bytes > left)
        mu_stand_in_fail("%s: %zu bytes from %p, of which the allocation holds %zu", what, bytes, p, left);
    if (device >= 0 && h->second.device != device)
        mu_stand_in_fail("%s: %p is memory of device %d, wanted %d", what, p, h->second.device, device);
}

void mu_stand_in_check_host(const char *what, const void *p)
{
    if (!p || mu_stand_in_in_arena(p))
        mu_stand_in_fail("%s: %p is not the host's memory", what, p);
}

bool mu_stand_in_is_pinned(const void *p)
{
    std::lock_guard<std::mutex> guard(m().lock);
    auto h = m().pinned.upper_bound((void *)p);
    if (h == m().pinned.begin())
        return false;
    --h;
    return (const char *)p < (char *)h->first + h->second;
}

bool mu_stand_in_take(int device, ptrdiff_t bytes)
{
    std::lock_guard<std::mutex> guard(m().lock);
    size_t &used = m().used[device];
    if (bytes > 0 && used + (size_t)bytes > mu_stand_in_memory_size())
        return false;
    used += (size_t)bytes;
    return true;
}

extern "C" cudaError_t cudaMalloc(void **out, size_t bytes)
{
    if (mu_stand_in_device_count() == 0)
        return mu_stand_in_error(cudaErrorNoDevice);
    if (cudaError_t error = mu_stand_in_unsafe())
        return error;
    if (bytes == 0) {
        *out = NULL;
        return cudaSuccess;
    }
    std::lock_guard<std::mutex> guard(m().lock);
    reserve();
    int device = mu_stand_in_device();
    size_t &used = m().used[device];
    char *place =
        bytes <= mu_stand_in_memory_size() && used + round_up(bytes, ALIGN) <= mu_stand_in_memory_size()
            ? find_place(footprint(bytes))
            : nullptr;
    if (!place || mu_stand_in_shall_fail("cudaMalloc"))
        return mu_stand_in_error(cudaErrorMemoryAllocation);
    used += round_up(bytes, ALIGN);
    char *p = place + MARGIN;
    size_t end = round_up((size_t)(place - m().arena) + footprint(bytes), LARGE);
    if (m().open == 0) /* closed again below */
        protect(0, m().high, PROT_READ | PROT_WRITE);
    protect(m().high, end, PROT_READ | PROT_WRITE);
    if (end > m().high)
        m().high = end;
    ASAN_UNPOISON_MEMORY_REGION(place, footprint(bytes));
    memset(place, 0xfd, footprint(bytes));
    memset(p, 0xff, bytes);
    ASAN_POISON_MEMORY_REGION(place, MARGIN);
    ASAN_POISON_MEMORY_REGION(p + bytes, footprint(bytes) - MARGIN - bytes);
    if (m().open == 0)
        protect(0, m().high, PROT_NONE);
    m().held[p] = {bytes, device};
    *out = p;
    return cudaSuccess;
}

extern "C" cudaError_t cudaFree(void *p)
{
    if (!p)
        return cudaSuccess;
    if (cudaError_t error = mu_stand_in_unsafe())
        return error;
    int device = mu_stand_in_device_of(p);
    if (device >= 0)
        mu_stand_in_drain(device); /* as cudaFree does */
    mu_stand_in_memory_open();
    {
        std::lock_guard<std::mutex> guard(m().lock);
        auto h = m().held.find((char *)p);
        if (h == m().held.end())
            mu_stand_in_fail("cudaFree: %p was not allocated, or is free already", p);
        size_t size = h->second.size;
        m().used[h->second.device] -= round_up(size, ALIGN);
        m().held.erase(h);
#ifndef MU_ASAN
        check_margins((char *)p, size);
        memset(p, 0xff, size);
#endif
        ASAN_POISON_MEMORY_REGION(p, size);
        /* whole pages go back to the system */
        char *first = (char *)round_up((size_t)p, PAGE),
             *last = (char *)((size_t)((char *)p + size) / PAGE * PAGE);
        if (last > first)
            madvise(first, (size_t)(last - first), MADV_DONTNEED);
    }
    mu_stand_in_memory_close();
    return cudaSuccess;
}

extern "C" cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    std::lock_guard<std::mutex> guard(m().lock);
    *total = mu_stand_in_memory_size();
    *free_bytes = *total - m().used[mu_stand_in_device()];
    return cudaSuccess;
}

extern "C" cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned int flags)
{
    (void)flags;
    void *p = NULL;
    if (cudaError_t error = mu_stand_in_unsafe())
        return error;
    if (posix_memalign(&p, PAGE, bytes ? bytes : 1) != 0)
        return mu_stand_in_error(cudaErrorMemoryAllocation);
    std::lock_guard<std::mutex> guard(m().lock);
    m().pinned[p] = bytes;
    *out = p;
    return cudaSuccess;
}

extern "C" cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    return cudaHostAlloc(out, bytes, 0);
}

extern "C" cudaError_t cudaFreeHost(void *p)
{
    if (!p)
        return cudaSuccess;
    if (cudaError_t error = mu_stand_in_unsafe())
        return error;
    mu_stand_in_drain(mu_stand_in_device());
    std::lock_guard<std::mutex> guard(m().lock);
    if (m().pinned.erase(p) == 0)
        mu_stand_in_fail("cudaFreeHost: %p is no pinned memory", p);
    free(p);
    return cudaSuccess;
}

extern "C" cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned int flags)
{
    (void)flags;
    mu_stand_in_check_host("cudaHostRegister", p);
    if (mu_stand_in_shall_fail("cudaHostRegister"))
        return mu_stand_in_error(cudaErrorMemoryAllocation);
    std::lock_guard<std::mutex> guard(m().lock);
    if (!m().pinned.emplace(p, bytes).second)
        mu_stand_in_fail("cudaHostRegister: %p is pinned memory already", p);
    return cudaSuccess;
}

extern "C" cudaError_t cudaHostUnregister(void *p)
{
    std::lock_guard<std::mutex> guard(m().lock);
    if (m().pinned.erase(p) == 0)
        mu_stand_in_fail("cudaHostUnregister: %p is no pinned memory", p);
    return cudaSuccess;
}

extern "C" cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p)
{
    int device = mu_stand_in_device_of(p);
    bool pinned = device < 0 && mu_stand_in_is_pinned(p);
    *a = {device >= 0 ? cudaMemoryTypeDevice
          : pinned    ? cudaMemoryTypeHost
                      : cudaMemoryTypeUnregistered,
          device >= 0 ? device : mu_stand_in_device(), device >= 0 || pinned ? (void *)p : NULL,
          device >= 0 ? NULL : (void *)p};
    return cudaSuccess;
}
