/* Captures and graphs of the stand-in: arguments are kept, memory is read at each launch, and what a capture does not
 * allow spoils it and nothing else. */
#include "cublasLt.h"
#include "support.h"

#include <thread>

__global__ void add_at(int *x, const int *where, int value)
{
    x[where[0]] += value;
}
__global__ void copy_int(int *to, const int *from)
{
    to[threadIdx.x] = from[threadIdx.x];
}

/* What `enqueue` does on the test's stream, as a graph. */
template <class F> static cudaGraphExec_t graph_of(F enqueue)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    enqueue();
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphDestroy(graph));
    OK(cudaGraphUpload(exec, stream));
    return exec;
}

static void arguments_are_kept_and_memory_is_read(void **)
{
    array<int> x(std::vector<int>{0, 0, 0}), where(std::vector<int>{1}), y(3);
    int value = 5, *pinned;
    size_t nodes;
    cudaGraph_t graph;
    OK(cudaMallocHost(&pinned, sizeof *pinned));
    *pinned = 0;
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    OK(cudaMemcpyAsync(where.p, pinned, sizeof(int), cudaMemcpyHostToDevice, stream));
    MU_STAND_IN_LAUNCH(add_at, 1, 1, 0, stream, x.p, where.p, value);
    MU_STAND_IN_LAUNCH(copy_int, 1, 2, 0, stream, y.p, x.p);
    OK(cudaMemsetAsync(y.p + 2, 0, sizeof(int), stream));
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphGetNodes(graph, NULL, &nodes));
    assert_int_equal(nodes, 4);
    assert_true(x.get() == (std::vector<int>{0, 0, 0})); /* nothing was done */
    cudaGraphExec_t exec;
    OK(cudaGraphInstantiate(&exec, graph));
    OK(cudaGraphDestroy(graph));
    value = 7;
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaStreamSynchronize(stream));
    *pinned = 1;
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaGraphLaunch(exec, stream));
    OK(cudaGraphExecDestroy(exec)); /* what is under way goes on */
    assert_true(y.get() == (std::vector<int>{5, 10, 0}));
    OK(cudaFreeHost(pinned));
}

static void products_are_part_of_graphs(void **)
{
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t layout;
    array<float> a(std::vector<float>{1, 2, 3, 4}), b(std::vector<float>{1, 0, 0, 1}), d(4);
    assert_int_equal(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 2, 2, 2), CUBLAS_STATUS_SUCCESS);
    float one = 1, zero = 0;
    cudaGraphExec_t exec = graph_of([&] {
        assert_int_equal(cublasLtMatmul(handle, desc, &one, a.p, layout, b.p, layout, &zero, d.p, layout, d.p,
                                        layout, NULL, NULL, 0, stream),
                         CUBLAS_STATUS_SUCCESS);
    });
    one = 100; /* read at the call */
    OK(cudaMemsetAsync(b.p, 0, 2 * sizeof(float), stream));
    OK(cudaGraphLaunch(exec, stream));
    assert_true(d.get() == (std::vector<float>{0, 0, 3, 4}));
    OK(cudaGraphExecDestroy(exec));
    assert_int_equal(cublasLtMatrixLayoutDestroy(layout), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cublasLtMatmulDescDestroy(desc), CUBLAS_STATUS_SUCCESS);
    assert_int_equal(cublasLtDestroy(handle), CUBLAS_STATUS_SUCCESS);
}

/* Work on a capturing stream after `call`, which must fail with `error`; then the stream is as before. */
template <class F> static void spoils(cudaStreamCaptureMode mode, cudaError_t error, F call)
{
    array<int> x(std::vector<int>{1}), y(1);
    cudaStreamCaptureStatus status;
    cudaGraph_t graph = (cudaGraph_t)1;
    OK(cudaStreamSynchronize(stream));
    OK(cudaStreamBeginCapture(stream, mode));
    OK(cudaStreamIsCapturing(stream, &status));
    assert_int_equal(status, cudaStreamCaptureStatusActive);
    MU_STAND_IN_LAUNCH(copy_int, 1, 1, 0, stream, y.p, x.p);
    OK(cudaGetLastError());
    assert_int_equal(call(x.p), error);
    assert_int_equal(cudaGetLastError(), error);
    OK(cudaStreamIsCapturing(stream, &status));
    assert_int_equal(status, cudaStreamCaptureStatusInvalidated);
    MU_STAND_IN_LAUNCH(copy_int, 1, 1, 0, stream, y.p, x.p);
    assert_int_equal(cudaGetLastError(), cudaErrorStreamCaptureInvalidated);
    assert_int_equal(cudaMemsetAsync(y.p, 0, sizeof(int), stream), cudaErrorStreamCaptureInvalidated);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    assert_null(graph);
    OK(cudaStreamIsCapturing(stream, &status));
    assert_int_equal(status, cudaStreamCaptureStatusNone);
    (void)cudaGetLastError();
    MU_STAND_IN_LAUNCH(copy_int, 1, 1, 0, stream, y.p, x.p);
    assert_int_equal(y.get()[0], 1);
}

