/*
 * A worker's training state to and from checkpoints: glue between the network's parameters on the device and
 * common/checkpoint/.
 */
#ifndef MU_WORKER_STATE_H
#define MU_WORKER_STATE_H

#include "common/checkpoint/checkpoint_reader.h"
#include "common/checkpoint/shard.h"
#include "worker/model/resize_embeddings.h"
#include "worker/model/net.h"

/* Puts this worker's slice of every weight, and with `optimizer` of both moments, onto the device; of a net with
 * adapters, theirs alone. Any layout reads any checkpoint. Errors: MU_CONFIG (other tensors than the model's), MU_DATA
 * (damaged, or no moments in it), MU_IO. */
mu_status_t mu_state_load(mu_net_t *net, const mu_checkpoint_t *checkpoint, bool optimizer);

/* The weights that a net with adapters keeps as they are. Errors: as above. */
mu_status_t mu_state_load_base(mu_net_t *net, const mu_checkpoint_t *base);

/* The weights alone, of a checkpoint whose embedding and head have growth->rows rows, to a net that has more
 * or knows more tokens (worker/model/resize_embeddings.h). Errors: as above. */
mu_status_t mu_state_load_resized(mu_net_t *net, const mu_checkpoint_t *checkpoint,
                                  const mu_resize_t *growth);

/* A mu_shard_source_t whose `arg` is the net. */
mu_status_t mu_state_read(void *net, const mu_slice_t *slice, int64_t first, int64_t n, float *out);
/* The same for a thread beside the one that uses the net, which does not change the state meanwhile. */
mu_status_t mu_state_read_beside(void *net, const mu_slice_t *slice, int64_t first, int64_t n, float *out);

#endif
