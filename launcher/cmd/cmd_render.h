/* muster render slurm|mpijob CONFIG... [key=value...]: the files that run a config there, on stdout. argv[0]
 * is "render". */
#ifndef MU_LAUNCHER_CMD_RENDER_H
#define MU_LAUNCHER_CMD_RENDER_H

#include "common/status.h"

mu_status_t mu_cmd_render(int argc, char **argv);

#endif
