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

struct mu_screen {
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
static bool take(mu_screen_t *screen, char *piece, size_t *n)
{
    pthread_mutex_lock(&screen->lock);
    while (screen->count == 0 && !screen->ending)
        pthread_cond_wait(&screen->more, &screen->lock);
    size_t to_end = MU_SCREEN_BYTES - screen->first;
    *n = screen->count < PIECE ? screen->count : PIECE;
    if (*n > to_end)
        *n = to_end;
    memcpy(piece, screen->queue + screen->first, *n);
    screen->first = (screen->first + *n) % MU_SCREEN_BYTES;
    screen->count -= *n;
    pthread_mutex_unlock(&screen->lock);
    return *n > 0;
}

static void *write_for_ever(void *arg)
{
    mu_screen_t *screen = arg;
    char piece[PIECE];
    for (size_t n; take(screen, piece, &n);)
        write_all(screen->fd, piece, n);
    pthread_mutex_lock(&screen->lock);
    screen->done = true;
    pthread_cond_signal(&screen->more);
    pthread_mutex_unlock(&screen->lock);
    return NULL;
}

/* There is room, and the lock is held. */
static void put(mu_screen_t *screen, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        screen->queue[(screen->first + screen->count + i) % MU_SCREEN_BYTES] = bytes[i];
    screen->count += n;
}

static void note_dropped(const mu_screen_t *screen, char *out, size_t size)
{
    snprintf(out, size, "muster: %lld lines are missing here: nobody read them\n", screen->dropped);
}

void mu_screen_write(mu_screen_t *screen, const char *bytes, size_t n)
{
    if (!screen->threaded) {
        write_all(screen->fd, bytes, n);
        return;
    }
    char note[96] = "";
    pthread_mutex_lock(&screen->lock);
    if (screen->dropped > 0)
        note_dropped(screen, note, sizeof note);
    if (n + strlen(note) > MU_SCREEN_BYTES - screen->count) {
        screen->dropped++;
    } else {
        put(screen, note, strlen(note));
        put(screen, bytes, n);
        screen->dropped = 0;
    }
    pthread_cond_signal(&screen->more);
    pthread_mutex_unlock(&screen->lock);
}

static void sink(mu_log_level_t level, const char *line, void *arg)
{
    mu_buf_t text = MU_BUF_INIT;
    (void)level;
    mu_buf_addf(&text, "%s\n", line);
    mu_screen_write(arg, text.data, text.len);
    mu_buf_release(&text);
}

void mu_screen_log(mu_screen_t *screen)
{
    mu_log_sink_set(sink, screen);
}

mu_screen_t *mu_screen_open(int fd)
{
    mu_screen_t *screen = mu_calloc(1, sizeof *screen);
    sigset_t all, old;
    screen->fd = fd;
    screen->queue = mu_calloc(1, MU_SCREEN_BYTES);
    pthread_mutex_init(&screen->lock, NULL);
    pthread_cond_init(&screen->more, NULL);
    sigfillset(&all); /* signals are the launcher's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    screen->threaded = pthread_create(&screen->thread, NULL, write_for_ever, screen) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    mu_screen_log(screen);
    return screen;
}

/* Whether all is written; false when a signal has come and nobody reads in the second after it. */
static bool wait_for_thread(mu_screen_t *screen, const volatile sig_atomic_t *signals)
{
    int before = signals ? *signals : 0, waits = 0;
    pthread_mutex_lock(&screen->lock);
    screen->ending = true;
    pthread_cond_signal(&screen->more);
    while (!screen->done && waits < WAITS) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += WAIT_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        bool late = pthread_cond_timedwait(&screen->more, &screen->lock, &until) != 0;
        waits += late && signals && *signals != before;
    }
    bool done = screen->done;
    pthread_mutex_unlock(&screen->lock);
    return done;
}

void mu_screen_close(mu_screen_t *screen, const volatile sig_atomic_t *signals)
{
    if (!screen)
        return;
    mu_log_sink_set(NULL, NULL);
    if (screen->threaded && !wait_for_thread(screen, signals)) {
        pthread_detach(screen->thread); /* what it uses stays */
        return;
    }
    if (screen->threaded)
        pthread_join(screen->thread, NULL);
    if (screen->dropped > 0) { /* nothing came behind them */
        char note[96];
        note_dropped(screen, note, sizeof note);
        write_all(screen->fd, note, strlen(note));
    }
    pthread_cond_destroy(&screen->more);
    pthread_mutex_destroy(&screen->lock);
    free(screen->queue);
    free(screen);
}
