#include "launcher/monitor/server.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/open_files.h"
#include "launcher/mpi/ports.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { UNPROVEN_MAX = 256, ACCEPTS_AT_ONCE = 64, EVENTS_AT_ONCE = 256, ROUNDS = 16, FILES_FOR_ELSE = 256 };
static const int64_t proof_limit_ns = 3000000000;

/* A connection. Lists are of pointers; a peer knows its places. */
typedef struct peer {
    mu_link_t *link;
    int rank;          /* -1: not proven */
    int at;            /* in server->peer */
    struct peer *next; /* of the same rank */
    uint32_t events;   /* that epoll watches */
    bool ended;        /* is in server->ended, to be dropped at the end of the turn */
} peer_t;

struct mu_server {
    int door, epoll;
    const uint8_t *key;
    char address[64];
    peer_t **peer; /* all */
    int count, cap, unproven;
    peer_t **of_rank; /* each the first of a chain */
    int ranks;
    peer_t **ended;
    int ended_count, ended_cap;
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

/* A listening socket on a free port; *address gets the port. */
static mu_status_t open_door(const char *text, mu_address_t *address, int *out)
{
    char with_port[80];
    snprintf(with_port, sizeof with_port, strchr(text, ':') ? "[%s]:1" : "%s:1", text);
    if (!mu_address_parse(with_port, address))
        return mu_fail(MU_NETWORK, "'%s': not a numeric address to listen on", text);
    int door = -1, tried = 0, first = (int)(mu_now_ns() / 1000 % MU_PORT_CONTROL_COUNT);
    for (; tried < MU_PORT_CONTROL_COUNT; tried++) {
        door = socket(address->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int one = 1; /* a port whose last connections still linger is free; one that is listened on is not */
        if (door >= 0)
            setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (door < 0 || bind_port(door, address, MU_PORT_CONTROL + (first + tried) % MU_PORT_CONTROL_COUNT))
            break;
        close(door);
        door = -1;
        if (errno != EADDRINUSE)
            break;
    }
    if (door < 0)
        return mu_fail(MU_NETWORK, "%s, ports %d to %d: cannot listen: %s", text, MU_PORT_CONTROL,
                       MU_PORT_CONTROL + MU_PORT_CONTROL_COUNT - 1, strerror(errno));
    *out = door;
    return MU_OK;
}

mu_status_t mu_server_open(const char *text, const uint8_t key[MU_CONTROL_KEY_BYTES], int ranks,
                           mu_server_t **out)
{
    char what[32];
    mu_address_t address;
    int door = -1;
    snprintf(what, sizeof what, "%d ranks", ranks);
    /* a guard that gets no answer dials up to twice more */
    int64_t others = UNPROVEN_MAX + FILES_FOR_ELSE;
    MU_TRY(mu_open_files_allow(ranks + others, 3 * (int64_t)ranks + others, what));
    MU_TRY(open_door(text, &address, &door));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, door, &event) != 0) {
        close(door);
        return mu_fail(MU_NETWORK, "cannot wait for connections: %s", strerror(errno));
    }
    mu_server_t *server = mu_calloc(1, sizeof *server);
    server->door = door;
    server->epoll = epoll;
    server->ranks = ranks;
    server->of_rank = mu_calloc((size_t)ranks, sizeof *server->of_rank);
    server->key = key;
    mu_address_format(&address, server->address, sizeof server->address);
    *out = server;
    return MU_OK;
}

/* ---- connections ---- */

static void add(mu_server_t *server, int fd)
{
    peer_t *peer = mu_calloc(1, sizeof *peer);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (server->count == server->cap) {
        server->cap = server->cap ? 2 * server->cap : 64;
        server->peer = mu_realloc(server->peer, (size_t)server->cap * sizeof(peer_t *));
    }
    *peer =
        (peer_t){.link = mu_link_accept(fd, server->key), .rank = -1, .at = server->count, .events = EPOLLIN};
    server->peer[server->count++] = peer;
    server->unproven++;
    if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        peer->link->closed = true; /* it goes when its time to prove itself is over */
}

static void give_rank(mu_server_t *server, peer_t *peer, int rank)
{
    peer->rank = rank;
    peer->next = server->of_rank[rank];
    server->of_rank[rank] = peer;
    server->unproven--;
}

