#include "dataset/tokenizer/unicode_forms.h"
#include "dataset/tokenizer/utf8.h"

#include <utf8proc.h>

/* Characters from Unicode 10 to 17 that have a compatibility decomposition. */
static const uint32_t later[][2] = {
    {0x32FF, 0x32FF},   {0xA7F1, 0xA7F4},   {0xAB69, 0xAB69},   {0x10781, 0x107BA},
    {0x1CCD6, 0x1CCF9}, {0x1E030, 0x1E06D}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
};

static bool stays(const mu_unicode_t *unicode, uint32_t c, bool compatible)
{
    if (mu_unicode_flags(unicode, c) & MU_CHAR_INERT)
        return true;
    for (size_t i = 0; compatible && i < sizeof later / sizeof *later; i++)
        if (c >= later[i][0] && c <= later[i][1])
            return true;
    return false;
}

static utf8proc_option_t options_of(mu_form_t form)
{
    utf8proc_option_t options = UTF8PROC_STABLE;
    options |= form == MU_FORM_NFC || form == MU_FORM_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    return options | (form == MU_FORM_NFKC || form == MU_FORM_NFKD ? UTF8PROC_COMPAT : 0);
}

/* Appends the form of a segment, which nothing joins to its neighbours. */
static void add_segment(utf8proc_option_t options, const unsigned char *p, size_t n, mu_buf_t *out)
{
    utf8proc_int32_t small[64], *parts = small;
    utf8proc_ssize_t count = utf8proc_decompose(p, (utf8proc_ssize_t)n, parts, 64, options);
    if (count > 64) {
        parts = mu_alloc((size_t)count * sizeof *parts);
        count = utf8proc_decompose(p, (utf8proc_ssize_t)n, parts, count, options);
    }
    if (options & UTF8PROC_COMPOSE)
        count = utf8proc_normalize_utf32(parts, count, options);
    for (utf8proc_ssize_t i = 0; i < count; i++)
        mu_utf8_add(out, (uint32_t)parts[i]);
    if (parts != small)
        free(parts);
}

/* A segment is an ASCII character and what is not ASCII after it. Of ASCII nothing changes, and no composition takes
 * it as a second part. */
void mu_unicode_form(const mu_unicode_t *unicode, mu_form_t form, const char *text, size_t n, mu_buf_t *out)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n, *segment = p;
    bool compatible = form == MU_FORM_NFKC || form == MU_FORM_NFKD, plain = true;
    utf8proc_option_t options = options_of(form);
    for (const unsigned char *next = p; p <= end; p = next) {
        bool ascii = p < end && *p < 0x80;
        uint32_t c = p < end ? mu_utf8_next(&next) : 0;
        bool inert = p < end && !ascii && stays(unicode, c, compatible);
        if (p == end || ascii || inert) {
            if (plain)
                mu_buf_add(out, segment, (size_t)(p - segment));
            else
                add_segment(options, segment, (size_t)(p - segment), out);
            segment = p;
            plain = true;
        }
        if (inert) {
            mu_buf_add(out, p, (size_t)(next - p));
            segment = next;
        } else if (!ascii) {
            plain = false;
        }
        if (p == end)
            break;
    }
}

void mu_unicode_lower(const char *text, size_t n, mu_buf_t *out)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end) {
        uint32_t c = mu_utf8_next(&p);
        if (c == 0x130)
            mu_buf_adds(out, "i\xCC\x87");
        else if (c < 0x80)
            mu_buf_addc(out, (char)(c >= 'A' && c <= 'Z' ? c + 32 : c));
        else
            mu_utf8_add(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
    }
}
