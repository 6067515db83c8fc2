/* Durations for people. */
#ifndef MU_COMMON_DURATION_H
#define MU_COMMON_DURATION_H

#include "common/buf.h"

/* "3h12m", "3m12s", "12s" */
void mu_duration_text(double seconds, mu_buf_t *out);

#endif
