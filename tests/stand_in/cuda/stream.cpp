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

struct capture {
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    std::vector<mu_stand_in_node> nodes;
    bool spoiled = false;
};

struct event_state {
    uint64_t recorded = 0, passed = 0;
    steady::time_point time;
    CUstream_st *stream = nullptr; /* of the newest record */
    int device = 0;
    bool timed = true;
    std::weak_ptr<capture> captured; /* last recorded in it */
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
    uint64_t wanted = 0;                  /* the host waits until so many are done */
    std::shared_ptr<capture> captured_by; /* while it is */
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

/* --- captures; all with the lock --- */

cudaError_t spoil(capture &c, cudaError_t why)
{
    cudaError_t error = c.spoiled ? cudaErrorStreamCaptureInvalidated : why;
    c.spoiled = true;
    return mu_stand_in_error(error);
}

/* A call that a stream's capture does not allow. */
cudaError_t uncapturable(CUstream_st *s)
{
    return s->captured_by ? spoil(*s->captured_by, cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

/* A call that no capture of this thread allows, unless it is relaxed, and no thread's that is global. */
cudaError_t unsafe()
{
    cudaError_t error = cudaSuccess;
    for (CUstream_st *s : d().streams) {
        const capture *c = s->captured_by.get();
        if (c && (c->mode == cudaStreamCaptureModeGlobal ||
                  (c->mode == cudaStreamCaptureModeThreadLocal && c->thread == std::this_thread::get_id())))
            error = uncapturable(s);
    }
    return error;
}

/* The default stream would wait for blocking streams, which a capture among them does not allow. */
cudaError_t implicit(cudaStream_t stream)
{
    cudaError_t error = cudaSuccess;
    if (stream)
        return error;
    each_stream(mu_stand_in_device(), false, [&](CUstream_st *s) {
        if (s->captured_by)
            error = spoil(*s->captured_by, cudaErrorStreamCaptureImplicit);
    });
    return error;
}

/* Waiting for an event, which the host may not do for one of a capture. */
cudaError_t wait_for_event(const event_state &e)
{
    if (std::shared_ptr<capture> c = e.captured.lock())
        return spoil(*c, cudaErrorCapturedEvent);
    return unsafe();
}
} // namespace

cudaError_t mu_stand_in_unsafe(void)
{
    hold lock(d().lock);
    return unsafe();
}

cudaError_t mu_stand_in_uncapturable(cudaStream_t stream)
{
    hold lock(d().lock);
    return uncapturable(resolve(stream));
}

bool mu_stand_in_is_capturing(cudaStream_t stream)
{
    hold lock(d().lock);
    return resolve(stream)->captured_by != nullptr;
}

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

cudaError_t mu_stand_in_enqueue(cudaStream_t stream, std::function<bool()> step, std::function<void()> check)
{
    hold lock(d().lock);
    CUstream_st *s = resolve(stream);
    if (cudaError_t error = implicit(stream))
        return error;
    if (s->captured_by) {
        if (s->captured_by->spoiled)
            return mu_stand_in_error(cudaErrorStreamCaptureInvalidated);
        s->captured_by->nodes.push_back({std::move(step), std::move(check)});
        return cudaSuccess;
    }
    if (!stream)
        wait_for(lock, s->device, false);
    push(s, {std::move(step), nullptr, 0});
    if (!stream) /* others' work shall come after it */
        wait_for(lock, s->device, false);
    return cudaSuccess;
}

void mu_stand_in_drain(int device)
{
    hold lock(d().lock);
    wait_for(lock, device, true);
}

extern "C" {

cudaError_t cudaDeviceSynchronize(void)
{
    {
        hold lock(d().lock);
        cudaError_t error = cudaSuccess;
        each_stream(mu_stand_in_device(), true, [&](CUstream_st *s) {
            if (s->captured_by)
                error = uncapturable(s);
        });
        if (error != cudaSuccess)
            return error;
    }
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
    if (cudaError_t error = uncapturable(resolve(stream)))
        return error;
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
    cudaError_t error = s->captured_by ? uncapturable(s) : unsafe();
    if (error != cudaSuccess)
        return error;
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
    cudaError_t error = s->captured_by ? uncapturable(s) : unsafe();
    if (error != cudaSuccess)
        return error;
    want(s, s->enqueued);
    d().to_do.notify_all();
    return s->queue.empty() ? cudaSuccess : mu_stand_in_error(cudaErrorNotReady); /* kept, as on a card */
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
    (void)flags;
    hold lock(d().lock);
    CUstream_st *s = resolve(stream);
    std::shared_ptr<capture> other = event->state->captured.lock();
    if (s->captured_by)
        return s->captured_by->spoiled || other != s->captured_by
                   ? spoil(*s->captured_by, cudaErrorStreamCaptureIsolation)
                   : cudaSuccess; /* it comes after it already */
    if (other)
        mu_stand_in_fail("cudaStreamWaitEvent: a second stream of a capture is no part of the stand-in");
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
    if (cudaError_t error = implicit(stream))
        return error;
    if (s->captured_by && s->captured_by->spoiled)
        return mu_stand_in_error(cudaErrorStreamCaptureInvalidated);
    state->captured = s->captured_by;
    if (s->captured_by)
        return cudaSuccess;
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
    if (cudaError_t error = wait_for_event(e))
        return error;
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
    if (cudaError_t error = wait_for_event(*state))
        return error;
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

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    hold lock(d().lock);
    if (mu_stand_in_shall_fail("cudaStreamBeginCapture"))
        return mu_stand_in_error(cudaErrorUnknown);
    if (!stream)
        return mu_stand_in_error(cudaErrorStreamCaptureUnsupported);
    CUstream_st *s = resolve(stream);
    if (s->captured_by)
        return mu_stand_in_error(cudaErrorIllegalState);
    s->captured_by = std::make_shared<capture>();
    s->captured_by->mode = mode;
    s->captured_by->thread = std::this_thread::get_id();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    hold lock(d().lock);
    CUstream_st *s = resolve(stream);
    std::shared_ptr<capture> c = s->captured_by;
    *out = NULL;
    if (!c)
        return mu_stand_in_error(cudaErrorIllegalState);
    if (c->mode != cudaStreamCaptureModeRelaxed && c->thread != std::this_thread::get_id())
        return spoil(*c, cudaErrorStreamCaptureWrongThread);
    s->captured_by = nullptr;
    if (c->spoiled)
        return mu_stand_in_error(cudaErrorStreamCaptureInvalidated);
    *out = new CUgraph_st{std::move(c->nodes), s->device};
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    hold lock(d().lock);
    const capture *c = resolve(stream)->captured_by.get();
    *status = !c           ? cudaStreamCaptureStatusNone
              : c->spoiled ? cudaStreamCaptureStatusInvalidated
                           : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

} /* extern "C" */
