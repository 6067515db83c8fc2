/* `muster run`: the whole of a run, from hosts to the last exit code. */
#ifndef MU_LAUNCHER_RUN_H
#define MU_LAUNCHER_RUN_H

#include "common/args.h"
#include "common/status.h"

/* argv[0] is "run"; the rest is read by mu_run_command (run_plan.h). more: words for ranks that do something else than
 * train, after the config; NULL: they train. Returns the status of the run (docs/exit-codes.md). */
mu_status_t mu_run(int argc, char **argv, const mu_args_t *more);

#endif
