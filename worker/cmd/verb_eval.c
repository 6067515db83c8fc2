#include "common/choice.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/infer/eval_record.h"
#include "worker/infer/evaluation.h"
#include "worker/cmd/verbs.h"

#include <getopt.h>

static const char usage[] =
    "usage: muster eval MODEL... [--data DIR] [--labelled FILE] [--gate EXPR...] [--best] [--json]\n"
    "                   [--split valid|test] [--seq-length N] [--delimiter TEXT] [--threads N]\n"
    "                   [key=value...] [--hosts h1:8,h2:8 | --hostfile FILE] [--workers N] [--run-dir DIR]\n"
    "\n"
    "With --data: the mean loss per token of a model (a checkpoint, RUN, RUN@best, RUN@STEP) over all\n"
    "consecutive, non-overlapping sequences of seq_length tokens of a split; the incomplete last one is "
    "left\n"
    "out. That is another number than a run's valid_loss, which is the mean over eval_iters global batches "
    "of\n"
    "the validation order. With --labelled: the share of examples whose answer is the likeliest choice.\n"
    "\n"
    "  --data DIR     a prepared data set, or the prefix of a .bin/.idx pair\n"
    "  --split NAME   train, valid or test (default: valid)\n"
    "  --seq-length N tokens of a sequence (default: the configuration's seq_length, which an import from\n"
    "                 Hugging Face sets to max_position_embeddings)\n"
    "  --labelled FILE\n"
    "                 JSON Lines: {\"prompt\": TEXT, \"choices\": [TEXT, ...], \"answer\": INDEX or TEXT}. "
    "acc\n"
    "                 compares the choices' log-likelihoods after the prompt, acc_norm these divided by the\n"
    "                 characters of each choice, as lm-evaluation-harness counts them\n"
    "  --delimiter TEXT\n"
    "                 between prompt and choice (default: one space)\n"
    "  --json         one object: loss, ppl, bits_per_byte (null when the bytes of text are unknown),\n"
    "                 tokens, acc, acc_norm, ...; of several models or with --best: models, a list, and "
    "best\n"
    "  --gate EXPR    what it must reach, else exit code 87: loss, ppl, bits_per_byte, tokens, acc or\n"
    "                 acc_norm, then <, <=, > or >=, and a number: --gate 'ppl<=16.53' --gate 'acc>=0.8'.\n"
    "                 All must hold, for each model; with --best for the best alone\n"
    "  --best         of several models, which has the least loss (without --data: the highest acc), and by\n"
    "                 how much\n"
    "  --threads N    of a worker on CPUs; default: all cores\n"
    "  key=value      wins over the configuration that the checkpoint carries: precision=bfloat16. What\n"
    "                 that says about machines is not taken: muster.device is auto\n"
    "\n"
    "It computes in the configuration's precision, on a GPU where there is one (muster.device). With\n"
    "--hosts, --hostfile or --workers it starts N workers as `muster run` does, in the layout that\n"
    "model_parallel_size=N asks for (default: the checkpoint's), with the checkpoint and the run directory\n"
    "on one volume everywhere; without them it is one process on one device.\n"
    "\n"
    "The result is also kept as RUN/eval/SPLIT-DATAVERSION.json (labelled-DIGEST.json) when the model is a\n"
    "checkpoint of a run.\n"
    "\n"
    "  --run-dir DIR  for logs; default: beside the checkpoints, and removed after success\n";

typedef struct options {
    const char *data, *labelled, *delimiter;
    mu_data_split_t split;
    bool json, help, best, check; /* check: only whether it could begin, for a launcher */
    int64_t threads, seq_length;  /* 0: not given */
    char **models, **overrides;   /* overrides: key=value */
    int nmodels, noverrides;
    mu_gate_t gates[MU_GATES_MAX];
    int ngates;
} options_t;

