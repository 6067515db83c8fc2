#include "dataset/prepare/jsonl.h"
#include "dataset/tokenizer/utf8.h"

enum { DEPTH_MAX = 64 };

typedef struct scan {
    const char *p, *end;
    const char *why; /* first error, at p */
    int64_t surrogates;
} scan_t;

static bool wrong(scan_t *s, const char *why)
{
    s->why = why;
    return false;
}

static void space(scan_t *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
        s->p++;
}

static bool at(const scan_t *s, char c)
{
    return s->p < s->end && *s->p == c;
}

static bool take(scan_t *s, char c)
{
    if (!at(s, c))
        return false;
    s->p++;
    return true;
}

static bool hex4(scan_t *s, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, s->p++) {
        char c = s->p < s->end ? *s->p : 0;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return wrong(s, "\\u wants four hex digits");
        *out = *out << 4 | (uint32_t)digit;
    }
    return true;
}

static bool is_high(uint32_t code)
{
    return code >= 0xD800 && code < 0xDC00;
}

static bool is_low(uint32_t code)
{
    return code >= 0xDC00 && code < 0xE000;
}

/* Behind "\u". A high surrogate takes a low one that follows; one alone becomes U+FFFD. */
static bool unicode_escape(scan_t *s, mu_buf_t *out)
{
    uint32_t code, low;
    if (!hex4(s, &code))
        return false;
    if (is_high(code) && s->end - s->p >= 2 && s->p[0] == '\\' && s->p[1] == 'u') {
        const char *back = s->p;
        s->p += 2;
        if (!hex4(s, &low))
            return false;
        if (is_low(low))
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        else
            s->p = back; /* an escape of its own */
    }
    if (is_high(code) || is_low(code)) {
        s->surrogates++;
        code = 0xFFFD;
    }
    if (out)
        mu_utf8_add(out, code);
    return true;
}

static bool escape(scan_t *s, mu_buf_t *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = s->p < s->end ? *s->p : 0;
    if (c == 'u') {
        s->p++;
        return unicode_escape(s, out);
    }
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        return wrong(s, "there is no such escape in JSON");
    s->p++;
    if (out)
        mu_buf_addc(out, to[found - from]);
    return true;
}

/* A string with its quotes; decoded to `out` unless that is NULL. */
static bool string(scan_t *s, mu_buf_t *out)
{
    if (!take(s, '"'))
        return wrong(s, "a string in double quotes is wanted");
    for (;;) {
        const char *run = s->p;
        while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20)
            s->p++;
        if (out)
            mu_buf_add(out, run, (size_t)(s->p - run));
        if (s->p == s->end)
            return wrong(s, "the line ends inside a string");
        if (take(s, '"'))
            return true;
        if (!take(s, '\\'))
            return wrong(s, "a control character inside a string must be written as an escape");
        if (!escape(s, out))
            return false;
    }
}

static bool digits(scan_t *s)
{
    const char *first = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return s->p > first || wrong(s, "a digit is wanted");
}

static bool number(scan_t *s)
{
    take(s, '-');
    if (!take(s, '0') && !digits(s))
        return wrong(s, "this is no JSON value");
    if (take(s, '.') && !digits(s))
        return false;
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+'))
            take(s, '-');
        return digits(s);
    }
    return true;
}

static bool literal(scan_t *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return wrong(s, "this is no JSON value");
    s->p += n;
    return true;
}

/* NaN, Infinity and -Infinity, which Python's json writes for such numbers though JSON has none. */
static bool not_finite(scan_t *s)
{
    take(s, '-');
    return at(s, 'N') ? literal(s, "NaN") : literal(s, "Infinity");
}

static bool value(scan_t *s, int depth);

static bool list(scan_t *s, int depth, bool object)
{
    char close = object ? '}' : ']';
    if (depth >= DEPTH_MAX)
        return wrong(s, "nested more than 64 deep");
    s->p++;
    space(s);
    if (take(s, close))
        return true;
    do {
        space(s);
        if (object) {
            if (!string(s, NULL))
                return false;
            space(s);
            if (!take(s, ':'))
                return wrong(s, "a colon is missing");
            space(s);
        }
        if (!value(s, depth + 1))
            return false;
        space(s);
    } while (take(s, ','));
    if (!take(s, close))
        return wrong(s, object ? "a comma or '}' is missing" : "a comma or ']' is missing");
    return true;
}

