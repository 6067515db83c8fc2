/* Collectives of every size of group: sums, maxima, broadcasts, the same bits everywhere. ranks: 1 2 3 4 */
#include "common/log.h"
#include "worker/comm_mpi.h"

#include <stdlib.h>

static int failures;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            mu_error("%s:%d: %s is false", __FILE__, __LINE__, #condition);                                  \
            failures++;                                                                                      \
        }                                                                                                    \
    } while (0)

static void sums_and_maxima(mu_comm_t *comm)
{
    double sum[3] = {1, comm->rank, 0.5};
    CHECK(mu_comm_allreduce(comm, MU_SUM, MU_TYPE_F64, sum, 3) == MU_OK);
    CHECK(sum[0] == comm->size && sum[1] == comm->size * (comm->size - 1) / 2.0 &&
          sum[2] == 0.5 * comm->size);
    float max[2] = {(float)comm->rank, -(float)comm->rank};
    CHECK(mu_comm_allreduce(comm, MU_MAX, MU_TYPE_F32, max, 2) == MU_OK);
    CHECK(max[0] == (float)(comm->size - 1) && max[1] == 0.0f);
}

/* Sums of floats differ with their order; every member must hold the same one, or replicas drift apart. */
static void same_bits_everywhere(mu_comm_t *comm)
{
    enum { N = 100003 };
    float *x = malloc(N * sizeof *x), *root = malloc(N * sizeof *root);
    for (int i = 0; i < N; i++)
        x[i] = 1.0f / (float)(1 + (i * 7919 + comm->rank * 104729) % 1000);
    CHECK(mu_comm_allreduce(comm, MU_SUM, MU_TYPE_F32, x, N) == MU_OK);
    memcpy(root, x, N * sizeof *x);
    CHECK(mu_comm_broadcast(comm, 0, root, N * sizeof *root) == MU_OK);
    CHECK(memcmp(root, x, N * sizeof *x) == 0);
    free(x);
    free(root);
}

static void broadcast_from_the_last(mu_comm_t *comm)
{
    char text[32] = "";
    if (comm->rank == comm->size - 1)
        snprintf(text, sizeof text, "from %d", comm->rank);
    CHECK(mu_comm_broadcast(comm, comm->size - 1, text, sizeof text) == MU_OK);
    char want[32];
    snprintf(want, sizeof want, "from %d", comm->size - 1);
    CHECK(strcmp(text, want) == 0);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm group;
    MPI_Comm_dup(MPI_COMM_WORLD, &group);
    mu_comm_t *comm = mu_comm_mpi(group, "all", NULL);
    sums_and_maxima(comm);
    same_bits_everywhere(comm);
    broadcast_from_the_last(comm);
    CHECK(comm->sequence == 5);
    int total = failures;
    MPI_Allreduce(MPI_IN_PLACE, &total, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    mu_comm_free(comm);
    MPI_Finalize();
    return total != 0;
}
