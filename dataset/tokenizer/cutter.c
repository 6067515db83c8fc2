/* Cutting text by pre-tokenizers: each stage hands its pieces to the next, the last one hands out words. */
#include "dataset/tokenizer/pre_tokenizer.h"

void mu_cutter_init(const mu_pre_tokenizer_t *pre, const mu_unicode_t *unicode, mu_word_fn word, void *arg,
                    mu_cutter_t *out)
{
    *out = (mu_cutter_t){.pre = pre, .unicode = unicode, .word = word, .arg = arg};
    for (int i = 0; i < pre->count; i++)
        if (pre->stage[i].kind == MU_STAGE_SPLIT)
            out->finder[i] = mu_finder_new(pre->stage[i].pattern);
}

void mu_cutter_release(mu_cutter_t *cutter)
{
    for (int i = 0; i < MU_PRE_TOKENIZER_STAGES; i++) {
        mu_finder_free(cutter->finder[i]);
        mu_buf_release(&cutter->text[i]);
    }
}

/* A piece of text on its way through the stages. */
typedef struct piece {
    const char *text;
    size_t n;
    bool first; /* it begins the document */
} piece_t;

static void run(mu_cutter_t *c, int stage, piece_t piece);

/* Joins matches and what lies between them as the behavior says, and hands the pieces on. */
typedef struct joiner {
    mu_cutter_t *cutter;
    int stage;
    const piece_t *piece;
    size_t start, end; /* held back: a piece that may grow */
    bool held, was_match;
} joiner_t;

static void hand_on(joiner_t *j, size_t start, size_t end)
{
    if (end > start)
        run(j->cutter, j->stage + 1,
            (piece_t){j->piece->text + start, end - start, j->piece->first && start == 0});
}

static void flush(joiner_t *j)
{
    if (j->held)
        hand_on(j, j->start, j->end);
    j->held = false;
}

static void hold(joiner_t *j, size_t start, size_t end, bool grow)
{
    if (grow && j->held) {
        j->end = end;
        return;
    }
    flush(j);
    j->start = start;
    j->end = end;
    j->held = true;
}

static void take_span(joiner_t *j, size_t start, size_t end, bool match)
{
    const mu_stage_t *stage = &j->cutter->pre->stage[j->stage];
    match = match != stage->invert;
    switch (stage->behavior) {
    case MU_REMOVED:
        if (!match)
            hand_on(j, start, end);
        break;
    case MU_ISOLATED:
        hand_on(j, start, end);
        break;
    case MU_MERGED_WITH_PREVIOUS:
        hold(j, start, end, match && !j->was_match);
        break;
    case MU_MERGED_WITH_NEXT: /* a match waits for a piece that is none */
        hold(j, start, end, !match && j->was_match);
        if (!match)
            flush(j);
        break;
    case MU_CONTIGUOUS:
        hold(j, start, end, match == j->was_match);
        break;
    }
    j->was_match = match;
}

static void cut_pattern(mu_cutter_t *c, int i, const piece_t *piece)
{
    joiner_t joiner = {.cutter = c, .stage = i, .piece = piece};
    mu_found_t found = {0};
    size_t done = 0;
    while (c->status == MU_OK && mu_finder_next(c->finder[i], piece->text, piece->n, &found, &c->status)) {
        if (found.start > done)
            take_span(&joiner, done, found.start, false);
        take_span(&joiner, found.start, found.end, true);
        done = found.end;
    }
    if (c->status == MU_OK && done < piece->n)
        take_span(&joiner, done, piece->n, false);
    flush(&joiner);
}

static bool is_match(const mu_stage_t *stage, uint8_t flags)
{
    if (stage->kind == MU_STAGE_PUNCTUATION)
        return flags & MU_CHAR_PUNCTUATION;
    return (flags & MU_CHAR_CLASS) == (stage->kind == MU_STAGE_DIGITS ? MU_CHAR_NUMBER : MU_CHAR_SPACE);
}

/* Stages that look at one character at a time. */
static void cut_characters(mu_cutter_t *c, int i, const piece_t *piece)
{
    joiner_t joiner = {.cutter = c, .stage = i, .piece = piece};
    const unsigned char *begin = (const unsigned char *)piece->text, *p = begin, *end = p + piece->n,
                        *done = p;
    while (p < end) {
        const unsigned char *at = p;
        if (!is_match(&c->pre->stage[i], mu_unicode_flags(c->unicode, mu_utf8_next(&p))))
            continue;
        if (at > done)
            take_span(&joiner, (size_t)(done - begin), (size_t)(at - begin), false);
        take_span(&joiner, (size_t)(at - begin), (size_t)(p - begin), true);
        done = p;
    }
    if (done < end)
        take_span(&joiner, (size_t)(done - begin), piece->n, false);
    flush(&joiner);
}

/* 0: white space, 1: a word character, 2: another. */
static int run_kind(uint8_t flags)
{
    return flags & MU_CHAR_WORD ? 1 : (flags & MU_CHAR_CLASS) == MU_CHAR_SPACE ? 0 : 2;
}

