/*
 * muster generate CKPT --prompt TEXT [--max-new-tokens N] [--temperature T] [--top-k K] [--top-p P] [--seed S]
 *                 [key=value...] [--hosts H | --hostfile F] [--workers N] [--run-dir DIR]
 *
 * Without host options one process; with them one replica, divided among the workers (launcher/cmd/ask.h).
 */
#ifndef MU_LAUNCHER_CMD_GENERATE_H
#define MU_LAUNCHER_CMD_GENERATE_H

#include "common/status.h"

mu_status_t mu_cmd_generate(int argc, char **argv);

#endif
