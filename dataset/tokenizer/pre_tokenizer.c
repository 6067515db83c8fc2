/* Reading pre-tokenizers. */
#include "dataset/tokenizer/pre_tokenizer.h"
#include "dataset/tokenizer/utf8.h"
#include "common/log.h"

static mu_status_t read_behavior(const mu_part_t *part, mu_behavior_t *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    const char *name;
    MU_TRY(mu_part_text(part, "behavior", &name));
    for (int i = 0; i < 5; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (mu_behavior_t)i;
            return MU_OK;
        }
    return mu_part_refuse(part, name, "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

/* A known pattern cuts all of the text into matches: then these are the words, whether isolated or all that is left. */
static void find_words(mu_stage_t *stage)
{
    bool all = stage->behavior == MU_ISOLATED || (stage->behavior == MU_REMOVED && stage->invert);
    if (!all || !mu_pattern_is_regex(stage->pattern))
        return;
    stage->words = mu_words_of_regex(mu_pattern_text(stage->pattern));
    if (stage->words != MU_WORDS_NONE)
        stage->kind = MU_STAGE_WORDS;
}

static mu_status_t read_split(const mu_part_t *part, mu_stage_t *stage)
{
    mu_part_t pattern;
    stage->kind = MU_STAGE_SPLIT;
    MU_TRY(mu_part_keys(part, (const char *const[]){"pattern", "behavior", "invert", NULL}));
    MU_TRY(read_behavior(part, &stage->behavior));
    MU_TRY(mu_part_bool(part, "invert", &stage->invert));
    if (!mu_part_member(part, "pattern", &pattern))
        return mu_fail(MU_DATA, "%s: %s: without 'pattern'", part->file, part->where);
    MU_TRY(mu_pattern_read(&pattern, &stage->pattern));
    find_words(stage);
    return MU_OK;
}

static mu_status_t read_byte_level(const mu_part_t *part, mu_stage_t *stage)
{
    bool words = true; /* the library's defaults */
    stage->kind = MU_STAGE_BYTE_LEVEL;
    stage->prefix_space = true;
    MU_TRY(mu_part_keys(part, (const char *const[]){"add_prefix_space", "trim_offsets", "use_regex", NULL}));
    MU_TRY(mu_part_bool(part, "add_prefix_space", &stage->prefix_space));
    MU_TRY(mu_part_bool(part, "use_regex", &words));
    stage->words = words ? MU_WORDS_GPT2 : MU_WORDS_NONE;
    return MU_OK;
}

static mu_status_t read_digits(const mu_part_t *part, mu_stage_t *stage)
{
    bool individual = false;
    stage->kind = MU_STAGE_DIGITS;
    MU_TRY(mu_part_keys(part, (const char *const[]){"individual_digits", NULL}));
    MU_TRY(mu_part_bool(part, "individual_digits", &individual));
    stage->behavior = individual ? MU_ISOLATED : MU_CONTIGUOUS;
    return MU_OK;
}

static mu_status_t read_punctuation(const mu_part_t *part, mu_stage_t *stage)
{
    stage->kind = MU_STAGE_PUNCTUATION;
    stage->behavior = MU_ISOLATED;
    MU_TRY(mu_part_keys(part, (const char *const[]){"behavior", NULL}));
    return json_object_get(part->json, "behavior") ? read_behavior(part, &stage->behavior) : MU_OK;
}

mu_status_t mu_metaspace_read(const mu_part_t *part, char replacement[MU_REPLACEMENT_BYTES],
                              mu_prepend_t *prepend)
{
    static const char *const names[] = {"always", "first", "never"};
    const char *text;
    bool prefix = true;
    MU_TRY(mu_part_text(part, "replacement", &text));
    const unsigned char *p = (const unsigned char *)text;
    if (text[0] == '\0' || (mu_utf8_next(&p), *p != '\0'))
        return mu_fail(MU_DATA, "%s: %s.replacement: wanted one character", part->file, part->where);
    snprintf(replacement, MU_REPLACEMENT_BYTES, "%s", text);
    MU_TRY(mu_part_bool(part, "add_prefix_space", &prefix));
    *prepend = prefix ? MU_PREPEND_ALWAYS : MU_PREPEND_NEVER;
    mu_part_t scheme;
    if (!mu_part_member(part, "prepend_scheme", &scheme))
        return MU_OK;
    MU_TRY(mu_part_text(part, "prepend_scheme", &text));
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            if (!prefix && i != MU_PREPEND_NEVER)
                break;
            *prepend = (mu_prepend_t)i;
            return MU_OK;
        }
    return mu_part_refuse(&scheme, text,
                          prefix ? "always, first, never" : "never, as add_prefix_space is false");
}

static mu_status_t read_metaspace(const mu_part_t *part, mu_stage_t *stage)
{
    stage->kind = MU_STAGE_METASPACE;
    stage->behavior = MU_MERGED_WITH_NEXT;
    stage->split = true;
    MU_TRY(mu_part_keys(part, (const char *const[]){"replacement", "str_rep", "add_prefix_space",
                                                    "prepend_scheme", "split", NULL}));
    MU_TRY(mu_metaspace_read(part, stage->replacement, &stage->prepend));
    return mu_part_bool(part, "split", &stage->split);
}

static mu_status_t read_stage(void *arg, const mu_part_t *part)
{
    mu_pre_tokenizer_t *pre = arg;
    const char *type = mu_part_type(part);
    if (pre->count == MU_PRE_TOKENIZER_STAGES)
        return mu_fail(MU_DATA, "%s: %s: more than %d pre-tokenizers", part->file, part->where,
                       MU_PRE_TOKENIZER_STAGES);
    if (pre->byte_level)
        return mu_part_refuse(part, type, "nothing after ByteLevel");
    mu_stage_t *stage = &pre->stage[pre->count++];
    pre->byte_level = strcmp(type, "ByteLevel") == 0;
    if (pre->byte_level)
        return read_byte_level(part, stage);
    if (strcmp(type, "Split") == 0)
        return read_split(part, stage);
    if (strcmp(type, "Digits") == 0)
        return read_digits(part, stage);
    if (strcmp(type, "Punctuation") == 0)
        return read_punctuation(part, stage);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(part, stage);
    stage->behavior = MU_REMOVED;
    stage->kind = strcmp(type, "Whitespace") == 0 ? MU_STAGE_WORD_RUNS : MU_STAGE_SPACES;
    if (stage->kind == MU_STAGE_WORD_RUNS || strcmp(type, "WhitespaceSplit") == 0)
        return mu_part_keys(part, (const char *const[]){NULL});
    return mu_part_refuse(part, type,
                          "ByteLevel, Split, Digits, Whitespace, WhitespaceSplit, Punctuation, Metaspace");
}

mu_status_t mu_pre_tokenizer_read(const mu_part_t *root, mu_pre_tokenizer_t *out)
{
    return mu_part_each(root, "pre_tokenizer", "pretokenizers", read_stage, out);
}

void mu_pre_tokenizer_release(mu_pre_tokenizer_t *pre)
{
    for (int i = 0; i < pre->count; i++)
        mu_pattern_free(pre->stage[i].pattern);
    *pre = (mu_pre_tokenizer_t){.count = 0};
}

void mu_pre_tokenizer_describe(const mu_pre_tokenizer_t *pre, mu_buf_t *out)
{
    for (int i = 0; i < pre->count; i++) {
        const mu_stage_t *s = &pre->stage[i];
        mu_buf_addf(out, "pre_tokenizer %d behavior=%d invert=%d words=%d prefix=%d meta=%d%d%s", s->kind,
                    s->behavior, s->invert, s->words, s->prefix_space, s->prepend, s->split, s->replacement);
        if (s->pattern)
            mu_buf_addf(out, " regex=%d:%zu:%s", mu_pattern_is_regex(s->pattern),
                        strlen(mu_pattern_text(s->pattern)), mu_pattern_text(s->pattern));
        mu_buf_addc(out, '\n');
    }
}
