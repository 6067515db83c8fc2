/* The CUDA device: memory, transfers, streams, errors, the table, and the library's entry point. */
#include "kernels/cuda/cu.h"

const mu_cuda_host_t *mu_cuda_host;

#define TRY_CUDA(call, doing)                                                                                \
    do {                                                                                                     \
        cudaError_t error_ = (call);                                                                         \
        if (error_ != cudaSuccess)                                                                           \
            return mu_cuda_status(error_, doing);                                                            \
    } while (0)

mu_status_t mu_cuda_status(cudaError_t error, const char *doing)
{
    if (error == cudaSuccess)
        return MU_OK;
    if (error == cudaErrorMemoryAllocation)
        return mu_cuda_host->fail(MU_NOMEM, "cuda: %s: out of memory on the GPU", doing);
    return mu_cuda_host->fail(MU_GPU, "cuda: %s: %s (%s)", doing, cudaGetErrorString(error),
                              cudaGetErrorName(error));
}

bool mu_cuda_spoils(mu_device_t *dev, const char *doing, const char *why)
{
    mu_cuda_t *cuda = mu_cuda(dev);
    if (cuda->recording && !cuda->spoiled[0])
        snprintf(cuda->spoiled, sizeof cuda->spoiled, "%s: %s", doing, why);
    return cuda->recording;
}

/* An error of a call that enqueues. */
static void enqueued(mu_device_t *dev, cudaError_t error, const char *doing)
{
    if (error != cudaSuccess && !mu_cuda_spoils(dev, doing, cudaGetErrorString(error)) &&
        dev->status == MU_OK)
        mu_cuda_host->error(dev, mu_cuda_status(error, doing));
}

void mu_cuda_check(mu_device_t *dev, const char *doing)
{
    enqueued(dev, cudaGetLastError(), doing);
}

bool mu_cuda_shared(mu_device_t *dev, const void *kernel, int64_t bytes, const char *doing)
{
    enum { ALWAYS = 32 << 10 }; /* of 48 KiB, which a kernel's own variables count towards */
    if (bytes <= ALWAYS)
        return true;
    if (bytes > mu_cuda(dev)->shared_limit) {
        mu_cuda_host->error(
            dev, mu_cuda_host->fail(MU_GPU, "cuda: %s needs %lld bytes of shared memory, this GPU has %d",
                                    doing, (long long)bytes, mu_cuda(dev)->shared_limit));
        return false;
    }
    enqueued(dev, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
             doing);
    return dev->status == MU_OK;
}

static bool supports(const mu_device_t *dev, mu_dtype_t type)
{
    return type != MU_DTYPE_BF16 || mu_cuda(dev)->capability >= 80;
}

/* --- memory --- */

static void *device_alloc(mu_device_t *dev, int64_t bytes)
{
    void *p;
    if (cudaMalloc(&p, (size_t)bytes) != cudaSuccess) {
        (void)cudaGetLastError(); /* the caller reports it */
        return NULL;
    }
    enqueued(dev, cudaMemsetAsync(p, 0, (size_t)bytes, mu_stream(dev)), "clearing memory");
    return p;
}

static void device_free(mu_device_t *dev, void *p)
{
    mu_cuda(dev)->epoch++;
    enqueued(dev, cudaFree(p), "freeing memory");
}

void *mu_cuda_scratch(mu_device_t *dev, int64_t bytes)
{
    mu_cuda_t *cuda = mu_cuda(dev);
    if (bytes <= cuda->scratch_bytes)
        return cuda->scratch;
    if (mu_cuda_spoils(dev, "scratch", "it would have to grow"))
        return NULL;
    bytes = mu_max_i64(bytes, cuda->scratch_bytes + cuda->scratch_bytes / 2);
    mu_cuda_host->free(dev, cuda->scratch);
    cuda->scratch = NULL;
    cuda->scratch_bytes = 0;
    mu_status_t status = mu_cuda_host->alloc(dev, MU_MEM_WORKSPACE, bytes, &cuda->scratch);
    if (status != MU_OK) {
        mu_cuda_host->error(dev, status);
        return NULL;
    }
    cuda->scratch_bytes = bytes;
    return cuda->scratch;
}

