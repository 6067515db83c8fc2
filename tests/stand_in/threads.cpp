/* Threads, warps and barriers of the stand-in, what it refuses, and the matrix instructions. */
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "support.h"

#include <math.h>

/* --- where a thread is, and loops without waiting --- */

__global__ void places(int *out)
{
    int block = (int)(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
    int thread = (int)(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
    int threads = (int)(blockDim.x * blockDim.y * blockDim.z);
    out[block * threads + thread] += 1000 * block + thread;
}

static void every_thread_of_every_block_runs_once(void **)
{
    array<int> out(std::vector<int>(2 * 3 * 2 * 4 * 5 * 2, 7));
    MU_STAND_IN_LAUNCH(places, dim3(2, 3, 2), dim3(4, 5, 2), 0, stream, out.p);
    std::vector<int> got = out.get();
    for (int i = 0; i < (int)got.size(); i++)
        assert_int_equal(got[(size_t)i], 7 + 1000 * (i / 40) + i % 40);
}

/* --- shuffles --- */

__global__ void shuffles(int *out, int width)
{
    int lane = (int)threadIdx.x % 32, t = (int)threadIdx.x;
    int *mine = out + t * 6;
    mine[0] = __shfl_sync(0xffffffffU, t, 5, width);
    mine[1] = __shfl_xor_sync(0xffffffffU, t, 3, width);
    mine[2] = __shfl_down_sync(0xffffffffU, t, 2, width);
    mine[3] = __shfl_up_sync(0xffffffffU, t, 2, width);
    mine[4] = (int)__ballot_sync(0xffffffffU, lane % 3 == 0);
    unsigned half = lane < 16 ? 0x0000ffffU : 0xffff0000U;
    mine[5] = (int)(lane < 16 ? __shfl_sync(half, (double)t, 1) : __shfl_sync(half, (double)t, 17));
}

static void shuffles_move_what_cuda_moves(void **)
{
    for (int width = 8; width <= 32; width *= 2) {
        array<int> out(64 * 6);
        MU_STAND_IN_LAUNCH(shuffles, 1, 64, 0, stream, out.p, width);
        std::vector<int> got = out.get();
        unsigned ballot = 0;
        for (int i = 0; i < 32; i += 3)
            ballot |= 1U << i;
        for (int t = 0; t < 64; t++) {
            const int *mine = &got[(size_t)t * 6];
            int base = t / width * width, inside = t % width, warp = t / 32 * 32;
            assert_int_equal(mine[0], base + 5 % width);
            assert_int_equal(mine[1], base + (inside ^ 3));
            assert_int_equal(mine[2], inside + 2 < width ? t + 2 : t);
            assert_int_equal(mine[3], inside >= 2 ? t - 2 : t);
            assert_int_equal(mine[4], (int)ballot);
            assert_int_equal(mine[5], warp + (t % 32 < 16 ? 1 : 17));
        }
    }
}

/* --- barriers and shared memory --- */

__global__ void reverse(float *x, int rounds)
{
    MU_STAND_IN_SHARED(float, cell);
    int t = (int)threadIdx.x, n = (int)blockDim.x;
    float *mine = x + blockIdx.x * blockDim.x;
    for (int i = 0; i < rounds; i++) {
        cell[t] = mine[t];
        __syncthreads();
        mine[t] = cell[n - 1 - t];
        __syncthreads();
    }
}

__global__ void forgets_a_barrier(float *x)
{
    MU_STAND_IN_SHARED(float, cell);
    int t = (int)threadIdx.x, n = (int)blockDim.x;
    cell[t] = x[t];
    x[t] = cell[n - 1 - t];
}

static void barriers_hold_everyone(void **)
{
    for (int threads : {1, 33, 256, 1024}) {
        std::vector<float> from((size_t)threads * 3);
        for (size_t i = 0; i < from.size(); i++)
            from[i] = (float)i;
        array<float> x(from);
        MU_STAND_IN_LAUNCH(reverse, 3, threads, (size_t)threads * sizeof(float), stream, x.p, 3);
        std::vector<float> got = x.get();
        for (int i = 0; i < threads * 3; i++)
            assert_true(got[(size_t)i] == (float)(i / threads * threads + threads - 1 - i % threads));
    }
}

static void a_forgotten_barrier_shows(void **)
{
    std::vector<float> from(64, 1);
    array<float> x(from);
    MU_STAND_IN_LAUNCH(forgets_a_barrier, 1, 64, 64 * sizeof(float), stream, x.p);
    int strange = 0;
    for (float f : x.get())
        strange += !(f == 1);
    assert_true(strange > 0);
}

__global__ void counts(int *out)
{
    int n = __syncthreads_count(threadIdx.x % 5 == 0);
    out[threadIdx.x] = n + 100 * __syncthreads_or(threadIdx.x == 17);
}

static void barriers_count(void **)
{
    array<int> out(50);
    MU_STAND_IN_LAUNCH(counts, 1, 50, 0, stream, out.p);
    for (int got : out.get())
        assert_int_equal(got, 110);
}

/* --- 16-bit floats --- */

/* The neighbours of a value among all finite numbers of a type, looked for in order. */
template <class T> static void check_rounding(float (*wide)(uint16_t), uint16_t infinity)
{
    for (uint16_t bits = 0; bits < infinity; bits++) {
        double low = (double)wide(bits),
               high = bits + 1 < infinity ? (double)wide((uint16_t)(bits + 1)) : INFINITY;
        assert_true(T((float)low).bits == bits);
        assert_true(T((float)-low).bits == (bits | 0x8000));
        if (isinf(high)) /* infinity begins half a step after the largest */
            high = low + (low - (double)wide((uint16_t)(bits - 1)));
        float middle = (float)((low + high) / 2);
        assert_true(T(middle).bits == (uint16_t)(bits + (bits & 1)));
        assert_true(T(nextafterf(middle, 0)).bits == bits);
        assert_true(T(nextafterf(middle, INFINITY)).bits == bits + 1);
    }
    assert_true(T(INFINITY).bits == infinity);
    assert_true(T(nanf("")).bits == 0x7fff && isnan((float)T(nanf(""))));
    assert_true(T(3e38F).bits == (infinity == 0x7c00 ? 0x7c00 : T(3e38F).bits));
    assert_true(T(1e-30F).bits == (infinity == 0x7c00 ? 0 : T(1e-30F).bits));
}

static void narrow_floats_round_to_the_nearest(void **)
{
    check_rounding<__nv_bfloat16>([](uint16_t b) { return __bfloat162float(__ushort_as_bfloat16(b)); },
                                  0x7f80);
    check_rounding<__half>([](uint16_t b) { return __half2float(__ushort_as_half(b)); }, 0x7c00);
    assert_true(__half2float(__float2half(65504)) == 65504 && __half2float(__ushort_as_half(1)) == 0x1p-24F);
    assert_true(__bfloat162float(__float2bfloat16(1.00390625F)) == 1);         /* a tie, to even */
    assert_true(__bfloat162float(__float2bfloat16(1.01171875F)) == 1.015625F); /* and up */
}

/* --- matrix instructions: d = a b, 16 x 8 over 16, through shared memory and ldmatrix --- */

template <class T> __device__ static void product(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    if constexpr (sizeof(T) == 2 && std::is_same_v<T, __half>)
        mu_stand_in_mma_f16(d, a, b, d);
    else
        mu_stand_in_mma_bf16(d, a, b, d);
}

template <class T> __global__ void multiply(float *d, const T *a, const T *b)
{
    MU_STAND_IN_SHARED(T, tile); /* a [16][16], then b [16][8] */
    int lane = (int)threadIdx.x;
    mu_stand_in_cp_async(tile + lane * 8, a + lane * 8, 16, 16);
    mu_stand_in_cp_async_commit();
    if (lane < 16)
        mu_stand_in_cp_async(tile + 256 + lane * 8, b + lane * 8, 16, 16);
    mu_stand_in_cp_async_commit();
    mu_stand_in_cp_async_wait(0);
    __syncthreads();
    uint32_t fa[4], fb[2];
    mu_stand_in_ldmatrix(fa, 4, false, tile + lane % 16 * 16 + lane / 16 * 8);
    mu_stand_in_ldmatrix(fb, 2, true, tile + 256 + lane % 16 * 8);
    float c[4] = {1, 1, 1, 1};
    product<T>(c, fa, fb);
    for (int i = 0; i < 4; i++)
        d[(lane / 4 + (i >= 2 ? 8 : 0)) * 8 + lane % 4 * 2 + i % 2] = c[i];
}

template <class T> static void check_product(void)
{
    std::vector<T> a(256), b(128);
    for (size_t i = 0; i < 256; i++)
        a[i] = (float)(i * 7 % 13) - 6;
    for (size_t i = 0; i < 128; i++)
        b[i] = (float)(i * 5 % 11) - 5;
    array<T> da(a), db(b);
    array<float> d(128);
    MU_STAND_IN_LAUNCH(multiply<T>, 1, 32, (256 + 128) * sizeof(T), stream, d.p, da.p, db.p);
    std::vector<float> got = d.get();
    for (size_t row = 0; row < 16; row++) {
        for (size_t column = 0; column < 8; column++) {
            float want = 1;
            for (size_t k = 0; k < 16; k++)
                want += (float)a[row * 16 + k] * (float)b[k * 8 + column];
            assert_true(got[row * 8 + column] == want);
        }
    }
}

static void matrix_instructions_multiply(void **)
{
    check_product<__nv_bfloat16>();
    check_product<__half>();
}

/* A copy that nobody waited for has not happened. */
__global__ void does_not_wait(int *out, const int *in)
{
    MU_STAND_IN_SHARED(int, cell);
    for (int i = 0; i < 2; i++) {
        mu_stand_in_cp_async(cell + i, in + i, 4, i == 0 ? 4 : 0);
        mu_stand_in_cp_async_commit();
    }
    mu_stand_in_cp_async_wait(1);
    out[0] = cell[0];
    out[1] = cell[1];
    mu_stand_in_cp_async_wait(0);
    out[2] = cell[1];
}

static void asynchronous_copies_are_late(void **)
{
    array<int> in(std::vector<int>{41, 42}), out(3);
    MU_STAND_IN_LAUNCH(does_not_wait, 1, 1, 8, stream, out.p, in.p);
    std::vector<int> got = out.get();
    assert_int_equal(got[0], 41);
    assert_int_equal(got[1], -1); /* as shared memory begins */
    assert_int_equal(got[2], 0);  /* no bytes of it, so zeros */
}

/* --- what ends the program --- */

__global__ void leaves_before_a_barrier(int *)
{
    if (threadIdx.x == 5)
        return;
    __syncthreads();
}
__global__ void takes_different_barriers(int *)
{
    if (threadIdx.x < 8)
        __syncthreads();
    else
        __syncthreads();
}
__global__ void leaves_a_lane_out(int *out)
{
    if (threadIdx.x != 3)
        out[0] = __shfl_sync(0xffffffffU, 1, 0);
}
__global__ void reads_outside_the_mask(int *out)
{
    if (threadIdx.x < 4)
        out[threadIdx.x] = __shfl_sync(0xfU, 1, 9);
}
__global__ void is_not_in_its_mask(int *out)
{
    out[threadIdx.x] = __shfl_sync(0xfU, 1, 0);
}
__global__ void loads_a_crooked_vector(float *x)
{
    x[0] = ((const float4 *)(x + 1))->x;
}
__global__ void hints_at_a_crooked_vector(float *x)
{
    x[0] = __ldg((const float4 *)(x + 1)).x;
}
__global__ void touches_no_memory(int *x)
{
    x[1 << 28] = 1;
}
__global__ void overruns(int *x)
{
    x[100] = 1;
}
__global__ void nothing(int *)
{
}
__global__ void nests_deeply(int *x)
{
    volatile char local[300000];
    for (int i = 299999; i >= 0; i--)
        local[i] = 1;
    x[0] = local[3];
}

struct death {
    const char *name, *text;
    void (*run)(int *x);
};

#define LAUNCH(kernel, block)                                                                                \
    MU_STAND_IN_LAUNCH(kernel, 2, block, 0, stream, x), cudaStreamSynchronize(stream)

static int host_value;
static const death deaths[] = {
    {"early", "a thread returned before a __syncthreads that others wait at",
     [](int *x) { LAUNCH(leaves_before_a_barrier, 64); }},
    {"apart", "the threads of a block wait at different barriers",
     [](int *x) { LAUNCH(takes_different_barriers, 64); }},
    {"lane", "lane 3 of the mask 0xffffffff has returned", [](int *x) { LAUNCH(leaves_a_lane_out, 32); }},
    {"short", "lane 3 of the mask 0xffffffff does not exist", [](int *x) { LAUNCH(leaves_a_lane_out, 3); }},
    {"outside", "reads from lane 9, which the mask 0xf leaves out",
     [](int *x) { LAUNCH(reads_outside_the_mask, 32); }},
    {"stranger", "is not in its own mask 0xf", [](int *x) { LAUNCH(is_not_in_its_mask, 32); }},
    {"crooked",
     "in kernel loads_a_crooked_vector, block (0, 0, 0) of (2, 1, 1), thread (0, 0, 0) of (1, 1, 1)",
     [](int *x) {
         MU_STAND_IN_LAUNCH(loads_a_crooked_vector, 2, 1, 0, stream, (float *)x),
             cudaStreamSynchronize(stream);
     }},
    {"hint", "is no multiple of 16",
     [](int *x) {
         MU_STAND_IN_LAUNCH(hints_at_a_crooked_vector, 2, 1, 0, stream, (float *)x),
             cudaStreamSynchronize(stream);
     }},
    {"wild", "in kernel touches_no_memory", [](int *x) { LAUNCH(touches_no_memory, 1); }},
    {"overrun", "",
     [](int *x) {
         LAUNCH(overruns, 1);
         cudaFree(x);
     }},
    {"deep", "do not fit the stack", [](int *x) { LAUNCH(nests_deeply, 1); }},
    {"threads", "a block of 1025 x 1 x 1 threads", [](int *x) { LAUNCH(nothing, 1025); }},
    {"blocks", "a grid of 1 x 65536 x 1 blocks",
     [](int *x) { MU_STAND_IN_LAUNCH(nothing, dim3(1, 65536), 1, 0, stream, x); }},
    {"shared", "65536 bytes of dynamic shared memory; 49088 are allowed",
     [](int *x) { MU_STAND_IN_LAUNCH(nothing, 1, 1, 65536, stream, x); }},
    {"host", "points to no device memory but to the host's",
     [](int *) { MU_STAND_IN_LAUNCH(nothing, 1, 1, 0, stream, &host_value); }},
    {"freed", "(freed, or outside of every allocation)",
     [](int *x) {
         cudaFree(x);
         MU_STAND_IN_LAUNCH(nothing, 1, 1, 0, stream, x);
     }},
    {"other", "is memory of device 0; the kernel runs on 1",
     [](int *x) {
         cudaSetDevice(1);
         cudaStream_t s;
         cudaStreamCreate(&s);
         MU_STAND_IN_LAUNCH(nothing, 1, 1, 0, s, x);
     }},
    {"current", "the stream belongs to device 0, the current one is 1",
     [](int *) {
         cudaSetDevice(1);
         MU_STAND_IN_LAUNCH(nothing, 1, 1, 0, stream, (int *)nullptr);
     }},
    {"peek", "the host touched", [](int *x) { host_value = *x; }},
    {"copy", "of which the allocation holds 400", [](int *x) { cudaMemsetAsync(x, 0, 401, stream); }},
    {"twice", "is free already",
     [](int *x) {
         cudaFree(x);
         cudaFree(x);
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

static int die(const char *name)
{
    make_stream(NULL);
    int *x;
    OK(cudaMalloc(&x, 400));
    for (const death &d : deaths)
        if (strcmp(d.name, name) == 0)
            d.run(x);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return die(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_thread_of_every_block_runs_once, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(shuffles_move_what_cuda_moves, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(barriers_hold_everyone, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(a_forgotten_barrier_shows, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(barriers_count, make_stream, free_stream),
        cmocka_unit_test(narrow_floats_round_to_the_nearest),
        cmocka_unit_test_setup_teardown(matrix_instructions_multiply, make_stream, free_stream),
        cmocka_unit_test_setup_teardown(asynchronous_copies_are_late, make_stream, free_stream),
        cmocka_unit_test(mistakes_end_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
