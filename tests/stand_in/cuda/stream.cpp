/*
 * Streams and events. One thread, the device, takes work from the streams. It takes from those that the host
 * waits for, and from the streams whose events these wait for; from others only when the host has asked for
 * nothing for a while. So work that nobody ordered before other work is late.
 */
#include "runtime.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <pthread.h>
#include <signal.h>
#include <thread>
#include <vector>

using steady = std::chrono::steady_clock;

struct event_state {
    uint64_t recorded = 0, passed = 0;
    steady::time_point time;
    CUstream_st *stream = nullptr; /* of the newest record */
    int device = 0;
    bool timed = true;
};

struct CUevent_st {
    std::shared_ptr<event_state> state;
};

struct work {
    std::function<bool()> step;
    std::shared_ptr<event_state> awaited; /* for a wait: until `passed` is at least `number` */
    uint64_t number;
};

struct CUstream_st {
    int device;
    bool blocking; /* with regard to the default stream */
    std::deque<work> queue;
    uint64_t enqueued = 0, done = 0;
    uint64_t wanted = 0; /* the host waits until so many are done */
};

namespace
{
const auto QUIET = std::chrono::milliseconds(2);
const auto POLL = std::chrono::microseconds(100);

struct device_state {
    std::mutex lock;
    std::condition_variable to_do, progress;
    std::vector<CUstream_st *> streams; /* in the order of their making */
    std::vector<CUstream_st *> defaults;
    steady::time_point asked = steady::now();
    bool started = false, touched = false;
    std::thread::id thread;
};

device_state &d()
{
    static auto *the = new device_state;
    return *the;
}

typedef std::unique_lock<std::mutex> hold;

bool arrived(const work &w)
{
    return !w.awaited || w.awaited->passed >= w.number;
}

/* Does the first piece of the stream's work, or of that which it waits for; false when none can be done now.
 */
bool advance(CUstream_st *stream, hold &lock, int depth)
{
    if (stream->queue.empty() || depth > 64)
        return false;
    work &first = stream->queue.front();
    if (!arrived(first))
        return first.awaited->stream && advance(first.awaited->stream, lock, depth + 1);
    if (first.step) {
        std::function<bool()> step = first.step;
        lock.unlock();
        bool done = step();
        lock.lock();
        if (!done)
            return false;
    }
    stream->queue.pop_front();
    stream->done++;
    d().progress.notify_all();
    return true;
}

bool advance_any(hold &lock)
{
    bool quiet = steady::now() - d().asked > QUIET;
    for (bool wanted : {true, false}) {
        if (!wanted && !quiet)
            return false;
        std::vector<CUstream_st *> streams = d().streams; /* the list may change while the lock is open */
        for (size_t i = streams.size(); i-- > 0;)
            if ((!wanted || streams[i]->wanted > streams[i]->done) && advance(streams[i], lock, 0))
                return true;
    }
    return false;
}

void device_life()
{
    /* a fault for want of stack is distinguished from another one */
    static char stack[1 << 16];
    stack_t other = {};
    other.ss_sp = stack;
    other.ss_size = sizeof stack;
    sigaltstack(&other, NULL);
    hold lock(d().lock);
    d().thread = std::this_thread::get_id();
    for (;;) {
        if (advance_any(lock))
            continue;
        if (d().touched) {
            mu_stand_in_memory_close();
            d().touched = false;
        }
        bool work = false;
        for (const CUstream_st *s : d().streams)
            work |= !s->queue.empty();
        if (!work)
            d().to_do.wait(lock);
        else
            d().to_do.wait_for(lock, POLL);
    }
}

void start()
{
    if (d().started)
        return;
    d().started = true;
    mu_stand_in_report_faults();
    /* signals are the host's */
    sigset_t all, old;
    sigfillset(&all);
    for (int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT})
        sigdelset(&all, number);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    std::thread(device_life).detach();
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* The streams of a device, or of all (-1); with_all: those too that do not care for the default stream. */
template <class F> void each_stream(int device, bool with_all, F f)
{
    for (CUstream_st *s : d().streams)
        if ((device < 0 || s->device == device) && (with_all || s->blocking))
            f(s);
}

void want(CUstream_st *s, uint64_t until)
{
    if (s->wanted < until)
        s->wanted = until;
}

void wait_for(hold &lock, int device, bool with_all)
{
    std::vector<std::pair<CUstream_st *, uint64_t>> targets;
    each_stream(device, with_all, [&](CUstream_st *s) {
        want(s, s->enqueued);
        targets.emplace_back(s, s->enqueued);
    });
    d().to_do.notify_all();
    for (const auto &t : targets)
        d().progress.wait(lock, [&] { return t.first->done >= t.second; });
}

CUstream_st *new_stream(int device, bool blocking)
{
    auto *s = new CUstream_st;
    s->device = device;
    s->blocking = blocking;
    d().streams.push_back(s);
    return s;
}

bool is_known(const CUstream_st *stream)
{
    for (const CUstream_st *s : d().streams)
        if (s == stream)
            return true;
    return false;
}

/* The default stream of this thread's device has one of its own. Call with the lock. */
CUstream_st *resolve(cudaStream_t stream)
{
    if (stream) {
        if (!is_known(stream))
            mu_stand_in_fail("stream %p was destroyed, or never was one", (void *)stream);
        return stream;
    }
    size_t device = (size_t)mu_stand_in_device();
    while (d().defaults.size() <= device)
        d().defaults.push_back(new_stream((int)d().defaults.size(), true));
    return d().defaults[device];
}

void push(CUstream_st *s, work w)
{
    d().asked = steady::now();
    s->queue.push_back(std::move(w));
    s->enqueued++;
    start();
    d().to_do.notify_all();
}

bool no_device()
{
    return mu_stand_in_device_count() == 0;
}
} // namespace

