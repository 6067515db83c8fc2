#include "worker/train/trainer.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "worker/train/attention_choice.h"
#include "worker/train/train_protocol.h"
#include "worker/model/init.h"
#include "worker/model/optimizer.h"
#include "worker/train/device_context.h"
#include "worker/train/product_record.h"
#include "worker/model/precision.h"
#include "worker/comm/yielding_wait.h"
#include "worker/model/replicas.h"
#include "worker/train/peer_copy.h"
#include "worker/train/saver.h"
#include "worker/train/state.h"

#include <math.h>

typedef struct trainer {
    mu_run_t *run;
    const mu_config_t *config;
    mu_groups_t *groups;
    mu_device_context_t context;
    mu_device_t *device; /* context.device */
    mu_net_t *net;
    mu_replicas_t replicas;
    mu_setup_t setup;
    int32_t attention; /* mu_attention_choose() */
    int32_t *tokens;   /* one share: [accumulation][micro][seq + 1], and the count of its global batch */
    int64_t share_ids; /* its ids */
    int64_t taken;     /* TOKENS messages so far */
    int64_t data_wait_ns;
    int64_t optimizer_step;
    mu_loss_scale_t scale;
    bool first; /* no step was made yet */
    bool mean;  /* the page has running means */
    mu_saver_t saver;
    mu_peer_copy_t peers; /* copies in memory */
} trainer_t;

static mu_status_t receive_share(trainer_t *t)
{
    t->taken++;
    return mu_mpi_check(mu_progress_thread_recv(t->groups->progress_thread, t->tokens, (int)t->share_ids,
                                                MPI_INT32_T, 0, MU_TAG_TOKENS, t->groups->control),
                        "MPI_Recv of tokens");
}

/* The leader takes the next share from the controller and passes it to its replica. */
static mu_status_t take_tokens(trainer_t *t)
{
    mu_groups_t *g = t->groups;
    if (g->leader) {
        int64_t before = mu_now_ns();
        MU_TRY(receive_share(t));
        t->data_wait_ns += mu_now_ns() - before;
        MU_TRY(mu_mpi_check(mu_progress_thread_send(g->progress_thread, &t->taken, 1, MPI_INT64_T, 0,
                                                    MU_TAG_CREDIT, g->control),
                            "MPI_Send of credit"));
    }
    mu_page_progress(t->run->page);
    return mu_comm_broadcast(g->tp, 0, t->tokens, t->share_ids * (int64_t)sizeof *t->tokens);
}

static mu_status_t report(trainer_t *t, const mu_report_t *report)
{
    if (!t->groups->leader)
        return MU_OK;
    return mu_mpi_check(mu_progress_thread_send(t->groups->progress_thread, report, sizeof *report, MPI_BYTE,
                                                0, MU_TAG_REPORT, t->groups->control),
                        "MPI_Send of a report");
}

/* Until nothing is under way and all weights are there. */
static mu_status_t settle(trainer_t *t)
{
    MU_TRY(mu_replicas_settle(&t->replicas));
    return mu_device_context_wait(&t->context);
}

/* Mean loss of the tokens that count, of what all replicas computed since the last call; 0 where none counts. */
static mu_status_t mean_loss(trainer_t *t, double *out)
{
    mu_net_loss_t loss;
    MU_TRY(mu_device_context_wait(&t->context));
    MU_TRY(mu_net_take_loss(t->net, &loss));
    double sums[2] = {loss.token_sum, (double)loss.tokens};
    MU_TRY(mu_comm_allreduce(t->groups->dp, MU_SUM, MU_TYPE_F64, sums, 2));
    *out = sums[1] > 0 ? sums[0] / sums[1] : 0;
    return MU_OK;
}

