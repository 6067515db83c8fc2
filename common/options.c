#include "common/options.h"
#include "common/log.h"
#include "common/num.h"
#include "common/words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void mu_words_add(mu_words_t *words, char *word)
{
    words->item = mu_realloc(words->item, (size_t)(words->count + 2) * sizeof *words->item);
    words->item[words->count++] = word;
    words->item[words->count] = NULL;
}

void mu_words_free(mu_words_t *words)
{
    free(words->item);
    *words = (mu_words_t){0};
}

enum { ROWS = 64 }; /* of a table, at most */

/* What people type who come from mpirun, srun, torchrun, DeepSpeed and preprocess_data.py, an option of the commands
 * where it is meant, and what says it here. */
static const struct {
    const char *word, *option, *ours;
} foreign[] = {
    {"-np", "--workers", "--workers N"},
    {"-n", "--workers", "--workers N"},
    {"--np", "--workers", "--workers N"},
    {"--ntasks", "--workers", "--workers N"},
    {"--nproc", "--workers", "--workers N"},
    {"--num_gpus", "--workers", "--workers N"},
    {"--num-gpus", "--workers", "--workers N"},
    {"--nproc_per_node", "--hosts", "--hosts HOST:SLOTS,..."},
    {"--nproc-per-node", "--hosts", "--hosts HOST:SLOTS,..."},
    {"-H", "--hosts", "--hosts HOST:SLOTS,..."},
    {"-w", "--hosts", "--hosts HOST:SLOTS,..."},
    {"-host", "--hosts", "--hosts HOST:SLOTS,..."},
    {"--host", "--hosts", "--hosts HOST:SLOTS,..."},
    {"--nodelist", "--hosts", "--hosts HOST:SLOTS,..."},
    {"--include", "--hosts", "--hosts HOST:SLOTS,..."},
    {"-N", "--hosts", "--hosts HOST:SLOTS,... or --hostfile FILE"},
    {"--nodes", "--hosts", "--hosts HOST:SLOTS,... or --hostfile FILE"},
    {"--num_nodes", "--hosts", "--hosts HOST:SLOTS,... or --hostfile FILE"},
    {"--num-nodes", "--hosts", "--hosts HOST:SLOTS,... or --hostfile FILE"},
    {"--nnodes", "--hosts", "--hosts HOST:SLOTS,... or --hostfile FILE"},
    {"-hostfile", "--hostfile", "--hostfile FILE"},
    {"-machinefile", "--hostfile", "--hostfile FILE"},
    {"--machinefile", "--hostfile", "--hostfile FILE"},
    {"-f", "--hostfile", "--hostfile FILE"},
    {"--output-prefix", "--text-key", "--output DIR"},
    {"--jsonl-keys", "--text-key", "--text-key KEY"},
    {"--json-keys", "--text-key", "--text-key KEY"},
    {"--append-eod", "--text-key", "always so: --end TOKEN, or <|endoftext|>, follows each document"},
    {"--vocab-file", "--text-key", "vocab_file=FILE, after the configuration"},
    {"--merge-file", "--text-key", "merge_file=FILE, after the configuration"},
};

static const mu_option_t *find(const mu_command_t *command, const char *word, size_t n)
{
    for (const mu_option_t *o = command->options; o->name; o++)
        if (o->name[0] == '-' && strlen(o->name) == n && memcmp(o->name, word, n) == 0)
            return o;
    return NULL;
}

static const mu_option_t *of_type(const mu_command_t *command, mu_option_type_t type)
{
    const mu_option_t *o = command->options;
    while (o->name && o->type != type)
        o++;
    return o->name ? o : NULL;
}

static mu_status_t unknown(const mu_command_t *command, const char *word)
{
    enum { KNOWN = 64 };
    const char *known[KNOWN + 1], *name = command->name;
    char typed[64];
    int count = 0;
    size_t n = strcspn(word, "=");
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (strlen(foreign[i].word) == n && memcmp(word, foreign[i].word, n) == 0 &&
            find(command, foreign[i].option, strlen(foreign[i].option)))
            return mu_fail(MU_USAGE, "%s: no option '%s': here it is %s; see muster %s --help", name, word,
                           foreign[i].ours, name);
    for (const mu_option_t *o = command->options; o->name && count < KNOWN; o++)
        if (o->name[0] == '-' && o->help)
            known[count++] = o->name + 2; /* dashes are no likeness */
    known[count] = NULL;
    size_t dashes = strspn(word, "-");
    snprintf(typed, sizeof typed, "%.*s", (int)(n > dashes ? n - dashes : 0), word + dashes);
    const char *near = mu_nearest_word(typed, known);
    return near ? mu_fail(MU_USAGE, "%s: no option '%s': did you mean --%s? see muster %s --help", name, word,
                          near, name)
                : mu_fail(MU_USAGE, "%s: no option '%s': see muster %s --help", name, word, name);
}

static bool is_choice(const mu_option_t *o)
{
    return o->choices && strcmp(o->choices, "FILE") != 0 && strcmp(o->choices, "DIR") != 0;
}

static bool among(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *p = choices; *p; p += strcspn(p, "|"), p += *p == '|')
        if (strcspn(p, "|") == n && memcmp(p, value, n) == 0)
            return true;
    return false;
}

