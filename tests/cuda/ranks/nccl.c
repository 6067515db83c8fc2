/* ranks: 2 3 */
/* Collectives over NCCL on one device that all ranks share, each a host of its own to NCCL: sums of every
 * type, begun ones beside the device's own work, parts of equal and of unequal size, and a peer that does not
 * come. Against a GPU, or against stand-ins as MUSTER_CUDA_LIBRARY and MUSTER_NCCL_LIBRARY say; 77 without.
 */
#include "common/clock.h"
#include "common/log.h"
#include "kernels/convert.h"
#include "kernels/cuda_load.h"
#include "worker/comm/comm_mpi.h"
#include "worker/comm/comm_nccl.h"
#include "worker/guard/page.h"

#include <stdlib.h>

static int failures;
static mu_device_t *dev;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            mu_error("%s:%d: %s is false", __FILE__, __LINE__, #condition);                                  \
            failures++;                                                                                      \
        }                                                                                                    \
    } while (0)

static void *to_device(const void *host, int64_t bytes)
{
    void *p;
    CHECK(mu_device_alloc(dev, MU_MEM_WORKSPACE, bytes, &p) == MU_OK);
    dev->ops->put(dev, p, host, bytes);
    return p;
}

/* As the trainer does it: with an eye on the peers, then the bytes. */
static void take_back(mu_comm_t *comm, void *host, void *p, int64_t bytes)
{
    CHECK(mu_comm_sync(&comm, 1) == MU_OK);
    CHECK(dev->ops->get(dev, host, p, bytes) == MU_OK);
    mu_device_free(dev, p);
}

static void every_type(mu_comm_t *comm)
{
    float f[3] = {1.5F, (float)comm->rank, -2};
    double d[2] = {0.25, comm->rank};
    int64_t i[2] = {comm->rank, (int64_t)1 << 40};
    float halves[2] = {1, (float)comm->rank};
    uint16_t bf16[2], f16[2];
    mu_convert_from_floats(bf16, MU_DTYPE_BF16, halves, 2);
    mu_convert_from_floats(f16, MU_DTYPE_F16, halves, 2);
    void *pf = to_device(f, sizeof f), *pd = to_device(d, sizeof d), *pi = to_device(i, sizeof i),
         *pb = to_device(bf16, sizeof bf16), *ph = to_device(f16, sizeof f16);
    int n = comm->size, all = n * (n - 1) / 2;
    CHECK(mu_comm_allreduce(comm, MU_SUM, MU_TYPE_F32, pf, 3) == MU_OK);
    CHECK(mu_comm_allreduce(comm, MU_SUM, MU_TYPE_F64, pd, 2) == MU_OK);
    CHECK(mu_comm_allreduce(comm, MU_MAX, MU_TYPE_I64, pi, 2) == MU_OK);
    CHECK(mu_comm_allreduce(comm, MU_SUM, MU_TYPE_BF16, pb, 2) == MU_OK);
    CHECK(mu_comm_allreduce(comm, MU_SUM, MU_TYPE_F16, ph, 2) == MU_OK);
    take_back(comm, f, pf, sizeof f);
    take_back(comm, d, pd, sizeof d);
    take_back(comm, i, pi, sizeof i);
    CHECK(f[0] == 1.5F * (float)n && f[1] == (float)all && f[2] == -2 * (float)n);
    CHECK(d[0] == 0.25 * n && d[1] == all);
    CHECK(i[0] == n - 1 && i[1] == (int64_t)1 << 40);
    take_back(comm, bf16, pb, sizeof bf16);
    mu_convert_to_floats(halves, bf16, MU_DTYPE_BF16, 2);
    CHECK(halves[0] == (float)n && halves[1] == (float)all);
    take_back(comm, f16, ph, sizeof f16);
    mu_convert_to_floats(halves, f16, MU_DTYPE_F16, 2);
    CHECK(halves[0] == (float)n && halves[1] == (float)all);
    CHECK(mu_comm_take_wait_ns(comm) >= 0);
}

static void from_the_last(mu_comm_t *comm)
{
    char text[32] = "";
    snprintf(text, sizeof text, "rank %d", comm->rank);
    void *p = to_device(text, sizeof text);
    CHECK(mu_comm_broadcast(comm, comm->size - 1, p, sizeof text) == MU_OK);
    take_back(comm, text, p, sizeof text);
    char want[32];
    snprintf(want, sizeof want, "rank %d", comm->size - 1);
    CHECK(strcmp(text, want) == 0);
}

enum { N = 3000 };

static float value(int rank, int i)
{
    return (float)((i * 31 + rank * 17) % 1009);
}

static void fill(float *x, int rank)
{
    for (int i = 0; i < N; i++)
        x[i] = value(rank, i);
}

static float sum_at(int size, int i)
{
    float sum = 0;
    for (int r = 0; r < size; r++)
        sum += value(r, i);
    return sum;
}

