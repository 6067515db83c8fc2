/* The manifest's text. docs/format-checkpoint.md describes each member. */
#include "common/checkpoint/manifest.h"
#include "common/log.h"

#include <jansson.h>
#include <math.h>

void mu_checkpoint_info_release(mu_checkpoint_info_t *info)
{
    free(info->run_id);
    free(info->schedule.style);
    free(info->environment.device);
    free(info->environment.instruction_set);
    free(info->environment.libraries);
    free(info->config);
    free(info->data_version);
    free(info->tokenizer_digest);
    free(info->companions);
    free(info->base_path);
    free(info->base_digest);
    free(info->lineage);
    memset(info, 0, sizeof *info);
}

void mu_manifest_release(mu_manifest_t *manifest)
{
    mu_checkpoint_info_release(&manifest->info);
    free(manifest->written_by);
    free(manifest->tensors);
    for (int i = 0; i < manifest->shard_count; i++)
        mu_shard_release(&manifest->shards[i]);
    free(manifest->shards);
    memset(manifest, 0, sizeof *manifest);
}

bool mu_manifest_name_ok(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strlen(name);
    return n > 0 && n < MU_SHARD_NAME && name[0] != '.' && strspn(name, allowed) == n;
}

/* "key":"text", or null; a comma in front unless it is an object's first member. */
static void put_text(mu_buf_t *out, bool *ok, const char *key, const char *text)
{
    json_t *value = text ? json_string(text) : json_null();
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    *ok = *ok && quoted;
    mu_buf_addf(out, "%s\"%s\":%s", out->data[out->len - 1] == '{' ? "" : ",", key, quoted ? quoted : "null");
    free(quoted);
    json_decref(value);
}

static void put_i64(mu_buf_t *out, const char *key, int64_t value)
{
    mu_buf_addf(out, "%s\"%s\":%lld", out->data[out->len - 1] == '{' ? "" : ",", key, (long long)value);
}

/* 17 significant digits bring every double back; JSON knows no infinity, and null says "none" */
static void put_f64(mu_buf_t *out, const char *key, double value)
{
    mu_buf_addf(out, ",\"%s\":", key);
    if (isfinite(value))
        mu_buf_addf(out, "%.17g", value);
    else
        mu_buf_adds(out, "null");
}

void mu_shard_release(mu_shard_t *shard)
{
    free(shard->slices);
    *shard = (mu_shard_t){.slices = NULL};
}

void mu_shard_pack(const mu_shard_t *shard, mu_buf_t *out)
{
    mu_buf_addf(out, "{\"name\":\"%s\",\"size\":%llu,\"frame\":\"%s\",\"slices\":[", shard->name,
                (unsigned long long)shard->size, shard->frame);
    for (int i = 0; i < shard->count; i++) {
        const mu_stored_t *s = &shard->slices[i];
        mu_buf_addf(out, "%s\n[%d,%d,%lld,%lld,%lld,%lld,%llu,\"%s\"]", i ? "," : "", s->slice.tensor,
                    (int)s->slice.state, (long long)s->slice.offset[0], (long long)s->slice.offset[1],
                    (long long)s->slice.count[0], (long long)s->slice.count[1], (unsigned long long)s->at,
                    s->digest);
    }
    mu_buf_adds(out, "]}");
}

static void put_loss_scale(mu_buf_t *out, const mu_loss_scale_t *s)
{
    mu_buf_adds(out, ",\n\"loss_scale\":{");
    put_i64(out, "clean", s->clean);
    put_i64(out, "skipped", s->skipped);
    put_i64(out, "hysteresis", s->hysteresis);
    put_i64(out, "in_a_row", s->in_a_row);
    put_f64(out, "scale", s->scale);
    mu_buf_addc(out, '}');
}

/* ,"key":value of the lineage where it has one */
static void put_member(mu_buf_t *out, bool *ok, const json_t *lineage, const char *key)
{
    const json_t *value = json_object_get(lineage, key);
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    *ok = *ok && (text || !value);
    if (text)
        mu_buf_addf(out, ",\n\"%s\":%s", key, text);
    free(text);
}

/* The data set's path and inputs go on in the object `data`, whose own members come first. */
static void put_data(mu_buf_t *out, bool *ok, const mu_checkpoint_info_t *info, const json_t *lineage)
{
    static const char *const members[] = {"path", "split", "inputs", "files", "inputs_digest", "parts"};
    const json_t *data = json_object_get(lineage, "data");
    mu_buf_adds(out, "\"data\":{");
    put_text(out, ok, "version", info->data_version);
    put_text(out, ok, "tokenizer_digest", info->tokenizer_digest);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        put_member(out, ok, data, members[i]);
    mu_buf_adds(out, "}");
}

