/* Reading: files, command line and environment into one value a key. */
#include "common/config/config.h"
#include "common/config/config_keys.h"
#include "common/file.h"
#include "common/log.h"

#include <ctype.h>
#include <unistd.h>

enum { NAME_BYTES = 512, FINDINGS_MAX = 40 };

/* What was found for one key; the node belongs to one of the trees. */
typedef struct entry {
    const mu_yaml_t *node;
    char *where;
    bool from_command_line;
} entry_t;

typedef struct loader {
    mu_config_source_t *source;
    entry_t *entry; /* one for each row of the table */
    mu_yaml_t **tree;
    int trees;
    int findings;
    mu_status_t status; /* of the first finding */
} loader_t;

static void found(loader_t *l, mu_status_t status)
{
    if (status == MU_OK)
        return;
    if (l->status == MU_OK)
        l->status = status;
    l->findings++;
}

bool mu_config_is_override(const char *argument)
{
    const char *p = argument;
    if (!isalpha((unsigned char)*p) && *p != '_')
        return false;
    while (isalnum((unsigned char)*p) || *p == '_' || *p == '-' || *p == '.')
        p++;
    return *p == '=' && !mu_is_file(argument);
}

/* ---- from trees to keys ---- */

static char *place_of(const char *file, const mu_yaml_t *node)
{
    return file ? mu_format("%s:%d:%d", file, node->line, node->column) : mu_strdup("command line");
}

static void enter(loader_t *l, int row, const char *file, const mu_yaml_t *node)
{
    entry_t *e = &l->entry[row];
    char *where = place_of(file, node);
    if (e->node && !e->from_command_line && file) {
        found(l, mu_fail(MU_CONFIG, "%s: '%s' was given already at %s: remove one of them", where,
                         mu_keys[row].name, e->where));
        free(where);
        return;
    }
    free(e->where);
    *e = (entry_t){node, where, file == NULL};
}

static void unknown(loader_t *l, const char *file, const mu_yaml_t *node, const char *name)
{
    mu_buf_t advice = MU_BUF_INIT;
    char *where = place_of(file, node);
    if (mu_key_is_group(name)) {
        found(l, mu_fail(MU_CONFIG, "%s: %s is a group of keys: write %s: {key: value, ...}", where, name,
                         name));
    } else {
        mu_key_suggest(name, &advice);
        found(l, mu_fail(MU_CONFIG, "%s: unknown key '%.80s'%s", where, name, advice.data));
    }
    mu_buf_release(&advice);
    free(where);
}

/* One key of a tree; `name` is its dotted name so far. file: NULL for the command line. */
static void flatten(loader_t *l, const char *file, const mu_yaml_t *node, const char *name)
{
    if (l->findings >= FINDINGS_MAX)
        return;
    int row = mu_key_find(name);
    if (row >= 0) {
        enter(l, row, file, node);
    } else if (mu_key_is_group(name) && node->kind == MU_YAML_MAP) {
        for (const mu_yaml_t *c = node->first; c; c = c->next) {
            char inner[NAME_BYTES];
            snprintf(inner, sizeof inner, "%s.%.300s", name, c->key);
            flatten(l, file, c, inner);
        }
    } else if (!(mu_key_is_group(name) && mu_yaml_is_null(node))) {
        unknown(l, file, node, name);
    }
}

static void keep_tree(loader_t *l, mu_yaml_t *tree)
{
    l->tree = mu_realloc(l->tree, (size_t)(l->trees + 1) * sizeof *l->tree);
    l->tree[l->trees++] = tree;
}

static void take_tree(loader_t *l, const char *file, mu_yaml_t *tree)
{
    keep_tree(l, tree);
    for (const mu_yaml_t *c = tree->first; c; c = c->next)
        flatten(l, file, c, c->key);
}

static bool has_suffix(const char *path)
{
    static const char *const suffixes[] = {".yml", ".yaml", ".json"};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t m = strlen(suffixes[i]);
        if (n > m && strcmp(path + n - m, suffixes[i]) == 0)
            return true;
    }
    return false;
}