static void what_a_capture_does_not_allow_spoils_it(void **)
{
    const cudaError_t no = cudaErrorStreamCaptureUnsupported;
    const auto local = cudaStreamCaptureModeThreadLocal, relaxed = cudaStreamCaptureModeRelaxed;
    cudaStream_t other;
    cudaEvent_t event;
    int *pinned, pageable = 0;
    void *p;
    OK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    OK(cudaEventCreate(&event));
    OK(cudaEventRecord(event, other));
    OK(cudaMallocHost(&pinned, sizeof *pinned));
    for (cudaStreamCaptureMode mode : {local, relaxed}) { /* whatever the mode */
        spoils(mode, no, [](int *) { return cudaStreamSynchronize(stream); });
        spoils(mode, no, [](int *) { return cudaStreamQuery(stream); });
        spoils(mode, no, [](int *) { return cudaStreamDestroy(stream); });
        spoils(mode, no, [](int *) { return cudaDeviceSynchronize(); });
        spoils(mode, no, [&](int *x) {
            return cudaMemcpyAsync(x, &pageable, sizeof(int), cudaMemcpyHostToDevice, stream);
        });
        spoils(mode, no, [&](int *x) {
            return cudaMemcpyAsync(&pageable, x, sizeof(int), cudaMemcpyDeviceToHost, stream);
        });
        spoils(mode, cudaErrorStreamCaptureIsolation,
               [&](int *) { return cudaStreamWaitEvent(stream, event); });
        for (bool waits : {true, false})
            spoils(mode, cudaErrorCapturedEvent, [&](int *) {
                cudaEvent_t own;
                OK(cudaEventCreate(&own));
                OK(cudaEventRecord(own, stream));
                OK(cudaStreamWaitEvent(stream, own));
                cudaError_t error = waits ? cudaEventSynchronize(own) : cudaEventQuery(own);
                OK(cudaEventDestroy(own));
                return error;
            });
    }
    spoils(local, no, [&](int *) { return cudaMalloc(&p, 16); });
    spoils(local, no, [](int *x) { return cudaFree(x); });
    spoils(local, no, [&](int *) { return cudaMallocHost(&p, 16); });
    spoils(local, no, [&](int *) { return cudaFreeHost(pinned); });
    spoils(local, no, [&](int *x) { return cudaMemcpy(x, &pageable, sizeof(int), cudaMemcpyHostToDevice); });
    spoils(local, no, [](int *x) { return cudaMemset(x, 0, sizeof(int)); });
    spoils(local, no, [&](int *) { return cudaStreamSynchronize(other); });
    spoils(local, no, [&](int *) { return cudaEventSynchronize(event); });
    /* relaxed, what only may be unsafe is done */
    cudaGraph_t graph;
    OK(cudaStreamBeginCapture(stream, relaxed));
    OK(cudaMalloc(&p, 16));
    OK(cudaStreamSynchronize(other));
    OK(cudaEventSynchronize(event));
    OK(cudaFree(p));
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphDestroy(graph));
    OK(cudaFreeHost(pinned));
    OK(cudaEventDestroy(event));
    OK(cudaStreamDestroy(other));
}

static void other_threads_matter_where_the_mode_says_so(void **)
{
    cudaGraph_t graph;
    cudaError_t error = cudaSuccess;
    void *p = NULL;
    auto elsewhere = [&](auto call) { std::thread([&] { error = call(); }).join(); };
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    elsewhere([&] { return cudaMalloc(&p, 16); });
    OK(error);
    elsewhere([&] { return cudaFree(p); });
    OK(error);
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphDestroy(graph));
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    elsewhere([&] { return cudaMalloc(&p, 16); });
    assert_int_equal(error, cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    elsewhere([&] { return cudaStreamEndCapture(stream, &graph); });
    assert_int_equal(error, cudaErrorStreamCaptureWrongThread);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    (void)cudaGetLastError();
}

