/* ranks: 1 2 4 */
/* The golden table across a save and a resume at step 5, from every layout and ZeRO stage into every other
 * one. */
#include "tests/mpi/golden_worker.h"
#include "common/file.h"
#include "common/checkpoint/commit.h"
#include "common/checkpoint/checkpoint_reader.h"
#include "worker/train/state.h"

#include <unistd.h>

enum { STOP = 5 };

static void train(worker_t *w, int micro, int from, int to)
{
    for (int step = from; step < to; step++) {
        gradients(w, micro);
        assert_close(mean_loss(w), golden_losses[step], golden_loss_tolerance(step));
        double n = norm(w);
        assert_close(n, golden_norms[step], golden_norm_tolerance(step));
        update(w, n, step);
    }
}

/* One worker's list of what it wrote, sent to rank 0 as the trainer does it. */
static void collect(const mu_shard_t *mine, mu_shard_t *all)
{
    mu_buf_t packed = MU_BUF_INIT;
    mu_shard_pack(mine, &packed);
    if (world_rank != 0) {
        MPI_Send(packed.data, (int)packed.len, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    } else {
        assert_int_equal(mu_shard_unpack(packed.data, packed.len, &all[0]), MU_OK);
        for (int r = 1; r < world_size; r++) {
            MPI_Status from;
            int n;
            MPI_Probe(r, 0, MPI_COMM_WORLD, &from);
            MPI_Get_count(&from, MPI_BYTE, &n);
            mu_buf_clear(&packed);
            mu_buf_reserve(&packed, (size_t)n);
            MPI_Recv(packed.data, n, MPI_BYTE, r, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            assert_int_equal(mu_shard_unpack(packed.data, (size_t)n, &all[r]), MU_OK);
        }
    }
    mu_buf_release(&packed);
}

static void commit(const worker_t *w, const mu_model_t *model, const char *dir, const char *tmp,
                   mu_shard_t *all)
{
    mu_checkpoint_info_t info = {.run_id = mu_strdup("golden"),
                                 .tp = w->tp_size,
                                 .dp = w->dp_size,
                                 .step = STOP,
                                 .optimizer_step = STOP,
                                 .parent_step = -1,
                                 .loss = (double)NAN,
                                 .valid_loss = (double)NAN};
    mu_commit_t what = {
        .info = &info, .model = model, .optimizer = true, .shards = all, .shard_count = world_size};
    assert_int_equal(mu_checkpoint_commit(dir, tmp, &what), MU_OK);
    mu_checkpoint_info_release(&info);
}

static void save(worker_t *w, const mu_model_t *model, const char *dir)
{
    char path[4096] = "";
    mu_shard_t mine, *all = mu_calloc((size_t)world_size, sizeof *all);
    if (world_rank == 0) {
        char *tmp;
        assert_int_equal(mu_checkpoint_begin(dir, STOP, 0, &tmp), MU_OK);
        snprintf(path, sizeof path, "%s", tmp);
        free(tmp);
    }
    MPI_Bcast(path, sizeof path, MPI_BYTE, 0, MPI_COMM_WORLD);
    mu_shard_plan_t plan = {.dir = path,
                            .model = model,
                            .tp = w->tp_size,
                            .dp = w->dp_size,
                            .tp_rank = world_rank % w->tp_size,
                            .dp_rank = w->dp_rank,
                            .optimizer = true,
                            .run_id = "golden",
                            .step = STOP,
                            .read = mu_state_read,
                            .arg = w->net};
    assert_int_equal(mu_shard_write(&plan, &mine), MU_OK);
    collect(&mine, all);
    if (world_rank == 0)
        commit(w, model, dir, path, all);
    mu_shard_release(&mine);
    for (int i = 0; i < world_size; i++)
        mu_shard_release(&all[i]);
    free(all);
    MPI_Barrier(MPI_COMM_WORLD);
}

static void load(worker_t *w, const char *dir)
{
    mu_checkpoint_t *checkpoint;
    assert_int_equal(mu_checkpoint_newest(dir, INT64_MAX, &checkpoint), MU_OK);
    assert_non_null(checkpoint);
    assert_int_equal(mu_state_load(w->net, checkpoint, true), MU_OK);
    mu_checkpoint_close(checkpoint);
}

static void across(int tp_before, int stage_before, int micro_before, int tp_after, int stage_after,
                   int micro_after)
{
    mu_model_t model = golden_model(&golden_variants[0]);
    mu_net_options_t before = {.micro_batch = micro_before, .training = true, .eod = -1};
    mu_net_options_t after = {.micro_batch = micro_after, .training = true, .eod = -1};
    char dir[] = "/tmp/muster-golden-XXXXXX";
    worker_t worker, *w = &worker;
    if (world_rank == 0)
        assert_non_null(mkdtemp(dir));
    MPI_Bcast(dir, sizeof dir, MPI_BYTE, 0, MPI_COMM_WORLD);
    set_up(w, tp_before, stage_before, &model, &before);
    golden_fill(w->net);
    train(w, micro_before, 0, STOP);
    assert_int_equal(mu_replicas_settle(&w->replicas), MU_OK);
    save(w, &model, dir);
    tear_down(w);

    set_up(w, tp_after, stage_after, &model, &after);
    load(w, dir);
    train(w, micro_after, STOP, GOLDEN_STEPS);
    gradients(w, micro_after);
    assert_close(mean_loss(w), golden_losses[GOLDEN_STEPS], golden_loss_tolerance(GOLDEN_STEPS));
    tear_down(w);
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank == 0)
        assert_int_equal(mu_remove_tree(dir), MU_OK);
}

static void from_every_layout_into_every_other(void **state)
{
    (void)state;
    FOR_EACH_LAYOUT(a, sa, ma)
    {
        FOR_EACH_LAYOUT(b, sb, mb)
        {
            across(a, sa, ma, b, sb, mb);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(from_every_layout_into_every_other)};
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world_size);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed)
        MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Finalize();
    return 0;
}
