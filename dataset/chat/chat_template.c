#include "dataset/chat/chat_template.h"
#include "common/log.h"
#include "common/words.h"
#include "dataset/chat/chat_rules.h"

#include <string.h>

struct mu_chat_template {
    const mu_chat_rules_t *rules;
    bool plain;
    char *bos, *eos; /* NULL: the template uses none */
    char *system;    /* NULL: none */
    char *before[MU_CHAT_ROLES], *stop, *prompt;
};

/* ---- which one ---- */

static mu_status_t refuse(const char *subject, const char *found, const char *advice)
{
    mu_buf_t list = MU_BUF_INIT;
    const char *const *names = mu_chat_template_names(), *near = mu_nearest_word(found, names);
    for (int i = 0; names[i]; i++)
        mu_buf_addf(&list, "%s%s", i > 0 ? ", " : "", names[i]);
    mu_status_t status = mu_fail(MU_CONFIG, "%s%s%s: the templates that are known: %s%s%s%s%s", subject,
                                 *found ? ": " : "", found, list.data, near ? "; did you mean " : "",
                                 near ? near : "", *advice ? ": " : "", advice);
    mu_buf_release(&list);
    return status;
}

static mu_status_t choose(const mu_chat_choice_t *choice, const mu_chat_files_t *files,
                          const mu_chat_rules_t **rules, const char **system)
{
    static const char advice[] = "set muster.chat_template to one that gives the same text";
    *system = NULL;
    if (choice->name) {
        *rules = mu_chat_rules_named(choice->name);
        return *rules ? MU_OK : refuse("muster.chat_template", choice->name, "");
    }
    if (!files || !files->jinja)
        return refuse("no chat template: the tokenizer's files have none", "", advice);
    *rules = mu_chat_rules_known(files->jinja, system);
    if (*rules)
        return MU_OK;
    char *subject = mu_format("%s: its chat template is not one that muster knows", files->where);
    mu_status_t status = refuse(subject, "", advice);
    free(subject);
    return status;
}

/* ---- making one ---- */

static char *filled(const mu_chat_template_t *t, const char *text)
{
    mu_buf_t out = MU_BUF_INIT;
    mu_buf_reserve(&out, 0);
    for (; *text; text++) {
        if (*text == *MU_CHAT_BOS)
            mu_buf_adds(&out, t->bos);
        else if (*text == *MU_CHAT_EOS)
            mu_buf_adds(&out, t->eos);
        else
            mu_buf_addc(&out, *text);
    }
    return mu_buf_detach(&out);
}

static bool uses(const mu_chat_rules_t *r, const char *mark)
{
    if (strstr(r->begin, mark))
        return true;
    for (int i = 0; i < MU_CHAT_ROLES; i++)
        if (r->after[i] && strstr(r->after[i], mark))
            return true;
    return false;
}

static mu_status_t take_ends(mu_chat_template_t *t, const mu_chat_choice_t *choice,
                             const mu_chat_files_t *files, const mu_tokenizer_t *tok)
{
    mu_buf_t text = MU_BUF_INIT;
    int32_t eod = mu_tokenizer_eod(tok);
    if (uses(t->rules, MU_CHAT_BOS))
        t->bos = mu_strdup(choice->begin ? choice->begin : files && files->bos ? files->bos : t->rules->bos);
    if (!uses(t->rules, MU_CHAT_EOS))
        return MU_OK;
    if (eod < 0)
        return mu_fail(
            MU_CONFIG,
            "muster.chat_template: %s ends an answer with the tokenizer's eos_token, and it has none",
            t->rules->name);
    MU_TRY(mu_tokenizer_decode(tok, &eod, 1, &text));
    t->eos = mu_buf_detach(&text);
    return MU_OK;
}

/* The model writes the space before its answer itself, as part of the first token. */
static char *without_last_spaces(const char *text)
{
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == ' ')
        n--;
    return mu_format("%.*s", (int)n, text);
}

