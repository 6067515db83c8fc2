#include "worker/train/schedule.h"

#include <math.h>

static bool multiple(int64_t step, int64_t of)
{
    return of > 0 && step > 0 && step % of == 0;
}

/* checkpoint_scale log: the steps int(factor^k), k = 0, 1, 2 ... */
static bool power_of(int64_t step, double factor)
{
    if (factor <= 1)
        return false;
    for (double p = 1; p < (double)step + 1; p *= factor)
        if ((int64_t)p == step)
            return true;
    return false;
}

bool mu_schedule_end(const mu_config_t *config, int64_t step)
{
    return step >= config->train_iters || multiple(step, config->exit_interval);
}

bool mu_schedule_save(const mu_config_t *config, int64_t step)
{
    for (int i = 0; i < config->extra_save_count; i++)
        if (config->extra_save_iters[i] == step)
            return true;
    if (step == 0)
        return false;
    if (mu_schedule_end(config, step))
        return true;
    if (config->checkpoint_scale_log)
        return power_of(step, (double)config->checkpoint_factor);
    return multiple(step, config->checkpoint_factor);
}

bool mu_schedule_evaluates(const mu_config_t *config)
{
    return config->eval_iters > 0 && config->eval_interval > 0;
}

bool mu_schedule_eval(const mu_config_t *config, int64_t step)
{
    if (!mu_schedule_evaluates(config) || step == 0)
        return false;
    return multiple(step, config->eval_interval) || step >= config->train_iters;
}

int64_t mu_schedule_eval_batch(const mu_config_t *config, int64_t step)
{
    int64_t done = config->eval_interval > 0 ? step / config->eval_interval : 0;
    if (multiple(step, config->eval_interval))
        done--;
    return done * config->eval_iters;
}

int64_t mu_schedule_eval_batches(const mu_config_t *config)
{
    if (!mu_schedule_evaluates(config))
        return 0;
    return (config->train_iters / config->eval_interval + 1) * config->eval_iters;
}
