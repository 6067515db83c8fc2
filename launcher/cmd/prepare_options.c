#include "launcher/cmd/prepare_options.h"
#include "launcher/cmd/cmd.h"
#include "common/buf.h"
#include "common/config/config.h"
#include "common/log.h"
#include "common/num.h"

#include <sched.h>

enum { THREADS_MAX = 256 };
#define COUNT_MAX 0x1p53

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

static mu_status_t add_input(void *options, char *path)
{
    mu_prepare_options_t *o = options;
    o->tags = mu_realloc(o->tags, (size_t)(o->inputs.count + 1) * sizeof *o->tags);
    o->tags[o->inputs.count] = o->tag && *o->tag ? o->tag : NULL;
    mu_words_add(&o->inputs, path);
    return MU_OK;
}

#define AT(member) offsetof(mu_prepare_options_t, member)

static const mu_option_t options[] = {
    MU_OPT("CONFIG", NULL, MU_OPTION_OPERANDS, AT(configs), "GPT-NeoX YAML files", .required = true),
    MU_OPT("--tag", "TOKEN", MU_OPTION_TEXT, AT(tag),
           "puts this token before each document of the inputs that follow; '' ends that", ),
    MU_OPT(
        "--input", "PATH", MU_OPTION_MANY, AT(inputs),
        "files, directories, or - for stdin. Plain, gzip, dictzip, zstd, xz, bzip2 or lz4, and tar and zip "
        "archives of such "
        "files. *.jsonl holds one JSON object a line, *.csv and *.tsv a table where --column is given, "
        "everything else is "
        "text",
        .required = true, .take = add_input),
    MU_OPT("--end", "TOKEN", MU_OPTION_TEXT, AT(end),
           "puts this token after each document instead of <|endoftext|>, as '</s>'", ),
    MU_OPT("--output", "DIR", MU_OPTION_TEXT, AT(output), "instead of data_path", .choices = "DIR"),
    MU_OPT("key=value", NULL, MU_OPTION_OVERRIDES, AT(overrides), "wins over the files", ),
    MU_OPT("--special", "NAME", MU_OPTION_WORDS, AT(specials),
           "adds a special token, as '<|quest|>', after the tokenizer's ids", ),
    MU_OPT(" ", NULL, MU_OPTION_NOTE, 0, "What a document is:", ),
    MU_OPT("--document", "BOUNDARY", MU_OPTION_TEXT, AT(boundary),
           "where a document of a text ends: blank (a blank line, the default), line, file (the default for "
           "what "
           "lies in an "
           "archive)",
           .choices = "blank|line|file"),
    MU_OPT("--format", "FORMAT", MU_OPTION_TEXT, AT(format),
           "text, jsonl, csv or tsv, whatever the names say", .choices = "text|jsonl|csv|tsv"),
    MU_OPT("--text-key", "KEY", MU_OPTION_WORDS, AT(text_keys),
           "the member of a JSON object that holds the text (text); several are put on lines of their own", ),
    MU_OPT("--column", "NAME", MU_OPTION_WORDS, AT(columns),
           "the column of a table that holds the text, or #3 in a table without names; several are put on "
           "lines of "
           "their own", ),
    MU_OPT("--delimiter", "C", MU_OPTION_TEXT, AT(delimiter),
           "between the columns (a comma; a tab in *.tsv); tab is a tab", ),
    MU_OPT("--template", "TEXT", MU_OPTION_TEXT, AT(template),
           "the text made of several members or columns, as '{user}\\n{agent}'", ),
    MU_OPT(
        "--chat", NULL, MU_OPTION_FLAG, AT(chat),
        "the inputs are JSON Lines of conversations: messages, conversations, or prompt and completion. The "
        "template of the tokenizer's files, or muster.chat_template, makes the text; attention will not "
        "cross a "
        "conversation's border", ),
    MU_OPT("--loss-on", "WHAT", MU_OPTION_TEXT, AT(loss_on),
           "with --chat: the tokens that count for the loss: those of the assistant (the default), of the "
           "completion, "
           "which is the last answer, or all",
           .choices = "assistant|completion|all"),
    MU_OPT("--max-document", "SIZE", MU_OPTION_SIZE, AT(max_document), "longest document (64M)", .min = 1,
           .max = 1 << 30),
    MU_OPT(" ", NULL, MU_OPTION_NOTE, 0, "What is left out or changed, each counted:", ),
    MU_OPT("--skip-bad", "N", MU_OPTION_INT, AT(reader.skip_bad),
           "leave out up to N records that hold no text (0: the first ends it)", .min = 0, .max = COUNT_MAX),
    MU_OPT("--drop-duplicates", NULL, MU_OPTION_FLAG, AT(reader.filter.drop_duplicates),
           "leave out documents whose text was there before", ),
    MU_OPT("--min-chars", "N", MU_OPTION_INT, AT(reader.filter.min_chars),
           "leave out documents of fewer characters", .min = 0, .max = COUNT_MAX),
    MU_OPT("--max-chars", "N", MU_OPTION_INT, AT(reader.filter.max_chars),
           "leave out documents of more characters", .min = 1, .max = COUNT_MAX),
    MU_OPT("--strip-control", NULL, MU_OPTION_FLAG, AT(reader.filter.strip_control),
           "take out control characters but tabs and line ends", ),
    MU_OPT("--strict", NULL, MU_OPTION_FLAG, AT(reader.strict),
           "invalid UTF-8 is an error; otherwise it becomes U+FFFD", ),
    MU_OPT(" ", NULL, MU_OPTION_NOTE, 0, "The data set:", ),
    MU_OPT("--split-by", "order|hash", MU_OPTION_TEXT, AT(split_by),
           "which part a document goes to: by its position (order), or by a digest of its text, so that it "
           "stays "
           "where it is "
           "when data is added",
           .choices = "order|hash"),
    MU_OPT("--force", NULL, MU_OPTION_FLAG, AT(force), "replace the data set that the output holds", ),
    MU_OPT("--threads", "N", MU_OPTION_INT, AT(threads), "threads that tokenize (all cores)", .min = 1,
           .max = THREADS_MAX),
    MU_OPT("--json", NULL, MU_OPTION_FLAG, AT(as_json), "the result as one JSON object", ),
    MU_OPT_END};

