#include "worker/train/controller.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/checkpoint/adapter.h"
#include "common/checkpoint/commit.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/train/token_feed.h"
#include "worker/train/lineage.h"
#include "worker/train/metrics.h"
#include "worker/train/startup_handshake.h"
#include "worker/comm/yielding_wait.h"
#include "worker/train/checkpoint_transaction.h"
#include "worker/train/schedule.h"
#include "worker/train/stall.h"
#include "worker/train/start.h"

#include <math.h>
#include <unistd.h>

/* One step's line while its reports come in: replicas are at most a step apart, since each step ends in a
 * reduction. */
typedef struct row {
    mu_report_t step, valid;
    int got, got_valid; /* reports of so many leaders */
    double *compute;    /* [dp] ms of each */
} row_t;

enum { ROWS = 4, LOG_EVERY_S = 10 };

typedef struct controller {
    mu_run_t *run;
    const mu_config_t *config;
    MPI_Comm control;
    mu_start_t start;
    mu_handshake_t handshake;
    mu_token_feed_t *token_feed;
    mu_metrics_t *metrics;
    char *checkpoints, *stop_file;
    char *lineage; /* of the checkpoints of this attempt */
    mu_transaction_t transaction;
    mu_saved_lists_t
        copying; /* copies in memory under way, each held until all workers have copied their state */
    row_t rows[ROWS];
    mu_report_t last;  /* the newest finished line */
    double last_valid; /* NAN: not evaluated after last.step */
    mu_metric_values_t shown;
    mu_stall_t step_times, save_times;
    int64_t held_since_ns,
        held_ns; /* the run waits for a checkpoint: since when (0: no); since the last line */
    /* what was commanded last */
    int64_t step, wanted_tokens; /* TOKENS messages that the commands so far take */
    bool evaluated, saved, copied, ended;
    bool flushing;                /* the workers wait for what they write in the background */
    double lowest_valid;          /* validation loss of the run */
    int64_t no_lower;             /* evaluations in a row that had no lower one */
    bool early;                   /* they are as many as early_stop_patience */
    mu_train_command_t *commands; /* [dp], in flight */
    MPI_Request *requests;
    mu_status_t failed; /* ends the run */
    int64_t stop_seen_ns, said_ns;
    bool stop_wanted, checkpoint_wanted, stop_now;
    int64_t committed; /* step of the newest checkpoint of this directory; -1: none */
} controller_t;

static mu_status_t read_sample(void *arg, bool validation, int64_t index, int32_t *tokens)
{
    controller_t *c = arg;
    return mu_blend_sample(validation ? c->start.valid : c->start.train, index, tokens);
}

static void fail(controller_t *c, mu_status_t status)
{
    if (c->failed == MU_OK)
        c->failed = status;
}

/* --- commands --- */

static mu_status_t command(controller_t *c, const mu_train_command_t *what)
{
    for (int r = 0; r < c->config->dp; r++) {
        MU_TRY(mu_mpi_check(MPI_Wait(&c->requests[r], MPI_STATUS_IGNORE), "MPI_Wait for a command"));
        c->commands[r] = *what;
        MU_TRY(mu_mpi_check(MPI_Isend(&c->commands[r], sizeof *what, MPI_BYTE,
                                      mu_layout_leader(&c->run->groups->layout, r), MU_TAG_COMMAND,
                                      c->control, &c->requests[r]),
                            "MPI_Isend of a command"));
    }
    return MU_OK;
}

static bool commands_delivered(controller_t *c)
{
    int all = 0;
    return MPI_Testall(c->config->dp, c->requests, &all, MPI_STATUSES_IGNORE) == MPI_SUCCESS && all;
}

/* What the checkpoint of this step says of it: known once its report is there. */
static void describe_checkpoint(controller_t *c);

static mu_status_t command_copy(controller_t *c)
{
    c->copied = true;
    mu_saved_lists_begin(&c->copying, c->step, c->config->tp * c->config->dp);
    return command(c, &(mu_train_command_t){.kind = MU_COMMAND_COPY, .step = c->step});
}

