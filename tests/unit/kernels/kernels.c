/* The CPU device: every operation (kernel_cases/), for each instruction set that this processor has, one of
 * them with three threads; the conversions between types; memory. */
#include "common/buf.h"
#include "common/half.h"
#include "kernels/convert.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/vec.h"
#include "tests/unit/kernels/cases/support.h"

/* One test asks for more memory than there is; under a sanitizer malloc shall say no as elsewhere. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

typedef struct cpu {
    const char *isa;
    int threads;
} cpu_t;

static mu_device_t *make(const void *arg)
{
    const cpu_t *cpu = arg;
    mu_device_t *made;
    bool tiles = strcmp(cpu->isa, "amx") == 0;
    if (tiles ? !mu_tiles_choose(cpu->isa) : strcmp(mu_vec_choose(cpu->isa)->name, cpu->isa) != 0)
        return NULL;
    setenv("MUSTER_CPU_ISA", cpu->isa, 1);
    assert_int_equal(mu_device_cpu_new(cpu->threads, &made), MU_OK);
    unsetenv("MUSTER_CPU_ISA");
    return made;
}

/* Every value of 16 bits, and floats around each border between two of them, in every instruction set as
 * common/half.h says; and that is right since the nearest of two neighbours is what it gives. */
static void conversions_at(const mu_vec_t *vec, mu_dtype_t narrow)
{
    enum { N = 65536 };
    static uint16_t bits[N], back[N];
    static float wide[N];
    float (*widen)(uint16_t) = narrow == MU_DTYPE_BF16 ? mu_float_of_bfloat16 : mu_float_of_half;
    uint16_t (*round_one)(float) = narrow == MU_DTYPE_BF16 ? mu_bfloat16_of_float : mu_half_of_float;
    for (int i = 0; i < N; i++)
        bits[i] = (uint16_t)i;
    vec->widen(wide, bits, N, narrow);
    for (int i = 0; i < N; i++) {
        float want = widen((uint16_t)i);
        assert_memory_equal(&wide[i], &want, sizeof want);
    }
    for (int side = -1; side <= 1; side++) {
        static float border[N];
        for (int i = 0; i < N; i++) { /* between this value and the next, or a hair beside */
            float a = widen((uint16_t)i), b = widen((uint16_t)(i + 1));
            border[i] = (float)(((double)a + (double)b) / 2);
            if (side)
                border[i] = nextafterf(border[i], side < 0 ? a : b);
        }
        vec->narrow(back, border, N, narrow);
        for (int i = 0; i < N; i++) {
            if (isnan(border[i])) {
                assert_true(isnan(widen(back[i])));
                continue;
            }
            assert_int_equal(back[i], round_one(border[i]));
            if (isfinite(widen((uint16_t)i)) && isfinite(widen((uint16_t)(i + 1))) && (i & 0x7fff) != 0x7fff)
                assert_int_equal(back[i], side < 0 ? i : side > 0 ? i + 1 : i + (i & 1));
        }
    }
    vec->narrow(back, wide, N - 5, narrow); /* a tail */
    for (int i = 0; i < N - 5; i++)
        assert_true(isnan(wide[i]) ? isnan(widen(back[i])) : back[i] == i);
}

static void conversions(void **state)
{
    (void)state;
    static const char *const isa[] = {"base", "avx2", "avx512"};
    for (int i = 0; i < 3; i++)
        for (mu_dtype_t narrow = MU_DTYPE_BF16; narrow <= MU_DTYPE_F16; narrow++)
            conversions_at(mu_vec_choose(isa[i]), narrow);
    assert_int_equal(mu_half_of_float(65519.99F), 0x7bff);
    assert_int_equal(mu_half_of_float(65520), 0x7c00);
    assert_int_equal(mu_half_of_float(-1e30F), 0xfc00);
    assert_int_equal(mu_half_of_float(0x1p-25F), 0);
    assert_int_equal(mu_half_of_float(0x1.8p-25F), 1);
    assert_int_equal(mu_bfloat16_of_float(INFINITY), 0x7f80);
    assert_int_equal(mu_bfloat16_of_float(0x1.ffp127F), 0x7f80);
}

enum { ROWS = 200, IN = 96, OUT = 160, HIDDEN = IN / 2, SUMS = OUT * IN + OUT + 2 * HIDDEN };

static void *device_array(mu_dtype_t as, int64_t n, int seed)
{
    void *p;
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, n * mu_dtype_size(as), &p), MU_OK);
    for (int64_t i = 0; seed > 0 && i < n; i++) {
        float x = (float)((i * 7919 + seed * 31) % 1009) / 500.0F - 1.0F;
        mu_convert_from_floats(mu_array_at((mu_array_t){p, as}, i).data, as, &x, 1);
    }
    return p;
}

