#include "launcher/http/http_server.h"
#include "common/listen.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct mu_http_server {
    struct MHD_Daemon *daemon;
    mu_http_server_options_t options;
    char address[300];
    int port;
};

/* Of one request, from its headers to its answer. */
typedef struct request {
    mu_buf_t body;
    int refused; /* status for a body that is not taken; 0 */
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
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)response->status, message);
    MHD_destroy_response(message);
    return result;
}

static enum MHD_Result finish(const mu_http_server_t *server, struct MHD_Connection *connection,
                              const char *path, const char *method, request_t *own)
{
    mu_http_response_t response = {200, "text/plain; charset=utf-8", MU_BUF_INIT};
    mu_http_request_t request = {.method = method,
                                 .path = path,
                                 .type = header(connection, "Content-Type"),
                                 .authorization = header(connection, "Authorization"),
                                 .body = own->body.data ? own->body.data : "",
                                 .body_len = own->body.len};
    if (own->refused) {
        response.status = own->refused;
        mu_buf_addf(&response.body, "a body of at most %zu bytes is taken\n", server->options.body_limit);
    } else {
        server->options.handle(&request, &response, server->options.arg);
    }
    return answer(connection, &response);
}

/* MHD calls this once after the headers, once for each part of the body, and once at its end. */
static enum MHD_Result take(void *arg, struct MHD_Connection *connection, const char *path,
                            const char *method, const char *version, const char *bytes, size_t *n,
                            void **context)
{
    const mu_http_server_t *server = arg;
    request_t *own = *context;
    (void)version;
    if (!own) {
        *context = mu_calloc(1, sizeof *own);
        return MHD_YES;
    }
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
    (void)arg, (void)connection, (void)how;
    request_t *own = *context;
    if (own)
        mu_buf_release(&own->body);
    free(own);
    *context = NULL;
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
    name_address(server, fd);
    struct MHD_OptionItem items[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)hush, NULL},
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)options->connections, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)options->idle_s, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)forget, server},
        {MHD_OPTION_END, 0, NULL},
    };
    server->daemon = MHD_start_daemon(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG, 0,
                                      NULL, NULL, take, server, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
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

void mu_http_server_close(mu_http_server_t *server)
{
    if (!server)
        return;
    MHD_stop_daemon(server->daemon);
    free(server);
}