/* Whether copies in memory are due after this step. Not beside a checkpoint that all wait for, and at once where the
 * run began with some: those of a host that has gone are missing. */
static bool wants_copy(const controller_t *c, bool waits_for_save)
{
    if (!c->handshake.copies || c->copied || waits_for_save)
        return false;
    return c->step > c->start.done ? c->step % c->config->muster.peer_checkpoint_factor == 0
                                   : c->start.setup.copies;
}

static mu_status_t command_save(controller_t *c, bool background)
{
    c->saved = true;
    c->checkpoint_wanted = false;
    mu_status_t status = mu_transaction_begin(&c->transaction, c->checkpoints, c->step, c->run->attempt,
                                              c->config->tp * c->config->dp);
    if (status != MU_OK) {
        fail(c, status);
        return MU_OK;
    }
    c->transaction.background = background;
    if (c->last.step == c->step)
        describe_checkpoint(c);
    mu_train_command_t save = {.kind = MU_COMMAND_SAVE, .step = c->step, .background = background};
    snprintf(save.name, sizeof save.name, "%s", c->transaction.name);
    return command(c, &save);
}

/* A run that exit_interval ended goes on to the next multiple when it is started again. */
static bool is_over(const controller_t *c)
{
    return c->early || c->step >= c->config->train_iters ||
           (c->step > c->start.done && mu_schedule_end(c->config, c->step));
}

static void publish_stall(controller_t *c, int64_t step, double ms, double median, mu_stall_cause_t cause,
                          double cause_ms, int rank)
{
    mu_page_t *page = c->run->page;
    if (!page)
        return;
    atomic_store(&page->stall_step, step);
    atomic_store(&page->stall_ms, ms);
    atomic_store(&page->stall_median_ms, median);
    atomic_store(&page->stall_cause, cause);
    atomic_store(&page->stall_cause_ms, cause_ms);
    atomic_store(&page->stall_rank, rank);
    atomic_fetch_add(&page->stalls, 1);
}

/* A checkpoint held the run up for so long. */
static void note_hold(controller_t *c, int64_t step, double ms)
{
    double median;
    c->shown.checkpoint_s += ms * 1e-3;
    if (mu_stall_add(&c->save_times, ms, &median))
        publish_stall(c, step, ms, median, MU_STALL_CHECKPOINT, ms, -1);
}

/* The run waits for a checkpoint and does nothing else: how long. */
static void count_hold(controller_t *c, bool held)
{
    int64_t now = mu_now_ns(), ns = now - c->held_since_ns;
    if (held && c->held_since_ns == 0)
        c->held_since_ns = now;
    if (held || c->held_since_ns == 0)
        return;
    c->held_since_ns = 0;
    c->held_ns += ns;
    note_hold(c, c->step, (double)ns * 1e-6);
    mu_page_metrics(c->run->page, &c->shown);
}

static bool held_by_checkpoint(const controller_t *c)
{
    return c->transaction.active && (!c->transaction.background || c->flushing);
}

/* A checkpoint is due, and the one before is still being written: no step waits for that. */
static void skip_save(controller_t *c)
{
    c->saved = true;
    c->shown.checkpoints_skipped++;
    mu_warn("no checkpoint of step %lld: that of step %lld has been written for %.1f s and is not durable "
            "yet; the "
            "volume is slower than checkpoints are due",
            (long long)c->step, (long long)c->transaction.lists.step,
            (double)(mu_now_ns() - c->transaction.began_ns) * 1e-9);
    mu_page_metrics(c->run->page, &c->shown);
}

