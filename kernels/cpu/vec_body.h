/* The body of vec_*.c: every loop of one instruction set, then the table of them. No include guard: included
 * once in each of those files, which say the name and the number of floats in a vector. */
#include "kernels/cpu/vec.h"
#include "common/half.h"
#include "common/num.h"
#include "kernels/drop.h"

#include "kernels/cpu/vec_math.h"
#include "kernels/cpu/vec_half.h"
#include "kernels/cpu/vec_elementwise.h"
#include "kernels/cpu/vec_rows.h"
#include "kernels/cpu/vec_tile.h"
#include "kernels/cpu/vec_attention.h"
#include "kernels/cpu/vec_panels.h"
#include "kernels/cpu/vec_dots.h"
#include "kernels/cpu/vec_decode.h"

#define MU_VEC_TEXT_(x) #x
#define MU_VEC_TEXT(x)  MU_VEC_TEXT_(x)

const mu_vec_t MU_VEC_TABLE = {
    .name = MU_VEC_TEXT(MU_VEC_NAME),
    .widen = vec_widen,
    .narrow = vec_narrow,
    .gelu = vec_gelu,
    .gelu_backward = vec_gelu_backward,
    .swiglu = vec_swiglu,
    .swiglu_backward = vec_swiglu_backward,
    .add = vec_add,
    .scale = vec_scale,
    .sum_squares = vec_sum_squares,
    .adamw = vec_adamw,
    .bias = vec_bias,
    .bias_gelu = vec_bias_gelu,
    .residual = vec_residual,
    .column_sums = vec_column_sums,
    .layernorm = vec_layernorm,
    .layernorm_backward = vec_layernorm_backward,
    .rmsnorm = vec_rmsnorm,
    .rmsnorm_backward = vec_rmsnorm_backward,
    .rotary = vec_rotary,
    .attention = vec_attention,
    .attention_backward = vec_attention_backward,
    .attention_panels = vec_panels_attention,
    .attention_panels_backward = vec_panels_backward,
    .dots = vec_dots,
    .attend = vec_attend,
    .row_max = vec_row_max,
    .row_exp = vec_row_exp,
};