static mu_status_t load_file(loader_t *l, const char *path)
{
    char *named = NULL;
    if (!has_suffix(path) && !mu_is_file(path)) {
        named = mu_format("%s.yml", path);
        /* something that is neither, such as /dev/fd/63, is read as it is */
        if (!mu_is_file(named) && access(path, F_OK) == 0) {
            free(named);
            named = NULL;
        }
    }
    const char *file = named ? named : path;
    mu_yaml_t *tree;
    mu_status_t status = mu_yaml_read_file(file, &tree);
    if (status == MU_OK)
        take_tree(l, file, tree);
    free(named);
    return status;
}

/* The text after `=` as a tree; for a key that holds text it is that text, whatever it looks like. */
static mu_status_t override_value(const char *name, const char *text, mu_yaml_t **out)
{
    char *place = mu_format("command line: %s", name);
    int row = mu_key_find(name);
    mu_status_t status = mu_yaml_check_text(place, text, strlen(text));
    if (status == MU_OK && (row < 0 || mu_keys[row].type != MU_KEY_TEXT)) {
        status = mu_yaml_parse_value(place, text, strlen(text), out);
    } else if (status == MU_OK) {
        mu_yaml_t *node = mu_calloc(1, sizeof *node);
        node->text = mu_strdup(text);
        node->plain = strcmp(text, "null") == 0 || strcmp(text, "~") == 0;
        *out = node;
    }
    free(place);
    return status;
}

static mu_status_t load_override(loader_t *l, const char *argument)
{
    if (!mu_config_is_override(argument))
        return mu_fail(MU_USAGE, "'%s' is not key=value (as in train_iters=100)", argument);
    mu_yaml_t *tree;
    char *name = mu_format("%.*s", (int)strcspn(argument, "="), argument);
    mu_status_t status = override_value(name, strchr(argument, '=') + 1, &tree);
    if (status == MU_OK) {
        keep_tree(l, tree);
        flatten(l, NULL, tree, name);
    }
    free(name);
    return status;
}

/* ---- from keys to the config ---- */

/* The length of the group's name with its dot; 0 for a key outside of groups. */
static size_t group_length(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? (size_t)(dot - name) + 1 : 0;
}

static bool same_group(int a, int b)
{
    size_t n = group_length(mu_keys[a].name);
    return n > 0 && n == group_length(mu_keys[b].name) && strncmp(mu_keys[a].name, mu_keys[b].name, n) == 0;
}

/* Adds a key without effect to "a, group.{b, c}, d". The keys of a group stand together in the table. */
static void add_unused(mu_buf_t *out, int row, const entry_t *entry)
{
    const char *name = mu_keys[row].name;
    int before = row - 1, after = row + 1;
    while (before >= 0 && !(entry[before].node && mu_keys[before].class == MU_KEY_ACCEPTED))
        before--;
    while (after < mu_key_count && !(entry[after].node && mu_keys[after].class == MU_KEY_ACCEPTED))
        after++;
    bool joins = before >= 0 && same_group(before, row),
         goes_on = after < mu_key_count && same_group(row, after);
    size_t group = group_length(name);
    mu_buf_adds(out, out->len ? ", " : "");
    if (!joins && goes_on)
        mu_buf_addf(out, "%.*s{%s", (int)group, name, name + group);
    else
        mu_buf_addf(out, "%s%s", joins ? name + group : name, joins && !goes_on ? "}" : "");
}

