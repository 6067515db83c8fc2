#include "launcher/http/http_server.h"
#include "common/clock.h"
#include "common/listen.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A connection, from accept to close. */
typedef struct peer {
    int fd;
    int64_t since_ns; /* when its next request could begin; 0: one is being answered */
    bool shut;
    struct peer *next;
} peer_t;

struct mu_http_server {
    struct MHD_Daemon *daemon;
    mu_http_server_options_t options;
    char address[300];
    int port;
    bool local, closing;
    pthread_mutex_t lock; /* of the lists, and of all exchanges */
    peer_t *peers;
    mu_http_exchange_t *exchanges;
};

/* Held by the server until the connection is done with it, and by whoever answers until mu_http_end(). */
struct mu_http_exchange {
    mu_http_server_t *server;
    struct MHD_Connection *connection;
    int fd;
    bool waiting;             /* MHD does not look at the connection: it is suspended */
    bool begun, queued, gone; /* queued: MHD has the response */
    bool ended, left;         /* by whoever answers; by the connection */
    int status;
    const char *type;
    mu_buf_t out;
    mu_http_exchange_t *next;
};

/* Of one request, from its headers to its answer. */
typedef struct mu_http_context {
    mu_buf_t body;
    int refused; /* status for a body that is not taken; 0 */
    mu_http_server_t *server;
    struct MHD_Connection *connection;
    peer_t *peer;
    mu_http_exchange_t *exchange; /* NULL: none */
} request_t;

/* ---- where to listen ---- */

static int bind_first(const struct addrinfo *list)
{
    int on = 1, error = EADDRNOTAVAIL;
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
            bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 64) == 0)
            return fd;
        error = errno;
        if (fd >= 0)
            close(fd);
    }
    errno = error;
    return -1;
}

static mu_status_t open_socket(const char *listen, int *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *list = NULL;
    mu_buf_t host = MU_BUF_INIT;
    int number;
    char port[8];
    mu_status_t status = MU_OK;
    if (!mu_listen_split(listen, &host, &number)) {
        status = mu_fail(MU_USAGE, "'%s': wanted " MU_LISTEN_WORDS, listen);
        goto end;
    }
    snprintf(port, sizeof port, "%d", number);
    int failed = getaddrinfo(host.data, port, &hints, &list);
    if (failed != 0) {
        status = mu_fail(MU_UNREADY, "%s: no such address here: %s", listen, gai_strerror(failed));
        goto end;
    }
    *out = bind_first(list);
    if (*out < 0)
        status = mu_fail(MU_UNREADY, "%s: cannot listen: %s", listen, strerror(errno));
    freeaddrinfo(list);
end:
    mu_buf_release(&host);
    return status;
}

static void name_address(mu_http_server_t *server, int fd)
{
    struct sockaddr_storage own = {0};
    socklen_t n = sizeof own;
    char host[256] = "?", port[8] = "0";
    getsockname(fd, (struct sockaddr *)&own, &n);
    getnameinfo((struct sockaddr *)&own, n, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(server->address, sizeof server->address, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    server->port = (int)strtol(port, NULL, 10);
    server->local = strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

/* ---- requests ---- */

static const char *header(struct MHD_Connection *connection, const char *name)
{
    const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
    return value ? value : "";
}

static enum MHD_Result answer(struct MHD_Connection *connection, mu_http_response_t *response)
{
    /* MHD frees the bytes once they are sent */
    size_t n = response->body.len;
    struct MHD_Response *message =
        MHD_create_response_from_buffer(n, mu_buf_detach(&response->body), MHD_RESPMEM_MUST_FREE);
    if (!message)
        return MHD_NO;
    MHD_add_response_header(message, "Content-Type", response->type);
    MHD_add_response_header(message, "Cache-Control", "no-store");
    if (response->retry_after > 0) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", response->retry_after);
        MHD_add_response_header(message, "Retry-After", seconds);
    }
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)response->status, message);
    MHD_destroy_response(message);
    return result;
}

/* ---- exchanges ---- */

/* Under the lock: MHD looks at the connection again. */
static void wake(mu_http_exchange_t *x)
{
    if (!x->waiting)
        return;
    x->waiting = false;
    MHD_resume_connection(x->connection);
}

/* Under the lock: frees it once both sides are done. */
static void drop(mu_http_exchange_t *x)
{
    if (!x->ended || !x->left)
        return;
    for (mu_http_exchange_t **at = &x->server->exchanges; *at; at = &(*at)->next)
        if (*at == x) {
            *at = x->next;
            break;
        }
    mu_buf_release(&x->out);
    free(x);
}

mu_http_exchange_t *mu_http_defer(const mu_http_request_t *request)
{
    request_t *own = request->context;
    mu_http_exchange_t *x = mu_calloc(1, sizeof *x);
    *x = (mu_http_exchange_t){.server = own->server,
                              .connection = own->connection,
                              .fd = own->peer ? own->peer->fd : -1,
                              .status = 200,
                              .type = "text/plain; charset=utf-8"};
    own->exchange = x;
    pthread_mutex_lock(&x->server->lock);
    x->next = x->server->exchanges;
    x->server->exchanges = x;
    pthread_mutex_unlock(&x->server->lock);
    return x;
}

