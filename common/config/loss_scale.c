#include "common/config/loss_scale.h"

#include <math.h>

void mu_loss_scale_begin(mu_loss_scale_t *s, bool active, const mu_loss_scale_rule_t *rule)
{
    bool had = s->scale > 0;
    if (!active) {
        *s = (mu_loss_scale_t){.skipped = s->skipped};
        return;
    }
    if (rule->fixed > 0)
        s->scale = rule->fixed;
    else if (!had)
        s->scale = ldexp(1, (int)rule->initial_power);
    if (!had)
        s->hysteresis = (int32_t)rule->hysteresis;
}

double mu_loss_scale_factor(const mu_loss_scale_t *s)
{
    return s->scale > 0 ? s->scale : 1;
}

/* False at the least scale. */
static bool lower(mu_loss_scale_t *s, const mu_loss_scale_rule_t *rule)
{
    if (rule->hysteresis > 1 && s->hysteresis > 1) {
        s->hysteresis--;
        return true;
    }
    if (s->scale <= rule->least)
        return false;
    s->scale = fmax(s->scale / 2, rule->least);
    return true;
}

static void raise_when_due(mu_loss_scale_t *s, const mu_loss_scale_rule_t *rule)
{
    bool due = s->clean > 0 && s->clean % rule->window == 0;
    if (rule->consecutive || due)
        s->hysteresis = (int32_t)rule->hysteresis;
    if (due)
        s->scale *= 2;
    s->clean++;
}

bool mu_loss_scale_step(mu_loss_scale_t *s, const mu_loss_scale_rule_t *rule, bool overflow)
{
    if (s->scale <= 0)
        return !overflow;
    if (!overflow) {
        s->in_a_row = 0;
        if (rule->fixed <= 0)
            raise_when_due(s, rule);
        return true;
    }
    s->clean = 0;
    s->skipped++;
    s->in_a_row++;
    bool lowered = rule->fixed > 0 || lower(s, rule);
    return lowered && s->in_a_row < MU_LOSS_SCALE_PATIENCE;
}
