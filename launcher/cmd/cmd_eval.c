#include "launcher/cmd/cmd_eval.h"
#include "common/file.h"
#include "common/log.h"
#include "launcher/cmd/ask.h"

/* A prepared directory, or the prefix of a pair, of which the .idx is there. */
static mu_status_t data_path(const char *path, char **out)
{
    if (mu_is_dir(path))
        return mu_ask_whole_path(path, out);
    char *index = mu_format("%s.idx", path), *whole = NULL;
    mu_status_t status = mu_ask_whole_path(index, &whole);
    if (status == MU_OK) {
        whole[strlen(whole) - strlen(".idx")] = '\0';
        *out = whole;
    }
    free(index);
    return status;
}

/* Micro batches of one on as many replicas as there are: an evaluation divides any number of sequences among
 * them. */
static mu_status_t by_many(const mu_ask_t *ask)
{
    const char *split = mu_ask_value(ask, "--split"), *length = mu_ask_value(ask, "--seq-length"),
               *threads = mu_ask_value(ask, "--threads"), *data = mu_ask_value(ask, "--data");
    mu_args_t keys = {0}, words = {0};
    char *path;
    if (!ask->checkpoint || !data)
        return mu_fail(MU_USAGE, "eval needs one checkpoint and --data: see `muster eval --help`");
    MU_TRY(data_path(data, &path));
    if (threads)
        mu_args_addf(&keys, "muster.threads_per_worker=%s", threads);
    for (int i = 0; i < ask->keys.n; i++)
        mu_args_add(&keys, ask->keys.v[i]);
    if (length)
        mu_args_addf(&keys, "seq_length=%s", length);
    mu_args_addf(&keys, "data_path=%s", path);
    mu_args_add(&words, "--eval");
    mu_args_add(&words, split ? split : "valid");
    for (int i = 0; i < ask->own.n; i++)
        if (strcmp(ask->own.v[i], "--json") == 0)
            mu_args_add(&words, "--json");
    mu_status_t status = mu_ask_many(ask, &keys, &words);
    mu_args_free(&keys);
    mu_args_free(&words);
    free(path);
    return status;
}

static const mu_ask_verb_t verb = {"eval",
                                   (const char *const[]){"data", "split", "seq-length", "threads", NULL},
                                   (const char *const[]){"json", NULL}, by_many};

mu_status_t mu_cmd_eval(int argc, char **argv)
{
    return mu_ask(&verb, argc, argv);
}
