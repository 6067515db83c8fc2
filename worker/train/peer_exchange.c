#include "worker/train/peer_exchange.h"
#include "common/clock.h"
#include "worker/comm/progress_thread.h"

enum { TAG = 1 }; /* nobody else sends messages over the workers' communicator */

static int post(mu_transfer_t *t, MPI_Comm workers)
{
    uint64_t left = t->size - t->done;
    int n = (int)(left < MU_EXCHANGE_BLOCK ? left : MU_EXCHANGE_BLOCK);
    t->pending = true;
    return t->sends ? MPI_Isend(t->bytes + t->done, n, MPI_BYTE, t->peer, TAG, workers, &t->request)
                    : MPI_Irecv(t->bytes + t->done, n, MPI_BYTE, t->peer, TAG, workers, &t->request);
}

/* One look; *moved: a block came to its end. */
static int move(mu_transfer_t *t, MPI_Comm workers, bool *moved)
{
    int done = 0, rc = MPI_SUCCESS;
    if (!t->pending && t->done < t->size)
        rc = post(t, workers);
    if (rc == MPI_SUCCESS && t->pending)
        rc = MPI_Test(&t->request, &done, MPI_STATUS_IGNORE);
    if (done) {
        uint64_t left = t->size - t->done;
        t->done += left < MU_EXCHANGE_BLOCK ? left : MU_EXCHANGE_BLOCK;
        t->pending = false;
        *moved = true;
    }
    return rc;
}

mu_status_t mu_exchange(const mu_run_t *run, mu_transfer_t *transfers, int n)
{
    MPI_Comm workers = mu_comm_mpi_group(run->groups->workers);
    mu_progress_thread_t *thread = run->groups->progress_thread;
    int rc = MPI_SUCCESS, open = n;
    mu_progress_thread_lock(thread);
    for (int64_t since = mu_now_ns(); rc == MPI_SUCCESS && open > 0;) {
        bool moved = false;
        open = 0;
        for (int i = 0; rc == MPI_SUCCESS && i < n; i++) {
            rc = move(&transfers[i], workers, &moved);
            open += transfers[i].done < transfers[i].size;
        }
        if (moved) {
            since = mu_now_ns();
            mu_page_progress(run->page);
        } else {
            mu_progress_thread_pause(since);
        }
    }
    mu_progress_thread_unlock(thread);
    return mu_mpi_check(rc, "exchange of copies in memory");
}
