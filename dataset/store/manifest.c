/* The manifest as JSON, and back. */
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"
#include "dataset/store/shard_file.h"

enum { MANIFEST_MAX = 256 << 20 };

static json_t *shard_to_json(const mu_data_shard_t *s, bool labels)
{
    char name[32];
    mu_data_shard_name(s->split, s->number, name);
    json_t *json = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "file", name, "split",
                             mu_data_split_name(s->split), "documents", (json_int_t)s->documents, "tokens",
                             (json_int_t)s->tokens, "text_bytes", (json_int_t)s->text_bytes, "bytes",
                             (json_int_t)s->bytes, "tokens_at", (json_int_t)s->tokens_at, "documents_at",
                             (json_int_t)s->documents_at, "blocks_at", (json_int_t)s->blocks_at, "tables",
                             s->tables, "digest", s->digest);
    if (labels) {
        json_object_set_new(json, "labels_at", json_integer(s->labels_at));
        json_object_set_new(json, "label_blocks_at", json_integer(s->label_blocks_at));
        json_object_set_new(json, "counted", json_integer(s->counted));
    }
    return json;
}

/* The digest of the manifest without its member `digest`: of its shortest spelling with sorted keys, so that
 * indentation does not matter. */
static void digest_of(json_t *root, char out[MU_DIGEST_HEX])
{
    json_t *rest = json_copy(root); /* shallow */
    json_object_del(rest, "digest");
    char *text = json_dumps(rest, JSON_COMPACT | JSON_SORT_KEYS);
    mu_digest_bytes(text ? text : "", text ? strlen(text) : 0, out);
    free(text);
    json_decref(rest);
}

void mu_data_manifest_write(const mu_data_manifest_t *m, mu_buf_t *out)
{
    char digest[MU_DIGEST_HEX];
    json_t *shards = json_array();
    for (int i = 0; i < m->count; i++)
        json_array_append_new(shards, shard_to_json(&m->shards[i], m->labels));
    json_t *root =
        json_pack("{s:s, s:i, s:s, s:I, s:i, s:i, s:s, s:o}", "format", MU_DATASET_FORMAT, "format_version",
                  m->labels ? MU_DATASET_FORMAT_LABELS : MU_DATASET_FORMAT_VERSION, "version", m->version,
                  "vocab", (json_int_t)m->vocab, "token_bytes", m->token_bytes, "block_tokens",
                  MU_BLOCK_TOKENS, "split", m->split, "shards", shards);
    if (m->tokenizer_file)
        json_object_set_new(root, "tokenizer",
                            json_pack("{s:s, s:s, s:s}", "file", m->tokenizer_file, "digest",
                                      m->tokenizer_digest, "file_digest", m->tokenizer_file_digest));
    if (m->made)
        json_object_set(root, "made", m->made);
    if (m->chat)
        json_object_set(root, "chat", m->chat);
    digest_of(root, digest);
    json_object_set_new(root, "digest", json_string(digest));
    char *text = json_dumps(root, JSON_INDENT(2));
    mu_buf_adds(out, text ? text : "");
    mu_buf_addc(out, '\n');
    free(text);
    json_decref(root);
}

typedef struct take {
    const char *path;
    const json_t *object;
    const char *where; /* of the object, for messages */
    mu_status_t status;
} take_t;

static void take_int(take_t *t, const char *key, int64_t low, int64_t high, int64_t *out)
{
    const json_t *value = json_object_get(t->object, key);
    if (t->status != MU_OK)
        return;
    *out = json_integer_value(value);
    if (!json_is_integer(value) || *out < low || *out > high)
        t->status = mu_fail(MU_DATA, "%s: %s: '%s' must be a whole number from %lld to %lld", t->path,
                            t->where, key, (long long)low, (long long)high);
}

static const char *take_text(take_t *t, const char *key)
{
    const char *text = json_string_value(json_object_get(t->object, key));
    if (!text && t->status == MU_OK)
        t->status = mu_fail(MU_DATA, "%s: %s: '%s' must be a string", t->path, t->where, key);
    return text ? text : "";
}

static void take_digest(take_t *t, const char *key, char out[MU_DIGEST_HEX])
{
    const char *text = take_text(t, key);
    if (t->status == MU_OK &&
        (strlen(text) != MU_DIGEST_HEX - 1 || strspn(text, "0123456789abcdef") != MU_DIGEST_HEX - 1))
        t->status = mu_fail(MU_DATA, "%s: %s: '%s' must be 32 hex digits", t->path, t->where, key);
    snprintf(out, MU_DIGEST_HEX, "%.32s", text);
}

