#include "launcher/plan/plan.h"
#include "launcher/plan/start_check.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "common/run/rundir.h"
#include "dataset/store/dataset.h"
#include "dataset/order/order.h"
#include "dataset/tokenizer/tokenizer.h"
#include "common/checkpoint/adapter.h"
#include "common/checkpoint/checkpoint_reader.h"
#include "common/checkpoint/reference.h"

#include <errno.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The ids of GPT-NeoX's own tokenizer, which its public configs name. */
enum { NEOX_VOCAB = 50277 };

/* What the start rule would take: the run's own newest checkpoint, else `load`. */
static mu_status_t find_start(const mu_config_t *c, mu_checkpoint_t **out, bool *own)
{
    *out = NULL;
    *own = false;
    if (c->save && mu_is_dir(c->save)) {
        char *dir = mu_path_join(c->save, "checkpoints");
        mu_status_t status = mu_is_dir(dir) ? mu_checkpoint_newest(dir, INT64_MAX, out) : MU_OK;
        free(dir);
        MU_TRY(status);
    }
    *own = *out != NULL;
    if (!*out && c->load && mu_reference_here(c->load))
        return mu_checkpoint_newest(c->load, INT64_MAX, out);
    return MU_OK;
}

static mu_status_t take_start(mu_plan_t *plan)
{
    mu_config_t *c = plan->config;
    mu_checkpoint_t *checkpoint;
    bool own;
    MU_TRY(find_start(c, &checkpoint, &own));
    if (!checkpoint)
        return MU_OK;
    const mu_manifest_t *m = mu_checkpoint_manifest(checkpoint);
    bool adapter = mu_checkpoint_is_adapter(checkpoint), adapts = c->model.lora.rank > 0;
    mu_checkpoint_t *base = NULL;
    mu_status_t status = MU_OK;
    if (adapter && adapts)
        status = mu_adapter_base(checkpoint, c->muster.lora_base, &base);
    if (status == MU_OK && mu_checkpoint_vocab(base ? base : checkpoint, &c->model.vocab) == MU_OK)
        plan->vocab_from = "the checkpoint";
    plan->first_step = (own || !c->finetune) && adapter == adapts ? m->info.step : 0;
    mu_checkpoint_close(base);
    mu_checkpoint_close(checkpoint);
    return status;
}

static bool readable(const char *path)
{
    return path && access(path, R_OK) == 0;
}

/* The tokenizer of prepared data in a list; "" when the first path has none. free() it. */
static char *listed_tokenizer(const mu_config_t *c)
{
    char *path = c->train_data_paths && c->train_data_paths[0]
                     ? mu_path_join(c->train_data_paths[0], "tokenizer.json")
                     : mu_strdup("");
    if (!readable(path))
        path[0] = '\0';
    return path;
}

/* As the controller settles it, with a last resort of our own that is said. */
static mu_status_t take_vocab(mu_plan_t *plan, const mu_dataset_t *data)
{
    mu_config_t *c = plan->config;
    char *listed = listed_tokenizer(c);
    const char *own = data ? mu_dataset_tokenizer_path(data) : listed[0] ? listed : NULL;
    int64_t ids = data ? mu_dataset_vocab(data) : 0;
    mu_tokenizer_t *tok;
    mu_status_t status = MU_OK;
    if (own || readable(c->vocab_file)) {
        status =
            own ? mu_tokenizer_load(own, &tok) : mu_tokenizer_load_files(c->vocab_file, c->merge_file, &tok);
        if (status == MU_OK) {
            ids = mu_max_i64(ids, mu_tokenizer_vocab(tok));
            mu_tokenizer_free(tok);
        }
    }
    free(listed);
    MU_TRY(status);
    if (plan->vocab_from && (ids <= c->model.vocab || !c->finetune)) /* the checkpoint's */
        return MU_OK;
    plan->vocab_from = ids ? "the tokenizer" : c->padded_vocab_size ? "padded_vocab_size" : "assumed";
    if (!ids && c->padded_vocab_size) {
        c->model.vocab = c->padded_vocab_size;
        return MU_OK;
    }
    return mu_config_padded_vocab(c, ids ? ids : NEOX_VOCAB, &c->model.vocab);
}

/* Workers when --workers is not given: what batch, micro batch and accumulation say together, else one
 * replica. */
static int64_t implied_workers(const mu_config_t *c)
{
    int64_t one = c->micro_batch * c->accumulation;
    int64_t dp = c->train_batch_size && one && mu_config_given(c, "train_batch_size") &&
                         mu_config_given(c, "gradient_accumulation_steps")
                     ? c->train_batch_size / one
                     : 1;
    return c->tp * mu_max_i64(dp, 1);
}