static void the_default_stream_is_no_part_of_one(void **)
{
    cudaStream_t blocking;
    cudaGraph_t graph;
    array<int> x(2);
    assert_int_equal(cudaStreamBeginCapture(NULL, cudaStreamCaptureModeRelaxed),
                     cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorIllegalState);
    OK(cudaStreamCreate(&blocking));
    OK(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed));
    assert_int_equal(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed), cudaErrorIllegalState);
    assert_int_equal(cudaMemsetAsync(x.p, 0, sizeof(int), NULL), cudaErrorStreamCaptureImplicit);
    assert_int_equal(cudaStreamEndCapture(blocking, &graph), cudaErrorStreamCaptureInvalidated);
    (void)cudaGetLastError();
    OK(cudaStreamDestroy(blocking));
    /* a stream that does not care for it is not disturbed */
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    OK(cudaMemsetAsync(x.p, 0, sizeof(int), NULL));
    OK(cudaStreamEndCapture(stream, &graph));
    OK(cudaGraphDestroy(graph));
}

static void they_take_memory_and_may_be_refused(void **)
{
    size_t before, after, all;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    array<int> x(1);
    OK(cudaMemGetInfo(&before, &all));
    exec = graph_of([&] { (void)cudaMemsetAsync(x.p, 0, sizeof(int), stream); });
    OK(cudaMemGetInfo(&after, &all));
    assert_true(after < before);
    OK(cudaGraphExecDestroy(exec));
    OK(cudaMemGetInfo(&after, &all));
    assert_true(after == before);
    OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    OK(cudaMemsetAsync(x.p, 0, sizeof(int), stream));
    OK(cudaStreamEndCapture(stream, &graph));
    for (const char *words : {"memory=300", "fail=cudaGraphInstantiate"}) {
        setenv("STAND_IN_CUDA", words, 1);
        assert_int_not_equal(cudaGraphInstantiate(&exec, graph), cudaSuccess);
        (void)cudaGetLastError();
    }
    setenv("STAND_IN_CUDA", "fail=cudaStreamBeginCapture", 1);
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaErrorUnknown);
    unsetenv("STAND_IN_CUDA");
    (void)cudaGetLastError();
    OK(cudaGraphInstantiate(&exec, graph));
    setenv("STAND_IN_CUDA", "fail=cudaGraphLaunch", 1);
    assert_int_equal(cudaGraphLaunch(exec, stream), cudaErrorLaunchFailure);
    unsetenv("STAND_IN_CUDA");
    (void)cudaGetLastError();
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
}

/* --- what ends the program --- */

struct death {
    const char *name, *text;
    void (*run)(void);
};

static const death deaths[] = {
    {"freed", "argument 1,",
     [] {
         int *x;
         OK(cudaMalloc(&x, sizeof *x));
         cudaGraphExec_t exec = graph_of([&] { MU_STAND_IN_LAUNCH(copy_int, 1, 1, 0, stream, x, x); });
         OK(cudaFree(x));
         (void)cudaGraphLaunch(exec, stream);
     }},
    {"cleared", "cudaMemsetAsync",
     [] {
         int *x;
         OK(cudaMalloc(&x, sizeof *x));
         cudaGraphExec_t exec = graph_of([&] { (void)cudaMemsetAsync(x, 0, sizeof *x, stream); });
         OK(cudaFree(x));
         (void)cudaGraphLaunch(exec, stream);
     }},
    {"branch", "a second stream of a capture",
     [] {
         cudaStream_t other;
         cudaEvent_t event;
         OK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
         OK(cudaEventCreate(&event));
         OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
         OK(cudaEventRecord(event, stream));
         (void)cudaStreamWaitEvent(other, event);
     }},
};

static void mistakes_end_the_program(void **)
{
    for (const death &d : deaths) {
        int status;
        std::string said = run_self({"--die", d.name}, &status);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            fail_msg("%s lived: %s", d.name, said.c_str());
        if (said.find(d.text) == std::string::npos)
            fail_msg("%s said: %s", d.name, said.c_str());
    }
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        make_stream(NULL);
        for (const death &d : deaths)
            if (strcmp(d.name, argv[2]) == 0)
                d.run();
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(arguments_are_kept_and_memory_is_read, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(products_are_part_of_graphs, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(what_a_capture_does_not_allow_spoils_it, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(other_threads_matter_where_the_mode_says_so, make_stream,
                                        free_stream),
        cmocka_unit_test_setup_teardown(the_default_stream_is_no_part_of_one, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(they_take_memory_and_may_be_refused, make_stream, free_stream),
        cmocka_unit_test(mistakes_end_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
