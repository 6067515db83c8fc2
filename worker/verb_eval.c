#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "dataset/dataset.h"
#include "worker/loaded.h"
#include "worker/metrics.h"
#include "worker/verbs.h"

#include <getopt.h>
#include <math.h>

static const char usage[] =
    "usage: muster eval CKPT --data DIR [--split valid|test] [--json] [--threads N]\n"
    "\n"
    "Mean loss per token of a checkpoint (or of the newest one in a run directory) over all consecutive,\n"
    "non-overlapping sequences of seq_length tokens of a split; the incomplete last one is left out. That is "
    "another\n"
    "number than a run's valid_loss, which is the mean over eval_iters global batches of the validation "
    "order.\n"
    "\n"
    "  --data DIR     a prepared data set, or the prefix of a .bin/.idx pair\n"
    "  --split NAME   train, valid or test (default: valid)\n"
    "  --json         one object: loss, ppl, bits_per_byte (null when the bytes of text are unknown), "
    "tokens, ...\n"
    "  --threads N    default: all cores\n";

typedef struct options {
    const char *checkpoint, *data;
    mu_data_split_t split;
    bool json, help;
    int64_t threads;
} options_t;

static mu_status_t parse_split(const char *name, mu_data_split_t *out)
{
    for (int s = 0; s < MU_DATA_SPLITS; s++) {
        if (strcmp(name, mu_data_split_name((mu_data_split_t)s)) == 0) {
            *out = (mu_data_split_t)s;
            return MU_OK;
        }
    }
    return mu_fail(MU_USAGE, "--split '%s': wanted train, valid or test", name);
}

static mu_status_t parse(int argc, char **argv, options_t *o)
{
    static const struct option longs[] = {
        {"data", required_argument, 0, 'd'},    {"split", required_argument, 0, 's'},
        {"json", no_argument, 0, 'j'},          {"help", no_argument, 0, 'h'},
        {"threads", required_argument, 0, 't'}, {0, 0, 0, 0}};
    *o = (options_t){.split = MU_VALID};
    for (int opt; (opt = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (opt == 'd')
            o->data = optarg;
        else if (opt == 'j')
            o->json = true;
        else if (opt == 'h')
            o->help = true;
        else if (opt == 's')
            MU_TRY(parse_split(optarg, &o->split));
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

static mu_status_t mean_loss(mu_loaded_t *l, mu_dataset_t *data, mu_data_split_t split, int64_t micro,
                             mu_net_loss_t *out)
{
    int64_t s = l->config->model.seq_length, n = mu_dataset_sequences(data, split, s);
    if (n == 0)
        return mu_fail(MU_DATA,
                       "%s: split %s has %lld tokens, fewer than one sequence of %lld and its last label",
                       mu_dataset_path(data), mu_data_split_name(split),
                       (long long)mu_dataset_tokens(data, split), (long long)s);
    int32_t *tokens = mu_alloc((size_t)(micro * (s + 1)) * sizeof *tokens);
    mu_status_t status = MU_OK;
    for (int64_t k = 0; status == MU_OK && k < n; k += micro) {
        int64_t rows = mu_min_i64(micro, n - k);
        for (int64_t r = 0; status == MU_OK && r < rows; r++)
            status = mu_dataset_sequence(data, split, s, k + r, tokens + r * (s + 1));
        if (status == MU_OK)
            status = mu_net_forward_loss(l->net, tokens, rows);
    }
    free(tokens);
    return status == MU_OK ? mu_net_take_loss(l->net, out) : status;
}

/* Ids mean nothing under another tokenizer. Of a .bin/.idx pair nobody knows. */
static mu_status_t same_tokenizer(const mu_loaded_t *l, const mu_dataset_t *data)
{
    mu_tokenizer_t *its;
    if (!l->tokenizer || !mu_dataset_tokenizer_path(data))
        return MU_OK;
    MU_TRY(mu_tokenizer_load(mu_dataset_tokenizer_path(data), &its));
    bool same = strcmp(mu_tokenizer_digest(l->tokenizer), mu_tokenizer_digest(its)) == 0;
    mu_tokenizer_free(its);
    return same ? MU_OK
                : mu_fail(MU_CONFIG, "%s was prepared with another tokenizer than the one of %s",
                          mu_dataset_path(data), mu_checkpoint_path(l->checkpoint));
}

static void print(const options_t *o, const mu_loaded_t *l, const mu_dataset_t *data,
                  const mu_net_loss_t *sum)
{
    double loss = sum->token_sum / (double)sum->tokens;
    uint64_t bytes = mu_dataset_text_bytes(data, o->split);
    double bpb = bytes ? loss / M_LN2 * (double)mu_dataset_tokens(data, o->split) / (double)bytes : NAN;
    mu_buf_t out = MU_BUF_INIT;
    if (!o->json) {
        printf("%s on %s, split %s\n", mu_checkpoint_path(l->checkpoint), o->data,
               mu_data_split_name(o->split));
        printf("loss %.6f, perplexity %.4f, ", loss, exp(loss));
        if (bytes)
            printf("%.4f bits per byte, ", bpb);
        printf("%lld tokens\n", (long long)sum->tokens);
        return;
    }
    mu_buf_adds(&out, "{\"loss\": ");
    mu_json_number(&out, loss);
    mu_buf_adds(&out, ", \"ppl\": ");
    mu_json_number(&out, exp(loss));
    mu_buf_adds(&out, ", \"bits_per_byte\": ");
    mu_json_number(&out, bpb);
    mu_buf_addf(&out, ", \"tokens\": %lld, \"split\": \"%s\", \"step\": %lld}\n", (long long)sum->tokens,
                mu_data_split_name(o->split), (long long)mu_checkpoint_manifest(l->checkpoint)->info.step);
    fputs(out.data, stdout);
    mu_buf_release(&out);
}

mu_status_t mu_verb_eval(int argc, char **argv)
{
    options_t o;
    mu_loaded_t l = {0};
    mu_dataset_t *data = NULL;
    mu_net_loss_t sum;
    mu_status_t status;
    enum { MICRO = 8 };
    MU_TRY(parse(argc, argv, &o));
    if (o.help) {
        fputs(usage, stdout);
        return MU_OK;
    }
    MU_TRY(mu_loaded_open(o.checkpoint, MICRO, (int)o.threads, &l));
    /* a prepared directory is cut already; the split string is for .bin/.idx */
    mu_dataset_options_t how = {.split = mu_is_dir(o.data) ? NULL : l.config->split,
                                .vocab = l.config->model.vocab};
    MU_TRY_GOTO(status, mu_dataset_open(o.data, &how, &data), out);
    MU_TRY_GOTO(status, same_tokenizer(&l, data), out);
    MU_TRY_GOTO(status, mean_loss(&l, data, o.split, MICRO, &sum), out);
    print(&o, &l, data, &sum);
out:
    mu_dataset_close(data);
    mu_loaded_close(&l);
    return status;
}
