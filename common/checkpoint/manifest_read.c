/* Reading a manifest that anyone may have written: nothing is used before its type and range are known. */
#include "common/json.h"
#include "common/log.h"
#include "common/num.h"
#include "common/checkpoint/index.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>

enum { LIST_MAX = 1 << 24, LAYOUT_MAX = 1 << 16 };
static const int64_t DIMENSION_MAX = (int64_t)1 << 40, COUNT_MAX = (int64_t)1 << 60;

/* Where an error is, for its text: "files[3].slices[7]". */
typedef struct mu_manifest_place {
    const char *list;
    int index;
    mu_buf_t *why;
} mu_manifest_place_t;

static bool bad(const mu_manifest_place_t *place, const char *key, const char *want)
{
    if (place->index >= 0)
        mu_buf_addf(place->why, "'%s[%d].%s' is not %s", place->list, place->index, key, want);
    else
        mu_buf_addf(place->why, "'%s%s%s' is not %s", place->list, *place->list ? "." : "", key, want);
    return false;
}

static bool get_i64(const json_t *object, const mu_manifest_place_t *place, const char *key, int64_t min,
                    int64_t max, int64_t *out)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max) {
        char want[80];
        snprintf(want, sizeof want, "a whole number from %" PRId64 " to %" PRId64, min, max);
        return bad(place, key, want);
    }
    *out = json_integer_value(v);
    return true;
}

static bool get_int(const json_t *object, const mu_manifest_place_t *place, const char *key, int min, int max,
                    int *out)
{
    int64_t v;
    if (!get_i64(object, place, key, min, max, &v))
        return false;
    *out = (int)v;
    return true;
}

/* null is NAN */
static bool get_f64(const json_t *object, const mu_manifest_place_t *place, const char *key, double *out)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_number(v) && !json_is_null(v))
        return bad(place, key, "a number or null");
    *out = json_is_null(v) ? (double)NAN : json_number_value(v);
    return true;
}

/* null is NULL */
static bool get_text(const json_t *object, const mu_manifest_place_t *place, const char *key, char **out)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_string(v) && !json_is_null(v))
        return bad(place, key, "a text or null");
    *out = json_is_null(v) ? NULL : mu_strdup(json_string_value(v));
    return true;
}

static bool get_name(const json_t *object, const mu_manifest_place_t *place, const char *key,
                     char out[MU_SHARD_NAME])
{
    const char *name = json_string_value(json_object_get(object, key));
    if (!name || !mu_manifest_name_ok(name))
        return bad(place, key, "a plain name: 1 to 128 of A-Z a-z 0-9 . _ - and no dot in front");
    snprintf(out, MU_SHARD_NAME, "%s", name);
    return true;
}

static bool copy_digest(const json_t *value, char out[MU_DIGEST_HEX])
{
    const char *text = json_string_value(value);
    if (!text || strlen(text) != MU_DIGEST_HEX - 1 || strspn(text, "0123456789abcdef") != MU_DIGEST_HEX - 1)
        return false;
    memcpy(out, text, MU_DIGEST_HEX);
    return true;
}

/* [tensor, state, offset, offset, count, count, byte, digest] */
static bool get_slice(const json_t *row, mu_stored_t *out)
{
    static const int64_t min[7] = {0, 0, 0, 0, 1, 1, MU_SHARD_HEADER};
    const int64_t max[7] = {LIST_MAX,      MU_STATE_COUNT - 1, DIMENSION_MAX, DIMENSION_MAX,
                            DIMENSION_MAX, DIMENSION_MAX,      COUNT_MAX};
    int64_t v[7];
    if (json_array_size(row) != 8)
        return false;
    for (size_t i = 0; i < 7; i++) {
        const json_t *number = json_array_get(row, i);
        v[i] = json_integer_value(number);
        if (!json_is_integer(number) || v[i] < min[i] || v[i] > max[i])
            return false;
    }
    out->slice = (mu_slice_t){
        .tensor = (int)v[0], .state = (mu_state_t)v[1], .offset = {v[2], v[3]}, .count = {v[4], v[5]}};
    out->at = (uint64_t)v[6];
    /* the product of the counts must stay far from overflow wherever it is used */
    return v[4] <= COUNT_MAX / 4 / v[5] && copy_digest(json_array_get(row, 7), out->digest);
}

