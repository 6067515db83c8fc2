#include "common/log.h"

int main(void)
{
    return mu_status_exit(mu_fail(MU_USAGE, "started without a configuration"));
}
