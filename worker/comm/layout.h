/*
 * Who is who in a world of 1 + N ranks. World rank 0 is the controller; worker index w = world rank - 1 is
 * w = dp_rank * tp + tp_rank. Workers beyond tp * dp are idle. The first worker of each replica (tp_rank 0)
 * is its leader: it alone speaks with the controller about data.
 */
#ifndef MU_WORKER_LAYOUT_H
#define MU_WORKER_LAYOUT_H

#include "worker/comm/comm_mpi.h"
#include "worker/guard/page.h"
#include <stdbool.h>

typedef struct mu_layout {
    int tp, dp, tp_rank, dp_rank; /* ranks -1 on the controller and on idle workers */
} mu_layout_t;

static inline int mu_layout_leader(const mu_layout_t *layout, int dp_rank)
{
    return 1 + dp_rank * layout->tp; /* world rank */
}

typedef struct mu_groups {
    mu_layout_t layout;
    bool controller, idle, leader;
    MPI_Comm control;             /* all ranks: commands, tokens, reports */
    mu_comm_t *tp, *dp, *workers; /* NULL on the controller and on idle workers */
    mu_progress_thread_t
        *progress_thread; /* of tp and dp; NULL where MPI_THREAD_SERIALIZED is not to be had */
} mu_groups_t;

/* Collective over MPI_COMM_WORLD. Errors: MU_CONFIG when the world is smaller than 1 + tp * dp, MU_NETWORK.
 */
mu_status_t mu_groups_make(int tp, int dp, mu_page_t *page, mu_groups_t *out);
void mu_groups_free(mu_groups_t *groups);

#endif
