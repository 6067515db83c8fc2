/* The way back to the launcher. */
#include "worker/probe/probe_internal.h"
#include "common/buf.h"
#include "common/clock.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static int dial(const char *address, int port, int64_t end_ns)
{
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST}, *list;
    int error = 0;
    socklen_t size = sizeof error;
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(address, service, &hints, &list) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        error = errno;
    else if (connect(fd, list->ai_addr, list->ai_addrlen) != 0 && errno != EINPROGRESS)
        error = errno;
    freeaddrinfo(list);
    if (!error) {
        struct pollfd p = {fd, POLLOUT, 0};
        int64_t left = (end_ns - mu_now_ns()) / 1000000;
        if (poll(&p, 1, left > 0 ? (int)left : 0) <= 0)
            error = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
            error = errno;
    }
    if (error && fd >= 0)
        close(fd);
    errno = error;
    return error ? -1 : fd;
}

/* Sends the token and wants "ok" back: someone else may answer at that address. */
json_t *mu_probe_back(const json_t *ask)
{
    const json_t *back = json_object_get(ask, "back");
    const char *address = json_string_value(json_object_get(back, "address"));
    const char *token = json_string_value(json_object_get(back, "token"));
    json_int_t port = json_integer_value(json_object_get(back, "port"));
    double seconds = json_number_value(json_object_get(back, "seconds"));
    char reply[3] = "";
    if (!address || !token || port < 1 || port > 65535)
        return mu_probe_state("error", strerror(EINVAL));
    int64_t end_ns = mu_now_ns() + (int64_t)((seconds > 0 ? seconds : 5) * 1e9);
    int fd = dial(address, (int)port, end_ns);
    if (fd < 0)
        return mu_probe_state("error", strerror(errno));
    char *line = mu_format("%s\n", token);
    bool sent = send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line);
    free(line);
    size_t got = 0;
    while (sent && got < 3) {
        struct pollfd p = {fd, POLLIN, 0};
        int64_t left = (end_ns - mu_now_ns()) / 1000000;
        ssize_t n = poll(&p, 1, left > 0 ? (int)left : 0) > 0 ? recv(fd, reply + got, 3 - got, 0) : 0;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    close(fd);
    if (got < 3 || memcmp(reply, "ok\n", 3) != 0)
        return mu_probe_state("error", "connected, but it is not this launcher that answers");
    return mu_probe_state("ok", NULL);
}
