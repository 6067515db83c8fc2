#include "worker/comm/nccl_watch.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "worker/guard/page.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

enum { GROUPS = 4, TOGETHER_SINCE = 22200 }; /* from NCCL 2.22 on a group of aborts is one */

struct mu_nccl_watch {
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    pthread_t thread;
    mu_nccl_limits_t limits;
    mu_nccl_group_t *group[GROUPS];
    int count;
    mu_status_t status; /* what was given up for; MU_OK: nothing was */
    bool aborted;       /* and the device has left */
    bool closing;
};

const mu_nccl_limits_t *mu_nccl_limits(const mu_nccl_watch_t *watch)
{
    return &watch->limits;
}

/* --- giving up --- */

typedef struct aborts {
    mu_nccl_watch_t *watch;
    mu_nccl_t nccl;
    mu_nccl_comm_t *comm[GROUPS];
    int count;
} aborts_t;

typedef struct one_abort {
    const mu_nccl_t *nccl;
    mu_nccl_comm_t *comm;
} one_abort_t;

static void *abort_one(void *arg)
{
    one_abort_t *one = arg;
    (void)one->nccl->abort(one->comm);
    return NULL;
}

/* Each of them waits for the device, where the others' kernels may stand: none before another. */
static void abort_together(const aborts_t *a)
{
    one_abort_t one[GROUPS];
    pthread_t thread[GROUPS];
    if (a->count > 0 && a->nccl.version >= TOGETHER_SINCE) {
        (void)a->nccl.group_start();
        for (int i = 0; i < a->count; i++)
            (void)a->nccl.abort(a->comm[i]);
        (void)a->nccl.group_end();
        return;
    }
    for (int i = 0; i < a->count; i++) {
        one[i] = (one_abort_t){&a->nccl, a->comm[i]};
        if (pthread_create(&thread[i], NULL, abort_one, &one[i]) != 0)
            abort(); /* no memory for a stack of a process that is at its end */
    }
    for (int i = 0; i < a->count; i++)
        pthread_join(thread[i], NULL);
}

static void *abort_life(void *arg)
{
    aborts_t *a = arg;
    abort_together(a);
    pthread_mutex_lock(&a->watch->lock);
    a->watch->aborted = true;
    pthread_cond_broadcast(&a->watch->changed);
    pthread_mutex_unlock(&a->watch->lock);
    free(a);
    return NULL;
}

/* With the lock. */
static void start_aborts(mu_nccl_watch_t *w)
{
    aborts_t *a = mu_calloc(1, sizeof *a);
    pthread_t thread;
    a->watch = w;
    for (int i = 0; i < w->count; i++) {
        if (!w->group[i]->comm)
            continue;
        a->nccl = w->group[i]->nccl;
        a->comm[a->count++] = w->group[i]->comm;
        w->group[i]->comm = NULL;
    }
    if (pthread_create(&thread, NULL, abort_life, a) != 0)
        abort();
    pthread_detach(thread);
}

static struct timespec in_seconds(double seconds)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t ns = at.tv_nsec + (int64_t)(seconds * 1e9);
    at.tv_sec += ns / 1000000000;
    at.tv_nsec = ns % 1000000000;
    return at;
}

/* With the lock, which is given back while it waits. */
static mu_status_t give_up(mu_nccl_watch_t *w, mu_status_t status)
{
    struct timespec end = in_seconds(w->limits.leave);
    if (w->status == MU_OK) {
        w->status = status;
        start_aborts(w);
    }
    while (!w->aborted) {
        if (pthread_cond_timedwait(&w->changed, &w->lock, &end) != ETIMEDOUT || w->aborted)
            continue;
        mu_error(
            "NCCL: the device has not left its operations %g s after they were given up: the process ends",
            w->limits.leave);
        _exit(mu_status_exit(w->status));
    }
    return w->status;
}

mu_status_t mu_nccl_give_up(mu_nccl_watch_t *watch, mu_status_t status)
{
    pthread_mutex_lock(&watch->lock);
    mu_status_t first = give_up(watch, status);
    pthread_mutex_unlock(&watch->lock);
    return first;
}

mu_status_t mu_nccl_lock(mu_nccl_watch_t *watch)
{
    pthread_mutex_lock(&watch->lock);
    mu_status_t status = watch->status;
    if (status != MU_OK)
        pthread_mutex_unlock(&watch->lock);
    return status;
}

void mu_nccl_unlock(mu_nccl_watch_t *watch)
{
    pthread_mutex_unlock(&watch->lock);
}

/* --- what a look finds: with the lock, nothing given up yet --- */

static mu_status_t say_broke(const mu_nccl_group_t *g, int result, const char *what)
{
    return mu_fail(MU_NETWORK, "NCCL: %s in group %s of %d: %s%s", what, g->owner->name, g->owner->size,
                   g->nccl.error_string(result),
                   result == MU_NCCL_REMOTE_ERROR ? " (another worker or its host broke first)"
                                                  : "; NCCL_DEBUG=INFO makes it say more");
}

mu_status_t mu_nccl_broke(mu_nccl_group_t *g, int result, const char *what)
{
    MU_TRY(mu_nccl_lock(g->watch));
    mu_status_t status = give_up(g->watch, say_broke(g, result, what));
    mu_nccl_unlock(g->watch);
    return status;
}

static mu_status_t drop_span(mu_nccl_group_t *g, mu_nccl_span_t *span)
{
    double ms = 0;
    mu_status_t status = span->waits ? g->cuda->mark_ms(g->device, span->from, span->to, &ms) : MU_OK;
    g->waited_ns += (int64_t)(ms * 1e6);
    g->cuda->mark_free(g->device, span->from);
    g->cuda->mark_free(g->device, span->to);
    return status;
}

