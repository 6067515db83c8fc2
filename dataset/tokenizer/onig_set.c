/* Sets of characters: escapes, properties, classes. */
#include "dataset/tokenizer/onig_impl.h"
#include "common/log.h"

/* White_Space of Unicode, which \s is in Oniguruma. PCRE2's own \s has U+180E too. */
#define SPACES                                                                                               \
    "\\x09-\\x0D\\x20\\x85\\xA0\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define NOT_SPACES                                                                                           \
    "\\x00-\\x08\\x0E-\\x1F\\x21-\\x84\\x86-\\x9F\\xA1-\\x{167F}\\x{1681}-\\x{1FFF}\\x{200B}-\\x{2027}"      \
    "\\x{202A}-\\x{202E}\\x{2030}-\\x{205E}\\x{2060}-\\x{2FFF}\\x{3001}-\\x{10FFFF}"

mu_status_t mu_onig_refuse(const onig_t *o, const unsigned char *at, const char *why)
{
    int number = 1;
    for (const unsigned char *p = (const unsigned char *)o->regex; p < at; number++)
        mu_utf8_next(&p);
    return mu_fail(MU_DATA, "%s: regular expression '%.200s': character %d: %s", o->where, o->regex, number,
                   why);
}

bool mu_onig_take(onig_t *o, const char *text)
{
    size_t n = strlen(text);
    if (strncmp((const char *)o->p, text, n) != 0)
        return false;
    o->p += n;
    return true;
}

/* A character that stands for itself, inside a class and outside of one. */
void mu_onig_add_literal(mu_buf_t *out, uint32_t c)
{
    if (c < 0x20 || c == 0x7F)
        mu_buf_addf(out, "\\x%02X", c);
    else if (c < 0x80 && !isalnum((int)c) && c != ' ')
        mu_buf_addf(out, "\\%c", (int)c);
    else
        mu_utf8_add(out, c);
}

/* ---- escapes ---- */

