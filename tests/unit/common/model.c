/* The tensor list: parameter counts against the published Pythia models, slices against the tensor they cut.
 */
#include "common/model.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static mu_model_t neox(int64_t layers, int64_t hidden, int64_t heads, int64_t vocab)
{
    mu_model_t m = {.layers = layers,
                    .hidden = hidden,
                    .heads = heads,
                    .ffn = 4 * hidden,
                    .seq_length = 2048,
                    .max_positions = 2048,
                    .vocab = vocab,
                    .rotary_base = 10000,
                    .norm_eps = 1e-5,
                    .init_std = 0.02};
    return m;
}

static void counts_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        int64_t layers, hidden, heads, vocab, parameters;
    } row[] = {{6, 512, 8, 50304, 70426624},      {12, 768, 12, 50304, 162322944},
               {24, 1024, 16, 50304, 405334016},  {16, 2048, 8, 50304, 1011781632},
               {24, 2048, 16, 50304, 1414647808}, {32, 2560, 32, 50304, 2775208960},
               {32, 4096, 32, 50432, 6857302016}, {36, 5120, 40, 50688, 11846072320},
               {44, 6144, 64, 50432, 20554567680}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_model_t m = neox(row[i].layers, row[i].hidden, row[i].heads, row[i].vocab);
        assert_int_equal(mu_model_parameters(&m), row[i].parameters);
    }
}

static void names_are_found_where_they_are(void **state)
{
    (void)state;
    mu_model_t m = neox(2, 64, 4, 96);
    for (int variant = 0; variant < 12; variant++) {
        m.residual = (mu_residual_t)(variant % 3);
        m.position = variant / 3 % 2 ? MU_POSITION_LEARNED : MU_POSITION_ROTARY;
        m.tied_head = variant >= 6;
        for (int i = 0; i < mu_model_tensor_count(&m); i++) {
            mu_tensor_t t;
            mu_model_tensor(&m, i, &t);
            assert_int_equal(mu_model_tensor_find(&m, t.name), i);
        }
    }
    assert_int_equal(mu_model_tensor_find(&m, "layers.9.mlp.dense_h_to_4h.bias"), -1);
}

/* The vocabulary also where the width does not divide it. */
static void cover(int64_t vocab)
{
    mu_model_t m = neox(2, 64, 4, vocab);
    assert_true(mu_model_vocab_fits(&m, 4));
    for (int i = 0; i < mu_model_tensor_count(&m); i++) {
        mu_tensor_t t;
        mu_model_tensor(&m, i, &t);
        int64_t covered = 0, end[2] = {0, 0};
        for (int r = 0; r < 4; r++) {
            int64_t offset[2], count[2];
            mu_tensor_slice(&t, 4, r, offset, count);
            covered += count[0] * count[1];
            int d = t.split == MU_SPLIT_COLS ? 1 : 0;
            if (t.split != MU_SPLIT_NONE)
                assert_int_equal(offset[d], end[d]);
            end[d] = offset[d] + count[d];
        }
        assert_int_equal(covered, t.shape[0] * t.shape[1] * (t.split == MU_SPLIT_NONE ? 4 : 1));
    }
}

static void slices_cover_each_tensor_once(void **state)
{
    (void)state;
    for (int64_t vocab = 93; vocab <= 97; vocab++)
        cover(vocab);
    mu_model_t m = neox(2, 64, 4, 5); /* 2, 2, 1 and none */
    assert_false(mu_model_vocab_fits(&m, 4));
    assert_true(mu_model_vocab_fits(&m, 3));
}

/* With more ranks than key/value heads: every row of query_key_value counts on one rank, the rows that count are one
 * run, and each rank holds its queries with their keys and values. */
static void copied_heads_count_once(void **state)
{
    (void)state;
    enum { HEADS = 12, KV = 2, D = 3, ROWS = (HEADS + 2 * KV) * D };
    mu_model_t m = {.layers = 1, .hidden = 36, .heads = HEADS, .kv_heads = KV, .ffn = 8, .vocab = 8};
    for (int tp = 1; tp <= HEADS; tp++) {
        if (!mu_model_heads_fit(&m, tp)) {
            assert_true(tp == 3 || HEADS % tp != 0);
            continue;
        }
        mu_model_t spread = mu_model_spread(&m, tp);
        mu_tensor_t t;
        int counted[ROWS] = {0};
        mu_model_tensor(&spread, mu_model_tensor_find(&spread, "layers.0.attention.query_key_value.weight"),
                        &t);
        for (int rank = 0; rank < tp; rank++) {
            int64_t offset[2], count[2], last = -1, queries = 0;
            mu_tensor_slice(&t, tp, rank, offset, count);
            for (int64_t row = offset[0], rows; row < offset[0] + count[0]; row += rows) {
                bool copy;
                int64_t at = mu_model_spread_row(&m, tp, &t, row, &rows, &copy);
                rows = rows < offset[0] + count[0] - row ? rows : offset[0] + count[0] - row;
                assert_true(rows > 0 && at >= 0 && at + rows <= ROWS);
                for (int64_t r = at; r < at + rows; r++) {
                    counted[r] += !copy;
                    queries += r / D % (HEADS / KV + 2) < HEADS / KV;
                }
                assert_true(copy || last < 0 || at == last);
                last = copy ? last : at + rows;
            }
            assert_int_equal(queries, HEADS / tp * D);
        }
        for (int r = 0; r < ROWS; r++)
            assert_int_equal(counted[r], 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_the_published_ones),
        cmocka_unit_test(names_are_found_where_they_are),
        cmocka_unit_test(slices_cover_each_tensor_once),
        cmocka_unit_test(copied_heads_count_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
