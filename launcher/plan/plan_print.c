#include "launcher/plan/plan.h"
#include "common/log.h"
#include "common/num.h"

#include <jansson.h>

typedef char text_t[32];

static const char *bytes(int64_t n, text_t out)
{
    return mu_human_bytes((uint64_t)mu_max_i64(n, 0), out, sizeof(text_t));
}

static void write_memory(const mu_plan_t *p, mu_buf_t *out)
{
    text_t t[8];
    const mu_plan_memory_t *m = &p->memory;
    bool on = p->config->checkpoint_activations;
    mu_buf_addf(out, "memory       %s a worker (%s%s), with checkpoint_activations %s; %s with it %s\n",
                bytes(mu_plan_memory_total(m), t[0]), p->numbers, p->mixed ? ", fp32 masters" : "",
                on ? "on" : "off", bytes(p->memory_other, t[1]), on ? "off" : "on");
    mu_buf_addf(out,
                "             weights %s, gradients %s, optimizer %s, activations %s, loss %s, workspace %s",
                bytes(m->weights, t[0]), bytes(m->gradients, t[1]), bytes(m->optimizer, t[2]),
                bytes(m->activations, t[3]), bytes(m->loss, t[4]), bytes(m->workspace, t[5]));
    if (m->communication)
        mu_buf_addf(out, ", communication %s", bytes(m->communication, t[6]));
    mu_buf_addc(out, '\n');
    if (p->device_memory)
        mu_buf_addf(out, "device       %s: %s of its memory can be used: %s\n", p->device,
                    bytes(p->device_memory, t[7]), p->fits ? "fits" : "does not fit");
}

static void write_checkpoints(const mu_plan_t *p, mu_buf_t *out)
{
    text_t size, volume, room;
    int64_t keep = p->config->keep_last_n_checkpoints;
    mu_buf_addf(out, "checkpoints  %lld of %s each", (long long)p->checkpoints,
                bytes(p->checkpoint_bytes, size));
    if (keep > 0)
        mu_buf_addf(out, ", the last %lld kept", (long long)keep);
    if (p->volume_bytes)
        mu_buf_addf(out, "; %s of %s free in the volume of save: room for %lld", bytes(p->volume_free, room),
                    bytes(p->volume_bytes, volume), (long long)(p->volume_free / p->checkpoint_bytes));
    mu_buf_addc(out, '\n');
}

static void write_copy(const mu_plan_t *p, mu_buf_t *out)
{
    text_t size;
    bool on = p->config->muster.async_checkpoint == MU_CHOICE_ON;
    if (p->copy > 0)
        mu_buf_addf(out, "copy         %s of host memory a worker, with async_checkpoint %s\n",
                    bytes(p->copy, size), on ? "on" : "auto where hosts have twice as much available");
    if (p->copies > 0)
        mu_buf_addf(
            out,
            "copies       %s of host memory a worker, in /dev/shm, every %lld steps: two pieces on two "
            "hosts each\n",
            bytes(p->copies, size), (long long)p->config->muster.peer_checkpoint_factor);
    if (mu_account_interval_known(&p->account)) {
        mu_buf_adds(out, "interval     best ");
        mu_account_interval_text(&p->account, out);
        mu_buf_addc(out, '\n');
    }
}

static void write_time(const mu_plan_t *p, mu_buf_t *out)
{
    text_t step, total, first;
    mu_buf_addf(out, "compute      %.4g FLOPs a step, %.4g in all (model FLOPs, formula neox)\n",
                p->flops_a_step, p->flops_a_step * (double)mu_max_i64(0, p->train_iters - p->first_step));
    if (!p->card) {
        mu_buf_adds(out, "time         not known without --gpu NAME: muster run says it after some steps\n");
        return;
    }
    mu_buf_addf(out, "time         %s a step, %s in all, on %d x %s at %.4g %% of %.4g TFLOP/s (%s)\n",
                mu_human_seconds(p->step_seconds, step, sizeof step),
                mu_human_seconds(p->total_seconds, total, sizeof total), p->config->workers, p->card->name,
                100 * p->mfu, p->card->tflops, p->card->source);
    if (p->first_checkpoint > 0)
        mu_buf_addf(out, "             first checkpoint at step %lld, after %s\n",
                    (long long)p->first_checkpoint,
                    mu_human_seconds(p->step_seconds * (double)(p->first_checkpoint - p->first_step), first,
                                     sizeof first));
}

