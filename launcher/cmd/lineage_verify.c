/* Recomputing digests along a lineage. */
#include "common/checkpoint/lineage.h"
#include "common/digest.h"
#include "common/file.h"
#include "dataset/store/dataset.h"
#include "launcher/cmd/lineage.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

typedef enum state { SAME, CHANGED, UNREACHABLE } state_t;

static const char *const words[] = {"same", "changed", "unreachable"};

/* A model follows from what lies there now: yes, no, or nobody can say. */
typedef enum follows { YES, NO, UNKNOWN } follows_t;

static const char *text_of(const json_t *node, const char *key)
{
    return json_string_value(json_object_get(node, key));
}

static follows_t both(follows_t a, follows_t b)
{
    return a == NO || b == NO ? NO : a == UNKNOWN || b == UNKNOWN ? UNKNOWN : YES;
}

static follows_t follows_of(state_t state)
{
    return state == SAME ? YES : state == CHANGED ? NO : UNKNOWN;
}

static follows_t mark_state(json_t *node, state_t state, int *changed)
{
    json_object_set_new(node, "state", json_string(words[state]));
    *changed += state == CHANGED;
    return follows_of(state);
}

static follows_t mark_follows(json_t *node, follows_t follows)
{
    json_object_set_new(node, "follows", follows == UNKNOWN ? json_null() : json_boolean(follows == YES));
    return follows;
}

/* Errors on the way are part of the answer, and not a failure of this command. */
static state_t check_file(const char *path, const char *wanted)
{
    char found[MU_DIGEST_HEX];
    if (!path || !wanted || access(path, R_OK) != 0 || mu_digest_file(path, found) != MU_OK)
        return UNREACHABLE;
    return strcmp(found, wanted) == 0 ? SAME : CHANGED;
}

/* A file of the directory that is inspected: one that is missing is damage. */
static state_t check_own(const char *dir, const char *name, const char *wanted)
{
    if (!name || !wanted || strchr(name, '/'))
        return CHANGED;
    char *path = mu_path_join(dir, name);
    bool missing = access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP);
    state_t state = missing ? CHANGED : check_file(path, wanted);
    free(path);
    return state;
}

/* {"path", "digest"}, or with `dir` {"file", "digest"} in there. */
static follows_t visit_files(json_t *list, const char *dir, int *changed)
{
    follows_t follows = YES;
    size_t i;
    json_t *node;
    json_array_foreach(list, i, node)
    {
        const char *wanted = text_of(node, "digest");
        state_t state =
            dir ? check_own(dir, text_of(node, "file"), wanted) : check_file(text_of(node, "path"), wanted);
        follows = both(follows, mark_state(node, state, changed));
    }
    return follows;
}

/* Only what was read and found damaged has changed; other errors say nothing of it. */
static state_t state_of(mu_status_t status)
{
    return status == MU_OK ? SAME : status == MU_DATA ? CHANGED : UNREACHABLE;
}

static state_t check_data(const json_t *node)
{
    const char *path = text_of(node, "path"), *wanted = text_of(node, "version"),
               *split = text_of(node, "split");
    mu_dataset_t *data;
    if (!path || !wanted || !mu_dataset_exists(path))
        return UNREACHABLE;
    mu_status_t status = mu_dataset_open(path, &(mu_dataset_options_t){.split = split}, &data);
    if (status != MU_OK)
        return state_of(status);
    bool same = strcmp(mu_dataset_version(data), wanted) == 0;
    state_t state = same ? state_of(mu_dataset_verify(data)) : CHANGED;
    mu_dataset_close(data);
    return state;
}

static follows_t visit_data(json_t *node, int *changed)
{
    json_t *parts = json_object_get(node, "parts"), *part;
    follows_t follows = YES;
    size_t i;
    if (!json_is_object(node))
        return YES;
    if (!parts) {
        follows = mark_state(node, check_data(node), changed);
        follows = both(follows, visit_files(json_object_get(node, "inputs"), NULL, changed));
    }
    json_array_foreach(parts, i, part) follows = both(follows, visit_data(part, changed));
    return mark_follows(node, follows);
}

static state_t check_model(const json_t *node)
{
    const char *path = text_of(node, "path");
    char *manifest = path ? mu_path_join(path, MU_MANIFEST_NAME) : NULL;
    state_t state = check_file(manifest, text_of(node, "digest"));
    mu_checkpoint_t *checkpoint;
    free(manifest);
    if (state != SAME)
        return state;
    mu_status_t status = mu_checkpoint_open(path, &checkpoint);
    if (status != MU_OK)
        return state_of(status);
    state = state_of(mu_checkpoint_verify(checkpoint, 0, 1));
    mu_checkpoint_close(checkpoint);
    return state;
}

static follows_t visit_model(json_t *node, int depth, int *changed)
{
    if (!json_is_object(node) || depth > MU_LINEAGE_DEPTH + 1)
        return YES;
    json_t *config = json_object_get(json_object_get(node, "source"), "config");
    follows_t follows = mark_state(node, check_model(node), changed);
    follows = both(follows, visit_files(json_object_get(node, "inputs"), NULL, changed));
    follows = both(follows, visit_files(json_object_get(config, "files"), NULL, changed));
    follows = both(follows, visit_data(json_object_get(node, "data"), changed));
    follows = both(follows, visit_model(json_object_get(node, "parent"), depth + 1, changed));
    return mark_follows(node, follows);
}

mu_status_t mu_lineage_verify(json_t *tree, int *changed)
{
    const char *kind = text_of(tree, "kind");
    *changed = 0;
    if (strcmp(kind, "data") == 0) {
        visit_data(tree, changed);
    } else if (strcmp(kind, "model") == 0) {
        visit_model(tree, 0, changed);
    } else {
        json_t *files = json_object_get(tree, "files");
        follows_t follows = visit_files(files, text_of(tree, "path"), changed);
        if (json_array_size(files) == 0) /* every export has files */
            follows = mark_state(tree, CHANGED, changed);
        mark_follows(tree, both(follows, visit_model(json_object_get(tree, "model"), 0, changed)));
    }
    return MU_OK;
}
