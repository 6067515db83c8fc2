#include "worker/convert/safetensors.h"
#include "common/json.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

#include <errno.h>
#include <jansson.h>

typedef struct type {
    const char *name;
    unsigned bytes;
    mu_foreign_type_t type;
} type_t;

static const type_t types[] = {
    {"F32", 4, MU_FOREIGN_F32},       {"F16", 2, MU_FOREIGN_F16},   {"BF16", 2, MU_FOREIGN_BF16},
    {"BOOL", 1, MU_FOREIGN_OTHER},    {"U8", 1, MU_FOREIGN_OTHER},  {"I8", 1, MU_FOREIGN_OTHER},
    {"I16", 2, MU_FOREIGN_OTHER},     {"U16", 2, MU_FOREIGN_OTHER}, {"I32", 4, MU_FOREIGN_OTHER},
    {"U32", 4, MU_FOREIGN_OTHER},     {"I64", 8, MU_FOREIGN_OTHER}, {"U64", 8, MU_FOREIGN_OTHER},
    {"F64", 8, MU_FOREIGN_OTHER},     {"C64", 8, MU_FOREIGN_OTHER}, {"F8_E5M2", 1, MU_FOREIGN_OTHER},
    {"F8_E4M3", 1, MU_FOREIGN_OTHER},
};

/* Where the values of a tensor begin and end, for the check that they tile. */
typedef struct span {
    uint64_t begin, end;
    const char *name;
} span_t;

