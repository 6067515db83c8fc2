/* The files that a list of paths stands for: files as they are, directories walked in the order of names. */
#ifndef MU_DATASET_INPUTS_H
#define MU_DATASET_INPUTS_H

#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef enum mu_text_format {
    MU_FORMAT_BY_NAME,
    MU_FORMAT_TEXT,
    MU_FORMAT_JSONL,
    MU_FORMAT_CSV,
    MU_FORMAT_TSV
} mu_text_format_t;

typedef struct mu_inputs {
    char **paths;
    int *origin;     /* which of the paths given each comes from */
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

/* What a name says that the file holds, a compression's suffix aside: JSON Lines (.jsonl, .ndjson, .json), a table
 * (.csv; .tsv, .tab), else text. */
mu_text_format_t mu_inputs_format(const char *name);
/* "text", "jsonl", "csv", "tsv"; and back, false for anything else. */
const char *mu_text_format_name(mu_text_format_t format);
bool mu_text_format_parse(const char *name, mu_text_format_t *out);

/* Whether a file of that name is taken from a directory or an archive; slashes may be in the name. */
bool mu_inputs_is_data(const char *name);

#endif
