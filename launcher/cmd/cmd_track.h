/* muster track RUN_DIR --tensorboard DIR [--once]: the points of a run as TensorBoard's event file (launcher/track/track.h).
 * argv[0] is "track". */
#ifndef MU_LAUNCHER_CMD_TRACK_H
#define MU_LAUNCHER_CMD_TRACK_H

#include "common/status.h"

mu_status_t mu_cmd_track(int argc, char **argv);

#endif
