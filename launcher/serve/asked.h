/*
 * What a client asks for, read from the JSON of one of the protocols. Nothing here knows a model: texts stay texts.
 *
 *     mu_asked_t asked;
 *     if (!mu_asked_read(MU_PROTOCOL_OPENAI, body, n, &limits, &asked, &why)) ... 4xx with `why`, of status why.status
 *     mu_asked_release(&asked);
 */
#ifndef MU_LAUNCHER_ASKED_H
#define MU_LAUNCHER_ASKED_H

#include "common/buf.h"
#include "common/json.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum mu_protocol {
    MU_PROTOCOL_OPENAI, /* /v1/completions */
    MU_PROTOCOL_CHAT,   /* /v1/chat/completions */
    MU_PROTOCOL_SELDON, /* /predict */
    MU_PROTOCOL_V2,     /* /v2/models/M/generate */
    MU_PROTOCOL_V2_STREAM,
    MU_PROTOCOL_V2_INFER /* /v2/models/M/infer: texts as a tensor of BYTES */
} mu_protocol_t;

enum {
    MU_ASKED_PROMPTS = 128, /* of a request */
    MU_ASKED_CHOICES = 128, /* prompts times n */
    MU_ASKED_STOPS = 16,
    MU_ASKED_STOP_BYTES = 256,
    MU_ASKED_VALUES = 262144 /* of a body's JSON */
};

typedef struct mu_asked_limits {
    int64_t max_new; /* tokens of an answer */
} mu_asked_limits_t;

typedef struct mu_asked {
    mu_protocol_t protocol;
    json_t *body;                           /* what the pointers lie in */
    const json_t *prompt[MU_ASKED_PROMPTS]; /* strings, or lists of token ids */
    int prompts;
    const json_t *messages; /* of a chat */
    const char *model;      /* NULL: none named */
    int64_t max_new;        /* -1: not given */
    double temperature, top_p;
    int64_t top_k, seed;      /* seed -1: none: any */
    int n, top;               /* top: as mu_engine_request_t.top */
    bool echo, stream, usage; /* usage: at the end of a stream */
    char *stop[MU_ASKED_STOPS];
    int stops;
} mu_asked_t;

typedef struct mu_why {
    int status; /* of HTTP */
    bool again; /* another model took over meanwhile: the request is to be read for that one */
    char text[240];
} mu_why_t;

bool mu_asked_read(mu_protocol_t protocol, const char *body, size_t n, const mu_asked_limits_t *limits,
                   mu_asked_t *out, mu_why_t *why);
void mu_asked_release(mu_asked_t *asked);

#endif
