/* What a person would want to know before the run starts. */
#include "launcher/plan/plan.h"
#include "common/num.h"

#include <sys/vfs.h>

static const double days = 86400, hours = 3600;

const char *mu_human_seconds(double s, char *out, size_t size)
{
    if (s < 1)
        snprintf(out, size, "%.0f ms", s * 1000);
    else if (s < 120)
        snprintf(out, size, "%.3g s", s);
    else if (s < 2 * hours)
        snprintf(out, size, "%.3g min", s / 60);
    else if (s < 2 * days)
        snprintf(out, size, "%.3g h", s / hours);
    else
        snprintf(out, size, "%.0f days", s / days);
    return out;
}

static void warn_start(mu_plan_t *plan)
{
    const mu_config_t *c = plan->config;
    if (plan->train_iters > 0 && plan->first_step >= plan->train_iters)
        mu_buf_addf(
            &plan->warnings,
            "no step would be done: the checkpoint has done %lld and train_iters is %lld: for its weights "
            "alone set finetune: true, to go on raise train_iters\n",
            (long long)plan->first_step, (long long)plan->train_iters);
    else if (!c->finetune && plan->first_step == 0 && c->model.lora.rank == 0 &&
             mu_config_load_of(c, NULL) == MU_LOAD_OTHER)
        mu_buf_addf(
            &plan->warnings,
            "load '%s' is not on this machine and finetune is not set: the run goes on at the step of that "
            "checkpoint. To take its weights alone, and begin at step 0, set finetune: true\n",
            c->load);
    if (strcmp(plan->vocab_from, "assumed") == 0)
        mu_buf_addf(&plan->warnings,
                    "neither data nor tokenizer is on this machine: the vocabulary of %lld rows is that of "
                    "GPT-NeoX's tokenizer: give vocab_file or padded_vocab_size for another\n",
                    (long long)c->model.vocab);
    if (plan->idle_workers > 0)
        mu_buf_addf(&plan->warnings, "%lld of %lld workers would stay idle\n", (long long)plan->idle_workers,
                    (long long)(c->workers + plan->idle_workers));
}

static void warn_time(mu_plan_t *plan)
{
    char a[32];
    double first = plan->step_seconds * (double)(plan->first_checkpoint - plan->first_step);
    if (plan->total_seconds > 30 * days)
        mu_buf_addf(&plan->warnings,
                    "the run would take %s: train_iters %lld is meant for more workers, or for training from "
                    "the beginning\n",
                    mu_human_seconds(plan->total_seconds, a, sizeof a), (long long)plan->train_iters);
    if (plan->first_checkpoint > 0 && first > 4 * hours)
        mu_buf_addf(&plan->warnings,
                    "the first checkpoint comes after %s; whatever stops the run before loses all of it: "
                    "lower checkpoint_factor\n",
                    mu_human_seconds(first, a, sizeof a));
    if (plan->epochs > 40)
        mu_buf_addf(&plan->warnings, "the run reads its %lld training tokens %.0f times over\n",
                    (long long)plan->data_tokens, plan->epochs);
}

/* A new checkpoint is whole before an old one goes. */
static void warn_volume(mu_plan_t *plan)
{
    const mu_config_t *c = plan->config;
    int64_t keep = c->keep_last_n_checkpoints, size = plan->checkpoint_bytes;
    int64_t most = keep > 0 ? mu_min_i64(keep + 1, plan->checkpoints) : plan->checkpoints;
    if (plan->volume_bytes > 0 && most > 0 && plan->volume_free / size < most)
        mu_buf_addf(&plan->warnings,
                    "the volume of save '%s' is full at checkpoint %lld of %lld%s: free space, or set "
                    "keep_last_n_checkpoints to what fits\n",
                    c->save, (long long)(plan->volume_free / size + 1), (long long)plan->checkpoints,
                    keep > 0 ? " (one more than kept is needed while it is written)" : "");
    else if (plan->volume_bytes == 0 && keep == 0 && plan->checkpoints > 1) {
        char a[32];
        mu_buf_addf(&plan->warnings,
                    "all %lld checkpoints are kept, %s together, and %s: set keep_last_n_checkpoints\n",
                    (long long)plan->checkpoints,
                    mu_human_bytes((uint64_t)plan->checkpoints * (uint64_t)size, a, sizeof a),
                    c->save ? "the volume of save is not on this machine"
                            : "where they will lie is not known");
    }
}

/* The first name of an absolute path, with its slashes: "/mnt/" of "/mnt/data/logs". */
static size_t mount_of(const char *path)
{
    return path[0] == '/' ? 1 + strcspn(path + 1, "/") : 0;
}

static void warn_places(mu_plan_t *plan)
{
    enum { TMPFS = 0x01021994, OVERLAY = 0x794c7630, RAMFS = (int)0x858458f6 };
    const mu_config_t *c = plan->config;
    struct statfs fs;
    if (!c->save) {
        mu_buf_adds(&plan->warnings, "save is not set: muster run needs --run-dir\n");
        return;
    }
    if (statfs(c->save, &fs) == 0 &&
        ((int)fs.f_type == TMPFS || (int)fs.f_type == RAMFS || (int)fs.f_type == OVERLAY))
        mu_buf_addf(
            &plan->warnings,
            "save '%s' lies %s: what the run writes, logs included, goes with it: name a mounted volume\n",
            c->save, (int)fs.f_type == OVERLAY ? "in a container's own layer" : "in memory");
    const char *other = c->data_path ? c->data_path : c->load;
    size_t n = mount_of(c->save);
    if (mu_config_given(c, "log_dir"))
        mu_buf_addf(&plan->warnings, "log_dir (%s) has no effect: logs are written under save, '%s'\n",
                    mu_config_origin(c, "log_dir"), c->save);
    if (n == 0 && other && other[0] == '/')
        mu_buf_addf(&plan->warnings,
                    "save '%s' is relative to where muster starts, while '%s' is absolute: on several hosts "
                    "name a shared volume\n",
                    c->save, other);
}

static void warn_memory(mu_plan_t *plan)
{
    char a[32], b[32], o[32];
    int64_t total = mu_plan_memory_total(&plan->memory);
    bool off = !plan->config->checkpoint_activations;
    if (plan->fits)
        return;
    mu_buf_addf(&plan->warnings, "a worker needs %s and has %s of its device",
                mu_human_bytes((uint64_t)total, a, sizeof a),
                mu_human_bytes((uint64_t)plan->device_memory, b, sizeof b));
    if (off && plan->memory_other <= plan->device_memory)
        mu_buf_addf(&plan->warnings, ": checkpoint_activations: true needs %s",
                    mu_human_bytes((uint64_t)plan->memory_other, o, sizeof o));
    else
        mu_buf_adds(&plan->warnings, ": raise model_parallel_size or lower train_micro_batch_size_per_gpu");
    mu_buf_addc(&plan->warnings, '\n');
}

void mu_plan_warn(mu_plan_t *plan)
{
    warn_memory(plan);
    warn_start(plan);
    warn_time(plan);
    warn_volume(plan);
    warn_places(plan);
}
