/* Generation in slots: a sequence's logits have the same bits alone and in a full batch, however its tokens are cut,
 * and with any number of threads; and they are those of the full pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/num.h"
#include "tests/unit/worker/model/decode_models.h"
#include "worker/model/init.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 45, SEQUENCES = 5, VOCAB = DECODE_VOCAB };

typedef struct bench {
    mu_device_t *dev;
    mu_comm_t *tp;
    mu_net_t *net;
} bench_t;

static bench_t set_up(const mu_model_t *model, mu_dtype_t type, int threads)
{
    bench_t b;
    mu_net_options_t options = {.micro_batch = 1, .dtype = type};
    assert_int_equal(mu_device_cpu_new(threads, &b.dev), MU_OK);
    b.tp = mu_comm_self("tp");
    assert_int_equal(mu_net_new(b.dev, model, b.tp, &options, &b.net), MU_OK);
    assert_int_equal(mu_init_weights(b.net, 3), MU_OK);
    return b;
}

static void tear_down(bench_t *b)
{
    mu_net_free(b->net);
    mu_comm_free(b->tp);
    mu_device_close(b->dev);
}

/* Logits after every token of a sequence, alone, a token at a time. */
static void alone(const bench_t *b, int sequence, float *out)
{
    assert_int_equal(mu_net_slots(b->net, 1, LENGTH), MU_OK);
    for (int64_t at = 0; at < LENGTH; at++) {
        mu_net_piece_t piece = {0, at, 1, 1};
        int32_t id = decode_token(sequence, at);
        assert_int_equal(mu_net_step(b->net, &piece, 1, &id, out + at * VOCAB), MU_OK);
    }
}

/* All sequences at once in pieces of different sizes, each in another slot than before. */
static void together(const bench_t *b, float *out)
{
    int64_t done[SEQUENCES] = {0};
    assert_int_equal(mu_net_slots(b->net, SEQUENCES + 2, LENGTH), MU_OK);
    for (int step = 0;; step++) {
        mu_net_piece_t piece[SEQUENCES];
        int32_t ids[64];
        float *logits = mu_alloc(64 * VOCAB * sizeof *logits), *from = logits;
        int n = 0, rows = 0;
        for (int s = 0; s < SEQUENCES; s++) {
            int64_t count = mu_min_i64(1 + (step * 5 + s * 3) % 12, LENGTH - done[s]);
            if (count == 0 || (step + s) % 3 == 2)
                continue;
            piece[n++] = (mu_net_piece_t){SEQUENCES + 1 - s, done[s], count, count};
            for (int64_t i = 0; i < count; i++)
                ids[rows++] = decode_token(s, done[s] + i);
        }
        if (n > 0)
            assert_int_equal(mu_net_step(b->net, piece, n, ids, logits), MU_OK);
        int64_t left = 0;
        for (int i = 0; i < n; i++) {
            int s = (int)(SEQUENCES + 1 - piece[i].slot);
            memcpy(out + (s * LENGTH + done[s]) * VOCAB, from,
                   (size_t)(piece[i].count * VOCAB) * sizeof *from);
            from += piece[i].count * VOCAB;
            done[s] += piece[i].count;
        }
        free(logits);
        for (int s = 0; s < SEQUENCES; s++)
            left += LENGTH - done[s];
        if (left == 0)
            return;
    }
}

static void a_sequence_has_the_same_bits_in_any_company(void **state)
{
    (void)state;
    static const char *const sets[] = {"amx", "avx512", "avx2", "base"};
    for (size_t set = 0; set < 4; set++)
        for (size_t m = 0; m < DECODE_MODELS; m++)
            for (int type = MU_DTYPE_F32; type <= MU_DTYPE_BF16; type++) {
                setenv("MUSTER_CPU_ISA", sets[set], 1);
                static float one[LENGTH * VOCAB], all[SEQUENCES * LENGTH * VOCAB];
                bench_t b = set_up(&decode_models[m], (mu_dtype_t)type, 1),
                        many = set_up(&decode_models[m], (mu_dtype_t)type, 3);
                together(&many, all);
                for (int s = 0; s < SEQUENCES; s++) {
                    alone(&b, s, one);
                    if (memcmp(one, all + s * LENGTH * VOCAB, sizeof one) != 0)
                        fail_msg("%s, model %zu, %s: sequence %d differs", sets[set], m,
                                 mu_dtype_name((mu_dtype_t)type), s);
                }
                tear_down(&b);
                tear_down(&many);
            }
    unsetenv("MUSTER_CPU_ISA");
}

static void it_is_the_full_pass(void **state)
{
    (void)state;
    for (size_t m = 0; m < DECODE_MODELS; m++) {
        mu_model_t model = decode_models[m];
        static float one[LENGTH * VOCAB], full[LENGTH * VOCAB];
        int32_t tokens[LENGTH];
        model.seq_length = LENGTH;
        bench_t b = set_up(&model, MU_DTYPE_F32, 2);
        for (int64_t i = 0; i < LENGTH; i++)
            tokens[i] = decode_token(2, i);
        assert_int_equal(mu_net_logits(b.net, tokens, full), MU_OK);
        alone(&b, 2, one);
        double difference = 0, size = 0;
        for (int i = 0; i < LENGTH * VOCAB; i++) {
            difference += pow((double)(one[i] - full[i]), 2);
            size += pow((double)full[i], 2);
        }
        if (!(sqrt(difference / size) < 5e-6))
            fail_msg("model %zu: %g", m, sqrt(difference / size));
        tear_down(&b);
    }
}

static void a_step_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    bench_t b = set_up(&decode_models[1], MU_DTYPE_F32, 1);
    int32_t ids[64] = {0};
    assert_int_equal(mu_net_slots(b.net, 2, 65), MU_CONFIG);
    assert_int_equal(mu_net_slots(b.net, 2, 20), MU_OK);
    assert_true(mu_net_slots_bytes(b.net, 2, 20) == 2 * 20 * 2 * 64 * 4 * 2);
    static const struct {
        mu_net_piece_t piece;
        mu_status_t status;
    } row[] = {{{2, 0, 1, 0}, MU_BUG}, {{-1, 0, 1, 0}, MU_BUG},    {{0, 0, 0, 0}, MU_BUG},
               {{0, 0, 1, 2}, MU_BUG}, {{0, 15, 6, 0}, MU_CONFIG}, {{0, 0, 21, 0}, MU_CONFIG},
               {{1, 15, 5, 0}, MU_OK}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        assert_int_equal(mu_net_step(b.net, &row[i].piece, 1, ids, NULL), row[i].status);
    tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_has_the_same_bits_in_any_company),
        cmocka_unit_test(it_is_the_full_pass),
        cmocka_unit_test(a_step_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
