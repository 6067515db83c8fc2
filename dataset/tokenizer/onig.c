/* Alternatives, groups, repetitions. */
#include "dataset/tokenizer/onig_impl.h"
#include "common/log.h"

enum { REPEAT_MAX = 1000, LENGTH_MAX = 16384 };

/* ---- quantifiers ---- */

static bool read_number(onig_t *o, int *n)
{
    const unsigned char *at = o->p;
    for (*n = 0; isdigit(*o->p) && *n <= REPEAT_MAX; o->p++)
        *n = *n * 10 + (*o->p - '0');
    return o->p > at;
}

/* After '{'. `atom` is where the repeated part begins in the output. */
static mu_status_t read_interval(onig_t *o, size_t atom)
{
    const unsigned char *at = o->p - 1;
    int least, most = 0;
    bool has_least = read_number(o, &least), comma = mu_onig_take(o, ","),
         has_most = comma && read_number(o, &most);
    if (!mu_onig_take(o, "}") || (!has_least && !has_most))
        return mu_onig_refuse(o, at, "a '{' that begins no {n,m}: write \\{");
    if ((has_least && least > REPEAT_MAX) || (has_most && (most > REPEAT_MAX || most < least)))
        return mu_onig_refuse(o, at, "not a repetition from 0 to 1000");
    mu_buf_addf(o->out, "{%d", least);
    if (comma)
        mu_buf_adds(o->out, ",");
    if (has_most)
        mu_buf_addf(o->out, "%d", most);
    mu_buf_adds(o->out, "}");
    if (*o->p == '?' && !comma)
        return mu_onig_refuse(o, at, "{n}? is not supported");
    if (mu_onig_take(o, "?")) {
        mu_buf_adds(o->out, "?");
    } else if (mu_onig_take(o, "+")) { /* the repetition again, any number of times */
        mu_buf_adds(o->out, ")+");
        mu_buf_reserve(o->out, 3);
        memmove(o->out->data + atom + 3, o->out->data + atom, o->out->len - atom + 1);
        memcpy(o->out->data + atom, "(?:", 3);
        o->out->len += 3;
    }
    return MU_OK;
}

static mu_status_t read_quantifier(onig_t *o, size_t atom, bool repeatable)
{
    const unsigned char *at = o->p;
    unsigned char c = *o->p;
    if (c != '*' && c != '+' && c != '?' && c != '{')
        return MU_OK;
    if (!repeatable)
        return mu_onig_refuse(o, at, "nothing to repeat");
    o->p++;
    o->previous = 0;
    if (c == '{') {
        MU_TRY(read_interval(o, atom));
    } else {
        mu_buf_addc(o->out, (char)c);
        if (*o->p == '?' || *o->p == '+') /* reluctant, possessive */
            mu_buf_addc(o->out, (char)*o->p++);
    }
    c = *o->p;
    return c == '*' || c == '+' || c == '?' || c == '{' ? mu_onig_refuse(o, o->p, "a second repetition")
                                                        : MU_OK;
}

/* ---- expressions ---- */

static mu_status_t read_alternatives(onig_t *o);

/* After '('. */
static mu_status_t read_group(onig_t *o, bool *repeatable)
{
    static const char *const look[] = {"?=", "?!", "?<=", "?<!"};
    const unsigned char *at = o->p - 1;
    bool fold = o->fold;
    *repeatable = true;
    mu_buf_addc(o->out, '(');
    if (mu_onig_take(o, "?i:")) {
        o->fold = true;
        mu_buf_adds(o->out, "?i:");
    } else if (mu_onig_take(o, "?>")) {
        mu_buf_adds(o->out, "?>");
    } else if (*o->p != '?' || mu_onig_take(o, "?:")) {
        mu_buf_adds(o->out, "?:"); /* nothing refers to what a group held */
    } else {
        *repeatable = false;
        for (size_t i = 0; i < sizeof look / sizeof *look; i++)
            if (mu_onig_take(o, look[i])) {
                mu_buf_adds(o->out, look[i]);
                break;
            }
        if (o->out->data[o->out->len - 1] == '(')
            return mu_onig_refuse(o, at, "a group of this kind is not supported");
    }
    if (++o->depth > MU_ONIG_DEPTH)
        return mu_onig_refuse(o, at, "nested too deeply");
    MU_TRY(read_alternatives(o));
    if (!mu_onig_take(o, ")"))
        return mu_onig_refuse(o, at, "the group has no end");
    mu_buf_addc(o->out, ')');
    o->depth--;
    o->fold = fold;
    return MU_OK;
}