static mu_status_t fit(mu_plan_t *plan, int64_t asked)
{
    mu_world_t world = {.device_has_fp16 = plan->gpu};
    MU_TRY(mu_config_resolve(plan->config, &world));
    world.workers = (int)(asked ? asked : implied_workers(plan->config));
    MU_TRY(mu_config_resolve(plan->config, &world));
    plan->idle_workers = world.workers - plan->config->workers;
    return MU_OK;
}

static void measure_memory(mu_plan_t *plan, const mu_plan_query_t *query)
{
    const mu_config_t *c = plan->config;
    mu_plan_memory_t other;
    mu_plan_shape_t shape = {.tp = c->tp,
                             .shards = c->zero_stage == 1 ? c->dp : 1,
                             .micro_batch = c->micro_batch,
                             .checkpoint_activations = c->checkpoint_activations,
                             .mixed = plan->mixed,
                             .gpu = plan->gpu,
                             .cudnn = c->muster.attention == MU_ATTENTION_CUDNN};
    mu_plan_memory(&c->model, &shape, &plan->memory);
    shape.checkpoint_activations = !shape.checkpoint_activations;
    mu_plan_memory(&c->model, &shape, &other);
    plan->memory_other = mu_plan_memory_total(&other);
    double bytes = query->device_memory  ? (double)query->device_memory
                   : query->card != NULL ? query->card->gib * 0x1p30
                                         : 0;
    plan->device_memory = (int64_t)(bytes * MU_PLAN_USABLE);
    if (c->muster.async_checkpoint != MU_CHOICE_OFF)
        plan->copy = mu_model_parameters(&c->model) * (c->no_save_optim ? 4 : 12) / c->workers;
    /* on CPUs a copy is memory of the same kind; with auto there is none where it does not fit */
    if (c->muster.peer_checkpoint && c->dp > 1)
        plan->copies = MU_PLAN_COPIES * mu_model_trained_parameters(&c->model) * (c->no_save_optim ? 4 : 12) /
                       c->workers;
    int64_t copy = !plan->gpu && c->muster.async_checkpoint == MU_CHOICE_ON ? plan->copy : 0;
    int64_t copies = plan->gpu ? 0 : plan->copies;
    plan->fits = bytes <= 0 || mu_plan_memory_total(&plan->memory) + copy + copies <= plan->device_memory;
}

static void measure_data(mu_plan_t *plan, const mu_dataset_t *data)
{
    const mu_config_t *c = plan->config;
    int64_t s = c->model.seq_length;
    plan->tokens_a_step = c->train_batch_size * s;
    plan->train_iters = c->train_iters;
    plan->data_tokens = data ? mu_dataset_tokens(data, MU_TRAIN) : 0;
    if (!plan->train_iters && data)
        plan->train_iters = mu_order_epoch_samples(data, MU_TRAIN, s, c->train_epochs) / c->train_batch_size;
    if (plan->data_tokens > 0)
        plan->epochs = (double)plan->train_iters * (double)plan->tokens_a_step / (double)plan->data_tokens;
}

/* How many checkpoints the steps from first_step on write, and which step writes the first. */
static void count_checkpoints(mu_plan_t *plan)
{
    const mu_config_t *c = plan->config;
    int64_t from = plan->first_step, end = plan->train_iters, f = c->checkpoint_factor, n = 0, first = end;
    if (end <= from)
        return;
    if (c->checkpoint_scale_log) {
        for (double p = 1; f > 1 && p < (double)end; p *= (double)f)
            if ((int64_t)p > from) {
                first = mu_min_i64(first, (int64_t)p);
                n++;
            }
    } else if (f > 0) {
        n = (end - 1) / f - from / f; /* the last step is counted below */
        first = mu_min_i64(first, (from / f + 1) * f);
    }
    for (int i = 0; i < c->extra_save_count; i++) {
        int64_t at = c->extra_save_iters[i];
        if (at == 0 && from == 0) /* written before the first step: no step is safer by it */
            n++;
        if (at <= from || at >= end || (!c->checkpoint_scale_log && f > 0 && at % f == 0))
            continue;
        n++;
        first = mu_min_i64(first, at);
    }
    plan->checkpoints = n + 1; /* the end always writes one */
    plan->first_checkpoint = first;
}

/* The volume of the nearest directory above `path` that is there, `/` left out: a path whose first name is
 * unknown here belongs to another machine. */
