#include "launcher/cmd/cmd_track.h"
#include "common/log.h"
#include "launcher/track/track.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: muster track RUN_DIR --tensorboard DIR [--once]\n"
    "\n"
    "Writes the points of a run into an event file in DIR, for tensorboard --logdir DIR, each point once.\n"
    "Goes on until the run has ended; --once writes what is there and ends. Works on a finished run too, "
    "and\n"
    "goes on where an earlier one stopped (RUN_DIR/track.json). It cannot disturb the run.\n"
    "\n"
    "exit codes: 0; 65 run.json, metrics.jsonl or track.json is damaged; 66 no run there; 73 another one "
    "works\n"
    "on this run, or DIR cannot be made; 74 DIR or RUN_DIR cannot be written\n";

mu_status_t mu_cmd_track(int argc, char **argv)
{
    mu_track_t track = {0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return MU_OK;
        }
        if (strcmp(argv[i], "--once") == 0)
            track.once = true;
        else if (strncmp(argv[i], "--tensorboard=", 14) == 0)
            track.tensorboard = argv[i] + 14;
        else if (strcmp(argv[i], "--tensorboard") == 0) {
            if (++i == argc)
                return mu_fail(MU_USAGE, "track: --tensorboard needs a folder");
            track.tensorboard = argv[i];
        } else if (argv[i][0] == '-' || track.run_dir)
            return mu_fail(MU_USAGE, "track: '%s' is unknown or one too many: see muster track --help",
                           argv[i]);
        else
            track.run_dir = argv[i];
    }
    if (!track.run_dir)
        return mu_fail(MU_USAGE, "track: no RUN_DIR given: see muster track --help");
    if (!track.tensorboard || !*track.tensorboard)
        return mu_fail(MU_USAGE, "track: no place to write to given: --tensorboard DIR");
    return mu_track(&track);
}
