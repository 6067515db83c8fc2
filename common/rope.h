/*
 * Rotary frequencies of a model: what each pair of dimensions turns by with each position.
 *
 * Plain: base^(-2i/dims). The scalings are those of Transformers' classes (modeling_rope_utils):
 *   linear  all frequencies divided by the factor.
 *   llama3  wavelengths above original_positions / low_freq_factor are divided by the factor, those below
 *           original_positions / high_freq_factor stay, and between the two it is a blend.
 *   yarn    (Peng et al., 2023) dimensions that turn more than beta_fast times within original_positions stay, those
 *           that turn less than beta_slow times are divided by the factor, and a ramp lies between; cosines and
 *           sines are multiplied by the attention factor, by default 0.1 ln(factor) + 1.
 */
#ifndef MU_COMMON_ROPE_H
#define MU_COMMON_ROPE_H

#include "common/model.h"

/* The frequencies of rotary_dims / 2 pairs into `frequency`; *scale is the factor of cosines and sines, 1 unless
 * yarn. */
void mu_rope_frequencies(const mu_model_t *model, double *frequency, double *scale);

/* "linear", "llama3", "yarn"; "default" for plain ones: Transformers' words. */
const char *mu_rope_name(mu_rope_type_t type);

#endif
