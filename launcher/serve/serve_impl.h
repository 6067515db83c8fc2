/* The server from the inside, shared by the files of this folder. */
#ifndef MU_LAUNCHER_SERVE_IMPL_H
#define MU_LAUNCHER_SERVE_IMPL_H

#include "launcher/http/http_server.h"
#include "launcher/serve/asked.h"
#include "launcher/serve/backend.h"
#include "launcher/serve/feedback.h"
#include "launcher/serve/serve.h"

#include <pthread.h>

typedef struct mu_call mu_call_t;

/* A token of an answer, where probabilities are asked for. */
typedef struct mu_scored {
    mu_engine_token_t token;
    size_t at; /* byte of the text where it begins */
} mu_scored_t;

/* One sequence: a choice of an answer. */
typedef struct mu_job {
    uint64_t id;
    mu_call_t *call;
    int index;      /* of the choice, from 0 */
    mu_ids_t ids;   /* the prompt; after it was sent only its length counts */
    int64_t prompt; /* tokens of the prompt */
    int64_t tokens; /* new ones */
    mu_decoder_t *decoder;
    mu_buf_t text;               /* all of it, with an echoed prompt */
    size_t sent;                 /* bytes that a stream has had */
    size_t echoed, scored_bytes; /* of the prompt in `text`; of its tokens that were scored so far */
    int64_t scores_sent;
    mu_scored_t *scored;
    int64_t scores, score_room;
    bool done;
    const char *reason;  /* "stop", "length" */
    struct mu_job *next; /* of all that run */
} mu_job_t;

/* One request. */
struct mu_call {
    mu_asked_t asked;
    mu_http_exchange_t *exchange;
    mu_backend_t *backend; /* that computes it; NULL: it was not sent, or died */
    mu_served_t *model;
    char id[40];
    int64_t created;
    int64_t began_ns, first_ns;
    mu_job_t *job; /* [jobs] */
    int jobs, left;
    bool begun; /* a stream has had its first event */
    mu_call_t *next;
};

enum { MU_SERVE_BUCKETS = 12 };
/* Seconds, as Prometheus' histograms count them. */
typedef struct mu_histogram {
    int64_t count[MU_SERVE_BUCKETS + 1];
    double sum;
} mu_histogram_t;

typedef struct mu_counts {
    int64_t requests[6]; /* by the hundreds of their status */
    int64_t refused;     /* 429 */
    int64_t cancelled, restarts, models;
    int64_t prompt_tokens, new_tokens;
    mu_histogram_t first, whole; /* to the first token; to the end */
} mu_counts_t;

typedef struct mu_serve {
    const mu_serve_args_t *args;
    mu_backend_spawn_t spawn;
    void *spawn_arg;
    mu_http_server_t *http;
    uint8_t token[32]; /* digest of the token */
    bool has_token;
    char *dir; /* of sockets */
    int wake;  /* eventfd: the loop has something to do */

    pthread_mutex_t lock;                     /* of everything below */
    mu_backend_t *current, *coming, *leaving; /* that serves; that will; that ends what it began */
    mu_served_t *model;                       /* the newest that served, also while no engine does */
    int backends;                             /* started so far */
    bool draining, was_ready;
    uint64_t next_id;
    mu_call_t *calls;
    mu_job_t *jobs;
    mu_feedback_t *feedback; /* NULL: none is kept */
    mu_counts_t counts;
} mu_serve_t;

/* Under the lock. */
bool mu_serve_ready(const mu_serve_t *s);
void mu_serve_wake(mu_serve_t *s);
void mu_histogram_add(mu_histogram_t *h, double seconds);

/* route.c: the handler of all requests, in the HTTP thread. */
void mu_serve_handle(const mu_http_request_t *request, mu_http_response_t *response, void *serve);

/* call.c. begin, in the HTTP thread: takes over `asked`; refused: false, `why` says why. */
bool mu_call_begin(mu_serve_t *s, const mu_http_request_t *request, mu_asked_t *asked, mu_served_t *model,
                   mu_why_t *why);
/* Under the lock: of one that runs no more. */
void mu_call_free(mu_call_t *call);

/* call_answer.c. Under the lock, in the loop: what the engine says. */
void mu_call_take(void *serve, mu_backend_t *backend, const mu_engine_message_t *message);
/* Ends calls: of an engine that died (NULL: of all) with 503; of clients that went. */
void mu_calls_fail(mu_serve_t *s, const mu_backend_t *backend, const char *text);
void mu_calls_drop_gone(mu_serve_t *s);

/* answer.c: the bodies of the protocols. */
void mu_answer_whole(const mu_call_t *call, mu_buf_t *out);
/* What a job has got since the last event; ends: with its reason. */
void mu_answer_event(const mu_call_t *call, mu_job_t *job, size_t upto, bool ends, mu_buf_t *out);
/* After the last job: usage where it is asked for, and the mark of the end. */
void mu_answer_end(const mu_call_t *call, mu_buf_t *out);
void mu_answer_error(mu_protocol_t protocol, int status, const char *text, mu_buf_t *out);
/* One JSON text to a buffer; takes the value. */
void mu_answer_json(json_t *value, mu_buf_t *out);

/* metrics.c: under the lock. */
void mu_serve_metrics(mu_serve_t *s, mu_buf_t *out);

/* auth.c. Errors: of the file; MU_DATA, it holds no token. */
mu_status_t mu_serve_read_token(mu_serve_t *s, const char *path);
bool mu_serve_may(const mu_serve_t *s, const char *authorization);

#endif
