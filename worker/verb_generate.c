#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/loaded.h"
#include "worker/sample.h"
#include "worker/verbs.h"

#include <getopt.h>

static const char usage[] =
    "usage: muster generate CKPT --prompt TEXT [--max-new-tokens N] [--temperature T] [--top-k K] [--top-p "
    "P] [--seed S]\n"
    "\n"
    "Prints the prompt and what the model writes behind it, up to <|endoftext|> or N tokens. Greedy unless a "
    "temperature,\n"
    "top-k or top-p is given. The same seed gives the same text.\n"
    "\n"
    "  --prompt TEXT        may be empty where the tokenizer has <|endoftext|>: then that is the context\n"
    "  --max-new-tokens N   default: the configuration's maximum_tokens\n"
    "  --temperature T      0: greedy, unless top-k or top-p is given\n"
    "  --top-k K            draw among the K likeliest; 0: all\n"
    "  --top-p P            draw among the likeliest that together have probability P; 0: all\n"
    "  --seed S             default: 0\n"
    "  --threads N          default: all cores\n";

typedef struct options {
    const char *checkpoint, *prompt;
    int64_t max_new_tokens, threads; /* -1: the configuration's */
    mu_sampling_t sampling;
    bool help, sampling_given;
} options_t;

static mu_status_t number(const char *name, const char *text, int64_t low, int64_t high, int64_t *out)
{
    if (!mu_parse_i64(text, out) || *out < low || *out > high)
        return mu_fail(MU_USAGE, "--%s '%s': wanted a whole number from %lld to %lld", name, text,
                       (long long)low, (long long)high);
    return MU_OK;
}

static mu_status_t option(options_t *o, int opt)
{
    int64_t value;
    switch (opt) {
    case 'p':
        o->prompt = optarg;
        return MU_OK;
    case 'n':
        return number("max-new-tokens", optarg, 0, 1 << 20, &o->max_new_tokens);
    case 'k':
        o->sampling_given = true;
        return number("top-k", optarg, 0, INT32_MAX, &o->sampling.top_k);
    case 's':
        MU_TRY(number("seed", optarg, 0, INT64_MAX, &value));
        o->sampling.seed = (uint64_t)value;
        return MU_OK;
    case 'j':
        return number("threads", optarg, 1, 1024, &o->threads);
    case 't':
    case 'P':
        o->sampling_given = true;
        if (!mu_parse_f64(optarg, opt == 't' ? &o->sampling.temperature : &o->sampling.top_p))
            return mu_fail(MU_USAGE, "--%s '%s': wanted a number", opt == 't' ? "temperature" : "top-p",
                           optarg);
        return MU_OK;
    case 'h':
        o->help = true;
        return MU_OK;
    default:
        return mu_fail(MU_USAGE, "see `muster generate --help`");
    }
}

