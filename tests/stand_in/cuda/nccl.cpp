/*
 * NCCL's collectives among processes and threads of one machine. A collective goes in chunks: each rank posts
 * its own, waits until all have posted, reads all, and says so. Each step is taken by the device's thread
 * when it can be, so a rank that waits keeps neither the host nor other streams from working.
 */
#include "nccl.h"
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "meeting.h"
#include "runtime.h"

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace mu_meeting;

struct ncclComm {
    room *in = nullptr;
    ncclUniqueId id;
    int rank = 0, size = 0, device = 0;
    bool blocking = true;
    bool here = false;    /* all ranks have joined */
    bool pending = false; /* a call answered "in progress", and nobody has asked since */
    bool finalizing = false;
    uint64_t calls = 0; /* enqueued */
    std::atomic<uint64_t> done{0};
    uint64_t begun = 0; /* the number of the one that the device came to last; the device's thread counts */
    std::atomic<bool> aborted{false};
    std::atomic<int> error{ncclSuccess};
    uint64_t chunks = 0; /* posted by this rank; the device's thread counts */
    std::chrono::steady_clock::time_point looked;

    ~ncclComm()
    {
        if (in)
            leave(in);
    }
};

namespace
{
std::mutex lock;
std::map<ncclComm_t, std::shared_ptr<ncclComm>> &comms = *new std::map<ncclComm_t, std::shared_ptr<ncclComm>>;
thread_local int depth; /* of groups */
thread_local std::vector<std::function<ncclResult_t()>> *grouped;
thread_local std::string *last;

ncclResult_t failed(ncclResult_t result, const std::string &why)
{
    if (!last)
        last = new std::string;
    *last = why;
    return result;
}

std::shared_ptr<ncclComm> hold(ncclComm_t comm)
{
    std::lock_guard<std::mutex> guard(lock);
    auto found = comms.find(comm);
    if (found == comms.end())
        mu_stand_in_fail("NCCL: communicator %p was destroyed or aborted, or never was one", (void *)comm);
    return found->second;
}

/* --- elements --- */

size_t size_of(ncclDataType_t type)
{
    switch (type) {
    case ncclInt8:
    case ncclUint8:
        return 1;
    case ncclFloat16:
    case ncclBfloat16:
        return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
        return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
        return 8;
    default:
        return 0;
    }
}

/* to = to op from, rounded to the type after each, as a ring does. */
template <class T> void fold(void *to, const void *from, size_t n, ncclRedOp_t op)
{
    T *a = (T *)to;
    const T *b = (const T *)from;
    for (size_t i = 0; i < n; i++) {
        if (op == ncclProd)
            a[i] = (T)(a[i] * b[i]);
        else if (op == ncclMax)
            a[i] = a[i] < b[i] ? b[i] : a[i];
        else if (op == ncclMin)
            a[i] = b[i] < a[i] ? b[i] : a[i];
        else
            a[i] = (T)(a[i] + b[i]);
    }
}

template <class T> void divide(void *to, size_t n, int by)
{
    for (size_t i = 0; i < n; i++)
        ((T *)to)[i] = (T)(((T *)to)[i] / (T)by);
}

#define EACH_TYPE(type, f, ...)                                                                              \
    switch (type) {                                                                                          \
    case ncclInt8:                                                                                           \
        f<int8_t>(__VA_ARGS__);                                                                              \
        break;                                                                                               \
    case ncclUint8:                                                                                          \
        f<uint8_t>(__VA_ARGS__);                                                                             \
        break;                                                                                               \
    case ncclInt32:                                                                                          \
        f<int32_t>(__VA_ARGS__);                                                                             \
        break;                                                                                               \
    case ncclUint32:                                                                                         \
        f<uint32_t>(__VA_ARGS__);                                                                            \
        break;                                                                                               \
    case ncclInt64:                                                                                          \
        f<int64_t>(__VA_ARGS__);                                                                             \
        break;                                                                                               \
    case ncclUint64:                                                                                         \
        f<uint64_t>(__VA_ARGS__);                                                                            \
        break;                                                                                               \
    case ncclFloat16:                                                                                        \
        f<__half>(__VA_ARGS__);                                                                              \
        break;                                                                                               \
    case ncclBfloat16:                                                                                       \
        f<__nv_bfloat16>(__VA_ARGS__);                                                                       \
        break;                                                                                               \
    case ncclFloat32:                                                                                        \
        f<float>(__VA_ARGS__);                                                                               \
        break;                                                                                               \
    default:                                                                                                 \
        f<double>(__VA_ARGS__);                                                                              \
    }

/* --- a collective --- */

struct collective {
    std::shared_ptr<ncclComm> comm;
    call asks;
    const char *send;
    char *receive;
    uint64_t ticket; /* its place among the communicator's calls */
    size_t at = 0;   /* elements that are done */
    bool posted = false;
};

const char *const names[] = {"all-reduce", "reduce", "reduce-scatter", "all-gather", "broadcast"};

bool same(const call &a, const call &b)
{
    return a.what == b.what && a.count == b.count && a.type == b.type && a.op == b.op && a.root == b.root;
}

/* How many slices each rank's contribution has. */
size_t slices(const collective &c)
{
    return c.asks.what == REDUCE_SCATTER ? (size_t)c.comm->size : 1;
}

/* Elements of a slice in the next chunk. */
size_t chunk(const collective &c)
{
    size_t most = CHUNK / size_of(c.asks.type) / slices(c), left = c.asks.count - c.at;
    return left < most ? left : most;
}

void look_for_deaths(ncclComm &comm)
{
    auto now = std::chrono::steady_clock::now();
    if (now - comm.looked < std::chrono::milliseconds(50) ||
        !mu_stand_in_option("STAND_IN_NCCL", "remote-error"))
        return;
    comm.looked = now;
    for (int r = 0; r < comm.size; r++)
        if (comm.in->ranks[r].joined && !lives(comm.in->ranks[r].pid))
            comm.error = ncclRemoteError;
}

bool all_have(const ncclComm &comm, std::atomic<uint64_t> rank::*counter, uint64_t number)
{
    for (int r = 0; r < comm.size; r++)
        if ((comm.in->ranks[r].*counter).load(std::memory_order_acquire) < number)
            return false;
    return true;
}

void post(collective &c)
{
    ncclComm &comm = *c.comm;
    rank &me = comm.in->ranks[comm.rank];
    size_t n = chunk(c), width = size_of(c.asks.type);
    char *to = comm.in->data[comm.rank];
    mu_stand_in_touch();
    if (c.asks.what != BROADCAST || comm.rank == c.asks.root)
        for (size_t s = 0; s < slices(c); s++)
            memcpy(to + s * n * width, c.send + (s * c.asks.count + c.at) * width, n * width);
    me.asks = c.asks;
    me.posted.store(++comm.chunks, std::memory_order_release);
}

void compare(const collective &c)
{
    for (int r = 0; r < c.comm->size; r++) {
        const call &theirs = c.comm->in->ranks[r].asks, &ours = c.asks;
        if (!same(theirs, ours))
            mu_stand_in_fail(
                "NCCL: rank %d calls %s of %zu elements (type %d, op %d, root %d), rank %d calls %s of %zu "
                "(type %d, op %d, root %d)",
                c.comm->rank, names[ours.what], ours.count, ours.type, ours.op, ours.root, r,
                names[theirs.what], theirs.count, theirs.type, theirs.op, theirs.root);
    }
}

void reduce_chunk(const collective &c, char *to, size_t slice, size_t n)
{
    size_t width = size_of(c.asks.type);
    const auto &data = c.comm->in->data;
    memcpy(to, data[0] + slice * n * width, n * width);
    for (int r = 1; r < c.comm->size; r++)
        EACH_TYPE(c.asks.type, fold, to, data[r] + slice * n * width, n, c.asks.op)
    if (c.asks.op == ncclAvg)
        EACH_TYPE(c.asks.type, divide, to, n, c.comm->size)
}

void take(collective &c)
{
    ncclComm &comm = *c.comm;
    size_t n = chunk(c), width = size_of(c.asks.type);
    mu_stand_in_touch();
    compare(c);
    char *to = c.receive + c.at * width;
    if (c.asks.what == ALL_REDUCE || (c.asks.what == REDUCE && comm.rank == c.asks.root))
        reduce_chunk(c, to, 0, n);
    else if (c.asks.what == REDUCE_SCATTER)
        reduce_chunk(c, to, (size_t)comm.rank, n);
    else if (c.asks.what == BROADCAST)
        memcpy(to, comm.in->data[c.asks.root], n * width);
    else if (c.asks.what == ALL_GATHER)
        for (int r = 0; r < comm.size; r++)
            memcpy(to + (size_t)r * c.asks.count * width, comm.in->data[r], n * width);
    comm.in->ranks[comm.rank].taken.store(comm.chunks, std::memory_order_release);
    c.at += n;
}

/* NCCL_STAND_IN_VERSION=22503 makes it NCCL 2.25.3. */
int version_number(void)
{
    const char *given = getenv("NCCL_STAND_IN_VERSION");
    return given ? atoi(given) : NCCL_VERSION_CODE;
}

/* Before 2.26 kernels of two communicators start in an order that ranks do not share, and ranks may wait for each other
 * for ever: here the program ends as soon as two are on the device at once. `standing` is the device's thread's. */
void stand_alone(const collective &c)
{
    static std::map<int, std::weak_ptr<ncclComm>> &standing = *new std::map<int, std::weak_ptr<ncclComm>>;
    std::shared_ptr<ncclComm> other = standing[c.comm->device].lock();
    if (other && other != c.comm && other->begun > other->done && !other->aborted && version_number() < 22600)
        mu_stand_in_fail("NCCL %d: operations of two communicators are in flight at once", version_number());
    c.comm->begun = c.ticket + 1;
    standing[c.comm->device] = c.comm;
}

/* As far as it goes now; true when the whole is done. */
bool advance(collective &c)
{
    ncclComm &comm = *c.comm;
    if (comm.aborted)
        return true;
    if (comm.done != c.ticket)
        return false;
    stand_alone(c);
    while (c.at < c.asks.count) {
        if (!c.posted) {
            if (!all_have(comm, &rank::taken, comm.chunks))
                break;
            post(c);
            c.posted = true;
        }
        if (!all_have(comm, &rank::posted, comm.chunks))
            break;
        take(c);
        c.posted = false;
    }
    if (c.at < c.asks.count) {
        look_for_deaths(comm);
        return false;
    }
    comm.done++;
    return true;
}

/* What a call on a communicator without blocking answers: now and then that it is in progress, as NCCL may.
 */
ncclResult_t answer(ncclComm &comm)
{
    if (comm.blocking || comm.calls % 2 == 0)
        return ncclSuccess;
    comm.pending = true;
    return ncclInProgress;
}

ncclResult_t ready(ncclComm &comm)
{
    if (comm.error != ncclSuccess)
        return failed((ncclResult_t)comm.error.load(), "the communicator has an error");
    if (!comm.here || (comm.pending && depth == 0))
        return failed(ncclInvalidArgument, "the communicator is used before an earlier call has ended");
    return ncclSuccess;
}

ncclResult_t enqueue(kind what, const void *send, void *receive, size_t count, ncclDataType_t type,
                     ncclRedOp_t op, int root, ncclComm_t handle, cudaStream_t stream)
{
    std::shared_ptr<ncclComm> comm = hold(handle);
    ncclResult_t result = ready(*comm);
    if (result != ncclSuccess)
        return result;
    if (size_of(type) == 0 || op < ncclSum || op >= ncclNumOps || root < 0 || root >= comm->size)
        return failed(ncclInvalidArgument, "no such type, operation or root");
    if (count == 0)
        return ncclSuccess;
    size_t bytes = count * size_of(type), all = bytes * (size_t)comm->size;
    bool sends = what != BROADCAST || comm->rank == root, receives = what != REDUCE || comm->rank == root;
    if (mu_stand_in_stream_device(stream) != comm->device)
        mu_stand_in_fail("NCCL: a stream of device %d for a communicator of device %d",
                         mu_stand_in_stream_device(stream), comm->device);
    if (sends)
        mu_stand_in_check_device_range("NCCL: what is sent", send, what == REDUCE_SCATTER ? all : bytes,
                                       comm->device);
    if (receives)
        mu_stand_in_check_device_range("NCCL: what is received", receive, what == ALL_GATHER ? all : bytes,
                                       comm->device);
    auto c = std::make_shared<collective>();
    c->comm = comm;
    c->asks = {what, count, type, op, root};
    c->send = (const char *)send;
    c->receive = (char *)receive;
    auto give = [=]() -> ncclResult_t {
        c->ticket = comm->calls++;
        if (mu_stand_in_uncapturable(stream) != cudaSuccess)
            return failed(ncclUnhandledCudaError, "collectives in a graph: not by this stand-in");
        (void)mu_stand_in_enqueue(stream, [c] { return advance(*c); });
        return answer(*comm);
    };
    if (depth == 0)
        return give();
    grouped->push_back(give);
    return ncclSuccess;
}

/* --- coming together --- */

uint64_t host_hash(void)
{
    char name[256] = "";
    const char *given = getenv("NCCL_HOSTID");
    if (!given)
        gethostname(name, sizeof name - 1);
    uint64_t hash = 1469598103934665603U;
    for (const char *p = given ? given : name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211U;
    return hash;
}

/* ncclInProgress while ranks are missing. */
ncclResult_t gather(ncclComm &comm)
{
    if (comm.here)
        return ncclSuccess;
    for (int r = 0; r < comm.size; r++)
        if (!comm.in->ranks[r].joined.load(std::memory_order_acquire)) {
            look_for_deaths(comm);
            return comm.error != ncclSuccess ? (ncclResult_t)comm.error.load() : ncclInProgress;
        }
    comm.here = true;
    close_door(&comm.id);
    const rank *all = comm.in->ranks;
    for (int a = 0; a < comm.size; a++)
        for (int b = 0; b < a; b++)
            if (all[a].host == all[b].host && all[a].device == all[b].device) {
                comm.error = ncclInvalidUsage;
                return failed(ncclInvalidUsage, "ranks " + std::to_string(b) + " and " + std::to_string(a) +
                                                    " of one host use one device");
            }
    return ncclSuccess;
}

ncclResult_t join(ncclComm_t *out, int ranks, const ncclUniqueId &id, int rank, bool blocking)
{
    if (ranks < 1 || ranks > RANKS || rank < 0 || rank >= ranks)
        return failed(ncclInvalidArgument, "no such rank or number of ranks");
    if (mu_stand_in_device_count() == 0)
        return failed(ncclUnhandledCudaError, "no CUDA device");
    auto comm = std::make_shared<ncclComm>();
    comm->id = id;
    comm->rank = rank;
    comm->size = ranks;
    comm->device = mu_stand_in_device();
    comm->blocking = blocking;
    comm->in = enter(&id);
    if (!comm->in)
        return failed(ncclSystemError, "the maker of the unique id is gone");
    int none = 0;
    if (!comm->in->size.compare_exchange_strong(none, ranks) && none != ranks)
        return failed(ncclInvalidArgument, "the ranks do not agree on their number");
    auto &me = comm->in->ranks[rank];
    if (me.joined.load())
        return failed(ncclInvalidUsage, "two ranks have one number");
    me.pid = getpid();
    me.host = host_hash();
    me.device = mu_stand_in_card(comm->device);
    me.joined.store(1, std::memory_order_release);
    {
        std::lock_guard<std::mutex> guard(lock);
        comms[comm.get()] = comm;
    }
    *out = comm.get();
    auto wait = [comm]() -> ncclResult_t {
        for (;;) {
            ncclResult_t result = gather(*comm);
            if (result != ncclInProgress || !comm->blocking)
                return result;
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
    };
    if (depth == 0)
        return wait();
    grouped->push_back(wait);
    return ncclSuccess;
}

/* Whether everything that was called is done. */
bool settled(const ncclComm &comm)
{
    return comm.aborted || comm.done == comm.calls;
}

void forget(ncclComm_t comm)
{
    std::lock_guard<std::mutex> guard(lock);
    comms.erase(comm);
}
} // namespace

extern "C" {

ncclResult_t ncclGetVersion(int *version)
{
    *version = version_number();
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const text[] = {"no error",
                                       "unhandled cuda error",
                                       "unhandled system error",
                                       "internal error",
                                       "invalid argument",
                                       "invalid usage",
                                       "remote process exited or there was a network error",
                                       "NCCL operation in progress"};
    return result >= ncclSuccess && result < ncclNumResults ? text[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return last ? last->c_str() : "";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    return found(id) ? ncclSuccess : failed(ncclSystemError, "no shared memory");
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
    return join(comm, ranks, id, rank, true);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    /* an older caller's configuration is shorter; `blocking` was always there */
    if (config &&
        (config->magic != 0xcafebeef || config->size < offsetof(ncclConfig_t, blocking) + sizeof(int)))
        return failed(ncclInvalidArgument, "the configuration was not initialised");
    return join(comm, ranks, id, rank, !config || config->blocking != 0);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t *error)
{
    std::shared_ptr<ncclComm> comm = hold(handle);
    comm->pending = false;
    look_for_deaths(*comm);
    *error = comm->error != ncclSuccess ? (ncclResult_t)comm->error.load() : gather(*comm);
    if (*error == ncclSuccess && comm->finalizing && !settled(*comm))
        *error = ncclInProgress;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t handle)
{
    std::shared_ptr<ncclComm> comm = hold(handle);
    ncclResult_t result = ready(*comm);
    if (result != ncclSuccess)
        return result;
    comm->finalizing = true;
    if (!comm->blocking && !settled(*comm))
        return ncclInProgress;
    while (!settled(*comm))
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t handle)
{
    std::shared_ptr<ncclComm> comm = hold(handle);
    while (!settled(*comm))
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    forget(handle);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t handle)
{
    std::shared_ptr<ncclComm> comm = hold(handle);
    comm->aborted = true; /* what is enqueued ends without a result */
    forget(handle);
    /* as NCCL's: until the device is done, where another communicator's operation may stand */
    auto wait = [comm]() -> ncclResult_t {
        mu_stand_in_drain(comm->device);
        return ncclSuccess;
    };
    if (depth == 0)
        return wait();
    grouped->push_back(wait);
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    *count = hold(comm)->size;
    return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device)
{
    *device = hold(comm)->device;
    return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    *rank = hold(comm)->rank;
    return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void *send, void *receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(ALL_REDUCE, send, receive, count, type, op, 0, comm, stream);
}

ncclResult_t ncclReduce(const void *send, void *receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                        int root, ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(REDUCE, send, receive, count, type, op, root, comm, stream);
}

ncclResult_t ncclReduceScatter(const void *send, void *receive, size_t receive_count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(REDUCE_SCATTER, send, receive, receive_count, type, op, 0, comm, stream);
}

ncclResult_t ncclAllGather(const void *send, void *receive, size_t send_count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(ALL_GATHER, send, receive, send_count, type, ncclSum, 0, comm, stream);
}

ncclResult_t ncclBroadcast(const void *send, void *receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    return enqueue(BROADCAST, send, receive, count, type, ncclSum, root, comm, stream);
}

ncclResult_t ncclGroupStart(void)
{
    if (depth++ == 0)
        grouped = new std::vector<std::function<ncclResult_t()>>;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (depth == 0)
        return failed(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    if (--depth > 0)
        return ncclSuccess;
    std::unique_ptr<std::vector<std::function<ncclResult_t()>>> calls(grouped);
    grouped = nullptr;
    ncclResult_t result = ncclSuccess;
    for (const auto &c : *calls) {
        ncclResult_t one = c();
        if (one != ncclSuccess && (result == ncclSuccess || result == ncclInProgress))
            result = one;
    }
    return result;
}

} /* extern "C" */
