/*
 * NCCL, opened at run time, so that one program runs with and without it: the file that MUSTER_NCCL_LIBRARY
 * names, else libnccl.so.2. Declared here is what NCCL's ABI has kept since 2.14 (NCCL's nccl.h; NVIDIA NCCL
 * documentation, API).
 */
#ifndef MU_WORKER_NCCL_H
#define MU_WORKER_NCCL_H

#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct mu_nccl_comm mu_nccl_comm_t; /* ncclComm */
typedef struct mu_nccl_id {
    char bytes[128];
} mu_nccl_id_t;

enum { MU_NCCL_SUCCESS = 0, MU_NCCL_REMOTE_ERROR = 6, MU_NCCL_IN_PROGRESS = 7 }; /* ncclResult_t */
enum {
    MU_NCCL_U8 = 1,
    MU_NCCL_I32 = 2,
    MU_NCCL_I64 = 4,
    MU_NCCL_F16 = 6,
    MU_NCCL_F32 = 7,
    MU_NCCL_F64 = 8,
    MU_NCCL_BF16 = 9
};                                         /* ncclDataType_t */
enum { MU_NCCL_SUM = 0, MU_NCCL_MAX = 2 }; /* ncclRedOp_t */

/* ncclConfig_t as of 2.14; a later library reads `size` bytes and takes its own defaults for the rest. */
typedef struct mu_nccl_config {
    size_t size;
    unsigned int magic, version;
    int blocking;
} mu_nccl_config_t;
#define MU_NCCL_CONFIG ((mu_nccl_config_t){sizeof(mu_nccl_config_t), 0xcafebeefU, 21400, 0})

#define MU_NCCL_TABLE(X)                                                                                     \
    X(get_version, "ncclGetVersion", (int *))                                                                \
    X(get_unique_id, "ncclGetUniqueId", (mu_nccl_id_t *))                                                    \
    X(init, "ncclCommInitRankConfig", (mu_nccl_comm_t **, int, mu_nccl_id_t, int, mu_nccl_config_t *))       \
    X(finalize, "ncclCommFinalize", (mu_nccl_comm_t *))                                                      \
    X(destroy, "ncclCommDestroy", (mu_nccl_comm_t *))                                                        \
    X(abort, "ncclCommAbort", (mu_nccl_comm_t *))                                                            \
    X(async_error, "ncclCommGetAsyncError", (mu_nccl_comm_t *, int *))                                       \
    X(group_start, "ncclGroupStart", (void))                                                                 \
    X(group_end, "ncclGroupEnd", (void))                                                                     \
    X(all_reduce, "ncclAllReduce", (const void *, void *, size_t, int, int, mu_nccl_comm_t *, void *))       \
    X(reduce, "ncclReduce", (const void *, void *, size_t, int, int, int, mu_nccl_comm_t *, void *))         \
    X(broadcast, "ncclBroadcast", (const void *, void *, size_t, int, int, mu_nccl_comm_t *, void *))        \
    X(reduce_scatter, "ncclReduceScatter",                                                                   \
      (const void *, void *, size_t, int, int, mu_nccl_comm_t *, void *))                                    \
    X(all_gather, "ncclAllGather", (const void *, void *, size_t, int, mu_nccl_comm_t *, void *))

typedef struct mu_nccl {
    const char *(*error_string)(int result);
#define MU_NCCL_MEMBER(name, symbol, args) int(*name) args;
    MU_NCCL_TABLE(MU_NCCL_MEMBER)
#undef MU_NCCL_MEMBER
    int version; /* 22803: 2.28.3 */
} mu_nccl_t;

/* The library stays open until the process ends. Errors: MU_GPU (not there, or older than 2.14; what to
 * install). */
mu_status_t mu_nccl_open(mu_nccl_t *out);

#endif
