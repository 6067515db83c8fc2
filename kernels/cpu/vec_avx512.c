#if defined(__x86_64__)
#define MU_VEC_NAME  avx512
#define MU_VEC_TABLE mu_vec_avx512
#define MU_VEC_WIDTH 16
#include "kernels/cpu/vec_body.h"
#else
typedef int mu_vec_avx512_is_x86_only;
#endif
