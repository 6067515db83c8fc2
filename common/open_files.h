/* How many files this process may have open at once. */
#ifndef MU_COMMON_OPEN_FILES_H
#define MU_COMMON_OPEN_FILES_H

#include "common/status.h"
#include <stdint.h>

/* Raises the soft limit to `wanted`, or as near as the hard limit lets. `what` needs at least `needed`: "1000
 * hosts". Errors: MU_PREFLIGHT, when the hard limit is lower than that. */
mu_status_t mu_open_files_allow(int64_t needed, int64_t wanted, const char *what);

#endif
