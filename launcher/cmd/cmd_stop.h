/* muster stop RUN_DIR [--now]: writes RUN_DIR/stop, from any host that sees the directory. argv[0] is "stop".
 */
#ifndef MU_LAUNCHER_CMD_STOP_H
#define MU_LAUNCHER_CMD_STOP_H

#include "common/status.h"

/* Returns once the launcher has ended, or says what is still going on after two minutes. */
mu_status_t mu_cmd_stop(int argc, char **argv);

#endif
