#include "launcher/cmd/cmd_prepare.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/config/config.h"
#include "common/log.h"
#include "common/num.h"
#include "dataset/prepare/meter.h"
#include "dataset/prepare/pipeline.h"
#include "dataset/prepare/reader.h"
#include "dataset/prepare/shards.h"
#include "dataset/tokenizer/tokenizer.h"

#include <getopt.h>
#include <sched.h>

enum { THREADS_MAX = 256 };

static const char usage[] =
    "usage: muster prepare CONFIG... --input PATH... [--output DIR] [options] [key=value...]\n"
    "\n"
    "Turns text into token shards that 'muster run' reads. The config's vocab_file is the tokenizer, "
    "data_path\n"
    "the output, split the cut into train, valid and test by documents.\n"
    "\n"
    "  --input PATH...        files, directories, or - for stdin; plain, gzip, dictzip or zstd; *.jsonl "
    "holds one\n"
    "                         JSON object a line, everything else is text\n"
    "  --output DIR           instead of data_path\n"
    "  --special NAME         adds a special token, as '<|quest|>', behind the tokenizer's ids\n"
    "  --document BOUNDARY    where a document of a text ends: blank (a blank line, the default), line, "
    "file\n"
    "  --format FORMAT        text or jsonl, whatever the names say\n"
    "  --text-key KEY         the member of a JSON object that holds the text (text)\n"
    "  --max-document SIZE    longest document (64M)\n"
    "  --skip-bad N           leave out up to N JSON lines that hold no text, and count them (0: the first "
    "ends it)\n"
    "  --strict               invalid UTF-8 is an error; otherwise it becomes U+FFFD and is counted\n"
    "  --force                replace the data set that the output holds\n"
    "  --threads N            threads that tokenize (all cores)\n"
    "  --json                 the result as one JSON object\n"
    "\n"
    "Each document is followed by the tokenizer's <|endoftext|>. The same input gives the same shards, "
    "whatever the\n"
    "number of threads.\n";

typedef struct list {
    char **item; /* argv's */
    int count;
} list_t;

typedef struct options {
    list_t configs, inputs, overrides, specials;
    const char *output;
    mu_reader_options_t reader;
    bool force, json, help;
    int threads;
} options_t;

static void push(list_t *list, char *item)
{
    list->item = mu_realloc(list->item, (size_t)(list->count + 1) * sizeof *list->item);
    list->item[list->count++] = item;
}

/* ---- the command line ---- */

static int all_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < THREADS_MAX ? n : THREADS_MAX;
}

static bool is_yaml(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && (strcmp(dot, ".yml") == 0 || strcmp(dot, ".yaml") == 0);
}

static mu_status_t parse_value(options_t *o, int option, char *value)
{
    uint64_t size;
    int64_t n;
    switch (option) {
    case 'i':
        push(&o->inputs, value);
        return MU_OK;
    case 'o':
        o->output = value;
        return MU_OK;
    case 'S':
        push(&o->specials, value);
        return MU_OK;
    case 'd':
        return mu_boundary_parse(value, &o->reader.boundary)
                   ? MU_OK
                   : mu_fail(MU_USAGE, "--document %s: wanted blank, line or file", value);
    case 'f':
        o->reader.format = strcmp(value, "jsonl") == 0 ? MU_FORMAT_JSONL : MU_FORMAT_TEXT;
        return strcmp(value, "jsonl") == 0 || strcmp(value, "text") == 0
                   ? MU_OK
                   : mu_fail(MU_USAGE, "--format %s: wanted text or jsonl", value);
    case 'k':
        o->reader.text_key = value;
        return MU_OK;
    case 'm':
        if (!mu_parse_size(value, &size) || size < 1 || size > (uint64_t)1 << 30)
            return mu_fail(MU_USAGE, "--max-document %s: wanted a size up to 1G, as 256M", value);
        o->reader.max_record = size;
        return MU_OK;
    case 'b':
        if (!mu_parse_i64(value, &n) || n < 0)
            return mu_fail(MU_USAGE, "--skip-bad %s: wanted a number of records", value);
        o->reader.skip_bad = n;
        return MU_OK;
    default: /* 't' */
        if (!mu_parse_i64(value, &n) || n < 1 || n > THREADS_MAX)
            return mu_fail(MU_USAGE, "--threads %s: wanted a number from 1 to %d", value, THREADS_MAX);
        o->threads = (int)n;
        return MU_OK;
    }
}

/* Words without a dash: behind --input they are inputs too, unless they are key=value or a YAML file. */
static void parse_word(options_t *o, char *word, bool behind_input)
{
    if (mu_config_is_override(word))
        push(&o->overrides, word);
    else
        push(behind_input && !is_yaml(word) ? &o->inputs : &o->configs, word);
}

