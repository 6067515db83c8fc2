/* What the reader, the scan and the commit share: the checks with their reason as text instead of in the log.
 */
#ifndef MU_COMMON_SCAN_H
#define MU_COMMON_SCAN_H

#include "common/checkpoint/checkpoint_reader.h"

#define MU_CHECKPOINTS_DIR "checkpoints" /* of a run directory */

mu_status_t mu_checkpoint_open_why(const char *path, mu_checkpoint_t **out, mu_buf_t *why);
mu_status_t mu_checkpoint_verify_why(const mu_checkpoint_t *checkpoint, int part, int parts, mu_buf_t *why);

/* "step-00000100" is step 100 and *aside false, "step-00000100.old-3" is step 100 and *aside true; false for
 * any other name. */
bool mu_checkpoint_name(const char *name, int64_t *step, bool *aside);

/* Opens DIR/NAME, whose name says `step`; its manifest must say the same. */
mu_status_t mu_checkpoint_open_named(const char *dir, const char *name, int64_t step, mu_checkpoint_t **out,
                                     mu_buf_t *why);

#endif
