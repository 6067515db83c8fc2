/* Steps of generation on the CUDA device, launched and as graphs: the same bits, whatever sequences come and go, and
 * near the CPU's numbers. Graphs that may name what is no more are recorded again, and what cannot be recorded is
 * launched. Runs against a GPU (label gpu) and against the stand-in (label standin), which alone can be made to
 * refuse. */
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"
#include "kernels/cuda_load.h"
#include "tests/unit/worker/model/decode_models.h"
#include "worker/model/init.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { SLOTS = 4, CAPACITY = 12, STEPS = 26, VOCAB = DECODE_VOCAB };

static bool stand_in;

static void machine(const char *words)
{
    if (stand_in)
        setenv("STAND_IN_CUDA", words, 1);
}

typedef enum { ON_CPU, LAUNCHED, GRAPHS } how_t;

typedef struct bench {
    mu_device_t *dev;
    mu_comm_t *tp;
    mu_net_t *net;
    how_t how;
    int64_t own; /* workspace of the device itself */
} bench_t;

/* Adapters begin as nothing. */
static void fill_adapters(mu_net_t *net)
{
    for (int k = 0; k < mu_net_param_count(net); k++) {
        const mu_net_param_t *p = mu_net_param(net, k);
        if (p->tensor.kind != MU_T_LORA_B)
            continue;
        float *host = mu_alloc((size_t)p->elements * sizeof *host);
        for (int64_t i = 0; i < p->elements; i++)
            host[i] = 0.1F * sinf((float)(i + 3 * k));
        mu_net_put_weight(net, k, 0, p->elements, host);
        free(host);
    }
}

static bench_t set_up(const mu_model_t *model, mu_dtype_t type, int64_t slots, how_t how)
{
    bench_t b = {.how = how};
    mu_net_options_t options = {
        .micro_batch = 1, .seq_length = 64, .dtype = type, .eod = -1, .graphs = how == GRAPHS};
    if (slots > 64)
        options.micro_batch = 2;
    assert_int_equal(how == ON_CPU ? mu_device_cpu_new(1, &b.dev) : mu_device_cuda_new(0, &b.dev), MU_OK);
    b.own = b.dev->memory[MU_MEM_WORKSPACE].current;
    b.tp = mu_comm_self("tp");
    assert_int_equal(mu_net_new(b.dev, model, b.tp, &options, &b.net), MU_OK);
    assert_int_equal(mu_init_weights(b.net, 3), MU_OK);
    fill_adapters(b.net);
    assert_int_equal(mu_net_slots(b.net, slots, CAPACITY), MU_OK);
    return b;
}

static void tear_down(bench_t *b)
{
    mu_net_free(b->net);
    mu_comm_free(b->tp);
    for (int kind = 0; kind < MU_MEM_KINDS && b->how != ON_CPU; kind++) /* a CPU's scratch grows */
        assert_int_equal(b->dev->memory[kind].current, kind == MU_MEM_WORKSPACE ? b->own : 0);
    mu_device_close(b->dev);
}

/* A step's pieces and tokens, and how far each slot's sequence is: the same for every net. */
typedef struct plan {
    int64_t done[SLOTS];
    int lives[SLOTS]; /* sequences that the slot has had */
    mu_net_piece_t piece[SLOTS];
    int32_t ids[64];
    int n;
    int64_t rows;
} plan_t;

/* Each slot in turn begins with a prompt of up to 3 tokens, goes on a token at a time, rests for a step now and then,
 * and begins anew when its sequence is as long as the slot. Slots come in another order in every step. */
static void plan_step(plan_t *p, int step, int64_t capacity)
{
    p->n = 0;
    p->rows = 0;
    for (int k = 0; k < SLOTS; k++) {
        int s = (k * 3 + step) % SLOTS; /* 3 and SLOTS have no divisor in common */
        if (step < 2 * s || (step * 3 + s * 5) % 11 == 0)
            continue;
        if (p->done[s] == capacity) {
            p->done[s] = 0;
            p->lives[s]++;
        }
        int64_t count = p->done[s] == 0 ? 1 + (s + p->lives[s]) % 3 : 1;
        p->piece[p->n++] = (mu_net_piece_t){s, p->done[s], count, 1};
        for (int64_t i = 0; i < count; i++)
            p->ids[p->rows++] = decode_token(s + 7 * p->lives[s], p->done[s]++);
    }
}

