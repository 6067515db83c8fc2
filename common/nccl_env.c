#include "common/nccl_env.h"

#include <stdlib.h>
#include <strings.h>

bool mu_nccl_env_without_rdma(void)
{
    const char *disable = getenv("NCCL_IB_DISABLE"), *net = getenv("NCCL_NET");
    return (disable && strtol(disable, NULL, 0) != 0) || (net && strcasecmp(net, "Socket") == 0);
}
