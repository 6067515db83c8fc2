/*
 * Accuracy by likelihood: an example counts as right when its answer is the choice that the model finds likeliest after
 * the prompt. acc compares the sums of the tokens' log-probabilities, acc_norm those sums divided by the number of
 * characters of each choice, as lm-evaluation-harness does. Of equal ones the first counts as the model's choice.
 */
#ifndef MU_WORKER_LIKELIHOOD_H
#define MU_WORKER_LIKELIHOOD_H

#include "worker/infer/labelled.h"
#include "worker/model/net.h"

typedef struct mu_accuracy {
    int64_t examples, right, right_norm;
    int64_t nonfinite; /* examples of which a likelihood was no finite number; they count as wrong */
} mu_accuracy_t;

/* Called after each example, for a rank's progress; may be NULL. */
typedef void (*mu_likelihood_tick_t)(void *arg);

/* Examples part, part + parts, ... of encoded ones; the results of all parts are to be added. tp-collective. Errors:
 * those of the net. */
mu_status_t mu_likelihood_score(const mu_labelled_t *labelled, mu_net_t *net, int part, int parts,
                                mu_likelihood_tick_t tick, void *arg, mu_accuracy_t *out);
void mu_accuracy_add(mu_accuracy_t *sum, const mu_accuracy_t *more);

/* For tests: which choice wins. sum: log-probabilities of the choices, characters: their lengths; norm: divide. -1: one
 * of them is no finite number. */
int mu_likelihood_choice(const double *sum, const int64_t *characters, int n, bool norm);
/* The log-probability of `id` under logits[0 .. vocab - 1]. */
double mu_log_probability(const float *logits, int64_t vocab, int32_t id);

#endif
