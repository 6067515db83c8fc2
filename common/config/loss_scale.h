/*
 * Loss scaling of fp16 training (Micikevicius et al., 2018): the loss is multiplied by a power of two, so
 * that small gradients do not vanish in fp16's range, and the gradients are divided by it before the update.
 *
 *     mu_loss_scale_t s = from the checkpoint, or zeros;
 *     mu_loss_scale_begin(&s, active, &config->loss_scale);
 *     each step:
 *         backward of loss * mu_loss_scale_factor(&s); norm / that factor
 *         overflow = the norm is not finite
 *         mu_loss_scale_step(&s, rule, overflow): false ends the run
 *         the update is made unless overflow
 *
 * The dynamic scale follows DeepSpeed's DynamicLossScaler, for every ZeRO stage: it begins at
 * 2^initial_power; an overflow takes one from `hysteresis`, and once that is down to 1 halves the scale, not
 * below `least`; after `window` steps without overflow it doubles, and hysteresis is whole again.
 * (`consecutive_hysteresis`: every step without overflow makes it whole.) A step that overflows makes no
 * update and moves no schedule, but it counts as a step and its batch is used.
 *
 * All workers keep the same state, since they see the same norm. Not a collective.
 */
#ifndef MU_COMMON_LOSS_SCALE_H
#define MU_COMMON_LOSS_SCALE_H

#include "common/config/config.h"

/* What a checkpoint keeps. */
typedef struct mu_loss_scale {
    double scale;       /* of the next step; 0: losses are not scaled */
    int64_t clean;      /* steps since the last overflow, or since the start */
    int64_t skipped;    /* steps without an update since step 0; the schedule leaves them out */
    int32_t hysteresis; /* overflows that are taken before the scale is halved, and one */
    int32_t in_a_row;   /* steps skipped since the last update */
} mu_loss_scale_t;

/* Steps skipped one after another that end a run, as in gpt-neox. */
enum { MU_LOSS_SCALE_PATIENCE = 50 };

/* Goes on from *state; a scale is begun where there was none, and dropped when not active. */
void mu_loss_scale_begin(mu_loss_scale_t *state, bool active, const mu_loss_scale_rule_t *rule);
/* 1 when losses are not scaled. */
double mu_loss_scale_factor(const mu_loss_scale_t *state);
/* Takes one step's outcome. False: the scale was at its least already, or too many steps were skipped in a
 * row. Without a scale it does nothing, and an overflow is false. */
bool mu_loss_scale_step(mu_loss_scale_t *state, const mu_loss_scale_rule_t *rule, bool overflow);

#endif
