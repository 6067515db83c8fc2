/* NCCL of the stand-in: ranks as processes and as threads, ranks that die, come late, or call something else.
 */
#include "cuda_bf16.h"
#include "nccl.h"
#include "support.h"

#include <signal.h>
#include <thread>
#include <time.h>

#define NC(call) assert_int_equal((int)(call), (int)ncclSuccess)

static const size_t LONG = 200001; /* more than one chunk */

static void sleep_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static std::string hex(const ncclUniqueId &id)
{
    std::string text;
    char two[3];
    for (char c : id.internal) {
        snprintf(two, sizeof two, "%02x", (unsigned char)c);
        text += two;
    }
    return text;
}
static ncclUniqueId unhex(const char *text)
{
    ncclUniqueId id;
    for (size_t i = 0; i < sizeof id.internal; i++) {
        unsigned byte;
        sscanf(text + 2 * i, "%2x", &byte);
        id.internal[i] = (char)byte;
    }
    return id;
}

/* A rank that is this program once more: ROLE RANK RANKS ID. */
struct child {
    pid_t pid;
    int errors;
};
static child start_rank(const char *role, int rank, int ranks, const ncclUniqueId &id)
{
    child c;
    c.pid = start_self({role, std::to_string(rank), std::to_string(ranks), hex(id)}, &c.errors);
    return c;
}
static void end_well(const child &c)
{
    int status;
    std::string said = wait_self(c.pid, c.errors, &status);
    if (status != 0)
        fail_msg("a rank ended with %#x: %s", (unsigned)status, said.c_str());
}

/* --- a rank's own checks; a wrong number ends the process with its line --- */

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                          \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

template <class T> struct buffer { /* like array, for threads that are no test of cmocka's */
    T *p = nullptr;
    size_t n;
    cudaStream_t s;

    buffer(size_t count, cudaStream_t on) : n(count), s(on)
    {
        MUST(cudaMalloc(&p, n * sizeof(T)) == cudaSuccess);
    }
    buffer(const buffer &) = delete;
    buffer &operator=(const buffer &) = delete;
    ~buffer()
    {
        cudaFree(p);
    }
    void put(const std::vector<T> &from)
    {
        MUST(cudaMemcpyAsync(p, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice, s) ==
             cudaSuccess);
    }
    std::vector<T> get()
    {
        std::vector<T> to(n);
        MUST(cudaMemcpyAsync(to.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost, s) == cudaSuccess);
        return to;
    }
};

static int number(int rank, size_t i)
{
    return (int)((size_t)(rank + 1) * 3 + i % 17);
}

static void every_operation(ncclComm_t comm, int rank, int ranks, size_t n, cudaStream_t s)
{
    size_t all = n * (size_t)ranks, me = (size_t)rank;
    int root = ranks - 1;
    std::vector<float> mine(all);
    for (size_t i = 0; i < all; i++)
        mine[i] = (float)number(rank, i);
    auto sum = [&](size_t i) {
        int x = 0;
        for (int r = 0; r < ranks; r++)
            x += number(r, i);
        return (float)x;
    };
    buffer<float> x(all, s), y(all, s);
    x.put(mine);
    MUST(ncclAllReduce(x.p, y.p, n, ncclFloat, ncclSum, comm, s) == ncclSuccess);
    std::vector<float> got = y.get();
    for (size_t i = 0; i < n; i++)
        MUST(got[i] == sum(i));
    MUST(ncclAllReduce(x.p, x.p, n, ncclFloat, ncclAvg, comm, s) == ncclSuccess);
    got = x.get();
    for (size_t i = 0; i < n; i++)
        MUST(got[i] == sum(i) / (float)ranks);
    x.put(mine);
    MUST(ncclReduceScatter(x.p, x.p + me * n, n, ncclFloat, ncclSum, comm, s) == ncclSuccess); /* in place */
    got = x.get();
    for (size_t i = 0; i < n; i++)
        MUST(got[me * n + i] == sum(me * n + i));
    MUST(ncclAllGather(x.p + me * n, x.p, n, ncclFloat, comm, s) == ncclSuccess); /* so x is the whole sum */
    got = x.get();
    for (size_t i = 0; i < all; i++)
        MUST(got[i] == sum(i));
    x.put(mine);
    MUST(ncclBroadcast(x.p, x.p, n, ncclFloat, root, comm, s) == ncclSuccess);
    got = x.get();
    for (size_t i = 0; i < n; i++)
        MUST(got[i] == (float)number(root, i));
    x.put(mine);
    MUST(ncclReduce(x.p, y.p, n, ncclFloat, ncclMax, 0, comm, s) == ncclSuccess);
    got = y.get();
    for (size_t i = 0; i < n && rank == 0; i++)
        MUST(got[i] == (float)number(root, i));
    /* bf16: each addition rounds */
    std::vector<__nv_bfloat16> ones(n, rank == 0 ? 256 : 1);
    buffer<__nv_bfloat16> z(n, s);
    z.put(ones);
    MUST(ncclGroupStart() == ncclSuccess);
    MUST(ncclAllReduce(z.p, z.p, n, ncclBfloat16, ncclSum, comm, s) == ncclSuccess);
    MUST(ncclAllReduce(z.p, z.p, 1, ncclBfloat16, ncclMax, comm, s) == ncclSuccess);
    MUST(ncclGroupEnd() == ncclSuccess);
    for (__nv_bfloat16 v : z.get())
        MUST((float)v == 256); /* 257 is a tie, to even: and stays there */
}

