#include "dataset/tokenizer/normalizer.h"
#include "dataset/tokenizer/utf8.h"
#include "common/log.h"

/* ---- reading ---- */

static mu_status_t read_form(const mu_part_t *part, mu_form_t form, mu_step_t *step)
{
    step->kind = MU_STEP_FORM;
    step->form = form;
    return mu_part_keys(part, (const char *const[]){NULL});
}

static mu_status_t read_strip(const mu_part_t *part, mu_step_t *step)
{
    step->kind = MU_STEP_STRIP;
    step->left = step->right = true;
    MU_TRY(mu_part_keys(part, (const char *const[]){"strip_left", "strip_right", NULL}));
    MU_TRY(mu_part_bool(part, "strip_left", &step->left));
    return mu_part_bool(part, "strip_right", &step->right);
}

static mu_status_t read_prepend(const mu_part_t *part, mu_step_t *step)
{
    const char *content;
    step->kind = MU_STEP_PREPEND;
    MU_TRY(mu_part_keys(part, (const char *const[]){"prepend", NULL}));
    MU_TRY(mu_part_text(part, "prepend", &content));
    step->content = mu_strdup(content);
    return MU_OK;
}

static mu_status_t read_replace(const mu_part_t *part, mu_step_t *step)
{
    const char *content;
    mu_part_t pattern;
    step->kind = MU_STEP_REPLACE;
    MU_TRY(mu_part_keys(part, (const char *const[]){"pattern", "content", NULL}));
    MU_TRY(mu_part_text(part, "content", &content));
    step->content = mu_strdup(content);
    if (!mu_part_member(part, "pattern", &pattern))
        return mu_fail(MU_DATA, "%s: %s: without 'pattern'", part->file, part->where);
    return mu_pattern_read(&pattern, &step->pattern);
}

static mu_status_t read_step(void *arg, const mu_part_t *part)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    mu_normalizer_t *normalizer = arg;
    const char *type = mu_part_type(part);
    if (normalizer->count == MU_NORMALIZER_STEPS)
        return mu_fail(MU_DATA, "%s: %s: more than %d normalizers", part->file, part->where,
                       MU_NORMALIZER_STEPS);
    mu_step_t *step = &normalizer->step[normalizer->count++];
    for (int form = 0; form < 4; form++)
        if (strcmp(type, forms[form]) == 0)
            return read_form(part, (mu_form_t)form, step);
    step->kind = MU_STEP_LOWERCASE;
    if (strcmp(type, "Lowercase") == 0)
        return mu_part_keys(part, (const char *const[]){NULL});
    if (strcmp(type, "Strip") == 0)
        return read_strip(part, step);
    if (strcmp(type, "Prepend") == 0)
        return read_prepend(part, step);
    if (strcmp(type, "Replace") == 0)
        return read_replace(part, step);
    return mu_part_refuse(part, type, "NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace");
}

mu_status_t mu_normalizer_read(const mu_part_t *root, mu_normalizer_t *out)
{
    return mu_part_each(root, "normalizer", "normalizers", read_step, out);
}

void mu_normalizer_release(mu_normalizer_t *normalizer)
{
    for (int i = 0; i < normalizer->count; i++) {
        free(normalizer->step[i].content);
        mu_pattern_free(normalizer->step[i].pattern);
    }
    *normalizer = (mu_normalizer_t){.count = 0};
}

bool mu_normalizer_is_nfc(const mu_normalizer_t *normalizer)
{
    bool nfc = normalizer->count > 0;
    for (int i = 0; i < normalizer->count; i++)
        nfc = nfc && normalizer->step[i].kind == MU_STEP_FORM && normalizer->step[i].form == MU_FORM_NFC;
    return nfc;
}

void mu_normalizer_describe(const mu_normalizer_t *normalizer, mu_buf_t *out)
{
    for (int i = 0; i < normalizer->count; i++) {
        const mu_step_t *s = &normalizer->step[i];
        mu_buf_addf(out, "normalizer %d form=%d strip=%d%d", s->kind, s->form, s->left, s->right);
        if (s->content)
            mu_buf_addf(out, " content=%zu:%s", strlen(s->content), s->content);
        if (s->pattern)
            mu_buf_addf(out, " regex=%d:%zu:%s", mu_pattern_is_regex(s->pattern),
                        strlen(mu_pattern_text(s->pattern)), mu_pattern_text(s->pattern));
        mu_buf_addc(out, '\n');
    }
}

