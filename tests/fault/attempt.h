/* What a controller and two workers do in an attempt, in one process. */
#ifndef MU_TESTS_ATTEMPT_H
#define MU_TESTS_ATTEMPT_H

#include "tests/unit/common/checkpoint/checkpoint_help.h"
#include "worker/train/checkpoint_transaction.h"

/* Of both workers: made before the first save, as a run does. */
static mu_shard_layout_t *attempt_layouts[2];

static inline mu_status_t make_layouts(void)
{
    save_t save = {.model = tiny_model(), .tp = 1, .dp = 2, .weights_only = true};
    int64_t salt = 0;
    for (int w = 0; w < 2; w++) {
        mu_shard_plan_t plan = save_plan(&save, "", w, &salt);
        MU_TRY(mu_shard_layout_make(&plan, &attempt_layouts[w]));
    }
    return MU_OK;
}

static inline void free_layouts(void)
{
    for (int w = 0; w < 2; w++)
        mu_shard_layout_free(attempt_layouts[w]);
}

/* One checkpoint as a run makes it beside its steps: two threads write copies, their lists reach the controller as
 * messages, a thread of the controller commits and prunes to one. */
static inline mu_status_t save_beside(const save_t *save)
{
    mu_transaction_t transaction = {.active = false};
    mu_shard_t shards[2] = {{.slices = NULL}, {.slices = NULL}};
    mu_commit_t commit = {.model = &save->model, .optimizer = !save->weights_only, .best = save->best};
    MU_TRY(mu_transaction_begin(&transaction, save->dir, save->step, save->attempt, 2));
    transaction.background = true;
    transaction.info = save_info(save);
    mu_status_t status = save_shards(save, transaction.tmp, shards);
    for (int w = 0; w < 2; w++) {
        mu_saved_t saved = {.step = save->step, .status = (int32_t)status};
        mu_buf_t message = MU_BUF_INIT;
        mu_buf_add(&message, &saved, sizeof saved);
        if (status == MU_OK)
            mu_shard_pack(&shards[w], &message);
        mu_shard_release(&shards[w]);
        if (mu_saved_lists_add(&transaction.lists, message.data, message.len) != MU_OK)
            abort();
        mu_buf_release(&message);
    }
    mu_transaction_commit(&transaction, &commit, 1);
    while (!mu_transaction_done(&transaction))
        usleep(50);
    return mu_transaction_end(&transaction);
}

/* From the cleaning at the start of the attempt to the pruning to one. With `background` two checkpoints, of `step`
 * with `salt` and of the step after it with salt + 1. */
static inline mu_status_t run_attempt(const char *dir, int64_t step, int attempt, int64_t salt,
                                      bool background)
{
    save_t save = {.dir = dir,
                   .model = tiny_model(),
                   .tp = 1,
                   .dp = 2,
                   .step = step,
                   .attempt = attempt,
                   .salt = salt,
                   .weights_only = true,
                   .best = true,
                   .background = background,
                   .block = background ? 8192 : 4096,
                   .layouts = attempt_layouts};
    MU_TRY(mu_checkpoint_clean(save.dir));
    if (!background) {
        MU_TRY(save_checkpoint(&save));
        return mu_checkpoint_prune(save.dir, 1, save.attempt);
    }
    for (int i = 0; i < 2; i++, save.step++, save.salt++)
        MU_TRY(save_beside(&save));
    return MU_OK;
}

#endif
