/*
 * A control connection on a non-blocking socket: mu_control_t plus a file descriptor, for a poll loop.
 *
 *     mu_link_dial(&address, key, &link)  or  mu_link_accept(fd, key, &link)
 *     poll(link->fd, mu_link_events(link))
 *     mu_link_move(link, revents);                    moves bytes both ways
 *     while (mu_link_next(link, &message)) ...
 *     if (link->closed) mu_link_close(link);
 *
 * Nothing here blocks or logs.
 */
#ifndef MU_COMMON_CONTROL_LINK_H
#define MU_COMMON_CONTROL_LINK_H

#include "common/control/control.h"
#include <netinet/in.h>
#include <sys/socket.h>

typedef struct mu_address {
    struct sockaddr_storage sa;
    socklen_t len;
} mu_address_t;

typedef struct mu_link {
    int fd;
    bool connecting;
    bool closed; /* by the peer, by an error, or by a fault of the protocol */
    int64_t since_ns;
    mu_control_t *control;
} mu_link_t;

/* "127.0.0.1:29000", "[::1]:29000"; numeric only, so nothing waits for a name server. */
bool mu_address_parse(const char *text, mu_address_t *out);
void mu_address_format(const mu_address_t *address, char *out, size_t size);

/* Starts to connect. False with errno set when not even that is possible. */
bool mu_link_dial(const mu_address_t *to, const uint8_t key[MU_CONTROL_KEY_BYTES], mu_link_t **out);
/* Takes over an accepted socket. */
mu_link_t *mu_link_accept(int fd, const uint8_t key[MU_CONTROL_KEY_BYTES]);
void mu_link_close(mu_link_t *link); /* NULL is fine */
short mu_link_events(const mu_link_t *link);
void mu_link_move(mu_link_t *link, short revents);
bool mu_link_next(mu_link_t *link, mu_message_t *out);
/* Seals the message and writes what the socket takes now. False: not open, or stuck (then closed is set). */
bool mu_link_send(mu_link_t *link, const mu_message_t *message);

#endif
