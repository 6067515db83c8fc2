/* The workers of one host, and whether each sees a GPU of its own. */
#include "common/buf.h"
#include "worker/comm/comm_mpi.h"
#include "worker/train/device_context_impl.h"

/* Parts of one card (MIG) can share its UUID; CUDA_VISIBLE_DEVICES names the part. Else its text says nothing: a
 * container or a control group numbers the devices that it lets through from 0. */
static void mix_part(mu_gpu_id_t *id)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!visible || strncmp(visible, "MIG-", 4) != 0)
        return;
    for (size_t i = 0; visible[i]; i++) {
        unsigned char *b = &id->bytes[i % sizeof id->bytes];
        *b = (unsigned char)((*b * 31U + (unsigned char)visible[i]) & 0xffU);
    }
}

mu_status_t mu_device_context_neighbours(const mu_run_t *run, const mu_gpu_id_t *gpu, mu_neighbours_t *out)
{
    MPI_Comm host;
    MU_TRY(mu_mpi_check(MPI_Comm_split_type(mu_comm_mpi_group(run->groups->workers), MPI_COMM_TYPE_SHARED, 0,
                                            MPI_INFO_NULL, &host),
                        "MPI_Comm_split_type"));
    MPI_Comm_rank(host, &out->rank);
    MPI_Comm_size(host, &out->count);
    mu_gpu_id_t own = gpu ? *gpu : (mu_gpu_id_t){0}, *all = mu_calloc((size_t)out->count, sizeof *all);
    mix_part(&own);
    mu_status_t status =
        mu_mpi_check(MPI_Allgather(&own, (int)sizeof own, MPI_BYTE, all, (int)sizeof own, MPI_BYTE, host),
                     "MPI_Allgather");
    out->distinct = gpu != NULL;
    for (int i = 0; i < out->count; i++)
        for (int j = 0; j < i; j++)
            out->distinct = out->distinct && memcmp(&all[i], &all[j], sizeof own) != 0;
    free(all);
    MPI_Comm_free(&host);
    return status;
}
