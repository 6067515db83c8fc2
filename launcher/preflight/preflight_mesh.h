/*
 * The hosts among themselves: a firewall, a route or an MTU between two of them that both reach the launcher. When
 * every host has reported its facts, and with them where it listens, each dials the others (common/control/mesh.h).
 *
 *     mu_preflight_mesh_new(ready, want, token)     NULL when the ranks are all on one machine, or do not talk over TCP
 *     mu_preflight_mesh_ask(mesh)                   "mesh" of the question that each host elsewhere is asked
 *     mu_preflight_mesh_run(mesh, facts, stop)      from the facts; some 5 s at most
 *     mu_preflight_mesh_judge(mesh, judge)
 *     mu_preflight_mesh_free(mesh)                  ends the listening, also on the hosts
 *
 * This machine takes part when a host of the list is this machine, or the controller is to run here.
 */
#ifndef MU_LAUNCHER_PREFLIGHT_MESH_H
#define MU_LAUNCHER_PREFLIGHT_MESH_H

#include "common/control/mesh.h"
#include "launcher/preflight/preflight_internal.h"
#include "launcher/hosts/route.h"

enum { MU_MESH_ALL = 128 }; /* so many members each dial all others */

/* One machine of the mesh. */
typedef struct mu_mesh_member {
    int host; /* in the list; -1: this machine, which is not in it */
    mu_mesh_peer_t self;
    char *missing; /* why it does not take part, or does not tell; NULL otherwise */
    bool listens;
    char *instead; /* what it lacks, when it listens elsewhere than in MPI's network; NULL otherwise */
    int peer[MU_MESH_PEERS]; /* members that it dials */
    int peers;
    mu_mesh_result_t result[MU_MESH_PEERS]; /* when `reported` */
    bool reported;
} mu_mesh_member_t;

struct mu_preflight_mesh {
    mu_ready_t *ready;
    char interfaces[256], token[MU_MESH_TOKEN + 1];
    mu_route_t route; /* to the hosts elsewhere */
    int family;       /* 4 or 6 when all of them were reached by it; else 0 */
    int port, ports;
    mu_mesh_t *here; /* this machine's, which is member 0 then; NULL: takes no part, or cannot listen */
    mu_mesh_member_t *member;
    int members;
};

/* Whom member i of n dials; returns how many. Up to MU_MESH_ALL all others; beyond, those at distances 1, 2, 4, ... in
 * both directions (a ring's neighbours, a tree's) and some that a hash chooses, 64 in all. */
int mu_preflight_mesh_peers(int n, int i, int peer[MU_MESH_PEERS]);

mu_preflight_mesh_t *mu_preflight_mesh_new(mu_ready_t *ready, const mu_preflight_want_t *want,
                                           const char *token);
/* For host i of the list. */
json_t *mu_preflight_mesh_ask(const mu_preflight_mesh_t *mesh, int i);
/* Also adds "cannot_reach" to the "mesh" of the facts. Errors: MU_STOPPED. */
mu_status_t mu_preflight_mesh_run(mu_preflight_mesh_t *mesh, json_t *const *facts,
                                  const volatile sig_atomic_t *stop);
/* Takes one host's word: where it listens (of its facts), then what it has seen. NULL: none came. */
void mu_preflight_mesh_receive_place(mu_mesh_member_t *member, const json_t *facts);
void mu_preflight_mesh_receive_seen(mu_mesh_member_t *member, const json_t *seen);
void mu_preflight_mesh_free(mu_preflight_mesh_t *mesh);

#endif
