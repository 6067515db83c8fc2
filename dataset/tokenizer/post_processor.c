#include "dataset/tokenizer/post_processor.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENS_MAX = 64 };

/* Puts ids before the ones that are there: the processors of a Sequence work from the inside out. */
static void put_before(mu_ids_t *ids, const mu_ids_t *more)
{
    mu_ids_reserve(ids, more->len);
    if (more->len == 0)
        return;
    memmove(ids->data + more->len, ids->data, ids->len * sizeof *ids->data);
    memcpy(ids->data, more->data, more->len * sizeof *ids->data);
    ids->len += more->len;
}

static void put_after(mu_ids_t *ids, const mu_ids_t *more)
{
    for (size_t i = 0; i < more->len; i++)
        mu_ids_add(ids, more->data[i]);
}

static void say(const mu_part_t *part, const char *token, bool after)
{
    mu_info("%s: %s: it puts '%s' %s each text; texts of a corpus are encoded without", part->file,
            part->where, token, after ? "after" : "before");
}

/* The ids of a special token of the template. */
static mu_status_t add_token(const mu_part_t *part, const char *name, mu_ids_t *ids)
{
    json_t *list =
               json_object_get(json_object_get(json_object_get(part->json, "special_tokens"), name), "ids"),
           *id;
    size_t i;
    if (json_array_size(list) == 0 || json_array_size(list) > TOKENS_MAX || ids->len > TOKENS_MAX)
        return mu_fail(MU_DATA, "%s: %s.special_tokens: without the ids of '%s', 1 to %d of them", part->file,
                       part->where, name, TOKENS_MAX);
    json_array_foreach(list, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return mu_fail(MU_DATA, "%s: %s.special_tokens: '%s' has an invalid id", part->file, part->where,
                           name);
        mu_ids_add(ids, (int32_t)json_integer_value(id));
    }
    return MU_OK;
}

static mu_status_t read_pieces(const mu_part_t *part, mu_ids_t *before, mu_ids_t *after)
{
    size_t n, texts = 0;
    MU_TRY(mu_part_keys(part, (const char *const[]){"single", "pair", "special_tokens", NULL}));
    MU_TRY(mu_part_list(part, "single", &n));
    for (size_t i = 0; i < n; i++) {
        json_t *piece = json_array_get(json_object_get(part->json, "single"), i);
        const char *token = json_string_value(json_object_get(json_object_get(piece, "SpecialToken"), "id"));
        bool text = json_is_object(json_object_get(piece, "Sequence"));
        texts += text;
        if (token) {
            say(part, token, texts > 0);
            MU_TRY(add_token(part, token, texts > 0 ? after : before));
        } else if (!text) {
            return mu_fail(MU_DATA, "%s: %s.single[%zu]: is neither Sequence nor SpecialToken", part->file,
                           part->where, i);
        }
    }
    return texts == 1 ? MU_OK
                      : mu_fail(MU_DATA, "%s: %s.single: holds the text %zu times, wanted once", part->file,
                                part->where, texts);
}

/* ["</s>", 2] */
static mu_status_t read_pair(const mu_part_t *part, const char *key, mu_ids_t *ids)
{
    json_t *pair = json_object_get(part->json, key), *id = json_array_get(pair, 1);
    const char *token = json_string_value(json_array_get(pair, 0));
    if (json_array_size(pair) != 2 || !token || !json_is_integer(id) || json_integer_value(id) < 0 ||
        json_integer_value(id) > INT32_MAX)
        return mu_fail(MU_DATA, "%s: %s.%s: wanted a token and its id", part->file, part->where, key);
    say(part, token, strcmp(key, "sep") == 0);
    mu_ids_add(ids, (int32_t)json_integer_value(id));
    return MU_OK;
}

static mu_status_t read_processor(void *arg, const mu_part_t *part)
{
    mu_post_processor_t *out = arg;
    const char *type = mu_part_type(part);
    mu_post_processor_t found = {MU_IDS_INIT, MU_IDS_INIT};
    mu_status_t status;
    bool roberta = strcmp(type, "RobertaProcessing") == 0;
    if (strcmp(type, "ByteLevel") == 0)
        return mu_part_keys(part,
                            (const char *const[]){"add_prefix_space", "trim_offsets", "use_regex", NULL});
    if (strcmp(type, "TemplateProcessing") == 0) {
        status = read_pieces(part, &found.before, &found.after);
    } else if (roberta || strcmp(type, "BertProcessing") == 0) {
        status = mu_part_keys(
            part, roberta ? (const char *const[]){"sep", "cls", "trim_offsets", "add_prefix_space", NULL}
                          : (const char *const[]){"sep", "cls", NULL});
        if (status == MU_OK)
            status = read_pair(part, "cls", &found.before);
        if (status == MU_OK)
            status = read_pair(part, "sep", &found.after);
    } else {
        status = mu_part_refuse(part, type,
                                "TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel or none");
    }
    if (status == MU_OK) {
        put_before(&out->before, &found.before);
        put_after(&out->after, &found.after);
    }
    mu_post_processor_release(&found);
    return status;
}

mu_status_t mu_post_processor_read(const mu_part_t *root, mu_post_processor_t *out)
{
    return mu_part_each(root, "post_processor", "processors", read_processor, out);
}

void mu_post_processor_release(mu_post_processor_t *template)
{
    mu_ids_release(&template->before);
    mu_ids_release(&template->after);
}
