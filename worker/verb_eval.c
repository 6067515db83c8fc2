#include "common/log.h"
#include "common/num.h"
#include "worker/evaluation.h"
#include "worker/verbs.h"

#include <getopt.h>

static const char usage[] =
    "usage: muster eval CKPT --data DIR [--split valid|test] [--seq-length N] [--json] [--threads N]\n"
    "                   [--hosts h1:8,h2:8 | --hostfile FILE] [--workers N] [--run-dir DIR] [key=value...]\n"
    "\n"
    "Mean loss per token of a checkpoint (or of the newest one in a run directory) over all consecutive,\n"
    "non-overlapping sequences of seq_length tokens of a split; the incomplete last one is left out. That is "
    "another\n"
    "number than a run's valid_loss, which is the mean over eval_iters global batches of the validation "
    "order.\n"
    "\n"
    "  --data DIR     a prepared data set, or the prefix of a .bin/.idx pair\n"
    "  --split NAME   train, valid or test (default: valid)\n"
    "  --seq-length N tokens of a sequence (default: the configuration's seq_length, which an import from\n"
    "                 Hugging Face sets to max_position_embeddings)\n"
    "  --json         one object: loss, ppl, bits_per_byte (null when the bytes of text are unknown), "
    "tokens, ...\n"
    "  --threads N    default: all cores\n"
    "\n"
    "With --hosts, --hostfile or --workers it starts N workers as `muster run` does, in the layout that\n"
    "model_parallel_size=N asks for (default: the checkpoint's), with the checkpoint and the run directory "
    "on "
    "one\n"
    "volume everywhere; without them it is one process.\n"
    "\n"
    "  --run-dir DIR  for logs; default: beside the checkpoints, and removed after success\n"
    "  key=value      of the configuration: muster.ready_timeout=60\n";

typedef struct options {
    const char *checkpoint, *data;
    mu_data_split_t split;
    bool json, help;
    int64_t threads, seq_length; /* 0: not given */
} options_t;

static mu_status_t parse(int argc, char **argv, options_t *o)
{
    static const struct option longs[] = {{"data", required_argument, 0, 'd'},
                                          {"split", required_argument, 0, 's'},
                                          {"json", no_argument, 0, 'j'},
                                          {"help", no_argument, 0, 'h'},
                                          {"threads", required_argument, 0, 't'},
                                          {"seq-length", required_argument, 0, 'l'},
                                          {0, 0, 0, 0}};
    *o = (options_t){.split = MU_VALID};
    for (int opt; (opt = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (opt == 'd')
            o->data = optarg;
        else if (opt == 'j')
            o->json = true;
        else if (opt == 'h')
            o->help = true;
        else if (opt == 's')
            MU_TRY(mu_data_split_parse(optarg, &o->split));
        else if (opt == 'l')
            MU_TRY(mu_eval_length_parse(optarg, &o->seq_length));
        else if (opt != 't')
            return mu_fail(MU_USAGE, "see `muster eval --help`");
        else if (!mu_parse_i64(optarg, &o->threads) || o->threads < 1 || o->threads > 1024)
            return mu_fail(MU_USAGE, "--threads '%s': wanted 1 to 1024", optarg);
    }
    if (o->help)
        return MU_OK;
    if (optind + 1 != argc || !o->data)
        return mu_fail(MU_USAGE, "eval needs one checkpoint and --data: see `muster eval --help`");
    o->checkpoint = argv[optind];
    return MU_OK;
}

static mu_status_t mean_loss(mu_loaded_t *l, mu_dataset_t *data, mu_data_split_t split, mu_net_loss_t *out)
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

mu_status_t mu_verb_eval(int argc, char **argv)
{
    options_t o;
    mu_loaded_t l = {0};
    mu_dataset_t *data = NULL;
    mu_net_loss_t sum;
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status;
    MU_TRY(parse(argc, argv, &o));
    if (o.help) {
        fputs(usage, stdout);
        return MU_OK;
    }
    MU_TRY(mu_loaded_describe(o.checkpoint, &l));
    if (o.seq_length > 0)
        MU_TRY_GOTO(status, mu_loaded_set_length(&l, o.seq_length), out);
    MU_TRY_GOTO(status, mu_loaded_weights(&l, MU_EVAL_ROWS, (int)o.threads, NULL), out);
    MU_TRY_GOTO(status, mu_eval_open(&l, o.data, o.split, &data), out);
    MU_TRY_GOTO(status, mean_loss(&l, data, o.split, &sum), out);
    mu_eval_result(&l, data, o.split, &sum, o.json, &text);
    if (fputs(text.data, stdout) < 0 || fflush(stdout) != 0)
        status = mu_fail(MU_IO, "stdout: cannot write");
out:
    mu_buf_release(&text);
    mu_dataset_close(data);
    mu_loaded_close(&l);
    return status;
}