static bool get_shard(const json_t *object, int index, mu_shard_t *out, mu_buf_t *why)
{
    mu_manifest_place_t place = {"files", index, why};
    int64_t size;
    const json_t *rows = json_object_get(object, "slices");
    if (!json_is_object(object))
        return bad(&place, "", "an object");
    if (!get_name(object, &place, "name", out->name) ||
        !get_i64(object, &place, "size", MU_SHARD_HEADER, COUNT_MAX, &size))
        return false;
    out->size = (uint64_t)size;
    if (strcmp(out->name, MU_MANIFEST_NAME) == 0 || strcmp(out->name, MU_TOKENIZER_NAME) == 0)
        return bad(&place, "name", "the name of a shard");
    if (!copy_digest(json_object_get(object, "frame"), out->frame))
        return bad(&place, "frame", "32 lower-case hex digits");
    if (!json_is_array(rows) || json_array_size(rows) > LIST_MAX)
        return bad(&place, "slices", "a list of slices");
    out->slices = mu_calloc(json_array_size(rows), sizeof *out->slices);
    for (size_t i = 0; i < json_array_size(rows); i++, out->count++) {
        if (!get_slice(json_array_get(rows, i), &out->slices[i])) {
            mu_buf_addf(why, "'files[%d].slices[%zu]' is not a slice", index, i);
            return false;
        }
    }
    return true;
}

mu_status_t mu_shard_unpack(const char *text, size_t n, mu_shard_t *out)
{
    mu_shard_t shard = {.slices = NULL};
    mu_buf_t why = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    json_error_t error;
    json_t *root = mu_json_parse(text, n, MU_JSON_CHECKPOINT, &error);
    if (!root)
        mu_buf_addf(&why, "line %d: %s", error.line, error.text);
    if (root && get_shard(root, 0, &shard, &why)) {
        *out = shard;
    } else {
        mu_shard_release(&shard);
        status = mu_fail(MU_DATA, "a worker's account of its shard is damaged: %s", why.data);
    }
    json_decref(root);
    mu_buf_release(&why);
    return status;
}

static bool get_tensor(const json_t *object, int index, mu_manifest_tensor_t *out, mu_buf_t *why)
{
    mu_manifest_place_t place = {"tensors", index, why};
    if (!get_name(object, &place, "name", out->name))
        return false;
    const char *dtype = json_string_value(json_object_get(object, "dtype"));
    if (!dtype || strcmp(dtype, "float32") != 0)
        return bad(&place, "dtype", "float32, the only one that this version reads");
    const json_t *shape = json_object_get(object, "shape");
    size_t dims = json_array_size(shape);
    if (dims != 1 && dims != 2)
        return bad(&place, "shape", "a list of one or two sizes");
    out->dims = (int)dims;
    out->shape[1] = 1;
    for (size_t d = 0; d < dims; d++) {
        out->shape[d] = json_integer_value(json_array_get(shape, d));
        if (out->shape[d] < 1 || out->shape[d] > DIMENSION_MAX)
            return bad(&place, "shape", "a list of one or two positive sizes");
    }
    if (out->shape[0] > COUNT_MAX / 4 / out->shape[1])
        return bad(&place, "shape", "of a size that any machine could hold");
    return true;
}

/* Absent: losses were never scaled. */
static bool get_loss_scale(const json_t *root, mu_loss_scale_t *out, mu_buf_t *why)
{
    mu_manifest_place_t place = {"loss_scale", -1, why};
    const json_t *s = json_object_get(root, "loss_scale");
    int hysteresis, in_a_row;
    if (!s)
        return true;
    if (!get_f64(s, &place, "scale", &out->scale) ||
        !get_i64(s, &place, "clean", 0, COUNT_MAX, &out->clean) ||
        !get_i64(s, &place, "skipped", 0, COUNT_MAX, &out->skipped) ||
        !get_int(s, &place, "hysteresis", 0, INT32_MAX, &hysteresis) ||
        !get_int(s, &place, "in_a_row", 0, INT32_MAX, &in_a_row))
        return false;
    if (!(out->scale >= 0 && isfinite(out->scale)))
        return bad(&place, "scale", "a finite number from 0");
    out->hysteresis = hysteresis;
    out->in_a_row = in_a_row;
    return true;
}

/* Where it comes from: objects and texts that nothing here depends on, kept as they are. NULL: none of them is
 * there. */
