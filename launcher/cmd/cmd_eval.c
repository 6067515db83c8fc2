#include "launcher/cmd/cmd_eval.h"
#include "common/file.h"
#include "common/gate.h"
#include "common/log.h"
#include "launcher/cmd/ask.h"

#include <jansson.h>
#include <math.h>

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
    if (mu_ask_value(ask, "--gate"))
        mu_args_add(&words, "--gated");
    mu_status_t status = mu_ask_many(ask, &keys, &words);
    mu_args_free(&keys);
    mu_args_free(&words);
    free(path);
    return status;
}

/* Of what the ranks found, as one process judges its own: gates first. */
static mu_status_t judge(const mu_ask_t *ask, const char *dir)
{
    static const char option[] = "--gate=";
    mu_gate_t gates[MU_GATES_MAX];
    double value[MU_GATE_METRICS];
    int n = 0;
    for (int i = 0; i < ask->own.n && n < MU_GATES_MAX; i++)
        if (strncmp(ask->own.v[i], option, sizeof option - 1) == 0)
            MU_TRY(mu_gate_parse(ask->own.v[i] + sizeof option - 1, &gates[n++]));
    if (n == 0)
        return MU_OK;
    char *path = mu_path_join(dir, "result.json");
    json_t *result = json_load_file(path, 0, NULL);
    mu_status_t status = result ? MU_OK : mu_fail(MU_IO, "%s: the ranks left no metrics there", path);
    for (int i = 0; i < MU_GATE_METRICS; i++) {
        const json_t *number = json_object_get(result, mu_gate_metric_name((mu_gate_metric_t)i));
        value[i] = json_is_number(number) ? json_number_value(number) : NAN; /* null: it was no number */
    }
    if (status == MU_OK)
        status = mu_gates_judge(gates, n, value);
    if (status == MU_OK && !isfinite(value[MU_GATE_LOSS]))
        status = mu_fail(MU_DATA, "%s: the loss is no finite number", ask->checkpoint);
    json_decref(result);
    free(path);
    return status;
}

static const mu_ask_verb_t verb = {
    "eval", (const char *const[]){"data", "split", "seq-length", "threads", "gate", NULL},
    (const char *const[]){"json", NULL}, by_many, judge};

mu_status_t mu_cmd_eval(int argc, char **argv)
{
    return mu_ask(&verb, argc, argv);
}
