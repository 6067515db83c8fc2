#include "launcher/monitor/async_stderr.h"
#include "common/buf.h"
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 16384, WAIT_MS = 100, WAITS = 10 /* after a signal */ };

struct mu_async_stderr {
    int fd;
    bool threaded, ending, done; /* done: the thread has ended */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    char *queue; /* a ring */
    size_t first, count;
    long long dropped; /* writes, since the last note about them */
};

static void write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t w = write(fd, bytes, n);
        struct pollfd room = {fd, POLLOUT, 0};
        if (w < 0 && errno == EAGAIN)
            poll(&room, 1, -1); /* somebody else has made it non-blocking */
        if (w < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (w <= 0)
            return; /* nobody reads it any more: the run goes on */
        bytes += w;
        n -= (size_t)w;
    }
}

/* Takes what is next out of the queue; false when there is nothing and nothing will come. */
static bool take(mu_async_stderr_t *async_stderr, char *piece, size_t *n)
{
    pthread_mutex_lock(&async_stderr->lock);
    while (async_stderr->count == 0 && !async_stderr->ending)
        pthread_cond_wait(&async_stderr->more, &async_stderr->lock);
    size_t to_end = MU_SCREEN_BYTES - async_stderr->first;
    *n = async_stderr->count < PIECE ? async_stderr->count : PIECE;
    if (*n > to_end)
        *n = to_end;
    memcpy(piece, async_stderr->queue + async_stderr->first, *n);
    async_stderr->first = (async_stderr->first + *n) % MU_SCREEN_BYTES;
    async_stderr->count -= *n;
    pthread_mutex_unlock(&async_stderr->lock);
    return *n > 0;
}

static void *write_for_ever(void *arg)
{
    mu_async_stderr_t *async_stderr = arg;
    char piece[PIECE];
    for (size_t n; take(async_stderr, piece, &n);)
        write_all(async_stderr->fd, piece, n);
    pthread_mutex_lock(&async_stderr->lock);
    async_stderr->done = true;
    pthread_cond_signal(&async_stderr->more);
    pthread_mutex_unlock(&async_stderr->lock);
    return NULL;
}

/* There is room, and the lock is held. */
static void put(mu_async_stderr_t *async_stderr, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        async_stderr->queue[(async_stderr->first + async_stderr->count + i) % MU_SCREEN_BYTES] = bytes[i];
    async_stderr->count += n;
}

static void note_dropped(const mu_async_stderr_t *async_stderr, char *out, size_t size)
{
    snprintf(out, size, "muster: %lld lines are missing here: nobody read them\n", async_stderr->dropped);
}

void mu_async_stderr_write(mu_async_stderr_t *async_stderr, const char *bytes, size_t n)
{
    if (!async_stderr->threaded) {
        write_all(async_stderr->fd, bytes, n);
        return;
    }
    char note[96] = "";
    pthread_mutex_lock(&async_stderr->lock);
    if (async_stderr->dropped > 0)
        note_dropped(async_stderr, note, sizeof note);
    if (n + strlen(note) > MU_SCREEN_BYTES - async_stderr->count) {
        async_stderr->dropped++;
    } else {
        put(async_stderr, note, strlen(note));
        put(async_stderr, bytes, n);
        async_stderr->dropped = 0;
    }
    pthread_cond_signal(&async_stderr->more);
    pthread_mutex_unlock(&async_stderr->lock);
}

static void sink(mu_log_level_t level, const char *line, void *arg)
{
    mu_buf_t text = MU_BUF_INIT;
    (void)level;
    mu_buf_addf(&text, "%s\n", line);
    mu_async_stderr_write(arg, text.data, text.len);
    mu_buf_release(&text);
}

void mu_async_stderr_log(mu_async_stderr_t *async_stderr)
{
    mu_log_sink_set(sink, async_stderr);
}

mu_async_stderr_t *mu_async_stderr_open(int fd)
{
    mu_async_stderr_t *async_stderr = mu_calloc(1, sizeof *async_stderr);
    sigset_t all, old;
    async_stderr->fd = fd;
    async_stderr->queue = mu_calloc(1, MU_SCREEN_BYTES);
    pthread_mutex_init(&async_stderr->lock, NULL);
    pthread_cond_init(&async_stderr->more, NULL);
    sigfillset(&all); /* signals are the launcher's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    async_stderr->threaded = pthread_create(&async_stderr->thread, NULL, write_for_ever, async_stderr) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    mu_async_stderr_log(async_stderr);
    return async_stderr;
}

/* Whether all is written; false when a signal has come and nobody reads in the second after it. */
static bool wait_for_thread(mu_async_stderr_t *async_stderr, const volatile sig_atomic_t *signals)
{
    int before = signals ? *signals : 0, waits = 0;
    pthread_mutex_lock(&async_stderr->lock);
    async_stderr->ending = true;
    pthread_cond_signal(&async_stderr->more);
    while (!async_stderr->done && waits < WAITS) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += WAIT_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        bool late = pthread_cond_timedwait(&async_stderr->more, &async_stderr->lock, &until) != 0;
        waits += late && signals && *signals != before;
    }
    bool done = async_stderr->done;
    pthread_mutex_unlock(&async_stderr->lock);
    return done;
}

void mu_async_stderr_close(mu_async_stderr_t *async_stderr, const volatile sig_atomic_t *signals)
{
    if (!async_stderr)
        return;
    mu_log_sink_set(NULL, NULL);
    if (async_stderr->threaded && !wait_for_thread(async_stderr, signals)) {
        pthread_detach(async_stderr->thread); /* what it uses stays */
        return;
    }
    if (async_stderr->threaded)
        pthread_join(async_stderr->thread, NULL);
    if (async_stderr->dropped > 0) { /* nothing came after them */
        char note[96];
        note_dropped(async_stderr, note, sizeof note);
        write_all(async_stderr->fd, note, strlen(note));
    }
    pthread_cond_destroy(&async_stderr->more);
    pthread_mutex_destroy(&async_stderr->lock);
    free(async_stderr->queue);
    free(async_stderr);
}