static bool get_lineage(const json_t *root, const json_t *data, char **out, mu_buf_t *why)
{
    static const char *const members[] = {"source", "image", "inputs", "name", "parent"};
    static const char *const of_data[] = {"path", "split", "inputs", "files", "inputs_digest", "parts"};
    json_t *lineage = json_object(), *its = json_object();
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (json_object_get(root, members[i]))
            json_object_set(lineage, members[i], json_object_get(root, members[i]));
    for (size_t i = 0; i < sizeof of_data / sizeof *of_data; i++)
        if (json_object_get(data, of_data[i]))
            json_object_set(its, of_data[i], json_object_get(data, of_data[i]));
    if (json_object_size(its) > 0)
        json_object_set(lineage, "data", its);
    bool some = json_object_size(lineage) > 0;
    *out = some ? json_dumps(lineage, JSON_COMPACT) : NULL;
    json_decref(its);
    json_decref(lineage);
    if (some && !*out)
        mu_buf_adds(why, "its lineage cannot be written again as JSON");
    return !some || *out;
}

/* Absent: it is no adapter. */
static bool get_base(const json_t *root, mu_checkpoint_info_t *info, mu_buf_t *why)
{
    mu_manifest_place_t place = {"base", -1, why};
    const json_t *base = json_object_get(root, "base");
    char digest[MU_DIGEST_HEX];
    if (!base)
        return true;
    if (!get_text(base, &place, "path", &info->base_path) ||
        !get_text(base, &place, "digest", &info->base_digest))
        return false;
    if (!info->base_path || !*info->base_path)
        return bad(&place, "path", "a path");
    return copy_digest(json_object_get(base, "digest"), digest) ||
           bad(&place, "digest", "32 lower-case hex digits");
}

static bool get_info(const json_t *root, mu_checkpoint_info_t *info, mu_buf_t *why)
{
    mu_manifest_place_t top = {"", -1, why}, layout = {"layout", -1, why}, schedule = {"schedule", -1, why},
                        environment = {"environment", -1, why}, data = {"data", -1, why};
    const json_t *l = json_object_get(root, "layout"), *s = json_object_get(root, "schedule"),
                 *e = json_object_get(root, "environment"), *d = json_object_get(root, "data");
    if (!get_text(root, &top, "run_id", &info->run_id))
        return false;
    if (!info->run_id || !mu_manifest_name_ok(info->run_id))
        return bad(&top, "run_id", "a plain name");
    if (!get_text(d, &data, "tokenizer_digest", &info->tokenizer_digest))
        return false;
    if (json_object_get(root, "companions") && !get_text(root, &top, "companions", &info->companions))
        return false;
    char digest[MU_DIGEST_HEX];
    if (info->tokenizer_digest && !copy_digest(json_object_get(d, "tokenizer_digest"), digest))
        return bad(&data, "tokenizer_digest", "32 lower-case hex digits");
    return get_int(root, &top, "attempt", 0, INT32_MAX, &info->attempt) &&
           get_i64(root, &top, "step", 0, COUNT_MAX, &info->step) &&
           get_i64(root, &top, "optimizer_step", 0, COUNT_MAX, &info->optimizer_step) &&
           get_i64(root, &top, "samples", 0, COUNT_MAX, &info->samples) &&
           get_i64(root, &top, "tokens", 0, COUNT_MAX, &info->tokens) &&
           get_i64(root, &top, "order_train", 0, COUNT_MAX, &info->order_samples[0]) &&
           get_i64(root, &top, "order_valid", 0, COUNT_MAX, &info->order_samples[1]) &&
           get_i64(root, &top, "parent_step", -1, COUNT_MAX, &info->parent_step) &&
           get_i64(root, &top, "seed", INT64_MIN, INT64_MAX, &info->seed) &&
           get_f64(root, &top, "time", &info->time) && get_f64(root, &top, "loss", &info->loss) &&
           get_f64(root, &top, "valid_loss", &info->valid_loss) &&
           get_text(root, &top, "config", &info->config) &&
           get_int(l, &layout, "tp", 1, LAYOUT_MAX, &info->tp) &&
           get_int(l, &layout, "dp", 1, LAYOUT_MAX, &info->dp) &&
           get_text(s, &schedule, "style", &info->schedule.style) &&
           get_f64(s, &schedule, "lr", &info->schedule.lr) &&
           get_f64(s, &schedule, "min_lr", &info->schedule.min_lr) &&
           get_f64(s, &schedule, "warmup", &info->schedule.warmup) &&
           get_f64(s, &schedule, "decay_fraction", &info->schedule.decay_fraction) &&
           get_i64(s, &schedule, "decay_iters", 0, COUNT_MAX, &info->schedule.decay_iters) &&
           get_i64(s, &schedule, "train_iters", 0, COUNT_MAX, &info->schedule.train_iters) &&
           get_int(e, &environment, "threads", 0, INT32_MAX, &info->environment.threads) &&
           get_text(e, &environment, "device", &info->environment.device) &&
           get_text(e, &environment, "instruction_set", &info->environment.instruction_set) &&
           get_text(e, &environment, "libraries", &info->environment.libraries) &&
           get_text(d, &data, "version", &info->data_version) &&
           get_loss_scale(root, &info->loss_scale, why) && get_base(root, info, why) &&
           get_lineage(root, d, &info->lineage, why);
}

