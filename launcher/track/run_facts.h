/* What a registry of runs wants to know beside the points, as pairs of texts: {"key", "value"} in a list. */
#ifndef MU_LAUNCHER_TRACK_RUN_FACTS_H
#define MU_LAUNCHER_TRACK_RUN_FACTS_H

#include "common/digest.h"
#include "common/run/rundir.h"

#include <jansson.h>

/* Every key of RUN/config.yml with its value. A file that is missing or damaged gives none, with a warning. */
void mu_run_config(const char *dir, json_t *out);
/* Tags: what the run is (data version, config digest, layout, versions) and how it is (state, restarts, reason). */
void mu_run_facts(const mu_run_state_t *state, json_t *out);
/* What the checkpoint of `step` says of source revision, parent and image. False when there is no such checkpoint. Its
 * manifest may be of many MB: ask once. */
bool mu_run_lineage(const char *dir, int64_t step, json_t *out);

#endif
