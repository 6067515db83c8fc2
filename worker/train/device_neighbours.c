/* The workers of one host, and whether each sees devices of its own. */
#include "worker/train/device_context_impl.h"
#include "worker/comm/comm_mpi.h"

static uint64_t visible_hash(void)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    uint64_t h = 0xcbf29ce484222325U;
    for (const char *c = visible ? visible : ""; *c; c++)
        h = (h ^ (unsigned char)*c) * 0x100000001b3U;
    return h;
}

mu_status_t mu_device_context_neighbours(const mu_run_t *run, mu_neighbours_t *out)
{
    MPI_Comm host;
    MU_TRY(mu_mpi_check(MPI_Comm_split_type(mu_comm_mpi_group(run->groups->workers), MPI_COMM_TYPE_SHARED, 0,
                                            MPI_INFO_NULL, &host),
                        "MPI_Comm_split_type"));
    MPI_Comm_rank(host, &out->rank);
    MPI_Comm_size(host, &out->count);
    uint64_t own = visible_hash(), *all = mu_calloc((size_t)out->count, sizeof *all);
    mu_status_t status =
        mu_mpi_check(MPI_Allgather(&own, 1, MPI_UINT64_T, all, 1, MPI_UINT64_T, host), "MPI_Allgather");
    out->distinct = true;
    for (int i = 0; i < out->count; i++)
        for (int j = 0; j < i; j++)
            out->distinct = out->distinct && all[i] != all[j];
    free(all);
    MPI_Comm_free(&host);
    return status;
}
