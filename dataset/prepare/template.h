/*
 * How the text of a document is made of the named members of a record: '{user}\n{agent}'.
 *
 * Braces hold a member's name; "{{" and "}}" are braces; \n, \t, \r and \\ are what they are in C. Everything else is
 * itself.
 */
#ifndef MU_DATASET_TEMPLATE_H
#define MU_DATASET_TEMPLATE_H

#include "common/buf.h"
#include <stdbool.h>
#include <stddef.h>

enum { MU_TEMPLATE_NAMES_MAX = 64 };

/* A literal text, then the member (-1: none, at the end). */
typedef struct mu_template_part {
    size_t from, n; /* of the literal in `literals` */
    int name;
} mu_template_part_t;

typedef struct mu_template {
    char *names[MU_TEMPLATE_NAMES_MAX]; /* each once, in the order of their first use */
    int name_count;
    mu_template_part_t *parts;
    int part_count;
    mu_buf_t literals;
} mu_template_t;

/* The value of one name. */
typedef struct mu_template_value {
    const char *text;
    size_t n;
} mu_template_value_t;

/* False: *why and the byte *at say what is wrong. Logs nothing; release it in any case. */
bool mu_template_parse(const char *text, mu_template_t *out, const char **why, size_t *at);
/* The members `names`, with a line feed between. n from 1 to MU_TEMPLATE_NAMES_MAX. */
void mu_template_join(char *const *names, int n, mu_template_t *out);
/* Adds the text for `values`, one a name, to `out`. */
void mu_template_fill(const mu_template_t *t, const mu_template_value_t *values, mu_buf_t *out);
void mu_template_release(mu_template_t *t);

#endif
