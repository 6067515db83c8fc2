/* The --help and the man page of a verb, from its table. */
#include "common/options.h"
#include "common/pages.h"

#include <string.h>

enum { WIDTH = 100, COLUMN = 25 }; /* of a line of help; where an option's text begins */

/* Appends `words` in lines of at most WIDTH characters, each after the first after `indent` spaces; `at` is the column
 * where the first begins. A page of docs/ is named by its path. Ends with a newline. A newline in `words` begins a
 * line; an empty line stays one. */
static void wrap(const char *words, int at, int indent, mu_buf_t *out)
{
    mu_buf_t whole = MU_BUF_INIT;
    mu_pages_expand(words, &whole);
    const char *text = whole.data ? whole.data : "";
    while (*text) {
        size_t n = strcspn(text, " \n");
        if (at > indent && at + 1 + (int)n > WIDTH) {
            mu_buf_addf(out, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent && n > 0) {
            mu_buf_addc(out, ' ');
            at++;
        }
        mu_buf_addf(out, "%.*s", (int)n, text);
        at += (int)n;
        text += n;
        if (*text == '\n') {
            mu_buf_addf(out, "\n%*s", text[1] == '\n' ? 0 : indent, "");
            at = indent;
        }
        text += *text != '\0';
    }
    mu_buf_addc(out, '\n');
    mu_buf_release(&whole);
}

static void label(const mu_option_t *o, mu_buf_t *out)
{
    mu_buf_adds(out, o->name);
    if (o->value)
        mu_buf_addf(out, " %s", o->value);
    if (o->type == MU_OPTION_MANY || (o->type == MU_OPTION_OPERANDS && o->most != 1))
        mu_buf_adds(out, "...");
}

/* "CONFIG... [key=value...] [--workers N]" */
static void synopsis(const mu_command_t *command, mu_buf_t *out)
{
    for (const mu_option_t *o = command->options; o->name; o++) {
        if (o->type == MU_OPTION_NOTE || (o->name[0] == '-' && !o->help))
            continue;
        bool again = o->type == MU_OPTION_WORDS || o->type == MU_OPTION_OVERRIDES;
        mu_buf_adds(out, o->required ? " " : " [");
        label(o, out);
        mu_buf_adds(out, again ? "..." : "");
        mu_buf_adds(out, o->required ? "" : "]");
    }
}

/* Words of a synopsis stay whole: "[--workers N]" is not cut. */
static void wrap_synopsis(const char *text, int indent, mu_buf_t *out)
{
    int at = indent;
    while (*text) {
        text += strspn(text, " ");
        size_t n = 0;
        for (int depth = 0;
             text[n] && (depth > 0 || text[n] != ' ' || text[n + 1] == '-' || !strchr("[-", text[n + 1]));
             n++) {
            depth += (text[n] == '[') - (text[n] == ']');
            if (depth == 0 && text[n] != ' ' && (text[n + 1] == ' ' && strchr("[-", text[n + 2]))) {
                n++;
                break;
            }
        }
        if (at > indent && at + 1 + (int)n > WIDTH) {
            mu_buf_addf(out, "\n%*s", indent, "");
            at = indent;
        }
        mu_buf_addf(out, " %.*s", (int)n, text);
        at += (int)n + 1;
        text += n;
    }
    mu_buf_addc(out, '\n');
}

void mu_options_help(const mu_command_t *command, mu_buf_t *out)
{
    mu_buf_t line = MU_BUF_INIT;
    synopsis(command, &line);
    size_t start = out->len;
    mu_buf_addf(out, "usage: muster %s", command->name);
    wrap_synopsis(line.data, (int)(out->len - start), out);
    mu_buf_addc(out, '\n');
    wrap(command->about, 0, 0, out);
    mu_buf_addc(out, '\n');
    for (const mu_option_t *o = command->options; o->name; o++) {
        if (!o->help)
            continue;
        if (o->type == MU_OPTION_NOTE) {
            mu_buf_addc(out, '\n');
            wrap(o->help, 0, 0, out);
            continue;
        }
        mu_buf_clear(&line);
        label(o, &line);
        mu_buf_addf(out, "  %-*s", COLUMN - 2, line.data);
        if (line.len > COLUMN - 3)
            mu_buf_addf(out, "\n%*s", COLUMN, "");
        wrap(o->help, COLUMN, COLUMN, out);
    }
    if (command->notes) {
        mu_buf_addc(out, '\n');
        wrap(command->notes, 0, 0, out);
    }
    if (command->more)
        command->more(out);
    if (command->exits) {
        mu_buf_addc(out, '\n');
        mu_buf_adds(out, "exit codes:");
        wrap(command->exits, 11, 0, out);
    }
    mu_buf_release(&line);
}

/* ---- man ---- */

/* Text for troff: no line begins with a dot or a quote, backslashes and hyphens are themselves. */
static void troff(const char *text, mu_buf_t *out)
{
    bool start = out->len == 0 || out->data[out->len - 1] == '\n';
    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            mu_buf_adds(out, "\\&");
        start = *text == '\n';
        if (start && text[1] == '\n') {
            mu_buf_adds(out, "\n.PP");
            continue;
        }
        if (*text == '\\')
            mu_buf_adds(out, "\\e");
        else if (*text == '-')
            mu_buf_adds(out, "\\-");
        else
            mu_buf_addc(out, *text);
    }
    mu_buf_addc(out, '\n');
}

