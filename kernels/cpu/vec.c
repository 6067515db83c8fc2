#include "kernels/cpu/vec.h"

const mu_vec_t *mu_vec_choose(const char *most)
{
#if defined(__x86_64__)
    bool base_only = most && strcmp(most, "base") == 0;
    bool no_512 = base_only || (most && strcmp(most, "avx2") == 0);
    __builtin_cpu_init();
    if (!no_512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd"))
        return &mu_vec_avx512;
    if (!base_only && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &mu_vec_avx2;
#else
    (void)most;
#endif
    return &mu_vec_base;
}

/* The layouts at the head of vec_attention(), vec_backward_layout() and vec_panels_layout(), in the largest tile. */
int64_t mu_vec_attention_scratch(int64_t keys, int64_t head_dim, bool backward)
{
    int64_t pad = (head_dim + 31) / 32 * 32, tile = 64, all = (keys + tile - 1) / tile * tile;
    int64_t forward_floats = 2 * all * pad + 2 * tile * pad + 2 * tile * tile + 3 * tile;
    int64_t backward_floats = 4 * all * pad + 5 * tile * pad + 2 * all * tile + tile * tile + 3 * tile;
    return backward ? backward_floats : forward_floats;
}

/* The layout at the head of vec_attend(). */
int64_t mu_vec_attend_scratch(int64_t keys, int64_t head_dim)
{
    int64_t pad = (head_dim + 15) / 16 * 16;
    return (2 * MU_VEC_ATTEND + 1) * pad + MU_VEC_ATTEND * ((keys + 15) / 16 * 16);
}