static mu_status_t forward_backward(trainer_t *t, int64_t number)
{
    const mu_config_t *c = t->config;
    const mu_layout_t *layout = &t->groups->layout;
    int64_t counted; /* tokens of the global batch, on all replicas */
    memcpy(&counted, t->tokens + t->share_ids - MU_SHARE_TAIL, sizeof counted);
    double each = counted > 0 ? mu_loss_scale_factor(&t->scale) / (double)counted : 0;
    int64_t stride = c->micro_batch * (c->model.seq_length + 1);
    mu_net_zero_gradients(t->net);
    for (int64_t g = 0; g < c->accumulation; g++) {
        if (g == c->accumulation - 1)
            mu_replicas_last(&t->replicas);
        mu_net_draw(t->net, &(mu_net_draw_t){.seed = (uint64_t)c->seed,
                                             .step = number,
                                             .sample = (g * layout->dp + layout->dp_rank) * c->micro_batch});
        MU_TRY(mu_net_forward_backward_sum(t->net, t->tokens + g * stride, each));
        mu_page_progress(t->run->page);
        MU_TRY(mu_saver_look(&t->saver));
        MU_TRY(mu_device_context_pace(&t->context));
    }
    return mu_replicas_finish(&t->replicas);
}

/* What the step waited for others; the groups for the host's memory are the device's own on CPUs. */
static int64_t take_wait_ns(trainer_t *t)
{
    int64_t ns = mu_comm_take_wait_ns(t->groups->tp) + mu_comm_take_wait_ns(t->groups->dp);
    return t->context.own ? ns + mu_comm_take_wait_ns(t->context.tp) + mu_comm_take_wait_ns(t->context.dp)
                          : ns;
}

/* The update, unless the gradients overflow. What it began goes on beside what follows: the report, the next
 * share of tokens, the next forward. */
static mu_status_t update(trainer_t *t, mu_report_t *r)
{
    const mu_config_t *c = t->config;
    double factor = mu_loss_scale_factor(&t->scale);
    MU_TRY(mu_optimizer_norm_end(t->net, &r->grad_norm));
    r->grad_norm /= factor;
    bool whole = isfinite(r->loss) && isfinite(r->grad_norm);
    r->finite = mu_loss_scale_step(&t->scale, &c->loss_scale, !whole);
    r->skipped = !whole && r->loss_scale > 0;
    if (whole) {
        mu_optimizer_t adam = {r->lr, c->beta1, c->beta2, c->eps, c->weight_decay, c->gradient_clipping,
                               factor};
        mu_saver_hold(&t->saver);
        MU_TRY(mu_replicas_update(&t->replicas, &adam, r->grad_norm, ++t->optimizer_step));
    }
    r->optimizer_step = t->optimizer_step;
    r->scale = t->scale;
    return t->replicas.overlap ? MU_OK : settle(t);
}

/* Running means of about eight steps, for the launcher to find the slow rank. */
static void publish_times(trainer_t *t, const mu_report_t *r)
{
    mu_page_t *page = t->run->page;
    double part = t->mean ? 1.0 / 8 : 1;
    if (!page)
        return;
    struct {
        _Atomic double *mean;
        double ms;
    } time[] = {{&page->rank_compute_ms, fmax(0, r->step_ms - r->data_wait_ms - r->comm_ms)},
                {&page->rank_comm_ms, r->comm_ms},
                {&page->rank_data_wait_ms, r->data_wait_ms}};
    for (size_t i = 0; i < sizeof time / sizeof *time; i++)
        atomic_store(time[i].mean, atomic_load(time[i].mean) * (1 - part) + time[i].ms * part);
    t->mean = true;
}

static mu_status_t step(trainer_t *t, int64_t number)
{
    const mu_config_t *c = t->config;
    mu_report_t r = {
        .step = number, .lr = mu_config_lr(c, number - 1 - t->scale.skipped), .loss_scale = t->scale.scale};
    int64_t began = mu_now_ns();
    t->data_wait_ns = 0;
    take_wait_ns(t);
    mu_page_phase(t->run->page, t->first ? MU_PHASE_FIRST_STEP : MU_PHASE_STEP);
    MU_TRY(take_tokens(t));
    MU_TRY(forward_backward(t, number));
    MU_TRY(mu_optimizer_norm_begin(t->net));
    MU_TRY(mean_loss(t, &r.loss));
    MU_TRY(update(t, &r));
    r.step_ms = (double)(mu_now_ns() - began) * 1e-6;
    r.data_wait_ms = (double)t->data_wait_ns * 1e-6;
    r.comm_ms = (double)take_wait_ns(t) * 1e-6;
    r.checkpoint_ms = mu_saver_take_ms(&t->saver);
    r.copy_ms = mu_peer_copy_take_ms(&t->peers);
    if (!t->first) /* the first one is no measure of the others */
        publish_times(t, &r);
    t->first = false;
    if (t->run->page)
        atomic_store(&t->run->page->step, number);
    return report(t, &r);
}

