#include "worker/convert/hf_card.h"
#include "common/json.h"
#include "common/file.h"
#include "common/log.h"

#include <dirent.h>
#include <math.h>
#include <string.h>

enum { RECORD_LIMIT = 1 << 20, POINTS = 12, INPUTS_SHOWN = 20 };
static const size_t METRICS_LIMIT = (size_t)1 << 30;

static const struct metric {
    const char *key, *name; /* in our records; on the hub */
} metrics[] = {{"ppl", "perplexity"},
               {"loss", "loss"},
               {"bits_per_byte", "bits_per_byte"},
               {"acc", "accuracy"},
               {"acc_norm", "accuracy_norm"}};
enum { METRICS = sizeof metrics / sizeof *metrics };

static const char *text_of(const json_t *node, const char *key)
{
    return json_string_value(json_object_get(node, key));
}

static const char *or_unknown(const char *text)
{
    return text ? text : "unknown";
}

/* ---- evaluations ---- */

static void take_record(const char *path, const char *digest, json_t *list)
{
    mu_buf_t text = MU_BUF_INIT;
    json_t *record = NULL;
    if (mu_file_read(path, RECORD_LIMIT, &text) == MU_OK)
        record = mu_json_parse(text.data, text.len, MU_JSON_CONFIG, &(json_error_t){0});
    const char *model = text_of(record, "model");
    if (!record)
        mu_warn("%s: cannot be read as a result: left out of the model card", path);
    else if (model && strcmp(model, digest) == 0)
        json_array_append(list, record);
    json_decref(record);
    mu_buf_release(&text);
}

static int ends_in_json(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0;
}

json_t *mu_card_evaluations(const char *run, const char *digest)
{
    json_t *list = json_array();
    char *dir = run ? mu_path_join(run, "eval") : NULL;
    struct dirent **names;
    int n = dir && mu_is_dir(dir) ? scandir(dir, &names, ends_in_json, alphasort) : 0;
    for (int i = 0; i < n; i++) {
        char *path = mu_path_join(dir, names[i]->d_name);
        take_record(path, digest, list);
        free(path);
        free(names[i]);
    }
    if (n > 0)
        free(names);
    free(dir);
    return list;
}

/* ---- front matter: every text as JSON writes it, which YAML reads ---- */

static void add_quoted(mu_buf_t *out, const char *text)
{
    json_t *value = json_string(text);
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    mu_buf_adds(out, quoted ? quoted : "\"unknown\"");
    free(quoted);
    json_decref(value);
}

static const char *last_part(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash && slash[1] ? slash + 1 : path;
}

static void add_datasets(const json_t *data, mu_buf_t *out)
{
    const json_t *parts = json_object_get(data, "parts"), *part;
    size_t i;
    if (text_of(data, "path")) {
        mu_buf_adds(out, "- ");
        add_quoted(out, last_part(text_of(data, "path")));
        mu_buf_addc(out, '\n');
    }
    json_array_foreach(parts, i, part) add_datasets(part, out);
}

/* The nearest model before this one that came from elsewhere. */
static const char *base_of(const json_t *model)
{
    for (; json_is_object(model); model = json_object_get(model, "parent"))
        if (text_of(model, "name"))
            return text_of(model, "name");
    return NULL;
}

static bool has(const json_t *evaluations, const char *key)
{
    const json_t *record;
    size_t i;
    json_array_foreach(evaluations, i, record) if (json_is_number(json_object_get(record, key))) return true;
    return false;
}

static void add_result(const json_t *record, mu_buf_t *out)
{
    const char *version = text_of(record, "data_version"), *split = text_of(record, "split");
    mu_buf_adds(out, "  - task:\n      type: text-generation\n    dataset:\n      name: ");
    add_quoted(out, or_unknown(version));
    mu_buf_adds(out, "\n      type: ");
    add_quoted(out, or_unknown(version));
    mu_buf_adds(out, "\n      split: ");
    add_quoted(out, or_unknown(split));
    mu_buf_adds(out, "\n    metrics:\n");
    for (int i = 0; i < METRICS; i++) {
        const json_t *value = json_object_get(record, metrics[i].key);
        if (json_is_number(value))
            mu_buf_addf(out, "    - type: %s\n      value: %.9g\n", metrics[i].name,
                        json_number_value(value));
    }
}

static void add_front(const mu_card_t *card, mu_buf_t *out)
{
    const char *base = base_of(card->model);
    const json_t *record, *data = json_object_get(card->model, "data");
    size_t i;
    mu_buf_adds(out, "---\nlibrary_name: transformers\npipeline_tag: text-generation\n");
    if (base) {
        mu_buf_adds(out, "base_model: ");
        add_quoted(out, base);
        mu_buf_addc(out, '\n');
    }
    if (json_is_object(data)) {
        mu_buf_adds(out, "datasets:\n");
        add_datasets(data, out);
    }
    if (json_array_size(card->evaluations) > 0) {
        mu_buf_adds(out, "metrics:\n");
        for (int m = 0; m < METRICS; m++)
            if (has(card->evaluations, metrics[m].key))
                mu_buf_addf(out, "- %s\n", metrics[m].name);
        mu_buf_adds(out, "model-index:\n- name: ");
        add_quoted(out, card->name);
        mu_buf_adds(out, "\n  results:\n");
        json_array_foreach(card->evaluations, i, record) add_result(record, out);
    }
    mu_buf_adds(out, "---\n\n");
}

/* ---- the body ---- */