static void page_name(const mu_command_t *command, bool upper, mu_buf_t *out)
{
    mu_buf_adds(out, upper ? "MUSTER-" : "muster-");
    for (const char *p = command->name; *p; p++)
        mu_buf_addc(out, *p == ' ' ? '-' : upper && *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p);
}

static bool names_page(const mu_command_t *command)
{
    return mu_pages_named(command->about) || (command->notes && mu_pages_named(command->notes)) ||
           (command->exits && mu_pages_named(command->exits));
}

void mu_options_man(const mu_command_t *command, mu_buf_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_adds(out, ".TH ");
    page_name(command, true, out);
    mu_buf_addf(out, " 1 \"\" \"muster %s\"\n.nh\n.ad l\n.SH NAME\n", MU_VERSION);
    page_name(command, false, &text);
    mu_buf_addf(&text, " - %s", command->summary);
    troff(text.data, out);
    mu_buf_clear(&text);
    mu_buf_addf(out, ".SH SYNOPSIS\n.B muster %s\n", command->name);
    synopsis(command, &text);
    troff(text.data + strspn(text.data, " "), out);
    mu_buf_adds(out, ".SH DESCRIPTION\n");
    troff(command->about, out);
    mu_buf_adds(out, ".SH OPTIONS\n");
    for (const mu_option_t *o = command->options; o->name; o++) {
        if (!o->help)
            continue;
        mu_buf_clear(&text);
        label(o, &text);
        mu_buf_adds(out, o->type == MU_OPTION_NOTE ? ".PP\n" : ".TP\n.B ");
        if (o->type != MU_OPTION_NOTE)
            troff(text.data, out);
        troff(o->help, out);
    }
    mu_buf_clear(&text);
    if (command->more)
        command->more(&text);
    if (command->notes || text.len > 0)
        mu_buf_adds(out, ".SH NOTES\n");
    if (command->notes)
        troff(command->notes, out);
    if (text.len > 0) {
        mu_buf_adds(out, ".nf\n");
        troff(text.data, out);
        mu_buf_adds(out, ".fi\n");
    }
    if (command->exits) {
        mu_buf_adds(out, ".SH EXIT STATUS\n");
        troff(command->exits, out);
    }
    mu_buf_adds(out, ".SH SEE ALSO\n.BR muster (1)\n");
    if (names_page(command)) /* muster(1) says where they lie */
        mu_buf_adds(out, ".PP\nPages docs/*.md: see FILES in\n.BR muster (1).\n");
    mu_buf_release(&text);
}
