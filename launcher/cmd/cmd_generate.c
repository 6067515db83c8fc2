#include "common/log.h"
#include "launcher/cmd/ask.h"
#include "launcher/cmd/cmd.h"

/* One sequence is one replica's work: workers are there to divide the model. */
static mu_status_t by_many(const mu_ask_t *ask)
{
    const mu_generate_t *args = ask->args;
    mu_args_t keys = {0}, words = {0};
    if (args->bench > 0)
        return mu_fail(MU_USAGE,
                       "generate: --bench times one process: leave out --hosts, --hostfile and --workers");
    mu_args_add(&keys, "train_batch_size=1");
    if (ask->on->workers > 0) {
        mu_args_add(&keys, "pipe_parallel_size=1");
        mu_args_addf(&keys, "model_parallel_size=%lld", (long long)ask->on->workers);
    }
    if (ask->on->threads > 0)
        mu_args_addf(&keys, "muster.threads_per_worker=%lld", (long long)ask->on->threads);
    for (int i = 0; i < ask->on->keys.count; i++)
        mu_args_add(&keys, ask->on->keys.item[i]);
    mu_args_add(&words, "--generate");
    for (int i = 0; i < ask->own.n; i++)
        mu_args_add(&words, ask->own.v[i]);
    mu_args_add(&words, "--");
    mu_args_add(&words, ask->on->models.item[0]);
    mu_status_t status = mu_ask_many(ask, 0, &keys, &words, NULL, NULL);
    mu_args_free(&keys);
    mu_args_free(&words);
    return status;
}

mu_status_t mu_cmd_generate(int argc, char **argv)
{
    mu_generate_t args = MU_GENERATE_INIT;
    return mu_ask(&mu_generate_command, argc, argv, &args, &args.on, by_many);
}
