#include "common/clock.h"
#include "common/log.h"
#include "common/stdio_setup.h"
#include "worker/infer/bench.h"
#include "worker/infer/generation.h"
#include "worker/infer/stop.h"
#include "worker/cmd/verbs.h"

typedef struct writer {
    mu_decoder_t *decoder;
    mu_buf_t text; /* all of it */
    size_t shown;
    const mu_words_t *stops;
} writer_t;

static void write_text(writer_t *w, bool end)
{
    bool hit;
    size_t visible = mu_stop_visible(w->stops, w->text.data ? w->text.data : "", w->text.len, end, &hit);
    if (visible > w->shown) {
        fwrite(w->text.data + w->shown, 1, visible - w->shown, stdout);
        w->shown = visible;
    }
    fflush(stdout);
}

/* Writes the text as tokens come: the reader sees it grow. */
static mu_status_t show(void *arg, int32_t id)
{
    writer_t *w = arg;
    MU_TRY(mu_decoder_add(w->decoder, &id, 1, &w->text));
    write_text(w, false);
    return MU_OK;
}

static mu_status_t measure(const mu_generate_t *asked, mu_inference_model_t *l, mu_generation_t *g,
                           mu_bench_t *bench, const char *words)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_bench_run(bench, g, l->net, l->context.tp, asked->bench);
    if (status == MU_OK) {
        mu_bench_print(bench, words, asked->json, &text);
        status = mu_stdio_write(&text);
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
    MU_TRY(
        mu_inference_model_describe(asked->on.models.item[0], asked->on.keys.item, asked->on.keys.count, &l));
    writer_t writer = {NULL, MU_BUF_INIT, 0, &asked->stops};
    if (asked->on.check)
        mu_log_level_set(MU_LOG_ERROR); /* the ranks will say the rest */
    mu_config_settle(&l.config, &(mu_config_facts_t){.threads = asked->on.threads});
    MU_TRY_GOTO(status, mu_generation_begin(&l, l.config, asked, &g), out);
    if (asked->on.check)
        goto out;
    MU_TRY_GOTO(status, mu_inference_model_weights(&l, NULL, 1), out);
    mu_inference_model_words(&l, words, sizeof words);
    mu_info("computing in %s", words);
    bench.load_ms = (double)(mu_now_ns() - began) * 1e-6;
    if (asked->bench > 0) {
        status = measure(asked, &l, &g, &bench, words);
        goto out;
    }
    if (!asked->chat)
        fputs(asked->prompt, stdout);
    writer.decoder = mu_decoder_new(l.tokenizer, asked->prompt[0] != '\0');
    status = mu_generation_run(&g, l.net, l.context.tp, show, &writer);
    if (status == MU_OK) {
        mu_decoder_end(writer.decoder, &writer.text);
        write_text(&writer, true);
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
    mu_generate_t asked = MU_GENERATE_INIT;
    bool help;
    mu_status_t status = mu_options_parse_worker(&mu_generate_command, argc, argv, &asked, &help);
    if (status == MU_OK && !help)
        status = asked.json && asked.bench == 0
                     ? mu_fail(MU_USAGE, "generate: --json belongs to --bench N: see muster generate --help")
                     : generate(&asked);
    mu_options_release(&mu_generate_command, &asked);
    return status;
}
