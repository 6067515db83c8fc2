/* Graphs: operations that are recorded once and enqueued again as one, which takes the host microseconds where a launch
 * each takes it milliseconds. */
#include "kernels/cuda/cu.h"

#include <stdio.h>

/* Instantiated, and brought to the GPU before it is timed by anybody. NULL after an error. */
static cudaError_t instantiate(mu_device_t *dev, cudaGraph_t recorded, mu_graph_t *out)
{
    cudaGraphExec_t exec = NULL;
    size_t before = 0, after = 0, all, nodes = 0;
    cudaError_t error = cudaGraphGetNodes(recorded, NULL, &nodes);
    if (error == cudaSuccess)
        error = cudaMemGetInfo(&before, &all);
    if (error == cudaSuccess)
        error = cudaGraphInstantiate(&exec, recorded, 0);
    if (error == cudaSuccess)
        error = cudaGraphUpload(exec, mu_stream(dev));
    if (error == cudaSuccess)
        error = cudaMemGetInfo(&after, &all);
    if (error != cudaSuccess) {
        if (exec)
            (void)cudaGraphExecDestroy(exec);
        return error;
    }
    out->impl = exec;
    out->operations = (int64_t)nodes;
    out->bytes = before > after ? (int64_t)(before - after) : 0;
    out->epoch = mu_cuda(dev)->epoch;
    mu_cuda_host->count(dev, MU_MEM_WORKSPACE, out->bytes);
    return cudaSuccess;
}

/* What other threads do meanwhile (NCCL's, a checkpoint's) is not this capture's, hence thread-local. */
static cudaError_t record(mu_device_t *dev, void (*enqueue)(void *arg), void *arg, mu_graph_t *out)
{
    mu_cuda_t *cuda = mu_cuda(dev);
    cudaGraph_t recorded = NULL;
    cudaError_t error = cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal);
    if (error != cudaSuccess)
        return error;
    cuda->recording = true;
    enqueue(arg);
    cuda->recording = false;
    error = cudaStreamEndCapture(cuda->stream, &recorded);
    if (error == cudaSuccess && !cuda->spoiled[0])
        error = instantiate(dev, recorded, out);
    if (recorded)
        (void)cudaGraphDestroy(recorded);
    return error;
}

mu_graph_t *mu_cuda_graph_record(mu_device_t *dev, void (*enqueue)(void *arg), void *arg, char *why,
                                 size_t size)
{
    mu_cuda_t *cuda = mu_cuda(dev);
    mu_graph_t *graph = (mu_graph_t *)calloc(1, sizeof *graph);
    if (!graph) {
        snprintf(why, size, "no memory");
        return NULL;
    }
    cuda->spoiled[0] = '\0';
    cudaError_t error = record(dev, enqueue, arg, graph);
    if (graph->impl)
        return graph;
    snprintf(why, size, "%s", cuda->spoiled[0] ? cuda->spoiled : cudaGetErrorString(error));
    (void)cudaGetLastError(); /* which is no failure of the device */
    free(graph);
    return NULL;
}

bool mu_cuda_graph_run(mu_device_t *dev, const mu_graph_t *graph)
{
    if (graph->epoch != mu_cuda(dev)->epoch)
        return false;
    (void)cudaGraphLaunch((cudaGraphExec_t)graph->impl, mu_stream(dev)); /* an error stays for the check */
    mu_cuda_check(dev, "running a graph");
    return true;
}

void mu_cuda_graph_free(mu_device_t *dev, mu_graph_t *graph)
{
    (void)cudaGraphExecDestroy((cudaGraphExec_t)graph->impl); /* takes effect when the GPU is done with it */
    mu_cuda_check(dev, "dropping a graph");
    mu_cuda_host->count(dev, MU_MEM_WORKSPACE, -graph->bytes);
    free(graph);
}