static mu_status_t parse(int argc, char **argv, options_t *o)
{
    static const struct option known[] = {
        {"input", required_argument, NULL, 'i'},    {"output", required_argument, NULL, 'o'},
        {"document", required_argument, NULL, 'd'}, {"format", required_argument, NULL, 'f'},
        {"text-key", required_argument, NULL, 'k'}, {"max-document", required_argument, NULL, 'm'},
        {"threads", required_argument, NULL, 't'},  {"skip-bad", required_argument, NULL, 'b'},
        {"strict", no_argument, NULL, 's'},         {"force", no_argument, NULL, 'F'},
        {"json", no_argument, NULL, 'j'},           {"help", no_argument, NULL, 'h'},
        {"special", required_argument, NULL, 'S'},  {NULL, 0, NULL, 0}};
    bool behind_input = false;
    optind = 0; /* glibc: start anew */
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "-:h", known, NULL)) !=
                -1;) { /* '-': words come in their place, as 1 */
        if (c == 1) {
            parse_word(o, optarg, behind_input);
            continue;
        }
        behind_input = c == 'i';
        if (c == 's')
            o->reader.strict = true;
        else if (c == 'F')
            o->force = true;
        else if (c == 'j')
            o->json = true;
        else if (c == 'h')
            o->help = true;
        else if (c == '?' || c == ':')
            return mu_fail(MU_USAGE, "%s %s: muster prepare --help lists the options",
                           c == '?' ? "unknown option" : "no value behind", argv[optind - 1]);
        else
            MU_TRY(parse_value(o, c, optarg));
    }
    while (optind < argc) /* behind "--" */
        parse_word(o, argv[optind++], behind_input);
    if (o->help)
        return MU_OK;
    if (o->configs.count == 0)
        return mu_fail(MU_USAGE, "prepare: no CONFIG given: see muster prepare --help");
    if (o->inputs.count == 0)
        return mu_fail(MU_USAGE, "prepare: no --input given: name files or directories, or - for stdin");
    return MU_OK;
}

/* ---- the work ---- */

typedef struct work {
    const options_t *options;
    mu_reader_t *reader;
    mu_shards_t *shards;
    mu_meter_t meter;
    mu_ids_t ids; /* of one document, its end included */
    int32_t end;
} work_t;

static mu_status_t keep_document(void *arg, const int32_t *ids, size_t n, uint64_t text_bytes)
{
    work_t *w = arg;
    w->ids.len = 0;
    mu_ids_reserve(&w->ids, n + 1);
    if (n > 0)
        memcpy(w->ids.data, ids, n * sizeof *ids);
    w->ids.data[n] = w->end;
    return mu_shards_add(w->shards, w->ids.data, n + 1, text_bytes);
}

static void tick(void *arg)
{
    work_t *w = arg;
    uint64_t done, total;
    mu_reader_progress(w->reader, &done, &total);
    mu_meter_show(&w->meter, done, total);
}

static mu_status_t add_specials(const list_t *specials, mu_tokenizer_t *tok)
{
    int32_t ids = mu_tokenizer_vocab(tok);
    if (specials->count == 0)
        return MU_OK;
    MU_TRY(mu_tokenizer_add_specials(tok, specials->item, specials->count));
    mu_info("%d special tokens added: the tokenizer has %d ids", mu_tokenizer_vocab(tok) - ids,
            mu_tokenizer_vocab(tok));
    return MU_OK;
}

static mu_status_t load_tokenizer(const options_t *o, const mu_config_t *config, mu_tokenizer_t **out)
{
    int64_t padded;
    if (!config->vocab_file)
        return mu_fail(MU_CONFIG,
                       "no vocab_file: the config must name a tokenizer, as vocab_file: \"tokenizer.json\" "
                       "('muster tokenizer train' makes one)");
    MU_TRY(config->merge_file ? mu_tokenizer_load_gpt2(config->vocab_file, config->merge_file, out)
                              : mu_tokenizer_load(config->vocab_file, out));
    mu_status_t status = add_specials(&o->specials, *out);
    if (status == MU_OK)
        status = mu_config_padded_vocab(config, mu_tokenizer_vocab(*out), &padded);
    if (status == MU_OK && mu_tokenizer_eod(*out) < 0)
        status =
            mu_fail(MU_DATA, "%s: has no token <|endoftext|>, which ends a document", config->vocab_file);
    if (status != MU_OK)
        mu_tokenizer_free(*out);
    return status;
}