static void put_lineage(mu_buf_t *out, bool *ok, const json_t *lineage)
{
    static const char *const members[] = {"source", "image", "inputs", "name", "parent"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        put_member(out, ok, lineage, members[i]);
}

static void put_info(mu_buf_t *out, bool *ok, const mu_checkpoint_info_t *info)
{
    json_t *lineage = info->lineage ? json_loads(info->lineage, 0, NULL) : NULL;
    *ok = *ok && (lineage || !info->lineage);
    put_text(out, ok, "run_id", info->run_id);
    put_i64(out, "attempt", info->attempt);
    put_i64(out, "step", info->step);
    put_i64(out, "optimizer_step", info->optimizer_step);
    put_i64(out, "samples", info->samples);
    put_i64(out, "tokens", info->tokens);
    put_i64(out, "order_train", info->order_samples[0]);
    put_i64(out, "order_valid", info->order_samples[1]);
    put_i64(out, "parent_step", info->parent_step);
    put_i64(out, "seed", info->seed);
    put_f64(out, "time", info->time);
    put_f64(out, "loss", info->loss);
    put_f64(out, "valid_loss", info->valid_loss);
    if (info->companions)
        put_text(out, ok, "companions", info->companions);
    if (info->base_digest) {
        mu_buf_adds(out, ",\n\"base\":{");
        put_text(out, ok, "path", info->base_path);
        put_text(out, ok, "digest", info->base_digest);
        mu_buf_addc(out, '}');
    }
    if (info->loss_scale.scale > 0 || info->loss_scale.skipped > 0)
        put_loss_scale(out, &info->loss_scale);
    mu_buf_adds(out, ",\n\"layout\":{");
    put_i64(out, "tp", info->tp);
    put_i64(out, "dp", info->dp);
    mu_buf_adds(out, "},\n\"schedule\":{");
    put_text(out, ok, "style", info->schedule.style);
    put_f64(out, "lr", info->schedule.lr);
    put_f64(out, "min_lr", info->schedule.min_lr);
    put_f64(out, "warmup", info->schedule.warmup);
    put_f64(out, "decay_fraction", info->schedule.decay_fraction);
    put_i64(out, "decay_iters", info->schedule.decay_iters);
    put_i64(out, "train_iters", info->schedule.train_iters);
    mu_buf_adds(out, "},\n\"environment\":{");
    put_i64(out, "threads", info->environment.threads);
    put_text(out, ok, "device", info->environment.device);
    put_text(out, ok, "instruction_set", info->environment.instruction_set);
    put_text(out, ok, "libraries", info->environment.libraries);
    mu_buf_adds(out, "},\n");
    put_data(out, ok, info, lineage);
    put_text(out, ok, "config", info->config);
    put_lineage(out, ok, lineage);
    json_decref(lineage);
}

mu_status_t mu_manifest_write(const mu_manifest_t *m, mu_buf_t *out)
{
    bool ok = true;
    size_t start = out->len;
    mu_buf_addf(out, MU_MANIFEST_START "%d", MU_MANIFEST_VERSION);
    put_text(out, &ok, "written_by", m->written_by);
    mu_buf_addc(out, '\n');
    put_info(out, &ok, &m->info);
    mu_buf_addf(out, ",\n\"states\":%d,\n\"tensors\":[", m->optimizer ? MU_STATE_COUNT : 1);
    for (int i = 0; i < m->tensor_count; i++) {
        const mu_manifest_tensor_t *t = &m->tensors[i];
        mu_buf_addf(out, "%s\n{\"name\":\"%s\",\"dtype\":\"float32\",\"shape\":[%lld", i ? "," : "", t->name,
                    (long long)t->shape[0]);
        if (t->dims == 2)
            mu_buf_addf(out, ",%lld", (long long)t->shape[1]);
        mu_buf_adds(out, "]}");
    }
    mu_buf_adds(out, "],\n\"files\":[");
    for (int i = 0; i < m->shard_count; i++) {
        mu_buf_adds(out, i ? ",\n" : "\n");
        mu_shard_pack(&m->shards[i], out);
    }
    mu_buf_addc(out, ']');
    if (!ok)
        return mu_fail(MU_BUG, "manifest: a text in it is not UTF-8");
    char digest[MU_DIGEST_HEX];
    mu_digest_bytes(out->data + start, out->len - start, digest);
    mu_buf_addf(out, MU_MANIFEST_END, digest);
    return MU_OK;
}
