/* The effective values, as text. */
#include "common/config/config_keys.h"
#include "common/digest.h"

/* Whether a row is part of the effective values. */
static bool shown(const mu_key_t *key)
{
    return key->class == MU_KEY_HONOURED && key->type != MU_KEY_ATTENTION;
}

/* The length of the part of `name` before its last dot that `last` shares; writes the groups that begin. */
static void open_groups(const char *last, const char *name, mu_buf_t *out)
{
    size_t same = 0;
    for (size_t i = 0; name[i] && last[i] == name[i]; i++)
        if (name[i] == '.')
            same = i + 1;
    for (size_t i = 0, begin = 0, depth = 0; name[i]; i++) {
        if (name[i] != '.')
            continue;
        if (i >= same)
            mu_buf_addf(out, "%*s%.*s:\n", (int)(2 * depth), "", (int)(i - begin), name + begin);
        depth++;
        begin = i + 1;
    }
}

static int depth_of(const char *name)
{
    int depth = 0;
    for (; *name; name++)
        depth += *name == '.';
    return depth;
}

void mu_config_write_yaml(const mu_config_t *config, bool origins, mu_buf_t *out)
{
    const char *last = "";
    for (int i = 0; i < mu_key_count; i++) {
        const mu_key_t *key = &mu_keys[i];
        if (!shown(key))
            continue;
        const char *dot = strrchr(key->name, '.');
        open_groups(last, key->name, out);
        mu_buf_addf(out, "%*s%s: ", 2 * depth_of(key->name), "", dot ? dot + 1 : key->name);
        mu_key_print(config->source, key, out);
        if (origins)
            mu_buf_addf(out, "  # %s", mu_config_origin(config, key->name));
        mu_buf_addc(out, '\n');
        last = key->name;
    }
}

void mu_config_write_json(const mu_config_t *config, mu_buf_t *out)
{
    const char *comma = "";
    mu_buf_adds(out, "{");
    for (int i = 0; i < mu_key_count; i++) {
        const mu_key_t *key = &mu_keys[i];
        if (!shown(key))
            continue;
        mu_buf_addf(out, "%s\n  \"%s\": {\"value\": ", comma, key->name);
        mu_key_print(config->source, key, out);
        mu_buf_adds(out, ", \"origin\": ");
        mu_key_quote(mu_config_origin(config, key->name), out);
        mu_buf_addc(out, '}');
        comma = ",";
    }
    struct {
        const char *name;
        int value;
    } layout[] = {{"tp", config->tp}, {"dp", config->dp}, {"workers", config->workers}};
    for (size_t i = 0; i < sizeof layout / sizeof *layout; i++)
        if (layout[i].value > 0)
            mu_buf_addf(out, ",\n  \"%s\": {\"value\": %d, \"origin\": \"layout\"}", layout[i].name,
                        layout[i].value);
    mu_buf_adds(out, "\n}\n");
}

void mu_config_write_keys(mu_buf_t *out)
{
    for (int i = 0; i < mu_key_count; i++) {
        const mu_key_t *key = &mu_keys[i];
        mu_buf_addf(out, "%-42s %-13s %-12s %-18s %s", key->name, mu_key_type_name(key->type),
                    mu_key_class_name(key->class), key->preset, key->doc);
        if (key->choices && strchr(key->choices, '|'))
            mu_buf_addf(out, " (%s)", key->choices);
        mu_buf_addc(out, '\n');
    }
}

void mu_config_digest(const mu_config_t *config, char *out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_config_write_yaml(config, false, &text);
    mu_digest_bytes(text.data, text.len, out);
    mu_buf_release(&text);
}