const mu_command_t mu_prepare_command = {
    .name = "prepare",
    .summary = "text into token shards",
    .about = "Turns text into token shards that 'muster run' reads. The config's vocab_file is the "
             "tokenizer, data_path "
             "the output, split the cut into train, valid and test by documents.",
    .options = options,
    .notes =
        "Each document is followed by the tokenizer's <|endoftext|> or --end. The same input gives the same "
        "shards, whatever "
        "the number of threads; the same command again finds them there and exits with 0.",
    .exits = "0; 2 bad command line; 65 input damaged; 66 input missing; 73 the output holds something else; "
             "74 it cannot "
             "be written; 78 config invalid",
    .is_override = mu_config_is_override,
    .is_operand = is_yaml};

static mu_status_t parse_delimiter(const char *value, char *out)
{
    *out = strcmp(value, "tab") == 0 || strcmp(value, "\\t") == 0 ? '\t' : value[0];
    if (*out != '\t' &&
        (strlen(value) != 1 || (unsigned char)*out < 0x20 || *out == 0x7F || *out == '"' || *out & 0x80))
        return mu_fail(MU_USAGE, "--delimiter '%s': wanted is one ASCII character that is no quote, or tab",
                       value);
    return MU_OK;
}

/* The words of --loss-on, in the order of mu_loss_on_t. */
static const char *const loss_words[] = {"assistant", "completion", "all"};

static mu_status_t check_chat(mu_prepare_options_t *o)
{
    const mu_reader_options_t *r = &o->reader;
    const struct {
        const char *name;
        bool given;
    } others[] = {{"--document", o->boundary},
                  {"--text-key", o->text_keys.count > 0},
                  {"--column", o->columns.count > 0},
                  {"--delimiter", o->delimiter},
                  {"--template", o->template},
                  {"--tag", o->tag},
                  {"--end", o->end},
                  {"--strip-control", r->filter.strip_control},
                  {"--format", o->format && r->format != MU_FORMAT_JSONL}};
    if (!o->chat)
        return o->loss_on ? mu_fail(MU_USAGE, "--loss-on belongs to --chat") : MU_OK;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i].given)
            return mu_fail(MU_USAGE, "--chat excludes %s: a conversation's text is made by its template",
                           others[i].name);
    while (o->loss_on && strcmp(loss_words[o->on], o->loss_on) != 0)
        o->on++;
    return MU_OK;
}

/* Values that are words of their own. */
static mu_status_t take_words(mu_prepare_options_t *o)
{
    mu_reader_options_t *r = &o->reader;
    const mu_words_t *const names[] = {&o->text_keys, &o->columns};
    if (o->boundary)
        mu_boundary_parse(o->boundary, &r->boundary);
    if (o->format)
        mu_text_format_parse(o->format, &r->format);
    if (o->delimiter)
        MU_TRY(parse_delimiter(o->delimiter, &r->delimiter));
    if (o->max_document > 0)
        r->max_record = o->max_document;
    o->by_digest = o->split_by && strcmp(o->split_by, "hash") == 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < names[k]->count; i++)
            if (!*names[k]->item[i] || i == MU_TEMPLATE_NAMES_MAX)
                return mu_fail(MU_USAGE, "--%s: wanted are up to %d names", k == 0 ? "text-key" : "column",
                               MU_TEMPLATE_NAMES_MAX);
    return MU_OK;
}