static void drop(mu_server_t *server, peer_t *peer)
{
    server->faults[mu_control_fault(peer->link->control)]++;
    if (peer->rank < 0) {
        server->unproven--;
    } else {
        peer_t **p = &server->of_rank[peer->rank];
        while (*p != peer)
            p = &(*p)->next;
        *p = peer->next;
    }
    /* closing alone would not do: a child that was forked a moment ago may hold the socket until it executes
     */
    epoll_ctl(server->epoll, EPOLL_CTL_DEL, peer->link->fd, NULL);
    mu_link_close(peer->link);
    server->peer[peer->at] = server->peer[--server->count];
    server->peer[peer->at]->at = peer->at;
    free(peer);
}

static void end(mu_server_t *server, peer_t *peer)
{
    if (peer->ended)
        return;
    peer->ended = true;
    if (server->ended_count == server->ended_cap) {
        server->ended_cap = server->ended_cap ? 2 * server->ended_cap : 64;
        server->ended = mu_realloc(server->ended, (size_t)server->ended_cap * sizeof(peer_t *));
    }
    server->ended[server->ended_count++] = peer;
}

/* After anything was done with a peer: it may have ended, or have bytes left that the socket did not take. */
static void settle(mu_server_t *server, peer_t *peer)
{
    if (peer->link->closed) {
        end(server, peer);
        return;
    }
    uint32_t events = mu_link_events(peer->link) & POLLOUT ? EPOLLIN | EPOLLOUT : EPOLLIN;
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (events != peer->events && epoll_ctl(server->epoll, EPOLL_CTL_MOD, peer->link->fd, &event) == 0)
        peer->events = events;
}

void mu_server_close(mu_server_t *server)
{
    if (!server)
        return;
    while (server->count > 0)
        drop(server, server->peer[server->count - 1]);
    close(server->door);
    close(server->epoll);
    free(server->peer);
    free(server->of_rank);
    free(server->ended);
    free(server);
}

const char *mu_server_address(const mu_server_t *server)
{
    return server->address;
}

int mu_server_fd(const mu_server_t *server)
{
    return server->epoll;
}

int mu_server_count(const mu_server_t *server)
{
    return server->count;
}

/* ---- the turn ---- */

static void let_in(mu_server_t *server)
{
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(server->door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (server->unproven >= UNPROVEN_MAX)
            close(fd); /* whoever floods the door keeps nobody out who dials again */
        else
            add(server, fd);
    }
}

static void listen_to(mu_server_t *server, peer_t *peer, mu_server_handler_t handler, void *arg)
{
    mu_message_t message;
    while (!peer->link->closed && mu_link_next(peer->link, &message)) {
        if (message.type == MU_MESSAGE_HELLO && peer->rank < 0) {
            int64_t rank = message.hello.rank;
            if (rank >= 0 && rank < server->ranks && handler(arg, -1, &message)) {
                give_rank(server, peer, (int)rank);
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

static short poll_events(uint32_t events)
{
    return (short)((events & EPOLLIN ? POLLIN : 0) | (events & EPOLLOUT ? POLLOUT : 0) |
                   (events & EPOLLERR ? POLLERR : 0) | (events & EPOLLHUP ? POLLHUP : 0));
}

void mu_server_move(mu_server_t *server, mu_server_handler_t handler, void *arg)
{
    struct epoll_event event[EVENTS_AT_ONCE];
    int n = EVENTS_AT_ONCE;
    for (int round = 0; round < ROUNDS && n == EVENTS_AT_ONCE; round++) {
        bool knocks = false;
        n = epoll_wait(server->epoll, event, EVENTS_AT_ONCE, 0);
        for (int i = 0; i < n; i++) {
            peer_t *peer = event[i].data.ptr;
            if (!peer) {
                knocks = true;
                continue;
            }
            mu_link_move(peer->link, poll_events(event[i].events));
            listen_to(server, peer, handler, arg);
            settle(server, peer);
        }
        if (knocks)
            let_in(server);
        while (server->ended_count > 0)
            drop(server, server->ended[--server->ended_count]);
    }
    int64_t now = mu_now_ns();
    for (int i = server->count - 1; i >= 0 && server->unproven > 0; i--)
        if (server->peer[i]->rank < 0 && now - server->peer[i]->link->since_ns > proof_limit_ns)
            drop(server, server->peer[i]);
}

void mu_server_order(mu_server_t *server, int rank, const mu_order_t *order)
{
    mu_message_t message = {.type = MU_MESSAGE_ORDER, .order = *order};
    for (peer_t *peer = server->of_rank[rank]; peer; peer = peer->next) {
        mu_link_send(peer->link, &message);
        settle(server, peer);
    }
}

const int64_t *mu_server_faults(const mu_server_t *server)
{
    return server->faults;
}