static mu_status_t take_number(const mu_command_t *command, const mu_option_t *o, const char *value, void *at)
{
    uint64_t size;
    int64_t whole;
    double real;
    if (o->type == MU_OPTION_INT && mu_parse_i64(value, &whole) && (double)whole >= o->min &&
        (double)whole <= o->max)
        *(int64_t *)at = whole;
    else if (o->type == MU_OPTION_F64 && mu_parse_f64(value, &real) && real >= o->min && real <= o->max)
        *(double *)at = real;
    else if (o->type == MU_OPTION_SIZE && mu_parse_size(value, &size) && (double)size >= o->min &&
             (double)size <= o->max)
        *(uint64_t *)at = size;
    else
        return mu_fail(MU_USAGE, "%s: %s '%s': wanted a %s from %.15g to %.15g", command->name, o->name,
                       value,
                       o->type == MU_OPTION_INT    ? "whole number"
                       : o->type == MU_OPTION_SIZE ? "size as 64M or 24GiB"
                                                   : "number",
                       o->min, o->max);
    return MU_OK;
}

static mu_status_t take(const mu_command_t *command, const mu_option_t *o, char *value, void *out)
{
    void *at = (char *)out + o->offset;
    if (o->take)
        return o->take(out, value);
    if (is_choice(o) && !among(o->choices, value))
        return mu_fail(MU_USAGE, "%s: %s '%s': wanted one of %s", command->name, o->name, value, o->choices);
    switch (o->type) {
    case MU_OPTION_FLAG:
        *(bool *)at = true;
        return MU_OK;
    case MU_OPTION_TEXT:
        *(const char **)at = value;
        return MU_OK;
    case MU_OPTION_WORDS:
    case MU_OPTION_MANY:
        mu_words_add(at, value);
        return MU_OK;
    default:
        return take_number(command, o, value, at);
    }
}

/* A word that is no option. many: the list option right before it; NULL: none. */
static mu_status_t take_word(const mu_command_t *command, const mu_option_t *many, char *word, void *out)
{
    const mu_option_t *operands = of_type(command, MU_OPTION_OPERANDS),
                      *overrides = of_type(command, MU_OPTION_OVERRIDES), *into = operands;
    if (overrides && command->is_override(word))
        into = overrides;
    else if (many && !(command->is_operand && command->is_operand(word)))
        return take(command, many, word, out);
    if (!into)
        return mu_fail(MU_USAGE, "%s: '%s' is not expected: see muster %s --help", command->name, word,
                       command->name);
    mu_words_t *words = (mu_words_t *)((char *)out + into->offset);
    if (into == operands && into->most > 0 && words->count == into->most)
        return mu_fail(MU_USAGE, "%s: %d %s at most: '%s' is one too many: see muster %s --help",
                       command->name, into->most, into->name, word, command->name);
    mu_words_add(words, word);
    return MU_OK;
}

static mu_status_t check_required(const mu_command_t *command, const bool *given, void *out)
{
    for (int i = 0; command->options[i].name; i++) {
        const mu_option_t *o = &command->options[i];
        bool there =
            o->type == MU_OPTION_OPERANDS ? ((mu_words_t *)((char *)out + o->offset))->count > 0 : given[i];
        if (o->required && !there)
            return mu_fail(MU_USAGE, "%s: %s is missing: see muster %s --help", command->name, o->name,
                           command->name);
    }
    return MU_OK;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static void print_help(const mu_command_t *command)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_options_help(command, &text);
    fwrite(text.data, 1, text.len, stdout); /* that it reached stdout is checked at the end of main */
    mu_buf_release(&text);
}

mu_status_t mu_options_parse(const mu_command_t *command, int argc, char **argv, void *out,
                             mu_args_t *forward, bool *help)
{
    bool given[ROWS] = {false}, options = true;
    const mu_option_t *many = NULL;
    *help = wants_help(argc, argv);
    if (*help) {
        print_help(command);
        return MU_OK;
    }
    for (int i = 1; i < argc; i++) {
        char *word = argv[i], *value = NULL;
        if (options && strcmp(word, "--") == 0) {
            options = false;
            continue;
        }
        if (!options || word[0] != '-' || !word[1]) {
            MU_TRY(take_word(command, many, word, out));
            continue;
        }
        size_t n = strcspn(word, "=");
        const mu_option_t *o = find(command, word, n);
        if (!o)
            return unknown(command, word);
        if (o->type == MU_OPTION_FLAG && word[n])
            return mu_fail(MU_USAGE, "%s: %s takes no value, not '%s'", command->name, o->name, word + n + 1);
        if (o->type != MU_OPTION_FLAG)
            value = word[n] ? word + n + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (o->type != MU_OPTION_FLAG && !value)
            return mu_fail(MU_USAGE, "%s: %s needs a value: see muster %s --help", command->name, o->name,
                           command->name);
        MU_TRY(take(command, o, value, out));
        if (forward && !o->launcher && value)
            mu_args_addf(forward, "%s=%s", o->name, value);
        else if (forward && !o->launcher)
            mu_args_add(forward, o->name);
        many = o->type == MU_OPTION_MANY ? o : NULL;
        given[o - command->options] = true;
    }
    return check_required(command, given, out);
}

mu_status_t mu_options_parse_worker(const mu_command_t *command, int argc, char **argv, void *out, bool *help)
{
    mu_option_t rows[ROWS] = {{0}};
    mu_command_t mine = *command;
    int n = 0;
    for (const mu_option_t *o = command->options; o->name && n < ROWS - 1; o++)
        if (!o->launcher)
            rows[n++] = *o;
    mine.options = rows;
    return mu_options_parse(&mine, argc, argv, out, NULL, help);
}

void mu_options_release(const mu_command_t *command, void *out)
{
    for (const mu_option_t *o = command->options; o->name; o++)
        if (o->type == MU_OPTION_WORDS || o->type == MU_OPTION_MANY || o->type == MU_OPTION_OPERANDS ||
            o->type == MU_OPTION_OVERRIDES)
            mu_words_free((mu_words_t *)((char *)out + o->offset));
}