static mu_status_t check_token(const mu_chat_template_t *t, const mu_tokenizer_t *tok, const char *token)
{
    mu_ids_t ids = MU_IDS_INIT;
    mu_status_t status = mu_tokenizer_encode(tok, token, strlen(token), &ids);
    if (status == MU_OK && ids.len != 1)
        status =
            mu_fail(MU_CONFIG,
                    "muster.chat_template: %s uses the token '%s', which the tokenizer does not have: add it "
                    "with --special '%s', or choose another template",
                    t->rules->name, token, token);
    mu_ids_release(&ids);
    return status;
}

static mu_status_t check_tokens(const mu_chat_template_t *t, const mu_tokenizer_t *tok)
{
    for (int i = 0; t->rules->tokens[i]; i++)
        MU_TRY(check_token(t, tok, t->rules->tokens[i]));
    if (t->bos)
        MU_TRY(check_token(t, tok, t->bos));
    return check_token(t, tok, t->stop);
}

mu_status_t mu_chat_template_find(const mu_chat_choice_t *choice, const mu_chat_files_t *files,
                                  const mu_tokenizer_t *tok, mu_chat_template_t **out)
{
    const mu_chat_rules_t *rules;
    const char *system;
    mu_status_t status;
    MU_TRY(choose(choice, files, &rules, &system));
    mu_chat_template_t *t = mu_calloc(1, sizeof *t);
    t->rules = rules;
    t->plain = rules == mu_chat_rules_named("plain");
    if (choice->system || system)
        t->system = mu_strdup(choice->system ? choice->system : system);
    MU_TRY_GOTO(status, take_ends(t, choice, files, tok), out);
    for (int i = 0; i < MU_CHAT_ROLES; i++)
        if (rules->before[i])
            t->before[i] = mu_strdup(t->plain && choice->prefix[i] ? choice->prefix[i] : rules->before[i]);
    t->stop = filled(t, rules->stop);
    t->prompt = t->plain ? without_last_spaces(t->before[MU_CHAT_ASSISTANT]) : mu_strdup(rules->prompt);
    status = check_tokens(t, tok);
out:
    if (status == MU_OK)
        *out = t;
    else
        mu_chat_template_free(t);
    return status;
}

void mu_chat_template_free(mu_chat_template_t *t)
{
    if (!t)
        return;
    free(t->bos);
    free(t->eos);
    free(t->system);
    for (int i = 0; i < MU_CHAT_ROLES; i++)
        free(t->before[i]);
    free(t->stop);
    free(t->prompt);
    free(t);
}

mu_chat_choice_t mu_chat_template_choice(const mu_chat_template_t *t)
{
    mu_chat_choice_t choice = {.name = t->rules->name, .begin = t->bos, .system = t->system};
    for (int i = 0; t->plain && i < MU_CHAT_ROLES; i++)
        choice.prefix[i] = t->before[i];
    return choice;
}

const char *mu_chat_template_stop(const mu_chat_template_t *t)
{
    return t->stop;
}

/* ---- rendering ---- */

void mu_chat_text_release(mu_chat_text_t *text)
{
    mu_buf_release(&text->text);
    free(text->answers);
    free(text->turns);
    free(text->trained);
    *text = (mu_chat_text_t)MU_CHAT_TEXT_INIT;
}

static void add_answer(mu_chat_text_t *out, size_t from, bool trained)
{
    if (out->count == out->room) {
        out->room = out->room > 0 ? out->room * 2 : 8;
        out->answers = mu_realloc(out->answers, (size_t)out->room * sizeof *out->answers);
        out->turns = mu_realloc(out->turns, (size_t)out->room * sizeof *out->turns);
        out->trained = mu_realloc(out->trained, (size_t)out->room * sizeof *out->trained);
    }
    size_t before = out->count > 0 ? out->turns[out->count - 1].to : 0;
    out->answers[out->count] = (mu_chat_span_t){from, out->text.len};
    out->turns[out->count] = (mu_chat_span_t){before, out->text.len};
    out->trained[out->count++] = trained;
}

