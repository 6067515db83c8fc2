/*
 * muster eval CKPT --data DIR [--split S] [--json] [--hosts H | --hostfile F] [--workers N] [--run-dir DIR]
 *             [key=value...]
 *
 * Without host options it is muster-worker's own verb, in one process. With them the ranks are started and
 * watched as those of a run, in a run directory of their own, and rank 0 leaves the result there. argv[0] is
 * "eval".
 */
#ifndef MU_LAUNCHER_CMD_EVAL_H
#define MU_LAUNCHER_CMD_EVAL_H

#include "common/status.h"

mu_status_t mu_cmd_eval(int argc, char **argv);

#endif