static void say_what_was_read(const mu_reader_t *reader, double seconds)
{
    char bytes[32];
    uint64_t done, total;
    const mu_reader_counts_t *counts = mu_reader_counts(reader);
    mu_reader_progress(reader, &done, &total);
    mu_info("read %lld documents, %s of text, from %d file%s in %.1f s (%.1f MB/s)",
            (long long)counts->documents, mu_human_bytes(counts->bytes, bytes, sizeof bytes),
            mu_reader_files(reader), mu_reader_files(reader) == 1 ? "" : "s", seconds,
            seconds > 0 ? (double)counts->bytes / seconds * 1e-6 : 0);
    if (counts->empty > 0)
        mu_info("left out %lld empty documents", (long long)counts->empty);
    if (counts->bad > 0)
        mu_warn("bad records left out: %lld", (long long)counts->bad);
    if (counts->invalid > 0)
        mu_warn("%lld invalid UTF-8 sequences were read as U+FFFD; --strict makes them an error",
                (long long)counts->invalid);
}

/* A split that cannot fill one sequence trains or validates on nothing new. */
static void warn_of_short_splits(const mu_shards_summary_t *sum, int64_t seq_length)
{
    for (int i = 0; i < MU_DATA_SPLITS; i++) {
        if (sum->tokens[i] > 0 && sum->tokens[i] <= seq_length)
            mu_warn("%s has %lld tokens, fewer than the %lld of one sample",
                    mu_data_split_name((mu_data_split_t)i), (long long)sum->tokens[i],
                    (long long)seq_length + 1);
    }
}

static void print_result(const char *output, const mu_shards_summary_t *sum, const mu_reader_counts_t *counts,
                         bool json)
{
    printf(json ? "{" : "%s: data version %s\n", output, sum->version);
    for (int i = 0; i < MU_DATA_SPLITS; i++)
        printf(json ? "\"%s\": {\"documents\": %lld, \"tokens\": %lld, \"text_bytes\": %llu}, "
                    : "%-5s  %10lld documents  %14lld tokens  %14llu bytes of text\n",
               mu_data_split_name((mu_data_split_t)i), (long long)sum->documents[i],
               (long long)sum->tokens[i], (unsigned long long)sum->text_bytes[i]);
    if (json)
        printf("\"invalid\": %lld, \"empty\": %lld, \"bad\": %lld, \"shards\": %d, \"version\": \"%s\"}\n",
               (long long)counts->invalid, (long long)counts->empty, (long long)counts->bad, sum->shards,
               sum->version);
}

static mu_status_t run(work_t *w, const mu_tokenizer_t *tok, mu_shards_summary_t *sum)
{
    mu_pipeline_sink_t sink = {keep_document, tick, w};
    int64_t begun = mu_now_ns();
    mu_meter_begin(&w->meter, "prepare");
    mu_status_t status = mu_pipeline_run(w->reader, tok, w->options->threads, &sink);
    mu_meter_end(&w->meter);
    MU_TRY(status);
    say_what_was_read(w->reader, (double)(mu_now_ns() - begun) * 1e-9);
    mu_info("cutting the tokens into shards");
    return mu_shards_finish(w->shards, sum);
}

static mu_status_t prepare(const options_t *o, const mu_config_t *config)
{
    const char *output = o->output ? o->output : config->data_path;
    mu_tokenizer_t *tok = NULL;
    work_t w = {.options = o};
    mu_shards_summary_t sum;
    mu_status_t status;
    if (!output)
        return mu_fail(MU_USAGE, "no output: give --output DIR, or data_path in the config");
    MU_TRY(load_tokenizer(o, config, &tok));
    w.end = mu_tokenizer_eod(tok);
    mu_shards_options_t shards = {
        .vocab = mu_tokenizer_vocab(tok), .tokenizer = tok, .split = config->split, .replace = o->force};
    MU_TRY_GOTO(status, mu_reader_open(o->inputs.item, o->inputs.count, &o->reader, &w.reader), out);
    MU_TRY_GOTO(status, mu_shards_create(output, &shards, &w.shards), out);
    MU_TRY_GOTO(status, run(&w, tok, &sum), out);
    warn_of_short_splits(&sum, config->model.seq_length);
    print_result(output, &sum, mu_reader_counts(w.reader), o->json);
out:
    mu_shards_free(w.shards);
    mu_reader_close(w.reader);
    mu_ids_release(&w.ids);
    mu_tokenizer_free(tok);
    return status;
}

mu_status_t mu_cmd_prepare(int argc, char **argv)
{
    options_t o = {.reader = MU_READER_DEFAULTS, .threads = all_cores()};
    mu_config_t *config = NULL;
    mu_status_t status = parse(argc, argv, &o);
    if (status == MU_OK && o.help) {
        fputs(usage, stdout);
    } else if (status == MU_OK) {
        status =
            mu_config_load(o.configs.item, o.configs.count, o.overrides.item, o.overrides.count, &config);
        if (status == MU_OK)
            status = prepare(&o, config);
    }
    mu_config_free(config);
    free(o.configs.item);
    free(o.inputs.item);
    free(o.overrides.item);
    free(o.specials.item);
    return status;
}
