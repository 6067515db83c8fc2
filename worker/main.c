#include "common/log.h"
#include "worker/probe.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--probe") == 0)
        return mu_status_exit(mu_probe_main());
    return mu_status_exit(mu_fail(MU_USAGE, "started without a configuration"));
}
