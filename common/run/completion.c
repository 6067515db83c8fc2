#include "common/run/completion.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <jansson.h>
#include <unistd.h>

static const char file_name[] = "complete.json";
enum { FILE_MAX = 4096 };

mu_status_t mu_completion_write(const char *run_dir, const mu_completion_t *c)
{
    char *path = mu_path_join(run_dir, file_name);
    char *text = mu_format("{\"status\": \"%s\", \"attempt\": %lld, \"begun\": %lld, \"step\": %lld, "
                           "\"checkpoint\": %lld, \"time\": %.3f}\n",
                           mu_status_name(c->status), (long long)c->attempt, (long long)c->begun,
                           (long long)c->step, (long long)c->checkpoint, mu_wall_seconds());
    mu_status_t status = mu_file_replace(path, text, strlen(text), 0600);
    free(text);
    free(path);
    return status;
}

static bool take_number(const json_t *json, const char *key, int64_t *out)
{
    const json_t *value = json_object_get(json, key);
    *out = json_integer_value(value);
    return json_is_integer(value);
}

bool mu_completion_read(const char *run_dir, int64_t attempt, mu_completion_t *out)
{
    char *path = mu_path_join(run_dir, file_name);
    mu_buf_t text = MU_BUF_INIT;
    mu_completion_t c = {0};
    bool known = false;
    if (mu_is_file(path) && mu_file_read(path, FILE_MAX, &text) == MU_OK) {
        json_t *json = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
        const char *word = json_string_value(json_object_get(json, "status"));
        c.status = word && strcmp(word, mu_status_name(MU_OK)) == 0 ? MU_OK : MU_STOPPED;
        known = word && (c.status == MU_OK || strcmp(word, mu_status_name(MU_STOPPED)) == 0) &&
                take_number(json, "attempt", &c.attempt) && take_number(json, "begun", &c.begun) &&
                take_number(json, "step", &c.step) && take_number(json, "checkpoint", &c.checkpoint) &&
                c.attempt == attempt;
        json_decref(json);
    }
    if (known)
        *out = c;
    mu_buf_release(&text);
    free(path);
    return known;
}

mu_status_t mu_completion_forget(const char *run_dir)
{
    char *path = mu_path_join(run_dir, file_name);
    mu_status_t status =
        unlink(path) == 0 || errno == ENOENT
            ? MU_OK
            : mu_fail(mu_make_status(errno), "%s: cannot be removed: %s", path, strerror(errno));
    free(path);
    return status;
}
