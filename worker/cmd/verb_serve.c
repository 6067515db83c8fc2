#include "common/log.h"
#include "worker/cmd/verbs.h"
#include "worker/serve/engine.h"

mu_status_t mu_verb_serve(int argc, char **argv)
{
    mu_serve_args_t args = MU_SERVE_ARGS_INIT;
    bool help;
    mu_status_t status = mu_options_parse_worker(&mu_serve_command, argc, argv, &args, &help);
    if (status == MU_OK && !help)
        status =
            args.engine || args.on.check
                ? mu_engine_alone(&args)
                : mu_fail(MU_USAGE, "serve: an engine is started by muster serve: see muster serve --help");
    mu_options_release(&mu_serve_command, &args);
    return status;
}
