#include "worker/train/saver.h"
#include "common/clock.h"
#include "common/file.h"
#include "worker/train/device_context_impl.h"
#include "worker/train/state.h"

/* A mu_shard_source_t: each piece shows progress, also on a slow volume. */
static mu_status_t read_state(void *arg, const mu_slice_t *slice, int64_t first, int64_t n, float *out)
{
    mu_saver_t *s = arg;
    mu_page_progress(s->run->page);
    return mu_state_read(s->net, slice, first, n, out);
}

/* The same by the thread that writes. What it does is no sign of life of the one that trains. */
static mu_status_t read_state_beside(void *arg, const mu_slice_t *slice, int64_t first, int64_t n, float *out)
{
    mu_saver_t *s = arg;
    return mu_state_read_beside(s->net, slice, first, n, out);
}

mu_shard_plan_t mu_saver_plan(mu_saver_t *s, const char *dir, int64_t step)
{
    const mu_layout_t *layout = &s->run->groups->layout;
    return (mu_shard_plan_t){.dir = dir,
                             .model = &s->run->config->model,
                             .tp = layout->tp,
                             .dp = layout->dp,
                             .tp_rank = layout->tp_rank,
                             .dp_rank = layout->dp_rank,
                             .optimizer = !s->run->config->no_save_optim,
                             .run_id = s->setup->run_id,
                             .step = step,
                             .attempt = s->setup->attempt,
                             .read = read_state,
                             .read_beside = read_state_beside,
                             .arg = s,
                             .layout = s->layout};
}

static mu_status_t lay_out(mu_saver_t *s)
{
    mu_shard_plan_t plan = mu_saver_plan(s, s->checkpoints, 0);
    return s->layout ? MU_OK : mu_shard_layout_make(&plan, &s->layout);
}

mu_status_t mu_saver_reserve(mu_saver_t *s, bool layout)
{
    mu_neighbours_t near;
    if (!s->checkpoints)
        s->checkpoints = mu_run_checkpoints(s->run);
    mu_shard_layout_free(s->layout);
    s->layout = NULL;
    if (layout || s->run->config->muster.async_checkpoint != MU_CHOICE_OFF)
        MU_TRY(lay_out(s));
    mu_shard_plan_t plan = mu_saver_plan(s, s->checkpoints, 0);
    MU_TRY(mu_device_context_neighbours(s->run, NULL, &near));
    return mu_background_save_reserve(s->run, mu_net_device(s->net), &plan, near.count, &s->background);
}

static mu_status_t send_saved(mu_saver_t *s, int64_t step, mu_status_t status, mu_shard_t *shard,
                              double seconds)
{
    mu_groups_t *g = s->run->groups;
    mu_saved_t saved = {.step = step, .status = (int32_t)status, .seconds = seconds};
    mu_buf_t message = MU_BUF_INIT;
    if (status == MU_OK)
        saved.bytes = (int64_t)shard->size;
    mu_buf_add(&message, &saved, sizeof saved);
    if (status == MU_OK) {
        mu_shard_pack(shard, &message);
        mu_shard_release(shard);
    }
    status = mu_mpi_check(mu_progress_thread_send(g->progress_thread, message.data, (int)message.len,
                                                  MPI_BYTE, 0, MU_TAG_SAVED, g->control),
                          "MPI_Send of a shard's list");
    mu_buf_release(&message);
    return status;
}

mu_status_t mu_saver_save(mu_saver_t *s, const mu_train_command_t *command)
{
    char *dir = mu_path_join(s->checkpoints, command->name);
    mu_shard_t shard = {.slices = NULL};
    int64_t began = mu_now_ns();
    mu_page_phase(s->run->page, MU_PHASE_SAVE);
    mu_status_t status = lay_out(s);
    mu_shard_plan_t plan = mu_saver_plan(s, dir, command->step);
    if (status != MU_OK) {
        /* the controller hears of it below */
    } else if (command->background) {
        status = mu_background_save_begin(&s->background, &plan);
        s->background_step = command->step;
        s->copying_ns += mu_now_ns() - began;
    } else {
        status = mu_shard_write(&plan, &shard);
    }
    if (!command->background || status != MU_OK)
        status = send_saved(s, command->step, status, &shard, (double)(mu_now_ns() - began) * 1e-9);
    free(dir);
    return status;
}

void mu_saver_hold(mu_saver_t *s)
{
    if (!s->background.active || s->background.held)
        return;
    int64_t began = mu_now_ns();
    mu_background_save_hold(&s->background);
    s->copying_ns += mu_now_ns() - began;
}

void mu_saver_give_up(mu_saver_t *s)
{
    mu_background_save_give_up(&s->background);
}

mu_status_t mu_saver_look(mu_saver_t *s)
{
    mu_shard_t shard;
    if (!mu_background_save_done(&s->background))
        return MU_OK;
    mu_status_t status = mu_background_save_take(&s->background, &shard);
    return send_saved(s, s->background_step, status, &shard, s->background.seconds);
}

mu_status_t mu_saver_flush(mu_saver_t *s)
{
    uint64_t seen = 0;
    if (!s->background.active)
        return MU_OK;
    mu_page_phase(s->run->page, MU_PHASE_SAVE);
    while (!mu_background_save_done(&s->background)) {
        uint64_t written = mu_background_save_written(&s->background);
        if (written != seen)
            mu_page_progress(s->run->page);
        seen = written;
        mu_sleep_ms(1);
    }
    return mu_saver_look(s);
}

double mu_saver_take_ms(mu_saver_t *s)
{
    double ms = (double)s->copying_ns * 1e-6;
    s->copying_ns = 0;
    return ms;
}

void mu_saver_release(mu_saver_t *s)
{
    if (!s->background.active)
        mu_background_save_release(&s->background);
    mu_shard_layout_free(s->layout);
    s->layout = NULL;
    free(s->checkpoints);
    s->checkpoints = NULL;
}
