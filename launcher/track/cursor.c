#include "launcher/track/cursor.h"
#include "common/file.h"
#include "common/json.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

enum { LIMIT = 1 << 20, VALUES = 1 << 16 };

static mu_status_t load(const char *path, json_t **out)
{
    mu_buf_t text = MU_BUF_INIT;
    *out = NULL;
    if (!mu_is_file(path)) {
        *out = json_object();
        return MU_OK;
    }
    mu_status_t status = mu_file_read(path, LIMIT, &text);
    if (status == MU_OK) {
        json_error_t error;
        *out = mu_json_parse(text.data, text.len, VALUES, &error);
        if (!json_is_object(*out)) {
            status = mu_fail(MU_DATA,
                             "%s:%d:%d: %s, wanted an object: remove it to deliver every point again", path,
                             *out ? 1 : error.line, *out ? 1 : error.column, *out ? "no object" : error.text);
            json_decref(*out);
            *out = NULL;
        }
    }
    mu_buf_release(&text);
    return status;
}

mu_status_t mu_cursor_get(const char *path, const char *kind, const char *name, json_t **out)
{
    json_t *all;
    MU_TRY(load(path, &all));
    json_t *mine = json_object_get(json_object_get(all, kind), name);
    *out = json_is_object(mine) ? json_deep_copy(mine) : json_object();
    json_decref(all);
    return MU_OK;
}

mu_status_t mu_cursor_put(const char *path, const char *kind, const char *name, json_t *value)
{
    json_t *all;
    MU_TRY(load(path, &all));
    json_t *of_kind = json_object_get(all, kind);
    if (!json_is_object(of_kind)) {
        of_kind = json_object();
        json_object_set_new(all, kind, of_kind);
    }
    json_object_set(of_kind, name, value);
    char *text = json_dumps(all, JSON_INDENT(2));
    mu_status_t status = text ? mu_file_replace(path, text, strlen(text), 0600)
                              : mu_fail(MU_IO, "%s: cannot be written as JSON", path);
    free(text);
    json_decref(all);
    return status;
}