static void apply_written(loader_t *l, int row)
{
    const mu_key_t *key = &mu_keys[row];
    const entry_t *e = &l->entry[row];
    mu_written_t *written = &l->source->written[row];
    bool usual = false;
    mu_status_t status = MU_OK;

    switch (key->class) {
    case MU_KEY_HONOURED:
    case MU_KEY_INPUT:
        status = mu_key_store(l->source, key, e->node, e->where);
        break;
    case MU_KEY_ACCEPTED:
        status = mu_key_check(key, e->node, e->where);
        add_unused(&l->source->unused, row, l->entry);
        l->source->unused_count++;
        break;
    case MU_KEY_UNSUPPORTED:
        status = mu_key_is_preset(key, e->node, e->where, &usual);
        if (status == MU_OK && !usual) {
            mu_buf_t value = MU_BUF_INIT;
            mu_key_show(e->node, &value);
            bool none = strcmp(key->preset, "null") == 0;
            status =
                mu_fail(MU_CONFIG, "%s: %s: %s is not supported%s%s%s: %s", e->where, key->name, value.data,
                        none ? "" : " (only ", none ? "" : key->preset, none ? "" : " is)", key->doc);
            mu_buf_release(&value);
        }
        break;
    }
    found(l, status);
    written->where = mu_strdup(e->where);
    written->given = !mu_yaml_is_null(e->node);
}

static void apply(loader_t *l)
{
    for (int row = 0; row < mu_key_count; row++) {
        const mu_key_t *key = &mu_keys[row];
        bool stored = key->offset != MU_KEY_NOWHERE || key->type == MU_KEY_BETAS;
        if (stored)
            mu_key_store_preset(l->source, key);
        if (l->entry[row].node && l->findings < FINDINGS_MAX)
            apply_written(l, row);
    }
}

static const entry_t *entry_of(const loader_t *l, const char *name)
{
    return &l->entry[mu_key_find(name)];
}

static void take_environment(loader_t *l, const char *name, const char *variable, char **field)
{
    const char *value = getenv(variable);
    int row = mu_key_find(name);
    if (!value || !value[0] || l->entry[row].node)
        return;
    *field = mu_strdup(value);
    l->source->written[row].where = mu_format("environment %s", variable);
}

static void apply_environment(loader_t *l)
{
    mu_config_t *config = &l->source->config;
    take_environment(l, "save", "MODEL_PATH", &config->save);
    take_environment(l, "load", "MODEL_PATH", &config->load);
    if (!config->train_data_paths && !config->valid_data_paths && !config->test_data_paths)
        take_environment(l, "data_path", "DATA_PATH", &config->data_path);
}

/* model_parallel_size as the files write it, for the padding of the vocabulary; the command line's is another
 * layout of the same model. */
static void keep_files_width(loader_t *l, const entry_t *of_files)
{
    mu_config_source_t *s = l->source;
    int64_t width = 1;
    if (of_files->node)
        mu_yaml_i64(of_files->node, &width);
    if (!s->vocab_parallel_size)
        s->vocab_parallel_size = width;
    s->config.model_parallel_in_files = s->vocab_parallel_size;
}

/* What a config is made from: files and overrides, or one text. */
typedef struct input {
    char *const *paths, *const *overrides;
    int npaths, noverrides;
    const char *name, *text; /* text NULL: files */
} input_t;

static mu_status_t read_input(loader_t *l, const input_t *in)
{
    if (in->text) {
        mu_yaml_t *tree;
        MU_TRY(mu_yaml_parse(in->name, in->text, strlen(in->text), &tree));
        take_tree(l, in->name, tree);
    }
    for (int i = 0; i < in->npaths; i++)
        MU_TRY(load_file(l, in->paths[i]));
    entry_t width = *entry_of(l, "model_parallel_size");
    for (int i = 0; i < in->noverrides; i++)
        MU_TRY(load_override(l, in->overrides[i]));
    apply(l);
    if (!in->text)
        apply_environment(l);
    keep_files_width(l, &width);
    if (l->status == MU_OK)
        found(l, mu_config_derive(l->source, entry_of(l, "attention_config")->node));
    if (l->findings >= FINDINGS_MAX)
        mu_error("more than %d mistakes: the rest is not shown", FINDINGS_MAX - 1);
    return l->status;
}

