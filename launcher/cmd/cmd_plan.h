/* muster plan CONFIG... [key=value...] [--gpu NAME] [--device-memory SIZE] [--mfu FRACTION] [--workers N]
 * [--json]: what a config asks for, before anything runs. argv[0] is "plan". MU_CONFIG when it does not fit
 * the memory. */
#ifndef MU_LAUNCHER_CMD_PLAN_H
#define MU_LAUNCHER_CMD_PLAN_H

#include "common/status.h"

mu_status_t mu_cmd_plan(int argc, char **argv);

#endif
