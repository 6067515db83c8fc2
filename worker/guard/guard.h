/*
 * The guard: the parent of a rank on its host.
 *
 *     int main(int argc, char **argv)
 *     {
 *         mu_guard_config_t guard = {.config_path = argv[1]};
 *         mu_page_t *page;
 *         mu_status_t status = mu_guard_start(&guard, &page);    first thing: before MPI_Init, before threads
 *         if (status != MU_OK)
 *             return mu_status_exit(status);
 *         MPI_Init_thread(...);                                  only the rank comes here
 *         mu_page_phase(page, MU_PHASE_SETUP);
 *         ...
 *         if (atomic_load(&page->request) >= MU_REQUEST_STOP)    between steps, on the controller
 *         ...
 *         return mu_status_exit(status);                         the guard passes the code on
 *     }
 *
 * mu_guard_start() forks. The child is the rank: it returns, with a page shared with its guard, and dies with
 * it (PDEATHSIG). The parent is the guard (process name muster-guard): it never returns, and exits with the
 * rank's exit code, or 128 + the signal that ended the rank. The rank ignores SIGTERM, SIGINT and SIGUSR1;
 * the guard owns them.
 *
 * Under `muster run` (MUSTER_CONTROL is set) the guard keeps a connection to the launcher: it says hello,
 * sends a heartbeat a second, puts what the launcher asks into page->request, kills the rank on request or
 * when the launcher has not answered for MUSTER_LEASE seconds, and reports how the rank ended. Output of the
 * rank goes to MUSTER_RUN_DIR/logs/rank-NNNNN.log, and its warnings and errors to the launcher too.
 *
 * By hand (mpirun, srun; MUSTER_CONTROL is not set) the guard only watches: output stays where it was,
 * SIGTERM, SIGINT and SIGUSR1 ask the rank to save and stop (page->request), and the guard of rank 0 says in
 * the first line what is missing.
 *
 * The environment is read here, by mu_guard_env_read(): the variables of common/launch_env.h, and
 * OMPI_COMM_WORLD_RANK and _SIZE, or PMIX_RANK, or SLURM_PROCID and SLURM_NTASKS. MUSTER_LEASE defaults to 15.
 * The rank's environment has neither the key nor the address of the launcher.
 */
#ifndef MU_WORKER_GUARD_H
#define MU_WORKER_GUARD_H

#include "common/status.h"
#include "worker/guard/page.h"

typedef struct mu_guard_config {
    const char
        *config_path; /* digested for the hello, so that the launcher sees that all read the same; or NULL */
} mu_guard_config_t;

/* Returns in the rank only. Errors (in the caller, nothing was forked): MU_AUTH when the key cannot be read,
 * MU_USAGE for an address that is none, MU_RUNDIR when the log cannot be opened, MU_BUG when the kernel
 * refuses a process or a page. */
mu_status_t mu_guard_start(const mu_guard_config_t *config, mu_page_t **page);

#endif