/* Logits of a step on a net; SLOTS * VOCAB. */
static void run(const bench_t *b, const plan_t *p, float *out)
{
    memset(out, 0, SLOTS * VOCAB * sizeof *out);
    if (p->n > 0)
        assert_int_equal(mu_net_step(b->net, p->piece, p->n, p->ids, out), MU_OK);
}

static double distance(const float *a, const float *b, int n)
{
    double d = 0, size = 0;
    for (int i = 0; i < n; i++) {
        d += pow((double)(a[i] - b[i]), 2);
        size += pow((double)b[i], 2);
    }
    return sqrt(d / (size > 0 ? size : 1));
}

/* Steps from .. to - 1 on both, with the same bits; cpu: NULL, or near it. */
static void same_bits(const bench_t *launched, const bench_t *graphs, const bench_t *cpu, plan_t *p, int from,
                      int to, int64_t capacity)
{
    static float a[SLOTS * VOCAB], b[SLOTS * VOCAB], c[SLOTS * VOCAB];
    for (int step = from; step < to; step++) {
        plan_step(p, step, capacity);
        run(launched, p, a);
        run(graphs, p, b);
        if (memcmp(a, b, sizeof a) != 0)
            fail_msg("step %d of %d rows: other bits as a graph, %g away", step, p->n,
                     distance(b, a, SLOTS * VOCAB));
        if (!cpu)
            continue;
        run(cpu, p, c);
        if (!(distance(a, c, SLOTS * VOCAB) < 2e-5))
            fail_msg("step %d of %d rows: %g away from the CPU's", step, p->n, distance(a, c, SLOTS * VOCAB));
    }
}

/* Numbers of rows that come twice or more in steps of one row each. */
static int64_t repeated(int from, int to, int64_t capacity)
{
    plan_t p = {0};
    int64_t count[SLOTS + 1] = {0}, n = 0;
    for (int step = 0; step < to; step++) {
        plan_step(&p, step, capacity);
        if (step >= from && p.n > 0 && p.rows == p.n)
            count[p.n]++;
    }
    for (int rows = 1; rows <= SLOTS; rows++)
        n += count[rows] > 1;
    return n;
}

static void compare(const mu_model_t *model, mu_dtype_t type)
{
    bench_t launched = set_up(model, type, SLOTS, LAUNCHED), graphs = set_up(model, type, SLOTS, GRAPHS),
            cpu = set_up(model, type, SLOTS, ON_CPU);
    plan_t p = {0};
    int64_t workspace = graphs.dev->memory[MU_MEM_WORKSPACE].current;
    same_bits(&launched, &graphs, type == MU_DTYPE_F32 ? &cpu : NULL, &p, 0, STEPS, CAPACITY);
    mu_net_graphs_t of = mu_net_graphs(graphs.net);
    assert_int_equal(of.recorded, repeated(0, STEPS, CAPACITY));
    assert_true(of.replayed > STEPS / 3);
    assert_true(!stand_in || graphs.dev->memory[MU_MEM_WORKSPACE].current > workspace);
    of = mu_net_graphs(launched.net);
    assert_int_equal(of.recorded + of.replayed, 0);
    tear_down(&launched);
    tear_down(&graphs);
    tear_down(&cpu);
}

/* Rotary and learned positions. */
static void graphs_have_the_bits_of_launches(void **state)
{
    (void)state;
    assert_true(repeated(0, STEPS, CAPACITY) >= 3);
    compare(&decode_models[0], MU_DTYPE_F32);
    compare(&decode_models[1], MU_DTYPE_F32);
}