/* What comes next while the run is in order. *more: false when it is the end. */
static mu_status_t decide_next(controller_t *c, bool *more)
{
    bool over = c->stop_wanted || is_over(c);
    *more = true;
    if (!c->evaluated && mu_schedule_eval(c->config, c->step)) {
        c->evaluated = true;
        c->wanted_tokens += c->config->eval_iters;
        return command(c, &(mu_train_command_t){
                              .kind = MU_COMMAND_EVAL, .step = c->step, .batches = c->config->eval_iters});
    }
    if (over && c->transaction.active) { /* the last one waits for the one before */
        c->flushing = true;
        return command(c, &(mu_train_command_t){.kind = MU_COMMAND_FLUSH, .step = c->step});
    }
    bool scheduled = mu_schedule_save(c->config, c->step);
    if (wants_copy(c, over || (scheduled && !c->handshake.background)))
        return command_copy(c);
    if (!c->saved && (scheduled || c->checkpoint_wanted || c->stop_wanted || c->early)) {
        if (!c->transaction.active)
            return command_save(c, c->handshake.background && !over);
        if (scheduled) /* one that was asked for is made when the volume is free */
            skip_save(c);
    }
    if (!over) {
        c->step++;
        c->wanted_tokens++;
        c->evaluated = c->saved = c->copied = false;
        return command(c, &(mu_train_command_t){.kind = MU_COMMAND_STEP, .step = c->step});
    }
    *more = false;
    return MU_OK;
}

/* What comes next, once the workers have begun what was commanded last. Storage that failed once ends the
 * run: what was saved before stands, and a restart may find another disk. */
static mu_status_t decide(controller_t *c)
{
    bool more = false;
    /* until the step's report has come the workers still compute it */
    count_hold(c, held_by_checkpoint(c) && c->last.step == c->step);
    if (mu_token_feed_taken(c->token_feed) < c->wanted_tokens || held_by_checkpoint(c) ||
        mu_saved_lists_awaited(&c->copying) || !commands_delivered(c))
        return MU_OK;
    if (c->failed == MU_OK && !c->stop_now)
        MU_TRY(decide_next(c, &more));
    if (more)
        return MU_OK;
    c->ended = true;
    return command(c, &(mu_train_command_t){.kind = MU_COMMAND_END,
                                            .step = c->step,
                                            .batches = mu_token_feed_sent(c->token_feed)});
}

/* --- reports --- */

static void show(controller_t *c, const mu_report_t *r, const double *valid)
{
    if (c->run->page)
        atomic_store(&c->run->page->step, r->step);
    c->shown.loss = r->loss;
    c->shown.lr = r->lr;
    c->shown.grad_norm = r->grad_norm;
    c->shown.step_ms = r->step_ms;
    c->shown.tokens_per_s = r->tokens_per_s;
    if (valid)
        c->shown.valid_loss = *valid;
    mu_page_metrics(c->run->page, &c->shown);
    if (valid)
        mu_info("step %lld/%lld: validation loss %.4f (perplexity %.2f)", (long long)r->step,
                (long long)c->config->train_iters, *valid, exp(*valid));
    bool last = r->step == c->config->train_iters;
    if (c->run->watched || (!last && mu_now_ns() - c->said_ns < (int64_t)LOG_EVERY_S * 1000000000))
        return;
    c->said_ns = mu_now_ns();
    mu_info("step %lld/%lld: loss %.4f, lr %.3g, gradient norm %.3g, %.0f tokens/s", (long long)r->step,
            (long long)c->config->train_iters, r->loss, r->lr, r->grad_norm, r->tokens_per_s);
}

