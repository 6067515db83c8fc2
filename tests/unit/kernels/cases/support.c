#include "tests/unit/kernels/cases/support.h"
#include "kernels/convert.h"

mu_device_t *dev;
const mu_device_ops_t *op;
mu_dtype_t type;
double slack;

static uint64_t noise_state;
static void *held[4096]; /* this case's arrays here */
static int held_count;
static void *on_device[4096];
static int on_device_count;
static const mu_case_device_t *devices;
static int device_count;

static const char *type_name(void)
{
    return type == MU_DTYPE_F32 ? "float" : type == MU_DTYPE_BF16 ? "bfloat16" : "fp16";
}

static void release(void)
{
    while (held_count > 0)
        free(held[--held_count]);
    while (on_device_count > 0)
        mu_device_free(dev, on_device[--on_device_count]);
}

void on_every_device(void (*test)(void))
{
    int ran = 0;
    for (int i = 0; i < device_count; i++) {
        dev = devices[i].make(devices[i].arg);
        if (!dev)
            continue;
        op = dev->ops;
        slack = devices[i].slack;
        for (type = MU_DTYPE_F32; type <= MU_DTYPE_F16; type++) {
            if (!op->supports(dev, type))
                continue;
            noise_state = 42;
            test();
            assert_int_equal(op->sync(dev), MU_OK);
            release();
            ran++;
        }
        mu_device_close(dev);
    }
    if (ran == 0)
        skip();
}

double noise(void)
{
    noise_state = noise_state * 6364136223846793005U + 1442695040888963407U;
    return (double)(noise_state >> 11) / 4503599627370496.0 - 1.0;
}

static void *hold(size_t n, size_t size)
{
    assert_true(held_count < (int)(sizeof held / sizeof *held));
    return held[held_count++] = mu_calloc(n > 0 ? n : 1, size);
}

float *floats(int64_t n)
{
    return hold((size_t)n, sizeof(float));
}

double *doubles(int64_t n)
{
    return hold((size_t)n, sizeof(double));
}

float as_stored(double x)
{
    float wide = (float)x;
    uint32_t narrow;
    mu_convert_from_floats(&narrow, type, &wide, 1);
    mu_convert_to_floats(&wide, &narrow, type, 1);
    return wide;
}

float *noisy(int64_t n, double size)
{
    float *p = floats(n);
    for (int64_t i = 0; i < n; i++)
        p[i] = as_stored(size * noise());
    return p;
}

static void *device_memory(int64_t bytes)
{
    void *p;
    assert_true(on_device_count < (int)(sizeof on_device / sizeof *on_device));
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, bytes, &p), MU_OK);
    return on_device[on_device_count++] = p;
}

static void *put_bytes(const void *host, int64_t bytes)
{
    void *p = device_memory(bytes);
    op->put(dev, p, host, bytes);
    return p;
}

mu_array_t put_as(mu_dtype_t as, const float *host, int64_t n)
{
    void *narrow = hold((size_t)n, (size_t)mu_dtype_size(as));
    mu_convert_from_floats(narrow, as, host, n);
    return (mu_array_t){put_bytes(narrow, n * mu_dtype_size(as)), as};
}

mu_array_t put(const float *host, int64_t n)
{
    return put_as(type, host, n);
}

mu_array_t room(int64_t n)
{
    float *old = floats(n);
    for (int64_t i = 0; i < n; i++)
        old[i] = 7;
    return put(old, n);
}

float *put_floats(const float *host, int64_t n)
{
    return put_bytes(host, n * (int64_t)sizeof *host);
}

int32_t *put_ints(const int32_t *host, int64_t n)
{
    return put_bytes(host, n * (int64_t)sizeof *host);
}

double *put_double(double x)
{
    return put_bytes(&x, sizeof x);
}

float *get(mu_array_t a, int64_t n)
{
    void *narrow = hold((size_t)n, (size_t)mu_dtype_size(a.type));
    float *host = floats(n);
    assert_int_equal(op->get(dev, narrow, a.data, n * mu_dtype_size(a.type)), MU_OK);
    mu_convert_to_floats(host, narrow, a.type, n);
    return host;
}

float *get_floats(const float *a, int64_t n)
{
    float *host = floats(n);
    assert_int_equal(op->get(dev, host, a, n * (int64_t)sizeof *a), MU_OK);
    return host;
}

