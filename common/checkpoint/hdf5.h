/*
 * The only file that calls libhdf5, and only to lay a shard file out in memory: it never sees a value or a
 * disk. (It neither syncs nor digests; on a full disk it reports success, or fails to close a file and then
 * crashes when the process ends.) Nothing here may be called by two threads at once.
 */
#ifndef MU_COMMON_HDF5_H
#define MU_COMMON_HDF5_H

#include "common/checkpoint/shard.h"

/* Makes the memfd `memory` an HDF5 file with a contiguous, allocated, never-filled dataset for each slice, and says at
 * which byte each one's values belong. The places of the values are holes, so it takes the memory of the metadata only.
 * The metadata has no checksums: layout.c changes some of it. Errors: MU_IO (out of memory, in practice). */
mu_status_t mu_hdf5_lay_out(int memory, const mu_shard_plan_t *plan, const mu_slice_t *slices, int count,
                            uint64_t *at);

#endif
