/*
 * An engine: `muster-worker serve` (or the ranks of `muster run`) as a child, and the socket to it.
 *
 *     mu_backend_start(dir, number, spawn, arg, model, &backend);
 *     poll for backend->listen_fd and backend->fd; mu_backend_pump(backend, take, arg) when one has something
 *     mu_backend_reap(backend)                           after SIGCHLD
 *     mu_backend_stop(backend);
 *
 * All under the server's lock, but mu_backend_send(), which any thread may call under it.
 */
#ifndef MU_LAUNCHER_BACKEND_H
#define MU_LAUNCHER_BACKEND_H

#include "common/control/engine_link.h"
#include "launcher/serve/served.h"
#include <sys/types.h>

typedef enum mu_backend_state {
    MU_BACKEND_LOADING, /* no hello yet */
    MU_BACKEND_WARMING, /* a first token is asked for */
    MU_BACKEND_READY,
    MU_BACKEND_DEAD /* its socket or its process ended */
} mu_backend_state_t;

/* In the child, which is to become the engine for the checkpoint, that dials `socket`. Returns only when it cannot. */
typedef mu_status_t (*mu_backend_spawn_t)(void *arg, const char *checkpoint, const char *socket);

typedef struct mu_backend {
    mu_backend_state_t state;
    mu_served_t *model;
    pid_t pid; /* 0: reaped */
    int exit;  /* exit code, or 128 + signal, once reaped */
    int listen_fd, fd;
    char *socket;
    mu_buf_t in, out;
    mu_engine_hello_t hello;
    int64_t jobs; /* sequences that it has to finish */
} mu_backend_t;

/* dir: one that only this user can enter. Takes one use of the model. Errors: MU_IO, MU_BUG. */
mu_status_t mu_backend_start(const char *dir, int number, mu_backend_spawn_t spawn, void *arg,
                             mu_served_t *model, mu_backend_t **out);
void mu_backend_send(mu_backend_t *backend, const mu_engine_message_t *message);
/* Called with each message of SCORE, TOKEN and DONE. */
typedef void (*mu_backend_take_t)(void *arg, mu_backend_t *backend, const mu_engine_message_t *message);
/* Accepts, reads and writes as far as it goes without waiting. */
void mu_backend_pump(mu_backend_t *backend, mu_backend_take_t take, void *arg);
/* Whether the process has ended; sets `exit`. */
bool mu_backend_reap(mu_backend_t *backend);
/* Closes the socket, at which the engine ends by itself; kills it when it does not. Frees all but the model. */
void mu_backend_stop(mu_backend_t *backend);

#endif