static int rank_works(int rank, int ranks, const ncclUniqueId &id)
{
    ncclComm_t comm;
    cudaStream_t s;
    int count;
    MUST(cudaSetDevice(rank) == cudaSuccess);
    MUST(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking) == cudaSuccess);
    MUST(ncclCommInitRank(&comm, ranks, id, rank) == ncclSuccess);
    MUST(ncclCommCount(comm, &count) == ncclSuccess && count == ranks);
    for (size_t n : {(size_t)1, (size_t)1003, LONG})
        every_operation(comm, rank, ranks, n, s);
    MUST(ncclCommDestroy(comm) == ncclSuccess);
    MUST(cudaStreamDestroy(s) == cudaSuccess);
    return 0;
}

static void processes_reduce_gather_and_broadcast(void **)
{
    for (int ranks : {1, 2, 3}) {
        ncclUniqueId id;
        NC(ncclGetUniqueId(&id));
        std::vector<child> children;
        for (int r = 0; r < ranks; r++)
            children.push_back(start_rank("works", r, ranks, id));
        for (const child &c : children)
            end_well(c);
    }
}

static void threads_do_it_too(void **)
{
    ncclUniqueId id;
    NC(ncclGetUniqueId(&id));
    std::thread first([&] { rank_works(0, 2, id); });
    rank_works(1, 2, id);
    first.join();
    OK(cudaSetDevice(0));
}

/* --- without blocking --- */

static ncclResult_t poll_until(ncclComm_t comm, ncclResult_t awaited, int ms)
{
    ncclResult_t error = ncclInProgress;
    for (int i = 0; i < ms; i++) {
        NC(ncclCommGetAsyncError(comm, &error));
        if (error == awaited)
            break;
        sleep_ms(1);
    }
    return error;
}

static ncclResult_t begin(ncclComm_t *comm, int ranks, const ncclUniqueId &id, int rank)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    return ncclCommInitRankConfig(comm, ranks, id, rank, &config);
}

static void a_late_rank_is_waited_for_without_blocking(void **)
{
    ncclUniqueId id;
    ncclComm_t comm;
    array<float> x(std::vector<float>{1, 2, 3});
    NC(ncclGetUniqueId(&id));
    assert_int_equal(begin(&comm, 2, id, 0), ncclInProgress);
    assert_int_equal(poll_until(comm, ncclSuccess, 50), ncclInProgress);
    assert_int_equal(ncclAllReduce(x.p, x.p, 3, ncclFloat, ncclSum, comm, stream), ncclInvalidArgument);
    child late = start_rank("sums", 1, 2, id);
    assert_int_equal(poll_until(comm, ncclSuccess, 20000), ncclSuccess);
    ncclResult_t result = ncclAllReduce(x.p, x.p, 3, ncclFloat, ncclSum, comm, stream);
    assert_int_equal(result, ncclInProgress);
    assert_int_equal(ncclAllReduce(x.p, x.p, 3, ncclFloat, ncclSum, comm, stream), ncclInvalidArgument);
    assert_int_equal(poll_until(comm, ncclSuccess, 1000), ncclSuccess);
    assert_true(x.get() == (std::vector<float>{11, 12, 13}));
    NC(ncclCommDestroy(comm));
    end_well(late);
}

