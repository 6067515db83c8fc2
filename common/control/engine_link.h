/*
 * What a server's front (`muster serve`) and its engine (`muster-worker serve`) say to each other, over a stream
 * socket of this machine. A frame is its length (4 bytes, without themselves), its type (1 byte) and its fields, in
 * the machine's own order of bytes. Both sides are muster, but the reader takes nothing on trust: every count has a
 * limit, and a frame must be as long as its fields.
 *
 *     mu_engine_write(&message, &buffer);
 *     while ((got = mu_engine_read(bytes, n, &used, &message)) == MU_ENGINE_GOT) { ... mu_engine_release(&message); }
 *
 * Front to engine: REQUEST, CANCEL. Engine to front: HELLO first, then for each request SCORE for each prompt token
 * that it is asked for, TOKEN for each new one, and DONE once, unless it was cancelled.
 */
#ifndef MU_COMMON_ENGINE_LINK_H
#define MU_COMMON_ENGINE_LINK_H

#include "common/buf.h"
#include <stdbool.h>
#include <stdint.h>

enum {
    MU_ENGINE_VERSION = 1,
    MU_ENGINE_FRAME = 16 << 20, /* bytes of a frame at most */
    MU_ENGINE_TOP = 20,         /* likeliest tokens beside the one that was taken */
    MU_ENGINE_ENDS = 32,        /* tokens that end a text */
    MU_ENGINE_WORDS = 256
};

typedef enum mu_engine_type {
    MU_ENGINE_HELLO = 1,
    MU_ENGINE_REQUEST,
    MU_ENGINE_CANCEL,
    MU_ENGINE_SCORE,
    MU_ENGINE_TOKEN,
    MU_ENGINE_DONE
} mu_engine_type_t;

typedef enum mu_engine_reason {
    MU_ENGINE_END,    /* the model wrote a token that ends the text, which is not sent */
    MU_ENGINE_LENGTH, /* as many tokens as wished */
    MU_ENGINE_FAILED, /* the model's numbers are not finite */
    MU_ENGINE_REFUSED /* more requests than were agreed, or one that fits no slot */
} mu_engine_reason_t;

typedef struct mu_engine_hello {
    uint32_t version;
    int64_t slots, slot_tokens,
        waiting;                 /* sequences at once; tokens of each; requests that may wait beside them */
    uint64_t cache_bytes;        /* of the slots, on each worker */
    char words[MU_ENGINE_WORDS]; /* what it computes on */
} mu_engine_hello_t;

typedef struct mu_engine_request {
    uint32_t client;    /* requests of one client share its turn */
    int32_t most;       /* new tokens; 0: none, for the scores of the prompt */
    double temperature; /* as mu_sampling_t (worker/infer/sample.h) */
    double top_p;
    int32_t top_k;
    uint64_t seed;
    int32_t top; /* likeliest tokens to name with each, 0 to MU_ENGINE_TOP; -1: no probabilities at all */
    bool echo;   /* a SCORE for each prompt token; needs top >= 0 */
    int32_t ends[MU_ENGINE_ENDS];
    int32_t nends;
    int32_t *ids; /* the prompt, at least one */
    int32_t count;
} mu_engine_request_t;

/* A token with the logarithm of its probability, 0 where none is asked for; the first of a prompt has none: NAN. */
typedef struct mu_engine_token {
    int32_t id;
    float logprob;
    int32_t ntop;
    struct {
        int32_t id;
        float logprob;
    } top[MU_ENGINE_TOP];
} mu_engine_token_t;

typedef struct mu_engine_message {
    mu_engine_type_t type;
    uint64_t id; /* of the request; 0 in HELLO */
    union {
        mu_engine_hello_t hello;
        mu_engine_request_t request;
        mu_engine_token_t token; /* SCORE, TOKEN */
        mu_engine_reason_t done;
    };
} mu_engine_message_t;

void mu_engine_write(const mu_engine_message_t *message, mu_buf_t *out);

typedef enum mu_engine_read { MU_ENGINE_GOT, MU_ENGINE_MORE, MU_ENGINE_BAD } mu_engine_read_t;
/* GOT: the first frame of bytes[0, n), which was *used bytes long; release it. MORE: it is not whole yet. BAD: what
 * comes is no frame, and nothing after it can be read. Logs nothing. */
mu_engine_read_t mu_engine_read(const void *bytes, size_t n, size_t *used, mu_engine_message_t *out);
void mu_engine_release(mu_engine_message_t *message);

#endif
