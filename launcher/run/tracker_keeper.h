/* The parent of a tracker: starts it with the credentials, starts it again when it is killed, and ends with its exit
 * code. What ends a keeper: the tracker's own end, MU_KEEPER_END_SIGNAL, the launcher's death. */
#ifndef MU_LAUNCHER_RUN_TRACKER_KEEPER_H
#define MU_LAUNCHER_RUN_TRACKER_KEEPER_H

#include "launcher/track/secrets.h"
#include "launcher/track/track.h"

#include <sys/types.h>

#define MU_KEEPER_END_SIGNAL MU_TRACK_END_SIGNAL

/* argv: NULL terminated, argv[0] a path. Output of the tracker is added to `log_path`. It gets the secrets whose names
 * begin with `prefix`. Returns the keeper's pid; 0 when there
 * is none, which is a warning. */
pid_t mu_keeper_start(char *const *argv, const char *log_path, const mu_secrets_t *secrets,
                      const char *prefix);

#endif
