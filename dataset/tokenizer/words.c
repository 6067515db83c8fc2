#include "dataset/tokenizer/words.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LETTERS      "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define REST         " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

mu_words_t mu_words_of_regex(const char *regex)
{
    static const struct {
        const char *regex;
        mu_words_t words;
    } known[] = {
        {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", MU_WORDS_GPT2},
        {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", MU_WORDS_GPT2},
        {CONTRACTIONS "|" LETTERS "|\\p{N}{1,3}|" REST, MU_WORDS_LLAMA},
        {CONTRACTIONS "|" LETTERS "|\\p{N}|" REST, MU_WORDS_QWEN},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(regex, known[i].regex) == 0)
            return known[i].words;
    return MU_WORDS_NONE;
}

/* 's and its kin in any case at p, which is an apostrophe; NULL: none. U+017F is an s of another case. */
static const unsigned char *contraction(const unsigned char *p, const unsigned char *end)
{
    unsigned a = end - p >= 2 ? p[1] | 0x20u : 0, b = end - p >= 3 ? p[2] | 0x20u : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return p + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return p + 3;
    return end - p >= 3 && p[1] == 0xC5 && p[2] == 0xBF ? p + 3 : NULL;
}

/* The end of a run of characters of one class, at most `most` of them. */
static const unsigned char *run_of(const mu_unicode_t *unicode, uint8_t class, int64_t most,
                                   const unsigned char *p, const unsigned char *end)
{
    while (p < end && most-- > 0) {
        const unsigned char *next = p;
        if (mu_class_at(unicode, &next) != class)
            break;
        p = next;
    }
    return p;
}

/* White space at p: up to its last line end; else all of it at the end of the text; else all but the last character,
 * which belongs to what follows, but at least one. */
static const unsigned char *space_end(const mu_unicode_t *unicode, const unsigned char *p,
                                      const unsigned char *end)
{
    const unsigned char *stop = run_of(unicode, MU_CHAR_SPACE, INT64_MAX, p, end), *last = stop;
    for (const unsigned char *at = stop; at > p; at--)
        if (at[-1] == '\n' || at[-1] == '\r')
            return at;
    if (stop == end)
        return stop;
    do
        last--;
    while ((*last & 0xC0) == 0x80);
    return last > p ? last : stop;
}

const unsigned char *mu_word_end_long(const mu_unicode_t *unicode, int digits, const unsigned char *p,
                                      const unsigned char *end)
{
    const unsigned char *next = p, *after;
    const unsigned char *stop = *p == '\'' ? contraction(p, end) : NULL;
    if (stop)
        return stop;
    uint8_t class = mu_class_at(unicode, &next);
    if (class == MU_CHAR_LETTER)
        return run_of(unicode, MU_CHAR_LETTER, INT64_MAX, next, end);
    if (class == MU_CHAR_NUMBER)
        return run_of(unicode, MU_CHAR_NUMBER, digits - 1, next, end);
    after = next;
    uint8_t follows = after < end ? mu_class_at(unicode, &after) : MU_CHAR_SPACE;
    if (follows == MU_CHAR_LETTER && *p != '\r' && *p != '\n')
        return run_of(unicode, MU_CHAR_LETTER, INT64_MAX, after, end);
    if (class == MU_CHAR_SPACE && !(*p == ' ' && follows == MU_CHAR_OTHER))
        return space_end(unicode, p, end);
    stop = run_of(unicode, MU_CHAR_OTHER, INT64_MAX, next, end);
    while (stop < end && (*stop == '\r' || *stop == '\n'))
        stop++;
    return stop;
}
