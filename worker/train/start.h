/*
 * How a run starts: the data, the checkpoint it goes on from, the vocabulary, the order of samples. The
 * controller's.
 *
 *     mu_start_open(run, &offer, text, n, &start);   data, and the choice of the start rule; start.setup can be sent
 *     ... a worker found the checkpoint damaged: mu_start_older(run, &start) ...
 *     mu_start_orders(run, &start);        the sample index: built or mapped
 *     mu_start_release(&start);
 *
 * The start rule: a valid checkpoint in the run directory is resumed; else `load` is used (`finetune`:
 * weights only, step 0); else random weights. A `load` that holds nothing is an error, unless it is the run directory
 * itself, or the same path as `save` (GPT-NeoX's files name one directory for both).
 *
 * Copies in memory (worker/train/peer_copy.h) that are whole, of this run and newer than its newest checkpoint, come
 * before all of these.
 *
 * With adapters (muster.lora_rank) checkpoints of the run are adapters, and so may `load` be: then the rule is the
 * same, and the base is the one that the adapter names. A `load` that is a whole model is the base, and the adapters
 * are new.
 */
#ifndef MU_WORKER_START_H
#define MU_WORKER_START_H

#include "dataset/order/mixture.h"
#include "dataset/tokenizer/tokenizer.h"
#include "common/checkpoint/checkpoint_reader.h"
#include "worker/train/train_protocol.h"
#include "worker/train/run.h"

typedef struct mu_start {
    mu_setup_t setup;
    mu_mixture_t *data;
    mu_blend_t *train, *valid;   /* valid: NULL when the run does not evaluate */
    mu_checkpoint_t *checkpoint; /* open; NULL: fresh */
    mu_checkpoint_t *base;       /* with adapters: the model that they adapt, open; else NULL */
    char *rule;                  /* what was chosen, in words for the first lines */
    char *tokenizer;             /* path of the tokenizer.json that belongs to the data; NULL: unknown */
    mu_tokenizer_t *ids;         /* what that file holds; NULL: unknown */
    char *companions;            /* of the checkpoint, for the run's own; NULL: none */
    int64_t done;                /* updates of this run already made */
    int64_t samples;             /* of the training order, used by them */
    int64_t former_batch;        /* samples a step of the checkpoint resumed; 0: none, or unknown */
    int64_t parent;              /* step of the checkpoint resumed; -1: none */
    int64_t order_samples[2];    /* that the train and valid orders were first made for */
    double best_valid_loss;      /* of the checkpoint that `best` names; INFINITY: none */
    int64_t durable;             /* step of the run's newest checkpoint; -1: none */
    char *lineage;               /* resumed from copies in memory: theirs, which stays the run's; else NULL */
    mu_copies_offer_t offer;     /* copies in memory; hosts 0: the run makes none */
    char *offered;               /* the manifest of what is whole; NULL: nothing, or it proved damaged */
    size_t offered_bytes;
} mu_start_t;

/* offer: what hosts hold, and the manifest of what is whole; zeros: nothing, no copies are made. Errors: MU_NOINPUT,
 * MU_DATA, MU_NOVALID, MU_CONFIG (what must agree does not), MU_RUNDIR, MU_IO. */
mu_status_t mu_start_open(mu_run_t *run, const mu_copies_offer_t *offer, const char *manifest, size_t n,
                          mu_start_t *out);
/* Another choice after the present checkpoint was found damaged by a worker. Errors: as above. */
mu_status_t mu_start_older(mu_run_t *run, mu_start_t *start);
mu_status_t mu_start_orders(mu_run_t *run, mu_start_t *start);
void mu_start_release(mu_start_t *start);

/* Tokens that `samples` samples hold. */
static inline int64_t mu_start_tokens(const mu_run_t *run, int64_t samples)
{
    return samples * run->config->model.seq_length;
}

#endif
