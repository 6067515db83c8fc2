/*
 * Lineage: what a model was made from, as JSON that goes on from one checkpoint to the next, so that an export alone
 * leads back to the digest of every input. docs/lineage.md describes each member.
 *
 * A checkpoint's manifest holds the members `source`, `image`, `parent`, `inputs` and, in `data`, the data set's path
 * and inputs. mu_checkpoint_info_t has them as the text of one JSON object, `lineage`.
 */
#ifndef MU_CHECKPOINT_LINEAGE_H
#define MU_CHECKPOINT_LINEAGE_H

#include "common/checkpoint/checkpoint_reader.h"

#include <jansson.h>

/* A parent in a parent in ...: deeper ones are left out, with "cut": true in the last. */
enum { MU_LINEAGE_DEPTH = 64 };

/* {"version", "revision", "changed"} of the running program. */
json_t *mu_lineage_build(void);
/* {"path", "digest", "bytes"} of a file as it is now, path absolute. Errors: MU_NOINPUT, MU_IO. */
mu_status_t mu_lineage_file(const char *path, json_t **out);
/* The node of a checkpoint, with all that lies before it: "kind" model, "run_id", "step", "digest" (of manifest.json),
 * "path" (absolute), "time", "written_by", "config" (digest), "source", "image", "data", "inputs", "parent"; null what
 * is unknown. Errors: MU_NOINPUT, MU_IO. */
mu_status_t mu_lineage_model(const mu_checkpoint_t *checkpoint, json_t **out);
/* The same as the parent of a new model. A parent of its own run is left out: what that run began from takes its place.
 */
mu_status_t mu_lineage_parent(const mu_checkpoint_t *checkpoint, json_t **out);

#endif
