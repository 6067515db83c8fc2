/* muster check CONFIG... [--hosts H | --hostfile F] [--run-dir DIR] [--json]: readiness and preflight; trains
 * nothing. argv[0] is "check". */
#ifndef MU_LAUNCHER_CMD_CHECK_H
#define MU_LAUNCHER_CMD_CHECK_H

#include "common/status.h"

mu_status_t mu_cmd_check(int argc, char **argv);

#endif