/* ---- what is given together ---- */

static mu_status_t parse_template(const char *text, mu_template_t *out)
{
    const char *why;
    size_t at;
    if (mu_template_parse(text, out, &why, &at))
        return MU_OK;
    return mu_fail(MU_USAGE, "--template '%s':%zu: %s", text, at + 1, why);
}

/* How texts are made of members and of columns: by their own options, else by the template. */
static mu_status_t choose_fields(mu_prepare_options_t *o)
{
    bool forced = o->reader.format == MU_FORMAT_CSV || o->reader.format == MU_FORMAT_TSV;
    if (o->template && o->text_keys.count > 0)
        return mu_fail(MU_USAGE,
                       "--template and --text-key: only one of them says what a JSON object's text is");
    if (o->template)
        MU_TRY(parse_template(o->template, &o->json));
    else if (o->text_keys.count > 0)
        mu_template_join(o->text_keys.item, o->text_keys.count, &o->json);
    if (o->columns.count > 0)
        mu_template_join(o->columns.item, o->columns.count, &o->table);
    else if (o->template)
        MU_TRY(parse_template(o->template, &o->table));
    o->reader.json = o->json.part_count > 0 ? &o->json : NULL;
    o->reader.table = o->table.part_count > 0 ? &o->table : NULL;
    if (!o->reader.table && (forced || o->reader.delimiter))
        return mu_fail(MU_USAGE, "a table needs --column NAME, which names the column that holds the text");
    return MU_OK;
}

static mu_status_t check(mu_prepare_options_t *o)
{
    const mu_filter_options_t *f = &o->reader.filter;
    if (o->inputs.count == 0)
        return mu_fail(MU_USAGE, "prepare: no --input given: name files or directories, or - for stdin");
    if (f->max_chars > 0 && f->max_chars < f->min_chars)
        return mu_fail(MU_USAGE, "--max-chars %lld is less than --min-chars %lld", (long long)f->max_chars,
                       (long long)f->min_chars);
    MU_TRY(check_chat(o));
    o->reader.filter.digest = o->by_digest;
    o->reader.chat_all = o->on == MU_LOSS_ON_ALL;
    return choose_fields(o);
}

mu_status_t mu_prepare_parse(int argc, char **argv, mu_prepare_options_t *o, bool *help)
{
    *o = (mu_prepare_options_t){.reader = MU_READER_DEFAULTS, .threads = all_cores()};
    MU_TRY(mu_options_parse(&mu_prepare_command, argc, argv, o, NULL, help));
    if (*help)
        return MU_OK;
    MU_TRY(take_words(o));
    return check(o);
}

void mu_prepare_options_free(mu_prepare_options_t *o)
{
    mu_template_release(&o->json);
    mu_template_release(&o->table);
    mu_options_release(&mu_prepare_command, o);
    free(o->tags);
}

static void set_words(json_t *json, const char *key, const mu_words_t *words)
{
    json_t *list = json_array();
    for (int i = 0; i < words->count; i++)
        json_array_append_new(list, json_string(words->item[i]));
    if (words->count > 0)
        json_object_set(json, key, list);
    json_decref(list);
}

json_t *mu_prepare_options_json(const mu_prepare_options_t *o)
{
    const mu_reader_options_t *r = &o->reader;
    json_t *json =
        json_pack("{s:s, s:I, s:b, s:I, s:b, s:b, s:I, s:I, s:s}", "document", mu_boundary_name(r->boundary),
                  "max_document", (json_int_t)r->max_record, "strict", r->strict, "skip_bad",
                  (json_int_t)r->skip_bad, "strip_control", r->filter.strip_control, "drop_duplicates",
                  r->filter.drop_duplicates, "min_chars", (json_int_t)r->filter.min_chars, "max_chars",
                  (json_int_t)r->filter.max_chars, "split_by", o->by_digest ? "hash" : "order");
    set_words(json, "text_keys", &o->text_keys);
    set_words(json, "columns", &o->columns);
    if (o->template)
        json_object_set_new(json, "template", json_string(o->template));
    if (o->end)
        json_object_set_new(json, "end", json_string(o->end));
    if (o->chat)
        json_object_set_new(json, "loss_on", json_string(loss_words[o->on]));
    if (r->delimiter)
        json_object_set_new(json, "delimiter", json_stringn(&r->delimiter, 1));
    return json;
}
