/*
 * Standard error, without ever waiting for whoever reads it.
 *
 * The launcher answers heartbeats. A terminal that is held with Ctrl-S, a pager, or a file on a busy disk
 * would keep it from that for as long as they like, and guards would end their ranks. So a thread writes, and
 * what it cannot take (its queue is full) is counted and said once there is room again, or at the end.
 *
 *     mu_async_stderr_t *async_stderr = mu_async_stderr_open(STDERR_FILENO);     the log's lines go there too
 *     mu_async_stderr_write(async_stderr, bytes, n);
 *     mu_async_stderr_close(async_stderr, &signals);                        waits until all is written
 */
#ifndef MU_LAUNCHER_ASYNC_STDERR_H
#define MU_LAUNCHER_ASYNC_STDERR_H

#include <signal.h>
#include <stddef.h>

typedef struct mu_async_stderr mu_async_stderr_t;

enum { MU_SCREEN_BYTES = 1 << 20 }; /* that may be queued */

/* Becomes the log's sink. Without a thread (there is none to be had) writes happen at once. */
mu_async_stderr_t *mu_async_stderr_open(int fd);
/* All of it or, where the queue is full, nothing. Thread safe. */
void mu_async_stderr_write(mu_async_stderr_t *async_stderr, const char *bytes, size_t n);
/* The log's lines as they are, after another sink had them. */
void mu_async_stderr_log(mu_async_stderr_t *async_stderr);
/* Nothing depends on the caller any more: waits for the reader, however long, but when *signals grows meanwhile only a
 * second more. What is not read then is lost. The log gets stderr back. NULL is fine for both. */
void mu_async_stderr_close(mu_async_stderr_t *async_stderr, const volatile sig_atomic_t *signals);

#endif
