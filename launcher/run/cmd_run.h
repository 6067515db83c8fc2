/* muster run CONFIG... [key=value...] [--hosts H | --hostfile F] [--workers N] [--run-dir DIR] [--dry-run]:
 * the whole of a run, from hosts to the last exit code. argv[0] is "run". */
#ifndef MU_LAUNCHER_CMD_RUN_H
#define MU_LAUNCHER_CMD_RUN_H

#include "common/status.h"
#include "common/args.h"

mu_status_t mu_cmd_run(int argc, char **argv);
/* The same for ranks that do something else than train: `more` are their words after the config. */
mu_status_t mu_cmd_run_as(int argc, char **argv, const mu_args_t *more);

#endif
