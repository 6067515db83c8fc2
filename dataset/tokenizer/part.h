/*
 * A part of a tokenizer.json with its path inside the file, so that a message can name it:
 * "tokenizer.json: pre_tokenizer.pretokenizers[1].pattern: found ...".
 *
 * A part does not own its JSON value. For the sources of dataset/tokenizer only.
 */
#ifndef MU_DATASET_PART_H
#define MU_DATASET_PART_H

#include "common/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct mu_part {
    const char *file;
    char where[160];
    json_t *json;
} mu_part_t;

/* The member `key` of an object as a part. False when it is absent or null. */
bool mu_part_member(const mu_part_t *part, const char *key, mu_part_t *out);
/* The array `key` and its length. Errors: MU_DATA when it is no array. */
mu_status_t mu_part_list(const mu_part_t *part, const char *key, size_t *n);
/* Item `i` of the array `key`, which mu_part_list() has found. */
mu_part_t mu_part_item(const mu_part_t *part, const char *key, size_t i);
/* The member "type"; "" when there is none. */
const char *mu_part_type(const mu_part_t *part);
/* Errors: MU_DATA for a member that is not null and not in `known` (ends with NULL; "type" is always known). */
mu_status_t mu_part_keys(const mu_part_t *part, const char *const *known);
/* Leaves *value as it is when the member is absent or null. Errors: MU_DATA for another type. */
mu_status_t mu_part_bool(const mu_part_t *part, const char *key, bool *value);
/* Errors: MU_DATA when the member is no string. The string lives as long as the JSON value. */
mu_status_t mu_part_text(const mu_part_t *part, const char *key, const char **value);
/* Errors: MU_DATA when the member is no integer from 0 to `most`. */
mu_status_t mu_part_count(const mu_part_t *part, const char *key, int most, int *value);
/* Returns MU_DATA with a message: found `found`, supported is `wanted`. */
mu_status_t mu_part_refuse(const mu_part_t *part, const char *found, const char *wanted);

/* Calls `one` for the component `key` of `root`, or for each component of a "Sequence" of them, which has its
 * components in the array `list`, to any depth up to 8. Absent or null: no call. */
typedef mu_status_t (*mu_part_fn)(void *arg, const mu_part_t *part);
mu_status_t mu_part_each(const mu_part_t *root, const char *key, const char *list, mu_part_fn one, void *arg);

#endif
