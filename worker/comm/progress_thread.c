#include "worker/comm/progress_thread.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <time.h>

enum { QUEUES = 4 };

/* Between two looks at what is in flight: short beside a piece's transfer, long beside a look. */
static const struct timespec pause_between = {.tv_nsec = 50000};

struct mu_progress_thread {
    pthread_t thread;
    pthread_mutex_t lock;
    sem_t work;
    mu_queue_t *queue[QUEUES];
    int count;
    bool stop;
    /* Open MPI's switch for yielding in calls that find nothing to do, as ranks that share cores must.
     * The progress_thread only looks, and sleeps then: a yield would hand the core to the computation for some
     * milliseconds at each look. NULL: there is no such switch. */
    bool (*set_yield)(bool yield);
    bool crowded; /* ranks share cores */
};

static bool move_all(mu_progress_thread_t *m)
{
    bool any = false;
    for (int i = 0; i < m->count; i++) {
        mu_queue_move(m->queue[i]);
        any = mu_queue_oldest(m->queue[i]) != NULL || any;
    }
    return any;
}

/* Calls of MPI exclude each other, so the switch is back before the owner's next one. */
static bool look(mu_progress_thread_t *m)
{
    bool yields = m->set_yield && m->set_yield(false);
    bool any = move_all(m);
    if (yields)
        m->set_yield(true);
    return any;
}

static void *run(void *arg)
{
    mu_progress_thread_t *m = arg;
    for (;;) {
        pthread_mutex_lock(&m->lock);
        bool stop = m->stop, any = !stop && look(m);
        pthread_mutex_unlock(&m->lock);
        if (stop)
            return NULL;
        while (!any && sem_wait(&m->work) != 0) /* interrupted */
            ;
        /* also after a wake-up, which would else hold up the owner on the core that they may share */
        nanosleep(&pause_between, NULL);
    }
}

mu_status_t mu_progress_thread_new(mu_progress_thread_t **out)
{
    mu_progress_thread_t *m = mu_calloc(1, sizeof *m);
    *(void **)&m->set_yield = dlsym(RTLD_DEFAULT, "opal_progress_set_yield_when_idle");
    if (m->set_yield) {
        m->crowded = m->set_yield(true);
        m->set_yield(m->crowded);
    }
    pthread_mutex_init(&m->lock, NULL);
    sem_init(&m->work, 0, 0);
    if (pthread_create(&m->thread, NULL, run, m) != 0) {
        sem_destroy(&m->work);
        pthread_mutex_destroy(&m->lock);
        free(m);
        return mu_fail(MU_NOMEM, "no thread can be made to move collectives while the worker computes");
    }
    *out = m;
    return MU_OK;
}

void mu_progress_thread_free(mu_progress_thread_t *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_mutex_unlock(&m->lock);
    mu_progress_thread_wake(m);
    pthread_join(m->thread, NULL);
    sem_destroy(&m->work);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void mu_progress_thread_lock(mu_progress_thread_t *m)
{
    if (m)
        pthread_mutex_lock(&m->lock);
}

void mu_progress_thread_unlock(mu_progress_thread_t *m)
{
    if (m)
        pthread_mutex_unlock(&m->lock);
}

/* Where no core is free the movers of several ranks end up on one, whose rank is then late for all: each goes
 * with its owner. */
static void follow_owner(mu_progress_thread_t *m)
{
    cpu_set_t here;
    int cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return;
    CPU_ZERO(&here);
    CPU_SET((size_t)cpu, &here);
    (void)pthread_setaffinity_np(m->thread, sizeof here, &here); /* a matter of speed */
}

void mu_progress_thread_wake(mu_progress_thread_t *m)
{
    if (m->crowded)
        follow_owner(m);
    sem_post(&m->work);
}

void mu_progress_thread_pause(int64_t since)
{
    static const int64_t long_ns = 1000000;
    if (mu_now_ns() - since < long_ns)
        sched_yield();
    else
        nanosleep(&pause_between, NULL);
}

/* With the lock held. */
static int complete(mu_progress_thread_t *m, int rc, MPI_Request *request)
{
    int64_t began = mu_now_ns();
    for (int done = 0; rc == MPI_SUCCESS && !done;) {
        (void)move_all(m);
        rc = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (rc == MPI_SUCCESS && !done)
            mu_progress_thread_pause(began);
    }
    return rc;
}

int mu_progress_thread_send(mu_progress_thread_t *m, const void *buf, int count, MPI_Datatype type, int to,
                            int tag, MPI_Comm comm)
{
    MPI_Request request;
    if (!m)
        return MPI_Send(buf, count, type, to, tag, comm);
    mu_progress_thread_lock(m);
    int rc = complete(m, MPI_Isend(buf, count, type, to, tag, comm, &request), &request);
    mu_progress_thread_unlock(m);
    return rc;
}

int mu_progress_thread_recv(mu_progress_thread_t *m, void *buf, int count, MPI_Datatype type, int from,
                            int tag, MPI_Comm comm)
{
    MPI_Request request;
    if (!m)
        return MPI_Recv(buf, count, type, from, tag, comm, MPI_STATUS_IGNORE);
    mu_progress_thread_lock(m);
    int rc = complete(m, MPI_Irecv(buf, count, type, from, tag, comm, &request), &request);
    mu_progress_thread_unlock(m);
    return rc;
}

void mu_progress_thread_attach(mu_progress_thread_t *m, mu_queue_t *queue)
{
    mu_progress_thread_lock(m);
    if (m->count < QUEUES)
        m->queue[m->count++] = queue;
    mu_progress_thread_unlock(m);
}

void mu_progress_thread_detach(mu_progress_thread_t *m, mu_queue_t *queue)
{
    mu_progress_thread_lock(m);
    for (int i = 0; m && i < m->count; i++)
        if (m->queue[i] == queue)
            m->queue[i] = m->queue[--m->count];
    mu_progress_thread_unlock(m);
}