/* Grouped queries, norms of queries and keys, a gated MLP; adapters. */
static void a_llama_with_adapters_has_them_too(void **state)
{
    (void)state;
    mu_model_t model = decode_models[2];
    model.lora = (mu_lora_t){.rank = 4, .scale = 2, .targets = 1U << MU_LORA_Q | 1U << MU_LORA_FC2};
    compare(&model, MU_DTYPE_F32);
    compare(&model, MU_DTYPE_BF16);
}

/* A graph reads weights where they lie: new ones there count at once. */
static void new_weights_count(void **state)
{
    (void)state;
    bench_t b[2] = {set_up(&decode_models[0], MU_DTYPE_F32, SLOTS, LAUNCHED),
                    set_up(&decode_models[0], MU_DTYPE_F32, SLOTS, GRAPHS)};
    plan_t p = {0};
    same_bits(&b[0], &b[1], NULL, &p, 0, STEPS, CAPACITY);
    for (int i = 0; i < 2; i++)
        assert_int_equal(mu_init_weights(b[i].net, 8), MU_OK);
    int64_t before = mu_net_graphs(b[1].net).replayed;
    same_bits(&b[0], &b[1], NULL, &p, STEPS, STEPS + 12, CAPACITY);
    assert_true(mu_net_graphs(b[1].net).replayed > before);
    tear_down(&b[0]);
    tear_down(&b[1]);
}

/* A longer cache is other memory: graphs that name the old one are recorded again. */
static void another_cache_is_recorded_anew(void **state)
{
    (void)state;
    enum { LONGER = 20 };
    bench_t b[2] = {set_up(&decode_models[1], MU_DTYPE_F32, SLOTS, LAUNCHED),
                    set_up(&decode_models[1], MU_DTYPE_F32, SLOTS, GRAPHS)};
    plan_t p = {0};
    same_bits(&b[0], &b[1], NULL, &p, 0, STEPS, CAPACITY);
    int64_t before = mu_net_graphs(b[1].net).recorded;
    for (int i = 0; i < 2; i++)
        assert_int_equal(mu_net_slots(b[i].net, SLOTS, LONGER), MU_OK);
    p = (plan_t){0};
    same_bits(&b[0], &b[1], NULL, &p, 0, STEPS, LONGER);
    assert_true(mu_net_graphs(b[1].net).recorded >= before + repeated(0, STEPS, LONGER));
    tear_down(&b[0]);
    tear_down(&b[1]);
}

/* One sequence, as `generate` has it, up to the last token that fits. */
static void one_sequence_up_to_its_end(void **state)
{
    (void)state;
    static float logits[2][VOCAB];
    bench_t b[2] = {set_up(&decode_models[2], MU_DTYPE_BF16, 1, LAUNCHED),
                    set_up(&decode_models[2], MU_DTYPE_BF16, 1, GRAPHS)};
    int32_t prompt[5], next[2] = {0, 0};
    for (int i = 0; i < 5; i++)
        prompt[i] = decode_token(1, i);
    for (int request = 0; request < 3; request++) {
        for (int i = 0; i < 2; i++) {
            assert_int_equal(mu_net_decode_begin(b[i].net, CAPACITY), MU_OK);
            assert_int_equal(mu_net_decode(b[i].net, prompt, 5, logits[i]), MU_OK);
        }
        for (int at = 5; at < CAPACITY; at++)
            for (int i = 0; i < 2; i++) {
                next[i] = 0;
                for (int32_t k = 1; k < VOCAB; k++)
                    next[i] = logits[i][k] > logits[i][next[i]] ? k : next[i];
                assert_int_equal(next[i], next[0]);
                assert_int_equal(mu_net_decode(b[i].net, &next[i], 1, logits[i]), MU_OK);
                assert_memory_equal(logits[i], logits[0], sizeof logits[0]);
            }
        prompt[0]++;
    }
    assert_int_equal(mu_net_graphs(b[1].net).recorded, 1);
    assert_int_equal(mu_net_graphs(b[1].net).replayed, 3 * (CAPACITY - 5) - 1);
    tear_down(&b[0]);
    tear_down(&b[1]);
}

