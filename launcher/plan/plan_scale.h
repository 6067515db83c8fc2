/*
 * A run at other numbers of GPUs, on paper: from measured or given figures of one replica's step to step time and
 * goodput, by simulation of stragglers, failures and restarts. Nothing here is a measurement.
 *
 * Step. Every replica computes `step` seconds, a worker's deviating by a normal part `spread` of it; the slowest of all
 * workers counts. Then the ring's 2 (dp - 1) / dp `bytes` at `bandwidth`, of which 2/3 of `step` (backward) is hidden.
 *
 * Run. Training stands still `checkpoint` seconds after every `interval` of steps. Failures come with an exponential
 * distribution, `failures` per GPU and day. One throws the run back to its last checkpoint and takes `restart` seconds
 * from the failure to the next step, detection included; a failure meanwhile begins that anew.
 *
 * Goodput is the part of the time that goes into steps which are kept.
 */
#ifndef MU_LAUNCHER_PLAN_SCALE_H
#define MU_LAUNCHER_PLAN_SCALE_H

#include <stdint.h>

typedef struct mu_scale_figures {
    double step, spread;
    double bytes,
        bandwidth; /* a worker's gradients; bytes a second between hosts, 0: exchange costs nothing */
    double failures, checkpoint, restart;
    int64_t tp;
} mu_scale_figures_t;

/* Seconds of a step on `gpus`, the mean of many. */
double mu_scale_step(const mu_scale_figures_t *figures, int64_t gpus);
/* Mean seconds between failures of any of them. */
double mu_scale_mtbf(const mu_scale_figures_t *figures, int64_t gpus);
/* Goodput with checkpoints every `interval` seconds of steps. The same arguments give the same number. */
double mu_scale_goodput(const mu_scale_figures_t *figures, int64_t gpus, double interval);
/* The interval with the best goodput, between 10 s and a day, as the simulation finds it. */
double mu_scale_best(const mu_scale_figures_t *figures, int64_t gpus);

/* The best interval by formula: Young (1974), first order; Daly (2006), of higher order. */
double mu_scale_young(double checkpoint, double mtbf);
double mu_scale_daly(double checkpoint, double mtbf);

#endif
