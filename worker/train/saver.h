/*
 * A worker's side of checkpoints: its shard written at once or beside the steps, and the messages to the controller.
 * The thread that writes in the background makes no call of MPI: its end is noticed by mu_saver_look(), which the
 * trainer calls between micro batches and before it waits for a command.
 */
#ifndef MU_WORKER_SAVER_H
#define MU_WORKER_SAVER_H

#include "worker/model/net.h"
#include "worker/train/background_save.h"
#include "worker/train/train_protocol.h"

typedef struct mu_saver {
    mu_run_t *run;             /* the caller sets it, */
    const mu_setup_t *setup;   /* and this, and */
    mu_net_t *net;             /* this, again when it changes */
    char *checkpoints;         /* RUN/checkpoints; the saver's own */
    mu_shard_layout_t *layout; /* of this worker's files; NULL: not made yet */
    mu_background_save_t background;
    int64_t background_step; /* that it saves */
    int64_t copying_ns;      /* that copies have held the run up since the last report */
} mu_saver_t;

/* What this worker writes of its state after `step`; `dir` is borrowed, the layout the saver's. */
mu_shard_plan_t mu_saver_plan(mu_saver_t *saver, const char *dir, int64_t step);
/* For the state as it is now: the layout of the files where `layout` or muster.async_checkpoint wants it, and memory
 * for copies where the latter does. All workers call it. Errors: MU_CONFIG, MU_NOMEM, MU_IO, MU_NETWORK. */
mu_status_t mu_saver_reserve(mu_saver_t *saver, bool layout);
/* Writes this worker's shard as `command` says and tells the controller, also of a failure: it decides what follows.
 * In the background nothing is said yet, and the state must stay as it is until mu_saver_hold(). Nothing is under way
 * in the net. Errors: MU_NETWORK. */
mu_status_t mu_saver_save(mu_saver_t *saver, const mu_train_command_t *command);
/* The caller is about to change the state: what is not copied yet is copied first. */
void mu_saver_hold(mu_saver_t *saver);
/* The caller is about to free the net, after an error. */
void mu_saver_give_up(mu_saver_t *saver);
/* Tells the controller of what was written in the background, if it is written. Errors: MU_NETWORK. */
mu_status_t mu_saver_look(mu_saver_t *saver);
/* Waits for it, as a save in the foreground does: each piece that is written shows progress, and a volume that takes
 * none for too long is a hang. Errors: MU_NETWORK. */
mu_status_t mu_saver_flush(mu_saver_t *saver);
/* Milliseconds that copies have held the run up, since it was asked last. */
double mu_saver_take_ms(mu_saver_t *saver);
/* After an error a thread may still read the copy: then its memory stays until the process ends. */
void mu_saver_release(mu_saver_t *saver);

#endif