/* Sums over rows, which threads could divide: dw and db of a linear layer and of a norm. */
static void sums(int threads, float *out)
{
    assert_int_equal(mu_device_cpu_new(threads, &dev), MU_OK);
    mu_array_t x = {device_array(type, ROWS * IN, 1), type}, dy = {device_array(type, ROWS * OUT, 2), type};
    mu_array_t dx = {device_array(type, ROWS * IN, 3), type};
    float *mean = device_array(MU_DTYPE_F32, ROWS, 4), *rstd = device_array(MU_DTYPE_F32, ROWS, 5);
    float *got = device_array(MU_DTYPE_F32, SUMS, 0), *norm = got + OUT * IN + OUT;
    dev->ops->linear_backward_weight(dev, got, got + OUT * IN, dy, x, ROWS, IN, OUT, false);
    dev->ops->layernorm_backward(dev, dx, norm, norm + HIDDEN, dy, x, dy, mean, rstd, ROWS, HIDDEN, false);
    assert_int_equal(dev->ops->get(dev, out, got, SUMS * (int64_t)sizeof *out), MU_OK);
    void *const all[] = {x.data, dy.data, dx.data, mean, rstd, got};
    for (int i = 0; i < 6; i++)
        mu_device_free(dev, all[i]);
    mu_device_close(dev);
}

static void bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    static float one[SUMS], three[SUMS];
    for (type = MU_DTYPE_F32; type <= MU_DTYPE_F16; type++) {
        sums(1, one);
        sums(3, three);
        assert_memory_equal(one, three, sizeof one);
    }
}

/* Arrays that are copied past the caches, by one thread or three, to and from any byte: all of it, nothing around. */
static void large_arrays_are_copied_whole(void **state)
{
    (void)state;
    enum { MOST = 4 << 20, AROUND = 256 };
    static const int64_t sizes[] = {0, 5, 1 << 20, (1 << 20) + 1, (3 << 20) + 777, MOST};
    unsigned char *from = mu_alloc(MOST + AROUND), *to = mu_alloc(MOST + 2 * AROUND);
    for (size_t i = 0; i < MOST + AROUND; i++)
        from[i] = (unsigned char)(1 + i * 2654435761u / 65536 % 255);
    for (int threads = 1; threads <= 3; threads += 2) {
        assert_int_equal(mu_device_cpu_new(threads, &dev), MU_OK);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            for (size_t shift = 0; shift < 128; shift += 63) {
                size_t n = (size_t)sizes[s];
                unsigned char *at = to + AROUND + shift;
                memset(to, 0, MOST + 2 * AROUND);
                assert_int_equal(dev->ops->get(dev, at, from + shift / 2, sizes[s]), MU_OK);
                assert_memory_equal(at, from + shift / 2, n);
                for (int i = 1; i <= AROUND / 2; i++)
                    assert_int_equal(at[-i] | (n + (size_t)i <= MOST ? at[n + (size_t)i - 1] : 0), 0);
            }
        }
        mu_device_close(dev);
    }
    free(from);
    free(to);
}

static void memory_is_counted_by_kind(void **state)
{
    (void)state;
    void *a, *b;
    assert_int_equal(mu_device_cpu_new(1, &dev), MU_OK);
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WEIGHTS, 1000, &a), MU_OK);
    assert_int_equal(mu_device_alloc(dev, MU_MEM_GRADIENTS, 3 << 20, &b), MU_OK);
    assert_int_equal((uintptr_t)a % 64 + (uintptr_t)b % 64, 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(((char *)a)[i], 0);
    mu_device_free(dev, a);
    assert_int_equal(dev->memory[MU_MEM_WEIGHTS].current, 0);
    assert_int_equal(dev->memory[MU_MEM_WEIGHTS].peak, 1000);
    assert_int_equal(dev->memory[MU_MEM_GRADIENTS].current, 3 << 20);
    assert_int_equal(dev->total.peak, 1000 + (3 << 20));
    mu_device_free(dev, b);
    assert_int_equal(dev->total.current, 0);
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WEIGHTS, INT64_MAX / 2, &a), MU_NOMEM);
    mu_device_close(dev);
}

int main(void)
{
    static const cpu_t cpu[] = {{"base", 1}, {"avx2", 3}, {"avx512", 1}, {"amx", 2}};
    enum { CPUS = sizeof cpu / sizeof *cpu };
    mu_case_device_t device[CPUS];
    for (int i = 0; i < CPUS; i++)
        device[i] = (mu_case_device_t){make, &cpu[i], 0};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions),
        cmocka_unit_test(bits_do_not_depend_on_threads),
        cmocka_unit_test(large_arrays_are_copied_whole),
        cmocka_unit_test(memory_is_counted_by_kind),
    };
    setenv("MUSTER_CPU_FP16", "1", 1);
    int failed = mu_kernel_cases(device, CPUS);
    return failed + cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
