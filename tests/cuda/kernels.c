/* Every operation of the CUDA device (unit/kernels/cases/), and what only it promises: the same bits every
 * time, buffers that may be reused, streams in order, and words for what is missing. Runs against a GPU
 * (label gpu), and against a stand-in on the CPU (label standin), as MUSTER_CUDA_LIBRARY says; without either
 * it exits with 77. */
#include "common/log.h"
#include "kernels/cuda_load.h"
#include "tests/unit/kernels/cases/support.h"

static mu_device_t *make(const void *arg)
{
    mu_device_t *made;
    (void)arg;
    assert_int_equal(mu_device_cuda_new(0, &made), MU_OK);
    return made;
}

/* --- the same bits: everything that adds up, twice, with other work before the second time --- */

enum { BATCH = 2, SEQ = 70, HEADS = 2, DIM = 16, ROWS = BATCH * SEQ, WIDE = HEADS * DIM, VOCAB = 11 };
enum { TOTAL = ROWS * 3 * WIDE + 3 * WIDE * WIDE + VOCAB * WIDE + 3 * WIDE };

static float *first_bits[3]; /* by type */

static void all_sums_test(void)
{
    static const mu_attention_t shape = {BATCH, SEQ, HEADS, DIM, 0.25, 0, NULL, NULL};
    int32_t ids[ROWS];
    for (int r = 0; r < ROWS; r++)
        ids[r] = r * r % (VOCAB + 2);
    mu_array_t x = put(noisy(ROWS * WIDE, 1), ROWS * WIDE), dy = put(noisy(ROWS * WIDE, 1), ROWS * WIDE);
    mu_array_t w = put(noisy(3 * WIDE * WIDE, 0.3), 3 * WIDE * WIDE), scale = put(noisy(WIDE, 1), WIDE);
    mu_array_t qkv = room(ROWS * 3 * WIDE), out = room(ROWS * WIDE), dqkv = room(ROWS * 3 * WIDE);
    float *sums = put_floats(floats(TOTAL), TOTAL), *lse = put_floats(floats(ROWS * HEADS), ROWS * HEADS);
    float *mean = put_floats(floats(ROWS), ROWS), *rstd = put_floats(floats(ROWS), ROWS);
    float *dw = sums + ROWS * 3 * WIDE, *dtable = dw + 3 * WIDE * WIDE, *db = dtable + VOCAB * WIDE;
    op->linear_forward(dev, qkv, x, w, MU_NO_ARRAY, MU_NO_ARRAY, ROWS, WIDE, 3 * WIDE);
    op->attention_forward(dev, out, lse, qkv, &shape);
    op->attention_backward(dev, dqkv, dy, qkv, out, lse, &shape);
    op->add(dev, mu_array_f32(sums), dqkv, ROWS * 3 * WIDE);
    op->linear_backward_weight(dev, dw, NULL, dqkv, x, ROWS, WIDE, 3 * WIDE, false);
    op->embedding_backward(dev, dtable, dy, put_ints(ids, ROWS), ROWS, WIDE, 0, VOCAB);
    op->layernorm_forward(dev, out, mean, rstd, x, scale, scale, ROWS, WIDE, 1e-5);
    op->layernorm_backward(dev, out, db, db + WIDE, dy, x, scale, mean, rstd, ROWS, WIDE, false);
    op->linear_backward_weight(dev, dw, db + 2 * WIDE, dy, x, ROWS, WIDE, WIDE, false);
    float *got = get_floats(sums, TOTAL);
    if (first_bits[type]) {
        assert_memory_equal(got, first_bits[type], TOTAL * sizeof *got);
        free(first_bits[type]);
        first_bits[type] = NULL;
    } else {
        first_bits[type] = mu_calloc(TOTAL, sizeof *got);
        memcpy(first_bits[type], got, TOTAL * sizeof *got);
    }
}

static void sums_have_the_same_bits_every_time(void **state)
{
    (void)state;
    on_every_device(all_sums_test);
    on_every_device(all_sums_test);
}

/* --- memory and transfers --- */

