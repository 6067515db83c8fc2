/* Generation's steps as graphs: one for each number of rows, recorded when that number comes for the second time. The
 * first time the step is launched, which chooses products, loads kernels and makes scratch, none of which can be done
 * while a graph is recorded. */
#include "common/log.h"
#include "worker/model/net_impl.h"

typedef struct recording {
    mu_net_t *net;
    const mu_net_place_t *place;
    mu_status_t status;
} recording_t;

static mu_status_t launch(mu_net_t *net, const mu_net_place_t *place)
{
    MU_TRY(mu_net_trunk_forward(net, place));
    mu_net_final_norm(net, 0, place->pieces);
    return MU_OK;
}

static void enqueue(void *arg)
{
    recording_t *r = arg;
    r->status = launch(r->net, r->place);
}

static void no_graphs(mu_net_t *net, mu_log_level_t level, const char *why)
{
    mu_log(level, "generation: each step is launched kernel by kernel, without a CUDA graph: %s", why);
    net->no_graphs = true;
}

static void drop(mu_net_t *net, mu_step_graph_t *step)
{
    if (step->graph)
        net->ops->graph_free(net->dev, step->graph);
    *step = (mu_step_graph_t){0};
}

/* A failure is logged, and the last: from then on steps are launched. */
static mu_status_t record(mu_net_t *net, const mu_net_place_t *place, mu_step_graph_t *step)
{
    char why[192];
    recording_t r = {net, place, MU_OK};
    step->graph = net->ops->graph_record(net->dev, enqueue, &r, why, sizeof why);
    if (!step->graph) {
        no_graphs(net, MU_LOG_WARN, why);
        return r.status;
    }
    if (r.status != MU_OK) {
        drop(net, step);
        return r.status;
    }
    net->graphs.recorded++;
    mu_debug("generation: a step of %d rows is a graph of %lld operations, %lld bytes", place->pieces,
             (long long)step->graph->operations, (long long)step->graph->bytes);
    return MU_OK;
}

/* Whether it was enqueued. One that may name memory that is no more is dropped. */
static bool replay(mu_net_t *net, mu_step_graph_t *step)
{
    if (step->graph && net->ops->graph_run(net->dev, step->graph)) {
        net->graphs.replayed++;
        mu_comm_progress(net->tp); /* a graph has none of the layers' own */
        return true;
    }
    if (step->graph)
        drop(net, step);
    return false;
}

mu_status_t mu_net_step_rows(mu_net_t *net, const mu_net_place_t *place)
{
    if (!net->no_graphs && net->tp->size > 1)
        no_graphs(net, MU_LOG_INFO, "a graph holds no collectives of workers");
    if (net->no_graphs || net->need || place->pieces > MU_NET_GRAPHS)
        return launch(net, place);
    mu_step_graph_t *step = &net->step_graph[place->pieces];
    if (replay(net, step))
        return MU_OK;
    if (step->seen) {
        MU_TRY(record(net, place, step));
        if (replay(net, step))
            return MU_OK;
    }
    step->seen = true;
    return launch(net, place);
}

void mu_net_drop_graphs(mu_net_t *net)
{
    for (int i = 0; i <= MU_NET_GRAPHS; i++)
        drop(net, &net->step_graph[i]);
}

mu_net_graphs_t mu_net_graphs(const mu_net_t *net)
{
    return net->graphs;
}
