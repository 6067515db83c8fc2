#include "common/clock.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/infer/bench.h"
#include "worker/infer/generation.h"
#include "worker/cmd/verbs.h"

#include <getopt.h>

const char mu_generate_usage[] =
    "usage: muster generate CKPT --prompt TEXT [--max-new-tokens N] [--temperature T] [--top-k K]\n"
    "                       [--top-p P] [--seed S] [--threads N] [key=value...]\n"
    "                       [--hosts h1:8,h2:8 | --hostfile FILE] [--workers N] [--run-dir DIR]\n"
    "\n"
    "Prints the prompt and what the model writes after it, up to <|endoftext|> or N tokens. Greedy\n"
    "unless a temperature, top-k or top-p is given. The same seed gives the same text.\n"
    "\n"
    "  --prompt TEXT        may be empty where the tokenizer has <|endoftext|>: then that is the context\n"
    "  --max-new-tokens N   default: the configuration's maximum_tokens\n"
    "  --temperature T      0: greedy, unless top-k or top-p is given\n"
    "  --top-k K            draw among the K likeliest; 0: all\n"
    "  --top-p P            draw among the likeliest that together have probability P; 0: all\n"
    "  --seed S             default: 0\n"
    "  --bench N            instead of the text: how long loading, the first token and each further token of "
    "N\n"
    "                       requests take, one after the other, all of --max-new-tokens; one process only\n"
    "  --json               with --bench: one object\n"
    "  --threads N          of a worker on CPUs; default: all cores\n"
    "  key=value            wins over the configuration that the checkpoint carries: precision=bfloat16.\n"
    "                       What that says about machines is not taken: muster.device is auto\n"
    "\n"
    "It computes in the configuration's precision, on a GPU where there is one (muster.device), in one\n"
    "process on one device. A model that does not fit one is divided: --workers N starts N workers as\n"
    "`muster run` does, with model_parallel_size=N; with --hosts or --hostfile alone it is as wide as in\n"
    "training. Checkpoint and run directory are then on one volume everywhere, and the text is printed\n"
    "when it is whole.\n"
    "\n"
    "  --run-dir DIR        for logs; default: beside the checkpoints, and removed after success\n";

static mu_status_t number(const char *name, const char *text, int64_t low, int64_t high, int64_t *out)
{
    if (!mu_parse_i64(text, out) || *out < low || *out > high)
        return mu_fail(MU_USAGE, "--%s '%s': wanted a whole number from %lld to %lld", name, text,
                       (long long)low, (long long)high);
    return MU_OK;
}

static mu_status_t option(mu_generate_t *o, int opt)
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
    case 'b':
        return number("bench", optarg, 1, 1 << 20, &o->bench);
    case 'J':
        o->json = true;
        return MU_OK;
    case 'j':
        return mu_verb_threads(optarg, &o->threads);
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
    case 'c':
        o->check = true;
        return MU_OK;
    default:
        return mu_fail(MU_USAGE, "see `muster generate --help`");
    }
}

mu_status_t mu_generate_parse(int argc, char **argv, mu_generate_t *o)
{
    static const struct option longs[] = {{"prompt", required_argument, 0, 'p'},
                                          {"max-new-tokens", required_argument, 0, 'n'},
                                          {"temperature", required_argument, 0, 't'},
                                          {"top-k", required_argument, 0, 'k'},
                                          {"top-p", required_argument, 0, 'P'},
                                          {"seed", required_argument, 0, 's'},
                                          {"threads", required_argument, 0, 'j'},
                                          {"bench", required_argument, 0, 'b'},
                                          {"json", no_argument, 0, 'J'},
                                          {"help", no_argument, 0, 'h'},
                                          {"check", no_argument, 0, 'c'},
                                          {0, 0, 0, 0}};
    *o = (mu_generate_t){.max_new_tokens = -1};
    for (int opt; (opt = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        MU_TRY(option(o, opt));
    o->overrides = mu_calloc((size_t)argc, sizeof *o->overrides);
    return mu_verb_words(argc - optind, argv + optind, &o->checkpoint, o->overrides, &o->noverrides);
}

typedef struct writer {
    mu_decoder_t *decoder;
    mu_buf_t text;
} writer_t;

static void write_text(writer_t *w)
{
    fwrite(w->text.data, 1, w->text.len, stdout);
    fflush(stdout);
    mu_buf_clear(&w->text);
}

/* Writes the text as tokens come: the reader sees it grow. */
static mu_status_t show(void *arg, int32_t id)
{
    writer_t *w = arg;
    MU_TRY(mu_decoder_add(w->decoder, &id, 1, &w->text));
    write_text(w);
    return MU_OK;
}

static mu_status_t measure(const mu_generate_t *asked, mu_inference_model_t *l, mu_generation_t *g,
                           mu_bench_t *bench, const char *words)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_bench_run(bench, g, l->net, l->context.tp, asked->bench);
    if (status == MU_OK) {
        mu_bench_print(bench, words, asked->json, &text);
        if (fputs(text.data, stdout) < 0 || fflush(stdout) != 0)
            status = mu_fail(MU_IO, "stdout: cannot write");
    }
    mu_buf_release(&text);
    return status;
}

static mu_status_t generate(const mu_generate_t *asked)
{
    mu_inference_model_t l;
    mu_generation_t g = {.prompt = MU_IDS_INIT};
    mu_bench_t bench = {0};
    int64_t began = mu_now_ns();
    char words[256];
    mu_status_t status;
    MU_TRY(mu_inference_model_describe(asked->checkpoint, asked->overrides, asked->noverrides, &l));
    writer_t writer = {NULL, MU_BUF_INIT};
    if (asked->check)
        mu_log_level_set(MU_LOG_ERROR); /* the ranks will say the rest */
    if (asked->threads > 0)
        l.config->muster.threads_per_worker = asked->threads;
    MU_TRY_GOTO(status, mu_generation_begin(&l, l.config, asked, &g), out);
    if (asked->check)
        goto out;
    MU_TRY_GOTO(status, mu_inference_model_weights(&l, NULL, 1), out);
    mu_inference_model_words(&l, words, sizeof words);
    mu_info("computing in %s", words);
    bench.load_ms = (double)(mu_now_ns() - began) * 1e-6;
    if (asked->bench > 0) {
        status = measure(asked, &l, &g, &bench, words);
        goto out;
    }
    fputs(asked->prompt, stdout);
    writer.decoder = mu_decoder_new(l.tokenizer, asked->prompt[0] != '\0');
    status = mu_generation_run(&g, l.net, l.context.tp, show, &writer);
    if (status == MU_OK) {
        mu_decoder_end(writer.decoder, &writer.text);
        write_text(&writer);
        putchar('\n');
    }
out:
    mu_bench_release(&bench);
    mu_decoder_free(writer.decoder);
    mu_buf_release(&writer.text);
    mu_generation_end(&g);
    mu_inference_model_close(&l);
    return status;
}

mu_status_t mu_verb_generate(int argc, char **argv)
{
    mu_generate_t asked;
    mu_status_t status = mu_generate_parse(argc, argv, &asked);
    if (status == MU_OK && asked.help)
        fputs(mu_generate_usage, stdout);
    else if (status == MU_OK && !(asked.checkpoint && asked.prompt))
        status =
            mu_fail(MU_USAGE, "generate needs one checkpoint and --prompt: see `muster generate --help`");
    else if (status == MU_OK && asked.json && asked.bench == 0)
        status = mu_fail(MU_USAGE, "generate: --json belongs to --bench N");
    else if (status == MU_OK)
        status = generate(&asked);
    free(asked.overrides);
    return status;
}
