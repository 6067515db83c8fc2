#include "launcher/cmd/prepare_options.h"
#include "common/buf.h"
#include "common/config/config.h"
#include "common/log.h"
#include "common/num.h"

#include <getopt.h>
#include <sched.h>

enum { THREADS_MAX = 256 };

const char mu_prepare_usage[] =
    "usage: muster prepare CONFIG... [--tag TOKEN] --input PATH... [--output DIR] [options] [key=value...]\n"
    "\n"
    "Turns text into token shards that 'muster run' reads. The config's vocab_file is the tokenizer, "
    "data_path\n"
    "the output, split the cut into train, valid and test by documents.\n"
    "\n"
    "  --input PATH...        files, directories, or - for stdin. Plain, gzip, dictzip, zstd, xz, bzip2 or "
    "lz4, and tar\n"
    "                         and zip archives of such files. *.jsonl holds one JSON object a line, *.csv "
    "and *.tsv\n"
    "                         a table where --column is given, everything else is text\n"
    "  --tag TOKEN            puts this token before each document of the inputs that follow; '' ends that\n"
    "  --end TOKEN            puts this token after each document instead of <|endoftext|>, as '</s>'\n"
    "  --output DIR           instead of data_path\n"
    "  --special NAME         adds a special token, as '<|quest|>', after the tokenizer's ids\n"
    "\n"
    "What a document is:\n"
    "  --document BOUNDARY    where a document of a text ends: blank (a blank line, the default), line, file "
    "(the\n"
    "                         default for what lies in an archive)\n"
    "  --format FORMAT        text, jsonl, csv or tsv, whatever the names say\n"
    "  --text-key KEY         the member of a JSON object that holds the text (text); several are put on "
    "lines of\n"
    "                         their own\n"
    "  --column NAME          the column of a table that holds the text, or #3 in a table without names; "
    "several are\n"
    "                         put on lines of their own\n"
    "  --delimiter C          between the columns (a comma; a tab in *.tsv); tab is a tab\n"
    "  --template TEXT        the text made of several members or columns, as '{user}\\n{agent}'\n"
    "  --max-document SIZE    longest document (64M)\n"
    "\n"
    "What is left out or changed, each counted:\n"
    "  --skip-bad N           leave out up to N records that hold no text (0: the first ends it)\n"
    "  --drop-duplicates      leave out documents whose text was there before\n"
    "  --min-chars N          leave out documents of fewer characters\n"
    "  --max-chars N          leave out documents of more characters\n"
    "  --strip-control        take out control characters but tabs and line ends\n"
    "  --strict               invalid UTF-8 is an error; otherwise it becomes U+FFFD\n"
    "\n"
    "  --split-by order|hash  which part a document goes to: by its position (order), or by a digest of its "
    "text, so\n"
    "                         that it stays where it is when data is added\n"
    "  --force                replace the data set that the output holds\n"
    "  --threads N            threads that tokenize (all cores)\n"
    "  --json                 the result as one JSON object\n"
    "\n"
    "Each document is followed by the tokenizer's <|endoftext|> or --end. The same input gives the same "
    "shards, "
    "whatever the\n"
    "number of threads; the same command again finds them there and exits with 0.\n";

static void push(mu_words_t *list, char *item)
{
    list->item = mu_realloc(list->item, (size_t)(list->count + 1) * sizeof *list->item);
    list->item[list->count++] = item;
}

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

static void add_input(mu_prepare_options_t *o, char *path, const char *tag)
{
    o->tags = mu_realloc(o->tags, (size_t)(o->inputs.count + 1) * sizeof *o->tags);
    o->tags[o->inputs.count] = tag;
    push(&o->inputs, path);
}

/* Words without a dash: after --input they are inputs too, unless they are key=value or a YAML file. */
static void parse_word(mu_prepare_options_t *o, char *word, bool after_input, const char *tag)
{
    if (mu_config_is_override(word))
        push(&o->overrides, word);
    else if (after_input && !is_yaml(word))
        add_input(o, word, tag);
    else
        push(&o->configs, word);
}

