#include "dataset/unicode.h"
#include "dataset/utf8.h"

#include <utf8proc.h>

#define CODE_POINTS 0x110000

static bool is_space(utf8proc_int32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

static uint8_t flags_of(utf8proc_int32_t c)
{
    if (is_space(c))
        return MU_CHAR_SPACE;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return MU_CHAR_LETTER | MU_CHAR_WORD;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
        return MU_CHAR_NUMBER | MU_CHAR_WORD;
    case UTF8PROC_CATEGORY_NO:
        return MU_CHAR_NUMBER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_PC:
        return MU_CHAR_WORD;
    default:
        break;
    }
    /* joiners and enclosed letters are word characters too */
    bool word = c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
                (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
                (c >= 0x1F170 && c <= 0x1F189);
    return word ? MU_CHAR_WORD : MU_CHAR_OTHER;
}

/* Marks what NFC may touch: characters that are not their own NFC form, that have a combining class, or that
 * some composition takes as a second part. All other characters start a segment that NFC leaves alone. */
static void mark_unstable(uint8_t *all)
{
    for (utf8proc_int32_t c = 0; c < CODE_POINTS; c++) {
        const utf8proc_property_t *property = utf8proc_get_property(c);
        if (property->combining_class != 0)
            all[c] |= MU_CHAR_UNSTABLE;
        if (property->decomp_seqindex == UINT16_MAX && !(c >= 0xAC00 && c <= 0xD7A3))
            continue;
        utf8proc_int32_t parts[32];
        int boundary = 0;
        utf8proc_ssize_t n =
            utf8proc_decompose_char(c, parts, 32, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
        if (n <= 0 || n > 32 || (n == 1 && parts[0] == c))
            continue; /* a compatibility decomposition: not NFC's business */
        for (utf8proc_ssize_t i = 1; i < n; i++)
            all[parts[i]] |= MU_CHAR_UNSTABLE;
        n = utf8proc_normalize_utf32(parts, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (n != 1 || parts[0] != c)
            all[c] |= MU_CHAR_UNSTABLE;
    }
}

mu_unicode_t *mu_unicode_new(void)
{
    mu_unicode_t *unicode = mu_calloc(1, sizeof *unicode);
    uint8_t *all = mu_alloc(CODE_POINTS);
    for (utf8proc_int32_t c = 0; c < CODE_POINTS; c++)
        all[c] = flags_of(c);
    mark_unstable(all);

    /* equal blocks are stored once; most of the code space is a few of them */
    uint16_t blocks = 0;
    unicode->flags = mu_alloc(CODE_POINTS);
    for (size_t b = 0; b < CODE_POINTS / 256; b++) {
        uint16_t i = 0;
        while (i < blocks && memcmp(unicode->flags + (size_t)i * 256, all + b * 256, 256) != 0)
            i++;
        if (i == blocks)
            memcpy(unicode->flags + (size_t)blocks++ * 256, all + b * 256, 256);
        unicode->block[b] = i;
    }
    unicode->flags = mu_realloc(unicode->flags, (size_t)blocks * 256);
    free(all);
    return unicode;
}

void mu_unicode_free(mu_unicode_t *unicode)
{
    if (!unicode)
        return;
    free(unicode->flags);
    free(unicode);
}

/* Appends the NFC form of a segment: one stable character and the unstable ones behind it. */
static void compose(const unsigned char *text, size_t n, mu_buf_t *out)
{
    utf8proc_int32_t small[64], *parts = small;
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    utf8proc_ssize_t count = utf8proc_decompose(text, (utf8proc_ssize_t)n, parts, 64, options);
    if (count > 64) {
        parts = mu_alloc((size_t)count * sizeof *parts);
        count = utf8proc_decompose(text, (utf8proc_ssize_t)n, parts, count, options);
    }
    count = utf8proc_normalize_utf32(parts, count, options);
    for (utf8proc_ssize_t i = 0; i < count; i++)
        mu_utf8_add(out, (uint32_t)parts[i]);
    if (parts != small)
        free(parts);
}

bool mu_unicode_nfc(const mu_unicode_t *unicode, const char *text, size_t n, mu_buf_t *out)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n, *done = p, *stable = p;
    bool changed = false;
    while (p < end) {
        if (*p < 0xCC) { /* nothing below U+0300 is unstable */
            stable = p;
            p += *p < 0x80 ? 1 : 2;
            continue;
        }
        const unsigned char *start = p;
        if (!(mu_unicode_flags(unicode, mu_utf8_next(&p)) & MU_CHAR_UNSTABLE)) {
            stable = start;
            continue;
        }
        while (p < end) {
            const unsigned char *next = p;
            if (!(mu_unicode_flags(unicode, mu_utf8_next(&next)) & MU_CHAR_UNSTABLE))
                break;
            p = next;
        }
        mu_buf_add(out, done, (size_t)(stable - done));
        compose(stable, (size_t)(p - stable), out);
        done = stable = p;
        changed = true;
    }
    if (changed)
        mu_buf_add(out, done, (size_t)(end - done));
    return changed;
}
