/* What an imported checkpoint says of where it comes from (common/checkpoint/lineage.h). */
#ifndef MU_WORKER_IMPORT_RECORD_H
#define MU_WORKER_IMPORT_RECORD_H

#include "worker/convert/hf_import.h"

#include <jansson.h>

/* {"path", "digest", "bytes"} of every file that the import reads: weights, tokenizer, config.json. Errors: MU_NOINPUT,
 * MU_IO. */
mu_status_t mu_import_inputs(const mu_import_t *import, json_t **out);
/* The text for mu_checkpoint_info_t.lineage, a new string; inputs: the list above. Where the directory is an export of
 * ours, whose weights are still the ones exported, the model that it was made from is the parent. */
char *mu_import_lineage(const mu_import_t *import, json_t *inputs);

#endif
