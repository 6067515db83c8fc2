#include "launcher/server.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "launcher/ports.h"

#include <errno.h>
#include <sodium.h>
#include <unistd.h>

enum { UNPROVEN_MAX = 256, ACCEPTS_AT_ONCE = 64 };
static const int64_t proof_limit_ns = 3000000000;

typedef struct peer {
    mu_link_t *link;
    int rank;
} peer_t;

struct mu_server {
    int door;
    uint8_t key[MU_CONTROL_KEY_BYTES];
    char address[64];
    peer_t *peer;
    int count, cap;
    struct pollfd *fds;
    int64_t faults[MU_CONTROL_FAULT_COUNT];
};

static bool bind_port(int fd, mu_address_t *address, int port)
{
    uint16_t net = htons((uint16_t)port);
    if (address->sa.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address->sa)->sin6_port = net;
    else
        ((struct sockaddr_in *)&address->sa)->sin_port = net;
    return bind(fd, (const struct sockaddr *)&address->sa, address->len) == 0 && listen(fd, 1024) == 0;
}

mu_status_t mu_server_open(const char *text, const uint8_t key[MU_CONTROL_KEY_BYTES], mu_server_t **out)
{
    char with_port[80];
    mu_address_t address;
    snprintf(with_port, sizeof with_port, strchr(text, ':') ? "[%s]:1" : "%s:1", text);
    if (!mu_address_parse(with_port, &address))
        return mu_fail(MU_NETWORK, "'%s': not a numeric address to listen on", text);
    int door = -1, tried = 0, first = (int)(mu_now_ns() / 1000 % MU_PORT_CONTROL_COUNT);
    for (; tried < MU_PORT_CONTROL_COUNT; tried++) {
        door = socket(address.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int one = 1; /* a port whose last connections still linger is free; one that is listened on is not */
        if (door >= 0)
            setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (door < 0 || bind_port(door, &address, MU_PORT_CONTROL + (first + tried) % MU_PORT_CONTROL_COUNT))
            break;
        close(door);
        door = -1;
        if (errno != EADDRINUSE)
            break;
    }
    if (door < 0)
        return mu_fail(MU_NETWORK, "%s, ports %d to %d: cannot listen: %s", text, MU_PORT_CONTROL,
                       MU_PORT_CONTROL + MU_PORT_CONTROL_COUNT - 1, strerror(errno));
    mu_server_t *server = mu_calloc(1, sizeof *server);
    server->door = door;
    memcpy(server->key, key, sizeof server->key);
    mu_address_format(&address, server->address, sizeof server->address);
    *out = server;
    return MU_OK;
}

static void drop(mu_server_t *server, int i)
{
    server->faults[mu_control_fault(server->peer[i].link->control)]++;
    mu_link_close(server->peer[i].link);
    server->peer[i] = server->peer[--server->count];
}

void mu_server_close(mu_server_t *server)
{
    if (!server)
        return;
    while (server->count > 0)
        drop(server, server->count - 1);
    close(server->door);
    sodium_memzero(server->key, sizeof server->key);
    free(server->peer);
    free(server->fds);
    free(server);
}

const char *mu_server_address(const mu_server_t *server)
{
    return server->address;
}

int mu_server_poll(mu_server_t *server, struct pollfd **fds)
{
    server->fds = mu_realloc(server->fds, (size_t)(server->count + 1) * sizeof *server->fds);
    server->fds[0] = (struct pollfd){server->door, POLLIN, 0};
    for (int i = 0; i < server->count; i++)
        server->fds[1 + i] =
            (struct pollfd){server->peer[i].link->fd, mu_link_events(server->peer[i].link), 0};
    *fds = server->fds;
    return server->count + 1;
}

static void let_in(mu_server_t *server)
{
    int unproven = 0;
    for (int i = 0; i < server->count; i++)
        unproven += server->peer[i].rank < 0;
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(server->door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (unproven++ >= UNPROVEN_MAX) {
            close(fd); /* whoever floods the door keeps nobody out who dials again */
            continue;
        }
        if (server->count == server->cap) {
            server->cap = server->cap ? 2 * server->cap : 64;
            server->peer = mu_realloc(server->peer, (size_t)server->cap * sizeof *server->peer);
        }
        server->peer[server->count++] = (peer_t){mu_link_accept(fd, server->key), -1};
    }
}

static void listen_to(peer_t *peer, mu_server_handler_t handler, void *arg)
{
    mu_message_t message;
    while (!peer->link->closed && mu_link_next(peer->link, &message)) {
        if (message.type == MU_MESSAGE_HELLO && peer->rank < 0) {
            if (handler(arg, -1, &message)) {
                peer->rank = (int)message.hello.rank;
                continue;
            }
            /* a rank of another attempt: it has the key, so it is ours, and it must not go on */
            mu_message_t kill = {.type = MU_MESSAGE_ORDER, .order = {.kill = 1}};
            mu_link_send(peer->link, &kill);
            peer->link->closed = true;
        } else if (peer->rank >= 0 && message.type != MU_MESSAGE_HELLO) {
            handler(arg, peer->rank, &message);
        } else {
            peer->link->closed = true; /* out of order: something before a hello, or a second one */
        }
    }
}

void mu_server_move(mu_server_t *server, const struct pollfd *fds, mu_server_handler_t handler, void *arg)
{
    int64_t now = mu_now_ns();
    int count = server->count; /* those that poll() knew; new ones come behind */
    for (int i = 0; i < count; i++) {
        if (!fds[1 + i].revents)
            continue;
        mu_link_move(server->peer[i].link, fds[1 + i].revents);
        listen_to(&server->peer[i], handler, arg);
    }
    if (fds[0].revents)
        let_in(server);
    for (int i = server->count - 1; i >= 0; i--) {
        peer_t *p = &server->peer[i];
        if (p->link->closed || (p->rank < 0 && now - p->link->since_ns > proof_limit_ns))
            drop(server, i);
    }
}

void mu_server_order(mu_server_t *server, int rank, const mu_order_t *order)
{
    mu_message_t message = {.type = MU_MESSAGE_ORDER, .order = *order};
    for (int i = 0; i < server->count; i++)
        if (server->peer[i].rank == rank)
            mu_link_send(server->peer[i].link, &message);
}

const int64_t *mu_server_faults(const mu_server_t *server)
{
    return server->faults;
}