void mu_http_begin(mu_http_exchange_t *x, int status, const char *type)
{
    pthread_mutex_lock(&x->server->lock);
    x->status = status;
    x->type = type;
    x->begun = true;
    pthread_mutex_unlock(&x->server->lock);
}

bool mu_http_write(mu_http_exchange_t *x, const void *bytes, size_t n)
{
    pthread_mutex_lock(&x->server->lock);
    if (x->out.len + n > MU_HTTP_UNSENT)
        x->gone = true;
    if (!x->gone)
        mu_buf_add(&x->out, bytes, n);
    bool taken = !x->gone;
    wake(x);
    pthread_mutex_unlock(&x->server->lock);
    return taken;
}

bool mu_http_gone(mu_http_exchange_t *x)
{
    pthread_mutex_lock(&x->server->lock);
    bool gone = x->gone;
    pthread_mutex_unlock(&x->server->lock);
    return gone;
}

void mu_http_end(mu_http_exchange_t *x)
{
    mu_http_server_t *server = x->server;
    pthread_mutex_lock(&server->lock);
    x->ended = true;
    wake(x);
    drop(x);
    pthread_mutex_unlock(&server->lock);
}

/* MHD asks for bytes: what there is, or the connection waits until there are some. */
static ssize_t more(void *arg, uint64_t at, char *to, size_t most)
{
    mu_http_exchange_t *x = arg;
    ssize_t n = 0;
    (void)at;
    pthread_mutex_lock(&x->server->lock);
    x->gone |= x->server->closing;
    if (x->gone) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (x->out.len > 0) {
        size_t part = x->out.len < most ? x->out.len : most;
        memcpy(to, x->out.data, part);
        memmove(x->out.data, x->out.data + part, x->out.len - part);
        x->out.len -= part;
        n = (ssize_t)part;
    } else if (x->ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        x->waiting = true;
        MHD_suspend_connection(x->connection);
    }
    pthread_mutex_unlock(&x->server->lock);
    return n;
}

/* Under the lock. */
static enum MHD_Result queue(mu_http_exchange_t *x)
{
    enum { BLOCK = 16384 };
    struct MHD_Response *message;
    if (x->ended && x->out.len > 0) {
        size_t n = x->out.len;
        message = MHD_create_response_from_buffer(n, mu_buf_detach(&x->out), MHD_RESPMEM_MUST_FREE);
    } else {
        message = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, more, x, NULL);
    }
    if (!message)
        return MHD_NO;
    MHD_add_response_header(message, "Content-Type", x->type);
    MHD_add_response_header(message, "Cache-Control", "no-store");
    enum MHD_Result result = MHD_queue_response(x->connection, (unsigned)x->status, message);
    MHD_destroy_response(message);
    x->queued = true;
    return result;
}

/* The handler has deferred, or the connection is looked at again: an answer is there, or it waits (on). */
static enum MHD_Result go_on(mu_http_exchange_t *x)
{
    enum MHD_Result result = MHD_YES;
    pthread_mutex_lock(&x->server->lock);
    x->gone |= x->server->closing;
    if (x->gone) {
        result = MHD_NO;
    } else if (x->queued || (x->begun && (x->out.len > 0 || x->ended))) {
        result = x->queued ? MHD_YES : queue(x);
    } else if (x->ended) {
        result = MHD_NO;
    } else {
        x->waiting = true;
        MHD_suspend_connection(x->connection);
    }
    pthread_mutex_unlock(&x->server->lock);
    return result;
}

/* ---- a request ---- */

static void name_client(struct MHD_Connection *connection, char *out, size_t size)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    socklen_t n =
        address && address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (!address || getnameinfo(address, n, out, (socklen_t)size, NULL, 0, NI_NUMERICHOST) != 0)
        snprintf(out, size, "?");
}

static enum MHD_Result finish(const mu_http_server_t *server, struct MHD_Connection *connection,
                              const char *path, const char *method, request_t *own)
{
    mu_http_response_t response = {200, "text/plain; charset=utf-8", MU_BUF_INIT, 0};
    mu_http_request_t request = {.method = method,
                                 .path = path,
                                 .type = header(connection, "Content-Type"),
                                 .authorization = header(connection, "Authorization"),
                                 .body = own->body.data ? own->body.data : "",
                                 .body_len = own->body.len,
                                 .context = own};
    name_client(connection, request.client, sizeof request.client);
    pthread_mutex_lock(&own->server->lock);
    if (own->peer)
        own->peer->since_ns = 0;
    pthread_mutex_unlock(&own->server->lock);
    if (own->refused) {
        response.status = own->refused;
        mu_buf_addf(&response.body, "a body of at most %zu bytes is taken\n", server->options.body_limit);
    } else {
        server->options.handle(&request, &response, server->options.arg);
    }
    if (own->exchange) {
        mu_buf_release(&response.body);
        return go_on(own->exchange);
    }
    return answer(connection, &response);
}

