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

typedef struct guest {
    int fd; /* -1: free */
    size_t got;
    char bytes[TOKEN + 1];
    unsigned long since; /* order of arrival */
} guest_t;

struct mu_back {
    int fd, port;
    char token[TOKEN + 1];
    unsigned long arrivals;
    guest_t guest[MU_BACK_GUESTS];
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
    for (int i = 0; i < MU_BACK_GUESTS; i++)
        back->guest[i].fd = -1;
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

static void dismiss(guest_t *guest)
{
    close(guest->fd);
    *guest = (guest_t){.fd = -1};
}

/* A free place; the guest that has been silent longest leaves when there is none. */
static guest_t *place_for(mu_back_t *back)
{
    guest_t *oldest = &back->guest[0];
    for (int i = 0; i < MU_BACK_GUESTS; i++) {
        if (back->guest[i].fd < 0)
            return &back->guest[i];
        if (back->guest[i].since < oldest->since)
            oldest = &back->guest[i];
    }
    dismiss(oldest);
    return oldest;
}

static void hear(mu_back_t *back, guest_t *guest)
{
    ssize_t n = recv(guest->fd, guest->bytes + guest->got, sizeof guest->bytes - guest->got, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        guest->got += (size_t)n;
    if (n > 0 && guest->got < sizeof guest->bytes)
        return;
    if (n > 0 && guest->bytes[TOKEN] == '\n' && sodium_memcmp(guest->bytes, back->token, TOKEN) == 0 &&
        send(guest->fd, "ok\n", 3, MSG_NOSIGNAL) != 3)
        mu_debug("preflight: a host hung up before its answer");
    dismiss(guest);
}

int mu_back_gather(mu_back_t *back, struct pollfd *fds)
{
    int n = 0;
    fds[n++] = (struct pollfd){back->fd, POLLIN, 0};
    for (int i = 0; i < MU_BACK_GUESTS; i++)
        if (back->guest[i].fd >= 0)
            fds[n++] = (struct pollfd){back->guest[i].fd, POLLIN, 0};
    return n;
}

void mu_back_serve(mu_back_t *back, const struct pollfd *fds, int count)
{
    for (int k = 1; k < count; k++)
        for (int i = 0; fds[k].revents && i < MU_BACK_GUESTS; i++)
            if (back->guest[i].fd == fds[k].fd) {
                hear(back, &back->guest[i]);
                break;
            }
    for (int fd; (fd = accept4(back->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        guest_t *guest = place_for(back);
        *guest = (guest_t){.fd = fd, .since = ++back->arrivals};
        hear(back, guest);
    }
}

void mu_back_free(mu_back_t *back)
{
    if (!back)
        return;
    for (int i = 0; i < MU_BACK_GUESTS; i++)
        if (back->guest[i].fd >= 0)
            close(back->guest[i].fd);
    if (back->fd >= 0)
        close(back->fd);
    free(back);
}
