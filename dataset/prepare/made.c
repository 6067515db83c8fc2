#include "dataset/prepare/made.h"
#include "common/log.h"
#include "dataset/tokenizer/utf8.h"

#include <string.h>

enum { LISTED_MAX = 1000 }; /* inputs and groups; the digest is of all */

/* A path as JSON, which knows only UTF-8. */
static json_t *name_json(const char *name)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_utf8_repair(name, strlen(name), &text);
    json_t *json = json_string(text.data ? text.data : "");
    mu_buf_release(&text);
    return json;
}

/* ---- files ---- */

typedef struct list {
    json_t *files;
    int64_t count;
    mu_digest_t *digest; /* of what decides the result: content, form and tag of each, in their order */
} list_t;

static void list_begin(list_t *list)
{
    *list = (list_t){json_array(), 0, mu_digest_new()};
}

static void list_add(list_t *list, const mu_made_inputs_t *in, const mu_inputs_t *found, int i,
                     const mu_text_file_t *file)
{
    mu_text_format_t format =
        in->format == MU_FORMAT_BY_NAME ? mu_inputs_format(found->paths[i]) : in->format;
    const char *tag = in->tags[found->origin[i]];
    char *line = mu_format("%llu %s %s %s\n", (unsigned long long)file->bytes, file->digest,
                           mu_text_format_name(format), tag ? tag : "");
    mu_digest_add(list->digest, line, strlen(line));
    free(line);
    if (list->count++ >= LISTED_MAX)
        return;
    json_t *json = json_pack("{s:o, s:I, s:s}", "name", name_json(found->paths[i]), "bytes",
                             (json_int_t)file->bytes, "digest", file->digest);
    if (file->members >= 0)
        json_object_set_new(json, "members", json_integer(file->members));
    else
        json_object_set_new(json, "format", json_string(mu_text_format_name(format)));
    if (tag)
        json_object_set_new(json, "tag", json_string(tag));
    json_array_append_new(list->files, json);
}

/* Puts the list into `made` and frees it. */
static void list_end(list_t *list, json_t *made)
{
    char digest[MU_DIGEST_HEX];
    mu_digest_hex(list->digest, digest);
    mu_digest_free(list->digest);
    json_object_set_new(made, "files", json_integer(list->count));
    json_object_set_new(made, "inputs", list->files);
    json_object_set_new(made, "inputs_digest", json_string(digest));
}

/* ---- counts ---- */

static json_t *counts_json(const mu_reader_counts_t *c, int left_out, const mu_made_chat_t *chat)
{
    const mu_filter_counts_t *f = &c->filter;
    const mu_archive_counts_t *a = &c->archive;
    json_t *json =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "invalid",
                  (json_int_t)c->invalid, "empty", (json_int_t)c->empty, "bad", (json_int_t)c->bad, "control",
                  (json_int_t)f->control, "too_short", (json_int_t)f->too_short, "too_long",
                  (json_int_t)f->too_long, "duplicates", (json_int_t)f->duplicates, "members",
                  (json_int_t)a->members, "links", (json_int_t)a->links, "devices", (json_int_t)a->devices,
                  "outside", (json_int_t)a->outside, "left_out", (json_int_t)a->left_out + left_out);
    if (chat) {
        json_object_set_new(json, "unanswered", json_integer(c->unanswered));
        json_object_set_new(json, "spelled", json_integer(c->spelled));
        json_object_set_new(json, "cut", json_integer(chat->cut));
        json_object_set_new(json, "too_many_tokens", json_integer(chat->left_out));
    }
    return json;
}

static json_t *parts_json(const int64_t parts[MU_DATA_SPLITS])
{
    json_t *json = json_object();
    for (int s = 0; s < MU_DATA_SPLITS; s++)
        json_object_set_new(json, mu_data_split_name((mu_data_split_t)s), json_integer(parts[s]));
    return json;
}

/* One input, or all of one tag. */
static json_t *group_json(const char *key, json_t *name, const int64_t parts[MU_DATA_SPLITS],
                          const int64_t by_position[MU_DATA_SPLITS])
{
    return json_pack("{s:o, s:o, s:o}", key, name, "documents", parts_json(parts), "by_position",
                     parts_json(by_position));
}

