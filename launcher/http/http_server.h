/*
 * A small HTTP server in a thread of its own: one handler for all requests, bodies and connections bounded.
 *
 *     mu_http_server_open(&options, &server)       listens and answers from here on
 *     mu_http_server_port(server)
 *     mu_http_server_close(server)                 no handler runs after this returns
 *
 * The handler runs in the server's one thread, a request after the other. It does what it needs within `reply` and returns;
 * what it shares with other threads it guards itself.
 */
#ifndef MU_LAUNCHER_HTTP_HTTP_SERVER_H
#define MU_LAUNCHER_HTTP_HTTP_SERVER_H

#include "common/buf.h"
#include "common/status.h"

typedef struct mu_http_request {
    const char *method, *path; /* path without its query */
    const char *type;          /* Content-Type; "" when not given */
    const char *authorization; /* the header; "" when not given */
    const char *body;          /* NUL terminated after its length; never NULL */
    size_t body_len;
} mu_http_request_t;

typedef struct mu_http_response {
    int status;       /* preset: 200 */
    const char *type; /* static text; preset: "text/plain; charset=utf-8" */
    mu_buf_t body;    /* released by the server */
} mu_http_response_t;

typedef void (*mu_http_handler_t)(const mu_http_request_t *request, mu_http_response_t *response, void *arg);

typedef struct mu_http_server_options {
    const char *listen;       /* common/listen.h; port 0: any */
    size_t body_limit;        /* bytes of a request; more is answered with 413 */
    unsigned connections;     /* at once; further ones wait */
    unsigned idle_s;          /* after which a silent connection is closed */
    mu_http_handler_t handle; /* of every request */
    void *arg;
} mu_http_server_options_t;

typedef struct mu_http_server mu_http_server_t;

/* Errors: MU_USAGE (listen is none), MU_UNREADY (the address cannot be had; another program may have it). */
mu_status_t mu_http_server_open(const mu_http_server_options_t *options, mu_http_server_t **out);
int mu_http_server_port(const mu_http_server_t *server);
/* "ADDRESS:PORT" as it listens. */
const char *mu_http_server_address(const mu_http_server_t *server);
void mu_http_server_close(mu_http_server_t *server); /* NULL is fine */

#endif
