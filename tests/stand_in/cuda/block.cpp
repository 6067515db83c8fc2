/*
 * A kernel's blocks, one after another; a block's threads as fibres. A fibre runs thread after thread until
 * one has to wait; only then another fibre takes over, so a kernel that never waits is a plain loop.
 *
 * Which thread goes first is nobody's promise, so it alternates: every other block goes backwards. Forwards,
 * a warp runs as far ahead of the others as it can; backwards, all warps take turns.
 */
#include "block.h"
#include "poison.h"

#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <string>

mu_stand_in_place mu_stand_in_now;

namespace mu_block
{
thread threads[THREADS];
int thread_count, gone, at_barrier;
int order[THREADS]; /* in which they begin */
int begun;
bool ahead;
int current;
mu_fibre *on;
/* never destroyed: the device may outlive main */
std::deque<int> &ready = *new std::deque<int>;
std::vector<mu_fibre *> &idle = *new std::vector<mu_fibre *>;
const mu_stand_in_kernel *running;
const std::function<void()> *body;
uint64_t blocks_run;
alignas(1024) char shared_memory[SHARED_LIMIT];

std::mutex allowed_lock;
std::map<const void *, size_t> &allowed = *new std::map<const void *, size_t>;

const char *const state_name[] = {
    "has not begun", "may go on", "runs", "waits in __syncthreads", "waits in an operation of its warp",
    "has returned"};

uint3 index_of(int t)
{
    unsigned x = running->block.x, y = running->block.y, i = (unsigned)t;
    return {i % x, i / x % y, i / x / y};
}

/* Where everyone is, the same places together. */
[[noreturn]] void stuck(const char *why)
{
    std::map<std::string, std::pair<int, int>> groups;
    for (int t = 0; t < thread_count; t++) {
        char text[400];
        const thread &x = threads[t];
        if (x.at == AT_BARRIER)
            snprintf(text, sizeof text, "%s at %s:%d", state_name[x.at], x.where.file, x.where.line);
        else if (x.at == IN_WARP)
            snprintf(text, sizeof text, "%s at %s:%d, mask %#x", state_name[x.at], x.part.where.file,
                     x.part.where.line, x.part.mask);
        else
            snprintf(text, sizeof text, "%s", state_name[x.at]);
        auto &group = groups.try_emplace(text, t, 0).first->second;
        group.second++;
    }
    for (const auto &g : groups)
        fprintf(stderr, "stand-in for CUDA: %d threads, the first of them %d: %s\n", g.second.second,
                g.second.first, g.first.c_str());
    mu_stand_in_fail("%s", why);
}

void make_ready(int t)
{
    threads[t].at = READY;
    ready.push_back(t);
}

int next_fresh()
{
    return begun < thread_count ? order[begun++] : -1;
}

void go(int t)
{
    current = t;
    threads[t].at = RUNNING;
    mu_stand_in_now.thread = threads[t].index;
}

void leave(int t)
{
    threads[t].at = GONE;
    gone++;
    if (threads[t].copies) {
        delete threads[t].copies;
        threads[t].copies = nullptr;
    }
}

/* A fibre's life: begins threads while there are any and it is not better to go on with others. */
void fibre_life(void *argument)
{
    mu_fibre **self = (mu_fibre **)argument;
    for (;;) {
        int t;
        while (!(ahead && !ready.empty()) && (t = next_fresh()) >= 0) {
            go(t);
            (*body)();
            leave(t);
        }
        idle.push_back(*self);
        mu_fibre_switch(*self, mu_fibre_main());
    }
}

mu_fibre *a_fibre()
{
    if (idle.empty()) {
        mu_fibre **self = (mu_fibre **)malloc(sizeof *self);
        static auto *kept = new std::vector<mu_fibre **>;
        kept->push_back(self);
        *self = mu_fibre_new(fibre_life, self);
        return *self;
    }
    mu_fibre *f = idle.back();
    idle.pop_back();
    return f;
}

void wait_here(state at)
{
    int t = current;
    threads[t].at = at;
    mu_fibre *self = threads[t].fibre;
    mu_fibre_switch(self, mu_fibre_main());
    go(t);
}

void run_block()
{
    gone = at_barrier = begun = 0;
    ahead = blocks_run % 2 == 0;
    ready.clear();
    for (int t = 0; t < thread_count; t++) {
        threads[t].at = FRESH;
        order[t] = ahead ? t : thread_count - 1 - t;
    }
    forget_warps();
    size_t size = running->shared, rest = sizeof shared_memory - size;
    ASAN_UNPOISON_MEMORY_REGION(shared_memory, sizeof shared_memory);
    memset(shared_memory, 0xff, size);
    ASAN_POISON_MEMORY_REGION(shared_memory + size, rest);
    while (gone < thread_count) {
        if (!ready.empty() && (ahead || begun == thread_count)) {
            /* ahead: the one that became ready last, so that one warp runs on */
            int t = ahead ? ready.back() : ready.front();
            ahead ? ready.pop_back() : ready.pop_front();
            on = threads[t].fibre;
        } else if (begun < thread_count) {
            on = a_fibre();
        } else if (at_barrier > 0 && at_barrier + gone == thread_count) {
            stuck("a thread returned before a __syncthreads that others wait at");
        } else {
            stuck("no thread can go on: they wait for each other at different places");
        }
        mu_fibre_switch(mu_fibre_main(), on);
    }
    blocks_run++;
}
} // namespace mu_block

using namespace mu_block;

const mu_stand_in_kernel *mu_stand_in_running(void)
{
    return running;
}