/* --- transfers --- */

/* What fits a slot of pinned memory; the slots take turns. */
static void put_piece(mu_cuda_t *cuda, mu_device_t *dev, void *to, const void *host, int64_t bytes)
{
    const char *doing = "copying to the GPU";
    int slot = cuda->slot;
    cuda->slot = (slot + 1) % MU_CUDA_SLOTS;
    char *pinned = cuda->slots + (int64_t)slot * MU_CUDA_SLOT_BYTES;
    enqueued(dev, cudaEventSynchronize(cuda->slot_free[slot]), doing);
    memcpy(pinned, host, (size_t)bytes);
    enqueued(dev, cudaMemcpyAsync(to, pinned, (size_t)bytes, cudaMemcpyHostToDevice, cuda->stream), doing);
    enqueued(dev, cudaEventRecord(cuda->slot_free[slot], cuda->stream), doing);
}

/* What goes with a step (tokens, weights of rows) fits a few slots, so that the host waits for the GPU only
 * when it is all slots ahead. What is larger is copied by the driver before the call returns. */
static void put(mu_device_t *dev, void *to, const void *host, int64_t bytes)
{
    mu_cuda_t *cuda = mu_cuda(dev);
    const char *doing = "copying to the GPU";
    if (mu_cuda_spoils(dev, doing, "what is copied would not be there any more"))
        return;
    if (bytes > MU_CUDA_SLOTS / 2 * MU_CUDA_SLOT_BYTES) {
        enqueued(dev, cudaMemcpyAsync(to, host, (size_t)bytes, cudaMemcpyHostToDevice, cuda->stream), doing);
        enqueued(dev, cudaStreamSynchronize(cuda->stream), doing);
        return;
    }
    for (int64_t at = 0; at < bytes; at += MU_CUDA_SLOT_BYTES)
        put_piece(cuda, dev, (char *)to + at, (const char *)host + at,
                  mu_min_i64(MU_CUDA_SLOT_BYTES, bytes - at));
}

static mu_status_t sync(mu_device_t *dev)
{
    enqueued(dev, cudaStreamSynchronize(mu_stream(dev)), "waiting for the GPU");
    return mu_cuda(dev)->recording ? MU_BUG : dev->status;
}

static mu_status_t get(mu_device_t *dev, void *host, const void *from, int64_t bytes)
{
    enqueued(dev, cudaMemcpyAsync(host, from, (size_t)bytes, cudaMemcpyDeviceToHost, mu_stream(dev)),
             "copying from the GPU");
    return sync(dev);
}

/* Another thread's: the device's status is not touched. */
static mu_status_t get_beside(mu_device_t *dev, void *host, const void *from, int64_t bytes)
{
    const char *doing = "copying from the GPU beside the steps";
    cudaStream_t stream = mu_cuda(dev)->beside;
    TRY_CUDA(cudaSetDevice(mu_cuda(dev)->index), "choosing the GPU");
    TRY_CUDA(cudaMemcpyAsync(host, from, (size_t)bytes, cudaMemcpyDeviceToHost, stream), doing);
    return mu_cuda_status(cudaStreamSynchronize(stream), doing);
}

static bool pin(mu_device_t *dev, void *host, int64_t bytes)
{
    (void)dev;
    if (cudaHostRegister(host, (size_t)bytes, cudaHostRegisterDefault) == cudaSuccess)
        return true;
    (void)cudaGetLastError(); /* an answer, which CUDA keeps like an error */
    return false;
}

static void unpin(mu_device_t *dev, void *host)
{
    enqueued(dev, cudaHostUnregister(host), "giving pinned memory back");
}

