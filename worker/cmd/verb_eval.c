#include "common/commands/model_commands.h"
#include "common/choice.h"
#include "common/log.h"
#include "common/stdio_setup.h"
#include "common/num.h"
#include "worker/infer/eval_record.h"
#include "worker/infer/evaluation.h"
#include "worker/cmd/verbs.h"

typedef struct options {
    mu_eval_args_t args;
    mu_data_split_t split;
} options_t;

static mu_status_t mean_loss(mu_inference_model_t *l, const mu_eval_data_t *data, mu_net_loss_t *out)
{
    int64_t s = l->config->model.seq_length, n = mu_eval_sequences(data);
    int32_t *tokens = mu_alloc((size_t)(MU_EVAL_ROWS * (s + 1)) * sizeof *tokens);
    mu_status_t status = MU_OK;
    for (int64_t k = 0; status == MU_OK && k < n; k += MU_EVAL_ROWS) {
        int64_t rows = mu_min_i64(MU_EVAL_ROWS, n - k);
        for (int64_t r = 0; status == MU_OK && r < rows; r++)
            status = mu_eval_sequence(data, k + r, tokens + r * (s + 1));
        if (status == MU_OK)
            status = mu_net_forward_loss(l->net, tokens, rows);
    }
    free(tokens);
    return status == MU_OK ? mu_net_take_loss(l->net, out) : status;
}

/* Several results are one document. */
static bool as_list(const options_t *o)
{
    return o->args.on.models.count > 1 || o->args.best;
}

/* The text of one model at once, so that whoever waits sees it; JSON of several at the end. */
static mu_status_t take_result(const options_t *o, const mu_inference_model_t *l, const mu_measured_t *m,
                               mu_candidate_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    mu_eval_values(m, out->value);
    mu_eval_result(l, m, true, &text);
    out->json = mu_strdup(text.data);
    mu_buf_clear(&text);
    mu_eval_result(l, m, o->args.json, &text);
    if (!o->args.json || !as_list(o))
        status = mu_stdio_write(&text);
    mu_buf_release(&text);
    mu_eval_keep(l, m);
    if (status == MU_OK && !o->args.best) {
        status = mu_gates_judge(o->args.gates, o->args.ngates, out->value);
        if (status == MU_OK)
            status = mu_eval_finite(l, m);
    }
    return status;
}

static mu_status_t compute(const options_t *o, mu_inference_model_t *l, const mu_eval_data_t *data,
                           const mu_labelled_t *labelled, mu_candidate_t *out)
{
    mu_measured_t m = {.data = data->set, .split = o->split, .labelled = labelled};
    char words[256];
    MU_TRY(mu_inference_model_weights(l, NULL, MU_EVAL_ROWS));
    mu_inference_model_words(l, words, sizeof words);
    mu_info("computing in %s", words);
    if (data->set)
        MU_TRY(mean_loss(l, data, &m.sum));
    if (labelled)
        MU_TRY(mu_likelihood_score(labelled, l->net, 0, 1, NULL, NULL, &m.accuracy));
    return take_result(o, l, &m, out);
}

static mu_status_t evaluate(const options_t *o, const char *model, mu_candidate_t *out)
{
    mu_inference_model_t l;
    mu_eval_data_t data = {0};
    mu_labelled_t labelled = {0};
    mu_status_t status;
    out->model = model;
    MU_TRY(mu_inference_model_describe(model, o->args.on.keys.item, o->args.on.keys.count, &l));
    mu_config_settle(&l.config, &(mu_config_facts_t){.threads = o->args.on.threads});
    if (o->args.seq_length > 0)
        MU_TRY_GOTO(status, mu_inference_model_set_length(&l, o->args.seq_length), out);
    if (o->args.data)
        MU_TRY_GOTO(status, mu_eval_open(&l, o->args.data, l.config->split, o->split, &data), out);
    if (o->args.labelled)
        MU_TRY_GOTO(status, mu_eval_labelled(&l, o->args.labelled, o->args.delimiter, &labelled), out);
    status = o->args.on.check ? MU_OK : compute(o, &l, &data, o->args.labelled ? &labelled : NULL, out);
out:
    mu_labelled_release(&labelled);
    mu_eval_close(&data);
    mu_inference_model_close(&l);
    return status;
}

static mu_status_t choose(const options_t *o, const mu_candidate_t *candidates)
{
    mu_choice_t choice;
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = o->args.best ? mu_choose(candidates, o->args.on.models.count, &choice) : MU_OK;
    if (o->args.json)
        mu_choice_json(candidates, o->args.on.models.count, o->args.best && status == MU_OK ? &choice : NULL,
                       &text);
    else if (o->args.best && status == MU_OK)
        mu_choice_print(candidates, &choice, &text);
    mu_status_t printed = mu_stdio_write(&text);
    mu_buf_release(&text);
    if (status == MU_OK && o->args.best)
        status = mu_gates_judge(o->args.gates, o->args.ngates, candidates[choice.best].value);
    return printed != MU_OK ? printed : status;
}

/* A model that a gate stops, or whose loss is no number, does not keep the others from being measured. */
static mu_status_t evaluate_all(const options_t *o)
{
    mu_candidate_t *candidates = mu_calloc((size_t)o->args.on.models.count, sizeof *candidates);
    mu_status_t status = MU_OK;
    bool all = true;
    for (int i = 0; i < o->args.on.models.count && all; i++) {
        mu_status_t one = evaluate(o, o->args.on.models.item[i], &candidates[i]);
        all = one == MU_OK || candidates[i].json;
        status = status == MU_OK || !all ? one : status;
    }
    if (all && as_list(o) && !o->args.on.check) {
        mu_status_t chosen = choose(o, candidates);
        status = status == MU_OK ? chosen : status;
    }
    mu_candidates_free(candidates, o->args.on.models.count);
    return status;
}

mu_status_t mu_verb_eval(int argc, char **argv)
{
    options_t o = {.args = MU_EVAL_ARGS_INIT};
    bool help;
    mu_status_t status = mu_options_parse_worker(&mu_eval_command, argc, argv, &o.args, &help);
    if (status != MU_OK || help)
        goto out;
    MU_TRY_GOTO(status, mu_eval_args_finish(&o.args), out);
    MU_TRY_GOTO(status, mu_data_split_parse(o.args.split, &o.split), out);
    status = evaluate_all(&o);
out:
    mu_options_release(&mu_eval_command, &o.args);
    return status;
}
