#include "launcher/run/run_impl.h"
#include "common/file.h"
#include "launcher/mpi/agent.h"
#include "launcher/plan/plan_memory.h"
#include "launcher/preflight/preflight.h"
#include "launcher/preflight/requirements.h"

/* Which hosts may be used; MU_PREFLIGHT when that are fewer than muster.min_hosts. */
static mu_status_t choose_hosts(mu_launch_t *r, const mu_preflight_report_t *report, mu_status_t status)
{
    int fit = 0;
    for (int i = 0; i < r->plan.hosts->count; i++) {
        r->fit[i] = mu_preflight_fit(report, i);
        r->gpus[i] = report->gpus[i];
        fit += r->fit[i];
    }
    for (int i = 0; i < report->count; i++)
        if (report->finding[i].fatal && report->finding[i].host < 0)
            return status; /* this machine is at fault */
    int64_t least = r->plan.config->muster.min_hosts;
    if (fit == r->plan.hosts->count || (least > 0 && fit >= least))
        return MU_OK;
    return MU_PREFLIGHT;
}

/* Bytes of /dev/shm for copies in memory, if all slots get a rank. In later attempts they are there already, and the
 * workers look whether they fit (worker/train/peer_copy.h). */
static uint64_t copies_a_slot(const mu_launch_t *r, uint64_t checkpoint)
{
    const mu_hosts_t *hosts = r->plan.hosts;
    uint64_t slots = 0;
    if (r->copies_dir.len == 0 || hosts->count < 2 || r->state.attempt + 1 != r->first_attempt)
        return 0;
    for (int i = 0; i < hosts->count; i++)
        slots += hosts->host[i].slots > 0 ? (uint64_t)hosts->host[i].slots : 1;
    bool replicas = slots >= 2 * (uint64_t)(r->plan.config->tp > 0 ? r->plan.config->tp : 1);
    return replicas ? MU_PLAN_COPIES * checkpoint / slots : 0;
}

static mu_status_t check_hosts(mu_launch_t *r)
{
    static const mu_need_t need[] = {
        [MU_DEVICE_AUTO] = MU_NEED_AUTO, [MU_DEVICE_CPU] = MU_NEED_NO, [MU_DEVICE_CUDA] = MU_NEED_YES};
    static const mu_need_t rdma[] = {[MU_TRANSPORT_AUTO] = MU_NEED_AUTO,
                                     [MU_TRANSPORT_RDMA] = MU_NEED_YES,
                                     [MU_TRANSPORT_TCP] = MU_NEED_NO};
    mu_requirements_t needs;
    MU_TRY(mu_requirements_of(r->plan.config, r->plan.more == NULL, &needs));
    uint64_t copies = copies_a_slot(r, needs.checkpoint);
    mu_preflight_want_t want = {.run_dir = r->plan.run_dir,
                                .checkpoint_bytes = needs.checkpoint,
                                .memory_per_slot = needs.rank > 0 ? needs.rank + copies : 0,
                                .shm_per_slot = copies,
                                .copies = r->copies_dir.len > 0 ? strrchr(r->copies_dir.data, '/') + 1 : NULL,
                                .gpus = need[r->plan.config->muster.device],
                                .rdma = rdma[r->plan.config->muster.transport],
                                .controller_here = mu_run_plan_controller_here(r->plan.config),
                                .settings = &r->plan.settings,
                                .token = r->state.token,
                                .attempt = r->state.attempt + 1,
                                .stop = r->signals};
    mu_preflight_report_t *report = NULL;
    mu_launch_set_state(r, "checking");
    mu_status_t status = mu_preflight_run(r->ready, &want, &report);
    if (!report)
        return status;
    status = choose_hosts(r, report, status);
    report->goes_on = status == MU_OK;
    mu_preflight_print(report);
    snprintf(r->plan.interfaces, sizeof r->plan.interfaces, "%s", report->interfaces);
    mu_preflight_free(report);
    return status;
}

/* Every host ready and fit, or the error that says which is not. */
mu_status_t mu_launch_gather(mu_launch_t *r)
{
    const mu_config_t *config = r->plan.config;
    bool local = r->plan.hosts->source == MU_HOSTS_LOCAL;
    mu_ready_options_t options = {.timeout = config->muster.ready_timeout,
                                  .min_hosts = (int)config->muster.min_hosts,
                                  .worker = r->plan.worker,
                                  .token = r->state.token,
                                  .attempt = r->state.attempt + 1,
                                  .quiet = local,
                                  .stop = r->signals};
    mu_launch_set_state(r, "waiting");
    if (!r->ssh)
        MU_TRY(mu_ssh_new(r->plan.hosts, config->muster.ssh_args, r->tmp_dir.data, &r->ssh));
    mu_ready_free(r->ready);
    r->ready = NULL;
    MU_TRY(mu_ready_new(r->plan.hosts, r->ssh, &options, &r->ready));
    MU_TRY(mu_ready_wait(r->ready));
    mu_run_plan_prove(&r->plan, r->ready);
    MU_TRY(check_hosts(r));
    if (local) { /* no login to keep */
        mu_ready_free(r->ready);
        r->ready = NULL;
    } else if (r->ssh_args.len == 0) {
        mu_ssh_mpirun_args(r->ssh, &r->ssh_args);
    }
    return MU_OK;
}

mu_status_t mu_launch_write_hostfile(mu_launch_t *r)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_mpirun_hostfile(&r->plan.mpirun, r->plan.places.place, r->plan.places.count, &text);
    mu_status_t status = mu_file_replace(r->hostfile, text.data, text.len, 0600);
    mu_buf_release(&text);
    if (status == MU_OK && !r->plan.places.local)
        status = mu_agent_install(r->tmp_dir.data, r->plan.places.node, r->plan.places.family,
                                  r->plan.places.count);
    return status;
}
