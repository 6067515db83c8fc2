/*
 * What the controller and the workers say to each other over MPI, on the `control` communicator of
 * worker/comm/layout.h.
 *
 * At the start, collective: the controller broadcasts one mu_setup_t after the other. FRESH, WEIGHTS and
 * RESUME ask every worker to take its state from there and to answer READY; GO begins the run; one whose
 * status is not MU_OK ends it. A worker whose checkpoint turns out damaged says so in READY, and the
 * controller tries an older one.
 *
 * Then messages:
 *   controller -> every leader  COMMAND  one mu_train_command_t; obeyed in order
 *   controller -> every leader  TOKENS one replica's share of a global batch: int32 [accumulation][micro][seq + 1]
 *                               with
 *                                        marks (common/token_marks.h), then an int64: how many tokens of the whole
 *                                        global batch count for the loss
 *   leader -> controller        CREDIT     one int64: how many TOKENS messages it has taken so far
 *   leader -> controller        REPORT   one mu_report_t after each step and each evaluation
 *   worker -> controller        READY    one mu_ready_t
 *   worker -> controller        SAVED    one mu_saved_t, with the text that lists what the worker wrote after it
 * and, where the run makes copies in memory (worker/train/peer_copy.h):
 *   worker 0 -> controller      COPIES   before the first setup: one mu_copies_offer_t, and the manifest of what is
 *                                        whole
 *   worker -> controller        COPIED   as SAVED, of a copy in memory
 *   controller -> every leader  MANIFEST after a KEEP: the text of the copy's manifest
 *
 * TOKENS go ahead of COMMANDs by at most `lookahead` batches a replica; a leader's CREDIT is the credit for the
 * next. The COMMAND after a step is sent when the first leader has taken the step's tokens, so it is there
 * before the step ends. Structs travel as bytes: all ranks are of one build (the hello of each guard is
 * checked).
 */
#ifndef MU_WORKER_TRAIN_PROTOCOL_H
#define MU_WORKER_TRAIN_PROTOCOL_H

#include "common/config/config.h"
#include "common/config/loss_scale.h"
#include "common/status.h"
#include "worker/model/resize_embeddings.h"
#include <limits.h>
#include <stdint.h>

enum {
    MU_TAG_COMMAND = 1,
    MU_TAG_TOKENS,
    MU_TAG_CREDIT,
    MU_TAG_REPORT,
    MU_TAG_READY,
    MU_TAG_SAVED,
    MU_TAG_COPIES,
    MU_TAG_COPIED,
    MU_TAG_MANIFEST
};

/* int32 of a TOKENS message; the last MU_SHARE_TAIL are the count. */
enum { MU_SHARE_TAIL = sizeof(int64_t) / sizeof(int32_t) };
static inline int64_t mu_share_ids(const mu_config_t *config)
{
    return config->accumulation * config->micro_batch * (config->model.seq_length + 1) + MU_SHARE_TAIL;
}

typedef enum mu_setup_kind {
    MU_SETUP_FRESH,   /* random weights */
    MU_SETUP_WEIGHTS, /* weights from `path`, optimizer at its start */
    MU_SETUP_RESUME,  /* weights and optimizer from `path` */
    MU_SETUP_GO
} mu_setup_kind_t;

typedef struct mu_setup {
    int32_t status, kind;
    int32_t eod;                              /* for eod_mask_loss; -1: no mask */
    int32_t reset_attention, reset_positions; /* at the borders of documents */
    int32_t attempt;                          /* names temporary checkpoints */
    int32_t background;                       /* GO: checkpoints are written beside the steps */
    int32_t copies;         /* RESUME: from copies in memory, `path` is words; GO: copies will be made */
    int64_t vocab;          /* rows of the embedding */
    mu_resize_t growth;     /* WEIGHTS: of the checkpoint's embedding; no new tokens: zeros */
    int64_t optimizer_step; /* updates that AdamW has made */
    int64_t train_iters;    /* of the run; with train_epochs they follow from the data */
    mu_loss_scale_t scale;  /* as the checkpoint has it */
    mu_lr_course_t course;  /* the checkpoint's, which is to be followed; iters 0: the configuration's is */
    char run_id[40];
    char path[PATH_MAX];
    char base[PATH_MAX]; /* with adapters: the model that they adapt; FRESH: they are new */
} mu_setup_t;