static mu_status_t parse_count(const char *option, const char *value, int64_t least, int64_t most,
                               int64_t *out)
{
    if (mu_parse_i64(value, out) && *out >= least && *out <= most)
        return MU_OK;
    if (most == INT64_MAX)
        return mu_fail(MU_USAGE, "--%s %s: wanted is a number from %lld", option, value, (long long)least);
    return mu_fail(MU_USAGE, "--%s %s: wanted is a number from %lld to %lld", option, value, (long long)least,
                   (long long)most);
}

static mu_status_t parse_delimiter(const char *value, char *out)
{
    *out = strcmp(value, "tab") == 0 || strcmp(value, "\\t") == 0 ? '\t' : value[0];
    if (*out != '\t' &&
        (strlen(value) != 1 || (unsigned char)*out < 0x20 || *out == 0x7F || *out == '"' || *out & 0x80))
        return mu_fail(MU_USAGE, "--delimiter '%s': wanted is one ASCII character that is no quote, or tab",
                       value);
    return MU_OK;
}

static mu_status_t parse_words(mu_words_t *list, const char *option, char *value)
{
    if (!*value || list->count == MU_TEMPLATE_NAMES_MAX)
        return mu_fail(MU_USAGE, "--%s: wanted are up to %d names", option, MU_TEMPLATE_NAMES_MAX);
    push(list, value);
    return MU_OK;
}

static mu_status_t parse_size(const char *value, size_t *out)
{
    uint64_t size;
    if (!mu_parse_size(value, &size) || size < 1 || size > (uint64_t)1 << 30)
        return mu_fail(MU_USAGE, "--max-document %s: wanted a size up to 1G, as 256M", value);
    *out = size;
    return MU_OK;
}

static mu_status_t parse_split_by(const char *value, bool *by_digest)
{
    *by_digest = strcmp(value, "hash") == 0;
    return *by_digest || strcmp(value, "order") == 0
               ? MU_OK
               : mu_fail(MU_USAGE, "--split-by %s: wanted is order or hash", value);
}

static mu_status_t parse_value(mu_prepare_options_t *o, int option, char *value)
{
    mu_reader_options_t *r = &o->reader;
    int64_t n = 0;
    mu_status_t status = MU_OK;
    switch (option) {
    case 'o':
        o->output = value;
        return MU_OK;
    case 'S':
        push(&o->specials, value);
        return MU_OK;
    case 'd':
        return mu_boundary_parse(value, &r->boundary)
                   ? MU_OK
                   : mu_fail(MU_USAGE, "--document %s: wanted blank, line or file", value);
    case 'f':
        return mu_text_format_parse(value, &r->format)
                   ? MU_OK
                   : mu_fail(MU_USAGE, "--format %s: wanted text, jsonl, csv or tsv", value);
    case 'k':
        return parse_words(&o->text_keys, "text-key", value);
    case 'c':
        return parse_words(&o->columns, "column", value);
    case 'D':
        return parse_delimiter(value, &r->delimiter);
    case 'T':
        o->template = value;
        return MU_OK;
    case 'e':
        o->end = value;
        return MU_OK;
    case 'm':
        return parse_size(value, &r->max_record);
    case 'b':
        return parse_count("skip-bad", value, 0, INT64_MAX, &r->skip_bad);
    case 'l':
        return parse_count("min-chars", value, 0, INT64_MAX, &r->filter.min_chars);
    case 'L':
        return parse_count("max-chars", value, 1, INT64_MAX, &r->filter.max_chars);
    case 'p':
        return parse_split_by(value, &o->by_digest);
    default: /* 't' */
        status = parse_count("threads", value, 1, THREADS_MAX, &n);
        o->threads = (int)n;
        return status;
    }
}

