/*
 * What an export says of itself: muster.json, its lineage (docs/lineage.md), and README.md, the model card.
 *
 *     mu_export_record(checkpoint, dir, output);        last, when all other files lie in dir
 *     mu_export_is_there(output, checkpoint, &yes);     has this very export been made already?
 */
#ifndef MU_WORKER_EXPORT_RECORD_H
#define MU_WORKER_EXPORT_RECORD_H

#include "common/checkpoint/checkpoint_reader.h"

#include <stdbool.h>

#define MU_EXPORT_FILE "muster.json"

/* dir: the directory that becomes `output`, whose last part is the model's name. Its files get digests, so they are
 * read once more. Errors: MU_IO, MU_NOINPUT, MU_DATA. */
mu_status_t mu_export_record(const mu_checkpoint_t *checkpoint, const char *dir, const char *output);
/* Whether `output` is a finished export of this checkpoint, each of its files as muster.json has it. Errors: MU_RUNDIR
 * (it is one, but a file is missing or differs), MU_IO, MU_NOINPUT (of the checkpoint). */
mu_status_t mu_export_is_there(const char *output, const mu_checkpoint_t *checkpoint, bool *yes);

#endif
