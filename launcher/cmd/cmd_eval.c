#include "common/file.h"
#include "common/choice.h"
#include "common/gate.h"
#include "common/log.h"
#include "common/stdio_setup.h"
#include "launcher/cmd/ask.h"
#include "launcher/cmd/cmd.h"
#include "launcher/serve/feedback_mean.h"

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

/* What the models of one command line have in common, and what was found of each. */
typedef struct eval {
    const mu_ask_t *ask;
    const mu_eval_args_t *args;
    bool list; /* several results are one document */
    int model; /* the model that is being measured */
    mu_candidate_t *candidates;
} eval_t;

/* Micro batches of one on as many replicas as there are: an evaluation divides any number of sequences among
 * them. */
static mu_status_t make_keys(const eval_t *e, mu_args_t *keys)
{
    const mu_model_args_t *on = e->ask->on;
    char *path = NULL;
    if (on->threads > 0)
        mu_args_addf(keys, "muster.threads_per_worker=%lld", (long long)on->threads);
    for (int i = 0; i < on->keys.count; i++)
        mu_args_add(keys, on->keys.item[i]);
    if (e->args->seq_length > 0)
        mu_args_addf(keys, "seq_length=%lld", (long long)e->args->seq_length);
    if (e->args->data) {
        MU_TRY(data_path(e->args->data, &path));
        mu_args_addf(keys, "data_path=%s", path);
    }
    free(path);
    return MU_OK;
}

static mu_status_t make_words(const eval_t *e, mu_args_t *words)
{
    char *path = NULL;
    mu_args_add(words, "--eval");
    mu_args_add(words, e->args->split);
    if (e->args->json)
        mu_args_add(words, "--json");
    if (e->args->ngates > 0 || e->list)
        mu_args_add(words, "--gated");
    if (e->args->labelled) {
        MU_TRY(mu_ask_whole_path(e->args->labelled, &path));
        mu_args_add(words, "--labelled");
        mu_args_add(words, path);
        mu_args_add(words, "--delimiter");
        mu_args_add(words, e->args->delimiter);
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
    if (!e->args->json || !e->list)
        MU_TRY(mu_ask_print(dir));
    if (e->args->ngates == 0 && !e->list)
        return MU_OK;
    c->model = e->ask->on->models.item[e->model];
    MU_TRY(read_candidate(dir, c));
    if (e->args->best)
        return MU_OK;
    MU_TRY(mu_gates_judge(e->args->gates, e->args->ngates, value));
    return (e->args->data && !isfinite(value[MU_GATE_LOSS])) ||
                   (e->args->labelled && !isfinite(value[MU_GATE_ACC]))
               ? mu_fail(MU_DATA, "%s: the loss is no finite number", c->model)
               : MU_OK;
}

static mu_status_t choose(const eval_t *e)
{
    int n = e->ask->on->models.count;
    mu_choice_t choice;
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = e->args->best ? mu_choose(e->candidates, n, &choice) : MU_OK;
    if (e->args->json)
        mu_choice_json(e->candidates, n, e->args->best && status == MU_OK ? &choice : NULL, &text);
    else if (e->args->best && status == MU_OK)
        mu_choice_print(e->candidates, &choice, &text);
    mu_status_t written = mu_stdio_write(&text);
    mu_buf_release(&text);
    if (written != MU_OK)
        return written;
    if (status == MU_OK && e->args->best)
        status = mu_gates_judge(e->args->gates, e->args->ngates, e->candidates[choice.best].value);
    return status;
}

static mu_status_t measure_all(eval_t *e, const mu_args_t *keys, const mu_args_t *words)
{
    mu_status_t status = MU_OK;
    bool all = true;
    for (e->model = 0; e->model < e->ask->on->models.count && all; e->model++) {
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
    eval_t e = {.ask = ask, .args = ask->args};
    int models = ask->on->models.count;
    mu_status_t status;
    MU_TRY(mu_eval_args_finish(ask->args));
    e.list = models > 1 || e.args->best;
    e.candidates = mu_calloc((size_t)models, sizeof *e.candidates);
    MU_TRY_GOTO(status, make_keys(&e, &keys), out);
    MU_TRY_GOTO(status, make_words(&e, &words), out);
    status = measure_all(&e, &keys, &words);
out:
    mu_candidates_free(e.candidates, models);
    mu_args_free(&keys);
    mu_args_free(&words);
    return status;
}

/* ---- feedback: no model, no worker ---- */

static mu_status_t measure_feedback(const mu_eval_args_t *args)
{
    mu_feedback_mean_t found;
    double value[MU_GATE_METRICS];
    MU_TRY(mu_feedback_mean(args->feedback, &found));
    for (int i = 0; i < MU_GATE_METRICS; i++)
        value[i] = NAN;
    value[MU_GATE_REWARD] = found.mean;
    mu_buf_t text = MU_BUF_INIT;
    if (args->json && found.rewards > 0)
        mu_buf_addf(&text, "{\"reward\": %.17g, \"rewards\": %lld, \"records\": %lld}\n", found.mean,
                    (long long)found.rewards, (long long)found.records);
    else if (args->json)
        mu_buf_addf(&text, "{\"reward\": null, \"rewards\": 0, \"records\": %lld}\n",
                    (long long)found.records);
    else
        mu_buf_addf(&text, "reward %.10g, %lld rewards in %lld records\n", found.mean,
                    (long long)found.rewards, (long long)found.records);
    mu_status_t status = mu_stdio_write(&text);
    mu_buf_release(&text);
    MU_TRY(status);
    return mu_gates_judge(args->gates, args->ngates, value);
}

static mu_status_t of_feedback(int argc, char **argv)
{
    mu_eval_args_t args = MU_EVAL_ARGS_INIT;
    bool help;
    mu_status_t status = mu_options_parse(&mu_eval_command, argc, argv, &args, NULL, &help);
    if (status == MU_OK && !help)
        status = mu_eval_args_finish(&args);
    if (status == MU_OK && !help)
        status = measure_feedback(&args);
    mu_options_release(&mu_eval_command, &args);
    return status;
}

mu_status_t mu_cmd_eval(int argc, char **argv)
{
    mu_eval_args_t args = MU_EVAL_ARGS_INIT;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--feedback") == 0 || strncmp(argv[i], "--feedback=", 11) == 0)
            return of_feedback(argc, argv);
    return mu_ask(&mu_eval_command, argc, argv, &args, &args.on, by_many);
}
