#include "launcher/cmd/cmd_eval.h"
#include "common/file.h"
#include "common/choice.h"
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

static bool has_flag(const mu_ask_t *ask, const char *flag)
{
    for (int i = 0; i < ask->own.n; i++)
        if (strcmp(ask->own.v[i], flag) == 0)
            return true;
    return false;
}

/* What the models of one command line have in common, and what was found of each. */
typedef struct eval {
    const mu_ask_t *ask;
    bool json, best, list; /* list: several results are one document */
    mu_gate_t gates[MU_GATES_MAX];
    int ngates, model; /* the model that is being measured */
    mu_candidate_t *candidates;
} eval_t;

static mu_status_t read_gates(eval_t *e)
{
    static const char option[] = "--gate=";
    const mu_args_t *own = &e->ask->own;
    for (int i = 0; i < own->n; i++) {
        const char *text = own->v[i] + sizeof option - 1;
        if (strncmp(own->v[i], option, sizeof option - 1) != 0)
            continue;
        if (e->ngates == MU_GATES_MAX)
            return mu_fail(MU_USAGE, "--gate '%s': %d gates are the most", text, MU_GATES_MAX);
        MU_TRY(mu_gate_parse(text, &e->gates[e->ngates++]));
    }
    return mu_gates_check(e->gates, e->ngates, mu_ask_value(e->ask, "--data"),
                          mu_ask_value(e->ask, "--labelled"));
}

/* Micro batches of one on as many replicas as there are: an evaluation divides any number of sequences among
 * them. */
static mu_status_t make_keys(const eval_t *e, mu_args_t *keys)
{
    const char *length = mu_ask_value(e->ask, "--seq-length"), *threads = mu_ask_value(e->ask, "--threads"),
               *data = mu_ask_value(e->ask, "--data");
    char *path = NULL;
    if (threads)
        mu_args_addf(keys, "muster.threads_per_worker=%s", threads);
    for (int i = 0; i < e->ask->keys.n; i++)
        mu_args_add(keys, e->ask->keys.v[i]);
    if (length)
        mu_args_addf(keys, "seq_length=%s", length);
    if (data) {
        MU_TRY(data_path(data, &path));
        mu_args_addf(keys, "data_path=%s", path);
    }
    free(path);
    return MU_OK;
}

static mu_status_t make_words(const eval_t *e, mu_args_t *words)
{
    const char *split = mu_ask_value(e->ask, "--split"), *labelled = mu_ask_value(e->ask, "--labelled"),
               *delimiter = mu_ask_value(e->ask, "--delimiter");
    char *path = NULL;
    mu_args_add(words, "--eval");
    mu_args_add(words, split ? split : "valid");
    if (e->json)
        mu_args_add(words, "--json");
    if (e->ngates > 0 || e->list)
        mu_args_add(words, "--gated");
    if (labelled) {
        MU_TRY(mu_ask_whole_path(labelled, &path));
        mu_args_add(words, "--labelled");
        mu_args_add(words, path);
        mu_args_add(words, "--delimiter");
        mu_args_add(words, delimiter ? delimiter : " ");
    }
    free(path);
    return MU_OK;
}

/* The metrics that the ranks left. */
static mu_status_t read_candidate(const char *dir, mu_candidate_t *out)
{
    char *path = mu_path_join(dir, "result.json");
    json_t *result = json_load_file(path, 0, NULL);
    mu_status_t status = result ? MU_OK : mu_fail(MU_IO, "%s: the ranks left no metrics there", path);
    for (int i = 0; i < MU_GATE_METRICS; i++) {
        const json_t *number = json_object_get(result, mu_gate_metric_name((mu_gate_metric_t)i));
        out->value[i] = json_is_number(number) ? json_number_value(number) : NAN; /* null: it was no number */
    }
    out->json = result ? json_dumps(result, 0) : NULL;
    json_decref(result);
    free(path);
    return status;
}

/* What one process would do with its own result: gates first. */
static mu_status_t take(void *arg, const char *dir)
{
    eval_t *e = arg;
    mu_candidate_t *c = &e->candidates[e->model];
    const double *value = c->value;
    bool data = mu_ask_value(e->ask, "--data"), labelled = mu_ask_value(e->ask, "--labelled");
    if (!e->json || !e->list)
        MU_TRY(mu_ask_print(dir));
    if (e->ngates == 0 && !e->list)
        return MU_OK;
    c->model = e->ask->models.v[e->model];
    MU_TRY(read_candidate(dir, c));
    if (e->best)
        return MU_OK;
    MU_TRY(mu_gates_judge(e->gates, e->ngates, value));
    return (data && !isfinite(value[MU_GATE_LOSS])) || (labelled && !isfinite(value[MU_GATE_ACC]))
               ? mu_fail(MU_DATA, "%s: the loss is no finite number", c->model)
               : MU_OK;
}

static mu_status_t choose(const eval_t *e)
{
    int n = e->ask->models.n;
    mu_choice_t choice;
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = e->best ? mu_choose(e->candidates, n, &choice) : MU_OK;
    if (e->json)
        mu_choice_json(e->candidates, n, e->best && status == MU_OK ? &choice : NULL, &text);
    else if (e->best && status == MU_OK)
        mu_choice_print(e->candidates, &choice, &text);
    if (text.len > 0 && (fputs(text.data, stdout) < 0 || fflush(stdout) != 0))
        status = mu_fail(MU_IO, "stdout: cannot write");
    mu_buf_release(&text);
    if (status == MU_OK && e->best)
        status = mu_gates_judge(e->gates, e->ngates, e->candidates[choice.best].value);
    return status;
}

static mu_status_t measure_all(eval_t *e, const mu_args_t *keys, const mu_args_t *words)
{
    mu_status_t status = MU_OK;
    bool all = true;
    for (e->model = 0; e->model < e->ask->models.n && all; e->model++) {
        mu_status_t one = mu_ask_many(e->ask, e->model, keys, words, take, e);
        all = one == MU_OK || e->candidates[e->model].json;
        status = status == MU_OK || !all ? one : status;
    }
    if (all && e->list) {
        mu_status_t chosen = choose(e);
        status = status == MU_OK ? chosen : status;
    }
    return status;
}

static mu_status_t by_many(const mu_ask_t *ask)
{
    mu_args_t keys = {0}, words = {0};
    eval_t e = {.ask = ask, .json = has_flag(ask, "--json"), .best = has_flag(ask, "--best")};
    mu_status_t status;
    if (!ask->checkpoint || !(mu_ask_value(ask, "--data") || mu_ask_value(ask, "--labelled")))
        return mu_fail(MU_USAGE, "eval needs a model and --data or --labelled: see `muster eval --help`");
    e.list = ask->models.n > 1 || e.best;
    e.candidates = mu_calloc((size_t)ask->models.n, sizeof *e.candidates);
    MU_TRY_GOTO(status, read_gates(&e), out);
    MU_TRY_GOTO(status, make_keys(&e, &keys), out);
    MU_TRY_GOTO(status, make_words(&e, &words), out);
    status = measure_all(&e, &keys, &words);
out:
    mu_candidates_free(e.candidates, ask->models.n);
    mu_args_free(&keys);
    mu_args_free(&words);
    return status;
}

static const mu_ask_verb_t verb = {
    "eval",
    (const char *const[]){"data", "split", "seq-length", "threads", "gate", "labelled", "delimiter", NULL},
    (const char *const[]){"json", "best", NULL}, by_many, true};

mu_status_t mu_cmd_eval(int argc, char **argv)
{
    return mu_ask(&verb, argc, argv);
}