static void copy(mu_device_t *dev, void *to, const void *from, int64_t bytes)
{
    enqueued(dev, cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDeviceToDevice, mu_stream(dev)),
             "copying on the GPU");
}

static void zero(mu_device_t *dev, void *p, int64_t bytes)
{
    enqueued(dev, cudaMemsetAsync(p, 0, (size_t)bytes, mu_stream(dev)), "clearing memory");
}

/* --- streams for collectives --- */

static void *plugin_stream(mu_device_t *dev)
{
    return mu_stream(dev);
}

static mu_status_t plugin_stream_new(mu_device_t *dev, void **out)
{
    cudaStream_t stream;
    TRY_CUDA(cudaSetDevice(mu_cuda(dev)->index), "choosing the GPU");
    TRY_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    *out = stream;
    return MU_OK;
}

static void plugin_stream_free(mu_device_t *dev, void *stream)
{
    if (stream)
        enqueued(dev, cudaStreamDestroy((cudaStream_t)stream), "closing a stream");
}

static mu_status_t plugin_stream_wait(mu_device_t *dev, void *waiter, void *other)
{
    cudaEvent_t event;
    TRY_CUDA(cudaSetDevice(mu_cuda(dev)->index), "choosing the GPU"); /* the caller may be another thread */
    TRY_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
    cudaError_t error = cudaEventRecord(event, (cudaStream_t)other);
    if (error == cudaSuccess)
        error = cudaStreamWaitEvent((cudaStream_t)waiter, event, 0);
    (void)cudaEventDestroy(event); /* takes effect when the event is done */
    return mu_cuda_status(error, "ordering two streams");
}

static mu_status_t plugin_stream_idle(mu_device_t *dev, void *stream, bool *out)
{
    TRY_CUDA(cudaSetDevice(mu_cuda(dev)->index), "choosing the GPU");
    cudaError_t error = cudaStreamQuery((cudaStream_t)stream);
    if (error == cudaErrorNotReady)
        (void)cudaGetLastError(); /* an answer, which CUDA keeps like an error */
    if (error != cudaSuccess && error != cudaErrorNotReady)
        return mu_cuda_status(error, "asking a stream");
    *out = error == cudaSuccess;
    return MU_OK;
}

static mu_status_t plugin_mark_new(mu_device_t *dev, void *stream, void **out)
{
    cudaEvent_t event;
    TRY_CUDA(cudaSetDevice(mu_cuda(dev)->index), "choosing the GPU"); /* the caller may be another thread */
    TRY_CUDA(cudaEventCreateWithFlags(&event, cudaEventDefault), "making an event");
    cudaError_t error = cudaEventRecord(event, (cudaStream_t)stream);
    if (error != cudaSuccess)
        (void)cudaEventDestroy(event);
    else
        *out = event;
    return mu_cuda_status(error, "marking a stream");
}

static void plugin_mark_free(mu_device_t *dev, void *mark)
{
    if (mark)
        enqueued(dev, cudaEventDestroy((cudaEvent_t)mark), "dropping a mark");
}

static mu_status_t plugin_mark_passed(mu_device_t *dev, void *mark, bool *out)
{
    (void)dev;
    cudaError_t error = cudaEventQuery((cudaEvent_t)mark);
    if (error == cudaErrorNotReady)
        (void)cudaGetLastError(); /* as in plugin_stream_idle */
    if (error != cudaSuccess && error != cudaErrorNotReady)
        return mu_cuda_status(error, "asking a mark");
    *out = error == cudaSuccess;
    return MU_OK;
}

static mu_status_t plugin_mark_ms(mu_device_t *dev, void *from, void *to, double *out)
{
    (void)dev;
    float ms = 0;
    TRY_CUDA(cudaEventSynchronize((cudaEvent_t)to), "waiting for a mark");
    TRY_CUDA(cudaEventElapsedTime(&ms, (cudaEvent_t)from, (cudaEvent_t)to), "reading the time of marks");
    *out = (double)ms;
    return MU_OK;
}

