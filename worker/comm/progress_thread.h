/* The thread that moves begun MPI operations while their owner computes: comm_mpi.c's side of it. */
#ifndef MU_WORKER_MOVER_H
#define MU_WORKER_MOVER_H

#include "worker/comm/comm_queue.h"

/* Between these two the mover makes no MPI call, and queues may be touched. NULL: nothing. */
void mu_mover_lock(mu_mover_t *mover);
void mu_mover_unlock(mu_mover_t *mover);
/* There is something to move. Does not wait for the lock. */
void mu_mover_wake(mu_mover_t *mover);
/* Between two looks of one who waits and has seen nothing since `since` (mu_now_ns()): lets others have the
 * core, and once that is long ago sleeps, so that a late peer has it. */
void mu_mover_pause(int64_t since);
void mu_mover_attach(mu_mover_t *mover, mu_queue_t *queue);
void mu_mover_detach(mu_mover_t *mover, mu_queue_t *queue); /* NULL: nothing */

#endif
