#include "kernels/convert.h"
#include "kernels/cpu/vec.h"

#include <string.h>

void mu_convert_to_floats(float *to, const void *from, mu_dtype_t type, int64_t n)
{
    if (type == MU_DTYPE_F32)
        memcpy(to, from, (size_t)n * sizeof *to);
    else
        mu_vec_choose(NULL)->widen(to, from, n, type);
}

void mu_convert_from_floats(void *to, mu_dtype_t type, const float *from, int64_t n)
{
    if (type == MU_DTYPE_F32)
        memcpy(to, from, (size_t)n * sizeof *from);
    else
        mu_vec_choose(NULL)->narrow(to, from, n, type);
}