static mu_status_t evaluate(trainer_t *t, const mu_train_command_t *command)
{
    const mu_config_t *c = t->config;
    mu_report_t r = {.step = command->step, .evaluation = 1};
    int64_t stride = c->micro_batch * (c->model.seq_length + 1);
    int64_t began = mu_now_ns();
    mu_page_phase(t->run->page, MU_PHASE_EVAL);
    for (int64_t b = 0; b < command->batches; b++) {
        MU_TRY(take_tokens(t));
        for (int64_t g = 0; g < c->accumulation; g++) {
            MU_TRY(mu_net_forward_loss(t->net, t->tokens + g * stride, c->micro_batch));
            mu_page_progress(t->run->page);
            MU_TRY(mu_saver_look(&t->saver));
        }
    }
    MU_TRY(mean_loss(t, &r.loss));
    r.finite = isfinite(r.loss);
    r.step_ms = (double)(mu_now_ns() - began) * 1e-6;
    return report(t, &r);
}

/* At the end the tokens that were sent ahead and are not wanted any more are taken off the wire, and what the
 * last step left under way is waited for. */
static mu_status_t drain(trainer_t *t, int64_t sent)
{
    while (t->groups->leader && t->taken < sent)
        MU_TRY(receive_share(t));
    MU_TRY(mu_saver_flush(&t->saver));
    return settle(t);
}

static mu_status_t next_command(trainer_t *t, mu_train_command_t *out)
{
    mu_groups_t *g = t->groups;
    MU_TRY(mu_saver_look(&t->saver));
    if (g->leader)
        MU_TRY(mu_mpi_check(mu_progress_thread_recv(g->progress_thread, out, sizeof *out, MPI_BYTE, 0,
                                                    MU_TAG_COMMAND, g->control),
                            "MPI_Recv of a command"));
    return mu_comm_broadcast(g->tp, 0, out, sizeof *out);
}

/* All workers have copied their state: the leader passes the manifest on. */
static mu_status_t keep_copies(trainer_t *t, int64_t bytes)
{
    mu_groups_t *g = t->groups;
    char *text = mu_alloc((size_t)bytes);
    mu_status_t status = MU_OK;
    if (g->leader)
        status = mu_mpi_check(mu_progress_thread_recv(g->progress_thread, text, (int)bytes, MPI_BYTE, 0,
                                                      MU_TAG_MANIFEST, g->control),
                              "MPI_Recv of a manifest");
    if (status == MU_OK)
        status = mu_comm_broadcast(g->tp, 0, text, bytes);
    if (status == MU_OK)
        status = mu_peer_copy_keep(&t->peers, text, (size_t)bytes);
    free(text);
    return status;
}

static mu_status_t copy_state(trainer_t *t, int64_t number)
{
    MU_TRY(settle(t));
    mu_shard_plan_t plan = mu_saver_plan(&t->saver, t->run->copies_dir, number);
    return mu_peer_copy_make(&t->peers, &plan);
}

static mu_status_t obey(trainer_t *t)
{
    for (;;) {
        mu_train_command_t command;
        MU_TRY(next_command(t, &command));
        switch (command.kind) {
        case MU_COMMAND_STEP:
            MU_TRY(step(t, command.step));
            break;
        case MU_COMMAND_EVAL:
            MU_TRY(evaluate(t, &command));
            break;
        case MU_COMMAND_SAVE:
            MU_TRY(settle(t));
            MU_TRY(mu_saver_save(&t->saver, &command));
            break;
        case MU_COMMAND_FLUSH:
            MU_TRY(mu_saver_flush(&t->saver));
            break;
        case MU_COMMAND_COPY:
            MU_TRY(copy_state(t, command.step));
            break;
        case MU_COMMAND_KEEP:
            MU_TRY(keep_copies(t, command.batches));
            break;
        default:
            return drain(t, command.batches);
        }
    }
}

