#include "dataset/tokenizer/unicode.h"
#include "dataset/tokenizer/utf8.h"

#include <ctype.h>
#include <utf8proc.h>

#define CODE_POINTS 0x110000

static bool is_space(utf8proc_int32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x3000;
}

/* Punctuation of later versions than Unicode 8, which the tokenizers library knows by that version. */
static const int32_t later_punctuation[][2] = {
    {0x61D, 0x61D},     {0x9FD, 0x9FD},     {0xA76, 0xA76},     {0xC77, 0xC77},     {0xC84, 0xC84},
    {0x1B4E, 0x1B4F},   {0x1B7D, 0x1B7F},   {0x2E43, 0x2E4F},   {0x2E52, 0x2E5D},   {0x10D6E, 0x10D6E},
    {0x10EAD, 0x10EAD}, {0x10ED0, 0x10ED0}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89}, {0x113D4, 0x113D8},
    {0x1144B, 0x1144F}, {0x1145A, 0x1145D}, {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1183B, 0x1183B},
    {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46}, {0x11A9A, 0x11A9C}, {0x11A9E, 0x11AA2},
    {0x11B00, 0x11B09}, {0x11BE1, 0x11BE1}, {0x11C41, 0x11C45}, {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8},
    {0x11F43, 0x11F4F}, {0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2}, {0x16D6D, 0x16D6F}, {0x16E97, 0x16E9A},
    {0x16FE2, 0x16FE2}, {0x1E5FF, 0x1E5FF}, {0x1E95E, 0x1E95F},
};

static uint8_t punctuation_of(utf8proc_int32_t c, utf8proc_category_t category)
{
    bool ascii = c > ' ' && c < 0x7F && !isalnum((int)c);
    return ascii || (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO)
               ? MU_CHAR_PUNCTUATION
               : 0;
}

static void mark_later_punctuation(uint8_t *all)
{
    for (size_t i = 0; i < sizeof later_punctuation / sizeof *later_punctuation; i++)
        for (int32_t c = later_punctuation[i][0]; c <= later_punctuation[i][1]; c++)
            all[c] &= (uint8_t)~MU_CHAR_PUNCTUATION;
    all[0x166D] |= MU_CHAR_PUNCTUATION; /* of other categories since */
    all[0x111C9] |= MU_CHAR_PUNCTUATION;
}

static uint8_t flags_of(utf8proc_int32_t c, utf8proc_category_t category)
{
    if (is_space(c))
        return MU_CHAR_SPACE;
    switch (category) {
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

/* Characters from Unicode 10 to 18 that have a combining class, a canonical decomposition or a part in one.
 */
static const int32_t after_unicode_9[][2] = {
    {0x5C8, 0x5C9},     {0x7FD, 0x7FD},     {0x897, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},   {0x1ABF, 0x1AF0},
    {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x105C9, 0x105C9}, {0x105D2, 0x105D2}, {0x105DA, 0x105DA},
    {0x105E4, 0x105E4}, {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC}, {0x10ECB, 0x10ECF},
    {0x10EF0, 0x10EFB}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
    {0x1133B, 0x1133B}, {0x11383, 0x11383}, {0x11385, 0x11385}, {0x1138E, 0x1138E}, {0x11391, 0x11391},
    {0x113B8, 0x113B8}, {0x113BB, 0x113BB}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113C9},
    {0x113CE, 0x113D0}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x11938, 0x11938},
    {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
    {0x1611E, 0x16129}, {0x1612F, 0x1612F}, {0x16D67, 0x16D6A}, {0x16FF0, 0x16FF1}, {0x1D127, 0x1D128},
    {0x1D250, 0x1D252}, {0x1D25B, 0x1D25C}, {0x1D25F, 0x1D25F}, {0x1D280, 0x1D281}, {0x1E08F, 0x1E08F},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF},
    {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5},
};

static void mark_inert(uint8_t *all)
{
    for (size_t i = 0; i < sizeof after_unicode_9 / sizeof *after_unicode_9; i++)
        for (int32_t c = after_unicode_9[i][0]; c <= after_unicode_9[i][1]; c++)
            all[c] = (uint8_t)((all[c] & ~MU_CHAR_UNSTABLE) | MU_CHAR_INERT);
}

mu_unicode_t *mu_unicode_new(void)
{
    mu_unicode_t *unicode = mu_calloc(1, sizeof *unicode);
    uint8_t *all = mu_alloc(CODE_POINTS);
    for (utf8proc_int32_t c = 0; c < CODE_POINTS; c++) {
        utf8proc_category_t category = utf8proc_category(c);
        all[c] = (uint8_t)(flags_of(c, category) | punctuation_of(c, category));
    }
    mark_unstable(all);
    mark_inert(all);
    mark_later_punctuation(all);

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

/* Appends the NFC form of a segment: one stable character and the unstable ones after it. */
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
        uint8_t flags = mu_unicode_flags(unicode, mu_utf8_next(&p));
        if (!(flags & MU_CHAR_UNSTABLE)) {
            stable = flags & MU_CHAR_INERT ? p : start;
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
