#include "launcher/preflight/preflight_back.h"
#include "common/buf.h"
#include "common/log.h"
#include "launcher/mpi/ports.h"

#include <errno.h>
#include <netinet/in.h>
#include <sodium.h>
#include <sys/socket.h>
#include <unistd.h>

#define TOKEN 32

typedef struct connection {
    int fd; /* -1: free */
    size_t got;
    char bytes[TOKEN + 1];
    unsigned long since; /* order of arrival */
} connection_t;

struct mu_back {
    int fd, port;
    char token[TOKEN + 1];
    unsigned long arrivals;
    connection_t connection[MU_BACK_CONNECTIONS];
};

/* One socket for both families; a machine without IPv6 gets one for IPv4. */
static int listen_on(int port)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (fd < 0 || bind(fd, (struct sockaddr *)&a6, sizeof a6) != 0) {
        if (fd >= 0)
            close(fd);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        if (fd < 0 || bind(fd, (struct sockaddr *)&a4, sizeof a4) != 0)
            goto fail;
    }
    if (listen(fd, 4096) == 0)
        return fd;
fail:;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return -1;
}

mu_status_t mu_back_new(int port, const char *token, mu_back_t **out)
{
    mu_back_t *back = mu_calloc(1, sizeof *back);
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    for (int i = 0; i < MU_BACK_CONNECTIONS; i++)
        back->connection[i].fd = -1;
    snprintf(back->token, sizeof back->token, "%s", token);
    int last = port > 0 ? port : MU_PORT_CONTROL + MU_PORT_CONTROL_COUNT - 1;
    back->fd = -1;
    for (int p = port > 0 ? port : MU_PORT_CONTROL; p <= last && back->fd < 0; p++)
        back->fd = listen_on(p);
    if (back->fd < 0 || getsockname(back->fd, (struct sockaddr *)&own, &length) != 0) {
        mu_status_t status = mu_fail(MU_NETWORK, "cannot listen on any port from %d to %d: %s",
                                     port > 0 ? port : MU_PORT_CONTROL, last, strerror(errno));
        mu_back_free(back);
        return status;
    }
    back->port = ntohs(own.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&own)->sin6_port
                                                 : ((struct sockaddr_in *)&own)->sin_port);
    *out = back;
    return MU_OK;
}

int mu_back_port(const mu_back_t *back)
{
    return back->port;
}

static void dismiss(connection_t *connection)
{
    close(connection->fd);
    *connection = (connection_t){.fd = -1};
}

/* A free place; the connection that has been silent longest leaves when there is none. */
static connection_t *place_for(mu_back_t *back)
{
    connection_t *oldest = &back->connection[0];
    for (int i = 0; i < MU_BACK_CONNECTIONS; i++) {
        if (back->connection[i].fd < 0)
            return &back->connection[i];
        if (back->connection[i].since < oldest->since)
            oldest = &back->connection[i];
    }
    dismiss(oldest);
    return oldest;
}

static void receive(mu_back_t *back, connection_t *connection)
{
    ssize_t n = recv(connection->fd, connection->bytes + connection->got,
                     sizeof connection->bytes - connection->got, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        connection->got += (size_t)n;
    if (n > 0 && connection->got < sizeof connection->bytes)
        return;
    if (n > 0 && connection->bytes[TOKEN] == '\n' &&
        sodium_memcmp(connection->bytes, back->token, TOKEN) == 0 &&
        send(connection->fd, "ok\n", 3, MSG_NOSIGNAL) != 3)
        mu_debug("preflight: a host hung up before its answer");
    dismiss(connection);
}

int mu_back_gather(mu_back_t *back, struct pollfd *fds)
{
    int n = 0;
    fds[n++] = (struct pollfd){back->fd, POLLIN, 0};
    for (int i = 0; i < MU_BACK_CONNECTIONS; i++)
        if (back->connection[i].fd >= 0)
            fds[n++] = (struct pollfd){back->connection[i].fd, POLLIN, 0};
    return n;
}

void mu_back_serve(mu_back_t *back, const struct pollfd *fds, int count)
{
    for (int k = 1; k < count; k++)
        for (int i = 0; fds[k].revents && i < MU_BACK_CONNECTIONS; i++)
            if (back->connection[i].fd == fds[k].fd) {
                receive(back, &back->connection[i]);
                break;
            }
    for (int fd; (fd = accept4(back->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        connection_t *connection = place_for(back);
        *connection = (connection_t){.fd = fd, .since = ++back->arrivals};
        receive(back, connection);
    }
}

void mu_back_free(mu_back_t *back)
{
    if (!back)
        return;
    for (int i = 0; i < MU_BACK_CONNECTIONS; i++)
        if (back->connection[i].fd >= 0)
            close(back->connection[i].fd);
    if (back->fd >= 0)
        close(back->fd);
    free(back);
}
