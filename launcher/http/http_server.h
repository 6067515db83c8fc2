/*
 * A small HTTP server in a thread of its own: one handler for all requests, bodies, connections and time bounded.
 *
 *     mu_http_server_open(&options, &server)       listens and answers from here on
 *     mu_http_server_port(server)
 *     mu_http_server_close(server)                 no handler runs after this returns
 *
 * The handler runs in the server's one thread, a request after the other. It does what it needs within `reply` and
 * returns; what it shares with other threads it guards itself.
 *
 * An answer that takes long, or grows, is an exchange: the handler calls mu_http_defer() and returns, and any thread
 * writes the answer when it is there:
 *     mu_http_begin(exchange, 200, "text/event-stream");
 *     mu_http_write(exchange, bytes, n);           as often as wanted: each is sent at once
 *     mu_http_end(exchange);                       after this it must not be touched
 * Where end follows before the first byte is sent, the answer has a Content-Length. A client that goes is seen within
 * MU_HTTP_TICK_MS of mu_http_server_tick().
 */
#ifndef MU_LAUNCHER_HTTP_HTTP_SERVER_H
#define MU_LAUNCHER_HTTP_HTTP_SERVER_H

#include "common/buf.h"
#include "common/status.h"
#include <stdbool.h>

typedef struct mu_http_exchange mu_http_exchange_t;

typedef struct mu_http_request {
    const char *method, *path; /* path without its query */
    const char *type;          /* Content-Type; "" when not given */
    const char *authorization; /* the header; "" when not given */
    const char *body;          /* NUL terminated after its length; never NULL */
    size_t body_len;
    char client[64];                 /* the client's address, without its port */
    struct mu_http_context *context; /* the server's */
} mu_http_request_t;

typedef struct mu_http_response {
    int status;       /* preset: 200 */
    const char *type; /* static text; preset: "text/plain; charset=utf-8" */
    mu_buf_t body;    /* released by the server */
    int retry_after;  /* seconds, as a header; 0: none */
} mu_http_response_t;

typedef void (*mu_http_handler_t)(const mu_http_request_t *request, mu_http_response_t *response, void *arg);

typedef struct mu_http_server_options {
    const char *listen;   /* common/listen.h; port 0: any */
    size_t body_limit;    /* bytes of a request; more is answered with 413 */
    unsigned connections; /* at once; further ones wait */
    unsigned idle_s;      /* after which a silent connection is closed */
    unsigned request_s;   /* that a request may take to arrive; 0: no limit. Needs mu_http_server_tick() */
    mu_http_handler_t handle; /* of every request */
    void *arg;
} mu_http_server_options_t;

typedef struct mu_http_server mu_http_server_t;

enum { MU_HTTP_TICK_MS = 200, MU_HTTP_UNSENT = 8 << 20 };

/* Errors: MU_USAGE (listen is invalid), MU_UNREADY (the address cannot be had; another program may have it). */
mu_status_t mu_http_server_open(const mu_http_server_options_t *options, mu_http_server_t **out);
int mu_http_server_port(const mu_http_server_t *server);
/* "ADDRESS:PORT" as it listens. */
const char *mu_http_server_address(const mu_http_server_t *server);
/* Whether the address is one that other machines cannot reach. */
bool mu_http_server_is_local(const mu_http_server_t *server);
/* Looks for clients that went, and closes connections whose request does not arrive. To be called every MU_HTTP_TICK_MS
 * where exchanges or request_s are used, from one thread. */
void mu_http_server_tick(mu_http_server_t *server);
/* Whether an exchange is under way, or its last bytes are. */
bool mu_http_server_busy(mu_http_server_t *server);
/* Every exchange must have ended. */
void mu_http_server_close(mu_http_server_t *server); /* NULL is fine */

/* In the handler: the answer comes later, and `response` is not used. */
mu_http_exchange_t *mu_http_defer(const mu_http_request_t *request);
/* type: static text. Once, before any byte. */
void mu_http_begin(mu_http_exchange_t *exchange, int status, const char *type);
/* False: the client is gone, or takes so little that MU_HTTP_UNSENT bytes wait; nothing more will be sent. */
bool mu_http_write(mu_http_exchange_t *exchange, const void *bytes, size_t n);
bool mu_http_gone(mu_http_exchange_t *exchange);
void mu_http_end(mu_http_exchange_t *exchange);

#endif