/* Forgets the operations that are done: those in front, since each stream keeps its order. */
static mu_status_t reap(mu_nccl_group_t *g)
{
    mu_status_t status = MU_OK;
    int done = 0;
    for (bool passed = true; done < g->count; done++) {
        MU_TRY_GOTO(status, g->cuda->mark_passed(g->device, g->span[done].to, &passed), out);
        if (!passed)
            break;
        MU_TRY_GOTO(status, drop_span(g, &g->span[done]), out);
    }
out:
    if (done > 0) {
        g->count -= done;
        memmove(g->span, g->span + done, (size_t)g->count * sizeof *g->span);
        mu_page_progress(g->owner->page);
    }
    return status;
}

/* The oldest operation's age counts from when the device came to it. */
static mu_status_t check_age(mu_nccl_group_t *g)
{
    bool passed = false;
    int64_t now = mu_now_ns();
    if (g->count == 0)
        return MU_OK;
    mu_nccl_span_t *s = &g->span[0];
    if (!s->begun_ns) {
        MU_TRY(g->cuda->mark_passed(g->device, s->from, &passed));
        s->begun_ns = passed ? now : 0;
        return MU_OK;
    }
    if ((double)(now - s->begun_ns) * 1e-9 <= g->hang)
        return MU_OK;
    return mu_fail(MU_HUNG, "NCCL: %s number %llu of group %s (%lld bytes) has not ended in %g s",
                   s->operation, (unsigned long long)s->sequence, g->owner->name, (long long)s->bytes,
                   g->hang);
}

static mu_status_t look(mu_nccl_group_t *g)
{
    int error;
    int rc = g->nccl.async_error(g->comm, &error);
    if (rc != MU_NCCL_SUCCESS || (error != MU_NCCL_SUCCESS && error != MU_NCCL_IN_PROGRESS))
        return say_broke(g, rc != MU_NCCL_SUCCESS ? rc : error, g->count ? g->span[0].operation : "a peer");
    MU_TRY(reap(g));
    return check_age(g);
}

static void show(mu_nccl_group_t *g)
{
    mu_comm_t *comm = g->owner;
    bool idle = g->count == 0;
    if (idle && g->shown)
        mu_page_collective_end(comm->page);
    if (idle || g->span[0].sequence != g->shown) {
        g->shown = idle ? 0 : g->span[0].sequence;
        if (!idle)
            mu_page_collective_begin(comm->page, comm->name, g->shown, g->span[0].operation,
                                     g->span[0].bytes);
    }
}

mu_status_t mu_nccl_look(mu_nccl_group_t *g, bool *idle)
{
    MU_TRY(mu_nccl_lock(g->watch));
    mu_status_t status = look(g);
    show(g);
    *idle = g->count == 0;
    if (status != MU_OK)
        status = give_up(g->watch, status);
    mu_nccl_unlock(g->watch);
    return status;
}

mu_status_t mu_nccl_span_add(mu_nccl_group_t *g, void *stream, mu_nccl_span_t span)
{
    enum { FIRST = 256, MOST = 4096 }; /* a caller that never waits for the device keeps no more marks */
    mu_status_t status = g->cuda->mark_new(g->device, stream, &span.to);
    if (status == MU_OK)
        status = mu_nccl_lock(g->watch);
    if (status != MU_OK) {
        g->cuda->mark_free(g->device, span.from);
        g->cuda->mark_free(g->device, span.to);
        return status;
    }
    if (g->count >= MOST)
        status = reap(g);
    if (g->count == g->cap) {
        g->cap = g->cap ? 2 * g->cap : FIRST;
        g->span = mu_realloc(g->span, (size_t)g->cap * sizeof *g->span);
    }
    g->span[g->count++] = span;
    mu_nccl_unlock(g->watch);
    return status;
}

/* --- the thread --- */

static void *watch_life(void *arg)
{
    mu_nccl_watch_t *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->closing) {
        mu_status_t status = MU_OK;
        for (int i = 0; i < w->count && w->status == MU_OK && status == MU_OK; i++)
            status = look(w->group[i]);
        if (status != MU_OK)
            (void)give_up(w, status);
        struct timespec next = in_seconds(0.05);
        if (!w->closing)
            (void)pthread_cond_timedwait(&w->changed, &w->lock, &next);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

void mu_nccl_watch_add(mu_nccl_group_t *group)
{
    mu_nccl_watch_t *w = group->watch;
    pthread_mutex_lock(&w->lock);
    if (w->count < GROUPS)
        w->group[w->count++] = group;
    pthread_mutex_unlock(&w->lock);
}

void mu_nccl_watch_remove(mu_nccl_group_t *group)
{
    mu_nccl_watch_t *w = group->watch;
    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->count; i++)
        if (w->group[i] == group)
            w->group[i--] = w->group[--w->count];
    pthread_mutex_unlock(&w->lock);
}

mu_status_t mu_nccl_watch_new(const mu_nccl_limits_t *limits, mu_nccl_watch_t **out)
{
    mu_nccl_watch_t *w = mu_calloc(1, sizeof *w);
    pthread_condattr_t attributes;
    w->limits = *limits;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&w->thread, NULL, watch_life, w) != 0) {
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return mu_fail(MU_NOMEM, "no thread to watch NCCL");
    }
    *out = w;
    return MU_OK;
}

void mu_nccl_watch_free(mu_nccl_watch_t *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
