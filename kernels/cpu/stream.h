/* Copies of arrays that nobody reads soon. Stores that go past the caches do not fetch the lines that they overwrite: a
 * copy moves two bytes for each byte instead of three. */
#ifndef MU_KERNELS_CPU_STREAM_H
#define MU_KERNELS_CPU_STREAM_H

#include "kernels/cpu/pool.h"

/* What is smaller may well be read from the cache at once (a shard that is digested while it is made). */
enum { MU_CPU_STREAM_LEAST = (1 << 20) + 1 };

/* memcpy(), by all threads of the pool (NULL: by the caller alone), and past the caches from MU_CPU_STREAM_LEAST bytes
 * on. */
void mu_cpu_stream(mu_pool_t *pool, void *to, const void *from, int64_t bytes);

#endif
