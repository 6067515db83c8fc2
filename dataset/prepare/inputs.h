/* The files that a list of paths stands for: files as they are, directories walked in the order of names. */
#ifndef MU_DATASET_INPUTS_H
#define MU_DATASET_INPUTS_H

#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct mu_inputs {
    char **paths;
    uint64_t *sizes; /* on disk; 0 where not known */
    int count;
    int left_out;   /* files in directories that are no data by their names */
    uint64_t total; /* of all sizes */
    bool sized;     /* every size is known */
} mu_inputs_t;

/* Symbolic links are followed. In directories are left out: hidden files; and, with a line of log that names them,
 * what describes a data set or belongs to a tool and is no data (README, LICENSE and their kin with any suffix,
 * dataset_info.json, *.yml, *.idx, *.bin and the like). A file that is named itself is taken. Errors: MU_NOINPUT. */
mu_status_t mu_inputs_find(char *const *paths, int n, mu_inputs_t *out);
void mu_inputs_free(mu_inputs_t *inputs);

/* Whether the name ends in .jsonl, .ndjson or .json, a compression's suffix aside. */
bool mu_inputs_is_jsonl(const char *path);

#endif
