#include "worker/train/device_context_impl.h"
#include "common/buf.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "common/nccl_env.h"
#include "worker/comm/comm_nccl.h"
#include "worker/fabric/ib_ports.h"
#include "worker/fabric/transport.h"

typedef struct network {
    char ports[1024]; /* RDMA, "" when there are none */
    char *log;        /* NCCL's, where it is ours to read; else NULL */
} network_t;

/* What the user has set stays. */
static void report(const mu_run_t *run, network_t *net)
{
    char interfaces[512] = "";
    const char *include = getenv("OMPI_MCA_btl_tcp_if_include");
    const char *sys = getenv(MU_ENV_SYSFS);
    mu_ib_ports_tell(sys && *sys ? sys : "/sys", net->ports, sizeof net->ports);
    if (run->config->muster.transport == MU_TRANSPORT_TCP)
        setenv("NCCL_IB_DISABLE", "1", 0);
    if (include)
        mu_transport_interfaces(include, interfaces, sizeof interfaces);
    if (interfaces[0])
        setenv("NCCL_SOCKET_IFNAME", interfaces, 0);
    /* sums over tp and dp are in flight at once: their kernels must start in one order on all GPUs */
    setenv("NCCL_LAUNCH_ORDER_IMPLICIT", "1", 0);
    net->log = NULL;
    if (getenv("NCCL_DEBUG") || getenv("NCCL_DEBUG_FILE"))
        return;
    net->log = mu_format("%s/logs/nccl-%05d.log", run->dir, 1 + run->groups->workers->rank);
    setenv("NCCL_DEBUG", "INFO", 1);
    setenv("NCCL_DEBUG_SUBSYS", "INIT,NET", 0);
    setenv("NCCL_DEBUG_FILE", net->log, 1);
}

/* Whether the groups span hosts, and RDMA is to be taken between them: when it is asked for, or every
 * worker's host has it and the settings of NCCL do not exclude it. */
static mu_status_t wants_rdma(const mu_run_t *run, const network_t *net, bool *out)
{
    mu_transport_choice_t choice = run->config->muster.transport;
    mu_neighbours_t near;
    int32_t without = net->ports[0] == '\0';
    *out = false;
    if (choice == MU_TRANSPORT_AUTO && mu_nccl_env_without_rdma())
        choice = MU_TRANSPORT_TCP;
    MU_TRY(mu_device_context_neighbours(run, NULL, &near));
    MU_TRY(mu_comm_allreduce(run->groups->workers, MU_MAX, MU_TYPE_I32, &without, 1));
    if (choice == MU_TRANSPORT_TCP || near.count == run->groups->workers->size)
        return MU_OK;
    if (choice == MU_TRANSPORT_RDMA && net->ports[0] == '\0')
        return mu_fail(MU_CONFIG, "muster.transport is rdma, but this host has no active RDMA port");
    *out = choice == MU_TRANSPORT_RDMA || !without;
    return MU_OK;
}

static mu_status_t check_taken(const network_t *net, bool rdma, char *words, size_t size)
{
    mu_transport_seen_t seen;
    words[0] = '\0';
    if (!net->log) {
        if (rdma)
            mu_warn("NCCL_DEBUG is set, so NCCL's log is not read: whether it took RDMA is not known");
        return MU_OK;
    }
    mu_transport_read(net->log, &seen);
    mu_transport_words(&seen, words, size);
    if (rdma && seen.tcp > 0)
        return mu_fail(
            MU_NETWORK,
            "NCCL took TCP between hosts, although there is RDMA (%s): %s says why; muster.transport=tcp "
            "allows it",
            net->ports, net->log);
    return MU_OK;
}

mu_status_t mu_device_context_join(const mu_run_t *run, mu_device_context_t *context)
{
    const double patience = 30; /* the launcher finds hangs earlier, and names the root cause */
    double hang = run->config->muster.hang_timeout;
    mu_nccl_limits_t limits = {.meet = 120, .hang = hang > 0 ? hang + patience : 600, .leave = patience};
    char version[32], taken[64];
    network_t net;
    bool rdma;
    mu_status_t status;
    report(run, &net);
    context->own = true;
    context->tp = context->dp = NULL;
    MU_TRY_GOTO(status, wants_rdma(run, &net, &rdma), out);
    MU_TRY_GOTO(status, mu_nccl_watch_new(&limits, &context->watch), out);
    MU_TRY_GOTO(status, mu_comm_nccl_new(run->groups->tp, context->device, context->watch, &context->tp),
                out);
    MU_TRY_GOTO(status, mu_comm_nccl_new(run->groups->dp, context->device, context->watch, &context->dp),
                out);
    int tp = mu_comm_nccl_number(context->tp), dp = mu_comm_nccl_number(context->dp);
    context->one_by_one = tp > 0 && dp > 0 && tp < MU_NCCL_ORDERED;
    if (context->one_by_one && run->groups->workers->rank == 0)
        mu_warn("NCCL %d.%d does not start operations of two groups in one order: sums of gradients wait "
                "until backward "
                "is done, as with muster.overlap=false; 2.26 or later lets them overlap",
                tp / 10000, tp / 100 % 100);
    mu_comm_nccl_version(context->tp->size > 1 ? context->tp : context->dp, version, sizeof version);
    MU_TRY_GOTO(status, check_taken(&net, rdma, taken, sizeof taken), out);
    if (version[0]) {
        char *words = mu_format("%s, %s%s%s%s", context->words, version, taken[0] ? " (" : "", taken,
                                taken[0] ? ")" : "");
        snprintf(context->words, sizeof context->words, "%s", words);
        free(words);
    }
out:
    free(net.log);
    return status;
}
