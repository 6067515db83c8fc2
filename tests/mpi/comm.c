/* Collectives of every size of group: sums, maxima, broadcasts, the same bits everywhere. ranks: 1 2 3 4 */
#include "common/half.h"
#include "common/log.h"
#include "worker/comm/comm_mpi.h"
#include "worker/guard/page.h"

#include <stdlib.h>
#include <unistd.h>

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

/* Sums of 16-bit types are those of floats (exact here), rounded once. */
static void half_sums_are_rounded_once(mu_comm_t *comm)
{
    enum { N = 300001 };
    uint16_t *x = malloc(N * sizeof *x), *root = malloc(N * sizeof *root);
    for (int type = 0; type < 2; type++) {
        uint16_t (*narrow)(float) = type ? mu_half_of_float : mu_bfloat16_of_float;
        float (*widen)(uint16_t) = type ? mu_float_of_half : mu_float_of_bfloat16;
        int wrong = 0;
        for (int i = 0; i < N; i++)
            x[i] = narrow(comm->rank == 0 ? (float)(i % 7) : (float)(i % 5) / 512.0f);
        CHECK(mu_comm_allreduce(comm, MU_SUM, type ? MU_TYPE_F16 : MU_TYPE_BF16, x, N) == MU_OK);
        for (int i = 0; i < N; i++) {
            float part = widen(narrow((float)(i % 5) / 512.0f));
            wrong += x[i] != narrow((float)(i % 7) + (float)(comm->size - 1) * part);
        }
        CHECK(wrong == 0);
        memcpy(root, x, N * sizeof *x);
        CHECK(mu_comm_broadcast(comm, 0, root, N * sizeof *root) == MU_OK);
        CHECK(memcmp(root, x, N * sizeof *x) == 0);
    }
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

/* What member `rank` holds at i before. Sums of these are exact in float. */
static float value(int rank, int64_t i)
{
    return (float)((i * 31 + rank * 17) % 1009);
}

static float sum_at(const mu_comm_t *comm, int64_t i)
{
    float sum = 0;
    for (int r = 0; r < comm->size; r++)
        sum += value(r, i);
    return sum;
}

static float *filled(const mu_comm_t *comm, int64_t n)
{
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = value(comm->rank, i);
    return x;
}

static int64_t wrong_sums(const mu_comm_t *comm, const float *x, int64_t from, int64_t to)
{
    int64_t wrong = 0;
    for (int64_t i = from; i < to; i++)
        wrong += x[i] != sum_at(comm, i);
    return wrong;
}

/* Several at a time, and another communicator's operations between them, as in backward. */
static void begun_sums(mu_comm_t *comm, mu_comm_t *other)
{
    static const int64_t count[] = {1, 3, 100003, 1000001, 0, 262144};
    enum { OPERATIONS = sizeof count / sizeof *count };
    float *x[OPERATIONS];
    for (int k = 0; k < OPERATIONS; k++) {
        x[k] = filled(comm, count[k] + 1);
        CHECK(mu_comm_start_allreduce(comm, MU_TYPE_F32, x[k], count[k]) == MU_OK);
        sums_and_maxima(other);
    }
    CHECK(mu_comm_wait(comm) == MU_OK);
    for (int k = 0; k < OPERATIONS; k++) {
        CHECK(wrong_sums(comm, x[k], 0, count[k]) == 0);
        CHECK(x[k][count[k]] == value(comm->rank, count[k]));
        free(x[k]);
    }
}

/* The owner's own messages go to and fro meanwhile, round the ring. */
static void pass_round(const mu_comm_t *comm, mu_progress_thread_t *progress_thread)
{
    MPI_Comm group = mu_comm_mpi_group(comm);
    int next = (comm->rank + 1) % comm->size, before = (comm->rank + comm->size - 1) % comm->size, got = -1;
    if (comm->size == 1)
        return;
    CHECK(mu_progress_thread_send(progress_thread, &comm->rank, 1, MPI_INT, next, 7, group) == MPI_SUCCESS);
    CHECK(mu_progress_thread_recv(progress_thread, &got, 1, MPI_INT, before, 7, group) == MPI_SUCCESS);
    CHECK(got == before);
}

static void waits_for_the_first_alone(mu_comm_t *comm, const mu_comm_t *other,
                                      mu_progress_thread_t *progress_thread)
{
    enum { OPERATIONS = 5 };
    int64_t count = 300007;
    float *x[OPERATIONS];
    uint64_t number[OPERATIONS];
    for (int k = 0; k < OPERATIONS; k++) {
        x[k] = filled(comm, count);
        CHECK(mu_comm_start_allreduce(comm, MU_TYPE_F32, x[k], count) == MU_OK);
        number[k] = comm->sequence;
    }
    for (int k = 0; k < OPERATIONS; k++) {
        pass_round(other, progress_thread);
        CHECK(mu_comm_wait_until(comm, number[k]) == MU_OK);
        CHECK(wrong_sums(comm, x[k], 0, count) == 0);
        CHECK(comm->pending == (comm->size > 1));
    }
    CHECK(mu_comm_wait_until(comm, number[0]) == MU_OK); /* long done */
    CHECK(mu_comm_wait(comm) == MU_OK && !comm->pending);
    for (int k = 0; k < OPERATIONS; k++)
        free(x[k]);
}

/* Parts of unequal size, an empty one among them, and a border on both sides. */
static void make_parts(const mu_comm_t *comm, int64_t n, int64_t *part)
{
    for (int r = 0; r <= comm->size; r++)
        part[r] = 5 + (r == 1 ? 0 : n * r / comm->size) + (r > 1 ? r : 0);
}

static void begun_parts(mu_comm_t *comm, int64_t n)
{
    int64_t part[9], end = n + 64;
    make_parts(comm, n, part);
    float *x = filled(comm, end);
    CHECK(mu_comm_start_reduce_scatter(comm, MU_TYPE_F32, x, part) == MU_OK);
    CHECK(mu_comm_wait(comm) == MU_OK);
    CHECK(wrong_sums(comm, x, part[comm->rank], part[comm->rank + 1]) == 0);
    for (int64_t i = 0; i < end; i++) {
        bool own = i >= part[comm->rank] && i < part[comm->rank + 1];
        bool outside = i < part[0] || i >= part[comm->size];
        CHECK(!outside || x[i] == value(comm->rank, i));
        if (!own && !outside)
            x[i] = -1;
    }
    CHECK(mu_comm_start_all_gather(comm, MU_TYPE_F32, x, part) == MU_OK);
    double one = 1; /* waits for what was begun */
    CHECK(mu_comm_allreduce(comm, MU_SUM, MU_TYPE_F64, &one, 1) == MU_OK);
    CHECK(one == comm->size && !comm->pending);
    CHECK(wrong_sums(comm, x, part[0], part[comm->size]) == 0);
    free(x);
}

/* The order of additions must not depend on when the pieces move: replicas and resumed runs rely on it. */
static void the_same_bits_with_and_without_a_progress_thread(mu_comm_t *plain, mu_comm_t *moved)
{
    enum { N = 700001 };
    float *x[2] = {malloc(N * sizeof **x), malloc(N * sizeof **x)};
    for (int i = 0; i < N; i++)
        x[0][i] = x[1][i] = 1.0f / (float)(1 + (i % 1000 * 7919 + plain->rank * 104729) % 1000);
    CHECK(mu_comm_start_allreduce(plain, MU_TYPE_F32, x[0], N) == MU_OK);
    CHECK(mu_comm_wait(plain) == MU_OK);
    CHECK(mu_comm_start_allreduce(moved, MU_TYPE_F32, x[1], N) == MU_OK);
    usleep(20000);
    CHECK(mu_comm_wait(moved) == MU_OK);
    CHECK(memcmp(x[0], x[1], N * sizeof **x) == 0);
    memcpy(x[1], x[0], N * sizeof **x);
    CHECK(mu_comm_broadcast(plain, 0, x[1], N * sizeof **x) == MU_OK);
    CHECK(memcmp(x[0], x[1], N * sizeof **x) == 0);
    free(x[0]);
    free(x[1]);
}

/* Who waits says for what. */
static void the_page_names_what_is_waited_for(mu_comm_t *comm)
{
    mu_page_t page = {0};
    float x[64] = {0};
    comm->page = &page;
    CHECK(mu_comm_start_allreduce(comm, MU_TYPE_F32, x, 64) == MU_OK);
    uint64_t first = comm->sequence;
    CHECK(mu_comm_wait(comm) == MU_OK);
    mu_collective_t last;
    CHECK(mu_page_collective(&page, &last));
    CHECK(comm->size == 1 || last.sequence == 0 || /* the progress_thread may have been quicker */
          (last.sequence == first && strcmp(last.operation, "allreduce") == 0 && last.bytes == 256));
    CHECK(atomic_load(&page.in_collective) == 0);
    comm->page = NULL;
}

static mu_comm_t *make(const char *name, mu_progress_thread_t *progress_thread)
{
    MPI_Comm group;
    MPI_Comm_dup(MPI_COMM_WORLD, &group);
    mu_comm_t *comm = mu_comm_mpi(group, name, NULL);
    mu_comm_mpi_attach(comm, progress_thread);
    return comm;
}

int main(int argc, char **argv)
{
    int provided;
    mu_progress_thread_t *progress_thread = NULL;
    mu_comm_mpi_prepare();
    MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
    CHECK(provided >= MPI_THREAD_SERIALIZED && mu_progress_thread_new(&progress_thread) == MU_OK);
    mu_comm_t *comm = make("all", NULL), *moved = make("moved", progress_thread),
              *other = make("other", progress_thread);
    sums_and_maxima(comm);
    same_bits_everywhere(comm);
    broadcast_from_the_last(comm);
    CHECK(comm->sequence == 5);
    half_sums_are_rounded_once(comm);
    begun_sums(comm, comm);
    begun_sums(moved, other);
    waits_for_the_first_alone(comm, other, NULL);
    waits_for_the_first_alone(moved, other, progress_thread);
    static const int64_t sizes[] = {7, 1000, 300007, 2097152};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        begun_parts(comm, sizes[i]);
        begun_parts(moved, sizes[i]);
    }
    the_same_bits_with_and_without_a_progress_thread(comm, moved);
    the_page_names_what_is_waited_for(comm);
    the_page_names_what_is_waited_for(moved);
    int total = failures;
    MPI_Allreduce(MPI_IN_PLACE, &total, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    mu_comm_free(comm);
    mu_comm_free(moved);
    mu_comm_free(other);
    mu_progress_thread_free(progress_thread);
    MPI_Finalize();
    return total != 0;
}
