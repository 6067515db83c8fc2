/*
 * muster eval CKPT --data DIR [--split S] [--seq-length N] [--json] [key=value...] [--hosts H | --hostfile F]
 *             [--workers N] [--run-dir DIR]
 *
 * Without host options one process; with them as many replicas as fit (launcher/cmd/ask.h).
 */
#ifndef MU_LAUNCHER_CMD_EVAL_H
#define MU_LAUNCHER_CMD_EVAL_H

#include "common/status.h"

mu_status_t mu_cmd_eval(int argc, char **argv);

#endif