/* [at, at + n * width) must lie in the file. */
static void check_inside(take_t *t, const char *what, int64_t at, int64_t n, int64_t width, int64_t bytes)
{
    if (t->status == MU_OK && (at > bytes || n > (bytes - at) / width))
        t->status = mu_fail(MU_DATA, "%s: %s: %s lie outside the file's %lld bytes", t->path, t->where, what,
                            (long long)bytes);
}

/* Shards come in the order of splits, numbered from 0 in each. */
static mu_status_t parse_shard(const char *path, const json_t *object, const mu_data_manifest_t *m, int index,
                               mu_data_shard_t *s)
{
    char where[48], name[32], expected[32];
    snprintf(where, sizeof where, "shard %d", index);
    take_t t = {path, object, where, MU_OK};
    const char *split = take_text(&t, "split");
    const mu_data_shard_t *before = index > 0 ? &m->shards[index - 1] : NULL;
    s->split = before ? before->split : MU_TRAIN;
    while (s->split < MU_TEST && strcmp(split, mu_data_split_name(s->split)) != 0)
        s->split++;
    s->number = before && before->split == s->split ? before->number + 1 : 0;
    snprintf(name, sizeof name, "%.31s", take_text(&t, "file"));
    mu_data_shard_name(s->split, s->number, expected);
    if (t.status == MU_OK &&
        (strcmp(split, mu_data_split_name(s->split)) != 0 || strcmp(name, expected) != 0))
        return mu_fail(MU_DATA, "%s: %s is '%.31s' of split '%.31s' where '%s' is expected", path, where,
                       name, split, expected);
    int64_t text_bytes = 0, blocks;
    take_int(&t, "documents", 1, INT64_MAX / 8 - 1, &s->documents);
    take_int(&t, "tokens", 1, INT64_MAX / 8, &s->tokens);
    take_int(&t, "text_bytes", 0, INT64_MAX, &text_bytes);
    take_int(&t, "bytes", 1, INT64_MAX, &s->bytes);
    take_int(&t, "tokens_at", 0, INT64_MAX, &s->tokens_at);
    take_int(&t, "documents_at", 0, INT64_MAX, &s->documents_at);
    take_int(&t, "blocks_at", 0, INT64_MAX, &s->blocks_at);
    take_digest(&t, "tables", s->tables);
    take_digest(&t, "digest", s->digest);
    s->text_bytes = (uint64_t)text_bytes;
    if (m->labels) {
        take_int(&t, "labels_at", 0, INT64_MAX, &s->labels_at);
        take_int(&t, "label_blocks_at", 0, INT64_MAX, &s->label_blocks_at);
        take_int(&t, "counted", 0, s->tokens, &s->counted);
    }
    if (t.status != MU_OK)
        return t.status;
    blocks = mu_data_shard_blocks(s->tokens);
    check_inside(&t, "tokens", s->tokens_at, s->tokens, m->token_bytes, s->bytes);
    check_inside(&t, "documents", s->documents_at, s->documents + 1, 8, s->bytes);
    check_inside(&t, "blocks", s->blocks_at, blocks, 8, s->bytes);
    if (m->labels) {
        check_inside(&t, "labels", s->labels_at, s->tokens, 1, s->bytes);
        check_inside(&t, "label_blocks", s->label_blocks_at, blocks, 8, s->bytes);
    }
    return t.status;
}

static mu_status_t check_digest(const char *path, json_t *root)
{
    char wanted[MU_DIGEST_HEX], found[MU_DIGEST_HEX];
    take_t t = {path, root, "manifest", MU_OK};
    take_digest(&t, "digest", wanted);
    if (t.status != MU_OK)
        return t.status;
    digest_of(root, found);
    if (strcmp(wanted, found) != 0)
        return mu_fail(
            MU_DATA,
            "%s: it was changed or damaged after it was written: its digest is %s, it says %s; run "
            "'muster prepare' again",
            path, found, wanted);
    return MU_OK;
}

