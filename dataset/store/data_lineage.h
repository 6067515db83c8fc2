/* What a data set was made from, for the lineage of the models that learn from it (docs/lineage.md). */
#ifndef MU_DATASET_DATA_LINEAGE_H
#define MU_DATASET_DATA_LINEAGE_H

#include "common/status.h"
#include <jansson.h>

/* {"path": absolute, "version", "tokenizer_digest", "inputs"} of a prepared directory, as its manifest has them;
 * {"path", "split"} of the prefix of a .bin/.idx pair, whose inputs nobody knows. The data set has been opened before,
 * so it is whole. Errors: MU_NOINPUT, MU_DATA, MU_IO. */
mu_status_t mu_data_lineage(const char *path, const char *split, json_t **out);

#endif
