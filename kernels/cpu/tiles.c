#include "kernels/cpu/tiles.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ASK_FOR_STATE = 0x1023, TILE_DATA = 18 }; /* of arch_prctl(2): Linux 5.16 */
enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 }; /* of cpuid 7, edx */

const mu_tiles_t *mu_tiles_choose(const char *most)
{
    unsigned a, b, c, d, want = AMX_BF16 | AMX_TILE;
    if (most && strcmp(most, "amx") != 0)
        return NULL;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & want) != want)
        return NULL;
    return syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA) == 0 ? &mu_tiles_amx : NULL;
}

#else

const mu_tiles_t *mu_tiles_choose(const char *most)
{
    (void)most;
    return NULL;
}

#endif
