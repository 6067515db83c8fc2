#include "dataset/prepare/template.h"
#include "dataset/tokenizer/utf8.h"

#include <string.h>

static int name_index(mu_template_t *t, const char *name, size_t n)
{
    for (int i = 0; i < t->name_count; i++) {
        if (strlen(t->names[i]) == n && memcmp(t->names[i], name, n) == 0)
            return i;
    }
    if (t->name_count == MU_TEMPLATE_NAMES_MAX)
        return -1;
    t->names[t->name_count] = mu_format("%.*s", (int)n, name);
    return t->name_count++;
}

/* Ends the literal that begins at byte `from` with a member. */
static void add_part(mu_template_t *t, size_t from, int name)
{
    t->parts = mu_realloc(t->parts, (size_t)(t->part_count + 1) * sizeof *t->parts);
    t->parts[t->part_count++] = (mu_template_part_t){from, t->literals.len - from, name};
}

typedef struct scan {
    const char *text;
    size_t at;
    const char *why;
} scan_t;

static bool escape(scan_t *s, mu_template_t *t)
{
    static const char from[] = "ntr\\", to[] = "\n\t\r\\";
    char c = s->text[s->at + 1];
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) {
        s->why = "an escape is \\n, \\t, \\r or \\\\";
        return false;
    }
    mu_buf_addc(&t->literals, to[found - from]);
    s->at += 2;
    return true;
}

/* At a brace that is not doubled. */
static bool member(scan_t *s, mu_template_t *t, size_t *literal)
{
    const char *name = s->text + s->at + 1;
    size_t n = strcspn(name, "{}");
    if (s->text[s->at] == '}') {
        s->why = "a closing brace without an opening one; as a character it is written }}";
        return false;
    }
    if (n == 0 || name[n] != '}') {
        s->why = n == 0 && name[n] == '}'
                     ? "a name is missing between the braces"
                     : "the opening brace is not closed; as a character it is written {{";
        return false;
    }
    int index = name_index(t, name, n);
    if (index < 0) {
        s->why = "more than 64 names";
        return false;
    }
    add_part(t, *literal, index);
    *literal = t->literals.len;
    s->at += n + 2;
    return true;
}

bool mu_template_parse(const char *text, mu_template_t *out, const char **why, size_t *at)
{
    scan_t s = {text, 0, NULL};
    size_t literal = 0;
    bool good = mu_utf8_valid(text, strlen(text)) == strlen(text);
    *out = (mu_template_t){0};
    if (!good)
        s.why = "it is not UTF-8";
    while (good && text[s.at]) {
        char c = text[s.at];
        if (c == '\\') {
            good = escape(&s, out);
        } else if ((c == '{' || c == '}') && text[s.at + 1] != c) {
            good = member(&s, out, &literal);
        } else {
            mu_buf_addc(&out->literals, c);
            s.at += c == '{' || c == '}' ? 2 : 1;
        }
    }
    if (good && out->name_count == 0) {
        s.why = "it names no member, as '{text}' does";
        good = false;
    }
    add_part(out, literal, -1);
    *why = s.why;
    *at = s.at;
    return good;
}

void mu_template_join(char *const *names, int n, mu_template_t *out)
{
    *out = (mu_template_t){0};
    for (int i = 0; i < n; i++) {
        size_t from = out->literals.len;
        if (i > 0)
            mu_buf_addc(&out->literals, '\n');
        add_part(out, from, name_index(out, names[i], strlen(names[i])));
    }
}

void mu_template_fill(const mu_template_t *t, const mu_template_value_t *values, mu_buf_t *out)
{
    mu_buf_reserve(out, 0);
    for (int i = 0; i < t->part_count; i++) {
        const mu_template_part_t *part = &t->parts[i];
        if (part->n > 0)
            mu_buf_add(out, t->literals.data + part->from, part->n);
        if (part->name >= 0 && values[part->name].n > 0)
            mu_buf_add(out, values[part->name].text, values[part->name].n);
    }
}

void mu_template_release(mu_template_t *t)
{
    for (int i = 0; i < t->name_count; i++)
        free(t->names[i]);
    free(t->parts);
    mu_buf_release(&t->literals);
    *t = (mu_template_t){0};
}
