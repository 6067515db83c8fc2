#define PCRE2_CODE_UNIT_WIDTH 8

#include "dataset/tokenizer/pattern.h"
#include "dataset/tokenizer/onig.h"
#include "dataset/tokenizer/unicode.h"
#include "common/buf.h"
#include "common/log.h"

#include <pcre2.h>

enum { STEPS_MAX = 10000000, HEAP_MAX_KIB = 65536, STACK_LEAST = 32 << 10, STACK_MOST = 4 << 20 };

struct mu_pattern {
    char *where, *text;
    size_t n;
    pcre2_code *code; /* NULL: a literal text */
    bool jit;
};

struct mu_finder {
    const mu_pattern_t *pattern;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static mu_status_t compile(mu_pattern_t *pattern)
{
    mu_buf_t text = MU_BUF_INIT;
    int error;
    PCRE2_SIZE at;
    pcre2_compile_context *context = NULL;
    mu_status_t status = mu_onig_to_pcre2(pattern->where, pattern->text, &text);
    if (status != MU_OK)
        goto out;
    context = pcre2_compile_context_create(NULL);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF); /* what '.' does not match */
    pattern->code = pcre2_compile((PCRE2_SPTR)text.data, text.len,
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE | PCRE2_NEVER_BACKSLASH_C,
                                  &error, &at, context);
    if (!pattern->code) {
        char why[160] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        status = mu_fail(MU_DATA, "%s: regular expression '%.200s': %s", pattern->where, pattern->text, why);
        goto out;
    }
    pattern->jit = pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE) == 0;
    if (!pattern->jit)
        mu_warn("%s: the regular expression cannot be compiled to machine code here: this will be slower",
                pattern->where);
out:
    pcre2_compile_context_free(context);
    mu_buf_release(&text);
    return status;
}

mu_status_t mu_pattern_new(const char *where, const char *text, bool regex, mu_pattern_t **out)
{
    mu_pattern_t *pattern = mu_calloc(1, sizeof *pattern);
    pattern->where = mu_strdup(where);
    pattern->text = mu_strdup(text);
    pattern->n = strlen(text);
    mu_status_t status = MU_OK;
    if (regex)
        status = compile(pattern);
    else if (pattern->n == 0)
        status = mu_fail(MU_DATA, "%s: the text that is looked for is empty", where);
    if (status != MU_OK) {
        mu_pattern_free(pattern);
        return status;
    }
    *out = pattern;
    return MU_OK;
}

mu_status_t mu_pattern_read(const mu_part_t *part, mu_pattern_t **out)
{
    const char *text;
    bool regex = json_object_get(part->json, "Regex") != NULL;
    MU_TRY(mu_part_keys(part, (const char *const[]){"String", "Regex", NULL}));
    if (json_object_size(part->json) != 1)
        return mu_fail(MU_DATA, "%s: %s: wanted one of 'String' and 'Regex'", part->file, part->where);
    MU_TRY(mu_part_text(part, regex ? "Regex" : "String", &text));
    char *where = mu_format("%s: %s", part->file, part->where);
    mu_status_t status = mu_pattern_new(where, text, regex, out);
    free(where);
    return status;
}

void mu_pattern_free(mu_pattern_t *pattern)
{
    if (!pattern)
        return;
    pcre2_code_free(pattern->code);
    free(pattern->where);
    free(pattern->text);
    free(pattern);
}

bool mu_pattern_is_regex(const mu_pattern_t *pattern)
{
    return pattern->code != NULL;
}

const char *mu_pattern_text(const mu_pattern_t *pattern)
{
    return pattern->text;
}

mu_finder_t *mu_finder_new(const mu_pattern_t *pattern)
{
    mu_finder_t *finder = mu_calloc(1, sizeof *finder);
    finder->pattern = pattern;
    if (!pattern->code)
        return finder;
    finder->data = pcre2_match_data_create_from_pattern(pattern->code, NULL);
    finder->context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(finder->context, STEPS_MAX);
    pcre2_set_heap_limit(finder->context, HEAP_MAX_KIB);
    if (pattern->jit) {
        finder->stack = pcre2_jit_stack_create(STACK_LEAST, STACK_MOST, NULL);
        pcre2_jit_stack_assign(finder->context, NULL, finder->stack);
    }
    return finder;
}

void mu_finder_free(mu_finder_t *finder)
{
    if (!finder)
        return;
    pcre2_match_data_free(finder->data);
    pcre2_match_context_free(finder->context);
    pcre2_jit_stack_free(finder->stack);
    free(finder);
}

static bool find_regex(mu_finder_t *finder, const char *text, size_t n, mu_found_t *found,
                       mu_status_t *status)
{
    const mu_pattern_t *pattern = finder->pattern;
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int rc = pattern->jit ? pcre2_jit_match(pattern->code, subject, n, found->from, PCRE2_NO_UTF_CHECK,
                                            finder->data, finder->context)
                          : pcre2_match(pattern->code, subject, n, found->from, PCRE2_NO_UTF_CHECK,
                                        finder->data, finder->context);
    if (rc >= 0) {
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(finder->data);
        found->start = at[0];
        found->end = at[1];
        return true;
    }
    if (rc != PCRE2_ERROR_NOMATCH) {
        char why[160] = "";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        *status = mu_fail(MU_DATA, "%s: regular expression '%.200s' on a text of %zu bytes: %s",
                          pattern->where, pattern->text, n, why);
    }
    return false;
}

static bool find_text(const mu_pattern_t *pattern, const char *text, size_t n, mu_found_t *found)
{
    const char *at = memmem(text + found->from, n - found->from, pattern->text, pattern->n);
    if (!at)
        return false;
    found->start = (size_t)(at - text);
    found->end = found->start + pattern->n;
    return true;
}

bool mu_finder_next(mu_finder_t *finder, const char *text, size_t n, mu_found_t *found, mu_status_t *status)
{
    while (found->from <= n) {
        size_t before = found->end;
        if (finder->pattern->code ? !find_regex(finder, text, n, found, status)
                                  : !find_text(finder->pattern, text, n, found))
            return false;
        if (found->end > found->start || !found->any || found->end != before) {
            found->from = found->end;
            found->any = true;
            return true;
        }
        /* an empty match at the end of the one before */
        const unsigned char *p = (const unsigned char *)text + found->from;
        if (found->from < n)
            mu_utf8_next(&p);
        else
            p++;
        found->from = (size_t)(p - (const unsigned char *)text);
    }
    return false;
}
