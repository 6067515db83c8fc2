#include "launcher/cmd/cmd.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/config/config.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "dataset/prepare/made.h"
#include "common/meter.h"
#include "dataset/prepare/pipeline.h"
#include "dataset/prepare/shards.h"
#include "dataset/store/shard_file.h"
#include "dataset/tokenizer/tokenizer.h"
#include "launcher/cmd/prepare_chat.h"
#include "launcher/cmd/prepare_options.h"

enum { LINES_MAX = 10 };

typedef struct work {
    const mu_prepare_options_t *options;
    const char *output;
    mu_tokenizer_t *tok;
    mu_reader_t *reader;
    mu_shards_t *shards;
    mu_tally_t tally;
    mu_made_inputs_t inputs;
    int32_t end;            /* the id that each document ends with */
    int32_t *tags;          /* the id that each input's documents begin with; -1: none */
    mu_ids_t ids;           /* of one document, its tag and its end included */
    mu_prepare_chat_t chat; /* with --chat */
} work_t;

/* ---- the tokenizer ---- */

static mu_status_t add_specials(const mu_words_t *specials, mu_tokenizer_t *tok)
{
    int32_t ids = mu_tokenizer_vocab(tok);
    if (specials->count == 0)
        return MU_OK;
    MU_TRY(mu_tokenizer_add_specials(tok, specials->item, specials->count));
    mu_info("%d special tokens added: the tokenizer has %d ids", mu_tokenizer_vocab(tok) - ids,
            mu_tokenizer_vocab(tok));
    return MU_OK;
}

static mu_status_t load_tokenizer(const mu_prepare_options_t *o, const mu_config_t *config,
                                  mu_tokenizer_t **out)
{
    int64_t padded;
    if (!config->vocab_file)
        return mu_fail(MU_CONFIG,
                       "no vocab_file: the config must name a tokenizer, as vocab_file: \"tokenizer.json\" "
                       "('muster tokenizer train' makes one)");
    MU_TRY(mu_tokenizer_load_files(config->vocab_file, config->merge_file, out));
    mu_status_t status = add_specials(&o->specials, *out);
    if (status == MU_OK)
        status = mu_config_padded_vocab(config, mu_tokenizer_vocab(*out), &padded);
    if (status != MU_OK) {
        mu_tokenizer_free(*out);
        *out = NULL;
    }
    return status;
}

/* The one id that stands for exactly this text. */
static mu_status_t token_id(const mu_tokenizer_t *tok, const char *option, const char *tag, int32_t *out)
{
    mu_ids_t ids = MU_IDS_INIT;
    mu_status_t status = mu_tokenizer_encode(tok, tag, strlen(tag), &ids);
    *out = ids.len == 1 ? ids.data[0] : -1;
    mu_ids_release(&ids);
    if (status == MU_OK && *out < 0)
        status = mu_fail(
            MU_CONFIG,
            "--%s '%s': the tokenizer has no such token: add it with --special '%s', or name one that "
            "it has",
            option, tag, tag);
    return status;
}

static mu_status_t find_end(work_t *w, const mu_config_t *config)
{
    w->end = mu_tokenizer_eod(w->tok);
    if (w->options->end)
        MU_TRY(token_id(w->tok, "end", w->options->end, &w->end));
    if (w->end < 0)
        return mu_fail(
            MU_DATA,
            "%s: has no token <|endoftext|>, which ends a document, and no file beside it names an "
            "eos_token: name the one that it has with --end, as --end '</s>'",
            config->vocab_file);
    mu_tokenizer_set_eod(w->tok, w->end); /* for what is trained on the data */
    return MU_OK;
}

static mu_status_t find_tags(work_t *w)
{
    w->tags = mu_alloc((size_t)w->inputs.count * sizeof *w->tags);
    for (int i = 0; i < w->inputs.count; i++) {
        const char *tag = w->inputs.tags[i];
        w->tags[i] = -1;
        if (tag)
            MU_TRY(token_id(w->tok, "tag", tag, &w->tags[i]));
    }
    return MU_OK;
}

/* ---- the work ---- */

