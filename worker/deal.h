/*
 * What the controller and the workers say to each other over MPI, on the `control` communicator of
 * worker/layout.h.
 *
 *   controller -> every leader    COMMAND   one mu_command_t; obeyed in order
 *   controller -> every leader    TOKENS    one replica's share of a global batch: int32
 * [accumulation][micro][seq + 1] leader -> controller          TOOK      one int64: how many TOKENS messages
 * it has taken so far leader -> controller          REPORT    one mu_report_t after each step and each
 * evaluation worker -> controller          READY     one mu_ready_t after loading worker -> controller SAVED
 * a mu_saved_t, then the text that lists what the worker wrote
 *
 * TOKENS go ahead of COMMANDs by at most `lookahead` batches a replica; a leader's TOOK is the credit for the
 * next. The COMMAND behind a step is sent when the first leader has taken the step's tokens, so it is there
 * before the step ends.
 */
#ifndef MU_WORKER_DEAL_H
#define MU_WORKER_DEAL_H

#include "common/status.h"
#include <stdint.h>

enum { MU_TAG_COMMAND = 1, MU_TAG_TOKENS, MU_TAG_TOOK, MU_TAG_REPORT, MU_TAG_READY, MU_TAG_SAVED };

typedef enum mu_command_kind {
    MU_COMMAND_STEP, /* train on the next TOKENS; `step` is the number of the update (first: 1) */
    MU_COMMAND_EVAL, /* mean loss of the next `batches` TOKENS, after update `step` */
    MU_COMMAND_SAVE, /* write the state after update `step` */
    MU_COMMAND_LOAD, /* only before READY: take weights (and with `full` the rest) from setup's path */
    MU_COMMAND_END   /* the run is over, with `status` */
} mu_command_kind_t;

typedef struct mu_command {
    int32_t kind, status;
    int64_t step, batches;
} mu_command_t;

typedef struct mu_report {
    int64_t step;
    int32_t evaluation; /* 1: `loss` is the validation loss after `step` */
    int32_t finite;     /* 0: loss or gradient norm is not finite; the update was not made */
    double loss, grad_norm, lr, step_ms, data_wait_ms, comm_ms;
} mu_report_t;

typedef struct mu_ready {
    int32_t status; /* mu_status_t of the load */
    int32_t padding;
    int64_t weights, gradients, optimizer, activations, workspace,
        communication; /* bytes on the device, reserved */
} mu_ready_t;

typedef struct mu_saved {
    int64_t step, bytes, text_length; /* bytes of tensors written; length of the text that follows */
    int32_t status, padding;
    double seconds;
} mu_saved_t;

#endif
