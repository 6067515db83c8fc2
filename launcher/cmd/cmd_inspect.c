#include "launcher/cmd/cmd.h"
#include "common/file.h"
#include "common/log.h"
#include "common/meter.h"
#include "common/num.h"
#include "common/ready_text.h"
#include "dataset/store/dataset.h"
#include "launcher/cmd/lineage.h"
#include "common/checkpoint/reference.h"
#include "common/checkpoint/checkpoint_reader.h"

#include <jansson.h>
#include <math.h>

typedef struct request {
    mu_words_t paths;
    const char *path; /* the only one, resolved */
    bool verify, json, lineage;
    int64_t vocab; /* 0: not given */
} request_t;

static const mu_option_t inspect_options[] = {
    MU_OPT("PATH", NULL, MU_OPTION_OPERANDS, offsetof(request_t, paths),
           "a checkpoint (step-00000100), a directory of checkpoints, a run directory, RUN@best, RUN@STEP, a "
           "prepared data "
           "set, or the prefix of a .bin/.idx pair; with --lineage also an exported directory",
           .required = true, .most = 1),
    MU_OPT("--lineage", NULL, MU_OPTION_FLAG, offsetof(request_t, lineage),
           "the tree of what it was made from: config, source revision, image, data, inputs, parent models; "
           "with --verify each "
           "node that can be reached is compared with its digest", ),
    MU_OPT("--verify", NULL, MU_OPTION_FLAG, offsetof(request_t, verify),
           "read every byte and compare every digest; without it manifests, sizes and headers are checked", ),
    MU_OPT("--vocab-size", "N", MU_OPTION_INT, offsetof(request_t, vocab),
           "of a data set: with --verify every id must be below N", .min = 1, .max = INT32_MAX),
    MU_OPT("--json", NULL, MU_OPTION_FLAG, offsetof(request_t, json),
           "print one JSON object with a member kind: checkpoint, run or dataset", ),
    MU_OPT_END};

const mu_command_t mu_inspect_command = {
    .name = "inspect",
    .summary = "what a checkpoint, a run or a data set holds; is it whole?",
    .about = "Says what a checkpoint, a run directory or a prepared data set holds, and whether it is whole.",
    .options = inspect_options,
    .exits = "0 whole; 2 bad command line; 65 damaged (what, where), or changed along a lineage; 66 nothing "
             "there that muster knows; 86 "
             "a run whose "
             "checkpoints are all damaged"};

/* Prints and frees. Names come from file names, which need not be UTF-8: such a one is no JSON. */
static mu_status_t print_json(json_t *root)
{
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (!text)
        return mu_fail(MU_DATA,
                       "inspect: a name in the answer is not UTF-8, so it cannot be written as JSON");
    puts(text);
    free(text);
    return MU_OK;
}

