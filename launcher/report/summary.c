#include "launcher/report/summary.h"
#include "common/config/yaml.h"
#include "common/file.h"
#include "common/log.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { MANIFEST_MOST = 64 << 20, FACTS_AT_ONCE = 64 };

static void add_fact(mu_summary_t *s, mu_fact_kind_t kind, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    if (s->facts % FACTS_AT_ONCE == 0)
        s->fact = mu_realloc(s->fact, (size_t)(s->facts + FACTS_AT_ONCE) * sizeof *s->fact);
    s->fact[s->facts++] = (mu_fact_t){kind, mu_strdup(name), mu_strdup(value)};
}

/* ---- config.yml ---- */

static void value_text(const mu_yaml_t *node, mu_buf_t *out)
{
    if (node->kind == MU_YAML_SCALAR) {
        mu_buf_adds(out, node->text);
        return;
    }
    mu_buf_adds(out, node->kind == MU_YAML_LIST ? "[" : "{");
    for (const mu_yaml_t *e = node->first; e; e = e->next) {
        if (e->key)
            mu_buf_addf(out, "%s: ", e->key);
        value_text(e, out);
        mu_buf_adds(out, e->next ? ", " : "");
    }
    mu_buf_adds(out, node->kind == MU_YAML_LIST ? "]" : "}");
}

static void add_config(mu_summary_t *s, const mu_yaml_t *map, const char *before)
{
    for (const mu_yaml_t *e = map->first; e; e = e->next) {
        char *name = mu_format("%s%s%s", before, *before ? "." : "", e->key);
        mu_buf_t value = MU_BUF_INIT;
        if (e->kind == MU_YAML_MAP) {
            add_config(s, e, name);
        } else {
            value_text(e, &value);
            add_fact(s, MU_FACT_CONFIG, name, value.data);
        }
        mu_buf_release(&value);
        free(name);
    }
}

static void read_config(mu_summary_t *s, const char *dir)
{
    char *path = mu_path_join(dir, "config.yml");
    mu_yaml_t *top = NULL;
    if (mu_is_file(path) && mu_yaml_read_file(path, &top) == MU_OK)
        add_config(s, top, "");
    else
        mu_warn("%s: cannot be read: nothing is known of this run's config", path);
    mu_yaml_free(top);
    free(path);
}

/* ---- run.json and the newest checkpoint ---- */

/* An object as a fact a member, "source.config.revision"; of a parent not the parents that it names in turn. */
static void add_json(mu_summary_t *s, const char *name, json_t *value)
{
    const char *key;
    json_t *member;
    if (json_is_object(value)) {
        json_object_foreach(value, key, member)
        {
            char *whole = mu_format("%s.%s", name, key);
            if (strcmp(key, "parent") != 0)
                add_json(s, whole, member);
            free(whole);
        }
        return;
    }
    char *text = json_is_string(value) ? mu_strdup(json_string_value(value))
                 : value && !json_is_null(value)
                     ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS)
                     : NULL;
    add_fact(s, MU_FACT_SOURCE, name, text);
    free(text);
}

/* What the checkpoint says of where it comes from; a run without one says nothing. */
static void read_origin(mu_summary_t *s, const char *dir, int64_t step)
{
    char *path = mu_format("%s/checkpoints/step-%08lld/manifest.json", dir, (long long)step);
    struct stat st;
    mu_buf_t text = MU_BUF_INIT;
    if (step >= 0 && stat(path, &st) == 0 && st.st_size <= MANIFEST_MOST &&
        mu_file_read(path, MANIFEST_MOST, &text) == MU_OK) {
        json_t *json = json_loadb(text.data, text.len, 0, NULL);
        add_json(s, "source", json_object_get(json, "source"));
        add_json(s, "image", json_object_get(json, "image"));
        add_json(s, "parent", json_object_get(json, "parent"));
        json_decref(json);
    }
    mu_buf_release(&text);
    free(path);
}

static void read_state(mu_summary_t *s)
{
    const mu_run_state_t *st = mu_history_state(s->history);
    char layout[96];
    snprintf(layout, sizeof layout, "tp %lld x dp %lld", (long long)st->tp, (long long)st->dp);
    add_fact(s, MU_FACT_DATA, "data version", st->data_version);
    add_fact(s, MU_FACT_SOURCE, "muster", st->version);
    add_fact(s, MU_FACT_SOURCE, "MPI", st->mpi);
    add_fact(s, MU_FACT_SOURCE, "layout", layout);
}