static void cut_word_runs(mu_cutter_t *c, int i, const piece_t *piece)
{
    joiner_t joiner = {.cutter = c, .stage = i, .piece = piece};
    const unsigned char *begin = (const unsigned char *)piece->text, *p = begin, *end = p + piece->n,
                        *start = p;
    int kind = 0;
    while (p < end) {
        const unsigned char *at = p;
        int found = run_kind(mu_unicode_flags(c->unicode, mu_utf8_next(&p)));
        if (found == kind)
            continue;
        if (kind > 0)
            hand_on(&joiner, (size_t)(start - begin), (size_t)(at - begin));
        start = at;
        kind = found;
    }
    if (kind > 0)
        hand_on(&joiner, (size_t)(start - begin), piece->n);
}

static void cut_words(mu_cutter_t *c, int i, const piece_t *piece)
{
    joiner_t joiner = {.cutter = c, .stage = i, .piece = piece};
    const unsigned char *begin = (const unsigned char *)piece->text, *p = begin, *end = p + piece->n;
    mu_words_t words = c->pre->stage[i].words;
    while (p < end) {
        const unsigned char *stop =
            words == MU_WORDS_GPT2 ? mu_word_end(c->unicode, p, end)
                                   : mu_word_end_long(c->unicode, words == MU_WORDS_LLAMA ? 3 : 1, p, end);
        hand_on(&joiner, (size_t)(p - begin), (size_t)(stop - begin));
        p = stop;
    }
}

static void cut_byte_level(mu_cutter_t *c, int i, piece_t piece)
{
    const mu_stage_t *stage = &c->pre->stage[i];
    if (stage->prefix_space && piece.text[0] != ' ') {
        mu_buf_t *text = &c->text[i];
        mu_buf_clear(text);
        mu_buf_addc(text, ' ');
        mu_buf_add(text, piece.text, piece.n);
        piece.text = text->data;
        piece.n = text->len;
    }
    if (stage->words == MU_WORDS_NONE)
        run(c, i + 1, piece);
    else
        cut_words(c, i, &piece);
}

/* Puts the replacement in place of each space. */
static void replace_spaces(const char *text, size_t n, const char *replacement, mu_buf_t *out)
{
    for (const char *end = text + n; text < end;) {
        const char *space = memchr(text, ' ', (size_t)(end - text));
        mu_buf_add(out, text, (size_t)((space ? space : end) - text));
        if (!space)
            break;
        mu_buf_adds(out, replacement);
        text = space + 1;
    }
}

static void cut_metaspace(mu_cutter_t *c, int i, piece_t piece)
{
    const mu_stage_t *stage = &c->pre->stage[i];
    size_t length = strlen(stage->replacement);
    bool begins =
        piece.text[0] == ' ' || (piece.n >= length && memcmp(piece.text, stage->replacement, length) == 0);
    mu_buf_t *text = &c->text[i];
    mu_buf_clear(text);
    if (!begins &&
        (stage->prepend == MU_PREPEND_ALWAYS || (stage->prepend == MU_PREPEND_FIRST && piece.first)))
        mu_buf_adds(text, stage->replacement);
    replace_spaces(piece.text, piece.n, stage->replacement, text);
    piece.text = text->data;
    piece.n = text->len;
    if (!stage->split) {
        run(c, i + 1, piece);
        return;
    }
    joiner_t joiner = {.cutter = c, .stage = i, .piece = &piece};
    for (size_t at = 0; at < piece.n;) {
        const char *found = memmem(piece.text + at, piece.n - at, stage->replacement, length);
        size_t start = found ? (size_t)(found - piece.text) : piece.n;
        if (start > at)
            take_span(&joiner, at, start, false);
        if (found)
            take_span(&joiner, start, start + length, true);
        at = found ? start + length : start;
    }
    flush(&joiner);
}

static void run(mu_cutter_t *c, int i, piece_t piece)
{
    if (c->status != MU_OK)
        return;
    if (i == c->pre->count) {
        c->word(c->arg, (const unsigned char *)piece.text, piece.n);
        return;
    }
    switch (c->pre->stage[i].kind) {
    case MU_STAGE_BYTE_LEVEL:
        cut_byte_level(c, i, piece);
        break;
    case MU_STAGE_SPLIT:
        cut_pattern(c, i, &piece);
        break;
    case MU_STAGE_WORDS:
        cut_words(c, i, &piece);
        break;
    case MU_STAGE_WORD_RUNS:
        cut_word_runs(c, i, &piece);
        break;
    case MU_STAGE_METASPACE:
        cut_metaspace(c, i, piece);
        break;
    default:
        cut_characters(c, i, &piece);
        break;
    }
}

mu_status_t mu_cutter_cut(mu_cutter_t *cutter, const char *text, size_t n, bool first)
{
    cutter->status = MU_OK;
    if (n > 0)
        run(cutter, 0, (piece_t){text, n, first});
    return cutter->status;
}
