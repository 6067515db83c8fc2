/*
 * The way back: a socket that hosts connect to during preflight. Whoever sends the token gets "ok"; anyone
 * else gets nothing. It exists only while preflight runs.
 */
#ifndef MU_LAUNCHER_PREFLIGHT_BACK_H
#define MU_LAUNCHER_PREFLIGHT_BACK_H

#include "common/status.h"
#include <poll.h>

#define MU_BACK_CONNECTIONS 64
#define MU_BACK_FDS         (MU_BACK_CONNECTIONS + 1)

typedef struct mu_back mu_back_t;

/* Listens on all addresses, on `port`, or for 0 on the first free one of the control connections' ports
 * (launcher/mpi/ports.h), so that what is proven open is what guards will use. The token is 32 hex digits.
 * Errors: MU_NETWORK. */
mu_status_t mu_back_new(int port, const char *token, mu_back_t **out);
int mu_back_port(const mu_back_t *back);
/* Adds up to MU_BACK_FDS entries to poll; returns how many. Then, after poll(2), serves them. */
int mu_back_gather(mu_back_t *back, struct pollfd *fds);
void mu_back_serve(mu_back_t *back, const struct pollfd *fds, int count);
void mu_back_free(mu_back_t *back);

#endif