static void say_skipped(const mu_report_t *r)
{
    mu_info("step %lld: the gradients overflow at loss scale %g: no update; the next scale is %g",
            (long long)r->step, r->loss_scale, r->scale.scale);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The first step of an attempt makes plans and touches memory: it is no measure of the others. */
static void look_for_stall(controller_t *c, const mu_report_t *r, int slowest)
{
    double median, exchange = r->comm_ms - r->peer_wait_ms;
    if (r->step == c->start.done + 1 || !mu_stall_add(&c->step_times, r->step_ms, &median))
        return;
    bool data = r->data_wait_ms > exchange && r->data_wait_ms > r->compute_ms;
    mu_stall_cause_t cause = data                       ? MU_STALL_DATA
                             : exchange > r->compute_ms ? MU_STALL_COMMUNICATION
                                                        : MU_STALL_COMPUTE;
    publish_stall(c, r->step, r->step_ms, median, cause,
                  data                              ? r->data_wait_ms
                  : cause == MU_STALL_COMMUNICATION ? exchange
                                                    : r->compute_ms,
                  cause == MU_STALL_COMPUTE ? mu_layout_leader(&c->run->groups->layout, slowest) : -1);
}

/* The figures that no replica knows alone. */
static void complete_row(controller_t *c, row_t *row)
{
    mu_report_t *r = &row->step;
    int dp = c->config->dp, slowest = 0;
    double tokens = (double)mu_start_tokens(c->run, c->config->train_batch_size);
    for (int i = 0; i < dp; i++)
        slowest = row->compute[i] > row->compute[slowest] ? i : slowest;
    r->tokens_per_s = r->step_ms > 0 ? tokens * 1000 / r->step_ms : 0;
    r->compute_ms = row->compute[slowest];
    qsort(row->compute, (size_t)dp, sizeof *row->compute, by_value);
    r->compute_ms_min = row->compute[0];
    r->compute_ms_median = (row->compute[dp / 2] + row->compute[(dp - 1) / 2]) / 2;
    if (r->checkpoint_ms > 0) /* a copy */
        note_hold(c, r->step - 1, r->checkpoint_ms);
    r->checkpoint_ms += (double)c->held_ns * 1e-6;
    r->eval_ms = row->got_valid > 0 ? row->valid.step_ms : 0;
    c->held_ns = 0;
    look_for_stall(c, r, slowest);
}

/* Whether the run has learned all that it will, by its validation loss. */
static void look_for_end(controller_t *c, int64_t step, double valid)
{
    int64_t patience = c->config->muster.early_stop_patience;
    c->no_lower = valid < c->lowest_valid ? 0 : c->no_lower + 1;
    c->lowest_valid = fmin(c->lowest_valid, valid);
    if (patience == 0 || c->no_lower < patience || c->early)
        return;
    mu_info("step %lld: validation loss %.4f, the lowest was %.4f: no lower one in %lld evaluations, so the "
            "run ends "
            "(muster.early_stop_patience)",
            (long long)step, valid, c->lowest_valid, (long long)patience);
    c->early = true;
}

static mu_status_t finish_row(controller_t *c, row_t *row)
{
    complete_row(c, row);
    const mu_report_t *r = &row->step;
    bool evaluated = mu_schedule_eval(c->config, r->step);
    const double *valid = evaluated ? &row->valid.loss : NULL;
    int64_t samples = c->start.samples + (r->step - c->start.done) * c->config->train_batch_size;
    if (r->skipped)
        say_skipped(r);
    if (!r->finite && r->skipped) {
        fail(c, mu_fail(
                    MU_DIVERGED,
                    "step %lld: the gradients overflow at loss scale %g, %d steps in a row now: training has "
                    "diverged. A lower learning rate or a longer warmup may help; bf16 needs no loss scale",
                    (long long)r->step, r->loss_scale, r->scale.in_a_row));
    } else if (!r->finite && r->step == c->start.done + 1 && !isfinite(r->loss)) {
        fail(c,
             mu_fail(
                 MU_DIVERGED,
                 "step %lld: loss %g before any update of this run: the weights it began with, or what the "
                 "model computes of them, are not finite: look at the checkpoint that it loads with `muster "
                 "eval`; the learning rate has no part in it",
                 (long long)r->step, r->loss));
    } else if (!r->finite) {
        fail(c, mu_fail(MU_DIVERGED,
                        "step %lld: loss %g, gradient norm %g: training has diverged; the update was not "
                        "made. A lower "
                        "learning rate, a longer warmup or tighter gradient_clipping may help",
                        (long long)r->step, r->loss, r->grad_norm));
    }
    c->last = *r;
    c->last_valid = valid ? *valid : NAN;
    if (c->transaction.active && !c->transaction.described && c->transaction.lists.step == r->step)
        describe_checkpoint(c);
    if (valid)
        look_for_end(c, r->step, *valid);
    mu_status_t status = mu_metrics_add(c->metrics, r, samples, mu_start_tokens(c->run, samples), valid);
    show(c, r, valid);
    *row = (row_t){.compute = row->compute};
    return status;
}

/* Loss, norm and what follows from them are the same on every replica, or they train different models. */
static mu_status_t check_equal(const mu_report_t *a, const mu_report_t *b)
{
    if (a->skipped == b->skipped && a->optimizer_step == b->optimizer_step &&
        a->scale.scale == b->scale.scale)
        return MU_OK;
    return mu_fail(
        MU_BUG,
        "step %lld: the replicas disagree: update %lld, loss scale %g, and update %lld, loss scale %g",
        (long long)a->step, (long long)a->optimizer_step, a->scale.scale, (long long)b->optimizer_step,
        b->scale.scale);
}

/* Of the times the slowest counts. Who comes last to an exchange
 * waits for its bytes alone: what others wait beyond the replica that waited least, they wait for peers. */
static void add_times(mu_report_t *sum, const mu_report_t *r, bool first)
{
    double least = first ? r->comm_ms : fmin(sum->comm_ms - sum->peer_wait_ms, r->comm_ms);
    mu_report_t was = *sum;
    *sum = *r;
#define PUT_SAME(name)
#define PUT_OWN(name)
#define PUT_MOST(name) sum->name = fmax(was.name, r->name);
#define PUT(name, how) PUT_##how(name)
    MU_REPORT_TABLE(PUT)
#undef PUT
#undef PUT_MOST
#undef PUT_OWN
#undef PUT_SAME
    sum->peer_wait_ms = sum->comm_ms - least;
}

static mu_status_t take_report(controller_t *c, const mu_report_t *r, int replica)
{
    row_t *row = &c->rows[r->step % ROWS];
    int dp = c->config->dp;
    if (r->evaluation) {
        double slowest = fmax(row->valid.step_ms, r->step_ms);
        row->valid = *r;
        row->valid.step_ms = slowest;
        row->got_valid++;
    } else {
        if (row->got > 0)
            MU_TRY(check_equal(&row->step, r));
        add_times(&row->step, r, row->got == 0);
        row->compute[replica] = fmax(0, r->step_ms - r->data_wait_ms - r->comm_ms);
        row->got++;
    }
    if (row->got < dp || (mu_schedule_eval(c->config, r->step) && row->got_valid < dp))
        return MU_OK;
    return finish_row(c, row);
}

/* --- checkpoints --- */

static void describe(controller_t *c, int64_t step, mu_checkpoint_info_t *info)
{
    const mu_config_t *config = c->config;
    static const char *const styles[] = {"linear", "cosine", "exponential", "constant"};
    mu_buf_t yaml = MU_BUF_INIT;
    mu_config_write_yaml(config, false, &yaml);
    info->run_id = mu_strdup(c->start.setup.run_id);
    info->attempt = c->run->attempt;
    info->tp = config->tp;
    info->dp = config->dp;
    info->step = step;
    info->optimizer_step = c->last.optimizer_step; /* a step's report comes before its shards */
    info->loss_scale = c->last.scale;
    info->samples = c->start.samples + (step - c->start.done) * config->train_batch_size;
    info->tokens = mu_start_tokens(c->run, info->samples);
    memcpy(info->order_samples, c->start.order_samples, sizeof info->order_samples);
    info->parent_step = c->start.parent;
    info->seed = config->seed;
    info->time = mu_wall_seconds();
    info->loss = c->last.step == step ? c->last.loss : NAN;
    info->valid_loss = c->last.step == step ? c->last_valid : NAN;
    info->schedule.style = mu_strdup(styles[config->lr_decay_style]);
    info->schedule.lr = config->lr;
    info->schedule.min_lr = config->min_lr;
    info->schedule.warmup = config->warmup;
    info->schedule.decay_fraction = config->lr_decay_fraction;
    info->schedule.decay_iters = config->lr_decay_iters;
    info->schedule.train_iters = config->train_iters;
    info->environment.threads = c->handshake.threads;
    info->environment.device = mu_strdup(c->handshake.device);
    info->environment.instruction_set = mu_strdup(c->handshake.instruction_set);
    info->environment.libraries = mu_handshake_libraries();
    info->config = mu_buf_detach(&yaml);
    info->companions = c->start.companions ? mu_strdup(c->start.companions) : NULL;
    info->data_version = mu_strdup(mu_mixture_version(c->start.data));
    info->lineage = mu_strdup(c->lineage);
    if (c->start.base) {
        char digest[MU_DIGEST_HEX];
        mu_checkpoint_weights_digest(c->start.base, digest);
        info->base_path = realpath(c->start.setup.base, NULL);
        info->base_digest = mu_strdup(digest);
    }
}

static void describe_checkpoint(controller_t *c)
{
    describe(c, c->transaction.lists.step, &c->transaction.info);
    c->transaction.described = true;
}

/* All shards are durable. */
static void begin_commit(controller_t *c)
{
    mu_transaction_t *t = &c->transaction;
    if (!t->described) /* a step that never was reported */
        describe_checkpoint(c);
    mu_commit_t what = {.model = &c->config->model,
                        .optimizer = !c->config->no_save_optim,
                        .tokenizer = c->start.tokenizer,
                        .best = t->info.valid_loss < c->start.best_valid_loss};
    mu_transaction_commit(t, &what, c->config->keep_last_n_checkpoints);
}

static void finish_commit(controller_t *c)
{
    int64_t step = c->transaction.lists.step, began_ns = c->transaction.began_ns;
    double valid_loss =
        c->transaction.commit.best ? c->transaction.info.valid_loss : c->start.best_valid_loss;
    mu_status_t status = mu_transaction_end(&c->transaction);
    c->flushing = false;
    fail(c, status);
    if (status != MU_OK)
        return;
    c->start.best_valid_loss = valid_loss;
    c->committed = step;
    c->shown.last_checkpoint = step;
    c->shown.checkpoint_write_s = (double)(mu_now_ns() - began_ns) * 1e-9;
    mu_page_metrics(c->run->page, &c->shown);
}

static mu_status_t take_saved(controller_t *c, const char *message, int n)
{
    MU_TRY(mu_saved_lists_add(&c->transaction.lists, message, (size_t)n));
    if (mu_saved_lists_complete(&c->transaction.lists))
        begin_commit(c);
    return MU_OK;
}

/* --- copies in memory --- */

static mu_status_t send_manifest(controller_t *c, const mu_buf_t *text)
{
    MU_TRY(command(c, &(mu_train_command_t){
                          .kind = MU_COMMAND_KEEP, .step = c->copying.step, .batches = (int64_t)text->len}));
    for (int r = 0; r < c->config->dp; r++) {
        MPI_Request request;
        MU_TRY(mu_mpi_check(MPI_Isend(text->data, (int)text->len, MPI_BYTE,
                                      mu_layout_leader(&c->run->groups->layout, r), MU_TAG_MANIFEST,
                                      c->control, &request),
                            "MPI_Isend of a manifest"));
        MU_TRY(mu_yielding_wait(&request, "sending a manifest"));
    }
    return MU_OK;
}

/* From here on a death costs the steps after this one. */
static mu_status_t take_copied(controller_t *c, const char *message, int n)
{
    mu_checkpoint_info_t info = {.run_id = NULL};
    mu_commit_t what = {.info = &info, .model = &c->config->model, .optimizer = !c->config->no_save_optim};
    mu_buf_t text = MU_BUF_INIT;
    MU_TRY(mu_saved_lists_add(&c->copying, message, (size_t)n));
    if (!mu_saved_lists_complete(&c->copying))
        return MU_OK;
    describe(c, c->copying.step, &info);
    mu_status_t status = mu_saved_lists_manifest(&c->copying, &what, "copies in memory", &text);
    if (status == MU_OK)
        status = send_manifest(c, &text);
    if (status == MU_OK) {
        c->shown.copies++;
        c->shown.copy_step = c->copying.step;
        c->shown.copy_bytes = c->copying.bytes;
        c->shown.copy_ms = c->copying.seconds * 1e3;
        mu_page_metrics(c->run->page, &c->shown);
    }
    mu_saved_lists_release(&c->copying);
    mu_checkpoint_info_release(&info);
    mu_buf_release(&text);
    return status;
}

/* What they have cost. */
static void say_copies(const controller_t *c)
{
    char size[32];
    if (c->shown.copies > 0)
        mu_info("copies in memory: %lld, of %s each on two hosts; the last held the run up for %.1f ms",
                (long long)c->shown.copies, mu_human_bytes((uint64_t)c->shown.copy_bytes, size, sizeof size),
                c->shown.copy_ms);
}

/* --- the loop --- */

static mu_status_t receive_one(controller_t *c, bool *moved)
{
    MPI_Status from;
    int there = 0, n;
    *moved = false;
    MU_TRY(mu_mpi_check(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, c->control, &there, &from), "MPI_Iprobe"));
    if (!there)
        return MU_OK;
    *moved = true;
    MPI_Get_count(&from, MPI_BYTE, &n);
    char *message = mu_alloc((size_t)n);
    mu_status_t status = mu_mpi_check(
        MPI_Recv(message, n, MPI_BYTE, from.MPI_SOURCE, from.MPI_TAG, c->control, MPI_STATUS_IGNORE),
        "MPI_Recv");
    if (status == MU_OK) {
        int64_t count;
        mu_report_t report;
        if (from.MPI_TAG == MU_TAG_CREDIT && n == (int)sizeof count) {
            memcpy(&count, message, sizeof count);
            mu_token_feed_credit(c->token_feed, (from.MPI_SOURCE - 1) / c->config->tp, count);
        } else if (from.MPI_TAG == MU_TAG_REPORT && n == (int)sizeof report) {
            memcpy(&report, message, sizeof report);
            fail(c, take_report(c, &report, (from.MPI_SOURCE - 1) / c->config->tp));
        } else if (from.MPI_TAG == MU_TAG_SAVED) {
            status = take_saved(c, message, n);
        } else if (from.MPI_TAG == MU_TAG_COPIED) {
            status = take_copied(c, message, n);
        } else {
            status = mu_fail(MU_BUG, "rank %d sent %d bytes with tag %d", from.MPI_SOURCE, n, from.MPI_TAG);
        }
    }
    free(message);
    return status;
}

