#include "worker/infer/labelled.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"

#include <string.h>

enum { CHOICES_MAX = 1024, VALUES_MAX = 4096, EXAMPLES_MAX = 1 << 24 };
static const size_t FILE_LIMIT = (size_t)1 << 30;

typedef struct place {
    const char *path;
    int line;
} place_t;

static mu_status_t bad(const place_t *place, const char *what)
{
    return mu_fail(MU_DATA, "%s:%d: %s", place->path, place->line, what);
}

/* Bytes of UTF-8 that begin a character. */
static int64_t characters(const char *text)
{
    int64_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static mu_status_t take_choices(const place_t *place, const json_t *list, mu_labelled_example_t *e)
{
    size_t n = json_array_size(list);
    if (n < 2 || n > CHOICES_MAX)
        return bad(place, "'choices' must be a list of 2 to 1024 texts");
    e->choices = mu_calloc(n, sizeof *e->choices);
    for (size_t i = 0; i < n; i++, e->count++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || !*text)
            return bad(place, "each of 'choices' must be a text that is not empty");
        e->choices[i].text = mu_strdup(text);
        e->choices[i].characters = characters(text);
    }
    return MU_OK;
}

static mu_status_t take_answer(const place_t *place, const json_t *answer, mu_labelled_example_t *e)
{
    const char *text = json_string_value(answer);
    json_int_t index = json_integer_value(answer);
    if (json_is_integer(answer) && index >= 0 && index < e->count) {
        e->answer = (int)index;
        return MU_OK;
    }
    for (int i = 0; text && i < e->count; i++)
        if (strcmp(e->choices[i].text, text) == 0) {
            e->answer = i;
            return MU_OK;
        }
    return bad(place, "'answer' must be the index of one of 'choices' from 0, or its text");
}

static mu_status_t take_line(const place_t *place, const char *text, size_t n, mu_labelled_example_t *e)
{
    json_error_t error;
    json_t *root = mu_json_parse(text, n, VALUES_MAX, &error);
    const char *prompt = json_string_value(json_object_get(root, "prompt"));
    mu_status_t status = MU_OK;
    e->line = place->line;
    if (!root)
        status =
            mu_fail(MU_DATA, "%s:%d:%d: not JSON: %s", place->path, place->line, error.column, error.text);
    else if (!prompt)
        status = bad(place, "'prompt' must be a text");
    if (status == MU_OK) {
        e->prompt = mu_strdup(prompt);
        status = take_choices(place, json_object_get(root, "choices"), e);
    }
    if (status == MU_OK)
        status = take_answer(place, json_object_get(root, "answer"), e);
    json_decref(root);
    return status;
}

static bool is_blank(const char *text, size_t n)
{
    while (n > 0 && strchr(" \t\r", text[n - 1]))
        n--;
    return n == 0;
}

static mu_status_t take_lines(mu_labelled_t *l, const mu_buf_t *text)
{
    place_t place = {l->path, 0};
    int64_t room = 0;
    for (size_t at = 0; at < text->len;) {
        const char *line = text->data + at, *end = memchr(line, '\n', text->len - at);
        size_t n = end ? (size_t)(end - line) : text->len - at;
        at += n + 1;
        place.line++;
        if (is_blank(line, n))
            continue;
        if (l->count == EXAMPLES_MAX)
            return bad(&place, "more examples than 16777216");
        if (l->count == room) {
            room = room ? 2 * room : 64;
            l->examples = mu_realloc(l->examples, (size_t)room * sizeof *l->examples);
        }
        l->examples[l->count] = (mu_labelled_example_t){0};
        l->count++; /* first, so that a half-read one is released */
        MU_TRY(take_line(&place, line, n, &l->examples[l->count - 1]));
    }
    return l->count > 0 ? MU_OK : mu_fail(MU_DATA, "%s: holds no example", l->path);
}

mu_status_t mu_labelled_read(const char *path, const char *delimiter, mu_labelled_t *out)
{
    mu_labelled_t l = {.path = path, .delimiter = mu_strdup(delimiter)};
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_file_read_text(path, FILE_LIMIT, &text);
    if (status == MU_OK) {
        mu_digest_bytes(text.len ? text.data : "", text.len, l.digest);
        status = take_lines(&l, &text);
    }
    mu_buf_release(&text);
    if (status == MU_OK)
        *out = l;
    else
        mu_labelled_release(&l);
    return status;
}

/* The continuation's ids: those of prompt and continuation together, after as many as the prompt alone has. */
static mu_status_t encode_choice(const mu_labelled_t *l, const mu_tokenizer_t *tok,
                                 const mu_labelled_example_t *e, bool bare, mu_labelled_choice_t *c)
{
    mu_ids_t whole = MU_IDS_INIT;
    char *text = mu_format("%s%s%s", e->prompt, l->delimiter, c->text);
    size_t skip = bare ? 0 : e->context.len;
    mu_status_t status = mu_tokenizer_encode(tok, text, strlen(text), &whole);
    if (status == MU_OK && whole.len <= skip)
        status = mu_fail(MU_DATA, "%s:%d: the choice '%s' has no token of its own after this prompt", l->path,
                         e->line, c->text);
    for (size_t i = skip; status == MU_OK && i < whole.len; i++)
        mu_ids_add(&c->ids, whole.data[i]);
    free(text);
    mu_ids_release(&whole);
    return status;
}

static mu_status_t encode_example(mu_labelled_t *l, const mu_tokenizer_t *tok, int64_t positions,
                                  mu_labelled_example_t *e)
{
    size_t n = strlen(e->prompt);
    while (n > 0 && strchr(" \t\n\v\f\r", e->prompt[n - 1]))
        n--;
    bool bare = n == 0;
    if (bare && mu_tokenizer_eod(tok) < 0)
        return mu_fail(MU_USAGE,
                       "%s:%d: the prompt is empty, and the tokenizer has no end token to begin from",
                       l->path, e->line);
    if (bare)
        mu_ids_add(&e->context, mu_tokenizer_eod(tok));
    else
        MU_TRY(mu_tokenizer_encode(tok, e->prompt, n, &e->context));
    for (int i = 0; i < e->count; i++) {
        MU_TRY(encode_choice(l, tok, e, bare, &e->choices[i]));
        int64_t own = (int64_t)e->choices[i].ids.len, all = own + (int64_t)e->context.len;
        if (own > positions)
            return mu_fail(MU_DATA, "%s:%d: choice %d has %lld tokens, the model has %lld positions", l->path,
                           e->line, i, (long long)own, (long long)positions);
        l->longest = all > l->longest ? all : l->longest;
    }
    return MU_OK;
}

mu_status_t mu_labelled_encode(mu_labelled_t *l, const mu_tokenizer_t *tok, int64_t positions)
{
    for (int64_t i = 0; i < l->count; i++)
        MU_TRY(encode_example(l, tok, positions, &l->examples[i]));
    return MU_OK;
}

void mu_labelled_release(mu_labelled_t *l)
{
    for (int64_t i = 0; i < l->count; i++) {
        mu_labelled_example_t *e = &l->examples[i];
        for (int c = 0; c < e->count; c++) {
            free(e->choices[c].text);
            mu_ids_release(&e->choices[c].ids);
        }
        free(e->choices);
        free(e->prompt);
        mu_ids_release(&e->context);
    }
    free(l->examples);
    free(l->delimiter);
    memset(l, 0, sizeof *l);
}