/* What was enqueued before is seen, what is enqueued after the wait sees the sum; between them another
 * group's operations and the device's work go on. */
static void begun_beside_the_device(mu_comm_t *comm, mu_comm_t *other)
{
    float x[N], y[2] = {1, 2};
    fill(x, comm->rank);
    float *p = to_device(x, sizeof x);
    void *q = to_device(y, sizeof y);
    dev->ops->scale(dev, p, N, 2);
    CHECK(mu_comm_start_allreduce(comm, MU_TYPE_F32, p, N) == MU_OK);
    CHECK(mu_comm_allreduce(other, MU_SUM, MU_TYPE_F32, q, 2) == MU_OK);
    CHECK(mu_comm_wait(comm) == MU_OK);
    dev->ops->scale(dev, p, N, 0.5);
    mu_comm_t *const both[] = {comm, other};
    CHECK(mu_comm_sync(both, 2) == MU_OK);
    take_back(comm, x, p, sizeof x);
    take_back(other, y, q, sizeof y);
    for (int i = 0; i < N; i++)
        CHECK(x[i] == sum_at(comm->size, i));
    CHECK(y[0] == (float)comm->size && y[1] == 2 * (float)comm->size);
}

/* Each is waited for alone, and the device goes on with it while the others are under way. */
static void one_after_the_other(mu_comm_t *comm)
{
    enum { OPERATIONS = 4 };
    float x[OPERATIONS][N], *p[OPERATIONS];
    uint64_t number[OPERATIONS];
    for (int k = 0; k < OPERATIONS; k++) {
        fill(x[k], comm->rank);
        p[k] = to_device(x[k], sizeof x[k]);
        CHECK(mu_comm_start_allreduce(comm, MU_TYPE_F32, p[k], N) == MU_OK);
        number[k] = comm->sequence;
    }
    for (int k = 0; k < OPERATIONS; k++) {
        CHECK(mu_comm_wait_until(comm, number[k]) == MU_OK);
        dev->ops->scale(dev, p[k], N, 0.5);
    }
    CHECK(mu_comm_sync(&comm, 1) == MU_OK);
    CHECK(mu_comm_wait_until(comm, number[0]) == MU_OK); /* long done */
    for (int k = 0; k < OPERATIONS; k++) {
        take_back(comm, x[k], p[k], sizeof x[k]);
        for (int i = 0; i < N; i++)
            CHECK(x[k][i] == 0.5F * sum_at(comm->size, i));
    }
}

static void parts(mu_comm_t *comm, const int64_t *part)
{
    float x[N];
    fill(x, comm->rank);
    float *p = to_device(x, sizeof x);
    CHECK(mu_comm_start_reduce_scatter(comm, MU_TYPE_F32, p, part) == MU_OK);
    CHECK(mu_comm_wait(comm) == MU_OK);
    CHECK(mu_comm_sync(&comm, 1) == MU_OK);
    CHECK(dev->ops->get(dev, x, p, sizeof x) == MU_OK);
    for (int i = 0; i < N; i++) {
        bool own = i >= part[comm->rank] && i < part[comm->rank + 1];
        bool outside = i < part[0] || i >= part[comm->size];
        CHECK(!own || x[i] == sum_at(comm->size, i));
        CHECK(!outside || x[i] == value(comm->rank, i));
        if (!own && !outside)
            x[i] = -1;
    }
    dev->ops->put(dev, p, x, sizeof x);
    CHECK(mu_comm_start_all_gather(comm, MU_TYPE_F32, p, part) == MU_OK);
    CHECK(mu_comm_wait(comm) == MU_OK);
    take_back(comm, x, p, sizeof x);
    for (int i = (int)part[0]; i < part[comm->size]; i++)
        CHECK(x[i] == sum_at(comm->size, i));
}

static void equal_and_unequal_parts(mu_comm_t *comm)
{
    int64_t equal[9], unequal[9];
    for (int r = 0; r <= comm->size; r++) {
        equal[r] = 16 + 256 * r;
        unequal[r] = 3 + 401 * r + (r > 1 ? 7 : 0);
    }
    unequal[1] = unequal[0]; /* an empty one */
    parts(comm, equal);
    parts(comm, unequal);
}

/* The last member stays away: the others end after the limit, and the page names what they waited for. */
static void a_peer_that_does_not_come(mu_comm_t *host)
{
    const mu_nccl_limits_t limits = {.meet = 20, .hang = 1, .leave = 20};
    mu_comm_t *comm;
    mu_nccl_watch_t *watch;
    mu_page_t page = {0};
    mu_collective_t last;
    CHECK(mu_nccl_watch_new(&limits, &watch) == MU_OK);
    CHECK(mu_comm_nccl_new(host, dev, watch, &comm) == MU_OK);
    comm->page = &page;
    if (comm->rank != comm->size - 1) {
        float x[4] = {0};
        void *p = to_device(x, sizeof x);
        int64_t began = mu_now_ns();
        mu_log_level_set(MU_LOG_ERROR);
        CHECK(mu_comm_allreduce(comm, MU_SUM, MU_TYPE_F32, p, 4) == MU_OK);
        CHECK(mu_comm_sync(&comm, 1) == MU_HUNG);
        CHECK(mu_now_ns() - began >= 1000000000);
        CHECK(mu_page_collective(&page, &last) && strcmp(last.operation, "allreduce") == 0 &&
              last.bytes == 16);
        CHECK(mu_comm_allreduce(comm, MU_SUM, MU_TYPE_F32, p, 4) == MU_HUNG); /* as every later call */
        mu_device_free(dev, p);
    }
    comm->page = NULL;
    MPI_Barrier(MPI_COMM_WORLD);
    mu_comm_free(comm);
    mu_nccl_watch_free(watch);
}