/* One character in (?i:...) stands for one character, but Oniguruma lets some pairs stand for one as well. */
static mu_status_t read_literal(onig_t *o, uint32_t c, const unsigned char *at)
{
    static const char pairs[][3] = {"ss", "ff", "fi", "fl", "st"};
    uint32_t small = c < 0x80 ? (uint32_t)tolower((int)c) : c;
    if (o->fold && c >= 0x80)
        return mu_onig_refuse(o, at, "a letter beyond ASCII inside (?i:...) is not supported");
    for (size_t i = 0; o->fold && i < sizeof pairs / sizeof *pairs; i++)
        if (o->previous == (unsigned char)pairs[i][0] && small == (unsigned char)pairs[i][1])
            return mu_onig_refuse(o, at,
                                  "two letters that are one ligature, inside (?i:...), are not supported");
    o->previous = o->fold ? small : 0;
    mu_onig_add_literal(o->out, c);
    return MU_OK;
}

/* After '\', outside of a class. */
static mu_status_t read_escape(onig_t *o, bool *repeatable)
{
    const unsigned char *at = o->p - 1;
    uint32_t c;
    mu_status_t status;
    if (mu_onig_read_character(o, &c, &status))
        return status == MU_OK ? read_literal(o, c, at) : status;
    o->previous = 0;
    if (mu_onig_take(o, "A") || mu_onig_take(o, "z")) {
        *repeatable = false;
        mu_buf_addf(o->out, "\\%c", o->p[-1]);
        return MU_OK;
    }
    bool alone = *o->p == 'p' || *o->p == 'P';
    if (!alone)
        mu_buf_addc(o->out, '[');
    MU_TRY(mu_onig_read_set(o, o->out));
    if (!alone)
        mu_buf_addc(o->out, ']');
    return MU_OK;
}

static mu_status_t read_atom(onig_t *o, bool *repeatable)
{
    const unsigned char *at = o->p;
    uint32_t c = mu_utf8_next(&o->p);
    *repeatable = true;
    if (c == '(' || c == '[' || c == '.' || c == '^' || c == '$')
        o->previous = 0;
    switch (c) {
    case '(':
        return read_group(o, repeatable);
    case '[':
        return mu_onig_read_class(o, o->out);
    case '\\':
        return read_escape(o, repeatable);
    case '.':
        mu_buf_addc(o->out, '.');
        return MU_OK;
    case '^': /* of a line */
        *repeatable = false;
        mu_buf_adds(o->out, "(?m:^)");
        return MU_OK;
    case '$':
        *repeatable = false;
        mu_buf_adds(o->out, "(?:(?=\\x0A)|(?<!\\x0A)\\z)");
        return MU_OK;
    case '*':
    case '+':
    case '?':
        return mu_onig_refuse(o, at, "nothing to repeat");
    case '{':
        return mu_onig_refuse(o, at, "a '{' that begins no {n,m}: write \\{");
    default:
        return read_literal(o, c, at);
    }
}

static mu_status_t read_alternatives(onig_t *o)
{
    while (*o->p && *o->p != ')') {
        size_t atom = o->out->len;
        bool repeatable;
        if (mu_onig_take(o, "|")) {
            o->previous = 0;
            mu_buf_addc(o->out, '|');
            continue;
        }
        MU_TRY(read_atom(o, &repeatable));
        MU_TRY(read_quantifier(o, atom, repeatable));
    }
    return MU_OK;
}

mu_status_t mu_onig_to_pcre2(const char *where, const char *regex, mu_buf_t *out)
{
    onig_t o = {.where = where, .regex = regex, .p = (const unsigned char *)regex, .out = out};
    if (regex[0] == '\0' || strlen(regex) > LENGTH_MAX)
        return mu_fail(MU_DATA, "%s: regular expression: wanted 1 to %d bytes", where, LENGTH_MAX);
    if (mu_onig_take(&o, "(?i)")) { /* at the start it holds for everything in both engines */
        o.fold = true;
        mu_buf_adds(out, "(?i)");
    }
    MU_TRY(read_alternatives(&o));
    return *o.p ? mu_onig_refuse(&o, o.p, "a ')' without '('") : MU_OK;
}
