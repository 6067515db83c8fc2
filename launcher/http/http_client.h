/*
 * An HTTP client for servers that may be slow, down or wrong: a call ends after a stated time, takes a bounded answer,
 * and follows no redirect, since a token must reach no other server than the one that was named.
 *
 *     mu_http_client_open(&options, &client)
 *     mu_http_call(client, "POST", "/api/...", "application/json", &body, &reply)     as often as wanted
 *     mu_http_put_file(client, "/api/...", path, &reply)
 *     mu_http_client_close(client)
 *
 * Credentials never appear in a message: what a server or libcurl says is cleaned of them first. A client belongs to
 * one thread. Nothing here logs: the caller knows the subject, and what another try may bring.
 */
#ifndef MU_LAUNCHER_HTTP_HTTP_CLIENT_H
#define MU_LAUNCHER_HTTP_HTTP_CLIENT_H

#include "common/buf.h"
#include "common/status.h"
#include <signal.h>
#include <stdbool.h>

/* Strings are borrowed while the client lives; NULL: none. */
typedef struct mu_http_credentials {
    const char *token;           /* Authorization: Bearer */
    const char *user, *password; /* Authorization: Basic; used without a token; one alone is sent */
} mu_http_credentials_t;

typedef struct mu_http_client_options {
    const char *base; /* "http[s]://HOST[:PORT][/PATH]", without credentials; mu_http_split_url() makes one */
    mu_http_credentials_t credentials;
    const char *ca_file; /* certificates to trust; NULL: those of SSL_CERT_FILE, else the system's */
    bool insecure;       /* the server's certificate is not checked */
    int timeout_ms;      /* of one call with everything; files: without a byte moved */
    const volatile sig_atomic_t *stop; /* not 0: calls end at once; NULL: never */
} mu_http_client_options_t;

typedef struct mu_http_client mu_http_client_t;

/* What came of a call. status 0: no answer, and `why` has the reason. `why` is also set for every status outside 200 to
 * 299, with what the server said (cut to one line, printable). */
typedef struct mu_http_reply {
    int status;
    bool stopped; /* by options.stop */
    mu_buf_t body, why;
} mu_http_reply_t;

/* Takes a URL apart: `base` without user and password, which go to `user` and `password` (percent signs decoded), both
 * empty when there are none. False with the reason in `why`, which does not repeat the URL, when it is no http or https
 * URL with a host, or has a query or a fragment. */
bool mu_http_split_url(const char *url, mu_buf_t *base, mu_buf_t *user, mu_buf_t *password, const char **why);
/* Whether a token would be sent in clear to another machine. */
bool mu_http_is_open(const char *base);

/* Errors: MU_BUG (libcurl does not start). */
mu_status_t mu_http_client_open(const mu_http_client_options_t *options, mu_http_client_t **out);
void mu_http_client_close(mu_http_client_t *client); /* NULL is fine */

/* `path` begins with a slash. body NULL: none. Releases what `reply` held. */
void mu_http_call(mu_http_client_t *client, const char *method, const char *path, const char *type,
                  const mu_buf_t *body, mu_http_reply_t *reply);
/* PUT of a whole file. */
void mu_http_put_file(mu_http_client_t *client, const char *path, const char *file, mu_http_reply_t *reply);
void mu_http_reply_release(mu_http_reply_t *reply);

/* Adds `text` with everything but letters, digits and -._~ as %XX, for a part of a path or a query. */
void mu_http_escape(const char *text, mu_buf_t *out);

#endif
