/* ranks: 2 4 */
/* Exchanges beside the computation give the bits of exchanges after it: losses, norms and weights after some
 * steps, with an evaluation among them, in every layout and for both stages of ZeRO, with and without a thread
 * that moves them. */
#include "tests/mpi/golden_worker.h"
#include <unistd.h>

enum { STEPS = 4, BEHIND = 0, BESIDE, MOVED, WAYS };

typedef struct outcome {
    double loss[STEPS], norm[STEPS], evaluation;
    float *weights;
    int64_t elements;
} outcome_t;

/* Ranks that come and go at other times than their peers. */
static void dawdle(int step)
{
    usleep((useconds_t)((world_rank * 7 + step * 3) % 5) * 1000);
}

/* Every replica has every other's rows. */
static void check_equal(worker_t *w, const float *weights, int64_t bytes)
{
    float *first = malloc((size_t)bytes);
    memcpy(first, weights, (size_t)bytes);
    assert_int_equal(mu_comm_broadcast(w->dp, 0, first, bytes), MU_OK);
    assert_memory_equal(first, weights, (size_t)bytes);
    free(first);
}

static void train(int tp, int stage, int way, mu_progress_thread_t *progress_thread, outcome_t *out)
{
    mu_model_t model = golden_model(&golden_variants[0]);
    mu_net_options_t options = {.micro_batch = 1, .training = true, .eod = -1};
    worker_t worker, *w = &worker;
    set_up(w, tp, stage, &model, &options);
    w->replicas.overlap = way != BEHIND;
    mu_comm_mpi_attach(w->tp, way == MOVED ? progress_thread : NULL);
    mu_comm_mpi_attach(w->dp, way == MOVED ? progress_thread : NULL);
    golden_fill(w->net);
    for (int step = 0; step < STEPS; step++) {
        if (step == 2) { /* the update's weights are wanted by an evaluation first */
            assert_int_equal(mu_net_forward_loss(w->net, w->tokens, 1), MU_OK);
            out->evaluation = mean_loss(w);
        }
        dawdle(step);
        gradients(w, 1);
        out->loss[step] = mean_loss(w);
        out->norm[step] = norm(w);
        update(w, out->norm[step], step);
        assert_true(w->replicas.due == (stage == 1 && way != BEHIND && w->dp_size > 1));
    }
    assert_int_equal(mu_replicas_settle(&w->replicas), MU_OK);
    out->elements = mu_net_flat(w->net)->elements;
    out->weights = malloc((size_t)out->elements * sizeof *out->weights);
    memcpy(out->weights, mu_net_flat(w->net)->weight.data, (size_t)out->elements * sizeof *out->weights);
    check_equal(w, out->weights, out->elements * (int64_t)sizeof *out->weights);
    tear_down(w);
}

static mu_progress_thread_t *progress_thread;

static void beside_is_behind(void **state)
{
    (void)state;
    for (int tp = 1; tp < world_size; tp *= 2) {
        for (int stage = 0; possible(tp, 1) && stage <= 1; stage++) {
            outcome_t out[WAYS] = {0};
            for (int way = 0; way < WAYS; way++) {
                train(tp, stage, way, progress_thread, &out[way]);
                assert_memory_equal(out[way].loss, out[BEHIND].loss, sizeof out->loss);
                assert_memory_equal(out[way].norm, out[BEHIND].norm, sizeof out->norm);
                assert_true(out[way].evaluation == out[BEHIND].evaluation);
                assert_memory_equal(out[way].weights, out[BEHIND].weights,
                                    (size_t)out->elements * sizeof *out->weights);
            }
            for (int way = 0; way < WAYS; way++)
                free(out[way].weights);
        }
    }
}

int main(int argc, char **argv)
{
    int provided;
    mu_comm_mpi_prepare();
    MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world_size);
    const struct CMUnitTest tests[] = {cmocka_unit_test(beside_is_behind)};
    int failed = provided < MPI_THREAD_SERIALIZED || mu_progress_thread_new(&progress_thread) != MU_OK ||
                 cmocka_run_group_tests(tests, NULL, NULL);
    if (failed)
        MPI_Abort(MPI_COMM_WORLD, 1);
    mu_progress_thread_free(progress_thread);
    MPI_Finalize();
    return 0;
}