double get_double(const double *a)
{
    double x;
    assert_int_equal(op->get(dev, &x, a, sizeof x), MU_OK);
    return x;
}

double unit_roundoff(mu_dtype_t of)
{
    return of == MU_DTYPE_F32 ? 0 : of == MU_DTYPE_BF16 ? 0x1p-8 : 0x1p-11;
}

double distance(const float *got, const double *want, int64_t n)
{
    double d = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        d += pow((double)got[i] - want[i], 2);
        size += want[i] * want[i];
    }
    return sqrt(d / (size > 0 ? size : 1));
}

void assert_within(const char *what, double is, double limit)
{
    if (!(is <= limit))
        fail_msg("%s, %s: %s is %.3g of its norm away, limit %.3g", dev->description, type_name(), what, is,
                 limit);
}

void plain_table(int64_t positions, int64_t dims, float *out)
{
    double *frequency = doubles(dims / 2);
    for (int64_t i = 0; i < dims / 2; i++)
        frequency[i] = pow(10000, -2.0 * (double)i / (double)dims);
    mu_rotary_table(positions, dims, frequency, 1, out);
}

double gelu(double x, mu_activation_t act)
{
    if (act == MU_GELU_TANH)
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    return 0.5 * x * erfc(-x / sqrt(2));
}

double gelu_slope(double x, mu_activation_t act)
{
    double h = 1e-5;
    return (gelu(x + h, act) - gelu(x - h, act)) / (2 * h);
}

#define CASE(name, test)                                                                                     \
    static void name(void **state)                                                                           \
    {                                                                                                        \
        (void)state;                                                                                         \
        on_every_device(test);                                                                               \
    }
CASE(linear_layers, linear_test)
CASE(embeddings, embedding_test)
CASE(layer_norms, norm_test)
CASE(elementwise, elementwise_test)
CASE(sums_of_two_types, mixed_add_test)
CASE(dropout, dropout_test)
CASE(parts_of_queries_keys_and_values, qkv_test)
CASE(attention_with_dropout, attention_dropout_test)
CASE(adamw, adamw_test)
CASE(attention, attention_test)
CASE(attention_with_steep_scores, steep_test)
CASE(rotary, rotary_test)
CASE(grouped_queries, grouped_test)
CASE(borders_of_documents, borders_test)
CASE(rms_norm, rmsnorm_test)
CASE(qk_norm, qk_norm_test)
CASE(swiglu, swiglu_test)
CASE(absent_biases, unbiased_test)
CASE(rows_are_the_same_alone_and_among_others, rows_test)
CASE(rows_of_many_sequences, slots_test)
CASE(many_cached_keys, many_keys_test)
CASE(graphs, graphs_test)
CASE(cross_entropy, entropy_test)
CASE(nan_is_not_lost, nan_test)
CASE(what_does_not_fit_is_infinite, overflow_test)

int mu_kernel_cases(const mu_case_device_t *given, int count)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_layers),
        cmocka_unit_test(embeddings),
        cmocka_unit_test(layer_norms),
        cmocka_unit_test(elementwise),
        cmocka_unit_test(sums_of_two_types),
        cmocka_unit_test(dropout),
        cmocka_unit_test(parts_of_queries_keys_and_values),
        cmocka_unit_test(attention_with_dropout),
        cmocka_unit_test(adamw),
        cmocka_unit_test(attention),
        cmocka_unit_test(attention_with_steep_scores),
        cmocka_unit_test(rotary),
        cmocka_unit_test(grouped_queries),
        cmocka_unit_test(borders_of_documents),
        cmocka_unit_test(rms_norm),
        cmocka_unit_test(qk_norm),
        cmocka_unit_test(swiglu),
        cmocka_unit_test(absent_biases),
        cmocka_unit_test(rows_are_the_same_alone_and_among_others),
        cmocka_unit_test(rows_of_many_sequences),
        cmocka_unit_test(many_cached_keys),
        cmocka_unit_test(graphs),
        cmocka_unit_test(cross_entropy),
        cmocka_unit_test(nan_is_not_lost),
        cmocka_unit_test(what_does_not_fit_is_infinite),
    };
    devices = given;
    device_count = count;
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
