/*
 * RUN/source.json: the revision of the configuration, for the lineage of the run's checkpoints (docs/lineage.md):
 *
 *     {"config": {"files": [{"path", "digest", "bytes"}], "revision": "3f...", "changed": false},
 *      "image": "sha256:..."}
 *
 * revision: of the git tree that the first file lies in; null where there is none, or no git, or it refuses. changed:
 * the tree has changes that are not in that revision, or one of the files is not part of it. image: IMAGE_DIGEST of the
 * environment, null without one.
 */
#ifndef MU_LAUNCHER_SOURCE_H
#define MU_LAUNCHER_SOURCE_H

#include "common/status.h"

/* Durable when it returns. configs: as the command line names them. Errors: MU_IO, MU_RUNDIR. */
mu_status_t mu_source_write(const char *run_dir, char *const *configs, int n);

#endif
