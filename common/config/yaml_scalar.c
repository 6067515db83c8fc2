#include "common/num.h"
#include "common/config/yaml.h"

#include <ctype.h>

static bool one_of(const char *text, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

#define ONE_OF(text, words) one_of(text, words, sizeof(words) / sizeof *(words))

bool mu_yaml_is_null(const mu_yaml_t *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    return node->kind == MU_YAML_SCALAR && node->plain && ONE_OF(node->text, words);
}

bool mu_yaml_bool(const mu_yaml_t *node, bool *out)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"};
    if (node->kind != MU_YAML_SCALAR || !node->plain)
        return false;
    if (ONE_OF(node->text, yes))
        *out = true;
    else if (ONE_OF(node->text, no))
        *out = false;
    else
        return false;
    return true;
}

enum { NUMBER_BYTES = 64 };

/* The text of a plain scalar without the underscores between digits; false when it is no candidate. */
static bool number_text(const mu_yaml_t *node, char out[NUMBER_BYTES])
{
    if (node->kind != MU_YAML_SCALAR || !node->plain)
        return false;
    size_t n = 0;
    for (const char *p = node->text; *p; p++) {
        if (*p == '_' && p > node->text && isdigit((unsigned char)p[-1]))
            continue;
        if (!isdigit((unsigned char)*p) && !strchr("+-.eE", *p))
            return false;
        if (n + 1 == NUMBER_BYTES)
            return false;
        out[n++] = *p;
    }
    out[n] = '\0';
    const char *digits = out + (out[0] == '-' || out[0] == '+');
    /* 017 is octal in YAML 1.1: nobody means that, so it is no number here */
    return n > 0 && !(digits[0] == '0' && isdigit((unsigned char)digits[1]));
}

bool mu_yaml_i64(const mu_yaml_t *node, int64_t *out)
{
    char text[NUMBER_BYTES];
    return number_text(node, text) && mu_parse_i64(text, out);
}

bool mu_yaml_f64(const mu_yaml_t *node, double *out, bool *loose)
{
    char text[NUMBER_BYTES];
    if (!number_text(node, text) || !mu_parse_f64(text, out))
        return false;
    const char *e = strpbrk(text, "eE");
    *loose = e && (!strchr(text, '.') || (e[1] != '-' && e[1] != '+'));
    return true;
}
