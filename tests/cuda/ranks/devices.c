/* ranks: 4 */
/* Which GPU each worker of a host takes, as CUDA_VISIBLE_DEVICES, a control group or parts of a card (MIG) show them,
 * and what is done without, or refused, with an older NCCL. On the stand-ins: a card and its NCCL are what they are, so
 * without them 77.
 */
#include "common/log.h"
#include "kernels/cuda_load.h"
#include "worker/comm/comm_mpi.h"
#include "worker/train/device_context_impl.h"

#include <stdio.h>
#include <stdlib.h>

static int failures, rank;
static mu_groups_t groups;

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: rank %d: %s is false\n", __FILE__, __LINE__, rank, #condition);          \
            failures++;                                                                                      \
        }                                                                                                    \
    } while (0)

/* What is refused is meant to be. */
static void ignore(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (void)arg;
}

#define CARD "GPU-7374616e-642d-696e-0000-"

static mu_comm_t *split(const char *name, int color)
{
    MPI_Comm group;
    MPI_Comm_split(MPI_COMM_WORLD, color, rank, &group);
    return mu_comm_mpi(group, name, NULL);
}

static void see(const char *machine, const char *visible)
{
    setenv("STAND_IN_CUDA", machine, 1);
    if (visible)
        setenv("CUDA_VISIBLE_DEVICES", visible, 1);
    else
        unsetenv("CUDA_VISIBLE_DEVICES");
}

/* What the start of a worker comes to. NCCL refuses two ranks of a host on one card, so MU_OK means that each has
 * another. */
static mu_status_t start(bool *one_by_one)
{
    mu_config_t config = {.muster = {.device = MU_DEVICE_CUDA, .hang_timeout = 20}};
    mu_run_t run = {.config = &config, .dir = "/nowhere", .groups = &groups};
    mu_device_context_t context;
    mu_status_t status = mu_device_context_make(&run, &context);
    if (status != MU_OK)
        return status;
    if (one_by_one)
        *one_by_one = context.one_by_one;
    mu_device_context_free(&context);
    MPI_Barrier(MPI_COMM_WORLD);
    return MU_OK;
}

static void each_its_own(void)
{
    char text[96], machine[64];
    see("devices=4", NULL);
    CHECK(start(NULL) == MU_OK);
    see("devices=4", "3,1,0,2");
    CHECK(start(NULL) == MU_OK);
    snprintf(text, sizeof text, CARD "%012x", 3 - rank);
    see("devices=4", text);
    CHECK(start(NULL) == MU_OK);
    snprintf(machine, sizeof machine, "devices=1 first=%d",
             rank); /* a control group: each one's card is number 0 */
    see(machine, "0");
    CHECK(start(NULL) == MU_OK);
}

/* By indices, by the same UUID, and by UUIDs that are written differently. */
static void one_for_all_is_refused(void)
{
    see("devices=4", "2");
    CHECK(start(NULL) == MU_CONFIG);
    see("devices=4", CARD "000000000002");
    CHECK(start(NULL) == MU_CONFIG);
    see("devices=3 first=2", rank % 2 ? "GPU-7374616e-642d-696e-0000-000000000002" : "0");
    CHECK(start(NULL) == MU_CONFIG);
    see("devices=4", "0,1,2"); /* one too few */
    CHECK(start(NULL) == MU_CONFIG);
    see("devices=4", "GPU-00000000"); /* another host's */
    CHECK(start(NULL) == MU_GPU);
}

static bool distinct(const char *visible)
{
    mu_run_t run = {.groups = &groups};
    const mu_cuda_plugin_t *cuda;
    mu_gpu_id_t id = {0};
    mu_neighbours_t near = {0};
    see("devices=4", visible);
    CHECK(mu_cuda_open(&cuda) == MU_OK && cuda->device_id(0, id.bytes) == MU_OK);
    CHECK(mu_device_context_neighbours(&run, &id, &near) == MU_OK);
    CHECK(near.count == 4 && near.rank == rank);
    return near.distinct;
}

/* Parts of a card share its UUID. */
static void parts_of_a_card(void)
{
    char text[96];
    snprintf(text, sizeof text, "MIG-" CARD "000000000000/%d/0", 7 + rank);
    CHECK(distinct(text));
    CHECK(!distinct("MIG-" CARD "000000000000/7/0"));
    snprintf(text, sizeof text, "MIG-" CARD "%012x/%d/0", rank / 2, 7 + rank % 2);
    CHECK(distinct(text));
    CHECK(!distinct(CARD "000000000001"));
}

static void older_libraries(void)
{
    static const struct {
        const char *version;
        bool one_by_one;
    } cases[] = {{"22503", true}, {"22600", false}};
    bool one_by_one = false;
    see("devices=4", NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("NCCL_STAND_IN_VERSION", cases[i].version, 1);
        CHECK(start(&one_by_one) == MU_OK);
        CHECK(one_by_one == cases[i].one_by_one);
    }
    setenv("NCCL_STAND_IN_VERSION", "21304", 1);
    CHECK(start(NULL) == MU_GPU);
    unsetenv("NCCL_STAND_IN_VERSION");
}

/* With one group alone nothing can be out of order. */
static void one_group_has_its_order(void)
{
    bool one_by_one = true;
    mu_comm_t *tp = groups.tp, *dp = groups.dp;
    groups.tp = split("tp", rank);
    groups.dp = split("dp", 0);
    setenv("NCCL_STAND_IN_VERSION", "22503", 1);
    see("devices=4", NULL);
    CHECK(start(&one_by_one) == MU_OK);
    CHECK(!one_by_one);
    unsetenv("NCCL_STAND_IN_VERSION");
    mu_comm_free(groups.tp);
    mu_comm_free(groups.dp);
    groups.tp = tp;
    groups.dp = dp;
}

static bool on_stand_ins(void)
{
    mu_device_t *dev;
    if (!getenv("MUSTER_NCCL_LIBRARY") || !mu_cuda_present() || mu_device_cuda_new(0, &dev) != MU_OK)
        return false;
    bool stand_in = strstr(dev->description, "Stand-in") != NULL;
    mu_device_close(dev);
    return stand_in;
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (!on_stand_ins()) {
        MPI_Finalize();
        return 77;
    }
    setenv("NCCL_DEBUG", "WARN", 1); /* no log of our own */
    groups.workers = split("workers", 0);
    groups.tp = split("tp", rank / 2);
    groups.dp = split("dp", rank % 2);
    each_its_own();
    mu_log_sink_set(ignore, NULL);
    one_for_all_is_refused();
    older_libraries();
    mu_log_sink_set(NULL, NULL);
    parts_of_a_card();
    one_group_has_its_order();
    mu_comm_free(groups.workers);
    mu_comm_free(groups.tp);
    mu_comm_free(groups.dp);
    int total = failures;
    MPI_Allreduce(MPI_IN_PLACE, &total, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();
    return total != 0;
}
