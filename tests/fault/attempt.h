/* What a controller and two workers do in an attempt, in one process. */
#ifndef MU_TESTS_ATTEMPT_H
#define MU_TESTS_ATTEMPT_H

#include "tests/unit/common/checkpoint/checkpoint_help.h"

/* From the cleaning at the start of the attempt to the pruning to one. With `background` two checkpoints, of `step`
 * with `salt` and of the step after it with salt + 1, each written by two threads from copies. */
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
                   .block = background ? 8192 : 4096};
    MU_TRY(mu_checkpoint_clean(save.dir));
    for (int i = 0; i < (background ? 2 : 1); i++, save.step++, save.salt++) {
        MU_TRY(save_checkpoint(&save));
        MU_TRY(mu_checkpoint_prune(save.dir, 1, save.attempt));
    }
    return MU_OK;
}

#endif
