/*
 * The figures of a run that are shown while it goes on, in one table. A row makes the figure's place in the page that a
 * rank shares with its guard, in the controller's record, in the heartbeat, in the launcher's state, in run.json and,
 * with words, in the progress line. To add one: a row here, and the line in worker/train that sets it.
 */
#ifndef MU_COMMON_METRIC_TABLE_H
#define MU_COMMON_METRIC_TABLE_H

#include <stdint.h>

/* clang-format takes these tables for statements. */
/* clang-format off */
/* Of the run; the controller sets them. I: int64_t, F: double. Name, value before there is one, and words for the
 * progress line (a printf format; "": not shown there). They are shown in this order. */
#define MU_METRIC_TABLE(I, F) \
    I(train_iters, 0, "") \
    F(loss, 0, "  loss %.4f") \
    F(valid_loss, 0, "  valid %.4f") \
    F(lr, 0, "") \
    F(grad_norm, 0, "") \
    F(step_ms, 0, "") \
    F(tokens_per_s, 0, "  %.0f tokens/s") \
    I(eval_rows, 0, "") /* `muster eval`: sequences handed out */ \
    I(eval_total, 0, "") /* of so many; a training run has none */ \
    F(checkpoint_s, 0, "") /* that saving has held this attempt up */ \
    F(checkpoint_write_s, 0, "") /* from the command to the rename, of the newest checkpoint of this attempt */ \
    I(checkpoints_skipped, 0, "") /* due in this attempt while the one before was still being written */ \
    I(copies, 0, "") /* of the state in the hosts' memory, made by this attempt */ \
    I(copy_step, -1, "") /* of the newest */ \
    I(copy_bytes, 0, "") /* all its pieces, which lie on two hosts each */ \
    F(copy_ms, 0, "") /* that it held the run up */ \
    I(last_checkpoint, -1, "  checkpoint %lld") /* its step */

/* Of each worker: a running mean over its last steps, about eight. run.json has the least, the median and the most. */
#define MU_RANK_METRIC_TABLE(F) \
    F(rank_compute_ms) /* of a step: neither in collectives nor waiting for tokens */ \
    F(rank_comm_ms) /* of a step: waiting for others */ \
    F(rank_data_wait_ms) /* of a step: waiting for tokens; of the leader of a replica */

/* The newest step that took too long (worker/train/stall.h); the launcher makes an event of it. `stalls` is set
 * last. */
#define MU_STALL_TABLE(I, F) \
    I(stall_step) F(stall_ms) F(stall_median_ms) \
    I(stall_cause) /* mu_stall_cause_t */ F(stall_cause_ms) \
    I(stall_rank) /* world rank; -1: none */ I(stalls)
/* clang-format on */

#define MU_METRIC_I(name, first, words) int64_t name;
#define MU_METRIC_F(name, first, words) double name;
typedef struct mu_metric_values {
    MU_METRIC_TABLE(MU_METRIC_I, MU_METRIC_F)
} mu_metric_values_t;
#undef MU_METRIC_I
#undef MU_METRIC_F

#define MU_METRIC_FIRST(name, first, words) .name = (first),
#define MU_METRIC_VALUES_FIRST                                                                               \
    {                                                                                                        \
        MU_METRIC_TABLE(MU_METRIC_FIRST, MU_METRIC_FIRST)                                                    \
    }

#define MU_STALL_CAUSE_TABLE(X)                                                                              \
    X(COMPUTE, "computing")                                                                                  \
    X(COMMUNICATION, "waiting for the exchange between ranks")                                               \
    X(DATA, "waiting for tokens")                                                                            \
    X(CHECKPOINT, "saving the checkpoint")

typedef enum mu_stall_cause {
#define MU_STALL_CAUSE_ENUM(name, words) MU_STALL_##name,
    MU_STALL_CAUSE_TABLE(MU_STALL_CAUSE_ENUM)
#undef MU_STALL_CAUSE_ENUM
        MU_STALL_CAUSES
} mu_stall_cause_t;

#endif
