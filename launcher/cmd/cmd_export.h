/* muster export MODEL --output HF_DIR [--register NAME [--alias A] [--mlflow URI]]: muster-worker exports, then the directory
 * becomes a version of a registered model (launcher/track/register.h). argv[0] is "export". */
#ifndef MU_LAUNCHER_CMD_EXPORT_H
#define MU_LAUNCHER_CMD_EXPORT_H

#include "common/status.h"

mu_status_t mu_cmd_export(int argc, char **argv);

#endif
