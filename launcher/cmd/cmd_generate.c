#include "launcher/cmd/cmd_generate.h"
#include "common/log.h"
#include "launcher/cmd/ask.h"

/* One sequence is one replica's work: workers are there to divide the model. */
static mu_status_t by_many(const mu_ask_t *ask)
{
    const char *threads = mu_ask_value(ask, "--threads");
    mu_args_t keys = {0}, words = {0};
    if (!ask->checkpoint || !mu_ask_value(ask, "--prompt"))
        return mu_fail(MU_USAGE, "generate needs one checkpoint and --prompt: see `muster generate --help`");
    if (mu_ask_value(ask, "--bench"))
        return mu_fail(MU_USAGE,
                       "generate: --bench times one process: leave out --hosts, --hostfile and --workers");
    mu_args_add(&keys, "train_batch_size=1");
    if (ask->workers) {
        mu_args_add(&keys, "pipe_parallel_size=1");
        mu_args_addf(&keys, "model_parallel_size=%s", ask->workers);
    }
    if (threads)
        mu_args_addf(&keys, "muster.threads_per_worker=%s", threads);
    for (int i = 0; i < ask->keys.n; i++)
        mu_args_add(&keys, ask->keys.v[i]);
    mu_args_add(&words, "--generate");
    for (int i = 0; i < ask->own.n; i++)
        mu_args_add(&words, ask->own.v[i]);
    mu_status_t status = mu_ask_many(ask, 0, &keys, &words, NULL, NULL);
    mu_args_free(&keys);
    mu_args_free(&words);
    return status;
}

static const mu_ask_verb_t verb = {"generate",
                                   (const char *const[]){"prompt", "max-new-tokens", "temperature", "top-k",
                                                         "top-p", "seed", "threads", "bench", NULL},
                                   (const char *const[]){"json", NULL}, by_many, false};

mu_status_t mu_cmd_generate(int argc, char **argv)
{
    return mu_ask(&verb, argc, argv);
}
