/* Rows of new tokens: the mean of the old tokens', whatever part of the matrix is read. */
#include "worker/model/resize_embeddings.h"
#include "common/buf.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <cmocka.h>

enum { COLS = 3, ROWS = 12 };

typedef struct matrix {
    int64_t rows;
    mu_status_t status;
    int reads;
} matrix_t;

static float value(int64_t row, int64_t col)
{
    return (float)(row * row + 10 * col);
}

static mu_status_t read_rows(void *arg, int64_t first, int64_t n, float *out)
{
    matrix_t *m = arg;
    assert_true(first >= 0 && n > 0 && first + n <= m->rows);
    m->reads++;
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < COLS; c++)
            out[r * COLS + c] = value(first + r, c);
    return m->status;
}

/* Reads every window of the grown matrix and compares each row with the definition. */
static void check_growth(mu_resize_t g, int64_t grown)
{
    matrix_t m = {g.rows, MU_OK, 0};
    double mean[COLS] = {0};
    for (int64_t r = 0; r < g.ids; r++)
        for (int64_t c = 0; c < COLS; c++)
            mean[c] += (double)value(r, c) / (double)g.ids;
    for (int64_t first = 0; first < grown; first++) {
        for (int64_t n = 1; first + n <= grown; n++) {
            float out[ROWS * COLS];
            assert_int_equal(mu_resize_read(&g, COLS, read_rows, &m, first, n, out), MU_OK);
            for (int64_t r = first; r < first + n; r++) {
                bool fresh = r >= g.rows || (r >= g.ids && r < g.new_ids);
                for (int64_t c = 0; c < COLS; c++) {
                    float want = fresh ? (float)mean[c] : value(r, c);
                    assert_float_equal(out[(r - first) * COLS + c], want, 1e-4f);
                }
            }
        }
    }
}

static void rows_of_the_grown_matrix(void **state)
{
    (void)state;
    check_growth((mu_resize_t){.rows = 8, .ids = 8, .new_ids = 10}, ROWS); /* GPT-2: no row is free */
    check_growth((mu_resize_t){.rows = 8, .ids = 5, .new_ids = 7}, 8);     /* all fit the padding */
    check_growth((mu_resize_t){.rows = 8, .ids = 6, .new_ids = 9}, ROWS);  /* some do */
    check_growth((mu_resize_t){.rows = 1, .ids = 1, .new_ids = 2}, 4);
}

static void what_need_not_be_read_is_not(void **state)
{
    (void)state;
    mu_resize_t g = {.rows = 8, .ids = 6, .new_ids = 9};
    matrix_t m = {8, MU_OK, 0};
    float out[ROWS * COLS];
    assert_int_equal(mu_resize_read(&g, COLS, read_rows, &m, 0, 6, out), MU_OK);
    assert_int_equal(m.reads, 1); /* no new row: no mean */
    assert_int_equal(mu_resize_read(&g, COLS, read_rows, &m, 9, 3, out), MU_OK);
    assert_int_equal(m.reads, 2); /* new rows alone: the mean alone */
}

static void errors_are_passed_on(void **state)
{
    (void)state;
    mu_resize_t g = {.rows = 8, .ids = 6, .new_ids = 9};
    matrix_t m = {8, MU_DATA, 0};
    float out[ROWS * COLS];
    assert_int_equal(mu_resize_read(&g, COLS, read_rows, &m, 0, 1, out), MU_DATA);
    assert_int_equal(mu_resize_read(&g, COLS, read_rows, &m, 10, 1, out), MU_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_the_grown_matrix),
        cmocka_unit_test(what_need_not_be_read_is_not),
        cmocka_unit_test(errors_are_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