/* Requests come through the page from the guard; without a launcher RUN/stop is looked for here. */
static void look_for_requests(controller_t *c)
{
    int request = c->run->page ? atomic_load(&c->run->page->request) : MU_REQUEST_NONE;
    if (!c->run->watched && mu_now_ns() - c->stop_seen_ns > 500000000) {
        c->stop_seen_ns = mu_now_ns();
        if (access(c->stop_file, F_OK) == 0 && request < MU_REQUEST_STOP)
            request = MU_REQUEST_STOP;
    }
    if (request == MU_REQUEST_CHECKPOINT) {
        c->checkpoint_wanted = true;
        int32_t seen = MU_REQUEST_CHECKPOINT;
        atomic_compare_exchange_strong(&c->run->page->request, &seen, MU_REQUEST_NONE);
    }
    if (request >= MU_REQUEST_STOP && !c->stop_wanted) {
        mu_info("asked to stop: saving after step %lld", (long long)c->step);
        c->stop_wanted = true;
    }
    c->stop_now = request == MU_REQUEST_STOP_NOW;
}

static bool rows_open(const controller_t *c)
{
    for (int i = 0; i < ROWS; i++)
        if (c->rows[i].got > 0 && !(c->stop_now || c->failed != MU_OK))
            return true;
    return c->last.step < c->step && c->failed == MU_OK && !c->stop_now;
}