/* MHD calls this once after the headers, once for each part of the body, and once at its end. */
static enum MHD_Result take(void *arg, struct MHD_Connection *connection, const char *path,
                            const char *method, const char *version, const char *bytes, size_t *n,
                            void **context)
{
    mu_http_server_t *server = arg;
    request_t *own = *context;
    (void)version;
    if (!own) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        *context = own = mu_calloc(1, sizeof *own);
        own->server = server;
        own->connection = connection;
        own->peer = info ? info->socket_context : NULL;
        return MHD_YES;
    }
    if (own->exchange)
        return go_on(own->exchange);
    if (*n == 0)
        return finish(server, connection, path, method, own);
    if (own->body.len + *n > server->options.body_limit)
        own->refused = MHD_HTTP_CONTENT_TOO_LARGE;
    else
        mu_buf_add(&own->body, bytes, *n);
    *n = 0;
    return MHD_YES;
}

static void forget(void *arg, struct MHD_Connection *connection, void **context,
                   enum MHD_RequestTerminationCode how)
{
    mu_http_server_t *server = arg;
    request_t *own = *context;
    (void)connection, (void)how;
    *context = NULL;
    if (!own)
        return;
    pthread_mutex_lock(&server->lock);
    if (own->peer)
        own->peer->since_ns = mu_now_ns();
    if (own->exchange) {
        own->exchange->gone = own->exchange->left = true;
        drop(own->exchange);
    }
    pthread_mutex_unlock(&server->lock);
    mu_buf_release(&own->body);
    free(own);
}

static void meet(void *arg, struct MHD_Connection *connection, void **context,
                 enum MHD_ConnectionNotificationCode what)
{
    mu_http_server_t *server = arg;
    peer_t *peer = *context;
    pthread_mutex_lock(&server->lock);
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *context = peer = mu_calloc(1, sizeof *peer);
        *peer = (peer_t){.fd = info ? info->connect_fd : -1, .since_ns = mu_now_ns(), .next = server->peers};
        server->peers = peer;
    } else {
        for (peer_t **at = &server->peers; *at; at = &(*at)->next)
            if (*at == peer) {
                *at = peer->next;
                break;
            }
        free(peer);
    }
    pthread_mutex_unlock(&server->lock);
}

/* What a stranger sends wrong is no matter for the log. */
static void hush(void *arg, const char *format, va_list args)
{
    (void)arg, (void)format, (void)args;
}

mu_status_t mu_http_server_open(const mu_http_server_options_t *options, mu_http_server_t **out)
{
    int fd = -1;
    MU_TRY(open_socket(options->listen, &fd));
    mu_http_server_t *server = mu_calloc(1, sizeof *server);
    server->options = *options;
    pthread_mutex_init(&server->lock, NULL);
    name_address(server, fd);
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)hush, NULL},
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)options->connections, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)options->idle_s, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)forget, server},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)meet, server},
        {MHD_OPTION_END, 0, NULL},
    };
    /* not epoll: there MHD misses the end of a connection that comes together with bytes */
    server->daemon = MHD_start_daemon(MHD_USE_POLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG |
                                          MHD_ALLOW_SUSPEND_RESUME,
                                      0, NULL, NULL, take, server, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
    if (!server->daemon) {
        close(fd);
        free(server);
        return mu_fail(MU_BUG, "%s: the HTTP server does not start", options->listen);
    }
    *out = server;
    return MU_OK;
}

int mu_http_server_port(const mu_http_server_t *server)
{
    return server->port;
}

const char *mu_http_server_address(const mu_http_server_t *server)
{
    return server->address;
}

bool mu_http_server_is_local(const mu_http_server_t *server)
{
    return server->local;
}

void mu_http_server_tick(mu_http_server_t *server)
{
    int64_t now = mu_now_ns(), most = (int64_t)server->options.request_s * 1000000000;
    pthread_mutex_lock(&server->lock);
    for (mu_http_exchange_t *x = server->exchanges; x; x = x->next) {
        struct pollfd fd = {x->fd, POLLRDHUP, 0};
        if (x->left || !x->waiting || poll(&fd, 1, 0) <= 0 || !(fd.revents & (POLLRDHUP | POLLHUP | POLLERR)))
            continue;
        x->gone = true;
        wake(x);
    }
    for (peer_t *peer = server->peers; peer; peer = peer->next)
        if (most > 0 && !peer->shut && peer->since_ns > 0 && now - peer->since_ns > most) {
            peer->shut = true;
            shutdown(peer->fd, SHUT_RDWR); /* MHD finds it closed */
        }
    pthread_mutex_unlock(&server->lock);
}

bool mu_http_server_busy(mu_http_server_t *server)
{
    pthread_mutex_lock(&server->lock);
    bool busy = server->exchanges != NULL;
    pthread_mutex_unlock(&server->lock);
    return busy;
}

void mu_http_server_close(mu_http_server_t *server)
{
    if (!server)
        return;
    pthread_mutex_lock(&server->lock);
    server->closing = true;
    for (mu_http_exchange_t *x = server->exchanges; x; x = x->next) {
        x->gone = true;
        wake(x);
    }
    pthread_mutex_unlock(&server->lock);
    MHD_stop_daemon(server->daemon);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
