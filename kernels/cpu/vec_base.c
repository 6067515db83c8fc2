#define MU_VEC_NAME  base
#define MU_VEC_TABLE mu_vec_base
#define MU_VEC_WIDTH 4
#include "kernels/cpu/vec_body.h"
