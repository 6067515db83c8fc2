/*
 * `muster config`: what a configuration means, key by key, and all keys that there are.
 *
 * argv[0] is "config". Writes the result to stdout and the talk to the log. Returns MU_OK, MU_USAGE, or what
 * mu_config_load() and mu_config_resolve() return. A configuration without the keys that a run needs (a file
 * of paths, say) is shown as it is, and what it lacks is said; with --workers it is an error.
 */
#ifndef MU_LAUNCHER_CMD_CONFIG_H
#define MU_LAUNCHER_CMD_CONFIG_H

#include "common/status.h"

mu_status_t mu_cmd_config(int argc, char **argv);

#endif
