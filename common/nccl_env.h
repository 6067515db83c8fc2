/* What the user has set for NCCL in the environment and muster must follow too. Source: NVIDIA NCCL documentation,
 * environment variables. */
#ifndef MU_COMMON_NCCL_ENV_H
#define MU_COMMON_NCCL_ENV_H

#include <stdbool.h>

/* Whether NCCL is to leave InfiniBand and RoCE alone: NCCL_IB_DISABLE is a number that is not 0, or NCCL_NET is
 * Socket. */
bool mu_nccl_env_without_rdma(void);

#endif
