/*
 * Making a checkpoint whole, and removing old ones. One process calls these (the controller); DIR is the
 * directory that holds the checkpoints (RUN/checkpoints).
 *
 * Calling sequence:
 *     mu_checkpoint_clean(dir);                                 once, at the start of an attempt
 *     mu_checkpoint_mend_hints(dir, step, &lowest);             once the checkpoint to go on from is chosen
 *     mu_checkpoint_begin(dir, step, attempt, &tmp);            DIR/step-00000100.tmp-3 is there and empty
 *     ... every worker: mu_shard_write() into tmp ...           all must succeed, else
 * mu_checkpoint_abandon() mu_checkpoint_commit(dir, tmp, &commit);                  manifest, rename,
 * `latest`, `best` mu_checkpoint_prune(dir, keep, attempt);
 *
 * Durable before visible: shards, then manifest and tokenizer.json, then the names in tmp, then the rename to
 * DIR/step-00000100, then the names in DIR. A kill or a failure at any point leaves every earlier checkpoint
 * as it was. If step-00000100 exists already (it was damaged, and training came by again), it is renamed to
 * step-00000100.old-ATTEMPT first, and removed when the new one stands; readers accept an .old- one
 * meanwhile.
 */
#ifndef MU_COMMON_COMMIT_H
#define MU_COMMON_COMMIT_H

#include "common/checkpoint/manifest.h"

/* Removes what killed attempts left: step-*.tmp-*, latest.tmp-*, best.tmp-*, and step-N.old-* where step-N is
 * valid. Makes DIR when absent. No save of another attempt may be under way. Errors: MU_RUNDIR, MU_IO. */
mu_status_t mu_checkpoint_clean(const char *dir);

/* A kill after the rename to DIR/step-N may have left `latest` and `best` as they were. Writes them where they are not
 * what the valid checkpoints up to `step` say: the newest, and that with the lowest validation loss, the first of
 * equals. A `best` that names one as good stays. *lowest: the loss of the best; INFINITY: none was evaluated. Errors:
 * MU_IO. */
mu_status_t mu_checkpoint_mend_hints(const char *dir, int64_t step, double *lowest);

/* Makes an empty directory for the shards; *tmp is a new string. Errors: MU_IO. */
mu_status_t mu_checkpoint_begin(const char *dir, int64_t step, int attempt, char **tmp);
/* Removes it again after a failed save; an error is only logged. */
void mu_checkpoint_abandon(const char *tmp);

typedef struct mu_commit {
    mu_checkpoint_info_t *info; /* borrowed; tokenizer_digest is set */
    const mu_model_t *model;
    bool optimizer;
    mu_shard_t *shards;    /* one of each worker, any order; borrowed */
    int shard_count;       /* info->tp * info->dp */
    const char *tokenizer; /* path of the tokenizer.json to copy; NULL: none */
    bool best;             /* this one becomes `best` */
} mu_commit_t;

/* The text of the manifest of these shards, which are put in the order of their names. `where` is for messages.
 * Errors: MU_BUG (the shards do not make up the model). */
mu_status_t mu_commit_manifest(const mu_commit_t *commit, const char *where, mu_buf_t *text);

/* Looks at every shard through this host's own view of the volume, then makes the checkpoint visible and
 * durable. Errors: MU_IO (nothing was committed, or only `latest` or `best` failed, which the message says),
 * MU_BUG (the shards do not make up the model). */
mu_status_t mu_checkpoint_commit(const char *dir, const char *tmp, mu_commit_t *commit);

/* A run goes on from step `above`: what is newer was found damaged. It is renamed to damaged-NAME-ATTEMPT, so that
 * retention neither counts nor removes it. The controller, before the first step. Errors: MU_IO. */
mu_status_t mu_checkpoint_set_aside(const char *dir, int64_t above, int attempt);
/* Removes checkpoints older than the `keep` newest valid ones (keep 0: none), never the newest valid one and
 * never the one that `best` names. Errors: MU_IO; the checkpoints kept are not touched. */
mu_status_t mu_checkpoint_prune(const char *dir, int64_t keep, int attempt);

#endif
