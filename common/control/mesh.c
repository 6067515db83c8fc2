#include "common/control/mesh.h"
#include "common/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct connection {
    int fd; /* -1: free */
    size_t got;
    char token[MU_MESH_TOKEN + 1];
    unsigned long arrival;
} connection_t;

typedef enum step {
    STEP_CONNECT,
    STEP_TOKEN, /* sent; "t" is to come */
    STEP_BYTES, /* being sent */
    STEP_LAST,  /* all sent; "p" is to come */
    STEP_DONE
} step_t;

typedef struct dial {
    int fd; /* -1: done */
    step_t step;
    size_t sent;
    mu_mesh_result_t result;
} dial_t;

struct mu_mesh {
    int fd;
    mu_mesh_peer_t self;
    char token[MU_MESH_TOKEN + 2]; /* with its newline */
    unsigned long arrivals;
    connection_t connection[MU_MESH_CONNECTIONS];
    dial_t dial[MU_MESH_PEERS];
    int dials;
    int64_t deadline_ns;
};

static const char payload[16384]; /* what the bytes are does not matter */

/* ---- words ---- */

static const struct {
    const char *word, *text;
} results[] = {
#define MU_MESH_ROW(name, word, text) {word, text},
    MU_MESH_TABLE(MU_MESH_ROW)
#undef MU_MESH_ROW
};

const char *mu_mesh_word(mu_mesh_result_t result)
{
    return results[result].word;
}

const char *mu_mesh_text(mu_mesh_result_t result)
{
    return results[result].text;
}

bool mu_mesh_of_word(const char *word, mu_mesh_result_t *out)
{
    for (int i = 0; word && i < MU_MESH_RESULTS; i++)
        if (strcmp(word, results[i].word) == 0) {
            *out = (mu_mesh_result_t)i;
            return true;
        }
    return false;
}

/* ---- sockets ---- */

static bool resolve(const char *address, int port, struct sockaddr_storage *out, socklen_t *length)
{
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST}, *list;
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(address, service, &hints, &list) != 0)
        return false;
    memcpy(out, list->ai_addr, list->ai_addrlen);
    *length = list->ai_addrlen;
    freeaddrinfo(list);
    return true;
}

static int open_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int listen_at(const char *address, int port)
{
    struct sockaddr_storage own;
    socklen_t length;
    errno = EADDRNOTAVAIL;
    if (!resolve(address, port, &own, &length))
        return -1;
    int fd = open_socket(own.ss_family);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&own, length) == 0 && listen(fd, 1024) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

bool mu_mesh_new(const char *interfaces, const char *instead, int port, int ports, const char *token,
                 mu_buf_t *why, mu_mesh_t **out)
{
    mu_mesh_t *mesh = mu_calloc(1, sizeof *mesh);
    mu_buf_t have = MU_BUF_INIT;
    mu_buf_clear(why);
    mesh->fd = -1;
    for (int i = 0; i < MU_MESH_CONNECTIONS; i++)
        mesh->connection[i].fd = -1;
    snprintf(mesh->token, sizeof mesh->token, "%.*s\n", MU_MESH_TOKEN, token);
    if (!mu_interface_address(interfaces, mesh->self.address, &have)) {
        mu_buf_addf(why, "no address of %s" MU_MESH_HAS "%s)", interfaces,
                    have.len ? have.data : "none at all");
        if (!instead || !mu_interface_address(instead, mesh->self.address, &have))
            goto fail;
    }
    errno = EADDRINUSE;
    for (int i = 0; i < ports && mesh->fd < 0 && errno == EADDRINUSE; i++) {
        mesh->self.port = port + i;
        mesh->fd = listen_at(mesh->self.address, port + i);
    }
    if (mesh->fd < 0) {
        mu_buf_clear(why);
        mu_buf_addf(why, "cannot listen on %s, ports %d to %d: %s", mesh->self.address, port,
                    port + ports - 1, strerror(errno));
        goto fail;
    }
    mu_buf_release(&have);
    *out = mesh;
    return true;
fail:
    mu_buf_release(&have);
    mu_mesh_free(mesh);
    return false;
}