/* The device is made once; the net again when another checkpoint has another vocabulary. */
static mu_status_t make_net(trainer_t *t)
{
    const mu_config_t *c = t->config;
    if (t->net && mu_net_model(t->net)->vocab == t->setup.vocab)
        return MU_OK;
    mu_net_free(t->net);
    t->net = NULL;
    mu_replicas_release(&t->replicas);
    mu_net_options_t options = {.micro_batch = c->micro_batch,
                                .dtype = mu_precision_dtype(t->device, c->precision),
                                .seq_length = c->model.seq_length,
                                .training = true,
                                .checkpoint_activations = c->checkpoint_activations,
                                .shard = c->zero_stage == 1 ? t->context.dp : NULL,
                                .reset_attention = t->setup.reset_attention,
                                .reset_positions = t->setup.reset_positions,
                                .eod = t->setup.eod};
    MU_TRY(mu_net_new(t->device, &c->model, t->context.tp, &options, &t->net));
    for (int i = 0; i < mu_net_param_count(t->net); i++) {
        const mu_tensor_t *tensor = &mu_net_param(t->net, i)->tensor;
        mu_net_set_update(t->net, i, mu_config_decays(c, tensor), mu_config_lr_scale(c, tensor));
    }
    t->replicas = (mu_replicas_t){
        .net = t->net, .dp = t->context.dp, .overlap = c->muster.overlap && !t->context.one_by_one};
    return MU_OK;
}

/* The model that adapters leave as it is. */
static mu_status_t take_base(trainer_t *t)
{
    mu_checkpoint_t *base;
    mu_page_phase(t->run->page, MU_PHASE_LOAD);
    MU_TRY(mu_checkpoint_open(t->setup.base, &base));
    mu_status_t status = mu_state_load_base(t->net, base);
    mu_checkpoint_close(base);
    return status;
}

static mu_status_t take_state(trainer_t *t)
{
    mu_checkpoint_t *checkpoint;
    MU_TRY(make_net(t));
    t->optimizer_step = t->setup.optimizer_step;
    t->scale = t->setup.scale;
    mu_loss_scale_begin(&t->scale, mu_net_flat(t->net)->weight.type == MU_DTYPE_F16, &t->config->loss_scale);
    if (t->setup.base[0])
        MU_TRY(take_base(t));
    if (t->setup.kind == MU_SETUP_FRESH)
        return t->setup.base[0] ? mu_init_adapters(t->net, (uint64_t)t->config->seed)
                                : mu_init_weights(t->net, (uint64_t)t->config->seed);
    mu_page_phase(t->run->page, MU_PHASE_LOAD);
    char *path = NULL;
    if (t->setup.copies)
        MU_TRY(mu_peer_copy_restore(&t->peers, &path));
    mu_status_t status = mu_checkpoint_open(path ? path : t->setup.path, &checkpoint);
    free(path);
    MU_TRY(status);
    status = t->setup.growth.rows > 0 ? mu_state_load_resized(t->net, checkpoint, &t->setup.growth)
                                      : mu_state_load(t->net, checkpoint, t->setup.kind == MU_SETUP_RESUME);
    mu_checkpoint_close(checkpoint);
    return status;
}

/* Memory for copies of the state. All workers come here. */
static mu_status_t reserve(trainer_t *t)
{
    mu_status_t status = mu_saver_reserve(&t->saver, t->run->copies_dir != NULL);
    if (!t->run->copies_dir)
        return status;
    mu_shard_plan_t plan = mu_saver_plan(&t->saver, t->run->copies_dir, 0);
    mu_status_t peers = mu_peer_copy_reserve(&t->peers, &plan);
    return status == MU_OK ? peers : status;
}