/* Bytes of the white space that begins a text (`last`: ends it), as Python's strip() has it; 0: none does. */
static size_t space_at(const char *text, size_t n, bool last)
{
    static const char *const more[] = {"\xC2\x85", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003",
                                       "\u2004",   "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
                                       "\u2028",   "\u2029", "\u202f", "\u205f", "\u3000"};
    unsigned char c = n > 0 ? (unsigned char)text[last ? n - 1 : 0] : 'x';
    if (c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f))
        return 1;
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        size_t length = strlen(more[i]);
        if (n >= length && memcmp(last ? text + n - length : text, more[i], length) == 0)
            return length;
    }
    return 0;
}

static void strip(const char **text, size_t *n)
{
    size_t space;
    while ((space = space_at(*text, *n, false)) > 0) {
        *text += space;
        *n -= space;
    }
    while ((space = space_at(*text, *n, true)) > 0)
        *n -= space;
}

static void add_filled(const mu_chat_template_t *t, const char *text, mu_buf_t *out)
{
    char *whole = filled(t, text);
    mu_buf_adds(out, whole);
    free(whole);
}

static void add_message(const mu_chat_template_t *t, mu_chat_role_t role, const char *text, size_t n,
                        bool untrained, mu_chat_text_t *out)
{
    const mu_chat_rules_t *r = t->rules;
    if (r->trim)
        strip(&text, &n);
    mu_buf_adds(&out->text, t->before[role]);
    size_t from = out->text.len;
    mu_buf_add(&out->text, text, n);
    if (role == MU_CHAT_ASSISTANT) {
        mu_buf_adds(&out->text, t->stop);
        add_answer(out, from, !untrained);
        add_filled(t, r->after[role] + strlen(r->stop), &out->text);
        out->turns[out->count - 1].to = out->text.len;
    } else {
        add_filled(t, r->after[role], &out->text);
    }
}

static bool fits(const mu_chat_template_t *t, const mu_chat_t *chat, char why[MU_CHAT_WHY])
{
    for (int i = 0; i < chat->count; i++) {
        mu_chat_role_t role = chat->message[i].role;
        if (!t->rules->before[role]) {
            snprintf(why, MU_CHAT_WHY, "message %d: the template %s has no %s messages", i + 1,
                     t->rules->name, mu_chat_role_name(role));
            return false;
        }
        if (t->rules->alternates && role != (i % 2 == 0 ? MU_CHAT_USER : MU_CHAT_ASSISTANT)) {
            snprintf(why, MU_CHAT_WHY,
                     "message %d is the %s's: in the template %s user and assistant alternate", i + 1,
                     mu_chat_role_name(role), t->rules->name);
            return false;
        }
    }
    return true;
}

bool mu_chat_render(const mu_chat_template_t *t, const mu_chat_t *chat, bool prompt, mu_chat_text_t *out,
                    char why[MU_CHAT_WHY])
{
    mu_buf_clear(&out->text);
    mu_buf_reserve(&out->text, 0);
    out->count = 0;
    if (!fits(t, chat, why))
        return false;
    add_filled(t, t->rules->begin, &out->text);
    if (t->system && t->before[MU_CHAT_SYSTEM] &&
        (chat->count == 0 || chat->message[0].role != MU_CHAT_SYSTEM))
        add_message(t, MU_CHAT_SYSTEM, t->system, strlen(t->system), false, out);
    for (int i = 0; i < chat->count; i++) {
        const mu_chat_message_t *m = &chat->message[i];
        add_message(t, m->role, chat->text.data + m->at, m->n, m->untrained, out);
    }
    if (prompt)
        mu_buf_adds(&out->text, t->prompt);
    return true;
}

bool mu_chat_holds_tokens(const mu_chat_template_t *t, const mu_chat_t *chat)
{
    const char *text = chat->text.data;
    const char *const more[] = {t->stop, t->bos};
    for (int i = 0; t->rules->tokens[i]; i++)
        if (memmem(text, chat->text.len, t->rules->tokens[i], strlen(t->rules->tokens[i])))
            return true;
    for (int i = 0; i < 2; i++)
        if (more[i] && memmem(text, chat->text.len, more[i], strlen(more[i])))
            return true;
    return false;
}