/* ---- figures ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void read_figures(mu_summary_t *s)
{
    size_t points, events, rates = 0;
    const mu_point_t *p = mu_history_points(s->history, &points);
    const mu_event_t *e = mu_history_events(s->history, &events);
    double *rate = mu_alloc((points + 1) * sizeof *rate);
    s->loss = s->valid = s->best_valid = s->tokens = s->tokens_per_s = (double)NAN;
    for (size_t i = 0; i < points; i++) {
        if (p[i].replaced)
            continue;
        s->loss = p[i].loss;
        s->tokens = p[i].tokens;
        if (isfinite(p[i].tokens_per_s))
            rate[rates++] = p[i].tokens_per_s;
        if (!isfinite(p[i].valid_loss))
            continue;
        s->valid = p[i].valid_loss;
        if (!(p[i].valid_loss >= s->best_valid)) {
            s->best_valid = p[i].valid_loss;
            s->best_step = p[i].step;
        }
    }
    qsort(rate, rates, sizeof *rate, by_value);
    if (rates > 0)
        s->tokens_per_s = rate[rates / 2];
    free(rate);
    s->began = points > 0 ? p[0].time : 0;
    if (events > 0 && (s->began == 0 || e[0].time < s->began))
        s->began = e[0].time;
}

/* ---- the whole ---- */

static int by_name(const void *a, const void *b)
{
    const mu_fact_t *x = a, *y = b;
    return x->kind != y->kind ? (x->kind > y->kind) - (x->kind < y->kind) : strcmp(x->name, y->name);
}

mu_status_t mu_summary_open(const char *dir, mu_summary_t *s)
{
    *s = (mu_summary_t){.facts = 0};
    MU_TRY(mu_history_open(dir, &s->history));
    mu_accounting(s->history, &s->account);
    read_figures(s);
    read_config(s, dir);
    read_state(s);
    read_origin(s, dir, mu_history_state(s->history)->last_checkpoint);
    qsort(s->fact, (size_t)s->facts, sizeof *s->fact, by_name);
    return MU_OK;
}

void mu_summary_close(mu_summary_t *s)
{
    for (int i = 0; i < s->facts; i++) {
        free(s->fact[i].name);
        free(s->fact[i].value);
    }
    free(s->fact);
    mu_history_close(s->history);
    *s = (mu_summary_t){.facts = 0};
}

const char *mu_summary_fact(const mu_summary_t *s, mu_fact_kind_t kind, const char *name)
{
    for (int i = 0; i < s->facts; i++)
        if (s->fact[i].kind == kind && strcmp(s->fact[i].name, name) == 0)
            return s->fact[i].value;
    return NULL;
}

static bool differs(const mu_summary_t *runs, int count, const mu_fact_t *fact)
{
    bool differ = count == 1;
    for (int r = 0; r < count && !differ; r++) {
        const char *value = mu_summary_fact(&runs[r], fact->kind, fact->name);
        differ = !value || strcmp(value, fact->value) != 0;
    }
    return differ;
}

static int by_pointed_name(const void *a, const void *b)
{
    return by_name(*(const mu_fact_t *const *)a, *(const mu_fact_t *const *)b);
}

const mu_fact_t **mu_summary_differences(const mu_summary_t *runs, int count, int *differences)
{
    int all = 0, n = 0;
    for (int r = 0; r < count; r++)
        all += runs[r].facts;
    const mu_fact_t **fact = mu_alloc((size_t)(all + 1) * sizeof *fact);
    for (int r = 0; r < count; r++)
        for (int i = 0; i < runs[r].facts; i++) {
            const mu_fact_t *f = &runs[r].fact[i];
            bool known = false;
            for (int before = 0; before < r && !known; before++)
                known = mu_summary_fact(&runs[before], f->kind, f->name) != NULL;
            if (!known && differs(runs, count, f))
                fact[n++] = f;
        }
    qsort(fact, (size_t)n, sizeof *fact, by_pointed_name);
    *differences = n;
    return fact;
}

static char *last_part(const char *dir)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && dir[from - 1] != '/')
        from--;
    return mu_format("%.*s", (int)(n - from), dir + from);
}

char *mu_summary_label(const mu_summary_t *runs, int count, int run)
{
    const char *dir = mu_history_dir(runs[run].history);
    char *label = last_part(dir);
    bool shared = !*label;
    for (int i = 0; i < count; i++) {
        char *other = last_part(mu_history_dir(runs[i].history));
        shared |= i != run && strcmp(label, other) == 0;
        free(other);
    }
    if (!shared)
        return label;
    free(label);
    return mu_strdup(dir);
}
