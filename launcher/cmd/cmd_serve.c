#include "common/commands/serve_commands.h"
#include "launcher/cmd/ask.h"
#include "launcher/cmd/cmd.h"
#include "launcher/run/cmd_worker.h"
#include "launcher/serve/serve.h"

static void add_words(const mu_ask_t *ask, const char *socket, mu_args_t *to)
{
    for (int i = 0; i < ask->own.n; i++)
        mu_args_add(to, ask->own.v[i]);
    mu_args_addf(to, "--engine=%s", socket);
    mu_args_add(to, "--");
}

/* Ends where the ranks end: nothing is to be printed. */
static mu_status_t take(void *arg, const char *run_dir)
{
    (void)arg, (void)run_dir;
    return MU_OK;
}

/* The ranks of a run that serves: one sequence of steps is one replica's work, so workers are there to divide the
 * model. */
static mu_status_t by_many(const mu_ask_t *ask, const char *checkpoint, const char *socket)
{
    mu_args_t keys = {0}, words = {0};
    mu_model_args_t on = *ask->on;
    mu_ask_t own = *ask;
    char *path = mu_strdup(checkpoint);
    on.models = (mu_words_t){&path, 1};
    own.on = &on;
    mu_args_add(&keys, "train_batch_size=1");
    if (on.workers > 0) {
        mu_args_add(&keys, "pipe_parallel_size=1");
        mu_args_addf(&keys, "model_parallel_size=%lld", (long long)on.workers);
    }
    if (on.threads > 0)
        mu_args_addf(&keys, "muster.threads_per_worker=%lld", (long long)on.threads);
    for (int i = 0; i < on.keys.count; i++)
        mu_args_add(&keys, on.keys.item[i]);
    mu_args_add(&words, "--serve");
    add_words(ask, socket, &words);
    mu_args_add(&words, checkpoint);
    mu_status_t status = mu_ask_many(&own, 0, &keys, &words, take, NULL);
    mu_args_free(&keys);
    mu_args_free(&words);
    free(path);
    return status;
}

/* In a child of its own. */
static mu_status_t become_engine(void *arg, const char *checkpoint, const char *socket)
{
    const mu_ask_t *ask = arg;
    mu_args_t words = {0};
    if (ask->on->hosts || ask->on->hostfile || ask->on->workers > 0)
        return by_many(ask, checkpoint, socket);
    mu_args_add(&words, "serve");
    add_words(ask, socket, &words);
    for (int i = 0; i < ask->on->keys.count; i++)
        mu_args_add(&words, ask->on->keys.item[i]);
    mu_args_add(&words, checkpoint);
    mu_status_t status = mu_cmd_worker(words.n, words.v);
    mu_args_free(&words);
    return status;
}

mu_status_t mu_cmd_serve(int argc, char **argv)
{
    mu_serve_args_t args = MU_SERVE_ARGS_INIT;
    mu_ask_t ask = {.command = &mu_serve_command, .args = &args, .on = &args.on};
    bool help;
    mu_status_t status = mu_options_parse(&mu_serve_command, argc, argv, &args, &ask.own, &help);
    if (status == MU_OK && !help)
        status = mu_serve_run(&args, become_engine, &ask);
    mu_args_free(&ask.own);
    mu_options_release(&mu_serve_command, &args);
    return status;
}