static mu_status_t load(const input_t *in, mu_config_t **out)
{
    mu_config_source_t *source = mu_calloc(1, sizeof *source);
    loader_t l = {.source = source, .entry = mu_calloc((size_t)mu_key_count, sizeof *l.entry)};
    source->config.source = source;
    source->written = mu_calloc((size_t)mu_key_count, sizeof *source->written);
    mu_status_t status = read_input(&l, in);

    for (int i = 0; i < mu_key_count; i++)
        free(l.entry[i].where);
    for (int i = 0; i < l.trees; i++)
        mu_yaml_free(l.tree[i]);
    free(l.entry);
    free(l.tree);
    if (status != MU_OK) {
        mu_config_free(&source->config);
        return status;
    }
    *out = &source->config;
    return MU_OK;
}

mu_status_t mu_config_load(char *const *paths, int npaths, char *const *overrides, int noverrides,
                           mu_config_t **out)
{
    return load(
        &(input_t){.paths = paths, .npaths = npaths, .overrides = overrides, .noverrides = noverrides}, out);
}

mu_status_t mu_config_load_text(const char *name, const char *text, mu_config_t **out)
{
    return load(&(input_t){.name = name, .text = text}, out);
}

const char *const mu_config_elsewhere[] = {"hostfile=null",
                                           "muster.controller_host=null",
                                           "muster.device=auto",
                                           "muster.min_hosts=0",
                                           "muster.threads_per_worker=0",
                                           "muster.attention=auto",
                                           "muster.transport=auto",
                                           NULL};

mu_status_t mu_config_load_trained(const char *name, const char *text, char *const *overrides, int noverrides,
                                   mu_config_t **out)
{
    enum { ELSEWHERE = sizeof mu_config_elsewhere / sizeof *mu_config_elsewhere - 1 };
    char **all = mu_calloc((size_t)(ELSEWHERE + noverrides), sizeof *all);
    for (int i = 0; i < ELSEWHERE; i++)
        all[i] = mu_strdup(mu_config_elsewhere[i]);
    for (int i = 0; i < noverrides; i++)
        all[ELSEWHERE + i] = overrides[i];
    mu_status_t status = load(
        &(input_t){.name = name, .text = text, .overrides = all, .noverrides = ELSEWHERE + noverrides}, out);
    for (int i = 0; i < ELSEWHERE; i++)
        free(all[i]);
    free(all);
    return status;
}

void mu_config_free(const mu_config_t *config)
{
    if (!config)
        return;
    mu_config_source_t *source = config->source;
    if (source->base) {
        mu_config_free(source->base);
        for (int i = 0; i < MU_FACT_TEXTS; i++)
            free(source->own[i]);
        free(source->notes);
        free(source->missing);
        free(source);
        return;
    }
    for (int i = 0; i < mu_key_count; i++) {
        mu_key_release(source, &mu_keys[i]);
        free(source->written[i].where);
    }
    free(source->written);
    mu_buf_release(&source->unused);
    mu_buf_release(&source->load_notes);
    mu_buf_release(&source->resolve_notes);
    free(source->notes);
    free(source->missing);
    free(source);
}

/* ---- questions ---- */

static const char *notes(const mu_config_t *config, int names)
{
    mu_config_source_t *source = config->source;
    mu_buf_t all = MU_BUF_INIT;
    if (source->unused_count > names)
        mu_buf_addf(&all, "%d keys without effect: see muster config\n", source->unused_count);
    else if (source->unused_count > 0)
        mu_buf_addf(&all, "accepted without effect: %s\n", source->unused.data);
    mu_buf_add(&all, source->load_notes.data, source->load_notes.len);
    mu_buf_add(&all, source->resolve_notes.data, source->resolve_notes.len);
    if (all.len > 0)
        all.data[--all.len] = '\0';
    free(source->notes);
    source->notes = mu_buf_detach(&all);
    return source->notes;
}

const char *mu_config_notes(const mu_config_t *config)
{
    enum { NAMES = 4 }; /* keys without effect that are named */
    return notes(config, NAMES);
}

const char *mu_config_notes_in_full(const mu_config_t *config)
{
    return notes(config, mu_key_count);
}