static bool value(scan_t *s, int depth)
{
    switch (s->p < s->end ? *s->p : 0) {
    case '{':
        return list(s, depth, true);
    case '[':
        return list(s, depth, false);
    case '"':
        return string(s, NULL);
    case 't':
        return literal(s, "true");
    case 'f':
        return literal(s, "false");
    case 'n':
        return literal(s, "null");
    case 'N':
    case 'I':
        return not_finite(s);
    default:
        return s->end - s->p >= 2 && s->p[0] == '-' && s->p[1] == 'I' ? not_finite(s) : number(s);
    }
}

/* A list of strings, joined as gpt-neox's reader (lm_dataformat) joins paragraphs: with an empty line between. */
static bool paragraphs(scan_t *s, mu_buf_t *out)
{
    bool first = true;
    s->p++;
    space(s);
    if (take(s, ']'))
        return true;
    do {
        space(s);
        if (!at(s, '"'))
            return wrong(s, "the text must be a string, a list of strings, or null");
        if (!first)
            mu_buf_adds(out, "\n\n");
        first = false;
        if (!string(s, out))
            return false;
        space(s);
    } while (take(s, ','));
    return take(s, ']') || wrong(s, "a comma or ']' is missing");
}

/* The text itself; null is an empty one. */
static bool text(scan_t *s, mu_buf_t *out)
{
    mu_buf_clear(out);
    switch (s->p < s->end ? *s->p : 0) {
    case '"':
        return string(s, out);
    case '[':
        return paragraphs(s, out);
    case 'n':
        return literal(s, "null");
    default:
        return wrong(s, "the text must be a string, a list of strings, or null");
    }
}

static mu_jsonl_member_t *find(mu_jsonl_member_t *wanted, int count, const mu_buf_t *name)
{
    for (int i = 0; i < count; i++) {
        if (strlen(wanted[i].key) == name->len && memcmp(name->data, wanted[i].key, name->len) == 0)
            return &wanted[i];
    }
    return NULL;
}

/* The members of the outermost object. */
static bool members(scan_t *s, mu_jsonl_member_t *wanted, int count, mu_buf_t *name)
{
    space(s);
    if (take(s, '}'))
        return true;
    do {
        space(s);
        mu_buf_clear(name);
        if (!string(s, name))
            return false;
        space(s);
        if (!take(s, ':'))
            return wrong(s, "a colon is missing");
        space(s);
        mu_jsonl_member_t *member = find(wanted, count, name);
        if (!(member ? text(s, &member->text) : value(s, 1)))
            return false;
        if (member)
            member->found = true;
        space(s);
    } while (take(s, ','));
    return take(s, '}') || wrong(s, "a comma or '}' is missing");
}

bool mu_jsonl_read(const char *line, size_t n, mu_jsonl_member_t *wanted, int count,
                   mu_jsonl_result_t *result)
{
    scan_t s = {.p = line, .end = line + n};
    mu_buf_t name = MU_BUF_INIT;
    for (int i = 0; i < count; i++) {
        mu_buf_clear(&wanted[i].text);
        wanted[i].found = false;
    }
    mu_buf_reserve(&name, 0);
    space(&s);
    bool good = take(&s, '{') ? members(&s, wanted, count, &name)
                              : wrong(&s, "each line must be one JSON object, as {\"text\": \"...\"}");
    if (good) {
        space(&s);
        if (s.p < s.end)
            good = wrong(&s, "something follows the JSON object");
        for (int i = 0; i < count && good; i++)
            good = wanted[i].found || wrong(&s, "the object has no member of that name");
    }
    mu_buf_release(&name);
    *result = (mu_jsonl_result_t){good ? NULL : s.why, (size_t)(s.p - line), s.surrogates};
    return good;
}
