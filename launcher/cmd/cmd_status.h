/* muster status RUN_DIR [--watch] [--json]: what run.json says, and whether its launcher lives. argv[0] is
 * "status". */
#ifndef MU_LAUNCHER_CMD_STATUS_H
#define MU_LAUNCHER_CMD_STATUS_H

#include "common/status.h"

mu_status_t mu_cmd_status(int argc, char **argv);

#endif
