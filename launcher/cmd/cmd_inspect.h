/* muster inspect PATH [--verify] [--json]: what a checkpoint, a run directory or a prepared data set holds.
 */
#ifndef MU_LAUNCHER_CMD_INSPECT_H
#define MU_LAUNCHER_CMD_INSPECT_H

#include "common/status.h"

/* argv[0] is "inspect". The result goes to stdout. Errors: MU_USAGE; MU_NOINPUT (nothing there that muster
 * knows); MU_DATA (a checkpoint or data set is damaged); MU_NOVALID (a run whose checkpoints are all
 * damaged). */
mu_status_t mu_cmd_inspect(int argc, char **argv);

#endif
