/*
 * The only file that calls libhdf5: it lays a shard file out, and checks that HDF5's own part of it can be
 * read. Values are never handed to libhdf5, for it neither syncs nor digests, and it reports success on a
 * full disk. Nothing here may be called by two threads at once.
 */
#ifndef MU_CHECKPOINT_HDF5_H
#define MU_CHECKPOINT_HDF5_H

#include "worker/checkpoint/shard.h"

/* Creates `path` with a contiguous, allocated, never-filled dataset for each slice, and says at which byte
 * each one's values belong. Errors: MU_IO. */
mu_status_t mu_hdf5_lay_out(const char *path, const mu_shard_plan_t *plan, const mu_slice_t *slices,
                            int count, uint64_t *at);

/* Opens `path` again and compares every dataset with what was wanted; finds metadata that a full disk lost
 * while libhdf5 said that all was well. Errors: MU_IO. */
mu_status_t mu_hdf5_check(const char *path, const mu_shard_plan_t *plan, const mu_slice_t *slices, int count,
                          const uint64_t *at);

#endif
