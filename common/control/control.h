/*
 * The control protocol between a guard and its launcher: handshake, frames, messages. No sockets here: bytes
 * in, messages out, and the other way round (common/control/control_link.h moves them). docs/control-protocol.md has
 * the layout of every byte.
 *
 *     mu_control_t *c = mu_control_new(MU_CONTROL_GUARD, key);    a guard's hello is in mu_control_output()
 *     ... write mu_control_output() to the peer, mu_control_wrote() what went out ...
 *     mu_control_feed(c, bytes, n);                               whatever came in, in any pieces
 *     while ((r = mu_control_next(c, &message)) > 0) ...          r < 0: mu_control_fault() says why; close
 *     if (mu_control_open(c)) mu_control_send(c, &message);
 *     mu_control_free(c);
 *
 * Both sides hold one 256-bit key made for the run. Each sends a fixed hello of 64 bytes: magic, version,
 * role, a fresh X25519 public key, a BLAKE2b tag under the run's key; the launcher's tag also covers the
 * guard's hello. Nothing but the hello is read before its tag agrees. Frames are ChaCha20-Poly1305 with a key
 * per direction (from both fresh keys, their shared secret and the run's key) and a counter as nonce: a frame
 * that was replayed, reordered, cut, reflected or made under another key does not open, and ends the
 * connection. A recorded hello gets a hello back and nothing else. The run's key found later does not open
 * recorded frames.
 */
#ifndef MU_COMMON_CONTROL_H
#define MU_COMMON_CONTROL_H

#include "common/metric_table.h"
#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MU_CONTROL_VERSION   4
#define MU_CONTROL_KEY_BYTES 32
#define MU_CONTROL_HELLO     64
#define MU_CONTROL_FRAME_MAX 65536 /* bytes on the wire after the length */

typedef enum mu_control_role { MU_CONTROL_GUARD = 1, MU_CONTROL_LAUNCHER = 2 } mu_control_role_t;

/* Why a connection was given up. */
#define MU_CONTROL_FAULT_TABLE(X)                                                                            \
    X(NONE, "none")                                                                                          \
    X(FOREIGN, "not our protocol, or another key")                                                           \
    X(VERSION_DIFFERS, "another version of the protocol")                                                    \
    X(OVERSIZED, "a frame over the limit")                                                                   \
    X(FORGED, "a frame that does not open: replayed, reordered, cut or made by someone else")                \
    X(MALFORMED, "an authentic frame that does not decode")                                                  \
    X(TRUNCATED, "closed in the middle of a frame")

typedef enum mu_control_fault {
#define MU_CONTROL_FAULT_ENUM(name, text) MU_CONTROL_##name,
    MU_CONTROL_FAULT_TABLE(MU_CONTROL_FAULT_ENUM)
#undef MU_CONTROL_FAULT_ENUM
        MU_CONTROL_FAULT_COUNT
} mu_control_fault_t;

const char *mu_control_fault_text(mu_control_fault_t fault);

/*
 * Messages. One table a message makes its struct, its encoder and its decoder: I int64_t, F double (what follows their
 * name is for others, common/metric_table.h), S string
 * in an array of that size, always NUL terminated. A string may hold any byte but NUL: escape it before it is
 * shown.
 */
/* clang-format takes these tables for statements. */
/* clang-format off */
/* guard -> launcher, first message */
#define MU_MESSAGE_HELLO_FIELDS(I, F, S) \
    S(host, 256) I(guard_pid) I(rank_pid) I(rank) I(world_size) I(attempt) S(version, 32) S(config_digest, 64)
/* guard -> launcher, once a second; state: the letter of /proc/PID/stat */
#define MU_MESSAGE_HEARTBEAT_FIELDS(I, F, S) \
    I(sequence) I(phase) I(step) I(progress) I(still_ms) /* since `progress` last grew */ \
    I(request) I(status) I(state) \
    I(in_collective) S(comm, 16) S(operation, 16) I(collective) I(bytes) I(rss_bytes) \
    MU_METRIC_TABLE(I, F) MU_RANK_METRIC_TABLE(F) MU_STALL_TABLE(I, F) I(dropped_bytes) I(unanswered_ms) \
    I(asked) I(asked_by) /* the signal that asked the guard to end, and the pid that sent it; 0: none did */ \
    /* while it stands still: how often TCP has sent what is not acknowledged; to whom */ \
    I(resending) S(resending_to, 48)
/* guard -> launcher, the last message; oom_limit_bytes: -1 where unlimited or unknown; reason: mu_death_reason_t */
#define MU_MESSAGE_DEATH_FIELDS(I, F, S) \
    I(sequence) I(signal) I(exit_code) I(oom_kills) I(oom_limit_bytes) I(reason) I(phase) I(step) F(time) \
    S(last_line, 512)