static int rank_sums(int rank, int ranks, const ncclUniqueId &id)
{
    ncclComm_t comm;
    cudaStream_t s;
    MUST(cudaSetDevice(1) == cudaSuccess && cudaStreamCreate(&s) == cudaSuccess);
    MUST(ncclCommInitRank(&comm, ranks, id, rank) == ncclSuccess);
    {
        buffer<float> x(3, s);
        x.put({10, 10, 10});
        MUST(ncclAllReduce(x.p, x.p, 3, ncclFloat, ncclSum, comm, s) == ncclSuccess);
        MUST(x.get()[2] == 13);
    }
    MUST(ncclCommDestroy(comm) == ncclSuccess);
    return 0;
}

/* --- a rank that dies --- */

static int rank_dies(int rank, int ranks, const ncclUniqueId &id)
{
    ncclComm_t comm;
    MUST(cudaSetDevice(1) == cudaSuccess);
    MUST(ncclCommInitRank(&comm, ranks, id, rank) == ncclSuccess);
    raise(SIGKILL);
    return 0;
}

static void survive(bool reported)
{
    ncclUniqueId id;
    ncclComm_t comm;
    int status;
    array<float> x(std::vector<float>{1, 2, 3});
    setenv("STAND_IN_NCCL", reported ? "remote-error" : "", 1);
    NC(ncclGetUniqueId(&id));
    begin(&comm, 2, id, 0);
    child dies = start_rank("dies", 1, 2, id);
    assert_int_equal(poll_until(comm, ncclSuccess, 20000), ncclSuccess);
    wait_self(dies.pid, dies.errors, &status);
    assert_true(WIFSIGNALED(status));
    ncclResult_t result = ncclAllReduce(x.p, x.p, 3, ncclFloat, ncclSum, comm, stream);
    assert_true(result == ncclInProgress || result == ncclRemoteError);
    if (reported)
        assert_int_equal(poll_until(comm, ncclRemoteError, 5000), ncclRemoteError);
    else
        assert_int_equal(poll_until(comm, ncclRemoteError, 200), ncclSuccess);
    if (result == ncclInProgress)
        assert_int_equal(cudaStreamQuery(stream), cudaErrorNotReady); /* it hangs, and nothing is reported */
    NC(ncclCommAbort(comm));
    OK(cudaStreamSynchronize(stream)); /* and now it ends */
    unsetenv("STAND_IN_NCCL");
}

static void a_dead_rank_is_a_hang_that_abort_ends(void **)
{
    survive(false);
}

static void a_dead_rank_may_be_told(void **)
{
    survive(true);
}

/* --- mistakes --- */

static int rank_differs(int rank, int ranks, const ncclUniqueId &id)
{
    ncclComm_t comm;
    cudaStream_t s;
    MUST(cudaSetDevice(rank) == cudaSuccess && cudaStreamCreate(&s) == cudaSuccess);
    MUST(ncclCommInitRank(&comm, ranks, id, rank) == ncclSuccess);
    buffer<float> x(8, s);
    x.put(std::vector<float>(8, 1));
    ncclAllReduce(x.p, x.p, rank == 0 ? 8 : 7, ncclFloat, ncclSum, comm, s);
    sleep_ms(200); /* the one that came first does not see what the other calls */
    return 3;
}

static void different_calls_end_the_program(void **)
{
    ncclUniqueId id;
    NC(ncclGetUniqueId(&id));
    child a = start_rank("differs", 0, 2, id), b = start_rank("differs", 1, 2, id);
    int status;
    std::string said = wait_self(a.pid, a.errors, &status);
    said += wait_self(b.pid, b.errors, &status);
    assert_non_null(strstr(said.c_str(), "calls all-reduce of 8 elements"));
}

