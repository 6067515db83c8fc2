/*
 * Standard error, without ever waiting for whoever reads it.
 *
 * The launcher answers heartbeats. A terminal that is held with Ctrl-S, a pager, or a file on a busy disk
 * would keep it from that for as long as they like, and guards would end their ranks. So a thread writes, and
 * what it cannot take (its queue is full) is counted and said once there is room again, or at the end.
 *
 *     mu_screen_t *screen = mu_screen_open(STDERR_FILENO);     the log's lines go there too
 *     mu_screen_write(screen, bytes, n);
 *     mu_screen_close(screen, &signals);                        waits until all is written
 */
#ifndef MU_LAUNCHER_SCREEN_H
#define MU_LAUNCHER_SCREEN_H

#include <signal.h>
#include <stddef.h>

typedef struct mu_screen mu_screen_t;

enum { MU_SCREEN_BYTES = 1 << 20 }; /* that may be queued */

/* Becomes the log's sink. Without a thread (there is none to be had) writes happen at once. */
mu_screen_t *mu_screen_open(int fd);
/* All of it or, where the queue is full, nothing. Thread safe. */
void mu_screen_write(mu_screen_t *screen, const char *bytes, size_t n);
/* The log's lines as they are, after another sink had them. */
void mu_screen_log(mu_screen_t *screen);
/* Nothing depends on the caller any more: waits for the reader, however long, but when *signals grows meanwhile only a
 * second more. What is not read then is lost. The log gets stderr back. NULL is fine for both. */
void mu_screen_close(mu_screen_t *screen, const volatile sig_atomic_t *signals);

#endif