static mu_status_t plugin_mark_wait(mu_device_t *dev, void *stream, void *mark)
{
    TRY_CUDA(cudaSetDevice(mu_cuda(dev)->index), "choosing the GPU");
    TRY_CUDA(cudaStreamWaitEvent((cudaStream_t)stream, (cudaEvent_t)mark, 0), "waiting for a mark");
    return MU_OK;
}

/* --- the device --- */

static void close(mu_device_t *dev)
{
    mu_cuda_t *cuda = mu_cuda(dev);
    (void)cudaStreamSynchronize(cuda->stream);
    mu_cuda_plans_free(dev, cuda->plans);
    mu_cuda_cudnn_free(cuda->cudnn);
    mu_cuda_host->free(dev, cuda->scratch);
    for (int i = 0; i < MU_CUDA_SLOTS; i++)
        if (cuda->slot_free[i])
            (void)cudaEventDestroy(cuda->slot_free[i]);
    if (cuda->slots)
        (void)cudaFreeHost(cuda->slots);
    if (cuda->beside)
        (void)cudaStreamDestroy(cuda->beside);
    if (cuda->stream)
        (void)cudaStreamDestroy(cuda->stream);
    free(cuda);
}

static const mu_device_ops_t *table(void)
{
    static mu_device_ops_t ops;
    ops.name = "cuda";
    ops.supports = supports;
    ops.close = close;
    ops.alloc = device_alloc;
    ops.free = device_free;
    ops.put = put;
    ops.get = get;
    ops.get_beside = get_beside;
    ops.pin = pin;
    ops.unpin = unpin;
    ops.copy = copy;
    ops.zero = zero;
    ops.sync = sync;
#define FILL(name) ops.name = mu_cuda_##name;
    MU_CUDA_OPS(FILL)
#undef FILL
    return &ops;
}

static mu_status_t attribute(int *out, cudaDeviceAttr which, int index)
{
    return mu_cuda_status(cudaDeviceGetAttribute(out, which, index), "asking the GPU");
}

static mu_status_t look_at_gpu(mu_cuda_t *cuda)
{
    int major, minor;
    MU_TRY(attribute(&major, cudaDevAttrComputeCapabilityMajor, cuda->index));
    MU_TRY(attribute(&minor, cudaDevAttrComputeCapabilityMinor, cuda->index));
    MU_TRY(attribute(&cuda->processors, cudaDevAttrMultiProcessorCount, cuda->index));
    MU_TRY(attribute(&cuda->shared_limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, cuda->index));
    MU_TRY(attribute(&cuda->shared_processor, cudaDevAttrMaxSharedMemoryPerMultiprocessor, cuda->index));
    cuda->capability = 10 * major + minor;
    if (cuda->capability < 75)
        return mu_cuda_host->fail(MU_GPU, "cuda: GPU %d has compute capability %d.%d; 7.5 or newer is needed",
                                  cuda->index, major, minor);
    return MU_OK;
}

static mu_status_t make(mu_device_t *dev)
{
    mu_cuda_t *cuda = mu_cuda(dev);
    MU_TRY(look_at_gpu(cuda));
    TRY_CUDA(cudaSetDevice(cuda->index), "choosing the GPU");
    TRY_CUDA(cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking), "making a stream");
    TRY_CUDA(cudaStreamCreateWithFlags(&cuda->beside, cudaStreamNonBlocking), "making a stream");
    TRY_CUDA(cudaMallocHost((void **)&cuda->slots, (size_t)MU_CUDA_SLOTS * MU_CUDA_SLOT_BYTES),
             "allocating pinned memory");
    for (int i = 0; i < MU_CUDA_SLOTS; i++)
        TRY_CUDA(cudaEventCreateWithFlags(&cuda->slot_free[i], cudaEventDisableTiming), "making an event");
    return mu_cuda_plans_new(dev, &cuda->plans);
}