void mu_plan_write_text(const mu_plan_t *p, mu_buf_t *out)
{
    const mu_config_t *c = p->config;
    mu_buf_addf(out, "layout       tp %d x dp %d = %d workers, and a controller\n", c->tp, c->dp, c->workers);
    mu_buf_addf(out,
                "batch        %lld sequences = micro %lld x accumulation %lld x dp %d; %lld tokens a step\n",
                (long long)c->train_batch_size, (long long)c->micro_batch, (long long)c->accumulation, c->dp,
                (long long)p->tokens_a_step);
    mu_buf_addf(out, "model        %lld parameters, vocabulary %lld (%s)\n", (long long)p->parameters,
                (long long)c->model.vocab, p->vocab_from);
    if (p->trained < p->parameters)
        mu_buf_addf(out,
                    "adapters     %lld parameters of rank %lld are trained, the others stay as they are\n",
                    (long long)p->trained, (long long)c->model.lora.rank);
    mu_buf_addf(out, "steps        %lld to %lld", (long long)p->first_step, (long long)p->train_iters);
    if (p->data_tokens)
        mu_buf_addf(out, "; %.4g epochs of %lld training tokens\n", p->epochs, (long long)p->data_tokens);
    else
        mu_buf_adds(out, "; the data is not on this machine, so epochs are not known\n");
    write_memory(p, out);
    write_checkpoints(p, out);
    write_copy(p, out);
    write_time(p, out);
    mu_plan_scale_text(p, out);
}

static json_t *or_null(bool known, json_t *value)
{
    if (known)
        return value;
    json_decref(value);
    return json_null();
}

static json_t *warnings_json(const mu_plan_t *p)
{
    json_t *list = json_array();
    for (const char *line = p->warnings.data; line && *line;) {
        size_t n = strcspn(line, "\n");
        json_array_append_new(list, json_stringn(line, n));
        line += n + (line[n] != '\0');
    }
    return list;
}

static json_t *memory_json(const mu_plan_t *p)
{
    const mu_plan_memory_t *m = &p->memory;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:b}", "total",
                     (json_int_t)mu_plan_memory_total(m), "weights", (json_int_t)m->weights, "gradients",
                     (json_int_t)m->gradients, "optimizer", (json_int_t)m->optimizer, "activations",
                     (json_int_t)m->activations, "loss", (json_int_t)m->loss, "workspace",
                     (json_int_t)m->workspace, "communication", (json_int_t)m->communication,
                     p->config->checkpoint_activations ? "total_without_checkpoint_activations"
                                                       : "total_with_checkpoint_activations",
                     (json_int_t)p->memory_other, "device",
                     or_null(p->device_memory > 0, json_integer(p->device_memory)), "fits", p->fits);
}

mu_status_t mu_plan_write_json(const mu_plan_t *p, mu_buf_t *out)
{
    const mu_config_t *c = p->config;
    json_t *checkpoints =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "bytes", (json_int_t)p->checkpoint_bytes,
                  "copy", (json_int_t)p->copy, "copies", (json_int_t)p->copies, "count",
                  (json_int_t)p->checkpoints, "keep", (json_int_t)c->keep_last_n_checkpoints, "first_step",
                  or_null(p->first_checkpoint > 0, json_integer(p->first_checkpoint)), "volume_free",
                  or_null(p->volume_bytes > 0, json_integer(p->volume_free)), "interval_seconds",
                  or_null(mu_account_interval(&p->account) > 0, json_real(mu_account_interval(&p->account))));
    json_t *compute =
        json_pack("{s:s, s:f, s:o, s:o, s:o, s:o}", "formula", "neox", "flops_per_step", p->flops_a_step,
                  "card", or_null(p->card != NULL, json_string(p->card ? p->card->name : "")), "mfu",
                  or_null(p->card != NULL, json_real(p->mfu)), "step_seconds",
                  or_null(p->card != NULL, json_real(p->step_seconds)), "total_seconds",
                  or_null(p->card != NULL, json_real(p->total_seconds)));
    json_t *root = json_pack(
        "{s:{s:i, s:i, s:i}, s:{s:I, s:I, s:I, s:I}, s:I, s:I, s:I, s:s, s:I, s:I, s:o, s:s, s:s, s:o, "
        "s:o, s:o, s:o, s:o}",
        "layout", "tp", c->tp, "dp", c->dp, "workers", c->workers, "batch", "sequences",
        (json_int_t)c->train_batch_size, "micro", (json_int_t)c->micro_batch, "accumulation",
        (json_int_t)c->accumulation, "tokens", (json_int_t)p->tokens_a_step, "parameters",
        (json_int_t)p->parameters, "trained_parameters", (json_int_t)p->trained, "vocab",
        (json_int_t)c->model.vocab, "vocab_from", p->vocab_from, "first_step", (json_int_t)p->first_step,
        "train_iters", (json_int_t)p->train_iters, "epochs",
        or_null(p->data_tokens > 0, json_real(p->epochs)), "device", p->device, "precision", p->numbers,
        "memory", memory_json(p), "checkpoints", checkpoints, "compute", compute, "scale",
        mu_plan_scale_json(p), "warnings", warnings_json(p));
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (!text)
        return mu_fail(MU_DATA, "plan: a path in the config is not UTF-8, so it cannot be written as JSON");
    mu_buf_adds(out, text);
    mu_buf_addc(out, '\n');
    free(text);
    return MU_OK;
}
