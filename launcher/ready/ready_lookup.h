/*
 * Names looked up by threads, since getaddrinfo(3) blocks for as long as a name server pleases.
 *
 *     mu_lookup_new(threads, &lookup);
 *     mu_lookup_push(lookup, index, name, port, ask);   any number of times
 *     poll() on mu_lookup_fd(lookup); while (mu_lookup_pop(lookup, &found)) ...
 *     mu_lookup_free(lookup);                           never waits: a stuck thread frees its part later
 */
#ifndef MU_LAUNCHER_READY_LOOKUP_H
#define MU_LAUNCHER_READY_LOOKUP_H

#include "common/status.h"
#include <stdbool.h>
#include <sys/socket.h>

#define MU_LOOKUP_ADDRESSES 8

typedef struct mu_lookup mu_lookup_t;

typedef struct mu_found {
    int index;
    int error;      /* 0, or getaddrinfo's */
    bool proxied;   /* ssh goes through a proxy: nothing was looked up, connecting says nothing */
    char name[256]; /* the real ones, as looked up */
    int port;
    int count;
    struct sockaddr_storage address[MU_LOOKUP_ADDRESSES];
    socklen_t length[MU_LOOKUP_ADDRESSES];
} mu_found_t;

/* Errors: MU_BUG (no thread, no eventfd). */
mu_status_t mu_lookup_new(int threads, mu_lookup_t **out);
/* ask: a command line of `ssh -G` (mu_ssh_argv_ask) that tells the real name and port; it is taken. NULL:
 * `name` and `port` are real. */
void mu_lookup_push(mu_lookup_t *lookup, int index, const char *name, int port, char **ask);
int mu_lookup_fd(const mu_lookup_t *lookup);
bool mu_lookup_pop(mu_lookup_t *lookup, mu_found_t *out);
void mu_lookup_free(mu_lookup_t *lookup);

/* A numeric address without any thread; false for a name. */
bool mu_lookup_numeric(const char *name, int port, mu_found_t *out);

#endif
