#include "launcher/report/terminal.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* Alternate screen, no cursor, no wrapping of long lines; and back. */
#define ENTER "\033[?1049h\033[?25l\033[?7l\033[H\033[J"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

static volatile sig_atomic_t asked_to_quit, asked_to_stop, resized;
static struct termios before;
static bool keys; /* `before` holds the modes to restore */

static void note_signal(int number)
{
    if (number == SIGWINCH || number == SIGCONT)
        resized = 1;
    else if (number == SIGTSTP)
        asked_to_stop = 1;
    else
        asked_to_quit = 1;
}

bool mu_terminal_able(void)
{
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

bool mu_terminal_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    const char *term = getenv("TERM"), *value = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && (!value || !*value); i++)
        value = getenv(names[i]);
    return value && (strcasestr(value, "utf-8") || strcasestr(value, "utf8")) &&
           !(term && strcmp(term, "linux") == 0);
}

bool mu_terminal_has_keys(void)
{
    return isatty(STDIN_FILENO);
}

static void enter(void)
{
    /* a program in the background may not change the modes: it would be stopped */
    keys = mu_terminal_has_keys() && tcgetpgrp(STDIN_FILENO) == getpgrp() &&
           tcgetattr(STDIN_FILENO, &before) == 0;
    if (keys) {
        struct termios now = before;
        now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        now.c_cc[VMIN] = 0;
        now.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &now);
    }
    mu_write_all(STDOUT_FILENO, ENTER, strlen(ENTER));
}

static void leave(void)
{
    mu_write_all(STDOUT_FILENO, LEAVE, strlen(LEAVE));
    if (keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    keys = false;
}

void mu_terminal_open(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH};
    struct sigaction action = {.sa_handler = note_signal}; /* no SA_RESTART: a signal ends the wait */
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
    enter();
}

void mu_terminal_size(int *columns, int *rows)
{
    struct winsize size = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
        size = (struct winsize){.ws_col = 80, .ws_row = 24};
    *columns = size.ws_col;
    *rows = size.ws_row;
}

/* In one write, so that nothing flickers over a slow ssh. A line is cleared before it is written: after one that fills
 * the width the cursor stands on its last cell. */
mu_status_t mu_terminal_draw(const char *lines)
{
    mu_buf_t out = MU_BUF_INIT;
    int columns, rows, count = 1;
    mu_terminal_size(&columns, &rows);
    mu_buf_adds(&out, "\033[H");
    for (bool first = true;; first = false, count++) {
        size_t n = strcspn(lines, "\n");
        mu_buf_addf(&out, "\033[K%s%.*s%s", first ? "\033[7m" : "", (int)n, lines, first ? "\033[0m" : "");
        lines += n;
        if (!*lines || !lines[1])
            break;
        mu_buf_adds(&out, "\r\n");
        lines++;
    }
    if (count < rows)
        mu_buf_adds(&out, "\r\n\033[J");
    bool written = mu_write_all(STDOUT_FILENO, out.data, out.len);
    mu_buf_release(&out);
    return written ? MU_OK : mu_fail(MU_IO, "standard output: cannot write: %s", strerror(errno));
}

/* The terminal as it was, then stopped as anybody would be; on from here after SIGCONT. */
static void stop_myself(void)
{
    asked_to_stop = 0;
    leave();
    raise(SIGSTOP);
    enter();
}

/* Of the keys that came: whether one asks to quit. No more input means that the terminal is gone. */
static mu_terminal_event_t read_keys(bool gone)
{
    char typed[64];
    ssize_t n = read(STDIN_FILENO, typed, sizeof typed);
    if (n <= 0)
        return gone ? MU_TERMINAL_QUIT : MU_TERMINAL_TIMEOUT;
    for (ssize_t i = 0; i < n; i++)
        if (typed[i] == 'q' || typed[i] == 'Q' || typed[i] == 3)
            return MU_TERMINAL_QUIT;
    return MU_TERMINAL_KEY;
}

mu_terminal_event_t mu_terminal_wait(int ms)
{
    int64_t until = mu_now_ns() + (int64_t)ms * 1000000;
    for (;;) {
        int64_t left = (until - mu_now_ns() + 999999) / 1000000;
        if (asked_to_quit)
            return MU_TERMINAL_QUIT;
        if (asked_to_stop)
            stop_myself();
        if (resized) {
            resized = 0;
            return MU_TERMINAL_KEY;
        }
        if (left <= 0)
            return MU_TERMINAL_TIMEOUT;
        struct pollfd p = {keys ? STDIN_FILENO : -1, POLLIN, 0};
        if (poll(&p, 1, (int)(left < 1000 ? left : 1000)) > 0) {
            mu_terminal_event_t event = read_keys((p.revents & (POLLHUP | POLLERR)) != 0);
            if (event != MU_TERMINAL_TIMEOUT)
                return event;
        }
    }
}

void mu_terminal_close(void)
{
    leave();
}