static void describe(mu_device_t *dev)
{
    cudaDeviceProp prop;
    int runtime = 0;
    const bool known = cudaGetDeviceProperties(&prop, mu_cuda(dev)->index) == cudaSuccess;
    const char *name = known ? prop.name : "GPU";
    (void)cudaRuntimeGetVersion(&runtime);
    snprintf(dev->description, sizeof dev->description, "cuda, %.60s, CUDA %d.%d, cuBLASLt %d", name,
             runtime / 1000, runtime % 1000 / 10, (int)cublasLtGetVersion());
    snprintf(dev->instruction_set, sizeof dev->instruction_set, "sm_%d%d", known ? prop.major : 0,
             known ? prop.minor : 0);
}

static mu_status_t device_count(int *out)
{
    cudaError_t error = cudaGetDeviceCount(out);
    if (error == cudaErrorNoDevice) {
        *out = 0;
        return MU_OK;
    }
    if (error == cudaErrorInsufficientDriver) {
        int driver = 0, own = CUDART_VERSION;
        (void)cudaDriverGetVersion(&driver);
        if (driver == 0)
            return mu_cuda_host->fail(MU_GPU,
                                      "cuda: this process finds no driver for NVIDIA GPUs (libcuda.so.1)");
        return mu_cuda_host->fail(MU_GPU,
                                  "cuda: this host's driver knows CUDA %d.%d, this muster is built with CUDA "
                                  "%d.%d: install driver %s or "
                                  "newer, or a muster built with CUDA %d",
                                  driver / 1000, driver % 1000 / 10, own / 1000, own % 1000 / 10,
                                  own >= 13000 ? "580" : "525", driver / 1000);
    }
    return mu_cuda_status(error, "looking for GPUs");
}

static mu_status_t device_new(int index, mu_device_t **out)
{
    int count;
    MU_TRY(device_count(&count));
    if (index < 0 || index >= count)
        return mu_cuda_host->fail(
            MU_GPU, "cuda: there is no GPU %d; this process sees %d (CUDA_VISIBLE_DEVICES)", index, count);
    mu_cuda_t *cuda = (mu_cuda_t *)calloc(1, sizeof *cuda);
    mu_device_t *dev = (mu_device_t *)calloc(1, sizeof *dev);
    if (!cuda || !dev) {
        free(cuda);
        free(dev);
        return mu_cuda_host->fail(MU_NOMEM, "cuda: no memory for a device");
    }
    cuda->index = index;
    dev->ops = table();
    dev->threads = 1;
    dev->logits = MU_LOGITS_GPU;
    dev->impl = cuda;
    describe(dev);
    mu_status_t status = make(dev);
    if (status != MU_OK) {
        close(dev);
        free(dev->held);
        free(dev);
        return status;
    }
    *out = dev;
    return MU_OK;
}

static mu_status_t device_id(int index, unsigned char out[16])
{
    cudaDeviceProp prop;
    TRY_CUDA(cudaGetDeviceProperties(&prop, index), "asking the GPU");
    memcpy(out, &prop.uuid, 16);
    return MU_OK;
}

extern "C" __attribute__((visibility("default"))) const mu_cuda_plugin_t *mu_cuda_plugin(
    const mu_cuda_host_t *host)
{
    static const mu_cuda_plugin_t plugin = {
        MU_VERSION,        MU_CUDA_LAYOUT,     device_count,       device_new,         device_id,
        plugin_stream,     plugin_stream_new,  plugin_stream_free, plugin_stream_wait, plugin_stream_idle,
        plugin_mark_new,   plugin_mark_free,   plugin_mark_passed, plugin_mark_ms,     plugin_mark_wait,
        mu_cuda_cudnn_use, mu_cuda_cudnn_taken};
    if (!host)
        return NULL;
    mu_cuda_host = host;
    return &plugin;
}