static void buffers_may_be_reused_after_put(void **state)
{
    (void)state;
    enum { N = 1000, TIMES = 40, LARGE = 700000, SOME = 300000 };
    int32_t host[N], *all = mu_calloc(LARGE, sizeof *all), *back = mu_calloc(LARGE, sizeof *all);
    void *p, *q;
    dev = make(NULL);
    op = dev->ops;
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, N * TIMES * sizeof *host, &p), MU_OK);
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, LARGE * sizeof *host, &q), MU_OK);
    for (int t = 0; t < TIMES; t++) {
        for (int i = 0; i < N; i++)
            host[i] = t * N + i;
        op->put(dev, (int32_t *)p + t * N, host, sizeof host);
    }
    for (int i = 0; i < LARGE; i++)
        all[i] = i;
    op->put(dev, q, all, LARGE * sizeof *all);
    memset(all, 0, LARGE * sizeof *all);
    for (int i = 0; i < SOME; i++)
        all[i] = -i;
    op->put(dev, (int32_t *)q + 5000, all, SOME * sizeof *all); /* over several slots */
    memset(all, 0, LARGE * sizeof *all);
    memset(host, 0, sizeof host);
    assert_int_equal(op->get(dev, back, p, N * TIMES * sizeof *host), MU_OK);
    for (int i = 0; i < N * TIMES; i++)
        assert_int_equal(back[i], i);
    op->copy(dev, p, (int32_t *)q + 77, sizeof host);
    op->zero(dev, (int32_t *)p + N - 1, sizeof *host);
    assert_int_equal(op->get(dev, back, q, LARGE * sizeof *host), MU_OK);
    assert_int_equal(back[LARGE - 1], LARGE - 1);
    for (int i = 0; i < SOME; i++)
        assert_int_equal(back[5000 + i], -i);
    assert_int_equal(op->get(dev, back, p, sizeof host), MU_OK);
    assert_int_equal(back[N - 2], 77 + N - 2);
    assert_int_equal(back[N - 1], 0);
    mu_device_free(dev, p);
    mu_device_free(dev, q);
    mu_device_close(dev);
    free(all);
    free(back);
}

static void memory_is_zeroed_counted_and_ends(void **state)
{
    (void)state;
    enum { BYTES = 3 << 20 };
    char *host = mu_calloc(BYTES, 1);
    void *p;
    dev = make(NULL);
    op = dev->ops;
    for (int round = 0; round < 2; round++) { /* memory that was given back dirty comes again */
        assert_int_equal(mu_device_alloc(dev, MU_MEM_GRADIENTS, BYTES, &p), MU_OK);
        assert_int_equal((uintptr_t)p % 64, 0);
        memset(host, 1, BYTES);
        assert_int_equal(op->get(dev, host, p, BYTES), MU_OK);
        for (int i = 0; i < BYTES; i++)
            assert_int_equal(host[i], 0);
        memset(host, 1, BYTES);
        op->put(dev, p, host, BYTES);
        assert_int_equal(dev->memory[MU_MEM_GRADIENTS].current, BYTES);
        mu_device_free(dev, p);
    }
    assert_int_equal(dev->memory[MU_MEM_GRADIENTS].peak, BYTES);
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WEIGHTS, INT64_MAX / 2, &p), MU_NOMEM);
    assert_int_equal(op->sync(dev), MU_OK); /* which is the caller's to report, not the device's */
    mu_device_close(dev);
    free(host);
}

/* A worker may own nothing of a tensor. */
static void nothing_is_done_to_nothing(void **state)
{
    (void)state;
    const mu_adamw_t params = {.lr = 1, .beta1 = 0.9, .beta2 = 0.9, .eps = 1, .grad_scale = 1, .t = 1};
    double two = 2;
    void *p;
    dev = make(NULL);
    op = dev->ops;
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, sizeof two, &p), MU_OK);
    op->put(dev, p, &two, sizeof two);
    op->adamw(dev, mu_array_f32(p), NULL, p, p, p, 0, &params);
    op->add(dev, mu_array_f32(p), mu_array_f32(p), 0);
    op->scale(dev, p, 0, 3);
    op->sum_squares(dev, p, p, 0);
    op->embedding_forward(dev, mu_array_f32(p), mu_array_f32(p), p, 0, 8, 0, 1);
    assert_int_equal(op->get(dev, &two, p, sizeof two), MU_OK);
    assert_true(two == 2);
    mu_device_free(dev, p);
    mu_device_close(dev);
}

/* --- streams for collectives --- */

static void streams_wait_for_each_other(void **state)
{
    (void)state;
    const mu_cuda_plugin_t *plugin;
    void *side, *p;
    int count;
    dev = make(NULL);
    assert_int_equal(mu_cuda_open(&plugin), MU_OK);
    assert_int_equal(plugin->device_count(&count), MU_OK);
    assert_true(count >= 1);
    assert_int_equal(plugin->stream_new(dev, &side), MU_OK);
    assert_ptr_not_equal(side, plugin->stream(dev));
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, 1 << 20, &p), MU_OK);
    assert_int_equal(plugin->stream_wait(dev, side, plugin->stream(dev)), MU_OK);
    assert_int_equal(plugin->stream_wait(dev, plugin->stream(dev), side), MU_OK);
    assert_int_equal(dev->ops->sync(dev), MU_OK); /* so the other is done too */
    bool idle = false;
    assert_int_equal(plugin->stream_idle(dev, side, &idle), MU_OK);
    assert_true(idle);
    plugin->stream_free(dev, side);
    plugin->stream_free(dev, NULL);
    mu_device_free(dev, p);
    mu_device_close(dev);
}