static mu_status_t loop(controller_t *c)
{
    while (!c->ended || c->transaction.active || rows_open(c) || !commands_delivered(c)) {
        bool received, dealt = false;
        MU_TRY(receive_one(c, &received));
        if (!c->ended)
            MU_TRY(mu_token_feed_work(c->token_feed, &dealt));
        look_for_requests(c);
        if (mu_transaction_done(&c->transaction))
            finish_commit(c);
        if (!c->ended)
            MU_TRY(decide(c));
        if (!received && !dealt)
            mu_sleep_ms(1);
    }
    if (c->failed != MU_OK)
        return c->failed;
    if (c->stop_wanted && !is_over(c))
        return MU_STOPPED;
    if (c->committed != c->step || c->last.step != c->step)
        return mu_fail(MU_BUG, "step %lld is the last one, but step %lld was reported and step %lld is saved",
                       (long long)c->step, (long long)c->last.step, (long long)c->committed);
    return MU_OK;
}

static mu_status_t train(controller_t *c)
{
    const mu_config_t *config = c->config;
    mu_page_t *page = c->run->page;
    c->step = c->last.step = c->start.done;
    c->last.loss = c->last_valid = NAN; /* a checkpoint before the first step has none, and is not the best */
    c->last.optimizer_step = c->start.setup.optimizer_step;
    c->last.scale = c->start.setup.scale;
    c->saved = c->start.done > 0 && c->start.setup.kind == MU_SETUP_RESUME && !c->start.setup.copies;
    c->committed = c->saved ? c->start.done : c->start.durable;
    c->evaluated = true;
    c->lowest_valid = c->start.best_valid_loss;
    c->token_feed = mu_token_feed_new(config, c->control, c->start.setup.eod, c->start.done, c->start.samples,
                                      read_sample, c);
    if (page)
        atomic_store(&page->step, c->start.done);
    c->shown.train_iters = config->train_iters;
    c->shown.last_checkpoint = c->committed;
    mu_page_metrics(page, &c->shown);
    mu_page_phase(page, MU_PHASE_STEP);
    mu_status_t status = loop(c);
    mu_page_phase(page, MU_PHASE_FINISH);
    mu_transaction_abandon(&c->transaction);
    mu_saved_lists_release(&c->copying);
    say_copies(c);
    c->run->orderly = c->ended;
    c->run->begun = c->start.done;
    c->run->step = c->last.step;
    c->run->checkpoint = c->committed;
    if (c->ended)
        mu_token_feed_free(c->token_feed);
    return status;
}

