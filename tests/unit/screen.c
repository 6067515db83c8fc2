/* Standard error that nobody reads: nothing waits for it, what is queued comes in order, what is not is counted. */
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "launcher/screen.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
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

static void nobody_reads(void **state)
{
    int fd[2], kept = 0;
    reader_t reader;
    (void)state;
    assert_int_equal(pipe(fd), 0);
    mu_screen_t *screen = mu_screen_open(fd[1]);
    /* more than queue and pipe hold: were any of these to wait, nobody would ever go on */
    for (int i = 0; i < LINES; i++) {
        char line[LINE + 1];
        snprintf(line, sizeof line, "%0*d\n", LINE - 1, i);
        mu_screen_write(screen, line, LINE);
    }
    begin_reading(&reader, fd[0]);
    for (int i = 0; i < 500; i++) { /* there is room again, some time after the reader has begun */
        mu_sleep_ms(10);
        mu_warn("late %d", i);
        if (reader.seen > MU_SCREEN_BYTES)
            break;
    }
    mu_screen_close(screen);
    close(fd[1]);
    pthread_join(reader.thread, NULL);
    mu_buf_t *text = &reader.text;
    /* the first lines in order, then a note of how many are missing, then the log's */
    for (; (size_t)(kept + 1) * LINE <= text->len && text->data[(size_t)kept * LINE] == '0'; kept++) {
        char line[LINE + 1];
        snprintf(line, sizeof line, "%0*d\n", LINE - 1, kept);
        assert_memory_equal(text->data + (size_t)kept * LINE, line, LINE);
    }
    assert_true(kept >= MU_SCREEN_BYTES / LINE && kept < LINES);
    const char *note = text->data + (size_t)kept * LINE;
    long long missing = strtoll(note + strlen("muster: "), NULL, 10);
    assert_memory_equal(note, "muster: ", 8);
    assert_non_null(strstr(note, " lines are missing here: nobody read them\nmuster: warning: late "));
    assert_true(missing >= LINES - kept && missing < LINES - kept + 500);
    mu_buf_release(text);
    close(fd[0]);
}

/* A reader that has gone, and a descriptor that does not block: neither stops the run, and the latter loses nothing. */
static void odd_descriptors(void **state)
{
    int fd[2];
    reader_t reader;
    (void)state;
    assert_int_equal(pipe(fd), 0);
    close(fd[0]);
    mu_screen_t *screen = mu_screen_open(fd[1]);
    mu_screen_write(screen, "lost\n", 5);
    mu_screen_close(screen);
    close(fd[1]);
    mu_screen_close(NULL);

    assert_int_equal(pipe2(fd, O_NONBLOCK), 0);
    screen = mu_screen_open(fd[1]);
    for (int i = 0; i < 20000; i++)
        mu_screen_write(screen, "0123456789abcdef\n", 17);
    mu_sleep_ms(20);
    assert_int_equal(fcntl(fd[0], F_SETFL, 0), 0);
    begin_reading(&reader, fd[0]);
    mu_screen_close(screen);
    close(fd[1]);
    pthread_join(reader.thread, NULL);
    assert_int_equal(reader.text.len, 20000 * 17);
    mu_buf_release(&reader.text);
    close(fd[0]);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_reads),
        cmocka_unit_test(odd_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