static bool tag_is(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* A group a tag, in the order of their first inputs; none where nothing is tagged. */
static json_t *tags_json(const mu_made_inputs_t *in, const mu_tally_t *tally)
{
    json_t *json = json_array();
    bool tagged = false;
    for (int i = 0; i < in->count; i++)
        tagged = tagged || in->tags[i];
    for (int i = 0; i < in->count && tagged; i++) {
        int64_t parts[MU_DATA_SPLITS] = {0}, by_position[MU_DATA_SPLITS] = {0};
        bool seen = false;
        for (int k = 0; k < i; k++)
            seen = seen || tag_is(in->tags[k], in->tags[i]);
        for (int k = i; k < in->count && !seen; k++) {
            for (int s = 0; s < MU_DATA_SPLITS && tag_is(in->tags[k], in->tags[i]); s++) {
                parts[s] += mu_tally_parts(tally, &tally->rows[k])[s];
                by_position[s] += tally->rows[k].by_position[s];
            }
        }
        if (!seen)
            json_array_append_new(
                json,
                group_json("tag", in->tags[i] ? json_string(in->tags[i]) : json_null(), parts, by_position));
    }
    return json;
}

static json_t *groups_json(const mu_made_inputs_t *in, const mu_tally_t *tally)
{
    json_t *json = json_array();
    for (int i = 0; i < in->count && i < LISTED_MAX; i++)
        json_array_append_new(json,
                              group_json("name", name_json(in->paths[i]),
                                         mu_tally_parts(tally, &tally->rows[i]), tally->rows[i].by_position));
    return json;
}

json_t *mu_made_new(json_t *options, const mu_made_inputs_t *inputs, mu_reader_t *reader,
                    const mu_tally_t *tally, const mu_made_chat_t *chat)
{
    const mu_texts_t *texts = mu_reader_texts(reader);
    const mu_inputs_t *found = mu_texts_inputs(texts);
    json_t *made = json_object();
    list_t list;
    json_object_set_new(made, "options", options);
    list_begin(&list);
    for (int i = 0; i < found->count; i++)
        list_add(&list, inputs, found, i, mu_texts_file(texts, i));
    list_end(&list, made);
    json_object_set_new(made, "counts", counts_json(mu_reader_counts(reader), found->left_out, chat));
    json_object_set_new(made, "groups", groups_json(inputs, tally));
    json_object_set_new(made, "tags", tags_json(inputs, tally));
    return made;
}

/* ---- the same again ---- */

static char *option_text(const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    return text ? text : mu_strdup("not given");
}

static char *other_options(const json_t *made, const json_t *options)
{
    const json_t *there = json_object_get(made, "options");
    const char *key;
    json_t *value;
    for (int turn = 0; turn < 2; turn++) {
        json_object_foreach((json_t *)(uintptr_t)(turn ? there : options), key, value)
        {
            const json_t *a = json_object_get(there, key), *b = json_object_get(options, key);
            if (json_equal(a, b))
                continue;
            char *old = option_text(a), *new = option_text(b);
            char *why = mu_format("%s was %s and is %s now", key, old, new);
            free(old);
            free(new);
            return why;
        }
    }
    return NULL;
}

static mu_status_t digest_file(const char *path, mu_text_file_t *out)
{
    mu_stream_t *stream;
    MU_TRY(mu_stream_open(path, &stream));
    mu_status_t status = mu_stream_digest(stream, out->digest, &out->bytes);
    mu_stream_close(stream);
    return status;
}

static char *other_inputs(const json_t *made, const json_t *now)
{
    const json_t *there = json_object_get(made, "inputs"), *here = json_object_get(now, "inputs");
    json_int_t files = json_integer_value(json_object_get(made, "files"));
    if (json_equal(json_object_get(made, "inputs_digest"), json_object_get(now, "inputs_digest")))
        return NULL;
    if (files != json_integer_value(json_object_get(now, "files")))
        return mu_format("it was made of another number of files: %lld", (long long)files);
    for (size_t i = 0; i < json_array_size(here); i++) {
        const json_t *a = json_array_get(there, i), *b = json_array_get(here, i);
        static const char *const key[] = {"digest", "format", "tag"};
        for (size_t k = 0; k < sizeof key / sizeof *key; k++) {
            if (!json_equal(json_object_get(a, key[k]), json_object_get(b, key[k])) &&
                (k != 1 || json_object_get(a, "format")))
                return mu_format("the %s of '%s' is another", k == 0 ? "content" : key[k],
                                 json_string_value(json_object_get(b, "name")));
        }
    }
    return mu_strdup("its inputs were others");
}

mu_status_t mu_made_compare(const json_t *made, const json_t *options, const mu_made_inputs_t *inputs,
                            char **why)
{
    mu_inputs_t found;
    list_t list;
    *why = made ? other_options(made, options) : mu_strdup("it does not say what it was made of");
    if (*why)
        return MU_OK;
    MU_TRY(mu_inputs_find(inputs->paths, inputs->count, &found));
    json_t *now = json_object();
    mu_status_t status = MU_OK;
    list_begin(&list);
    for (int i = 0; i < found.count && status == MU_OK; i++) {
        mu_text_file_t file = {.members = -1};
        status = digest_file(found.paths[i], &file);
        if (status == MU_OK)
            list_add(&list, inputs, &found, i, &file);
    }
    list_end(&list, now);
    if (status == MU_OK)
        *why = other_inputs(made, now);
    json_decref(now);
    mu_inputs_free(&found);
    return status;
}
