/*
 * Which host each worker is on, and whose memory takes a second copy of its state: that of a worker with the same tp
 * rank, in a replica on another host. Hosts take turns: each gives to the next host that has such a worker, so that a
 * host's death costs no state, and that of two neighbours does.
 */
#ifndef MU_WORKER_PEERS_H
#define MU_WORKER_PEERS_H

#include "worker/train/run.h"

typedef struct mu_peers {
    int self, workers, hosts;
    int *
        host; /* [workers]: index of each one's host; hosts are counted in the order of their first workers */
    int *partner;  /* [workers]: who takes each one's copy; -1: nobody on another host */
    bool possible; /* every worker has a partner */
    bool first;    /* this is the first worker of its host */
} mu_peers_t;

/* All workers call it. Errors: MU_NETWORK. */
mu_status_t mu_peers_find(const mu_run_t *run, mu_peers_t *out);
/* Fills partner and possible from host. Pure. */
void mu_peers_pair(mu_peers_t *peers, int tp);
void mu_peers_release(mu_peers_t *peers);

#endif
