/* Arrays in the host's memory between float and an element type: exact one way, rounded to nearest (ties to
 * even) the other. With MU_DTYPE_F32 they copy. Any thread. */
#ifndef MU_KERNELS_CONVERT_H
#define MU_KERNELS_CONVERT_H

#include "kernels/device.h"

void mu_convert_to_floats(float *to, const void *from, mu_dtype_t type, int64_t n);
void mu_convert_from_floats(void *to, mu_dtype_t type, const float *from, int64_t n);

#endif