/* More sequences than graphs are kept for. */
static void many_sequences_are_launched(void **state)
{
    (void)state;
    enum { MANY = MU_NET_GRAPHS + 2 };
    static float logits[MANY * VOCAB];
    bench_t b = set_up(&decode_models[1], MU_DTYPE_F32, MANY, GRAPHS);
    for (int n = MU_NET_GRAPHS; n <= MU_NET_GRAPHS + 1; n++)
        for (int64_t step = 0; step < 3; step++) {
            mu_net_piece_t piece[MANY];
            int32_t ids[MANY];
            for (int s = 0; s < n; s++) {
                piece[s] = (mu_net_piece_t){s, step, 1, 1};
                ids[s] = decode_token(s, step);
            }
            assert_int_equal(mu_net_step(b.net, piece, n, ids, logits), MU_OK);
        }
    assert_int_equal(mu_net_graphs(b.net).recorded, 1);
    assert_int_equal(mu_net_graphs(b.net).replayed, 2);
    tear_down(&b);
}

static void count_lines(mu_log_level_t level, const char *line, void *arg)
{
    int *lines = arg;
    lines[0] += level == MU_LOG_WARN && strstr(line, "without a CUDA graph") != NULL;
    lines[1] += level == MU_LOG_ERROR;
}

/* It is logged once, is no error, and changes no bit. */
static void what_cannot_be_recorded_is_launched(void **state)
{
    (void)state;
    static const char *const refusal[] = {"fail=cudaStreamBeginCapture", "fail=cudaGraphInstantiate"};
    for (size_t i = 0; stand_in && i < sizeof refusal / sizeof *refusal; i++) {
        bench_t b[2] = {set_up(&decode_models[0], MU_DTYPE_F32, SLOTS, LAUNCHED),
                        set_up(&decode_models[0], MU_DTYPE_F32, SLOTS, GRAPHS)};
        plan_t p = {0};
        int lines[2] = {0, 0};
        mu_log_sink_set(count_lines, lines);
        machine(refusal[i]);
        same_bits(&b[0], &b[1], NULL, &p, 0, STEPS, CAPACITY);
        machine("");
        mu_log_sink_set(NULL, NULL);
        assert_int_equal(lines[0], 1);
        assert_int_equal(lines[1], 0);
        assert_int_equal(mu_net_graphs(b[1].net).replayed, 0);
        tear_down(&b[0]);
        tear_down(&b[1]);
    }
}

/* A graph that the GPU refuses to run is an error, as a launch is. */
static void a_graph_that_does_not_run_is_an_error(void **state)
{
    (void)state;
    if (!stand_in)
        return;
    static float logits[VOCAB];
    int lines[2] = {0, 0};
    bench_t b = set_up(&decode_models[0], MU_DTYPE_F32, 1, GRAPHS);
    for (int64_t at = 0; at < 4; at++) {
        mu_net_piece_t piece = {0, at, 1, 1};
        int32_t id = decode_token(0, at);
        machine(at == 3 ? "fail=cudaGraphLaunch" : "");
        mu_log_sink_set(count_lines, lines);
        assert_int_equal(mu_net_step(b.net, &piece, 1, &id, logits), at == 3 ? MU_GPU : MU_OK);
        mu_log_sink_set(NULL, NULL);
    }
    machine("");
    assert_int_equal(lines[1], 1);
    tear_down(&b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graphs_have_the_bits_of_launches),
        cmocka_unit_test(a_llama_with_adapters_has_them_too),
        cmocka_unit_test(new_weights_count),
        cmocka_unit_test(another_cache_is_recorded_anew),
        cmocka_unit_test(one_sequence_up_to_its_end),
        cmocka_unit_test(many_sequences_are_launched),
        cmocka_unit_test(what_cannot_be_recorded_is_launched),
        cmocka_unit_test(a_graph_that_does_not_run_is_an_error),
    };
    mu_device_t *any;
    if (mu_device_cuda_new(0, &any) != MU_OK)
        return 77; /* which has been said */
    stand_in = strstr(any->description, "Stand-in") != NULL;
    mu_device_close(any);
    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("decode", tests, NULL, NULL) == 0 ? 0 : 1;
}
