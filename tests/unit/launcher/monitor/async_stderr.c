/* Standard error that nobody reads: nothing waits for it, what is queued comes in order, what is not is counted. */
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/num.h"
#include "launcher/monitor/async_stderr.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

enum { LINES = 60000, LINE = 32 };

/* Everything that comes out of a pipe, read by a thread until the other end is closed. */
typedef struct reader {
    int fd;
    pthread_t thread;
    mu_buf_t text;
    _Atomic size_t seen;
} reader_t;

static void *read_all(void *arg)
{
    reader_t *r = arg;
    char piece[4096];
    for (ssize_t n; (n = read(r->fd, piece, sizeof piece)) > 0; r->seen = r->text.len)
        mu_buf_add(&r->text, piece, (size_t)n);
    return NULL;
}

static void begin_reading(reader_t *r, int fd)
{
    *r = (reader_t){.fd = fd, .text = MU_BUF_INIT};
    assert_int_equal(pthread_create(&r->thread, NULL, read_all, r), 0);
}

/* What came out: our lines, each after those before it, the log's, and how many the notes say are missing. */
typedef struct sum {
    int ours, logged, notes;
    long long missing;
} sum_t;

static sum_t sum_of(char *text)
{
    sum_t sum = {0};
    int64_t last = -1;
    for (char *line; (line = strsep(&text, "\n")) != NULL && text;) {
        long long count;
        if (sscanf(line, "muster: %lld lines are missing here: nobody read them", &count) == 1) {
            sum.notes++;
            sum.missing += count;
        } else if (strncmp(line, "muster: warning: late ", 22) == 0) {
            sum.logged++;
        } else {
            assert_int_equal(strlen(line), LINE - 1);
            int64_t number;
            assert_true(mu_parse_i64(line, &number) && number > last);
            last = number;
            sum.ours++;
        }
    }
    return sum;
}

static void nobody_reads_for(bool ever)
{
    int fd[2], late = 0;
    reader_t reader;
    assert_int_equal(pipe(fd), 0);
    mu_async_stderr_t *async_stderr = mu_async_stderr_open(fd[1]);
    /* more than queue and pipe hold: were any of these to wait, nobody would ever go on */
    for (int i = 0; i < LINES; i++) {
        char line[LINE + 1];
        snprintf(line, sizeof line, "%0*d\n", LINE - 1, i);
        mu_async_stderr_write(async_stderr, line, LINE);
    }
    begin_reading(&reader, fd[0]);
    while (!ever && late < 500) { /* there is room again, some time after the reader has begun */
        mu_sleep_ms(10);
        mu_warn("late %d", late++);
        if (reader.seen > MU_SCREEN_BYTES)
            break;
    }
    mu_async_stderr_close(async_stderr, NULL);
    close(fd[1]);
    pthread_join(reader.thread, NULL);
    sum_t sum = sum_of(reader.text.data);
    assert_true(sum.ours >= MU_SCREEN_BYTES / LINE - 100 && sum.ours < LINES);
    assert_true(sum.notes > 0);
    assert_int_equal(sum.ours + sum.logged + sum.missing, LINES + late);
    mu_buf_release(&reader.text);
    close(fd[0]);
}

static void nobody_reads(void **state)
{
    (void)state;
    nobody_reads_for(false);
}

/* The last lines are missing, and nothing comes after them. */
static void nobody_reads_to_the_end(void **state)
{
    (void)state;
    nobody_reads_for(true);
}

/* A reader that has gone, and a descriptor that does not block: neither stops the run, and the latter loses nothing. */
static void odd_descriptors(void **state)
{
    int fd[2];
    reader_t reader;
    (void)state;
    assert_int_equal(pipe(fd), 0);
    close(fd[0]);
    mu_async_stderr_t *async_stderr = mu_async_stderr_open(fd[1]);
    mu_async_stderr_write(async_stderr, "lost\n", 5);
    mu_async_stderr_close(async_stderr, NULL);
    close(fd[1]);
    mu_async_stderr_close(NULL, NULL);

    assert_int_equal(pipe2(fd, O_NONBLOCK), 0);
    async_stderr = mu_async_stderr_open(fd[1]);
    for (int i = 0; i < 20000; i++)
        mu_async_stderr_write(async_stderr, "0123456789abcdef\n", 17);
    mu_sleep_ms(20);
    assert_int_equal(fcntl(fd[0], F_SETFL, 0), 0);
    begin_reading(&reader, fd[0]);
    mu_async_stderr_close(async_stderr, NULL);
    close(fd[1]);
    pthread_join(reader.thread, NULL);
    assert_int_equal(reader.text.len, 20000 * 17);
    mu_buf_release(&reader.text);
    close(fd[0]);
}

static volatile sig_atomic_t signals;

static void count(int number)
{
    (void)number;
    signals++;
}

/* Nobody reads to the very end: what must end ends. */
static void a_signal_ends_the_wait(void **state)
{
    int fd[2];
    (void)state;
    assert_int_equal(pipe(fd), 0);
    static mu_async_stderr_t *async_stderr; /* it is left to its thread */
    async_stderr = mu_async_stderr_open(fd[1]);
    for (int i = 0; i < LINES; i++)
        mu_async_stderr_write(async_stderr, "0123456789abcdef\n", 17);
    signal(SIGALRM, count);
    alarm(1);
    mu_async_stderr_close(async_stderr, &signals);
    assert_int_equal(signals, 1);
    close(fd[0]); /* the thread's write fails, and it ends; fd[1] is its own */
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_reads),
        cmocka_unit_test(nobody_reads_to_the_end),
        cmocka_unit_test(odd_descriptors),
        cmocka_unit_test(a_signal_ends_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