static mu_status_t parse(int argc, char **argv, options_t *o)
{
    static const struct option longs[] = {{"prompt", required_argument, 0, 'p'},
                                          {"max-new-tokens", required_argument, 0, 'n'},
                                          {"temperature", required_argument, 0, 't'},
                                          {"top-k", required_argument, 0, 'k'},
                                          {"top-p", required_argument, 0, 'P'},
                                          {"seed", required_argument, 0, 's'},
                                          {"threads", required_argument, 0, 'j'},
                                          {"help", no_argument, 0, 'h'},
                                          {0, 0, 0, 0}};
    *o = (options_t){.max_new_tokens = -1};
    for (int opt; (opt = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        MU_TRY(option(o, opt));
    if (o->help)
        return MU_OK;
    if (optind + 1 != argc || !o->prompt)
        return mu_fail(MU_USAGE, "generate needs one checkpoint and --prompt: see `muster generate --help`");
    o->checkpoint = argv[optind];
    return MU_OK;
}

static mu_status_t prompt_ids(const mu_loaded_t *l, const char *prompt, mu_ids_t *ids)
{
    MU_TRY(mu_tokenizer_encode(l->tokenizer, prompt, strlen(prompt), ids));
    if (ids->len > 0)
        return MU_OK;
    if (mu_tokenizer_eod(l->tokenizer) < 0)
        return mu_fail(MU_USAGE, "the prompt is empty, and the tokenizer has no <|endoftext|> to begin from");
    mu_ids_add(ids, mu_tokenizer_eod(l->tokenizer));
    return MU_OK;
}

/* Writes each token's bytes as they come: the reader sees the text grow. */
static mu_status_t show(const mu_loaded_t *l, int32_t id)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_tokenizer_decode(l->tokenizer, &id, 1, &text);
    if (status == MU_OK) {
        fwrite(text.data, 1, text.len, stdout);
        fflush(stdout);
    }
    mu_buf_release(&text);
    return status;
}

static mu_status_t write_text(mu_loaded_t *l, const options_t *o, mu_sampler_t *sampler, const mu_ids_t *ids,
                              int64_t most)
{
    int64_t context = (int64_t)ids->len;
    float *logits = mu_alloc((size_t)l->config->model.vocab * sizeof *logits);
    mu_status_t status;
    fputs(o->prompt, stdout);
    MU_TRY_GOTO(status, mu_net_decode_begin(l->net, context + most), out);
    MU_TRY_GOTO(status, mu_net_decode(l->net, ids->data, context, logits), out);
    for (int64_t i = 0; i < most; i++) {
        int32_t id = mu_sampler_next(sampler, logits);
        if (id < 0) {
            status = mu_fail(MU_DATA, "the model's logits are not numbers");
            goto out;
        }
        if (id == mu_tokenizer_eod(l->tokenizer))
            break;
        MU_TRY_GOTO(status, show(l, id), out);
        if (i + 1 < most)
            MU_TRY_GOTO(status, mu_net_decode(l->net, &id, 1, logits), out);
    }
    putchar('\n');
out:
    free(logits);
    return status;
}

static mu_status_t generate(mu_loaded_t *l, options_t *o)
{
    const mu_config_t *c = l->config;
    mu_ids_t ids = MU_IDS_INIT;
    mu_sampler_t *sampler = NULL;
    mu_status_t status;
    if (!l->tokenizer)
        return mu_fail(MU_NOINPUT, "%s: carries no tokenizer", mu_checkpoint_path(l->checkpoint));
    if (!o->sampling_given) {
        o->sampling.temperature = c->temperature;
        o->sampling.top_k = c->top_k;
        o->sampling.top_p = c->top_p;
    }
    int64_t most = o->max_new_tokens >= 0 ? o->max_new_tokens : c->maximum_tokens;
    MU_TRY_GOTO(status, prompt_ids(l, o->prompt, &ids), out);
    int64_t room = c->model.max_positions - (int64_t)ids.len;
    if (room < 1) {
        status = mu_fail(MU_USAGE, "the prompt has %zu tokens, the model has %lld positions", ids.len,
                         (long long)c->model.max_positions);
        goto out;
    }
    if (most > room) {
        mu_warn("only %lld new tokens fit the model's %lld positions", (long long)room,
                (long long)c->model.max_positions);
        most = room;
    }
    MU_TRY_GOTO(status, mu_sampler_new(&o->sampling, mu_tokenizer_vocab(l->tokenizer), &sampler), out);
    status = write_text(l, o, sampler, &ids, most);
out:
    mu_sampler_free(sampler);
    mu_ids_release(&ids);
    return status;
}

mu_status_t mu_verb_generate(int argc, char **argv)
{
    options_t o;
    mu_loaded_t l;
    MU_TRY(parse(argc, argv, &o));
    if (o.help) {
        fputs(usage, stdout);
        return MU_OK;
    }
    MU_TRY(mu_loaded_open(o.checkpoint, 1, (int)o.threads, &l));
    mu_status_t status = generate(&l, &o);
    mu_loaded_close(&l);
    return status;
}