static mu_status_t keep_conversation(work_t *w, const mu_encoded_t *doc)
{
    w->chat.counts.cut += doc->n > 0 && doc->text_bytes < doc->whole;
    w->chat.counts.left_out += doc->n == 0;
    if (doc->n == 0)
        return MU_OK;
    mu_tally_add(&w->tally, doc->origin, doc->digest);
    return mu_shards_add(w->shards, doc->ids, doc->labels, doc->n, doc->text_bytes, doc->digest);
}

static mu_status_t keep_document(void *arg, const mu_encoded_t *doc)
{
    work_t *w = arg;
    if (doc->labels)
        return keep_conversation(w, doc);
    w->ids.len = 0;
    mu_ids_reserve(&w->ids, doc->n + 2);
    if (w->tags[doc->origin] >= 0)
        w->ids.data[w->ids.len++] = w->tags[doc->origin];
    if (doc->n > 0)
        memcpy(w->ids.data + w->ids.len, doc->ids, doc->n * sizeof *doc->ids);
    w->ids.len += doc->n;
    w->ids.data[w->ids.len++] = w->end;
    mu_tally_add(&w->tally, doc->origin, doc->digest);
    return mu_shards_add(w->shards, w->ids.data, NULL, w->ids.len, doc->text_bytes, doc->digest);
}

static void tick(void *arg)
{
    work_t *w = arg;
    uint64_t done, total;
    mu_reader_progress(w->reader, &done, &total);
    mu_meter_set(done, total);
}

static void log_count(int64_t n, const char *what)
{
    if (n > 0)
        mu_info("%s: %lld", what, (long long)n);
}

static void log_what_was_read(const mu_reader_t *reader, const mu_made_chat_t *chat, double seconds)
{
    char bytes[32];
    const mu_reader_counts_t *counts = mu_reader_counts(reader);
    int files = mu_texts_inputs(mu_reader_texts(reader))->count;
    mu_info("read %lld documents, %s of text, from %d file%s in %.1f s (%.1f MB/s)",
            (long long)counts->documents, mu_human_bytes(counts->bytes, bytes, sizeof bytes), files,
            files == 1 ? "" : "s", seconds, seconds > 0 ? (double)counts->bytes / seconds * 1e-6 : 0);
    log_count(counts->archive.members, "members read from archives");
    log_count(counts->archive.left_out, "members left out that are no data by their names");
    log_count(counts->archive.links, "links left out of archives");
    log_count(counts->archive.devices, "devices and pipes left out of archives");
    log_count(counts->archive.outside, "members left out of archives, as '..' is in their names");
    log_count(counts->empty, "empty documents left out");
    log_count(counts->filter.duplicates, "duplicates left out");
    log_count(counts->filter.too_short, "documents left out as too short");
    log_count(counts->filter.too_long, "documents left out as too long");
    log_count(counts->filter.control, "control characters taken out");
    log_count(counts->unanswered, "conversations left out that have no answer");
    log_count(chat->cut, "conversations cut at a turn's border to the tokens of one sample");
    log_count(chat->left_out, "conversations left out, as not even one turn with an answer fits a sample");
    if (counts->spelled > 0)
        mu_warn("conversations in which a message spells a token of the template: %lld",
                (long long)counts->spelled);
    if (counts->bad > 0)
        mu_warn("bad records left out: %lld", (long long)counts->bad);
    if (counts->invalid > 0)
        mu_warn("%lld invalid UTF-8 sequences were read as U+FFFD; --strict makes them an error",
                (long long)counts->invalid);
}

