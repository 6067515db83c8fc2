/* Streams, events and copies of the stand-in: what is ordered comes in order, what is not shows. */
#include "support.h"

#include <time.h>

__global__ void add_one(int *x)
{
    x[threadIdx.x] += 1;
}
__global__ void copy_int(int *to, const int *from)
{
    to[threadIdx.x] = from[threadIdx.x];
}

static cudaStream_t other;

static int make_two(void **state)
{
    make_stream(state);
    OK(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    return 0;
}
static int free_two(void **state)
{
    OK(cudaStreamDestroy(other));
    return free_stream(state);
}

static void a_stream_keeps_its_order(void **)
{
    array<int> x(std::vector<int>{1, 2, 3});
    for (int i = 0; i < 5; i++)
        MU_STAND_IN_LAUNCH(add_one, 1, 3, 0, stream, x.p);
    OK(cudaMemsetAsync(x.p, 0, sizeof(int), stream));
    MU_STAND_IN_LAUNCH(add_one, 1, 3, 0, stream, x.p);
    assert_true(x.get() == (std::vector<int>{1, 8, 9}));
}

/* The other stream reads what this one wrote: the numbers with an event, others without. */
static std::vector<int> read_across(bool with_event)
{
    array<int> x(std::vector<int>{0, 0}), y(2);
    OK(cudaStreamSynchronize(stream));
    MU_STAND_IN_LAUNCH(add_one, 1, 2, 0, stream, x.p);
    if (with_event) {
        cudaEvent_t event;
        OK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
        OK(cudaEventRecord(event, stream));
        OK(cudaStreamWaitEvent(other, event));
        OK(cudaEventDestroy(event));
    }
    MU_STAND_IN_LAUNCH(copy_int, 1, 2, 0, other, y.p, x.p);
    OK(cudaStreamSynchronize(other));
    return y.get();
}

static void an_event_orders_streams(void **)
{
    for (int i = 0; i < 5; i++)
        assert_true(read_across(true) == (std::vector<int>{1, 1}));
}

static void a_forgotten_event_shows(void **)
{
    assert_true(read_across(false) != (std::vector<int>{1, 1}));
}

static void work_comes_without_being_asked(void **)
{
    cudaEvent_t event;
    int *flag, *x;
    OK(cudaMallocHost((void **)&flag, sizeof *flag));
    OK(cudaMalloc(&x, sizeof *x));
    OK(cudaEventCreate(&event));
    *flag = 0;
    OK(cudaMemsetAsync(x, 1, sizeof *x, stream));
    OK(cudaMemcpyAsync(flag, x, sizeof *flag, cudaMemcpyDeviceToHost, stream));
    OK(cudaEventRecord(event, stream));
    for (int i = 0; i < 5000 && *(volatile int *)flag == 0; i++) {
        struct timespec ms = {0, 1000000};
        nanosleep(&ms, NULL);
    }
    assert_int_equal(*flag, 0x01010101);
    OK(cudaEventSynchronize(event));
    OK(cudaEventQuery(event));
    OK(cudaEventDestroy(event));
    OK(cudaFreeHost(flag));
    OK(cudaFree(x));
}

static void pinned_memory_is_read_late_and_other_at_once(void **)
{
    int *pinned, pageable = 1;
    OK(cudaMallocHost((void **)&pinned, sizeof *pinned));
    *pinned = 1;
    array<int> x(2);
    OK(cudaMemcpyAsync(x.p, pinned, sizeof(int), cudaMemcpyHostToDevice, stream));
    OK(cudaMemcpyAsync(x.p + 1, &pageable, sizeof(int), cudaMemcpyDefault, stream));
    *pinned = pageable = 2;
    assert_true(x.get() == (std::vector<int>{2, 1}));
    OK(cudaFreeHost(pinned));
}

static void new_memory_holds_no_zeros(void **)
{
    array<int> x(100);
    assert_true(x.get() == std::vector<int>(100, -1));
}

static void events_tell_the_time_between(void **)
{
    cudaEvent_t a, b;
    float ms = -1;
    OK(cudaEventCreate(&a));
    OK(cudaEventCreate(&b));
    OK(cudaEventRecord(a, stream));
    OK(cudaEventRecord(b, stream));
    assert_int_equal(cudaEventElapsedTime(&ms, a, b), cudaErrorNotReady);
    assert_int_equal(cudaGetLastError(), cudaErrorNotReady);
    OK(cudaGetLastError());
    OK(cudaEventSynchronize(b));
    OK(cudaEventElapsedTime(&ms, a, b));
    assert_true(ms >= 0);
    OK(cudaEventDestroy(a));
    OK(cudaEventDestroy(b));
}

static void the_default_stream_waits_for_blocking_streams(void **)
{
    cudaStream_t blocking;
    OK(cudaStreamCreate(&blocking));
    array<int> x(1);
    int got = 0;
    OK(cudaMemsetAsync(x.p, 0, sizeof(int), blocking));
    MU_STAND_IN_LAUNCH(add_one, 1, 1, 0, blocking, x.p);
    OK(cudaMemcpy(&got, x.p, sizeof got, cudaMemcpyDeviceToHost));
    assert_int_equal(got, 1);
    OK(cudaStreamDestroy(blocking));
}

static void devices_and_memory_are_counted(void **)
{
    int count, device, value;
    size_t before, after, total;
    void *p;
    setenv("STAND_IN_CUDA", "devices=3 memory=1m sm=75", 1);
    OK(cudaGetDeviceCount(&count));
    assert_int_equal(count, 3);
    assert_int_equal(cudaSetDevice(3), cudaErrorInvalidDevice);
    OK(cudaGetDevice(&device));
    assert_int_equal(device, 0);
    OK(cudaDeviceGetAttribute(&value, cudaDevAttrComputeCapabilityMinor, 2));
    assert_int_equal(value, 5);
    OK(cudaMemGetInfo(&before, &total));
    assert_int_equal(total, 1 << 20);
    assert_int_equal(cudaMalloc(&p, (1 << 20) + 1), cudaErrorMemoryAllocation);
    OK(cudaMalloc(&p, 1000));
    OK(cudaMemGetInfo(&after, &total));
    assert_int_equal(before - after, 1024);
    assert_int_equal(cudaMalloc(&p, before), cudaErrorMemoryAllocation);
    OK(cudaFree(p));
    setenv("STAND_IN_CUDA", "none", 1);
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorNoDevice);
    assert_int_equal(count, 0);
    setenv("STAND_IN_CUDA", "fail=cudaMalloc", 1);
    assert_int_equal(cudaMalloc(&p, 1), cudaErrorMemoryAllocation);
    unsetenv("STAND_IN_CUDA");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_stream_keeps_its_order, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(an_event_orders_streams, make_two, free_two),
        cmocka_unit_test_setup_teardown(a_forgotten_event_shows, make_two, free_two),
        cmocka_unit_test_setup_teardown(work_comes_without_being_asked, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(pinned_memory_is_read_late_and_other_at_once, make_stream,
                                        free_stream),
        cmocka_unit_test_setup_teardown(new_memory_holds_no_zeros, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(events_tell_the_time_between, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(the_default_stream_waits_for_blocking_streams, make_stream,
                                        free_stream),
        cmocka_unit_test(devices_and_memory_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