static mu_status_t answer_ready(trainer_t *t, mu_status_t taken)
{
    const mu_memory_count_t *m = t->device->memory;
    mu_ready_t ready = {.status = (int32_t)taken,
                        .threads = t->device->threads,
                        .dtype = (int32_t)mu_precision_dtype(t->device, t->config->precision),
                        .attention = t->attention,
                        .weights = m[MU_MEM_WEIGHTS].current,
                        .gradients = m[MU_MEM_GRADIENTS].current,
                        .optimizer = m[MU_MEM_OPTIMIZER].current,
                        .activations = m[MU_MEM_ACTIVATIONS].current,
                        .workspace = m[MU_MEM_WORKSPACE].current,
                        .communication = m[MU_MEM_COMMUNICATION].current,
                        .copy = t->saver.background.memory ? (int64_t)t->saver.background.bytes : 0,
                        .copies = t->peers.bytes};
    snprintf(ready.device, sizeof ready.device, "%s", t->context.words);
    snprintf(ready.instruction_set, sizeof ready.instruction_set, "%s", t->device->instruction_set);
    return mu_mpi_check(MPI_Send(&ready, sizeof ready, MPI_BYTE, 0, MU_TAG_READY, t->groups->control),
                        "MPI_Send of ready");
}

/* Follows the controller's setups until GO. `go` stays false when the run cannot start. */
static mu_status_t set_up(trainer_t *t, bool *go)
{
    *go = false;
    if (t->run->copies_dir)
        MU_TRY(mu_peer_copy_offer(&t->peers));
    for (;;) {
        MU_TRY(
            mu_yielding_broadcast(&t->setup, sizeof t->setup, t->groups->control, "broadcast of the setup"));
        if (t->setup.status != MU_OK)
            return MU_OK;
        if (t->setup.kind == MU_SETUP_GO) {
            *go = true;
            if (!t->setup.background)
                mu_background_save_release(&t->saver.background);
            if (t->run->copies_dir)
                mu_peer_copy_begin(&t->peers, t->setup.copies);
            return MU_OK;
        }
        mu_config_settle(&t->run->config, &(mu_config_facts_t){.vocab = t->setup.vocab,
                                                               .train_iters = t->setup.train_iters,
                                                               .course = t->setup.course});
        t->config = t->run->config;
        mu_status_t taken = take_state(t);
        if (taken == MU_OK)
            taken =
                mu_attention_choose(t->config, &t->context, t->net, t->setup.reset_attention, &t->attention);
        t->saver.net = t->net;
        mu_status_t reserved = reserve(t);
        MU_TRY(answer_ready(t, taken == MU_OK ? reserved : taken));
    }
}

mu_status_t mu_trainer_run(mu_run_t *run)
{
    trainer_t t = {.run = run, .config = run->config, .groups = run->groups, .first = true};
    mu_status_t status;
    bool go;
    mu_page_phase(run->page, MU_PHASE_SETUP);
    t.saver.run = run;
    t.saver.setup = &t.setup;
    t.peers.run = run;
    t.share_ids = mu_share_ids(t.config);
    t.tokens = mu_alloc((size_t)t.share_ids * sizeof *t.tokens);
    MU_TRY_GOTO(status, mu_device_context_make(run, &t.context), out);
    t.device = t.context.device;
    MU_TRY_GOTO(status, set_up(&t, &go), out);
    if (go && t.config->muster.tune == MU_TUNE_AUTO)
        status = mu_product_record_follow(run->groups->workers, run->dir, t.net);
    if (go && status == MU_OK)
        status = obey(&t);
    if (status == MU_OK)
        mu_page_phase(run->page,
                      MU_PHASE_FINISH); /* leaving is in order, also from a run that cannot start */
out:
    if (status != MU_OK)
        mu_device_context_abandon(&t.context);
    mu_saver_give_up(&t.saver);
    mu_saver_release(&t.saver);
    mu_replicas_release(&t.replicas);
    mu_net_free(t.net);
    mu_device_context_free(&t.context);
    mu_peer_copy_release(&t.peers);
    free(t.tokens);
    return status;
}