typedef enum mu_command_kind {
    MU_COMMAND_STEP, /* train on the next TOKENS; `step` is the number of the update (first: 1) */
    MU_COMMAND_EVAL, /* mean loss of the next `batches` TOKENS, after update `step` */
    MU_COMMAND_SAVE, /* write the state after update `step` into the directory `name` of RUN/checkpoints; with
                        `background` copy it, and write the copy beside what comes next */
    MU_COMMAND_FLUSH, /* wait for what is written in the background, and send its SAVED */
    MU_COMMAND_COPY,  /* copy the state after update `step` to the memory of this host and of another one */
    MU_COMMAND_KEEP,  /* all have: a MANIFEST of `batches` bytes comes */
    MU_COMMAND_END    /* the run is over; `batches` TOKENS in all have been sent */
} mu_command_kind_t;

typedef struct mu_train_command {
    int64_t step, batches;
    int32_t kind, background;
    char name[64];
} mu_train_command_t;

/* The figures of a step, each a column of metrics.jsonl in this order. `how` the replicas' are put together: SAME:
 * they are equal; MOST: the largest counts; OWN: the controller sets it. Of an evaluation, loss and step_ms alone. */
#define MU_REPORT_TABLE(X)                                                                                   \
    X(loss, SAME)                                                                                            \
    X(lr, SAME)                                                                                              \
    X(grad_norm, SAME)                                                                                       \
    X(step_ms, MOST)                                                                                         \
    X(tokens_per_s, OWN)                                                                                     \
    X(data_wait_ms, MOST)                                                                                    \
    X(comm_ms, MOST)                                                                                         \
    X(peer_wait_ms, OWN)      /* of comm_ms, what not all replicas waited */                                 \
    X(compute_ms, OWN)        /* of the replica that computed longest */                                     \
    X(compute_ms_median, OWN) /* over the replicas */                                                        \
    X(compute_ms_min, OWN)                                                                                   \
    X(checkpoint_ms,                                                                                         \
      MOST)          /* how long saving held the run up, since the line before; of the replicas: copying */  \
    X(copy_ms, MOST) /* how long copies in memory held the run up, since the line before */                  \
    X(eval_ms, OWN)  /* of the evaluation after the step */

typedef struct mu_report {
    int64_t step;
    int32_t evaluation; /* 1: `loss` is the validation loss after `step` */
    int32_t finite;     /* 0: training cannot go on: loss or gradient norm is not finite, and loss scaling
                           is off or at its end; the update was not made */
    int32_t skipped;    /* 1: overflow under loss scaling; the update was not made */
    int32_t padding;
#define MU_REPORT_FIELD(name, how) double name;
    MU_REPORT_TABLE(MU_REPORT_FIELD)
#undef MU_REPORT_FIELD
    double loss_scale;      /* of this step; 0: none */
    int64_t optimizer_step; /* after this step */
    mu_loss_scale_t scale;  /* after this step */
} mu_report_t;

typedef struct mu_ready {
    int32_t status; /* mu_status_t of taking the state */
    int32_t threads;
    int32_t dtype;     /* mu_dtype_t that it computes in */
    int32_t attention; /* mu_attention_choose() */
    int64_t weights, gradients, optimizer, activations, workspace,
        communication; /* bytes held on the device */
    int64_t copy;      /* bytes of host memory for copies of the state; 0: it saves in the foreground alone */
    int64_t copies;    /* bytes of host memory for copies in memory, own and others'; 0: it makes none */
    char device[128], instruction_set[32];
} mu_ready_t;

/* What hosts hold at the start, of the newest state that any of them names. */
typedef struct mu_copies_offer {
    int32_t hosts, possible; /* possible: every worker has a partner on another host */
    int32_t whole;           /* all pieces are there, and the manifest follows */
    int32_t have, pieces;    /* pieces that some host holds; in all */
    int32_t padding;
    int64_t step; /* -1: there is none */
} mu_copies_offer_t;

typedef struct mu_saved {
    int64_t step, bytes; /* bytes of the file */
    int32_t status, padding;
    double seconds;
} mu_saved_t;

#endif
