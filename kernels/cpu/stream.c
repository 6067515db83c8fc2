/* Copies of arrays that nobody reads soon: past the caches, by all threads. */
#include "kernels/cpu/stream.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* A unit: PAGES pages are copied side by side, a line of each in turn, which keeps several pages of the memory's banks
 * busy. A stream of one page is a tenth slower. */
enum { PAGE = 4096, PAGES = 4, UNIT = PAGE * PAGES, LINE = 64, GRAIN = 16 };

#ifdef __SSE2__
static void copy_line(char *to, const char *from)
{
    __m128i part[4];
    for (int i = 0; i < 4; i++)
        part[i] = _mm_loadu_si128((const __m128i *)(const void *)from + i);
    for (int i = 0; i < 4; i++)
        _mm_stream_si128((__m128i *)(void *)to + i, part[i]);
}

/* to: at a line. */
static void copy_unit(char *to, const char *from)
{
    for (size_t at = 0; at < PAGE; at += LINE)
        for (size_t page = 0; page < UNIT; page += PAGE)
            copy_line(to + page + at, from + page + at);
}

static void fence(void)
{
    _mm_sfence(); /* the stores are visible before anything that follows */
}
#else
static void copy_unit(char *to, const char *from)
{
    memcpy(to, from, UNIT);
}

static void fence(void)
{
}
#endif

typedef struct units {
    char *to;
    const char *from;
} units_t;

static void copy_units(void *arg, int thread, int64_t from, int64_t to)
{
    const units_t *u = arg;
    (void)thread;
    for (int64_t i = from; i < to; i++)
        copy_unit(u->to + i * UNIT, u->from + i * UNIT);
    fence();
}

void mu_cpu_stream(mu_pool_t *pool, void *to, const void *from, int64_t bytes)
{
    int64_t head = (int64_t)(-(uintptr_t)to % LINE), units = (bytes - head) / UNIT;
    if (bytes < MU_CPU_STREAM_LEAST) {
        memcpy(to, from, (size_t)bytes);
        return;
    }
    units_t u = {(char *)to + head, (const char *)from + head};
    int64_t done = head + units * UNIT;
    memcpy(to, from, (size_t)head);
    if (pool)
        mu_pool_run(pool, units, GRAIN, copy_units, &u);
    else
        copy_units(&u, 0, 0, units);
    memcpy((char *)to + done, (const char *)from + done, (size_t)(bytes - done));
}
