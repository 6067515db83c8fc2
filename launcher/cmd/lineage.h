/*
 * `muster inspect PATH --lineage`: the tree of what a model was made from.
 *
 *     mu_lineage_open(path, &tree);            an export, a checkpoint, a run or a data set
 *     mu_lineage_verify(tree, &changed);       recomputes what can be reached, and marks each node
 *     mu_lineage_print(tree);
 *
 * A node is a JSON object with a member `kind`: export, model, data, input, config, build. After mu_lineage_verify() it
 * has `state`: same, changed, or unreachable; an export, a model and a data set also have `follows`: false when they or
 * anything before them has changed, null when that is not known. docs/lineage.md has the members.
 */
#ifndef MU_LAUNCHER_LINEAGE_H
#define MU_LAUNCHER_LINEAGE_H

#include "common/status.h"

#include <jansson.h>
#include <stdbool.h>

#define MU_EXPORT_FILE "muster.json" /* in an exported directory */

/* Whether `path` is a directory that `muster export` made. */
bool mu_lineage_is_export(const char *path);
/* Errors: MU_NOINPUT (nothing there that has a lineage), MU_DATA (damaged), MU_IO. json_decref() the tree. */
mu_status_t mu_lineage_open(const char *path, json_t **out);
/* *changed: how many files or directories are not what they were. A file that the
 * export itself should have is changed when it is missing. Errors: none of its own; what cannot be read is
 * unreachable. */
mu_status_t mu_lineage_verify(json_t *tree, int *changed);
/* For people, on stdout. */
void mu_lineage_print(const json_t *tree);

#endif