mu_status_t mu_controller_run(mu_run_t *run)
{
    controller_t c = {.run = run, .control = run->groups->control, .shown = MU_METRIC_VALUES_FIRST};
    mu_status_t status;
    c.checkpoints = mu_run_checkpoints(run);
    c.stop_file = mu_path_join(run->dir, "stop");
    c.commands = mu_calloc((size_t)run->config->dp, sizeof *c.commands);
    c.requests = mu_calloc((size_t)run->config->dp, sizeof *c.requests);
    for (int r = 0; r < run->config->dp; r++)
        c.requests[r] = MPI_REQUEST_NULL;
    for (int i = 0; i < ROWS; i++)
        c.rows[i].compute = mu_calloc((size_t)run->config->dp, sizeof(double));
    mu_page_phase(run->page, MU_PHASE_SETUP);
    MU_TRY_GOTO(status, mu_metrics_open(run->dir, &c.metrics), out);
    MU_TRY_GOTO(status, mu_handshake_run(run, &c.start, &c.handshake), out);
    c.config = run->config; /* with what the start has found out */
    run->orderly = false;
    MU_TRY_GOTO(status, mu_run_lineage(run, &c.start, &c.lineage), out);
    if (c.start.done > 0 && c.start.setup.kind == MU_SETUP_RESUME)
        MU_TRY_GOTO(status, mu_checkpoint_set_aside(c.checkpoints, c.start.done, run->attempt), out);
    status = train(&c);
out:
    mu_metrics_close(c.metrics);
    mu_start_release(&c.start);
    for (int i = 0; i < ROWS; i++)
        free(c.rows[i].compute);
    free(c.requests);
    free(c.commands);
    free(c.stop_file);
    free(c.checkpoints);
    free(c.lineage);
    return status;
}