bool mu_stand_in_on_device_thread(void)
{
    return d().thread == std::this_thread::get_id();
}

void mu_stand_in_touch(void)
{
    if (!d().touched) {
        mu_stand_in_memory_open();
        d().touched = true;
    }
}

int mu_stand_in_stream_device(cudaStream_t stream)
{
    hold lock(d().lock);
    return resolve(stream)->device;
}

void mu_stand_in_enqueue(cudaStream_t stream, std::function<bool()> step)
{
    hold lock(d().lock);
    CUstream_st *s = resolve(stream);
    if (!stream)
        wait_for(lock, s->device, false);
    push(s, {std::move(step), nullptr, 0});
    if (!stream) /* others' work shall come after it */
        wait_for(lock, s->device, false);
}

void mu_stand_in_drain(int device)
{
    hold lock(d().lock);
    wait_for(lock, device, true);
}

extern "C" {

cudaError_t cudaDeviceSynchronize(void)
{
    mu_stand_in_drain(mu_stand_in_device());
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned int flags)
{
    if (no_device())
        return mu_stand_in_error(cudaErrorNoDevice);
    hold lock(d().lock);
    *out = new_stream(mu_stand_in_device(), !(flags & cudaStreamNonBlocking));
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned int flags, int priority)
{
    (void)priority;
    return cudaStreamCreateWithFlags(out, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (!stream)
        return mu_stand_in_error(cudaErrorInvalidResourceHandle);
    hold lock(d().lock);
    resolve(stream);
    want(stream, stream->enqueued);
    d().to_do.notify_all();
    d().progress.wait(lock, [&] { return stream->queue.empty(); });
    for (size_t i = 0; i < d().streams.size(); i++)
        if (d().streams[i] == stream)
            d().streams.erase(d().streams.begin() + (long)i);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    hold lock(d().lock);
    CUstream_st *s = resolve(stream);
    uint64_t until = s->enqueued;
    want(s, until);
    d().to_do.notify_all();
    d().progress.wait(lock, [&] { return s->done >= until; });
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    hold lock(d().lock);
    CUstream_st *s = resolve(stream);
    want(s, s->enqueued);
    d().to_do.notify_all();
    return s->queue.empty() ? cudaSuccess : mu_stand_in_error(cudaErrorNotReady); /* kept, as on a card */
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
    (void)flags;
    hold lock(d().lock);
    CUstream_st *s = resolve(stream);
    push(s, {nullptr, event->state, event->state->recorded});
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned int flags)
{
    if (no_device())
        return mu_stand_in_error(cudaErrorNoDevice);
    *out = new CUevent_st{std::make_shared<event_state>()};
    (*out)->state->timed = !(flags & cudaEventDisableTiming);
    (*out)->state->device = mu_stand_in_device();
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    if (!event)
        return mu_stand_in_error(cudaErrorInvalidResourceHandle);
    delete event; /* what waits for it keeps its state */
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    hold lock(d().lock);
    CUstream_st *s = resolve(stream);
    auto state = event->state;
    if (state->device != s->device)
        mu_stand_in_fail("cudaEventRecord: an event of device %d on a stream of device %d", state->device,
                         s->device);
    uint64_t number = ++state->recorded;
    state->stream = s;
    push(s, {[state, number] {
                 hold inner(d().lock);
                 state->passed = number;
                 state->time = steady::now();
                 return true;
             },
             nullptr, 0});
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    hold lock(d().lock);
    event_state &e = *event->state;
    if (e.passed >= e.recorded)
        return cudaSuccess;
    want(e.stream, e.stream->enqueued);
    d().to_do.notify_all();
    return mu_stand_in_error(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    hold lock(d().lock);
    auto state = event->state;
    uint64_t number = state->recorded;
    if (state->passed >= number)
        return cudaSuccess;
    want(state->stream, state->stream->enqueued);
    d().to_do.notify_all();
    d().progress.wait(lock, [&] { return state->passed >= number; });
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end)
{
    hold lock(d().lock);
    const event_state &a = *begin->state, &b = *end->state;
    if (!a.timed || !b.timed || !a.recorded || !b.recorded)
        return mu_stand_in_error(cudaErrorInvalidResourceHandle);
    if (a.passed < a.recorded || b.passed < b.recorded)
        return mu_stand_in_error(cudaErrorNotReady);
    *ms = std::chrono::duration<float, std::milli>(b.time - a.time).count();
    return cudaSuccess;
}

} /* extern "C" */