static mu_status_t option(options_t *o, int opt)
{
    switch (opt) {
    case 'd':
        o->data = optarg;
        return MU_OK;
    case 'j':
        o->json = true;
        return MU_OK;
    case 'h':
        o->help = true;
        return MU_OK;
    case 'c':
        o->check = true;
        return MU_OK;
    case 'b':
        o->best = true;
        return MU_OK;
    case 'L':
        o->labelled = optarg;
        return MU_OK;
    case 'D':
        o->delimiter = optarg;
        return MU_OK;
    case 's':
        return mu_data_split_parse(optarg, &o->split);
    case 'l':
        return mu_eval_length_parse(optarg, &o->seq_length);
    case 'g':
        if (o->ngates == MU_GATES_MAX)
            return mu_fail(MU_USAGE, "--gate '%s': %d gates are the most", optarg, MU_GATES_MAX);
        return mu_gate_parse(optarg, &o->gates[o->ngates++]);
    case 't':
        return mu_verb_threads(optarg, &o->threads);
    default:
        return mu_fail(MU_USAGE, "see `muster eval --help`");
    }
}

/* `o` has room for as many models and overrides as there are arguments. */
static mu_status_t parse(int argc, char **argv, options_t *o)
{
    static const struct option longs[] = {{"data", required_argument, 0, 'd'},
                                          {"split", required_argument, 0, 's'},
                                          {"json", no_argument, 0, 'j'},
                                          {"help", no_argument, 0, 'h'},
                                          {"check", no_argument, 0, 'c'},
                                          {"threads", required_argument, 0, 't'},
                                          {"gate", required_argument, 0, 'g'},
                                          {"labelled", required_argument, 0, 'L'},
                                          {"delimiter", required_argument, 0, 'D'},
                                          {"best", no_argument, 0, 'b'},
                                          {"seq-length", required_argument, 0, 'l'},
                                          {0, 0, 0, 0}};
    for (int opt; (opt = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        MU_TRY(option(o, opt));
    if (o->help)
        return MU_OK;
    for (int i = optind; i < argc; i++)
        if (mu_config_is_override(argv[i]))
            o->overrides[o->noverrides++] = argv[i];
        else
            o->models[o->nmodels++] = argv[i];
    if (o->nmodels == 0 || !(o->data || o->labelled))
        return mu_fail(MU_USAGE, "eval needs a model and --data or --labelled: see `muster eval --help`");
    return mu_gates_check(o->gates, o->ngates, o->data, o->labelled);
}

static mu_status_t mean_loss(mu_inference_model_t *l, mu_dataset_t *data, mu_data_split_t split,
                             mu_net_loss_t *out)
{
    int64_t s = l->config->model.seq_length, n = mu_dataset_sequences(data, split, s);
    int32_t *tokens = mu_alloc((size_t)(MU_EVAL_ROWS * (s + 1)) * sizeof *tokens);
    mu_status_t status = MU_OK;
    for (int64_t k = 0; status == MU_OK && k < n; k += MU_EVAL_ROWS) {
        int64_t rows = mu_min_i64(MU_EVAL_ROWS, n - k);
        for (int64_t r = 0; status == MU_OK && r < rows; r++)
            status = mu_dataset_sequence(data, split, s, k + r, tokens + r * (s + 1));
        if (status == MU_OK)
            status = mu_net_forward_loss(l->net, tokens, rows);
    }
    free(tokens);
    return status == MU_OK ? mu_net_take_loss(l->net, out) : status;
}

/* Several results are one document. */
static bool as_list(const options_t *o)
{
    return o->nmodels > 1 || o->best;
}

static mu_status_t print(const mu_buf_t *text)
{
    if (fputs(text->data ? text->data : "", stdout) < 0 || fflush(stdout) != 0)
        return mu_fail(MU_IO, "stdout: cannot write");
    return MU_OK;
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
    mu_eval_result(l, m, o->json, &text);
    if (!o->json || !as_list(o))
        status = print(&text);
    mu_buf_release(&text);
    mu_eval_keep(l, m);
    if (status == MU_OK && !o->best) {
        status = mu_gates_judge(o->gates, o->ngates, out->value);
        if (status == MU_OK)
            status = mu_eval_finite(l, m);
    }
    return status;
}

static mu_status_t compute(const options_t *o, mu_inference_model_t *l, mu_dataset_t *data,
                           const mu_labelled_t *labelled, mu_candidate_t *out)
{
    mu_measured_t m = {.data = data, .split = o->split, .labelled = labelled};
    char words[256];
    MU_TRY(mu_inference_model_weights(l, NULL, MU_EVAL_ROWS));
    mu_inference_model_words(l, words, sizeof words);
    mu_info("computing in %s", words);
    if (data)
        MU_TRY(mean_loss(l, data, o->split, &m.sum));
    if (labelled)
        MU_TRY(mu_likelihood_score(labelled, l->net, 0, 1, NULL, NULL, &m.accuracy));
    return take_result(o, l, &m, out);
}

static mu_status_t evaluate(const options_t *o, const char *model, mu_candidate_t *out)
{
    mu_inference_model_t l;
    mu_dataset_t *data = NULL;
    mu_labelled_t labelled = {0};
    mu_status_t status;
    out->model = model;
    MU_TRY(mu_inference_model_describe(model, o->overrides, o->noverrides, &l));
    if (o->threads > 0)
        l.config->muster.threads_per_worker = o->threads;
    if (o->seq_length > 0)
        MU_TRY_GOTO(status, mu_inference_model_set_length(&l, o->seq_length), out);
    if (o->data)
        MU_TRY_GOTO(status, mu_eval_open(&l, o->data, l.config->split, o->split, &data), out);
    if (o->labelled)
        MU_TRY_GOTO(status, mu_eval_labelled(&l, o->labelled, o->delimiter, &labelled), out);
    status = o->check ? MU_OK : compute(o, &l, data, o->labelled ? &labelled : NULL, out);
out:
    mu_labelled_release(&labelled);
    mu_dataset_close(data);
    mu_inference_model_close(&l);
    return status;
}

static mu_status_t choose(const options_t *o, const mu_candidate_t *candidates)
{
    mu_choice_t choice;
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = o->best ? mu_choose(candidates, o->nmodels, &choice) : MU_OK;
    if (o->json)
        mu_choice_json(candidates, o->nmodels, o->best && status == MU_OK ? &choice : NULL, &text);
    else if (o->best && status == MU_OK)
        mu_choice_print(candidates, &choice, &text);
    mu_status_t printed = print(&text);
    mu_buf_release(&text);
    if (status == MU_OK && o->best)
        status = mu_gates_judge(o->gates, o->ngates, candidates[choice.best].value);
    return printed != MU_OK ? printed : status;
}

/* A model that a gate stops, or whose loss is no number, does not keep the others from being measured. */
static mu_status_t evaluate_all(const options_t *o)
{
    mu_candidate_t *candidates = mu_calloc((size_t)o->nmodels, sizeof *candidates);
    mu_status_t status = MU_OK;
    bool all = true;
    for (int i = 0; i < o->nmodels && all; i++) {
        mu_status_t one = evaluate(o, o->models[i], &candidates[i]);
        all = one == MU_OK || candidates[i].json;
        status = status == MU_OK || !all ? one : status;
    }
    if (all && as_list(o) && !o->check) {
        mu_status_t chosen = choose(o, candidates);
        status = status == MU_OK ? chosen : status;
    }
    mu_candidates_free(candidates, o->nmodels);
    return status;
}

mu_status_t mu_verb_eval(int argc, char **argv)
{
    options_t o = {.split = MU_VALID, .delimiter = " "};
    o.overrides = mu_calloc((size_t)argc, sizeof *o.overrides);
    o.models = mu_calloc((size_t)argc, sizeof *o.models);
    mu_status_t status = parse(argc, argv, &o);
    if (status == MU_OK && o.help)
        fputs(usage, stdout);
    else if (status == MU_OK)
        status = evaluate_all(&o);
    free(o.models);
    free(o.overrides);
    return status;
}
