/* The tree as lines: what is made first, what it was made from below it, further to the right. */
#include "launcher/cmd/lineage.h"
#include "common/buf.h"
#include "common/checkpoint/lineage.h"
#include "common/ready_text.h"

#include <stdio.h>
#include <string.h>

enum { STEP = 3, LIST_MAX = 20 };

static const char *text_of(const json_t *node, const char *key)
{
    return json_string_value(json_object_get(node, key));
}

/* Every text is from a file that anybody may have written: a terminal must not obey it. */
static void put(const char *text)
{
    mu_text_put(text ? text : "unknown", stdout);
}

/* "  PATH", where there is one. */
static void put_path(const json_t *node)
{
    if (text_of(node, "path")) {
        printf("  ");
        put(text_of(node, "path"));
    }
}

/* "   <- data     ..." */
static void begin(int depth, const char *word)
{
    if (depth > 0)
        printf("%*s<- ", (depth - 1) * STEP, "");
    printf("%-8s ", word);
}

static void end_line(const json_t *node)
{
    const char *state = text_of(node, "state");
    const json_t *follows = json_object_get(node, "follows");
    if (state)
        printf("  [%s]", strcmp(state, "unreachable") == 0 ? "not reachable" : state);
    if (json_is_false(follows))
        printf(state && strcmp(state, "changed") == 0 ? "" : "  [no longer follows]");
    putchar('\n');
}

static void print_files(const json_t *list, int depth, const char *word, const char *key)
{
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        const json_t *node = json_array_get(list, i);
        bool changed = text_of(node, "state") && strcmp(text_of(node, "state"), "same") != 0;
        if (i >= LIST_MAX && !changed)
            continue; /* of a long list what is not as it was */
        begin(depth, word);
        put(text_of(node, "digest"));
        printf("  ");
        put(text_of(node, key));
        end_line(node);
    }
    if (n > LIST_MAX) {
        begin(depth, word);
        printf("... %zu in all (--json lists them)\n", n);
    }
}

static void print_data(const json_t *node, int depth)
{
    const json_t *parts = json_object_get(node, "parts"), *inputs = json_object_get(node, "inputs"), *part;
    size_t i;
    if (!json_is_object(node))
        return;
    begin(depth, "data");
    put(text_of(node, "version"));
    put_path(node);
    end_line(node);
    print_files(inputs, depth + 1, "input", "path");
    if (!parts && !json_is_array(inputs)) {
        begin(depth + 1, "input");
        printf("unknown: the data set does not name what it was made from\n");
    }
    json_array_foreach(parts, i, part) print_data(part, depth + 1);
}

static void print_revision(const json_t *node)
{
    put(text_of(node, "revision"));
    printf(json_is_true(json_object_get(node, "changed")) ? " (changed)\n" : "\n");
}

static void print_source(const json_t *source, int depth)
{
    const json_t *build = json_object_get(source, "build"), *config = json_object_get(source, "config");
    if (!json_is_object(build))
        return;
    begin(depth, "build");
    printf("muster ");
    put(text_of(build, "version"));
    printf(", revision ");
    print_revision(build);
    if (!json_is_object(config))
        return;
    begin(depth, "source");
    printf("revision ");
    print_revision(config);
    print_files(json_object_get(config, "files"), depth + 1, "file", "path");
}

static void print_model(const json_t *node, int depth, const char *word)
{
    const json_t *step = json_object_get(node, "step");
    if (!json_is_object(node) || depth > MU_LINEAGE_DEPTH + 2)
        return;
    begin(depth, word);
    put(text_of(node, "digest"));
    printf("  run ");
    put(text_of(node, "run_id"));
    printf(" step %lld", (long long)json_integer_value(step));
    put_path(node);
    end_line(node);
    print_files(json_object_get(node, "inputs"), depth + 1, "input", "path");
    if (text_of(node, "config")) {
        begin(depth + 1, "config");
        put(text_of(node, "config"));
        putchar('\n');
    }
    print_source(json_object_get(node, "source"), depth + 1);
    if (text_of(node, "image")) {
        begin(depth + 1, "image");
        put(text_of(node, "image"));
        putchar('\n');
    }
    print_data(json_object_get(node, "data"), depth + 1);
    print_model(json_object_get(node, "parent"), depth + 1, "parent");
    if (json_is_true(json_object_get(node, "cut"))) {
        begin(depth + 1, "parent");
        printf("... older ones are not recorded\n");
    }
}

void mu_lineage_print(const json_t *tree)
{
    const char *kind = text_of(tree, "kind");
    if (strcmp(kind, "data") == 0) {
        print_data(tree, 0);
    } else if (strcmp(kind, "model") == 0) {
        print_model(tree, 0, "model");
    } else {
        begin(0, "export");
        put(text_of(tree, "path"));
        end_line(tree);
        print_files(json_object_get(tree, "files"), 1, "file", "file");
        print_model(json_object_get(tree, "model"), 1, "model");
    }
}