static json_t *json_f64(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static const char *when(double seconds, char out[32])
{
    time_t t = isfinite(seconds) ? (time_t)seconds : 0;
    struct tm parts;
    if (!gmtime_r(&t, &parts) || strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
        snprintf(out, 32, "at an unknown time");
    return out;
}

static const char *text_or(const char *text, const char *other)
{
    return text ? text : other;
}

static int64_t parameters_of(const mu_manifest_t *m)
{
    int64_t n = 0;
    for (int i = 0; i < m->tensor_count; i++)
        n += m->tensors[i].shape[0] * m->tensors[i].shape[1];
    return n;
}

/* A text of a manifest, which anybody may have written. */
static void put_after(const char *before, const char *text)
{
    fputs(before, stdout);
    mu_text_put(text, stdout);
}

static void print_checkpoint(const mu_manifest_t *m, uint64_t bytes)
{
    const mu_checkpoint_info_t *info = &m->info;
    char time[32], size[32];
    printf("step         %lld", (long long)info->step);
    put_after(" of run ", info->run_id);
    printf(", attempt %d, saved %s", info->attempt, when(info->time, time));
    put_after(" by ", text_or(m->written_by, "?"));
    putchar('\n');
    printf("consumed     %lld samples, %lld tokens; seed %lld\n", (long long)info->samples,
           (long long)info->tokens, (long long)info->seed);
    if (isfinite(info->loss))
        printf("loss         %.6g\n", info->loss);
    if (isfinite(info->valid_loss))
        printf("valid loss   %.6g\n", info->valid_loss);
    printf("parameters   %lld in %d tensors, float32, %s\n", (long long)parameters_of(m), m->tensor_count,
           m->optimizer ? "with both moments" : "weights only");
    printf("files        %d, %s, written by tp %d x dp %d\n", m->shard_count,
           mu_human_bytes(bytes, size, sizeof size), info->tp, info->dp);
    if (info->schedule.style) { /* an import has neither */
        put_after("schedule     ", info->schedule.style);
        printf(" from lr %g to %g, %lld steps\n", info->schedule.lr, info->schedule.min_lr,
               (long long)info->schedule.train_iters);
    }
    if (info->environment.libraries) {
        put_after("environment  ", text_or(info->environment.device, "?"));
        put_after(", ", info->environment.libraries);
        putchar('\n');
    }
    put_after("data         ", text_or(info->data_version, "unknown"));
    put_after(", tokenizer ", text_or(info->tokenizer_digest, "not included"));
    putchar('\n');
}

static json_t *tensors_json(const mu_manifest_t *m)
{
    json_t *list = json_array();
    for (int i = 0; i < m->tensor_count; i++) {
        const mu_manifest_tensor_t *t = &m->tensors[i];
        json_t *shape = json_array();
        for (int d = 0; d < t->dims; d++)
            json_array_append_new(shape, json_integer(t->shape[d]));
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:o}", "name", t->name, "dtype", "float32", "shape", shape));
    }
    return list;
}

static void checkpoint_json(const mu_manifest_t *m, json_t *root)
{
    const mu_checkpoint_info_t *info = &m->info;
    json_t *files = json_array();
    for (int i = 0; i < m->shard_count; i++)
        json_array_append_new(
            files, json_pack("{s:s, s:I}", "name", m->shards[i].name, "size", (json_int_t)m->shards[i].size));
    json_t *more = json_pack(
        "{s:s, s:i, s:s?, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:{s:i, s:i}, s:b, s:I, s:o, s:o}",
        "run_id", info->run_id, "attempt", info->attempt, "written_by", m->written_by, "optimizer_step",
        (json_int_t)info->optimizer_step, "samples", (json_int_t)info->samples, "tokens",
        (json_int_t)info->tokens, "parent_step", (json_int_t)info->parent_step, "seed",
        (json_int_t)info->seed, "time", json_f64(info->time), "loss", json_f64(info->loss), "valid_loss",
        json_f64(info->valid_loss), "layout", "tp", info->tp, "dp", info->dp, "optimizer", m->optimizer,
        "parameters", (json_int_t)parameters_of(m), "tensors", tensors_json(m), "files", files);
    json_object_update(root, more);
    json_decref(more);
    more = json_pack(
        "{s:{s:s?, s:o, s:o, s:o, s:o, s:I, s:I}, s:{s:i, s:s?, s:s?, s:s?}, s:s?, s:s?, s:s?}", "schedule",
        "style", info->schedule.style, "lr", json_f64(info->schedule.lr), "min_lr",
        json_f64(info->schedule.min_lr), "warmup", json_f64(info->schedule.warmup), "decay_fraction",
        json_f64(info->schedule.decay_fraction), "decay_iters", (json_int_t)info->schedule.decay_iters,
        "train_iters", (json_int_t)info->schedule.train_iters, "environment", "threads",
        info->environment.threads, "device", info->environment.device, "instruction_set",
        info->environment.instruction_set, "libraries", info->environment.libraries, "data_version",
        info->data_version, "tokenizer_digest", info->tokenizer_digest, "config", info->config);
    json_object_update(root, more);
    json_decref(more);
}

static mu_status_t scan(const request_t *r, mu_checkpoint_list_t *out)
{
    if (r->verify)
        mu_meter_begin("inspect", MU_METER_BYTES, 0);
    mu_status_t status = mu_checkpoint_scan(r->path, r->verify, out);
    if (r->verify)
        mu_meter_end();
    return status;
}

static mu_status_t inspect_checkpoint(const request_t *r)
{
    mu_checkpoint_list_t list;
    mu_checkpoint_t *checkpoint = NULL;
    MU_TRY(scan(r, &list));
    const mu_checkpoint_entry_t *entry = &list.entries[0];
    mu_status_t status = entry->status, printed = MU_OK;
    /* bytes is known when it could be opened, even if a digest does not match */
    if (entry->bytes > 0)
        printed = mu_checkpoint_open(r->path, &checkpoint);
    if (r->json) {
        json_t *root = json_pack(
            "{s:s, s:s, s:b, s:b, s:s?, s:o, s:I}", "kind", "checkpoint", "path", r->path, "valid",
            status == MU_OK, "verified", r->verify, "problem", entry->why, "step",
            entry->step < 0 ? json_null() : json_integer(entry->step), "bytes", (json_int_t)entry->bytes);
        if (checkpoint)
            checkpoint_json(mu_checkpoint_manifest(checkpoint), root);
        printed = print_json(root);
    } else {
        printf("checkpoint   %s: %s\n", r->path,
               status != MU_OK ? "damaged"
               : r->verify     ? "valid, every byte verified"
                               : "valid by manifest, sizes and headers (--verify reads every byte)");
        if (checkpoint)
            print_checkpoint(mu_checkpoint_manifest(checkpoint), entry->bytes);
    }
    if (status != MU_OK)
        mu_fail(status, "checkpoint '%s': %s", r->path, entry->why);
    mu_checkpoint_close(checkpoint);
    mu_checkpoint_list_release(&list);
    return status != MU_OK ? status : printed;
}

static void print_entry(const mu_checkpoint_entry_t *e)
{
    char size[32];
    if (e->status != MU_OK) {
        printf("%-16s", e->name);
        put_after(" damaged  ", text_or(e->why, "?"));
        putchar('\n');
        return;
    }
    printf("%-16s valid    tp %d x dp %d  %s", e->name, e->tp, e->dp,
           mu_human_bytes(e->bytes, size, sizeof size));
    if (isfinite(e->loss))
        printf("  loss %.6g", e->loss);
    if (isfinite(e->valid_loss))
        printf("  valid loss %.6g", e->valid_loss);
    putchar('\n');
}

static json_t *entry_json(const mu_checkpoint_entry_t *e)
{
    return json_pack("{s:s, s:I, s:b, s:s?, s:{s:i, s:i}, s:I, s:o, s:o}", "name", e->name, "step",
                     (json_int_t)e->step, "valid", e->status == MU_OK, "problem", e->why, "layout", "tp",
                     e->tp, "dp", e->dp, "bytes", (json_int_t)e->bytes, "loss", json_f64(e->loss),
                     "valid_loss", json_f64(e->valid_loss));
}

static mu_status_t print_run(const request_t *r, const mu_checkpoint_list_t *list)
{
    if (r->json) {
        json_t *entries = json_array();
        for (int i = 0; i < list->count; i++)
            json_array_append_new(entries, entry_json(&list->entries[i]));
        return print_json(json_pack("{s:s, s:s, s:b, s:o}", "kind", "run", "path", r->path, "verified",
                                    r->verify, "checkpoints", entries));
    }
    printf("run  %s: %d checkpoint%s, newest first%s\n", r->path, list->count, list->count == 1 ? "" : "s",
           r->verify ? ", every byte verified" : " (--verify reads every byte)");
    for (int i = 0; i < list->count; i++)
        print_entry(&list->entries[i]);
    return MU_OK;
}

/* Whether it is a directory that a run or its saves made, even an empty one. */
static bool is_run(const char *path, const mu_checkpoint_list_t *list)
{
    char *file = mu_path_join(path, "run.json"), *dir = mu_path_join(path, "checkpoints");
    bool yes = list->count > 0 || mu_is_file(file) || mu_is_dir(dir);
    free(file);
    free(dir);
    return yes;
}

static mu_status_t inspect_run(const request_t *r)
{
    mu_checkpoint_list_t list;
    mu_status_t status;
    int damaged = 0;
    MU_TRY(scan(r, &list));
    if (!is_run(r->path, &list)) {
        status = mu_fail(MU_NOINPUT, "%s: %s", r->path,
                         mu_is_dir(r->path)
                             ? "neither a checkpoint nor a run nor a prepared data set: no manifest.json, no "
                               "checkpoints/, no run.json, no step-*"
                         : mu_is_file(r->path)
                             ? "is a file: name the checkpoint, run or data set that it belongs to"
                             : "no such directory, and no .bin/.idx pair of that prefix");
        goto out;
    }
    status = print_run(r, &list);
    for (int i = 0; i < list.count; i++)
        damaged += list.entries[i].status != MU_OK;
    if (status == MU_OK && damaged > 0)
        status = mu_fail(damaged == list.count ? MU_NOVALID : MU_DATA, "%s: %d of %d checkpoints damaged",
                         r->path, damaged, list.count);
out:
    mu_checkpoint_list_release(&list);
    return status;
}

static json_t *split_json(const mu_dataset_t *ds, mu_data_split_t split)
{
    uint64_t bytes = mu_dataset_text_bytes(ds, split);
    return json_pack("{s:I, s:I, s:o}", "documents", (json_int_t)mu_dataset_documents(ds, split), "tokens",
                     (json_int_t)mu_dataset_tokens(ds, split), "text_bytes",
                     bytes ? json_integer((json_int_t)bytes) : json_null());
}

static mu_status_t print_dataset(const request_t *r, const mu_dataset_t *ds)
{
    const char *tokenizer = mu_dataset_tokenizer_digest(ds);
    if (r->json) {
        json_t *splits = json_object();
        for (int s = 0; s < MU_DATA_SPLITS; s++)
            json_object_set_new(splits, mu_data_split_name((mu_data_split_t)s),
                                split_json(ds, (mu_data_split_t)s));
        return print_json(json_pack("{s:s, s:s, s:b, s:b, s:s, s:I, s:s?, s:o}", "kind", "dataset", "path",
                                    r->path, "valid", true, "verified", r->verify, "version",
                                    mu_dataset_version(ds), "vocab", (json_int_t)mu_dataset_vocab(ds),
                                    "tokenizer_digest", tokenizer, "splits", splits));
    }
    printf("data set   %s: %s\n", r->path,
           r->verify ? "valid, every byte verified"
                     : "valid by manifest and sizes (--verify reads every byte)");
    printf("version    %s\n", mu_dataset_version(ds));
    if (mu_dataset_vocab(ds) > 0)
        printf("vocab      %lld ids, tokenizer %s\n", (long long)mu_dataset_vocab(ds),
               text_or(tokenizer, "not included"));
    for (int s = 0; s < MU_DATA_SPLITS; s++) {
        mu_data_split_t split = (mu_data_split_t)s;
        printf("%-10s %lld documents, %lld tokens", mu_data_split_name(split),
               (long long)mu_dataset_documents(ds, split), (long long)mu_dataset_tokens(ds, split));
        if (mu_dataset_text_bytes(ds, split) > 0)
            printf(", %llu bytes of text", (unsigned long long)mu_dataset_text_bytes(ds, split));
        putchar('\n');
    }
    return MU_OK;
}

static mu_status_t inspect_dataset(const request_t *r)
{
    mu_dataset_t *ds;
    const mu_dataset_options_t options = {.vocab = r->vocab};
    MU_TRY(mu_dataset_open(r->path, &options, &ds));
    mu_status_t status = MU_OK;
    if (r->verify) {
        mu_meter_begin("inspect", MU_METER_BYTES, 0);
        status = mu_dataset_verify(ds);
        mu_meter_end();
    }
    if (status == MU_OK)
        status = print_dataset(r, ds);
    mu_dataset_close(ds);
    return status;
}

static mu_status_t inspect_lineage(const request_t *r)
{
    json_t *tree;
    int changed = 0;
    MU_TRY(mu_lineage_open(r->path, &tree));
    if (r->verify)
        mu_lineage_verify(tree, &changed);
    mu_status_t status = MU_OK;
    if (r->json)
        status = print_json(json_incref(tree));
    else
        mu_lineage_print(tree);
    json_decref(tree);
    if (status == MU_OK && changed > 0)
        status = mu_fail(MU_DATA,
                         "%s: %d of the files and directories that it was made from are not what they were",
                         r->path, changed);
    return status;
}

static mu_status_t inspect(request_t *r)
{
    char *path;
    if (r->lineage && r->vocab > 0)
        return mu_fail(MU_USAGE, "inspect: --vocab-size and --lineage exclude each other");
    MU_TRY(mu_reference_path(r->paths.item[0], &path));
    r->path = path;
    mu_status_t status = r->lineage                   ? inspect_lineage(r)
                         : mu_checkpoint_is_one(path) ? inspect_checkpoint(r)
                         : mu_dataset_exists(path)    ? inspect_dataset(r)
                                                      : inspect_run(r);
    free(path);
    return status;
}

mu_status_t mu_cmd_inspect(int argc, char **argv)
{
    request_t r = {0};
    bool help;
    mu_status_t status = mu_options_parse(&mu_inspect_command, argc, argv, &r, NULL, &help);
    if (status == MU_OK && !help)
        status = inspect(&r);
    mu_options_release(&mu_inspect_command, &r);
    return status;
}
