#include "launcher/cmd/cmd.h"
#include "launcher/run/run.h"

mu_status_t mu_cmd_run(int argc, char **argv)
{
    return mu_run(argc, argv, NULL);
}
