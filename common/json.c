#include "common/json.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Every value but the first of the text follows one of "[{,:"; an empty container counts for one too many. */
static bool has_more(const char *text, size_t n, size_t most)
{
    size_t count = 1;
    bool quoted = false;
    for (size_t i = 0; i < n && count <= most; i++) {
        char c = text[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '[' || c == '{' || c == ',' || c == ':'))
            count++;
    }
    return count > most;
}

static json_t *parse(const char *text, size_t n, size_t most, size_t flags, json_error_t *error)
{
    if (!has_more(text, n, most))
        return json_loadb(text, n, JSON_REJECT_DUPLICATES | flags, error);
    memset(error, 0, sizeof *error);
    error->line = error->column = 1;
    snprintf(error->text, sizeof error->text, "holds more than %zu values, which no such file needs", most);
    return NULL;
}

json_t *mu_json_parse(const char *text, size_t n, size_t most, json_error_t *error)
{
    return parse(text, n, most, 0, error);
}

json_t *mu_json_parse_real(const char *text, size_t n, size_t most, json_error_t *error)
{
    return parse(text, n, most, JSON_DECODE_INT_AS_REAL, error);
}

json_t *mu_json_parse_nul(const char *text, size_t n, size_t most, json_error_t *error)
{
    return parse(text, n, most, JSON_ALLOW_NUL, error);
}
