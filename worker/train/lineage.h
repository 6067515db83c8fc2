/* What the checkpoints of this run say of where they come from (common/checkpoint/lineage.h). */
#ifndef MU_WORKER_LINEAGE_H
#define MU_WORKER_LINEAGE_H

#include "worker/train/run.h"
#include "worker/train/start.h"

/* The text for mu_checkpoint_info_t.lineage, a new string: the program's build, the configuration's revision and the
 * image as the launcher wrote them (RUN/source.json; without a launcher the build alone), the checkpoint that the run
 * starts from, and the inputs of its data. The controller, once the data and that checkpoint are open. Errors: MU_DATA,
 * MU_IO, MU_NOINPUT. */
mu_status_t mu_run_lineage(const mu_run_t *run, const mu_start_t *start, char **out);

#endif