/* guard -> launcher: a line of the rank's output that a person should see */
#define MU_MESSAGE_LINE_FIELDS(I, F, S) I(level) S(text, 512)
/* launcher -> guard: the answer to a heartbeat or a death, and at any time when there is something to ask.
 * sequence: the highest one received from this guard; request: mu_request_t of worker/guard/page.h; kill: 1: kill it
 * now */
#define MU_MESSAGE_ORDER_FIELDS(I, F, S) I(sequence) I(request) I(kill)
/* clang-format on */

/* Why the guard killed the rank; NONE: it did not. */
typedef enum mu_death_reason {
    MU_DEATH_BY_ITSELF,
    MU_DEATH_BY_ORDER,
    MU_DEATH_BY_LEASE,
    MU_DEATH_BY_TEARDOWN /* mpirun takes everything down */
} mu_death_reason_t;

#define MU_MESSAGE_TABLE(X)                                                                                  \
    X(HELLO, hello) X(HEARTBEAT, heartbeat) X(DEATH, death) X(LINE, line) X(ORDER, order)

#define MU_FIELD_I(name, ...)  int64_t name;
#define MU_FIELD_F(name, ...)  double name;
#define MU_FIELD_S(name, size) char name[size];
typedef struct mu_hello {
    MU_MESSAGE_HELLO_FIELDS(MU_FIELD_I, MU_FIELD_F, MU_FIELD_S)
} mu_hello_t;
typedef struct mu_heartbeat {
    MU_MESSAGE_HEARTBEAT_FIELDS(MU_FIELD_I, MU_FIELD_F, MU_FIELD_S)
} mu_heartbeat_t;
typedef struct mu_death {
    MU_MESSAGE_DEATH_FIELDS(MU_FIELD_I, MU_FIELD_F, MU_FIELD_S)
} mu_death_t;
typedef struct mu_line {
    MU_MESSAGE_LINE_FIELDS(MU_FIELD_I, MU_FIELD_F, MU_FIELD_S)
} mu_line_t;
typedef struct mu_order {
    MU_MESSAGE_ORDER_FIELDS(MU_FIELD_I, MU_FIELD_F, MU_FIELD_S)
} mu_order_t;
#undef MU_FIELD_I
#undef MU_FIELD_F
#undef MU_FIELD_S

typedef enum mu_message_type {
    MU_MESSAGE_NONE,
#define MU_MESSAGE_ENUM(NAME, name) MU_MESSAGE_##NAME,
    MU_MESSAGE_TABLE(MU_MESSAGE_ENUM)
#undef MU_MESSAGE_ENUM
        MU_MESSAGE_COUNT
} mu_message_type_t;

typedef struct mu_message {
    mu_message_type_t type;
    union {
        mu_hello_t hello;
        mu_heartbeat_t heartbeat;
        mu_death_t death;
        mu_line_t line;
        mu_order_t order;
    };
} mu_message_t;

typedef struct mu_control mu_control_t;

/* One end of one connection. `key` is copied into locked memory. */
mu_control_t *mu_control_new(mu_control_role_t role, const uint8_t key[MU_CONTROL_KEY_BYTES]);
void mu_control_free(mu_control_t *control);
/* Bytes that came in. Never more than one frame is kept: feed at most MU_CONTROL_FRAME_MAX at once, then take
 * all messages out. */
void mu_control_feed(mu_control_t *control, const void *bytes, size_t n);
/* 1: a message; 0: more bytes are needed; -1: given up, and stays so. */
int mu_control_next(mu_control_t *control, mu_message_t *out);
/* The peer closed: notes a TRUNCATED fault when that was in the middle of something. */
void mu_control_eof(mu_control_t *control);
mu_control_fault_t mu_control_fault(const mu_control_t *control);
/* The guard: the launcher's hello was right, messages may be sent. The launcher: a first frame opened as
 * well, so the peer is no recording. */
bool mu_control_open(const mu_control_t *control);
/* Seals a message after the output. False when the connection is not open or its output is stuck (over
 * 4 * MU_CONTROL_FRAME_MAX bytes wait): close it. */
bool mu_control_send(mu_control_t *control, const mu_message_t *message);
/* Bytes for the peer; valid until the next call on `control`. */
const void *mu_control_output(const mu_control_t *control, size_t *n);
void mu_control_wrote(mu_control_t *control, size_t n);

/* Memory for a key that is locked, and left out of core files of this process and those that it forks; freeing zeroes
 * it, and NULL is fine. */
uint8_t *mu_control_key_room(void);
void mu_control_key_free(uint8_t *key);
/* A fresh random key; and its text, 64 hex digits with a NUL after. Decoding is strict; false otherwise. */
void mu_control_key_new(uint8_t key[MU_CONTROL_KEY_BYTES]);
void mu_control_key_hex(const uint8_t key[MU_CONTROL_KEY_BYTES], char out[2 * MU_CONTROL_KEY_BYTES + 1]);
bool mu_control_key_parse(const char *hex, uint8_t key[MU_CONTROL_KEY_BYTES]);

#endif
