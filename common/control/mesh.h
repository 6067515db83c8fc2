/*
 * Whether hosts reach each other as ranks will: each listens on a port of the ranks' range and dials the others, all at
 * once. Nothing here blocks; the caller polls.
 *
 *     mu_mesh_new(interfaces, port, ports, token, &why, &mesh)    listens
 *     mu_mesh_dial(mesh, peers, n, deadline)                      when all of them listen
 *     until mu_mesh_done(mesh):
 *         n = mu_mesh_gather(mesh, fds); poll(fds, n, ...); mu_mesh_serve(mesh, fds);
 *     mu_mesh_result(mesh, i)
 *     mu_mesh_free(mesh)                                          when nobody dials it any more
 *
 * On a connection the dialer sends the token and a newline, and gets "t"; then it sends MU_MESH_BYTES bytes, and gets
 * "p". So what stops only packets of full size (a smaller MTU somewhere on the way, that no ICMP message reports) is
 * distinguished from what stops all. Only dialer's bytes are many: both directions are tested by each dialing the
 * other. A connection without the token gets nothing.
 */
#ifndef MU_COMMON_MESH_H
#define MU_COMMON_MESH_H

#include "common/buf.h"
#include "common/interfaces.h"
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    MU_MESH_PEERS = 128,       /* that one host dials, at most */
    MU_MESH_CONNECTIONS = 256, /* that it hears at once; the one that came first leaves when there are more */
    MU_MESH_BYTES = 65536,     /* more than any MTU, less than what waits for a slow network */
    MU_MESH_TOKEN = 32,
    MU_MESH_FDS = 1 + MU_MESH_CONNECTIONS + MU_MESH_PEERS
};

/* What came of dialing one peer: name, word between probe and launcher, text for people. */
#define MU_MESH_TABLE(X)                                                                                     \
    X(OK, "ok", "reached")                                                                                   \
    X(REFUSED, "refused", "refused")                                                                         \
    X(NO_ROUTE, "no_route", "no route")                                                                      \
    X(TIMED_OUT, "timed_out", "timed out")                                                                   \
    X(STUCK, "stuck", "small packets pass, large ones are lost")                                             \
    X(NO_ANSWER, "no_answer", "connects, but nothing answers")                                               \
    X(CLOSED, "closed", "connects, but the connection is cut")                                               \
    X(FAILED, "failed", "cannot be dialed")

typedef enum mu_mesh_result {
#define MU_MESH_ENUM(name, word, text) MU_MESH_##name,
    MU_MESH_TABLE(MU_MESH_ENUM)
#undef MU_MESH_ENUM
        MU_MESH_RESULTS
} mu_mesh_result_t;

const char *mu_mesh_word(mu_mesh_result_t result);
const char *mu_mesh_text(mu_mesh_result_t result);
/* False for an unknown word. */
bool mu_mesh_of_word(const char *word, mu_mesh_result_t *out);

typedef struct mu_mesh mu_mesh_t;

typedef struct mu_mesh_peer {
    char address[MU_ADDRESS_TEXT]; /* numeric */
    int port;
} mu_mesh_peer_t;

#define MU_MESH_HAS " (it has " /* in *why, before the addresses that there are */

/* Listens at the address that `interfaces` chooses (common/interfaces.h), on the first free one of `ports` ports from
 * `port` on; where it chooses none, as the list `instead` does (NULL: nowhere), and *why tells what is lacking, since
 * Open MPI too takes what there is then. token: MU_MESH_TOKEN characters. False, and *why (cleared first) tells the
 * reason. */
bool mu_mesh_new(const char *interfaces, const char *instead, int port, int ports, const char *token,
                 mu_buf_t *why, mu_mesh_t **out);
/* Where the others find it. */
mu_mesh_peer_t mu_mesh_self(const mu_mesh_t *mesh);
/* Dials at most MU_MESH_PEERS peers, once; who has not answered at deadline_ns (mu_now_ns()) has failed. */
void mu_mesh_dial(mu_mesh_t *mesh, const mu_mesh_peer_t *peer, int n, int64_t deadline_ns);
/* Fills at most MU_MESH_FDS entries for poll; returns their number. */
int mu_mesh_gather(const mu_mesh_t *mesh, struct pollfd *fds);
/* Goes on with what poll reported for these entries, before anything else is done with the mesh, and with the
 * deadline. */
void mu_mesh_serve(mu_mesh_t *mesh, const struct pollfd *fds);
/* Whether every peer has its result; true before anyone is dialed. */
bool mu_mesh_done(const mu_mesh_t *mesh);
mu_mesh_result_t mu_mesh_result(const mu_mesh_t *mesh, int peer);
void mu_mesh_free(mu_mesh_t *mesh);

#endif
