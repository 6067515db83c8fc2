/* The progress bar: what it says, that it draws on a terminal, and that nothing reaches a pipe. */
#include "common/clock.h"
#include "common/log.h"
#include "common/meter.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void it_says_share_rate_and_rest(void **state)
{
    (void)state;
    char line[256];
    mu_meter_text("prepare", MU_METER_BYTES, 512 << 20, 2048ull << 20, 10, 60, line, sizeof line);
    assert_string_equal(line, "prepare: 25 %, 512.00 MiB of 2.00 GiB, 53.7 MB/s, 0:30 left");
    mu_meter_text("prepare", MU_METER_BYTES, 512 << 20, 2048ull << 20, 10, 79, line, sizeof line);
    assert_string_equal(line,
                        "prepare [####..............] 25 %, 512.00 MiB of 2.00 GiB, 53.7 MB/s, 0:30 left");
    mu_meter_text("prepare", MU_METER_BYTES, 1 << 20, (uint64_t)1 << 40, 10, 79, line, sizeof line);
    assert_non_null(strstr(line, ", 0.1 MB/s, 2912:42:"));
    mu_meter_text("prepare", MU_METER_BYTES, 3 << 20, 0, 1.5, 79, line, sizeof line);
    assert_string_equal(line, "prepare: 3.00 MiB, 2.1 MB/s");
    mu_meter_text("prepare", MU_METER_BYTES, 5, 4, 2, 79, line, sizeof line); /* a file that grew */
    assert_non_null(strstr(line, "100 %"));
    mu_meter_text("eval", MU_METER_COUNT, 30, 120, 10, 79, line, sizeof line);
    assert_non_null(strstr(line, "25 %, 30 of 120, 3.0/s, 0:30 left"));
    mu_meter_text("eval", MU_METER_COUNT, 0, 0, 0, 79, line, sizeof line);
    assert_string_equal(line, "eval: 0, 0.0/s");
    for (int columns = 0; columns < 200; columns++) {
        mu_meter_text("a verb of some length", MU_METER_COUNT, 1 << 30, 1ull << 40, 1e6, columns, line,
                      sizeof line);
        assert_true(strlen(line) <= (size_t)columns);
    }
}

/* What reaches standard error while a bar is drawn for a moment; `to` is where it goes. */
static void draw(int to)
{
    int before = dup(STDERR_FILENO);
    assert_true(dup2(to, STDERR_FILENO) >= 0);
    mu_meter_begin("inspect", MU_METER_BYTES, 0);
    mu_meter_expect(1000);
    mu_sleep_ms(250);
    mu_meter_add(500);
    mu_info("a message");
    mu_sleep_ms(250);
    mu_meter_phase("inspect: more", MU_METER_COUNT, 7);
    mu_sleep_ms(250);
    mu_meter_add(1);
    mu_meter_end();
    mu_meter_add(1);
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
}

static size_t drain(int fd, char *out, size_t size)
{
    size_t n = 0;
    ssize_t got;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (n + 1 < size && (got = read(fd, out + n, size - 1 - n)) > 0)
        n += (size_t)got;
    out[n] = '\0';
    return n;
}

static void a_terminal_is_drawn_on(void **state)
{
    (void)state;
    char text[4096];
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0)
        fail_msg("no pseudo terminal");
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    setenv("TERM", "xterm", 1);
    draw(terminal);
    drain(master, text, sizeof text);
    assert_non_null(strstr(text, "50 %, 500 B of 1000 B"));
    assert_non_null(strstr(text, "a message"));
    assert_non_null(strstr(text, "inspect: more ["));
    assert_string_equal(text + strlen(text) - 4, "\r\033[K");
    setenv("TERM", "dumb", 1);
    draw(terminal);
    drain(master, text, sizeof text);
    assert_null(strchr(text, '\033'));
    close(terminal);
    close(master);
}

static void a_pipe_is_not(void **state)
{
    (void)state;
    char text[4096];
    int end[2];
    assert_int_equal(pipe(end), 0);
    setenv("TERM", "xterm", 1);
    draw(end[1]);
    drain(end[0], text, sizeof text);
    assert_null(strchr(text, '\033'));
    assert_null(strstr(text, "inspect"));
    assert_non_null(strstr(text, "a message"));
    close(end[0]);
    close(end[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_share_rate_and_rest),
        cmocka_unit_test(a_terminal_is_drawn_on),
        cmocka_unit_test(a_pipe_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