/* The last member stays away from sums of two groups, whose operations both stand on the device; and the host goes on,
 * as it does over `ahead` micro batches, until a copy finds no slot or a launch no place and waits inside CUDA. The
 * watch ends both groups at once, the host comes back, and learns why. */
static void a_host_that_is_far_ahead(mu_comm_t *host_a, mu_comm_t *host_b, int ahead)
{
    const mu_nccl_limits_t limits = {.meet = 20, .hang = 1, .leave = 20};
    mu_comm_t *a, *b;
    mu_nccl_watch_t *watch;
    CHECK(mu_nccl_watch_new(&limits, &watch) == MU_OK);
    CHECK(mu_comm_nccl_new(host_a, dev, watch, &a) == MU_OK);
    CHECK(mu_comm_nccl_new(host_b, dev, watch, &b) == MU_OK);
    if (a->rank != a->size - 1) {
        float x[64] = {0};
        void *p = to_device(x, sizeof x);
        int64_t began = mu_now_ns();
        mu_log_level_set(MU_LOG_ERROR);
        CHECK(mu_comm_start_allreduce(b, MU_TYPE_F32, p, 4) == MU_OK);
        CHECK(mu_comm_allreduce(a, MU_SUM, MU_TYPE_F32, (float *)p + 32, 4) == MU_OK);
        for (int i = 0; i < 3 * ahead; i++)
            dev->ops->put(dev, (float *)p + 48, x, sizeof x / 4);
        mu_comm_t *const both[] = {a, b};
        CHECK(mu_comm_sync(both, 2) == MU_HUNG);
        CHECK(dev->ops->sync(dev) == MU_OK);
        double took = (double)(mu_now_ns() - began) * 1e-9;
        CHECK(took >= 1 && took < 15); /* the limit; far less than for ever */
        mu_device_free(dev, p);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    mu_comm_free(a);
    mu_comm_free(b);
    mu_nccl_watch_free(watch);
}

static mu_comm_t *make(const char *name)
{
    MPI_Comm group;
    MPI_Comm_dup(MPI_COMM_WORLD, &group);
    return mu_comm_mpi(group, name, NULL);
}

static bool has_gpu(void)
{
    const mu_cuda_plugin_t *cuda;
    int count = 0;
    return mu_cuda_present() && mu_cuda_open(&cuda) == MU_OK && cuda->device_count(&count) == MU_OK &&
           count > 0;
}

int main(int argc, char **argv)
{
    int rank;
    char id[32], version[32];
    const mu_nccl_limits_t limits = {.meet = 60, .hang = 60, .leave = 60};
    mu_nccl_watch_t *watch;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (!has_gpu()) {
        MPI_Finalize();
        return 77;
    }
    snprintf(id, sizeof id, "rank-%d", rank); /* NCCL refuses two ranks of a host on one device */
    setenv("NCCL_HOSTID", id, 1);
    mu_comm_t *host_a = make("tp"), *host_b = make("dp"), *a, *b;
    CHECK(mu_device_cuda_new(0, &dev) == MU_OK);
    CHECK(mu_nccl_watch_new(&limits, &watch) == MU_OK);
    CHECK(mu_comm_nccl_new(host_a, dev, watch, &a) == MU_OK);
    CHECK(mu_comm_nccl_new(host_b, dev, watch, &b) == MU_OK);
    mu_comm_nccl_version(a, version, sizeof version);
    CHECK(strncmp(version, "NCCL 2.", 7) == 0);
    every_type(a);
    from_the_last(a);
    begun_beside_the_device(b, a);
    one_after_the_other(b);
    equal_and_unequal_parts(b);
    a_peer_that_does_not_come(host_a);
    for (int ahead = 1; ahead <= 96; ahead = ahead == 1 ? 16 : 6 * ahead)
        a_host_that_is_far_ahead(host_a, host_b, ahead);
    mu_comm_free(a);
    mu_comm_free(b);
    mu_nccl_watch_free(watch);
    mu_comm_free(host_a);
    mu_comm_free(host_b);
    mu_device_close(dev);
    int total = failures;
    MPI_Allreduce(MPI_IN_PLACE, &total, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();
    return total != 0;
}
