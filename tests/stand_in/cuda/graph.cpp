/* Graphs: what a capture kept (stream.cpp), done again in its order at each launch. */
#include "runtime.h"

struct CUgraphExec_st {
    std::vector<mu_stand_in_node> nodes;
    int device;
    ptrdiff_t bytes; /* of the device's memory, that it takes as a card's does */
};

static const ptrdiff_t NODE_BYTES = 1024;

extern "C" {

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    if (nodes)
        mu_stand_in_fail("cudaGraphGetNodes: the nodes of a graph are no part of the stand-in");
    *count = graph->nodes.size();
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph; /* what was made of it lives on */
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags)
{
    (void)flags;
    if (cudaError_t error = mu_stand_in_unsafe())
        return error;
    if (mu_stand_in_shall_fail("cudaGraphInstantiate"))
        return mu_stand_in_error(cudaErrorNotSupported);
    ptrdiff_t bytes = (ptrdiff_t)graph->nodes.size() * NODE_BYTES;
    if (!mu_stand_in_take(graph->device, bytes))
        return mu_stand_in_error(cudaErrorMemoryAllocation);
    *out = new CUgraphExec_st{graph->nodes, graph->device, bytes};
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    (void)exec;
    return mu_stand_in_uncapturable(stream);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    if (mu_stand_in_is_capturing(stream))
        mu_stand_in_fail("cudaGraphLaunch: a graph within a graph is no part of the stand-in");
    if (mu_stand_in_stream_device(stream) != exec->device)
        mu_stand_in_fail("cudaGraphLaunch: a graph of device %d on a stream of device %d", exec->device,
                         mu_stand_in_stream_device(stream));
    if (mu_stand_in_shall_fail("cudaGraphLaunch"))
        return mu_stand_in_error(cudaErrorLaunchFailure);
    for (const mu_stand_in_node &node : exec->nodes) {
        if (node.check)
            node.check();
        if (cudaError_t error = mu_stand_in_enqueue(stream, node.step))
            return error;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    if (!exec)
        return mu_stand_in_error(cudaErrorInvalidValue);
    (void)mu_stand_in_take(exec->device, -exec->bytes);
    delete exec; /* what is enqueued of it keeps its own copy */
    return cudaSuccess;
}

} /* extern "C" */
