/* The parts of a shard file that are not values: our header, HDF5's metadata, gaps. Writer and reader share
 * it. */
#ifndef MU_COMMON_FRAME_H
#define MU_COMMON_FRAME_H

#include "common/checkpoint/shard.h"

/* The slices in the order of their bytes: a new array of indices, free() it. */
int *mu_frame_order(const mu_shard_t *shard);

/* Whether the slices lie after the header, inside shard->size, and apart from each other. `order` is
 * mu_frame_order()'s; on false *bad is the index of a slice that does not. */
bool mu_frame_fits(const mu_shard_t *shard, const int *order, int *bad);

/* The digest of every byte of `fd` below shard->size that no slice holds; false with errno set when the file
 * cannot be read. mu_frame_fits() holds. */
bool mu_frame_digest(int fd, const mu_shard_t *shard, const int *order, char out[MU_DIGEST_HEX]);

#endif
