/*
 * A bounded reader of YAML 1.1 (and so of JSON): text in, a tree of maps, lists and scalars with places out.
 *
 * Configurations come from strangers, so the reader takes less than YAML offers: one document whose top is a
 * map, at most MU_YAML_BYTES of UTF-8, MU_YAML_NODES nodes, MU_YAML_DEPTH levels, MU_YAML_KEYS keys a map; no
 * anchors, aliases, merge keys or tags; no key twice in a map, where `a-b` and `a_b` are one key. Everything
 * else is an error with file:line:column and what to do: MU_CONFIG (78); MU_DATA (65) when the bytes are not
 * UTF-8 text or too many; MU_NOINPUT (66) for a file that is not there.
 *
 *     mu_yaml_t *top;
 *     MU_TRY(mu_yaml_read_file(path, &top));
 *     for (mu_yaml_t *e = top->first; e; e = e->next)
 *         ... e->key, e->line, e->column ...
 *     mu_yaml_free(top);
 */
#ifndef MU_COMMON_YAML_H
#define MU_COMMON_YAML_H

#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MU_YAML_BYTES = 1 << 20, MU_YAML_NODES = 20000, MU_YAML_DEPTH = 32, MU_YAML_KEYS = 1000 };

typedef enum mu_yaml_kind { MU_YAML_SCALAR, MU_YAML_LIST, MU_YAML_MAP } mu_yaml_kind_t;

typedef struct mu_yaml {
    mu_yaml_kind_t kind;
    int line, column; /* from 1; of the key for an entry of a map, else of the value */
    char *key;        /* entry of a map: as written; else NULL */
    char *text;       /* scalar: its text, no NUL inside; else NULL */
    bool plain;       /* scalar: written without quotes */
    int count;        /* list and map: number of children */
    struct mu_yaml *first, *next;
} mu_yaml_t;

/* A file; its path is the name in messages. */
mu_status_t mu_yaml_read_file(const char *path, mu_yaml_t **out);
/* A file's text; `name` stands for the file in messages. */
mu_status_t mu_yaml_parse(const char *name, const char *text, size_t n, mu_yaml_t **out);
/* One value, as written on a command line: the top may be a scalar or a list. */
mu_status_t mu_yaml_parse_value(const char *name, const char *text, size_t n, mu_yaml_t **out);
/* Whether bytes are UTF-8 text without control characters. Errors: MU_DATA. */
mu_status_t mu_yaml_check_text(const char *name, const char *text, size_t n);
void mu_yaml_free(mu_yaml_t *node);

/* Whether two keys are one: `-` and `_` are alike. */
bool mu_yaml_same_key(const char *a, const char *b);

/* What a plain scalar means in YAML 1.1; false when the node is something else. Numbers: decimal with
 * optional underscores (no octal, no base 60), finite. *loose: a float that YAML 1.1 proper takes for text
 * (`1e-5`).
 */
bool mu_yaml_is_null(const mu_yaml_t *node);
bool mu_yaml_bool(const mu_yaml_t *node, bool *out);
bool mu_yaml_i64(const mu_yaml_t *node, int64_t *out);
bool mu_yaml_f64(const mu_yaml_t *node, double *out, bool *loose);

#endif
