#include "dataset/tokenizer/part.h"
#include "common/log.h"

#include <stdio.h>
#include <string.h>

enum { DEPTH_MAX = 8 };

bool mu_part_member(const mu_part_t *part, const char *key, mu_part_t *out)
{
    json_t *value = json_object_get(part->json, key);
    mu_part_t found = {.file = part->file, .json = value};
    if (!value || json_is_null(value))
        return false;
    snprintf(found.where, sizeof found.where, "%.120s%s%.30s", part->where, part->where[0] ? "." : "", key);
    *out = found;
    return true;
}

mu_status_t mu_part_list(const mu_part_t *part, const char *key, size_t *n)
{
    json_t *list = json_object_get(part->json, key);
    if (!json_is_array(list))
        return mu_fail(MU_DATA, "%s: %s: without the array '%s'", part->file, part->where, key);
    *n = json_array_size(list);
    return MU_OK;
}

mu_part_t mu_part_item(const mu_part_t *part, const char *key, size_t i)
{
    mu_part_t item = {.file = part->file, .json = json_array_get(json_object_get(part->json, key), i)};
    snprintf(item.where, sizeof item.where, "%.100s.%.30s[%zu]", part->where, key, i);
    return item;
}

const char *mu_part_type(const mu_part_t *part)
{
    const char *type = json_string_value(json_object_get(part->json, "type"));
    return type ? type : "";
}

mu_status_t mu_part_keys(const mu_part_t *part, const char *const *known)
{
    const char *key;
    json_t *value;
    if (!json_is_object(part->json))
        return mu_fail(MU_DATA, "%s: %s: wanted an object", part->file, part->where);
    json_object_foreach(part->json, key, value)
    {
        bool found = strcmp(key, "type") == 0 || json_is_null(value);
        for (size_t i = 0; known[i] && !found; i++)
            found = strcmp(key, known[i]) == 0;
        if (!found)
            return mu_fail(MU_DATA, "%s: %s%s%s: this setting is unknown, and ids may depend on it",
                           part->file, part->where, part->where[0] ? "." : "", key);
    }
    return MU_OK;
}

mu_status_t mu_part_bool(const mu_part_t *part, const char *key, bool *value)
{
    mu_part_t member;
    if (!mu_part_member(part, key, &member))
        return MU_OK;
    if (!json_is_boolean(member.json))
        return mu_fail(MU_DATA, "%s: %s: found something that is neither true nor false", part->file,
                       member.where);
    *value = json_is_true(member.json);
    return MU_OK;
}

mu_status_t mu_part_text(const mu_part_t *part, const char *key, const char **value)
{
    *value = json_string_value(json_object_get(part->json, key));
    return *value ? MU_OK : mu_fail(MU_DATA, "%s: %s.%s: wanted a string", part->file, part->where, key);
}

mu_status_t mu_part_count(const mu_part_t *part, const char *key, int most, int *value)
{
    json_t *found = json_object_get(part->json, key);
    if (!json_is_integer(found) || json_integer_value(found) < 0 || json_integer_value(found) > most)
        return mu_fail(MU_DATA, "%s: %s.%s: wanted an integer from 0 to %d", part->file, part->where, key,
                       most);
    *value = (int)json_integer_value(found);
    return MU_OK;
}

mu_status_t mu_part_refuse(const mu_part_t *part, const char *found, const char *wanted)
{
    return mu_fail(MU_DATA, "%s: %s: found '%s', supported is %s", part->file, part->where, found, wanted);
}

static mu_status_t each(const mu_part_t *part, const char *list, int depth, mu_part_fn one, void *arg)
{
    size_t n;
    if (strcmp(mu_part_type(part), "Sequence") != 0)
        return one(arg, part);
    if (depth == DEPTH_MAX)
        return mu_fail(MU_DATA, "%s: %s: a Sequence in more than %d others", part->file, part->where,
                       DEPTH_MAX);
    MU_TRY(mu_part_keys(part, (const char *const[]){list, NULL}));
    MU_TRY(mu_part_list(part, list, &n));
    for (size_t i = 0; i < n; i++) {
        mu_part_t item = mu_part_item(part, list, i);
        MU_TRY(each(&item, list, depth + 1, one, arg));
    }
    return MU_OK;
}

mu_status_t mu_part_each(const mu_part_t *root, const char *key, const char *list, mu_part_fn one, void *arg)
{
    mu_part_t part;
    return mu_part_member(root, key, &part) ? each(&part, list, 0, one, arg) : MU_OK;
}
