#include "common/control/control_link.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/num.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

bool mu_address_parse(const char *text, mu_address_t *out)
{
    char host[INET6_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (!colon || !mu_parse_i64(colon + 1, &port) || port < 1 || port > 65535)
        return false;
    bool six = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
    size_t n = (size_t)(colon - text) - (six ? 2 : 0);
    if (n == 0 || n >= sizeof host)
        return false;
    memcpy(host, text + (six ? 1 : 0), n);
    host[n] = '\0';
    memset(out, 0, sizeof *out);
    if (six) {
        struct sockaddr_in6 *a = (struct sockaddr_in6 *)&out->sa;
        a->sin6_family = AF_INET6;
        a->sin6_port = htons((uint16_t)port);
        out->len = sizeof *a;
        return inet_pton(AF_INET6, host, &a->sin6_addr) == 1;
    }
    struct sockaddr_in *a = (struct sockaddr_in *)&out->sa;
    a->sin_family = AF_INET;
    a->sin_port = htons((uint16_t)port);
    out->len = sizeof *a;
    return inet_pton(AF_INET, host, &a->sin_addr) == 1;
}

void mu_address_format(const mu_address_t *address, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)&address->sa;
        inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof host);
        snprintf(out, size, "[%s]:%d", host, ntohs(a->sin6_port));
    } else {
        const struct sockaddr_in *a = (const struct sockaddr_in *)&address->sa;
        inet_ntop(AF_INET, &a->sin_addr, host, sizeof host);
        snprintf(out, size, "%s:%d", host, ntohs(a->sin_port));
    }
}

/* Small messages must not wait for each other; and what was lost is sent again after equal times, not after
 * doubled ones, so that a heartbeat gets through a network that loses a fifth of everything. Linux does so
 * for thin streams whose congestion control notes a loss, as Reno does; from 6.15 on the longest time can be
 * said as well. Older kernels and other systems refuse what they do not know. */
static void make_lively(int fd)
{
    static const char reno[] = "reno";
    enum { RTO_MAX_MS = 44 }; /* TCP_RTO_MAX_MS, which libc's headers may lack */
    int one = 1, most = 1000;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof reno - 1);
    setsockopt(fd, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, RTO_MAX_MS, &most, sizeof most);
}

static mu_link_t *link_new(int fd, mu_control_role_t role, const uint8_t *key)
{
    make_lively(fd);
    mu_link_t *link = mu_calloc(1, sizeof *link);
    link->fd = fd;
    link->since_ns = mu_now_ns();
    link->control = mu_control_new(role, key);
    return link;
}

bool mu_link_dial(const mu_address_t *to, const uint8_t key[MU_CONTROL_KEY_BYTES], mu_link_t **out)
{
    int fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int r = connect(fd, (const struct sockaddr *)&to->sa, to->len);
    if (r != 0 && errno != EINPROGRESS) {
        int saved = errno;
        close(fd);
        errno = saved;
        return false;
    }
    *out = link_new(fd, MU_CONTROL_GUARD, key);
    (*out)->connecting = r != 0;
    return true;
}

mu_link_t *mu_link_accept(int fd, const uint8_t key[MU_CONTROL_KEY_BYTES])
{
    return link_new(fd, MU_CONTROL_LAUNCHER, key);
}

void mu_link_close(mu_link_t *link)
{
    if (!link)
        return;
    close(link->fd);
    mu_control_free(link->control);
    free(link);
}

short mu_link_events(const mu_link_t *link)
{
    size_t n;
    mu_control_output(link->control, &n);
    return (short)(link->connecting ? POLLOUT : POLLIN | (n > 0 ? POLLOUT : 0));
}

static void write_some(mu_link_t *link)
{
    for (;;) {
        size_t n;
        const void *bytes = mu_control_output(link->control, &n);
        if (n == 0)
            return;
        ssize_t w = send(link->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0 && errno != EAGAIN)
            link->closed = true;
        if (w <= 0)
            return;
        mu_control_wrote(link->control, (size_t)w);
    }
}

/* One piece a call: a peer that floods us gets one turn of the loop like everyone else. */
static void read_some(mu_link_t *link)
{
    char piece[MU_CONTROL_FRAME_MAX];
    ssize_t r = recv(link->fd, piece, sizeof piece, MSG_DONTWAIT);
    if (r > 0) {
        mu_control_feed(link->control, piece, (size_t)r);
    } else if (r == 0 || (errno != EAGAIN && errno != EINTR)) {
        mu_control_eof(link->control);
        link->closed = true;
    }
}

void mu_link_move(mu_link_t *link, short revents)
{
    if (link->connecting && (revents & (POLLOUT | POLLERR | POLLHUP))) {
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
            link->closed = true;
        link->connecting = false;
    }
    if (!link->closed && (revents & POLLOUT))
        write_some(link);
    if (!link->closed && (revents & (POLLIN | POLLHUP | POLLERR)))
        read_some(link);
}

bool mu_link_next(mu_link_t *link, mu_message_t *out)
{
    int r = mu_control_next(link->control, out);
    if (r < 0)
        link->closed = true;
    if (!link->closed && !link->connecting)
        write_some(link); /* a hello that the handshake has just made */
    return r > 0;
}

bool mu_link_send(mu_link_t *link, const mu_message_t *message)
{
    if (link->closed || link->connecting || !mu_control_open(link->control))
        return false;
    if (!mu_control_send(link->control, message)) {
        link->closed = true;
        return false;
    }
    write_some(link);
    return !link->closed;
}
