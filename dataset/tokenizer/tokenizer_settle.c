/* What follows from the parts of a tokenizer: its settings as text, its fast paths, where its texts may be cut. */
#include "dataset/tokenizer/tokenizer_impl.h"

/* The shape that every tokenizer had that older versions of muster read: it keeps its digest. */
static bool is_plain(const mu_tokenizer_t *tok)
{
    const mu_model_rules_t *r = &tok->rules;
    return tok->normalizer.count == 0 && tok->pre.count == 1 && tok->pre.byte_level && !r->ignore_merges &&
           !r->gaps && !r->subword_prefix && !r->word_suffix;
}

static void describe(mu_tokenizer_t *tok)
{
    const mu_model_rules_t *r = &tok->rules;
    const mu_stage_t *only = &tok->pre.stage[0];
    mu_buf_t *out = &tok->settings;
    mu_buf_clear(out);
    if (is_plain(tok)) {
        mu_buf_addf(out, "bpe nfc=%d prefix=%d words=%d\n", tok->nfc, only->prefix_space,
                    only->words != MU_WORDS_NONE);
        return;
    }
    mu_buf_addf(out, "bpe nfc=%d ignore_merges=%d", tok->nfc, r->ignore_merges);
    if (!tok->pre.byte_level || r->gaps) /* otherwise every byte has a token */
        mu_buf_addf(out, " byte_fallback=%d fuse_unk=%d unk=%d", r->byte_fallback, r->fuse_unk,
                    r->unk_token ? r->unk : -1);
    mu_buf_addf(out, " prefix=%s suffix=%s\n", r->subword_prefix ? r->subword_prefix : "",
                r->word_suffix ? r->word_suffix : "");
    mu_normalizer_describe(&tok->normalizer, out);
    mu_pre_tokenizer_describe(&tok->pre, out);
}

/* Pre-tokenizers that need no stages: [ByteLevel], and [Split by well-known words, ByteLevel without words]. */
static void find_words(mu_tokenizer_t *tok)
{
    const mu_stage_t *stage = tok->pre.stage;
    int n = tok->pre.count;
    tok->direct =
        tok->pre.byte_level && (n == 1 || (n == 2 && stage[0].kind == MU_STAGE_WORDS &&
                                           stage[1].words == MU_WORDS_NONE && !stage[1].prefix_space));
    tok->words = tok->direct ? stage[0].words : MU_WORDS_NONE;
    tok->prefix_space = tok->direct && stage[n - 1].prefix_space;
}

/* The character that spaces become, when that is all that the text is cut by: "" else. */
static const char *space_character(const mu_tokenizer_t *tok)
{
    if (tok->pre.count == 1 && tok->pre.stage[0].kind == MU_STAGE_METASPACE)
        return tok->pre.stage[0].replacement;
    if (tok->pre.count > 0)
        return "";
    for (int i = 0; i < tok->normalizer.count; i++) {
        const mu_step_t *s = &tok->normalizer.step[i];
        const unsigned char *p = (const unsigned char *)s->content;
        if (s->kind == MU_STEP_REPLACE && !mu_pattern_is_regex(s->pattern) &&
            strcmp(mu_pattern_text(s->pattern), " ") == 0 && *p && (mu_utf8_next(&p), *p == '\0'))
            return s->content;
    }
    return "";
}

/* Whether some merge joins the character to another one before it. */
static bool merges_across(const mu_tokenizer_t *tok, const char *character, size_t n)
{
    for (size_t r = 0; r < tok->merge_count; r++) {
        const mu_piece_t *left = &tok->pieces[tok->merges[r].left],
                         *right = &tok->pieces[tok->merges[r].right];
        const char *a = tok->bytes.data + left->at, *b = tok->bytes.data + right->at;
        if (right->len >= n && memcmp(b, character, n) == 0 &&
            (left->len < n || memcmp(a + left->len - n, character, n) != 0))
            return true;
    }
    return false;
}