static mu_status_t parse_root(const char *path, json_t *root, mu_data_manifest_t *m)
{
    take_t t = {path, root, "manifest", MU_OK};
    int64_t version, width = 0, block;
    if (strcmp(take_text(&t, "format"), MU_DATASET_FORMAT) != 0)
        return mu_fail(MU_DATA, "%s: not the manifest of a data set: 'format' is not \"%s\"", path,
                       MU_DATASET_FORMAT);
    take_int(&t, "format_version", 1, INT32_MAX, &version);
    if (t.status == MU_OK && version > MU_DATASET_FORMAT_LABELS)
        return mu_fail(
            MU_DATA,
            "%s: format version %lld; this muster reads versions to %d: prepare the data again, or use "
            "the muster that wrote it",
            path, (long long)version, MU_DATASET_FORMAT_LABELS);
    m->labels = version == MU_DATASET_FORMAT_LABELS;
    MU_TRY(t.status);
    MU_TRY(check_digest(path, root));
    take_digest(&t, "version", m->version);
    take_int(&t, "vocab", 1, INT32_MAX, &m->vocab);
    take_int(&t, "token_bytes", 2, 4, &width);
    take_int(&t, "block_tokens", MU_BLOCK_TOKENS, MU_BLOCK_TOKENS, &block);
    m->split = mu_strdup(take_text(&t, "split"));
    m->token_bytes = (int)width;
    if (t.status == MU_OK && m->token_bytes != mu_token_bytes(m->vocab))
        return mu_fail(MU_DATA, "%s: 'token_bytes' %d does not go with a vocabulary of %lld", path,
                       m->token_bytes, (long long)m->vocab);
    m->made = json_incref(json_object_get(root, "made"));
    if (m->made && !json_is_object(m->made))
        return mu_fail(MU_DATA, "%s: manifest: 'made' must be an object", path);
    m->chat = json_incref(json_object_get(root, "chat"));
    if (m->chat && !json_is_object(m->chat))
        return mu_fail(MU_DATA, "%s: manifest: 'chat' must be an object", path);
    t.object = json_object_get(root, "tokenizer");
    t.where = "tokenizer";
    if (t.object) {
        m->tokenizer_file = mu_strdup(take_text(&t, "file"));
        take_digest(&t, "digest", m->tokenizer_digest);
        take_digest(&t, "file_digest", m->tokenizer_file_digest);
        if (t.status == MU_OK && strchr(m->tokenizer_file, '/'))
            return mu_fail(MU_DATA, "%s: tokenizer: 'file' must lie in the same directory", path);
    }
    return t.status;
}

static mu_status_t parse_shards(const char *path, json_t *root, mu_data_manifest_t *m)
{
    const json_t *shards = json_object_get(root, "shards");
    size_t n = json_array_size(shards);
    if (n == 0 || n > 3 * 100000)
        return mu_fail(MU_DATA, "%s: manifest: 'shards' must be a list of 1 to 300000 shards", path);
    m->shards = mu_calloc(n, sizeof *m->shards);
    for (; m->count < (int)n; m->count++)
        MU_TRY(
            parse_shard(path, json_array_get(shards, (size_t)m->count), m, m->count, &m->shards[m->count]));
    char written[MU_DIGEST_HEX];
    snprintf(written, sizeof written, "%s", m->version);
    mu_data_manifest_version(m);
    if (strcmp(written, m->version) != 0)
        return mu_fail(MU_DATA, "%s: its data version %s is not that of its shards, %s", path, written,
                       m->version);
    return MU_OK;
}

mu_status_t mu_data_manifest_parse(const char *path, const char *text, size_t n, mu_data_manifest_t *out)
{
    json_error_t error;
    mu_data_manifest_t m = {0};
    json_t *root = mu_json_parse(text, n, MU_JSON_DATA, &error);
    if (!root)
        return mu_fail(MU_DATA, "%s:%d:%d: not JSON: %s", path, error.line, error.column, error.text);
    mu_status_t status = parse_root(path, root, &m);
    if (status == MU_OK)
        status = parse_shards(path, root, &m);
    json_decref(root);
    if (status == MU_OK)
        *out = m;
    else
        mu_data_manifest_free(&m);
    return status;
}

mu_status_t mu_data_manifest_read(const char *dir, mu_data_manifest_t *out)
{
    mu_buf_t text = MU_BUF_INIT;
    char *path = mu_path_join(dir, MU_DATASET_MANIFEST);
    mu_status_t status = mu_file_read(path, MANIFEST_MAX, &text);
    if (status == MU_OK)
        status = mu_data_manifest_parse(path, text.data, text.len, out);
    mu_buf_release(&text);
    free(path);
    return status;
}
