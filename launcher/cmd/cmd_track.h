/* muster track RUN [--mlflow URI] [--tensorboard DIR] [--listen ADDR:PORT] [--once] (launcher/track/track.h).
 * argv[0] is "track". */
#ifndef MU_LAUNCHER_CMD_TRACK_H
#define MU_LAUNCHER_CMD_TRACK_H

#include "common/status.h"

mu_status_t mu_cmd_track(int argc, char **argv);

#endif