/* SentencePiece's models have no words: a text is one. Where no token begins with a space character in its middle, the
 * merges of the parts between spaces do not see each other, and each part can be merged, and kept, alone. */
static void find_boundary(mu_tokenizer_t *tok)
{
    const mu_model_rules_t *r = &tok->rules;
    const char *character = space_character(tok);
    size_t n = strlen(character);
    tok->boundary[0] = '\0';
    if (n == 0 || n >= MU_REPLACEMENT_BYTES || r->ignore_merges || r->subword_prefix || r->word_suffix)
        return;
    bool known = false;
    for (int32_t id = 0; id < tok->vocab && !known; id++)
        known = tok->pieces[id].model && tok->pieces[id].len == n &&
                memcmp(mu_piece_bytes(tok, id), character, n) == 0;
    if (known && !merges_across(tok, character, n))
        memcpy(tok->boundary, character, n + 1);
}

/* Whether normalizing two parts of a text, cut before a space, is normalizing the text. */
static bool normalizes_in_parts(const mu_tokenizer_t *tok)
{
    for (int i = 0; i < tok->normalizer.count; i++) {
        const mu_step_t *s = &tok->normalizer.step[i];
        bool spaces = s->kind == MU_STEP_REPLACE && tok->boundary[0] &&
                      strcmp(s->content, tok->boundary) == 0 && !mu_pattern_is_regex(s->pattern) &&
                      strcmp(mu_pattern_text(s->pattern), " ") == 0;
        if (s->kind != MU_STEP_FORM && s->kind != MU_STEP_LOWERCASE && s->kind != MU_STEP_PREPEND && !spaces)
            return false;
    }
    return true;
}

/* Whether a stage cuts before a space that follows no space, and sees nothing beyond it; *line: the same before a line
 * feed. */
static bool cuts_there(const mu_stage_t *stage, bool *line)
{
    *line = stage->words == MU_WORDS_GPT2 && !stage->prefix_space;
    return stage->words != MU_WORDS_NONE || stage->kind == MU_STAGE_SPACES ||
           stage->kind == MU_STAGE_WORD_RUNS;
}

/* Stages that look at one character at a time: they never mind a cut. */
static bool minds_no_cut(const mu_stage_t *stage)
{
    return (stage->kind == MU_STAGE_DIGITS || stage->kind == MU_STAGE_PUNCTUATION) &&
           stage->behavior != MU_MERGED_WITH_PREVIOUS && stage->behavior != MU_MERGED_WITH_NEXT;
}

/* The first stage that cuts there decides: what follows it sees the same pieces with and without a cut. */
static void find_cuts(mu_tokenizer_t *tok)
{
    bool space = tok->boundary[0] != '\0', line = false;
    for (int i = 0; i < tok->pre.count && !space; i++) {
        space = cuts_there(&tok->pre.stage[i], &line);
        if (!space && !minds_no_cut(&tok->pre.stage[i]))
            break;
    }
    bool prepends = false;
    for (int i = 0; i < tok->normalizer.count; i++)
        prepends = prepends || tok->normalizer.step[i].kind == MU_STEP_PREPEND;
    memset(tok->ends_added, 0, sizeof tok->ends_added);
    for (size_t i = 0; i < tok->added_count && prepends;
         i++) { /* after such a token something is prepended */
        const mu_piece_t *piece = &tok->pieces[tok->added[i].id];
        tok->ends_added[(unsigned char)mu_piece_bytes(tok, tok->added[i].id)[piece->len - 1]] = true;
    }
    tok->cut_space = space && normalizes_in_parts(tok);
    tok->cut_line = space && line && tok->normalizer.count == 0;
}

void mu_tokenizer_settle(mu_tokenizer_t *tok)
{
    describe(tok);
    find_words(tok);
    find_boundary(tok);
    find_cuts(tok);
}
