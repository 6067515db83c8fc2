#include "worker/comm/layout.h"
#include "common/log.h"

static mu_status_t split(int color, int key, const char *name, mu_page_t *page, mu_comm_t **out)
{
    MPI_Comm group;
    MU_TRY(mu_mpi_check(MPI_Comm_split(MPI_COMM_WORLD, color, key, &group), "MPI_Comm_split"));
    if (color != MPI_UNDEFINED)
        *out = mu_comm_mpi(group, name, page);
    return MU_OK;
}

/* What is begun on dp moves while this worker computes. */
static mu_status_t move_along(mu_groups_t *groups)
{
    int provided;
    MU_TRY(mu_mpi_check(MPI_Query_thread(&provided), "MPI_Query_thread"));
    if (provided < MPI_THREAD_SERIALIZED)
        return MU_OK;
    MU_TRY(mu_progress_thread_new(&groups->progress_thread));
    mu_comm_mpi_attach(groups->tp, groups->progress_thread);
    mu_comm_mpi_attach(groups->dp, groups->progress_thread);
    return MU_OK;
}

mu_status_t mu_groups_make(int tp, int dp, mu_page_t *page, mu_groups_t *out)
{
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    memset(out, 0, sizeof *out);
    if (size < 1 + tp * dp)
        return mu_fail(MU_CONFIG,
                       "a world of %d ranks holds 1 controller and %d workers, but tp %d x dp %d needs %d",
                       size, size - 1, tp, dp, tp * dp);
    int w = rank - 1;
    bool active = w >= 0 && w < tp * dp;
    out->controller = rank == 0;
    out->idle = !out->controller && !active;
    out->layout = (mu_layout_t){tp, dp, active ? w % tp : -1, active ? w / tp : -1};
    out->leader = active && w % tp == 0;

    MU_TRY(mu_mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &out->control), "MPI_Comm_dup"));
    MPI_Comm_set_errhandler(out->control, MPI_ERRORS_RETURN);
    MU_TRY(split(active ? w / tp : MPI_UNDEFINED, w, "tp", page, &out->tp));
    MU_TRY(split(active ? w % tp : MPI_UNDEFINED, w, "dp", page, &out->dp));
    MU_TRY(split(active ? 0 : MPI_UNDEFINED, w, "workers", page, &out->workers));
    return active && dp > 1 ? move_along(out) : MU_OK;
}

void mu_groups_free(mu_groups_t *groups)
{
    mu_comm_free(groups->tp);
    mu_comm_free(groups->dp);
    mu_comm_free(groups->workers);
    mu_progress_thread_free(groups->progress_thread);
    MPI_Comm_free(&groups->control);
}