static void measure_volume(mu_plan_t *plan, const char *path)
{
    struct statvfs v;
    char *at = mu_strdup(path);
    while (statvfs(at, &v) != 0) {
        char *slash = strrchr(at, '/');
        if (slash == at || errno != ENOENT || strcmp(at, ".") == 0) {
            free(at);
            return;
        }
        if (slash)
            *slash = '\0';
        else
            memcpy(at, ".", 2);
    }
    free(at);
    plan->volume_bytes = (int64_t)(v.f_blocks * v.f_frsize);
    plan->volume_free = (int64_t)(v.f_bavail * v.f_frsize);
}

/* What the run has met so far, for the interval of its checkpoints. */
static void take_account(mu_plan_t *plan, const char *dir)
{
    char *path = mu_path_join(dir, "run.json");
    mu_run_state_t state;
    if (mu_is_file(path) && mu_run_state_read(dir, &state) == MU_OK)
        plan->account = state.account;
    free(path);
}

static void measure_time(mu_plan_t *plan)
{
    const mu_config_t *c = plan->config;
    plan->flops_a_step = mu_model_flops_per_token(&c->model) * (double)plan->tokens_a_step;
    if (!plan->card)
        return;
    plan->step_seconds = plan->flops_a_step / (plan->card->tflops * 1e12 * plan->mfu * c->workers);
    plan->total_seconds = plan->step_seconds * (double)mu_max_i64(0, plan->train_iters - plan->first_step);
}

static mu_status_t take_scale(mu_plan_t *plan, const mu_scale_figures_t *figures)
{
    plan->scale = *figures;
    plan->scale.tp = plan->config->tp;
    plan->scale.bytes = (double)plan->memory.gradients;
    if (plan->scale.step <= 0)
        plan->scale.step = plan->step_seconds;
    return plan->scale.step > 0
               ? MU_OK
               : mu_fail(MU_USAGE, "plan: --scale needs the seconds of a step: --step-seconds as "
                                   "measured, or --gpu");
}

mu_status_t mu_plan_make(const mu_plan_query_t *query, mu_plan_t *out)
{
    mu_plan_t plan = {.card = query->card, .mfu = query->mfu, .notes = MU_BUF_INIT, .warnings = MU_BUF_INIT};
    mu_dataset_t *data = NULL;
    mu_status_t status;
    MU_TRY_GOTO(
        status,
        mu_config_load(query->files, query->nfiles, query->overrides, query->noverrides, &plan.config), out);
    mu_config_t *c = plan.config;
    plan.gpu = c->muster.device != MU_DEVICE_CPU &&
               (query->card || query->device_memory || c->muster.device == MU_DEVICE_CUDA);
    plan.device = !plan.gpu ? "cpu" : query->card ? query->card->name : "device";
    if (query->card && !plan.gpu) {
        status = mu_fail(MU_CONFIG, "%s: muster.device is cpu: leave --gpu out, or add muster.device=cuda",
                         mu_config_origin(c, "muster.device"));
        goto out;
    }
    plan.mixed = c->precision != MU_FP32;
    plan.numbers = !plan.mixed ? "fp32" : plan.gpu && c->precision == MU_FP16 ? "fp16" : "bf16";
    MU_TRY_GOTO(status, take_start(&plan), out);
    if (c->data_path && mu_dataset_exists(c->data_path)) {
        mu_dataset_options_t options = {.split = c->split};
        MU_TRY_GOTO(status, mu_dataset_open(c->data_path, &options, &data), out);
    }
    MU_TRY_GOTO(status, take_vocab(&plan, data), out);
    MU_TRY_GOTO(status, fit(&plan, query->workers), out);
    if (!query->untrained)
        MU_TRY_GOTO(status, mu_start_check(&(mu_start_question_t){.config = c}, &plan.notes), out);
    measure_memory(&plan, query);
    measure_data(&plan, data);
    plan.parameters = mu_model_parameters(&c->model);
    plan.trained = mu_model_trained_parameters(&c->model);
    plan.checkpoint_bytes = plan.trained * (c->no_save_optim ? 4 : 12);
    count_checkpoints(&plan);
    if (c->save && *c->save) {
        measure_volume(&plan, c->save);
        take_account(&plan, c->save);
    }
    measure_time(&plan);
    if (query->scale)
        MU_TRY_GOTO(status, take_scale(&plan, query->scale), out);
    mu_plan_warn(&plan);
    *out = plan;
    memset(&plan, 0, sizeof plan);
out:
    mu_dataset_close(data);
    mu_plan_free(&plan);
    return status;
}

void mu_plan_free(mu_plan_t *plan)
{
    mu_config_free(plan->config);
    mu_buf_release(&plan->notes);
    mu_buf_release(&plan->warnings);
}