/* Inputs that train, validate or test alone. */
static void warn_of_one_part(const work_t *w)
{
    int found = 0;
    for (int i = 0; i < w->tally.count; i++) {
        int part = mu_tally_only_part(&w->tally, &w->tally.rows[i]);
        if (part >= 0 && found++ < LINES_MAX)
            mu_warn("%s: all its %lld documents fall into %s%s", w->inputs.paths[i],
                    (long long)w->tally.rows[i].count, mu_data_split_name((mu_data_split_t)part),
                    w->options->by_digest ? "" : "; --split-by hash spreads them over all parts");
    }
    if (found > LINES_MAX)
        mu_warn("inputs whose documents all fall into one part: %d", found);
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

/* ---- the result ---- */

static void print_json(const mu_shards_summary_t *sum, const json_t *made, bool chat)
{
    json_t *root = json_object();
    for (int i = 0; i < MU_DATA_SPLITS; i++)
        json_object_set_new(root, mu_data_split_name((mu_data_split_t)i),
                            json_pack("{s:I, s:I, s:I}", "documents", (json_int_t)sum->documents[i], "tokens",
                                      (json_int_t)sum->tokens[i], "text_bytes",
                                      (json_int_t)sum->text_bytes[i]));
    for (int i = 0; chat && i < MU_DATA_SPLITS; i++)
        json_object_set_new(json_object_get(root, mu_data_split_name((mu_data_split_t)i)), "counted",
                            json_integer(sum->counted[i]));
    json_object_update(root, json_object_get(made, "counts"));
    json_object_set(root, "groups", json_object_get(made, "groups"));
    json_object_set(root, "tags", json_object_get(made, "tags"));
    json_object_set_new(root, "shards", json_integer(sum->shards));
    json_object_set_new(root, "version", json_string(sum->version));
    char *text = json_dumps(root, 0);
    puts(text ? text : "");
    free(text);
    json_decref(root);
}

static json_int_t part_of(const json_t *group, const char *member, int split)
{
    return json_integer_value(
        json_object_get(json_object_get(group, member), mu_data_split_name((mu_data_split_t)split)));
}

/* Documents of each tag by part, and in brackets what a cut by position gives. */
static void print_tags(const json_t *tags)
{
    printf("documents by tag (by position)\n");
    for (size_t i = 0; i < json_array_size(tags); i++) {
        const json_t *group = json_array_get(tags, i);
        const char *tag = json_string_value(json_object_get(group, "tag"));
        printf("%-16s", tag ? tag : "without a tag");
        for (int s = 0; s < MU_DATA_SPLITS; s++)
            printf("  %s %lld (%lld)", mu_data_split_name((mu_data_split_t)s),
                   (long long)part_of(group, "documents", s), (long long)part_of(group, "by_position", s));
        putchar('\n');
    }
}

static void print_result(const work_t *w, const mu_shards_summary_t *sum, const json_t *made)
{
    const json_t *tags = json_object_get(made, "tags");
    if (w->options->as_json) {
        print_json(sum, made, w->options->chat);
        return;
    }
    printf("%s: data version %s\n", w->output, sum->version);
    for (int i = 0; i < MU_DATA_SPLITS; i++)
        printf("%-5s  %10lld documents  %14lld tokens  %14llu bytes of text\n",
               mu_data_split_name((mu_data_split_t)i), (long long)sum->documents[i],
               (long long)sum->tokens[i], (unsigned long long)sum->text_bytes[i]);
    if (w->options->chat)
        mu_prepare_chat_print(&w->chat, sum);
    if (json_array_size(tags) > 0)
        print_tags(tags);
}

/* ---- the same again ---- */

static json_t *options_json(const work_t *w, const mu_config_t *config)
{
    json_t *json = mu_prepare_options_json(w->options);
    json_object_set_new(json, "split", json_string(config->split));
    json_object_set_new(json, "tokenizer", json_string(mu_tokenizer_digest(w->tok)));
    if (w->options->chat) {
        json_object_set_new(json, "chat", mu_prepare_chat_json(&w->chat));
        json_object_set_new(json, "most_tokens", json_integer(w->chat.how.most));
    }
    return json;
}

/* Whether the output holds what this command would make; then it is printed. Another data set there is an error. */
static mu_status_t look_for_the_same(const work_t *w, const mu_config_t *config, bool *there)
{
    char *path = mu_path_join(w->output, MU_DATASET_MANIFEST), *why = NULL;
    *there = mu_is_file(path) && !w->options->force;
    free(path);
    if (!*there)
        return MU_OK;
    mu_data_manifest_t m;
    mu_dataset_t *ds = NULL;
    mu_dataset_options_t any = {0};
    MU_TRY(mu_data_manifest_read(w->output, &m));
    json_t *options = options_json(w, config);
    mu_status_t status = mu_made_compare(m.made, options, &w->inputs, &why);
    json_decref(options);
    if (status == MU_OK && why)
        status = mu_fail(MU_RUNDIR,
                         "%s: holds another data set: %s: give another --output, or --force to replace it",
                         w->output, why);
    free(why);
    if (status == MU_OK)
        status = mu_dataset_open(w->output, &any, &ds); /* its files are there and fit */
    if (status == MU_OK) {
        mu_shards_summary_t sum;
        mu_info("%s: is there already, made of the same inputs with the same options", w->output);
        mu_shards_sum(&m, &sum);
        print_result(w, &sum, m.made);
    }
    mu_dataset_close(ds);
    mu_data_manifest_free(&m);
    return status;
}

/* ---- all of it ---- */

static mu_status_t read_all(work_t *w)
{
    mu_pipeline_sink_t sink = {keep_document, tick, w};
    int64_t begun = mu_now_ns();
    mu_meter_begin("prepare", MU_METER_BYTES, 0);
    mu_status_t status = mu_pipeline_run(w->reader, w->tok, (int)w->options->threads, &w->chat.how, &sink);
    mu_meter_end();
    MU_TRY(status);
    log_what_was_read(w->reader, &w->chat.counts, (double)(mu_now_ns() - begun) * 1e-9);
    if (w->options->columns.count > 0 && mu_reader_counts(w->reader)->tables == 0)
        return mu_fail(MU_DATA,
                       "--column: no input is a table by its name (*.csv, *.tsv): --format csv or tsv reads "
                       "them all as tables");
    return MU_OK;
}

static mu_status_t make(work_t *w, const mu_config_t *config)
{
    const mu_prepare_options_t *o = w->options;
    mu_shards_summary_t sum;
    mu_shards_options_t shards = {.vocab = mu_tokenizer_vocab(w->tok),
                                  .tokenizer = w->tok,
                                  .split = config->split,
                                  .labels = o->chat,
                                  .by_digest = o->by_digest,
                                  .replace = o->force};
    MU_TRY(mu_tally_new(&w->tally, config->split, o->by_digest, w->inputs.count));
    mu_reader_options_t reading = o->reader;
    reading.chat = w->chat.template;
    MU_TRY(mu_reader_open(o->inputs.item, o->inputs.count, &reading, &w->reader));
    MU_TRY(mu_shards_create(w->output, &shards, &w->shards));
    MU_TRY(read_all(w));
    MU_TRY(mu_tally_finish(&w->tally, config->split));
    json_t *made = mu_made_new(options_json(w, config), &w->inputs, w->reader, &w->tally,
                               o->chat ? &w->chat.counts : NULL);
    mu_shards_made(w->shards, made);
    if (o->chat)
        mu_shards_chat(w->shards, mu_prepare_chat_json(&w->chat));
    mu_info("cutting the tokens into shards");
    MU_TRY(mu_shards_finish(w->shards, &sum));
    warn_of_one_part(w);
    warn_of_short_splits(&sum, config->model.seq_length);
    print_result(w, &sum, made);
    return MU_OK;
}

static mu_status_t prepare(const mu_prepare_options_t *o, const mu_config_t *config)
{
    work_t w = {.options = o, .output = o->output ? o->output : config->data_path};
    bool there = false;
    mu_status_t status;
    if (!w.output)
        return mu_fail(MU_USAGE, "no output: give --output DIR, or data_path in the config");
    w.inputs = (mu_made_inputs_t){o->inputs.item, o->tags, o->inputs.count, o->reader.format};
    MU_TRY(load_tokenizer(o, config, &w.tok));
    MU_TRY_GOTO(status, find_end(&w, config), out);
    MU_TRY_GOTO(status, find_tags(&w), out);
    if (o->chat)
        MU_TRY_GOTO(status, mu_prepare_chat_begin(o, config, w.tok, &w.chat), out);
    MU_TRY_GOTO(status, look_for_the_same(&w, config, &there), out);
    if (!there)
        status = make(&w, config);
out:
    mu_shards_free(w.shards);
    mu_reader_close(w.reader);
    mu_tally_free(&w.tally);
    mu_ids_release(&w.ids);
    mu_chat_template_free(w.chat.template);
    free(w.tags);
    mu_tokenizer_free(w.tok);
    return status;
}

mu_status_t mu_cmd_prepare(int argc, char **argv)
{
    mu_prepare_options_t o;
    mu_config_t *config = NULL;
    bool help;
    mu_status_t status = mu_prepare_parse(argc, argv, &o, &help);
    if (status == MU_OK && !help) {
        status =
            mu_config_load(o.configs.item, o.configs.count, o.overrides.item, o.overrides.count, &config);
        if (status == MU_OK)
            status = prepare(&o, config);
    }
    mu_config_free(config);
    mu_prepare_options_free(&o);
    return status;
}