/* Names that both engines know, and what they are here. Anything else is a script, or refused by PCRE2. */
static const char *const property[][2] = {
    {"Letter", "L"},
    {"Lowercase_Letter", "Ll"},
    {"Uppercase_Letter", "Lu"},
    {"Titlecase_Letter", "Lt"},
    {"Mark", "M"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Nonspacing_Mark", "Mn"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"Letter_Number", "Nl"},
    {"Other_Number", "No"},
    {"Punctuation", "P"},
    {"Symbol", "S"},
    {"Separator", "Z"},
    {"Other", "C"},
};

static const char categories[] =
    " L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So "
    "Z Zs Zl Zp C Cc Cf Co Cn ";
static const char scripts[] =
    " Han Hiragana Katakana Hangul Latin Greek Cyrillic Arabic Hebrew Thai Lao Devanagari Bengali Tamil "
    "Telugu "
    "Kannada Malayalam Gujarati Gurmukhi Oriya Sinhala Khmer Myanmar Tibetan Georgian Armenian Ethiopic "
    "Mongolian Bopomofo Yi ";

static bool listed(const char *list, const char *name)
{
    char word[48];
    snprintf(word, sizeof word, " %s ", name);
    return strstr(list, word) != NULL;
}

/* After \p or \P. */
static mu_status_t read_property(onig_t *o, bool negated, mu_buf_t *out)
{
    const unsigned char *at = o->p;
    char name[32];
    size_t n = 0;
    if (!mu_onig_take(o, "{"))
        return mu_onig_refuse(o, at, "wanted \\p{NAME}");
    if (mu_onig_take(o, "^"))
        negated = !negated;
    while (n + 1 < sizeof name && (isalnum(*o->p) || *o->p == '_'))
        name[n++] = (char)*o->p++;
    name[n] = '\0';
    if (!mu_onig_take(o, "}"))
        return mu_onig_refuse(o, at, "a property of this name is not supported");
    const char *known = NULL, *prefix = "";
    for (size_t i = 0; i < sizeof property / sizeof *property; i++)
        if (strcmp(name, property[i][0]) == 0)
            known = property[i][1];
    if (!known && listed(categories, name))
        known = name;
    if (!known && listed(scripts, name)) {
        known = name;
        prefix = "sc:";
    }
    if (!known)
        return mu_onig_refuse(o, at, "a property of this name is not supported");
    if (o->fold)
        return mu_onig_refuse(o, at, "a property inside (?i:...) is not supported");
    mu_buf_addf(out, "\\%c{%s%s}", negated ? 'P' : 'p', prefix, known);
    return MU_OK;
}

static int hex_digit(unsigned char c)
{
    return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

/* After \x or \u: the code point. */
static mu_status_t read_code(onig_t *o, bool u, uint32_t *c)
{
    const unsigned char *at = o->p;
    bool braces = !u && mu_onig_take(o, "{");
    int digits = 0, most = u ? 4 : braces ? 6 : 2;
    for (*c = 0; digits < most && hex_digit(*o->p) >= 0; digits++)
        *c = *c << 4 | (uint32_t)hex_digit(*o->p++);
    if ((braces && !mu_onig_take(o, "}")) || digits == 0 || (!braces && digits < most) || *c > 0x10FFFF ||
        (*c >= 0xD800 && *c < 0xE000) || (!u && !braces && *c > 0x7F))
        return mu_onig_refuse(o, at, "not the number of a character");
    return MU_OK;
}

/* After the backslash, when it stands for one character: true and that character. */
bool mu_onig_read_character(onig_t *o, uint32_t *c, mu_status_t *status)
{
    static const char letters[] = "tnrfaev", codes[] = "\t\n\r\f\a\033\v";
    const unsigned char *at = o->p;
    const char *found = *at ? strchr(letters, *at) : NULL;
    *status = MU_OK;
    if (found) {
        o->p++;
        *c = (unsigned char)codes[found - letters];
        return true;
    }
    if (*at == 'x' || *at == 'u') {
        o->p++;
        *status = read_code(o, *at == 'u', c);
        return true;
    }
    if (*at == '\0' || isalnum(*at))
        return false;
    *c = mu_utf8_next(&o->p);
    return true;
}

/* After the backslash: a set of characters, written as it may stand inside [...]. */
mu_status_t mu_onig_read_set(onig_t *o, mu_buf_t *out)
{
    const unsigned char *at = o->p;
    switch (*o->p++) {
    case 'p':
        return read_property(o, false, out);
    case 'P':
        return read_property(o, true, out);
    case 's':
        mu_buf_adds(out, SPACES);
        return MU_OK;
    case 'S':
        mu_buf_adds(out, NOT_SPACES);
        return MU_OK;
    case 'd':
        mu_buf_adds(out, "\\p{Nd}");
        return MU_OK;
    case 'D':
        mu_buf_adds(out, "\\P{Nd}");
        return MU_OK;
    case 'w':
        mu_buf_adds(out, "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}");
        return MU_OK;
    case 'h':
        mu_buf_adds(out, "0-9A-Fa-f");
        return MU_OK;
    default:
        return mu_onig_refuse(o, at - 1, "this escape is not supported");
    }
}

/* ---- classes ---- */

static mu_status_t read_class(onig_t *o, mu_buf_t *out, bool nested);

/* One character of a class: *set when it was a set instead, which is appended. */
static mu_status_t read_class_character(onig_t *o, mu_buf_t *out, uint32_t *c, bool *set)
{
    mu_status_t status;
    *set = false;
    if (!mu_onig_take(o, "\\")) {
        *c = mu_utf8_next(&o->p);
        return MU_OK;
    }
    if (mu_onig_read_character(o, c, &status))
        return status;
    *set = true;
    return mu_onig_read_set(o, out);
}

static mu_status_t read_class_item(onig_t *o, mu_buf_t *out)
{
    const unsigned char *at = o->p;
    uint32_t low, high;
    bool set;
    if (o->p[0] == '[' && o->p[1] == ':')
        return mu_onig_refuse(o, at, "a POSIX bracket is not supported");
    if (mu_onig_take(o, "["))
        return read_class(o, out, true);
    if (o->p[0] == '&' && o->p[1] == '&')
        return mu_onig_refuse(o, at, "an intersection of classes is not supported");
    MU_TRY(read_class_character(o, out, &low, &set));
    if (set || o->p[0] != '-' || o->p[1] == ']' || o->p[1] == '\0') {
        if (!set)
            mu_onig_add_literal(out, low);
        return MU_OK;
    }
    o->p++;
    if (*o->p == '[')
        return mu_onig_refuse(o, at, "a range that ends with a class");
    MU_TRY(read_class_character(o, out, &high, &set));
    if (set || high < low)
        return mu_onig_refuse(o, at, "not a range of characters");
    mu_onig_add_literal(out, low);
    mu_buf_addc(out, '-');
    mu_onig_add_literal(out, high);
    return MU_OK;
}

/* After '['. A nested class is a part of the union that the outer one is. */
static mu_status_t read_class(onig_t *o, mu_buf_t *out, bool nested)
{
    const unsigned char *at = o->p;
    if (++o->depth > MU_ONIG_DEPTH)
        return mu_onig_refuse(o, at, "nested too deeply");
    bool negated = mu_onig_take(o, "^");
    if (negated && (nested || o->fold))
        return mu_onig_refuse(o, at,
                              nested ? "a negated class inside a class is not supported"
                                     : "a negated class inside (?i:...) is not supported");
    if (!nested)
        mu_buf_adds(out, negated ? "[^" : "[");
    if (*o->p == ']')
        return mu_onig_refuse(o, at, "an empty class");
    while (*o->p != ']') {
        if (*o->p == '\0')
            return mu_onig_refuse(o, at, "the class has no end");
        MU_TRY(read_class_item(o, out));
    }
    o->p++;
    if (!nested)
        mu_buf_addc(out, ']');
    o->depth--;
    return MU_OK;
}

mu_status_t mu_onig_read_class(onig_t *o, mu_buf_t *out)
{
    return read_class(o, out, false);
}
