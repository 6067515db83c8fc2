/*
 * The golden model on a group of workers: what the tests under mpirun share. A file that includes this sets
 * world_rank and world_size after MPI_Init.
 */
#ifndef MU_TESTS_GOLDEN_WORKER_H
#define MU_TESTS_GOLDEN_WORKER_H

#include "tests/unit/worker/model/golden_model.h"
#include "worker/comm/comm_mpi.h"
#include "worker/model/init.h"
#include "worker/model/replicas.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static int world_rank, world_size;

typedef struct worker {
    int tp_size, dp_size, dp_rank;
    mu_device_t *dev;
    mu_comm_t *tp, *dp;
    mu_net_t *net;
    mu_replicas_t replicas;
    int32_t tokens[GOLDEN_BATCH * (GOLDEN_SEQ + 1)];
} worker_t;

/* stage: of ZeRO, 0 or 1 */
static inline void set_up(worker_t *w, int tp, int stage, const mu_model_t *model,
                          const mu_net_options_t *options)
{
    mu_net_options_t own = *options;
    MPI_Comm group;
    w->tp_size = tp;
    w->dp_size = world_size / tp;
    w->dp_rank = world_rank / tp;
    MPI_Comm_split(MPI_COMM_WORLD, w->dp_rank, world_rank, &group);
    w->tp = mu_comm_mpi(group, "tp", NULL);
    MPI_Comm_split(MPI_COMM_WORLD, world_rank % tp, world_rank, &group);
    w->dp = mu_comm_mpi(group, "dp", NULL);
    assert_int_equal(mu_device_cpu_new(1, &w->dev), MU_OK);
    own.shard = stage == 1 ? w->dp : NULL;
    assert_int_equal(mu_net_new(w->dev, model, w->tp, &own, &w->net), MU_OK);
    w->replicas = (mu_replicas_t){.net = w->net, .dp = w->dp, .overlap = tp == 1};
    golden_tokens(w->tokens);
}

static inline void tear_down(worker_t *w)
{
    assert_int_equal(mu_replicas_settle(&w->replicas), MU_OK);
    mu_replicas_release(&w->replicas);
    mu_net_free(w->net);
    mu_device_close(w->dev);
    mu_comm_free(w->tp);
    mu_comm_free(w->dp);
}

#define assert_close(got, want, tolerance)                                                                   \
    do {                                                                                                     \
        if (!(golden_error(got, want) <= (tolerance)))                                                       \
            fail_msg("tp %d, dp %d: %s: got %.12g, want %.12g, relative error %.2g > %.2g", w->tp_size,      \
                     w->dp_size, #got, (double)(got), (double)(want), golden_error(got, want),               \
                     (double)(tolerance));                                                                   \
    } while (0)

/* This replica's part of the batch in micro batches of `micro`, as the training loop does it, with the loss
 * times `scale`. */
static inline void scaled_gradients(worker_t *w, int micro, double scale)
{
    int mine = GOLDEN_BATCH / w->dp_size, steps = mine / micro;
    mu_net_zero_gradients(w->net);
    for (int i = 0; i < steps; i++) {
        int first = w->dp_rank * mine + i * micro;
        if (i == steps - 1)
            mu_replicas_last(&w->replicas);
        mu_net_draw(w->net, &(mu_net_draw_t){.seed = 11, .step = 3, .sample = first});
        assert_int_equal(mu_net_forward_backward(w->net, w->tokens + first * (GOLDEN_SEQ + 1),
                                                 scale / (steps * w->dp_size)),
                         MU_OK);
    }
    assert_int_equal(mu_replicas_finish(&w->replicas), MU_OK);
}

static inline void gradients(worker_t *w, int micro)
{
    scaled_gradients(w, micro, 1);
}

static inline void update(worker_t *w, double norm, int step)
{
    assert_int_equal(mu_replicas_update(&w->replicas, &golden_optimizer, norm, step + 1), MU_OK);
}

static inline double mean_loss(worker_t *w)
{
    mu_net_loss_t loss;
    assert_int_equal(mu_net_take_loss(w->net, &loss), MU_OK);
    double mean = loss.mean_sum / (double)loss.micro_batches / w->dp_size;
    assert_int_equal(mu_comm_allreduce(w->dp, MU_SUM, MU_TYPE_F64, &mean, 1), MU_OK);
    return mean;
}

static inline double norm(worker_t *w)
{
    double n;
    assert_int_equal(mu_optimizer_norm(w->net, &n), MU_OK);
    return n;
}

static inline bool possible(int tp, int micro)
{
    return world_size % tp == 0 && GOLDEN_BATCH % (world_size / tp) == 0 &&
           GOLDEN_BATCH / (world_size / tp) % micro == 0;
}

/* Stage 1 on one replica is stage 0; the size of micro batches has nothing to do with it. */
#define FOR_EACH_LAYOUT(tp, stage, micro)                                                                    \
    for (int tp = 1; tp <= 4; tp *= 2)                                                                       \
        for (int stage = 0; stage <= (world_size > tp); stage++)                                             \
            for (int micro = 1; micro <= 2 - stage; micro++)                                                 \
                if (possible(tp, micro))

#endif
