/*
 * A full screen on a terminal, by plain control sequences (ECMA-48 as xterm, tmux, screen and the Linux console know
 * them). The only file that writes them for a view. Standard output must be a terminal.
 *
 *     if (mu_terminal_able()) {
 *         mu_terminal_open();
 *         ... mu_terminal_size(); mu_terminal_draw(lines); mu_terminal_wait(1000) ...
 *         mu_terminal_close();
 *     }
 *
 * SIGINT, SIGTERM and SIGHUP end the wait with MU_TERMINAL_QUIT, so that the terminal is always restored; Ctrl-Z gives
 * the terminal back while the program is stopped. One at a time; it keeps its state in static variables, which signal
 * handlers need.
 */
#ifndef MU_LAUNCHER_REPORT_TERMINAL_H
#define MU_LAUNCHER_REPORT_TERMINAL_H

#include "common/status.h"
#include <stdbool.h>

typedef enum mu_terminal_event { MU_TERMINAL_TIMEOUT, MU_TERMINAL_KEY, MU_TERMINAL_QUIT } mu_terminal_event_t;

/* Whether standard output is a terminal with control sequences (TERM set, and not dumb). */
bool mu_terminal_able(void);
/* Whether the terminal's user reads UTF-8: by LC_ALL, LC_CTYPE, LANG, in this order; never on the Linux console, whose
 * fonts lack most of it. */
bool mu_terminal_utf8(void);
void mu_terminal_open(void);
void mu_terminal_size(int *columns, int *rows);
/* Lines separated by newlines, none wider than the screen; the first one is a title, shown inverse. Errors: MU_IO. */
mu_status_t mu_terminal_draw(const char *lines);
/* Until a key (q and Ctrl-C count as QUIT), a change of size (KEY), or the time is over. */
mu_terminal_event_t mu_terminal_wait(int ms);
/* Whether keys can be read: standard input is a terminal. */
bool mu_terminal_has_keys(void);
void mu_terminal_close(void);

#endif