void mu_stand_in_allow_shared(const void *kernel, size_t bytes)
{
    if (bytes > SHARED_LIMIT)
        mu_stand_in_fail("cudaFuncSetAttribute: %zu bytes of shared memory; a block has at most %d", bytes,
                         SHARED_LIMIT);
    std::lock_guard<std::mutex> guard(allowed_lock);
    allowed[kernel] = bytes;
}

/* What no card would run. */
static void check_shape(const mu_stand_in_kernel &k)
{
    uint64_t size = (uint64_t)k.block.x * k.block.y * k.block.z;
    size_t limit = SHARED_DEFAULT - SHARED_OWN;
    {
        std::lock_guard<std::mutex> guard(allowed_lock);
        auto found = allowed.find(k.function);
        if (found != allowed.end() && found->second > limit)
            limit = found->second;
    }
    if (size == 0 || size > THREADS || k.block.z > 64)
        mu_stand_in_fail("%s: a block of %u x %u x %u threads; there may be 1 to %d, z up to 64", k.name,
                         k.block.x, k.block.y, k.block.z, THREADS);
    if (k.grid.x == 0 || k.grid.y == 0 || k.grid.z == 0 || k.grid.x > INT32_MAX || k.grid.y > 65535 ||
        k.grid.z > 65535)
        mu_stand_in_fail("%s: a grid of %u x %u x %u blocks; each may be 1 to 65535, x to 2^31 - 1", k.name,
                         k.grid.x, k.grid.y, k.grid.z);
    if (k.shared > limit)
        mu_stand_in_fail("%s: %zu bytes of dynamic shared memory; %zu are allowed%s", k.name, k.shared, limit,
                         limit < SHARED_DEFAULT ? " without cudaFuncSetAttribute" : "");
}

/* With the word `launches`: each kind of launch once, and how many blocks a multiprocessor's shared memory holds. */
static void print_once(const mu_stand_in_kernel &k)
{
    static std::mutex lock;
    static auto *printed = new std::set<std::string>;
    size_t shared = mu_stand_in_processor_shared();
    std::string line = std::string(k.name) + " of " + k.inside + ": " + std::to_string(k.block.x) +
                       " threads, " + std::to_string(k.shared) + " bytes, blocks " +
                       std::to_string(shared / (k.shared + 1024));
    std::lock_guard<std::mutex> guard(lock);
    if (printed->insert(line).second)
        fprintf(stderr, "stand-in for CUDA: launch of %s\n", line.c_str());
}

void mu_stand_in_launch(const mu_stand_in_kernel &kernel, std::function<void()> thread,
                        std::function<void()> check)
{
    check();
    check_shape(kernel);
    if (mu_stand_in_option("STAND_IN_CUDA", "launches"))
        print_once(kernel);
    if (kernel.device != mu_stand_in_device())
        mu_stand_in_fail("%s: the stream belongs to device %d, the current one is %d", kernel.name,
                         kernel.device, mu_stand_in_device());
    (void)mu_stand_in_enqueue(/* a launch returns nothing: the error stays for cudaGetLastError */
                              kernel.stream,
                              [kernel, thread = std::move(thread)] {
                                  mu_stand_in_touch();
                                  mu_stand_in_run(kernel, thread);
                                  return true;
                              },
                              std::move(check));
}

void mu_stand_in_check_argument(const mu_stand_in_kernel &kernel, int index, const void *p)
{
    if (!p)
        return;
    int at = mu_stand_in_device_of(p);
    if (at < 0)
        mu_stand_in_fail("%s: argument %d, %p, points to no device memory%s", kernel.name, index, p,
                         mu_stand_in_in_arena(p) ? " (freed, or outside of every allocation)"
                                                 : " but to the host's");
    if (at != kernel.device)
        mu_stand_in_fail("%s: argument %d, %p, is memory of device %d; the kernel runs on %d", kernel.name,
                         index, p, at, kernel.device);
}

void mu_stand_in_run(const mu_stand_in_kernel &kernel, const std::function<void()> &thread)
{
    running = &kernel;
    body = &thread;
    thread_count = (int)(kernel.block.x * kernel.block.y * kernel.block.z);
    for (int t = 0; t < thread_count; t++)
        threads[t].index = index_of(t);
    mu_stand_in_now.block_dim = kernel.block;
    mu_stand_in_now.grid_dim = kernel.grid;
    static uint64_t launches;
    bool backwards = launches++ % 2 == 1;
    uint64_t x = kernel.grid.x, y = kernel.grid.y, all = x * y * kernel.grid.z;
    for (uint64_t i = 0; i < all; i++) {
        uint64_t b = backwards ? all - 1 - i : i;
        mu_stand_in_now.block = {(unsigned)(b % x), (unsigned)(b / x % y), (unsigned)(b / x / y)};
        run_block();
    }
    running = nullptr;
}

void *mu_stand_in_shared(void)
{
    return shared_memory;
}

int mu_stand_in_barrier(bool predicate, mu_stand_in_where where)
{
    thread &me = threads[current];
    me.where = where;
    me.predicate = predicate;
    if (++at_barrier < thread_count) {
        me.fibre = on;
        wait_here(AT_BARRIER);
        return me.result;
    }
    me.at = AT_BARRIER;
    int count = 0;
    for (int t = 0; t < thread_count; t++) {
        if (threads[t].where.line != where.line || strcmp(threads[t].where.file, where.file) != 0)
            stuck("the threads of a block wait at different barriers");
        count += threads[t].predicate;
    }
    at_barrier = 0;
    for (int i = 0; i < thread_count; i++) {
        int t = order[i];
        threads[t].result = count;
        if (t != current)
            make_ready(t);
    }
    me.at = RUNNING;
    return count;
}
