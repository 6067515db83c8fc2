/*
 * The token_feed: the controller's half of the token stream (worker/train/train_protocol.h). It cuts global batches
 * into replicas' shares and keeps a bounded number of them on the way to every leader, without ever blocking inside
 * MPI.
 *
 * The order of TOKENS messages follows the schedule alone: the batches of steps first + 1, first + 2, ...,
 * and after a step that is evaluated the eval_iters batches of that evaluation. Global batch k of training
 * holds the samples [k T, (k + 1) T) of the training order; within it, micro batch g of replica r is
 * gpt-neox's: k T + (g dp + r) micro ... + micro - 1 (megatron/data/samplers.py).
 */
#ifndef MU_WORKER_TOKEN_FEED_H
#define MU_WORKER_TOKEN_FEED_H

#include "common/config/config.h"
#include "common/num.h"
#include "worker/train/train_protocol.h"
#include <mpi.h>

/* Reads sample `index` of the training (validation = false) or validation order: seq + 1 ids into `tokens`.
 */
typedef mu_status_t (*mu_read_sample_t)(void *arg, bool validation, int64_t index, int32_t *tokens);

typedef struct mu_token_feed mu_token_feed_t;

/* `eod`: tokens after it do not count (-1: none). `done`: updates done when the run starts here; `first_sample`: the
 * sample of the training order that update done + 1 begins with (done * T unless the batch size has changed). The
 * config is resolved and outlives the token_feed. */
mu_token_feed_t *mu_token_feed_new(const mu_config_t *config, MPI_Comm control, int32_t eod, int64_t done,
                                   int64_t first_sample, mu_read_sample_t read, void *arg);
/* Sends what may be sent now; `moved` tells whether anything was. Errors: the reader's, MU_NETWORK. */
mu_status_t mu_token_feed_work(mu_token_feed_t *token_feed, bool *moved);
/* A leader's CREDIT. */
void mu_token_feed_credit(mu_token_feed_t *token_feed, int dp_rank, int64_t count);
/* How many TOKENS messages the first leader has taken; how many were sent to each. */
int64_t mu_token_feed_taken(const mu_token_feed_t *token_feed);
int64_t mu_token_feed_sent(const mu_token_feed_t *token_feed);
/* Every message must have been received. */
void mu_token_feed_free(mu_token_feed_t *token_feed);

#endif