static void add_evaluations(const mu_card_t *card, mu_buf_t *out)
{
    const json_t *record;
    size_t i;
    if (json_array_size(card->evaluations) == 0)
        return;
    mu_buf_adds(out,
                "\n## Evaluation\n\n| split | data version | metric | value |\n| --- | --- | --- | --- |\n");
    json_array_foreach(card->evaluations, i, record) for (int m = 0; m < METRICS; m++)
    {
        const json_t *value = json_object_get(record, metrics[m].key);
        if (json_is_number(value))
            mu_buf_addf(out, "| %s | %s | %s | %.6g |\n", or_unknown(text_of(record, "split")),
                        or_unknown(text_of(record, "data_version")), metrics[m].name,
                        json_number_value(value));
    }
}

static void add_inputs(const json_t *inputs, mu_buf_t *out)
{
    size_t n = json_array_size(inputs);
    if (n == 0)
        return;
    mu_buf_adds(out, "\n| digest (XXH3, 128 bits) | file |\n| --- | --- |\n");
    for (size_t i = 0; i < n && i < INPUTS_SHOWN; i++) {
        const json_t *input = json_array_get(inputs, i);
        mu_buf_addf(out, "| %s | %s |\n", or_unknown(text_of(input, "digest")),
                    or_unknown(last_part(text_of(input, "path"))));
    }
    if (n > INPUTS_SHOWN)
        mu_buf_addf(out, "\n%zu files in all: `muster.json` lists them.\n", n);
}

static void add_data(const json_t *data, mu_buf_t *out)
{
    const json_t *parts = json_object_get(data, "parts"), *part;
    size_t i;
    if (!json_is_object(data))
        return;
    mu_buf_addf(out, "\nData version `%s`.\n", or_unknown(text_of(data, "version")));
    add_inputs(json_object_get(data, "inputs"), out);
    json_array_foreach(parts, i, part) add_data(part, out);
}

typedef struct point {
    int64_t step;
    double loss, valid;
} point_t;

static double number_of(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* The points of metrics.jsonl up to `last`; after a restart a later line for a step replaces the earlier one. */
static int64_t read_curve(const char *run, int64_t last, point_t **out)
{
    char *path = mu_path_join(run, "metrics.jsonl");
    mu_buf_t text = MU_BUF_INIT;
    point_t *points = NULL;
    int64_t n = 0, room = 0;
    if (mu_is_file(path) && mu_file_read(path, METRICS_LIMIT, &text) == MU_OK)
        for (char *at = text.data, *end; at < text.data + text.len; at = end + 1) {
            end = at + strcspn(at, "\n");
            json_t *row = mu_json_parse(at, (size_t)(end - at), RECORD_LIMIT, &(json_error_t){0});
            point_t p = {json_integer_value(json_object_get(row, "step")),
                         number_of(json_object_get(row, "loss")),
                         number_of(json_object_get(row, "valid_loss"))};
            json_decref(row);
            if (p.step < 1 || p.step > last)
                continue;
            while (n > 0 && points[n - 1].step >= p.step)
                n--;
            if (n == room) {
                room = room ? 2 * room : 256;
                points = mu_realloc(points, (size_t)room * sizeof *points);
            }
            points[n++] = p;
        }
    mu_buf_release(&text);
    free(path);
    *out = points;
    return n;
}

static void add_number(double value, mu_buf_t *out)
{
    if (isfinite(value))
        mu_buf_addf(out, " %.4f |", value);
    else
        mu_buf_adds(out, " |");
}

static void add_curve(const mu_card_t *card, mu_buf_t *out)
{
    point_t *points = NULL;
    int64_t last = json_integer_value(json_object_get(card->model, "step")), valid = 0, seen = 0;
    int64_t n = card->run ? read_curve(card->run, last, &points) : 0;
    for (int64_t i = 0; i < n; i++)
        valid += isfinite(points[i].valid);
    if (n > 0)
        mu_buf_adds(out, "\n## Curve\n\n| step | loss | validation loss |\n| --- | --- | --- |\n");
    for (int64_t i = 0; i < n; i++) {
        bool even = i == n - 1 || i * (POINTS - 1) / n != (i - 1) * (POINTS - 1) / n || i == 0;
        bool one = isfinite(points[i].valid) && (valid <= POINTS || seen++ % (valid / POINTS) == 0);
        if (!even && !one)
            continue;
        mu_buf_addf(out, "| %lld |", (long long)points[i].step);
        add_number(points[i].loss, out);
        add_number(points[i].valid, out);
        mu_buf_addc(out, '\n');
    }
    free(points);
}

void mu_card_write(const mu_card_t *card, mu_buf_t *out)
{
    const json_t *model = card->model, *data = json_object_get(model, "data");
    add_front(card, out);
    mu_buf_addf(out, "# %s\n\n%s, %lld parameters, step %lld of run `%s`, written by %s.\n", card->name,
                card->class, (long long)card->parameters,
                (long long)json_integer_value(json_object_get(model, "step")),
                or_unknown(text_of(model, "run_id")), or_unknown(text_of(model, "written_by")));
    mu_buf_adds(out, "\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
                     "tokenizer = AutoTokenizer.from_pretrained(\".\")  # this directory\n"
                     "model = AutoModelForCausalLM.from_pretrained(\".\")\n"
                     "inputs = tokenizer(\"Once\", return_tensors=\"pt\")\n"
                     "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0]))\n```\n");
    add_evaluations(card, out);
    add_curve(card, out);
    if (json_is_object(data))
        mu_buf_adds(out, "\n## Data\n");
    add_data(data, out);
    if (json_array_size(json_object_get(model, "inputs")) > 0)
        mu_buf_adds(out, "\n## Source\n");
    add_inputs(json_object_get(model, "inputs"), out);
    mu_buf_adds(
        out,
        "\n`muster inspect . --lineage` prints where all of this comes from; `--verify` looks whether it is "
        "still so.\n");
    if (card->config)
        mu_buf_addf(out, "\n## Configuration\n\n```yaml\n%s```\n", card->config);
}
