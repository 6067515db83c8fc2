#include "common/log.h"
#include "common/num.h"
#include "worker/infer/evaluation.h"
#include "worker/cmd/verbs.h"

#include <getopt.h>

static const char usage[] =
    "usage: muster eval CKPT --data DIR [--split valid|test] [--seq-length N] [--json] [--threads N]\n"
    "                   [--gate EXPR...]\n"
    "                   [key=value...] [--hosts h1:8,h2:8 | --hostfile FILE] [--workers N] [--run-dir DIR]\n"
    "\n"
    "Mean loss per token of a checkpoint (or of the newest one in a run directory) over all consecutive,\n"
    "non-overlapping sequences of seq_length tokens of a split; the incomplete last one is left out. That\n"
    "is another number than a run's valid_loss, which is the mean over eval_iters global batches of the\n"
    "validation order.\n"
    "\n"
    "  --data DIR     a prepared data set, or the prefix of a .bin/.idx pair\n"
    "  --split NAME   train, valid or test (default: valid)\n"
    "  --seq-length N tokens of a sequence (default: the configuration's seq_length, which an import from\n"
    "                 Hugging Face sets to max_position_embeddings)\n"
    "  --json         one object: loss, ppl, bits_per_byte (null when the bytes of text are unknown),\n"
    "                 tokens, ...\n"
    "  --gate EXPR    what it must reach, else exit code 87: loss, ppl, bits_per_byte or tokens, then <, "
    "<=,\n"
    "                 > or >=, and a number: --gate 'ppl<=16.53' --gate 'tokens>=100000'. All must hold\n"
    "  --threads N    of a worker on CPUs; default: all cores\n"
    "  key=value      wins over the configuration that the checkpoint carries: precision=bfloat16. What\n"
    "                 that says about machines is not taken: muster.device is auto\n"
    "\n"
    "It computes in the configuration's precision, on a GPU where there is one (muster.device). With\n"
    "--hosts, --hostfile or --workers it starts N workers as `muster run` does, in the layout that\n"
    "model_parallel_size=N asks for (default: the checkpoint's), with the checkpoint and the run directory\n"
    "on one volume everywhere; without them it is one process on one device.\n"
    "\n"
    "The result is also kept as RUN/eval/SPLIT-DATAVERSION.json when the model is a checkpoint of a run.\n"
    "\n"
    "  --run-dir DIR  for logs; default: beside the checkpoints, and removed after success\n";

typedef struct options {
    const char *checkpoint, *data;
    mu_data_split_t split;
    bool json, help, check;      /* check: only whether it could begin, for a launcher */
    int64_t threads, seq_length; /* 0: not given */
    char **overrides;            /* key=value */
    int noverrides;
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

/* `o` has room for as many overrides as there are arguments. */
static mu_status_t parse(int argc, char **argv, options_t *o)
{
    static const struct option longs[] = {{"data", required_argument, 0, 'd'},
                                          {"split", required_argument, 0, 's'},
                                          {"json", no_argument, 0, 'j'},
                                          {"help", no_argument, 0, 'h'},
                                          {"check", no_argument, 0, 'c'},
                                          {"threads", required_argument, 0, 't'},
                                          {"gate", required_argument, 0, 'g'},
                                          {"seq-length", required_argument, 0, 'l'},
                                          {0, 0, 0, 0}};
    for (int opt; (opt = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        MU_TRY(option(o, opt));
    if (o->help)
        return MU_OK;
    MU_TRY(mu_verb_words(argc - optind, argv + optind, &o->checkpoint, o->overrides, &o->noverrides));
    return o->checkpoint && o->data
               ? MU_OK
               : mu_fail(MU_USAGE, "eval needs one checkpoint and --data: see `muster eval --help`");
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

static mu_status_t judge(const options_t *o, const mu_dataset_t *data, const mu_net_loss_t *sum)
{
    double value[MU_GATE_METRICS];
    mu_eval_values(data, o->split, sum, value);
    return mu_gates_judge(o->gates, o->ngates, value);
}

static mu_status_t evaluate(const options_t *o)
{
    mu_inference_model_t l;
    mu_dataset_t *data = NULL;
    mu_net_loss_t sum;
    mu_buf_t text = MU_BUF_INIT;
    char words[256];
    mu_status_t status;
    MU_TRY(mu_inference_model_describe(o->checkpoint, o->overrides, o->noverrides, &l));
    if (o->threads > 0)
        l.config->muster.threads_per_worker = o->threads;
    if (o->seq_length > 0)
        MU_TRY_GOTO(status, mu_inference_model_set_length(&l, o->seq_length), out);
    MU_TRY_GOTO(status, mu_eval_open(&l, o->data, l.config->split, o->split, &data), out);
    if (o->check)
        goto out;
    MU_TRY_GOTO(status, mu_inference_model_weights(&l, NULL, MU_EVAL_ROWS), out);
    mu_inference_model_words(&l, words, sizeof words);
    mu_info("computing in %s", words);
    MU_TRY_GOTO(status, mean_loss(&l, data, o->split, &sum), out);
    mu_eval_result(&l, data, o->split, &sum, o->json, &text);
    if (fputs(text.data, stdout) < 0 || fflush(stdout) != 0)
        status = mu_fail(MU_IO, "stdout: cannot write");
    mu_eval_keep(&l, data, o->split, &sum);
    if (status == MU_OK)
        status = judge(o, data, &sum);
    if (status == MU_OK)
        status = mu_eval_finite(&l, &sum);
out:
    mu_buf_release(&text);
    mu_dataset_close(data);
    mu_inference_model_close(&l);
    return status;
}

mu_status_t mu_verb_eval(int argc, char **argv)
{
    options_t o = {.split = MU_VALID};
    o.overrides = mu_calloc((size_t)argc, sizeof *o.overrides);
    mu_status_t status = parse(argc, argv, &o);
    if (status == MU_OK && o.help)
        fputs(usage, stdout);
    else if (status == MU_OK)
        status = evaluate(&o);
    free(o.overrides);
    return status;
}
