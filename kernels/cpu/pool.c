#include "kernels/cpu/pool.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/* About 20 us: longer than the gaps between the operations of one step, shorter than anything a person
 * notices. */
enum { SPINS = 4000 };

struct mu_pool {
    int threads, started;
    pthread_t *thread;
    void (*start)(void);

    /* the job; published by the counter `round` */
    mu_pool_job_t job;
    void *arg;
    int64_t n, grain;
    int64_t *ns; /* [threads], or NULL */
    _Atomic uint32_t round;
    _Atomic int left; /* threads that have not finished the round */
    _Atomic int stop;

    pthread_mutex_t lock; /* for sleeping only */
    pthread_cond_t wake, done;
};

typedef struct mu_pool_seat {
    mu_pool_t *pool;
    int index;
} mu_pool_seat_t;

static inline void pause_a_little(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static int64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void do_items(mu_pool_t *pool, int index, int64_t from, int64_t to)
{
    int64_t began = pool->ns ? thread_ns() : 0;
    pool->job(pool->arg, index, from, to);
    if (pool->ns)
        pool->ns[index] += thread_ns() - began;
}

static void do_part(mu_pool_t *pool, int index)
{
    int64_t units = (pool->n + pool->grain - 1) / pool->grain;
    int64_t from = units * index / pool->threads * pool->grain;
    int64_t to = mu_min_i64(units * (index + 1) / pool->threads * pool->grain, pool->n);
    if (from < to)
        do_items(pool, index, from, to);
}

static uint32_t await_round(mu_pool_t *pool, uint32_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t now = atomic_load(&pool->round);
        if (now != seen)
            return now;
        pause_a_little();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->round) == seen)
        pthread_cond_wait(&pool->wake, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return atomic_load(&pool->round);
}

static void *work(void *arg)
{
    mu_pool_seat_t seat = *(mu_pool_seat_t *)arg;
    mu_pool_t *pool = seat.pool;
    free(arg);
    if (pool->start)
        pool->start();
    uint32_t seen = 0;
    for (;;) {
        seen = await_round(pool, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        do_part(pool, seat.index);
        if (atomic_fetch_sub(&pool->left, 1) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static void publish(mu_pool_t *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->round, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

mu_status_t mu_pool_new(int threads, void (*start)(void), mu_pool_t **out)
{
    mu_pool_t *pool = mu_calloc(1, sizeof *pool);
    pool->threads = threads;
    pool->start = start;
    pool->thread = mu_calloc((size_t)threads, sizeof *pool->thread);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    if (start)
        start();
    for (int i = 1; i < threads; i++) {
        mu_pool_seat_t *seat = mu_alloc(sizeof *seat);
        *seat = (mu_pool_seat_t){pool, i};
        int error = pthread_create(&pool->thread[i], NULL, work, seat);
        if (error) {
            free(seat);
            mu_pool_free(pool);
            return mu_fail(MU_NOMEM, "cpu: cannot start thread %d of %d: %s", i, threads, strerror(error));
        }
        pool->started++;
    }
    *out = pool;
    return MU_OK;
}

void mu_pool_run(mu_pool_t *pool, int64_t n, int64_t grain, mu_pool_job_t job, void *arg)
{
    if (n <= 0)
        return;
    pool->job = job;
    pool->arg = arg;
    if (pool->threads == 1 || n <= grain) {
        do_items(pool, 0, 0, n);
        return;
    }
    pool->n = n;
    pool->grain = grain;
    atomic_store(&pool->left, pool->threads - 1);
    publish(pool);
    do_part(pool, 0);
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->left) == 0)
            return;
        pause_a_little();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->left) > 0)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

void mu_pool_time(mu_pool_t *pool, int64_t *ns)
{
    pool->ns = ns;
}

void mu_pool_free(mu_pool_t *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stop, 1);
    publish(pool);
    for (int i = 1; i <= pool->started; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    free(pool->thread);
    free(pool);
}