/* Those without a value; false: it has one. */
static bool parse_flag(mu_prepare_options_t *o, int option)
{
    switch (option) {
    case 's':
        return o->reader.strict = true;
    case 'F':
        return o->force = true;
    case 'j':
        return o->as_json = true;
    case 'h':
        return o->help = true;
    case 'u':
        return o->reader.filter.drop_duplicates = true;
    case 'C':
        return o->reader.filter.strip_control = true;
    default:
        return false;
    }
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
    if (o->configs.count == 0)
        return mu_fail(MU_USAGE, "prepare: no CONFIG given: see muster prepare --help");
    if (o->inputs.count == 0)
        return mu_fail(MU_USAGE, "prepare: no --input given: name files or directories, or - for stdin");
    if (f->max_chars > 0 && f->max_chars < f->min_chars)
        return mu_fail(MU_USAGE, "--max-chars %lld is less than --min-chars %lld", (long long)f->max_chars,
                       (long long)f->min_chars);
    o->reader.filter.digest = o->by_digest;
    return choose_fields(o);
}

mu_status_t mu_prepare_parse(int argc, char **argv, mu_prepare_options_t *o)
{
    static const struct option known[] = {{"input", required_argument, NULL, 'i'},
                                          {"output", required_argument, NULL, 'o'},
                                          {"document", required_argument, NULL, 'd'},
                                          {"format", required_argument, NULL, 'f'},
                                          {"text-key", required_argument, NULL, 'k'},
                                          {"max-document", required_argument, NULL, 'm'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"skip-bad", required_argument, NULL, 'b'},
                                          {"strict", no_argument, NULL, 's'},
                                          {"force", no_argument, NULL, 'F'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"special", required_argument, NULL, 'S'},
                                          {"column", required_argument, NULL, 'c'},
                                          {"delimiter", required_argument, NULL, 'D'},
                                          {"template", required_argument, NULL, 'T'},
                                          {"tag", required_argument, NULL, 'g'},
                                          {"end", required_argument, NULL, 'e'},
                                          {"split-by", required_argument, NULL, 'p'},
                                          {"drop-duplicates", no_argument, NULL, 'u'},
                                          {"strip-control", no_argument, NULL, 'C'},
                                          {"min-chars", required_argument, NULL, 'l'},
                                          {"max-chars", required_argument, NULL, 'L'},
                                          {NULL, 0, NULL, 0}};
    const char *tag = NULL;
    bool after_input = false;
    *o = (mu_prepare_options_t){.reader = MU_READER_DEFAULTS, .threads = all_cores()};
    optind = 0; /* glibc: start anew */
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "-:h", known, NULL)) !=
                -1;) { /* '-': words come in their place, as 1 */
        if (c == 1) {
            parse_word(o, optarg, after_input, tag);
            continue;
        }
        after_input = c == 'i';
        if (c == '?' || c == ':')
            return mu_fail(MU_USAGE, "%s %s: muster prepare --help lists the options",
                           c == '?' ? "unknown option" : "no value after", argv[optind - 1]);
        if (c == 'i')
            add_input(o, optarg, tag);
        else if (c == 'g')
            tag = *optarg ? optarg : NULL;
        else if (!parse_flag(o, c))
            MU_TRY(parse_value(o, c, optarg));
    }
    while (optind < argc) /* after "--" */
        parse_word(o, argv[optind++], after_input, tag);
    return o->help ? MU_OK : check(o);
}

void mu_prepare_options_free(mu_prepare_options_t *o)
{
    mu_template_release(&o->json);
    mu_template_release(&o->table);
    free(o->configs.item);
    free(o->inputs.item);
    free(o->overrides.item);
    free(o->specials.item);
    free(o->text_keys.item);
    free(o->columns.item);
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
    if (r->delimiter)
        json_object_set_new(json, "delimiter", json_stringn(&r->delimiter, 1));
    return json;
}