static const type_t *find_type(const char *name)
{
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

static bool count_of(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

/* shape -> dims, shape, elements; false when it is no list of counts, too long, or overflows */
static bool get_shape(const json_t *shape, mu_foreign_tensor_t *out, uint64_t *elements)
{
    *elements = 1;
    if (!json_is_array(shape) || json_array_size(shape) > MU_FOREIGN_DIMS)
        return false;
    out->dims = (int)json_array_size(shape);
    for (int i = 0; i < out->dims; i++) {
        uint64_t n;
        if (!count_of(json_array_get(shape, (size_t)i), &n) || !mu_mul_u64(*elements, n, elements))
            return false;
        out->shape[i] = (int64_t)n;
    }
    out->elements = (int64_t)*elements;
    return *elements <= INT64_MAX / 8;
}

static mu_status_t get_tensor(const char *path, const char *name, const json_t *entry, uint64_t limit,
                              mu_foreign_tensor_t *out, span_t *span)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const type_t *type = find_type(json_string_value(json_object_get(entry, "dtype")));
    uint64_t elements, bytes;
    if (!json_is_object(entry))
        return mu_fail(MU_DATA, "%s: tensor '%s': an object is wanted", path, name);
    if (!type)
        return mu_fail(MU_DATA, "%s: tensor '%s': 'dtype' is not one of F32, F16, BF16, BOOL, I8 ... F64",
                       path, name);
    if (!get_shape(json_object_get(entry, "shape"), out, &elements))
        return mu_fail(MU_DATA, "%s: tensor '%s': 'shape' is no list of up to %d counts whose product fits",
                       path, name, MU_FOREIGN_DIMS);
    if (json_array_size(offsets) != 2 || !count_of(json_array_get(offsets, 0), &span->begin) ||
        !count_of(json_array_get(offsets, 1), &span->end))
        return mu_fail(MU_DATA, "%s: tensor '%s': 'data_offsets' is not [begin, end]", path, name);
    if (span->end < span->begin || span->end > limit)
        return mu_fail(MU_DATA,
                       "%s: tensor '%s': values from byte %llu to %llu, and %llu bytes of values are there",
                       path, name, (unsigned long long)span->begin, (unsigned long long)span->end,
                       (unsigned long long)limit);
    if (!mu_mul_u64(elements, type->bytes, &bytes) || bytes != span->end - span->begin)
        return mu_fail(MU_DATA, "%s: tensor '%s': the shape takes %llu bytes, the offsets say %llu", path,
                       name, (unsigned long long)bytes, (unsigned long long)(span->end - span->begin));
    out->type = type->type;
    span->name = name;
    return MU_OK;
}

static int by_place(const void *a, const void *b)
{
    const span_t *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static mu_status_t check_tiling(const char *path, span_t *spans, size_t count, uint64_t limit)
{
    uint64_t end = 0;
    if (count > 0)
        qsort(spans, count, sizeof *spans, by_place);
    for (size_t i = 0; i < count; i++) {
        if (spans[i].begin != end)
            return mu_fail(MU_DATA, "%s: tensor '%s' begins at byte %llu of the values, %s %llu", path,
                           spans[i].name, (unsigned long long)spans[i].begin,
                           spans[i].begin < end ? "inside the one that ends at"
                                                : "leaving a hole after the one that ends at",
                           (unsigned long long)end);
        end = spans[i].end;
    }
    if (end != limit)
        return mu_fail(MU_DATA, "%s: %llu bytes lie after the last tensor", path,
                       (unsigned long long)(limit - end));
    return MU_OK;
}

static mu_status_t check_metadata(const char *path, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return mu_fail(MU_DATA, "%s: '__metadata__' is no object", path);
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return mu_fail(
        MU_DATA, "%s: '__metadata__': '%s' is no text", path, key);
    return MU_OK;
}

/* safetensors' save_model() stores shared weights once and keeps the other name in the metadata, "other": "stored":
 * that name stands for the same values. */
static void add_shared(json_t *header, size_t before, mu_foreign_t *list)
{
    const char *key;
    json_t *value;
    int end = list->count;
    json_object_foreach(json_object_get(header, "__metadata__"), key, value)
    {
        const char *stored = json_string_value(value);
        for (int i = (int)before; i < end && !json_object_get(header, key); i++) {
            mu_foreign_tensor_t t = list->tensors[i];
            if (strcmp(t.name, stored) != 0)
                continue;
            t.name = mu_strdup(key);
            mu_foreign_add(list, &t);
            break;
        }
    }
}

/* limit: bytes of values in the file; `base`: where they begin. */
static mu_status_t add_all(const char *path, json_t *header, uint64_t base, uint64_t limit,
                           mu_foreign_t *list)
{
    span_t *spans = mu_calloc(json_object_size(header) + 1, sizeof *spans);
    size_t count = 0, before = (size_t)list->count;
    const char *name;
    json_t *entry;
    mu_status_t status = MU_OK;
    json_object_foreach(header, name, entry)
    {
        mu_foreign_tensor_t t = {.file = list->file_count - 1};
        if (strcmp(name, "__metadata__") == 0) {
            MU_TRY_GOTO(status, check_metadata(path, entry), out);
            continue;
        }
        MU_TRY_GOTO(status, get_tensor(path, name, entry, limit, &t, &spans[count]), out);
        t.at = base + spans[count++].begin;
        t.name = mu_strdup(name);
        mu_foreign_add(list, &t);
    }
    status = check_tiling(path, spans, count, limit);
    if (status == MU_OK)
        add_shared(header, before, list);
out:
    free(spans);
    return status;
}

/* The header's text, NUL terminated; free() it. */
static mu_status_t read_header(const mu_foreign_file_t *file, char **out, uint64_t *length)
{
    unsigned char prefix[8];
    uint64_t n = 0;
    if (file->size < sizeof prefix)
        return mu_fail(MU_DATA, "%s: %llu bytes are too few for a safetensors file", file->path,
                       (unsigned long long)file->size);
    if (!mu_pread_all(file->fd, prefix, sizeof prefix, 0))
        return mu_fail(MU_IO, "%s: cannot read: %s", file->path, strerror(errno));
    for (int i = 7; i >= 0; i--)
        n = n << 8 | prefix[i];
    if (n > MU_SAFETENSORS_HEADER_MAX || n > file->size - sizeof prefix)
        return mu_fail(MU_DATA,
                       "%s: a header of %llu bytes: the file has %llu, and %d are allowed: this is no "
                       "safetensors file, or it is cut (a Git LFS pointer is a small text file)",
                       file->path, (unsigned long long)n, (unsigned long long)file->size,
                       MU_SAFETENSORS_HEADER_MAX);
    char *text = mu_alloc(n + 1);
    if (!mu_pread_all(file->fd, text, n, sizeof prefix)) {
        free(text);
        return mu_fail(MU_IO, "%s: cannot read: %s", file->path, strerror(errno));
    }
    text[n] = '\0';
    *out = text;
    *length = n;
    return MU_OK;
}

mu_status_t mu_safetensors_open(const char *path, mu_foreign_t *list)
{
    char *text = NULL;
    uint64_t n = 0;
    json_error_t error;
    MU_TRY(mu_foreign_open(list, path));
    const mu_foreign_file_t *file = &list->files[list->file_count - 1];
    MU_TRY(read_header(file, &text, &n));
    json_t *header = n > 0 && text[0] == '{' ? mu_json_parse(text, n, MU_JSON_HEADER, &error) : NULL;
    mu_status_t status;
    if (n == 0 || text[0] != '{')
        status = mu_fail(MU_DATA, "%s: the header does not begin with '{'", path);
    else if (!header)
        status = mu_fail(MU_DATA, "%s: the header, byte %d: %s", path, error.position + 8, error.text);
    else
        status = add_all(path, header, 8 + n, file->size - 8 - n, list);
    json_decref(header);
    free(text);
    return status;
}

void mu_safetensors_header(const mu_safetensors_entry_t *entries, int count, mu_buf_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    uint64_t at = 0;
    mu_buf_adds(&text, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < count; i++) {
        const mu_safetensors_entry_t *e = &entries[i];
        uint64_t bytes = sizeof(float);
        mu_buf_addf(&text, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[", e->name);
        for (int d = 0; d < e->dims; d++) {
            mu_buf_addf(&text, "%s%lld", d ? "," : "", (long long)e->shape[d]);
            bytes *= (uint64_t)e->shape[d];
        }
        mu_buf_addf(&text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                    (unsigned long long)(at + bytes));
        at += bytes;
    }
    mu_buf_addc(&text, '}');
    while (text.len % 8 != 0)
        mu_buf_addc(&text, ' ');
    for (int i = 0; i < 8; i++)
        mu_buf_addc(out, (char)((uint64_t)text.len >> 8 * i & 0xff));
    mu_buf_add(out, text.data, text.len);
    mu_buf_release(&text);
}