/* Rank 1 comes to its sums in turn, rank 0 to both at once. */
static int rank_orders(int rank, int ranks, const ncclUniqueId &id)
{
    ncclComm_t comm, alone;
    ncclUniqueId own;
    cudaStream_t s, beside;
    MUST(cudaSetDevice(rank) == cudaSuccess && cudaStreamCreate(&s) == cudaSuccess);
    MUST(cudaStreamCreateWithFlags(&beside, cudaStreamNonBlocking) == cudaSuccess);
    MUST(ncclCommInitRank(&comm, ranks, id, rank) == ncclSuccess);
    MUST(ncclGetUniqueId(&own) == ncclSuccess && ncclCommInitRank(&alone, 1, own, 0) == ncclSuccess);
    buffer<float> x(8, s), y(8, beside);
    x.put(std::vector<float>(8, 1));
    y.put(std::vector<float>(8, 1));
    if (rank == 1)
        sleep_ms(200);
    MUST(ncclAllReduce(x.p, x.p, 8, ncclFloat, ncclSum, comm, s) == ncclSuccess);
    if (getenv("IN_TURN"))
        MUST(cudaStreamSynchronize(s) == cudaSuccess);
    MUST(ncclAllReduce(y.p, y.p, 8, ncclFloat, ncclSum, alone, beside) == ncclSuccess);
    MUST(cudaStreamSynchronize(s) == cudaSuccess && cudaStreamSynchronize(beside) == cudaSuccess);
    return 0;
}

/* An NCCL before 2.26 and two communicators of a device at once. */
static void an_old_library_wants_one_after_the_other(void **)
{
    static const struct {
        const char *version, *in_turn;
        bool ends;
    } cases[] = {{"22503", NULL, true}, {"22503", "1", false}, {"22600", NULL, false}};
    for (const auto &one : cases) {
        ncclUniqueId id;
        int version, status;
        setenv("NCCL_STAND_IN_VERSION", one.version, 1);
        if (one.in_turn)
            setenv("IN_TURN", one.in_turn, 1);
        NC(ncclGetVersion(&version));
        assert_int_equal(version, atoi(one.version));
        NC(ncclGetUniqueId(&id));
        child a = start_rank("orders", 0, 2, id), b = start_rank("orders", 1, 2, id);
        std::string said = wait_self(a.pid, a.errors, &status);
        assert_int_equal(strstr(said.c_str(), "two communicators are in flight") != NULL, one.ends);
        assert_int_equal(status != 0, one.ends);
        if (one.ends)
            kill(b.pid, SIGKILL); /* the other waits for it */
        wait_self(b.pid, b.errors, &status);
        unsetenv("IN_TURN");
        unsetenv("NCCL_STAND_IN_VERSION");
    }
}

static void two_ranks_of_one_device_are_refused(void **)
{
    ncclUniqueId id;
    ncclComm_t a, b;
    for (bool apart : {false, true}) {
        NC(ncclGetUniqueId(&id));
        setenv("NCCL_HOSTID", "one", 1);
        begin(&a, 2, id, 0);
        if (apart)
            setenv("NCCL_HOSTID", "another", 1);
        begin(&b, 2, id, 1);
        unsetenv("NCCL_HOSTID");
        ncclResult_t awaited = apart ? ncclSuccess : ncclInvalidUsage;
        assert_int_equal(poll_until(a, awaited, 1000), awaited);
        assert_int_equal(poll_until(b, awaited, 1000), awaited);
        NC(ncclCommAbort(a));
        NC(ncclCommAbort(b));
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int rank, int ranks, const ncclUniqueId &id);
    } roles[] = {{"works", rank_works},
                 {"sums", rank_sums},
                 {"dies", rank_dies},
                 {"differs", rank_differs},
                 {"orders", rank_orders}};
    for (const auto &role : roles)
        if (argc == 5 && strcmp(argv[1], role.name) == 0)
            return role.run(atoi(argv[2]), atoi(argv[3]), unhex(argv[4]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_reduce_gather_and_broadcast),
        cmocka_unit_test(threads_do_it_too),
        cmocka_unit_test_setup_teardown(a_late_rank_is_waited_for_without_blocking, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(a_dead_rank_is_a_hang_that_abort_ends, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(a_dead_rank_may_be_told, make_stream, free_stream),
        cmocka_unit_test(different_calls_end_the_program),
        cmocka_unit_test(an_old_library_wants_one_after_the_other),
        cmocka_unit_test(two_ranks_of_one_device_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
