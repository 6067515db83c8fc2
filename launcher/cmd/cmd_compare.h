/* muster compare RUN... [--html FILE]: runs side by side. */
#ifndef MU_LAUNCHER_CMD_COMPARE_H
#define MU_LAUNCHER_CMD_COMPARE_H

#include "common/status.h"

/* argv[0] is the verb. Errors: MU_USAGE, MU_NOINPUT (no run there), MU_DATA, MU_IO. */
mu_status_t mu_cmd_compare(int argc, char **argv);

#endif