/* ---- doing ---- */

void mu_normalizing_init(const mu_normalizer_t *normalizer, mu_normalizing_t *out)
{
    *out = (mu_normalizing_t){.text = {MU_BUF_INIT, MU_BUF_INIT}};
    for (int i = 0; i < normalizer->count; i++)
        if (normalizer->step[i].pattern)
            out->finder[i] = mu_finder_new(normalizer->step[i].pattern);
}

void mu_normalizing_release(mu_normalizing_t *work)
{
    for (int i = 0; i < MU_NORMALIZER_STEPS; i++)
        mu_finder_free(work->finder[i]);
    mu_buf_release(&work->text[0]);
    mu_buf_release(&work->text[1]);
}

static bool is_space(const mu_unicode_t *unicode, const unsigned char *p)
{
    return (mu_unicode_flags(unicode, mu_utf8_next(&p)) & MU_CHAR_CLASS) == MU_CHAR_SPACE;
}

static void strip(const mu_step_t *step, const mu_unicode_t *unicode, const char **text, size_t *n)
{
    const unsigned char *p = (const unsigned char *)*text, *end = p + *n;
    while (step->left && p < end && is_space(unicode, p))
        mu_utf8_next(&p);
    while (step->right && p < end) {
        const unsigned char *last = end - 1;
        while ((*last & 0xC0) == 0x80)
            last--;
        if (!is_space(unicode, last))
            break;
        end = last;
    }
    *text = (const char *)p;
    *n = (size_t)(end - p);
}

static mu_status_t replace(const mu_step_t *step, mu_finder_t *finder, const char *text, size_t n,
                           mu_buf_t *out)
{
    mu_found_t found = {0};
    mu_status_t status = MU_OK;
    size_t done = 0, content = strlen(step->content);
    while (out->len <= INT32_MAX && mu_finder_next(finder, text, n, &found, &status)) {
        mu_buf_add(out, text + done, found.start - done);
        mu_buf_add(out, step->content, content);
        done = found.end;
    }
    mu_buf_add(out, text + done, n - done);
    return status;
}

static mu_status_t take_step(const mu_step_t *step, mu_finder_t *finder, const mu_unicode_t *unicode,
                             const char *text, size_t n, mu_buf_t *out)
{
    switch (step->kind) {
    case MU_STEP_FORM:
        mu_unicode_form(unicode, step->form, text, n, out);
        return MU_OK;
    case MU_STEP_LOWERCASE:
        mu_unicode_lower(text, n, out);
        return MU_OK;
    case MU_STEP_PREPEND:
        if (n > 0)
            mu_buf_adds(out, step->content);
        mu_buf_add(out, text, n);
        return MU_OK;
    default:
        return replace(step, finder, text, n, out);
    }
}

mu_status_t mu_normalize(const mu_normalizer_t *normalizer, mu_normalizing_t *work,
                         const mu_unicode_t *unicode, bool continues, const char **text, size_t *n)
{
    int next = 0;
    for (int i = 0; i < normalizer->count; i++) {
        const mu_step_t *step = &normalizer->step[i];
        if (step->kind == MU_STEP_STRIP)
            strip(step, unicode, text, n);
        if (step->kind == MU_STEP_STRIP || (step->kind == MU_STEP_PREPEND && continues))
            continue;
        mu_buf_t *out = &work->text[next];
        mu_buf_clear(out);
        MU_TRY(take_step(step, work->finder[i], unicode, *text, *n, out));
        if (out->len > INT32_MAX)
            return mu_fail(MU_DATA,
                           "a text of %zu bytes becomes longer than %d by the tokenizer's normalizer: divide "
                           "it into documents",
                           *n, INT32_MAX);
        *text = out->data ? out->data : "";
        *n = out->len;
        next = 1 - next;
    }
    return MU_OK;
}