/* --- what is missing is said --- */

static char last_line[1024];

static void keep_line(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    snprintf(last_line, sizeof last_line, "%s", line);
}

static void assert_said(mu_status_t status, mu_status_t want, const char *words)
{
    assert_int_equal(status, want);
    if (!strstr(last_line, words))
        fail_msg("'%s' is not in: %s", words, last_line);
}

static void what_is_missing_is_said(void **state)
{
    (void)state;
    mu_device_t *other;
    const char *library = getenv("MUSTER_CUDA_LIBRARY");
    char *kept = library ? strdup(library) : NULL;
    dev = make(NULL);
    const bool kept_stand_in = strstr(dev->description, "Stand-in") != NULL;
    mu_device_close(dev);
    mu_log_sink_set(keep_line, NULL);
    assert_said(mu_device_cuda_new(99, &other), MU_GPU, "there is no GPU 99");
    setenv("MUSTER_CUDA_LIBRARY", "/nowhere/libmuster-cuda.so", 1);
    assert_false(mu_cuda_present());
    assert_said(mu_device_cuda_new(0, &other), MU_GPU, "/nowhere/libmuster-cuda.so: no such file");
    setenv("MUSTER_CUDA_LIBRARY", "/proc/self/exe", 1);
    assert_said(mu_device_cuda_new(0, &other), MU_GPU, "cannot open the CUDA part");
    if (kept)
        setenv("MUSTER_CUDA_LIBRARY", kept, 1);
    else
        unsetenv("MUSTER_CUDA_LIBRARY");
    free(kept);

    /* a driver that is older than the library; a card's own driver takes no such word */
    const char *machine = getenv("STAND_IN_CUDA");
    char *was = machine ? strdup(machine) : NULL;
    if (kept_stand_in) {
        setenv("STAND_IN_CUDA", "driver=11040", 1);
        assert_said(mu_device_cuda_new(0, &other), MU_GPU, "knows CUDA 11.4");
        setenv("STAND_IN_CUDA", "driver=12080", 1); /* 570: one of CUDA 12 does not know what CUDA 13 built */
        assert_said(mu_device_cuda_new(0, &other), MU_GPU, "knows CUDA 12.8");
        assert_said(mu_device_cuda_new(0, &other), MU_GPU, "install driver 580 or newer");
        setenv("STAND_IN_CUDA", "driver=0", 1);
        assert_said(mu_device_cuda_new(0, &other), MU_GPU, "no driver for NVIDIA GPUs");
        setenv("STAND_IN_CUDA", "driver=14010", 1); /* a newer one does */
        assert_int_equal(mu_device_cuda_new(0, &other), MU_OK);
        mu_device_close(other);
        if (was)
            setenv("STAND_IN_CUDA", was, 1);
        else
            unsetenv("STAND_IN_CUDA");
    }
    free(was);

    /* an operation that cannot be done is kept, and said once */
    static const mu_attention_t broad = {1, 2, 1, 264, 0.1, 0, NULL, NULL};
    dev = make(NULL);
    op = dev->ops;
    void *p;
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, 1 << 16, &p), MU_OK);
    mu_array_t qkv = mu_array_f32(p), out = mu_array_at(qkv, 4096);
    op->attention_forward(dev, out, (float *)p + 8192, qkv, &broad);
    assert_said(op->sync(dev), MU_CONFIG, "heads of 264 elements");
    mu_device_free(dev, p);
    mu_device_close(dev);
    mu_log_sink_set(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_have_the_same_bits_every_time),
        cmocka_unit_test(buffers_may_be_reused_after_put),
        cmocka_unit_test(memory_is_zeroed_counted_and_ends),
        cmocka_unit_test(nothing_is_done_to_nothing),
        cmocka_unit_test(streams_wait_for_each_other),
        cmocka_unit_test(what_is_missing_is_said),
    };
    mu_device_t *any;
    if (mu_device_cuda_new(0, &any) != MU_OK)
        return 77; /* which has been said */
    mu_device_close(any);
    /* attention rounds the probabilities that it multiplies */
    const mu_case_device_t device = {make, NULL, 1};
    int failed = mu_kernel_cases(&device, 1);
    return failed + cmocka_run_group_tests_name("cuda", tests, NULL, NULL);
}
