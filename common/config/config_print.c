/* One value as text: as it was written, for messages; as it is stored, for YAML and JSON. */
#include "common/config/config_keys.h"

static const void *cfield(const mu_config_source_t *source, const mu_key_t *key)
{
    return (const char *)source + key->offset;
}

/* ---- what was written, for messages ---- */

static void show(const mu_yaml_t *node, mu_buf_t *out)
{
    switch (node->kind) {
    case MU_YAML_SCALAR:
        mu_buf_adds(out, node->plain && !node->text[0] ? "null" : node->text);
        break;
    case MU_YAML_LIST:
    case MU_YAML_MAP:
        mu_buf_addc(out, node->kind == MU_YAML_LIST ? '[' : '{');
        for (const mu_yaml_t *c = node->first; c && out->len < 80; c = c->next) {
            if (c->key)
                mu_buf_addf(out, "%s: ", c->key);
            show(c, out);
            mu_buf_adds(out, c->next ? ", " : "");
        }
        mu_buf_addc(out, node->kind == MU_YAML_LIST ? ']' : '}');
        break;
    }
}

void mu_key_show(const mu_yaml_t *node, mu_buf_t *out)
{
    enum { SHOWN = 60 };
    mu_buf_t all = MU_BUF_INIT;
    show(node, &all);
    size_t n = all.len;
    if (n > SHOWN) {
        n = SHOWN;
        while (n > 0 && ((unsigned char)all.data[n] & 0xc0) == 0x80)
            n--; /* not inside a character */
    }
    for (size_t i = 0; i < n; i++)
        mu_buf_addc(out, (unsigned char)all.data[i] < ' ' ? ' ' : all.data[i]);
    if (n < all.len)
        mu_buf_adds(out, "...");
    mu_buf_release(&all);
}

/* ---- what is stored ---- */

static void choice_print(const char *choices, int place, mu_buf_t *out)
{
    const char *p = choices;
    for (; place > 0; place--)
        p = strchr(p, '|') + 1;
    mu_buf_add(out, p, strcspn(p, "|/"));
}

/* Bytes of the UTF-8 sequence at p that a quoted string must not hold as they are; 0 when they may stand. */
static int odd_character(const unsigned char *p, unsigned *out)
{
    if (p[0] < 0x20 || p[0] == 0x7f) {
        *out = p[0];
        return 1;
    }
    if (p[0] == 0xc2 && p[1] < 0xa0) { /* C1 controls and U+0085, a line break of YAML */
        *out = p[1];
        return 2;
    }
    if (p[0] >= 0xe0 && p[0] < 0xf0) {
        unsigned c = (unsigned)(p[0] & 15) << 12 | (unsigned)(p[1] & 63) << 6 | (unsigned)(p[2] & 63);
        *out = c;
        return c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff ? 3 : 0;
    }
    return 0;
}

void mu_key_quote(const char *text, mu_buf_t *out)
{
    mu_buf_addc(out, '"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        unsigned c;
        int n = odd_character(p, &c);
        if (n > 0) {
            mu_buf_addf(out, "\\u%04x", c);
            p += n - 1;
        } else {
            if (*p == '"' || *p == '\\')
                mu_buf_addc(out, '\\');
            mu_buf_addc(out, (char)*p);
        }
    }
    mu_buf_addc(out, '"');
}

/* The shortest digits that give the same double, with a point, so that YAML 1.1 takes it for a number. */
static void print_real(double v, mu_buf_t *out)
{
    char text[64];
    int digits = 0;
    do {
        snprintf(text, sizeof text, "%.*e", digits, v);
    } while (strtod(text, NULL) != v && ++digits < 17);
    int exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    if (v == 0 || (exponent >= -4 && exponent < 15)) {
        mu_buf_addf(out, "%.*f", digits > exponent + 1 ? digits - exponent : 1, v);
        return;
    }
    if (digits == 0)
        snprintf(text, sizeof text, "%.1e", v);
    mu_buf_adds(out, text);
}

static bool is_preset_null(const mu_key_t *key)
{
    return strcmp(key->preset, "null") == 0;
}

void mu_key_print(const mu_config_source_t *source, const mu_key_t *key, mu_buf_t *out)
{
    const mu_config_t *config = &source->config;
    const void *at = key->offset == MU_KEY_NOWHERE ? NULL : cfield(source, key);
    switch (key->type) {
    case MU_KEY_BOOL:
        mu_buf_adds(out, *(const bool *)at ? "true" : "false");
        break;
    case MU_KEY_INT:
        if (*(const int64_t *)at == 0 && is_preset_null(key))
            mu_buf_adds(out, "null");
        else
            mu_buf_addf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case MU_KEY_FLOAT:
    case MU_KEY_SECONDS:
        if (*(const double *)at == 0 && key->choices)
            mu_buf_addf(out, "\"%s\"", key->choices);
        else if (*(const double *)at == 0 && is_preset_null(key))
            mu_buf_adds(out, "null");
        else
            print_real(*(const double *)at, out);
        break;
    case MU_KEY_ENUM:
        mu_buf_addc(out, '"');
        choice_print(key->choices, *(const int *)at, out);
        mu_buf_addc(out, '"');
        break;
    case MU_KEY_TEXT:
        if (*(char *const *)at)
            mu_key_quote(*(char *const *)at, out);
        else
            mu_buf_adds(out, "null");
        break;
    case MU_KEY_INTS:
        mu_buf_adds(out, config->extra_save_iters ? "[" : "null");
        for (int i = 0; i < config->extra_save_count; i++)
            mu_buf_addf(out, "%s%lld", i ? ", " : "", (long long)config->extra_save_iters[i]);
        mu_buf_adds(out, config->extra_save_iters ? "]" : "");
        break;
    case MU_KEY_TEXTS: {
        char *const *all = *(char **const *)at;
        mu_buf_adds(out, all ? "[" : "null");
        for (char *const *p = all; p && *p; p++) {
            mu_buf_adds(out, p == all ? "" : ", ");
            mu_key_quote(*p, out);
        }
        mu_buf_adds(out, all ? "]" : "");
        break;
    }
    case MU_KEY_REALS: {
        const mu_reals_t *all = at;
        mu_buf_adds(out, all->value ? "[" : "null");
        for (int i = 0; i < all->count; i++) {
            mu_buf_adds(out, i ? ", " : "");
            print_real(all->value[i], out);
        }
        mu_buf_adds(out, all->value ? "]" : "");
        break;
    }
    case MU_KEY_BETAS:
        mu_buf_addc(out, '[');
        print_real(config->beta1, out);
        mu_buf_adds(out, ", ");
        print_real(config->beta2, out);
        mu_buf_addc(out, ']');
        break;
    case MU_KEY_ATTENTION:
    case MU_KEY_ANY:
        mu_buf_adds(out, "null");
        break;
    }
}