static bool get_lists(const json_t *root, mu_manifest_t *out, mu_buf_t *why)
{
    mu_manifest_place_t top = {"", -1, why};
    const json_t *tensors = json_object_get(root, "tensors"), *files = json_object_get(root, "files");
    int states;
    if (!get_int(root, &top, "states", 1, MU_STATE_COUNT, &states))
        return false;
    if (states != 1 && states != MU_STATE_COUNT)
        return bad(&top, "states", "1 (weights) or 3 (weights and both moments)");
    out->optimizer = states > 1;
    size_t tensor_count = json_array_size(tensors), file_count = json_array_size(files);
    if (tensor_count < 1 || tensor_count > LIST_MAX)
        return bad(&top, "tensors", "a list of tensors");
    if (file_count < 1 || file_count > LIST_MAX)
        return bad(&top, "files", "a list of files");
    out->tensors = mu_calloc(tensor_count, sizeof *out->tensors);
    for (size_t i = 0; i < tensor_count; i++, out->tensor_count++)
        if (!get_tensor(json_array_get(tensors, i), (int)i, &out->tensors[i], why))
            return false;
    out->shards = mu_calloc(file_count, sizeof *out->shards);
    for (size_t i = 0; i < file_count; i++) {
        out->shard_count++; /* counted first, so that a half-read one is released */
        if (!get_shard(json_array_get(files, i), (int)i, &out->shards[i], why))
            return false;
    }
    return true;
}

/* The first line says the version in a form that no later version changes. */
static bool right_version(const char *text, size_t n, mu_buf_t *why)
{
    static const char start[] = MU_MANIFEST_START;
    char line[256] = "", writer[128] = "?";
    int version = 0;
    memcpy(line, text, n < sizeof line - 1 ? n : sizeof line - 1);
    if (strncmp(line, start, sizeof start - 1) != 0) {
        mu_buf_adds(why, "is not the manifest of a muster checkpoint, or its first bytes are damaged");
        return false;
    }
    if (sscanf(line + sizeof start - 1, "%9d,\"written_by\":\"%127[^\"]", &version, writer) < 1 ||
        version < 1) {
        mu_buf_adds(why, "has no format version; its first line is damaged");
        return false;
    }
    if (version != MU_MANIFEST_VERSION)
        mu_buf_addf(why,
                    "has format version %d, written by '%s'; this muster (%s) reads version %d: use that one",
                    version, writer, MU_VERSION, MU_MANIFEST_VERSION);
    return version == MU_MANIFEST_VERSION;
}

static bool right_digest(const char *text, size_t n, mu_buf_t *why)
{
    char digest[MU_DIGEST_HEX], end[sizeof MU_MANIFEST_END + MU_DIGEST_HEX];
    size_t last = sizeof MU_MANIFEST_END - 1 - 2 + MU_DIGEST_HEX - 1;
    if (n > last) {
        mu_digest_bytes(text, n - last, digest);
        snprintf(end, sizeof end, MU_MANIFEST_END, digest);
        if (memcmp(text + n - last, end, last) == 0)
            return true;
    }
    mu_buf_adds(why, "does not match its own digest: it is damaged or cut off");
    return false;
}

bool mu_manifest_parse(const char *text, size_t n, mu_manifest_t *out, mu_buf_t *why)
{
    mu_manifest_t m = {.written_by = NULL};
    mu_manifest_place_t top = {"", -1, why};
    memset(out, 0, sizeof *out);
    if (!right_version(text, n, why) || !right_digest(text, n, why))
        return false;
    json_error_t error;
    json_t *root = mu_json_parse(text, n, MU_JSON_CHECKPOINT, &error);
    if (!root) {
        mu_buf_addf(why, "line %d column %d: %s", error.line, error.column, error.text);
        return false;
    }
    bool ok = get_text(root, &top, "written_by", &m.written_by) && get_info(root, &m.info, why) &&
              get_lists(root, &m, why) && mu_manifest_check(&m, why);
    json_decref(root);
    if (ok)
        *out = m;
    else
        mu_manifest_release(&m);
    return ok;
}