mu_mesh_peer_t mu_mesh_self(const mu_mesh_t *mesh)
{
    return mesh->self;
}

/* ---- connections ---- */

static void dismiss(connection_t *connection)
{
    close(connection->fd);
    *connection = (connection_t){.fd = -1};
}

static connection_t *place_for(mu_mesh_t *mesh)
{
    connection_t *first = &mesh->connection[0];
    for (int i = 0; i < MU_MESH_CONNECTIONS; i++) {
        if (mesh->connection[i].fd < 0)
            return &mesh->connection[i];
        if (mesh->connection[i].arrival < first->arrival)
            first = &mesh->connection[i];
    }
    dismiss(first);
    return first;
}

/* Takes one read's bytes; false when the connection is to leave. */
static bool take(const mu_mesh_t *mesh, connection_t *connection)
{
    enum { LINE = MU_MESH_TOKEN + 1, ALL = LINE + MU_MESH_BYTES };
    char bytes[16384];
    bool greets = connection->got < LINE;
    ssize_t n = greets ? recv(connection->fd, connection->token + connection->got, LINE - connection->got, 0)
                       : recv(connection->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return false;
    connection->got += (size_t)n;
    if (greets && connection->got == LINE)
        return sodium_memcmp(connection->token, mesh->token, LINE) == 0 &&
               send(connection->fd, "t", 1, MSG_NOSIGNAL) == 1;
    /* the dialer hangs up first, so that its port waits out TCP's time, not ours, which a rank may want next */
    return connection->got < ALL ||
           (connection->got == ALL && send(connection->fd, "p", 1, MSG_NOSIGNAL) == 1);
}

static void welcome(mu_mesh_t *mesh)
{
    for (int fd; (fd = accept4(mesh->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        *place_for(mesh) = (connection_t){.fd = fd, .arrival = ++mesh->arrivals};
    }
}

/* ---- dialing ---- */

static void end_dial(dial_t *dial, mu_mesh_result_t result)
{
    if (dial->fd >= 0)
        close(dial->fd);
    *dial = (dial_t){.fd = -1, .step = STEP_DONE, .result = result};
}

static mu_mesh_result_t of_errno(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return MU_MESH_REFUSED;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EADDRNOTAVAIL:
        return MU_MESH_NO_ROUTE;
    case ETIMEDOUT:
        return MU_MESH_TIMED_OUT;
    case ECONNRESET:
    case EPIPE:
        return MU_MESH_CLOSED;
    default:
        return MU_MESH_FAILED;
    }
}

static void begin_dial(const mu_mesh_peer_t *peer, dial_t *dial)
{
    struct sockaddr_storage address;
    socklen_t length;
    *dial = (dial_t){.fd = -1};
    if (!resolve(peer->address, peer->port, &address, &length) ||
        (dial->fd = open_socket(address.ss_family)) < 0) {
        end_dial(dial, MU_MESH_FAILED);
        return;
    }
    setsockopt(dial->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(dial->fd, (struct sockaddr *)&address, length) != 0 && errno != EINPROGRESS)
        end_dial(dial, of_errno(errno));
}

void mu_mesh_dial(mu_mesh_t *mesh, const mu_mesh_peer_t *peer, int n, int64_t deadline_ns)
{
    for (int i = 0; i < mesh->dials; i++)
        end_dial(&mesh->dial[i], MU_MESH_FAILED);
    mesh->dials = n < MU_MESH_PEERS ? n : MU_MESH_PEERS;
    mesh->deadline_ns = deadline_ns;
    for (int i = 0; i < mesh->dials; i++)
        begin_dial(&peer[i], &mesh->dial[i]);
}

static void send_token(const mu_mesh_t *mesh, dial_t *dial)
{
    int error = 0;
    socklen_t size = sizeof error;
    ssize_t all = MU_MESH_TOKEN + 1;
    if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error)
        end_dial(dial, of_errno(error));
    else if (send(dial->fd, mesh->token, (size_t)all, MSG_NOSIGNAL) != all)
        end_dial(dial, MU_MESH_CLOSED);
    else
        dial->step = STEP_TOKEN;
}

static void send_bytes(dial_t *dial)
{
    while (dial->sent < MU_MESH_BYTES) {
        size_t left = MU_MESH_BYTES - dial->sent;
        ssize_t n = send(dial->fd, payload, left < sizeof payload ? left : sizeof payload, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            end_dial(dial, of_errno(errno));
            return;
        }
        dial->sent += (size_t)n;
    }
    dial->step = STEP_LAST;
}

static void hear_answer(dial_t *dial)
{
    char answer;
    ssize_t n = recv(dial->fd, &answer, 1, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        end_dial(dial, of_errno(errno));
    else if (n == 1 && dial->step == STEP_TOKEN && answer == 't')
        dial->step = STEP_BYTES;
    else if (n == 1 && dial->step == STEP_LAST && answer == 'p')
        end_dial(dial, MU_MESH_OK);
    else
        end_dial(dial, MU_MESH_CLOSED);
}

static void advance(const mu_mesh_t *mesh, dial_t *dial)
{
    if (dial->step == STEP_CONNECT)
        send_token(mesh, dial);
    else if (dial->step == STEP_BYTES)
        send_bytes(dial);
    else
        hear_answer(dial);
}

static mu_mesh_result_t too_late(step_t step)
{
    return step == STEP_CONNECT ? MU_MESH_TIMED_OUT : step == STEP_TOKEN ? MU_MESH_NO_ANSWER : MU_MESH_STUCK;
}

/* ---- the loop ---- */

/* Open ones only: poll refuses more entries than the process may have files, whatever is in them. */
int mu_mesh_gather(const mu_mesh_t *mesh, struct pollfd *fds)
{
    int n = 0;
    fds[n++] = (struct pollfd){mesh->fd, POLLIN, 0};
    for (int i = 0; i < mesh->dials; i++) {
        const dial_t *dial = &mesh->dial[i];
        bool writes = dial->step == STEP_CONNECT || dial->step == STEP_BYTES;
        if (dial->fd >= 0)
            fds[n++] = (struct pollfd){dial->fd, writes ? POLLOUT : POLLIN, 0};
    }
    for (int i = 0; i < MU_MESH_CONNECTIONS; i++)
        if (mesh->connection[i].fd >= 0)
            fds[n++] = (struct pollfd){mesh->connection[i].fd, POLLIN, 0};
    return n;
}

/* The order is that of mu_mesh_gather(), since which nothing was opened or closed. */
void mu_mesh_serve(mu_mesh_t *mesh, const struct pollfd *fds)
{
    const struct pollfd *next = fds + 1;
    bool late = mu_now_ns() >= mesh->deadline_ns;
    for (int i = 0; i < mesh->dials; i++) {
        dial_t *dial = &mesh->dial[i];
        if (dial->fd >= 0 && next++->revents)
            advance(mesh, dial);
        if (dial->fd >= 0 && late)
            end_dial(dial, too_late(dial->step));
    }
    for (int i = 0; i < MU_MESH_CONNECTIONS; i++)
        if (mesh->connection[i].fd >= 0 && next++->revents && !take(mesh, &mesh->connection[i]))
            dismiss(&mesh->connection[i]);
    welcome(mesh);
}

bool mu_mesh_done(const mu_mesh_t *mesh)
{
    for (int i = 0; i < mesh->dials; i++)
        if (mesh->dial[i].step != STEP_DONE)
            return false;
    return true;
}

mu_mesh_result_t mu_mesh_result(const mu_mesh_t *mesh, int peer)
{
    return mesh->dial[peer].result;
}

void mu_mesh_free(mu_mesh_t *mesh)
{
    if (!mesh)
        return;
    for (int i = 0; i < mesh->dials; i++)
        if (mesh->dial[i].fd >= 0)
            close(mesh->dial[i].fd);
    for (int i = 0; i < MU_MESH_CONNECTIONS; i++)
        if (mesh->connection[i].fd >= 0)
            close(mesh->connection[i].fd);
    if (mesh->fd >= 0)
        close(mesh->fd);
    free(mesh);
}
