#include "common/rope.h"
#include "common/num.h"

#include <math.h>

static const double two_pi = 6.283185307179586;

const char *mu_rope_name(mu_rope_type_t type)
{
    static const char *const names[] = {[MU_ROPE_PLAIN] = "default",
                                        [MU_ROPE_LINEAR] = "linear",
                                        [MU_ROPE_LLAMA3] = "llama3",
                                        [MU_ROPE_YARN] = "yarn"};
    return names[type];
}

static double original_positions(const mu_model_t *m)
{
    return (double)(m->rope.original_positions > 0 ? m->rope.original_positions : m->max_positions);
}

static double llama3(const mu_model_t *m, double frequency)
{
    const mu_rope_t *r = &m->rope;
    double turns = original_positions(m) * frequency / two_pi; /* within the positions first learned */
    if (turns < r->low_freq_factor)
        return frequency / r->factor;
    if (turns > r->high_freq_factor)
        return frequency;
    double kept = (turns - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (1 - kept) * frequency / r->factor + kept * frequency;
}

/* The dimension, as a real number, whose pair turns `turns` times within the positions first learned. */
static double yarn_dimension(const mu_model_t *m, double turns)
{
    return (double)m->rotary_dims * log(original_positions(m) / (turns * two_pi)) / (2 * log(m->rotary_base));
}

/* Where the ramp begins and ends. */
static void yarn_ramp(const mu_model_t *m, double *low, double *high)
{
    *low = yarn_dimension(m, m->rope.beta_fast);
    *high = yarn_dimension(m, m->rope.beta_slow);
    if (m->rope.truncate) {
        *low = floor(*low);
        *high = ceil(*high);
    }
    *low = fmax(*low, 0);
    *high = fmin(*high, (double)(m->rotary_dims - 1));
    if (*low == *high)
        *high += 0.001; /* as Transformers avoids the division by 0 */
}

void mu_rope_frequencies(const mu_model_t *m, double *frequency, double *scale)
{
    const mu_rope_t *r = &m->rope;
    double low = 0, high = 1;
    *scale = 1;
    if (r->type == MU_ROPE_YARN) {
        *scale = r->attention_factor > 0 ? r->attention_factor : r->factor > 1 ? 0.1 * log(r->factor) + 1 : 1;
        yarn_ramp(m, &low, &high);
    }
    for (int64_t i = 0; i < m->rotary_dims / 2; i++) {
        double plain = pow(m->rotary_base, -2.0 * (double)i / (double)m->rotary_dims);
        double stretched = fmin(fmax(((double)i - low) / (high - low), 0), 1); /* yarn: the share that is */
        frequency[i] = r->type == MU_ROPE_LINEAR   ? plain / r->factor
                       : r->type == MU_ROPE_LLAMA3 ? llama3(m, plain)
                       : r->type == MU_ROPE_YARN   ? plain / r->factor * stretched + plain * (1 - stretched)
                                                   : plain;
    }
}
