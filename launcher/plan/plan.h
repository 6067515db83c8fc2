/*
 * What a config asks for, in numbers, before anything runs: layout, batch, parameters, memory, checkpoints,
 * FLOPs, time, and what a person would want to be warned of. Reads the config, and of what it names only what
 * is cheap (manifests, the tokenizer); writes nothing.
 *
 *     mu_plan_make(&query, &plan);
 *     mu_plan_write_text(&plan, &out);  or  mu_plan_write_json(&plan, &out);
 *     if (!plan.fits) ... exit 78
 *     mu_plan_free(&plan);
 *
 * FLOPs are gpt-neox's model FLOPs, 72 L h^2 (1 + s/(6h) + V/(16 L h)) a token: forward and backward,
 * attention not halved, nothing for recomputation. Time is FLOPs / (peak of the card * MFU * workers): what
 * is not in it is saving, evaluation and waiting. The MFU is an assumption, never a promise.
 */
#ifndef MU_LAUNCHER_PLAN_H
#define MU_LAUNCHER_PLAN_H

#include "common/buf.h"
#include "common/config/config.h"
#include "common/run/account.h"
#include "launcher/plan/plan_cards.h"
#include "launcher/plan/plan_memory.h"
#include "launcher/plan/plan_scale.h"

/* Of a card's memory a worker can have this part; the rest is an allowance for the driver, its context and
 * the communication's buffers. */
#define MU_PLAN_USABLE 0.92

typedef struct mu_plan_query {
    char **files, **overrides;
    int nfiles, noverrides;
    const mu_card_t *card;  /* NULL: no time */
    uint64_t device_memory; /* bytes; 0: the card's, or no limit */
    double mfu;             /* of the card's peak, 0 < mfu <= 1 */
    int64_t workers;        /* 0: as the batch sizes say, else one replica */
    bool untrained;         /* whether a run could start is not asked: it was, or is no matter */
    const mu_scale_figures_t
        *scale; /* NULL: not asked; its step 0: the card's; tp and bytes are the plan's */
} mu_plan_query_t;

typedef struct mu_plan {
    mu_config_t *config;    /* resolved; model.vocab known */
    const char *vocab_from; /* "the checkpoint", "the tokenizer", "padded_vocab_size", "assumed" */
    const char *device;     /* "cpu", a card's name, or "device" */
    const mu_card_t *card;
    double mfu;
    bool gpu;            /* what it is planned for */
    bool mixed;          /* bf16 with fp32 masters, planned; else fp32 */
    const char *numbers; /* "fp32", "bf16", "fp16": what it will compute in */
    int64_t idle_workers;

    int64_t trained;                                /* parameters that are; fewer than all with adapters */
    int64_t parameters, tokens_a_step, train_iters; /* train_iters 0: train_epochs of data that is not here */
    int64_t first_step; /* steps done by the checkpoint that the run goes on from */
    double epochs;      /* 0: the data is not here */
    int64_t data_tokens;

    mu_plan_memory_t memory; /* as the config says */
    int64_t memory_other;    /* total with checkpoint_activations the other way round */
    int64_t device_memory;   /* usable bytes of the device; 0: no limit given */
    int64_t
        copy; /* bytes of host memory a worker for a copy of its state; 0: muster.async_checkpoint is off */
    int64_t
        copies; /* the same for copies in memory; 0: muster.peer_checkpoint is off, or there is one replica */
    bool fits;

    int64_t checkpoint_bytes, checkpoints,
        first_checkpoint;              /* first_checkpoint: the step of the first after first_step; 0: none */
    int64_t volume_bytes, volume_free; /* of `save`; 0: not on this machine */

    mu_account_t account; /* of the run so far; zeros: it is not on this machine */

    double flops_a_step, step_seconds, total_seconds; /* seconds 0: no card */
    mu_scale_figures_t scale;                         /* its step 0: not asked */
    mu_buf_t notes;                                   /* lines, of the start (start_check.h) */
    mu_buf_t warnings;                                /* lines */
} mu_plan_t;

/* Errors: those of mu_config_load() and mu_config_resolve(); MU_DATA and MU_IO of a data set or checkpoint
 * that is there and damaged. A plan that does not fit the memory is no error here: see `fits`. */
mu_status_t mu_plan_make(const mu_plan_query_t *query, mu_plan_t *out);
void mu_plan_free(mu_plan_t *plan);

void mu_plan_write_text(const mu_plan_t *plan, mu_buf_t *out);
/* Errors: MU_DATA, a path is not UTF-8. */
mu_status_t mu_plan_write_json(const mu_plan_t *plan, mu_buf_t *out);

/* plan_scale_print.c: plan->scale at 16, 64, 256 and 1,024 GPUs; a new reference. */
void mu_plan_scale_text(const mu_plan_t *plan, mu_buf_t *out);
struct json_t *mu_plan_scale_json(const mu_plan_t *plan);

/* plan_warn.c: fills `warnings` from everything else. */
void mu_plan_warn(mu_plan_t *plan);
/* "42 s", "3.1 h", "350 days" */
const char *mu_human_seconds(double seconds, char *out, size_t size);

#endif
