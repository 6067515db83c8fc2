/* The thread that moves begun MPI operations while their owner computes: comm_mpi.c's side of it. */
#ifndef MU_WORKER_PROGRESS_THREAD_H
#define MU_WORKER_PROGRESS_THREAD_H

#include "worker/comm/comm_queue.h"

/* Between these two the progress_thread makes no MPI call, and queues may be touched. NULL: nothing. */
void mu_progress_thread_lock(mu_progress_thread_t *progress_thread);
void mu_progress_thread_unlock(mu_progress_thread_t *progress_thread);
/* There is something to move. Does not wait for the lock. */
void mu_progress_thread_wake(mu_progress_thread_t *progress_thread);
/* Between two looks of one who waits and has seen nothing since `since` (mu_now_ns()): lets others have the
 * core, and once that is long ago sleeps, so that a late peer has it. */
void mu_progress_thread_pause(int64_t since);
void mu_progress_thread_attach(mu_progress_thread_t *progress_thread, mu_queue_t *queue);
void mu_progress_thread_detach(mu_progress_thread_t *progress_thread, mu_queue_t *queue); /* NULL: nothing */

#endif
