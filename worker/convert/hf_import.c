#include "worker/convert/hf_import.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "dataset/tokenizer/tokenizer.h"
#include "common/checkpoint/commit.h"
#include "common/checkpoint/checkpoint_reader.h"
#include "worker/convert/import_record.h"
#include "worker/model/resize_embeddings.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/file.h>
#include <unistd.h>

static char run_id[] = "import";

char *mu_import_find_tokenizer(const char *dir)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json"};
    for (int i = 0; i < 2; i++) {
        char *path = mu_path_join(dir, names[i]);
        if (mu_is_file(path))
            return path;
        free(path);
    }
    return NULL;
}

void mu_import_release(mu_import_t *import)
{
    mu_config_free(import->config);
    mu_foreign_release(&import->list);
    free(import->tokenizer);
    free(import->companions);
    free(import->base_path);
    free(import->base_digest);
    free(import->of);
    free(import->whole);
    memset(import, 0, sizeof *import);
}

/* New tokens: the rows that the model grows to. */
static mu_status_t grow(mu_import_t *import, mu_tokenizer_t *tok, mu_resize_t *growth)
{
    const mu_config_t *c = import->config;
    *growth = (mu_resize_t){.rows = c->model.vocab, .ids = mu_tokenizer_vocab(tok)};
    MU_TRY(mu_tokenizer_add_specials(tok, import->specials, import->special_count));
    growth->new_ids = mu_tokenizer_vocab(tok);
    if (growth->new_ids > growth->rows) /* what padded_vocab_size was says nothing of what it shall be */
        mu_config_settle(&import->config,
                         &(mu_config_facts_t){.padded_vocab_size = mu_config_pad_vocab(c, growth->new_ids)});
    mu_info("%lld special tokens added, from id %lld on: their rows are the mean of the others'",
            (long long)(growth->new_ids - growth->ids), (long long)growth->ids);
    return MU_OK;
}

/* Sees to a tokenizer.json that can be copied: theirs, or one made as `made` from vocab.json and merges.txt
 * or with special tokens added. */
static mu_status_t prepare_tokenizer(mu_import_t *import, const char *made, mu_resize_t *growth,
                                     const char **out)
{
    mu_tokenizer_t *tok;
    int64_t vocab = import->config->model.vocab;
    *out = import->tokenizer;
    if (import->base_digest && import->special_count > 0)
        return mu_fail(MU_CONFIG, "--special: an adapter cannot add tokens: import its base with them");
    if (!import->tokenizer && import->special_count > 0)
        return mu_fail(MU_NOINPUT, "there is no tokenizer.json to which special tokens could be added");
    if (!import->tokenizer) {
        mu_warn(
            "there is no tokenizer.json: the checkpoint will have no tokenizer, and `generate` needs one");
        return MU_OK;
    }
    char *whole;
    MU_TRY(mu_tokenizer_load_whole(import->tokenizer, import->merges, &tok, &whole));
    bool as_it_is = whole && strcmp(whole, import->tokenizer) == 0;
    free(whole);
    mu_status_t status = MU_OK;
    if (mu_tokenizer_vocab(tok) > vocab) {
        status = mu_fail(MU_DATA,
                         "%s: has %d ids, the model's embedding %lld rows: one of them belongs to "
                         "another model",
                         import->tokenizer, (int)mu_tokenizer_vocab(tok), (long long)vocab);
    } else if (import->special_count > 0 || !as_it_is) {
        if (import->special_count > 0)
            status = grow(import, tok, growth);
        if (status == MU_OK)
            status = mu_tokenizer_save(tok, made);
        *out = made;
    }
    mu_tokenizer_free(tok);
    return status;
}

static mu_status_t commit(mu_import_t *import, const char *dir, const char *tmp, const char *tokenizer,
                          mu_shard_t *shard, char *lineage)
{
    mu_buf_t yaml = MU_BUF_INIT;
    mu_config_write_yaml(import->config, false, &yaml);
    mu_checkpoint_info_t info = {.run_id = run_id,
                                 .tp = 1,
                                 .dp = 1,
                                 .parent_step = -1,
                                 .time = mu_wall_seconds(),
                                 .loss = (double)NAN,
                                 .valid_loss = (double)NAN,
                                 .environment.threads = 1,
                                 .companions = import->companions,
                                 .base_path = import->base_path,
                                 .base_digest = import->base_digest,
                                 .config = yaml.data,
                                 .lineage = lineage};
    mu_commit_t what = {.info = &info,
                        .model = &import->config->model,
                        .shards = shard,
                        .shard_count = 1,
                        .tokenizer = tokenizer};
    mu_status_t status = mu_checkpoint_commit(dir, tmp, &what);
    free(info.tokenizer_digest);
    mu_buf_release(&yaml);
    return status;
}

/* What the shard is written from: the source, with more rows where there are new tokens. */
typedef struct grown {
    mu_import_t *import;
    mu_resize_t growth;
    int tensor;
    float *row;         /* one that is cut */
    int64_t *nonfinite; /* of each tensor: values that are no finite numbers */
} grown_t;

static mu_status_t read_old_rows(void *arg, int64_t first, int64_t n, float *out)
{
    grown_t *g = arg;
    int64_t offset[2] = {first, 0}, count[2] = {n, g->import->config->model.hidden};
    return g->import->read(g->import, g->tensor, MU_STATE_WEIGHT, offset, count, out);
}

static mu_status_t read_rows(grown_t *g, const mu_slice_t *slice, int64_t row, int64_t rows, float *out)
{
    int64_t offset[2] = {slice->offset[0] + row, slice->offset[1]}, count[2] = {rows, slice->count[1]};
    mu_tensor_t t;
    const mu_model_t *m = &g->import->config->model;
    mu_model_tensor(m, mu_model_saved_first(m) + slice->tensor, &t);
    g->tensor = slice->tensor;
    if (g->growth.rows > 0 && (t.kind == MU_T_EMBED_IN || t.kind == MU_T_EMBED_OUT))
        return mu_resize_read(&g->growth, count[1], read_old_rows, g, offset[0], rows, out);
    return g->import->read(g->import, slice->tensor, slice->state, offset, count, out);
}

/* A mu_shard_source_t. Files are read by whole rows: of one that is cut, the part. */
static mu_status_t read_grown(void *arg, const mu_slice_t *slice, int64_t first, int64_t n, float *out)
{
    grown_t *g = arg;
    int64_t columns = slice->count[1];
    for (int64_t done = 0, part; done < n; done += part) {
        int64_t row = (first + done) / columns, column = (first + done) % columns;
        part = column == 0 ? (n - done) / columns * columns : 0;
        if (part > 0) {
            MU_TRY(read_rows(g, slice, row, part / columns, out + done));
            continue;
        }
        part = mu_min_i64(columns - column, n - done);
        g->row = mu_realloc(g->row, (size_t)columns * sizeof *g->row);
        MU_TRY(read_rows(g, slice, row, 1, g->row));
        memcpy(out + done, g->row + column, (size_t)part * sizeof *out);
    }
    for (int64_t i = 0; i < n; i++)
        g->nonfinite[slice->tensor] += !isfinite(out[i]);
    return MU_OK;
}

/* One such weight makes every loss a NaN, and training cannot mend it. */
static mu_status_t judge_values(const mu_import_t *import, const mu_model_t *model, const int64_t *nonfinite)
{
    enum { SHOWN = 8 };
    mu_log_level_t level = import->allow_nonfinite ? MU_LOG_WARN : MU_LOG_ERROR;
    int tensors = 0, first = mu_model_saved_first(model);
    for (int i = 0; i < mu_model_tensor_count(model) - first; i++) {
        mu_tensor_t t;
        mu_model_tensor(model, first + i, &t);
        if (nonfinite[i] > 0 && tensors++ < SHOWN)
            mu_log(level, "tensor '%s': %lld of %lld values are NaN or infinite", t.name,
                   (long long)nonfinite[i], (long long)(t.shape[0] * t.shape[1]));
    }
    if (tensors == 0 || import->allow_nonfinite)
        return MU_OK;
    return mu_fail(MU_DATA,
                   "%d tensors hold values that are not finite: take another copy of the model, or "
                   "--allow-nonfinite to import it as it is",
                   tensors);
}

static mu_status_t write_shard(mu_import_t *import, const char *dir, const mu_resize_t *growth,
                               mu_shard_t *out)
{
    mu_model_t grown = import->config->model; /* the source's own keeps its rows until all are read */
    grown_t g = {.import = import, .growth = *growth};
    if (growth->new_ids > growth->rows)
        grown.vocab = import->config->padded_vocab_size;
    mu_shard_plan_t plan = {
        .dir = dir, .model = &grown, .tp = 1, .dp = 1, .run_id = run_id, .read = read_grown, .arg = &g};
    g.nonfinite = mu_calloc((size_t)mu_model_tensor_count(&grown), sizeof *g.nonfinite);
    mu_status_t status = mu_shard_write(&plan, out);
    if (status == MU_OK)
        status = judge_values(import, &grown, g.nonfinite);
    if (status == MU_OK)
        mu_config_settle(&import->config, &(mu_config_facts_t){.vocab = grown.vocab});
    free(g.nonfinite);
    free(g.row);
    return status;
}

/* What an import is made from: the configuration read, the bytes of the files, the options. */
static void digest_source(const mu_import_t *import, const json_t *inputs, char out[MU_DIGEST_HEX])
{
    mu_buf_t text = MU_BUF_INIT;
    const json_t *input;
    size_t i;
    mu_config_write_yaml(import->config, false, &text);
    json_array_foreach(inputs, i, input)
        mu_buf_addf(&text, "file %s\n", json_string_value(json_object_get(input, "digest")));
    if (import->base_digest)
        mu_buf_addf(&text, "base %s\n", import->base_digest);
    if (import->companions)
        mu_buf_addf(&text, "companions %s\n", import->companions);
    for (int k = 0; k < import->special_count; k++)
        mu_buf_addf(&text, "special %s\n", import->specials[k]);
    mu_buf_addf(&text, "nonfinite %d\n", import->allow_nonfinite);
    mu_digest_bytes(text.data, text.len, out);
    mu_buf_release(&text);
}

/* OUTPUT holds the finished import of the same source; anything else that it holds is refused later. */
static bool is_there(const char *output, const char *receipt, const char *digest)
{
    mu_buf_t found = MU_BUF_INIT;
    mu_checkpoint_list_t list = {NULL, 0};
    bool same = mu_is_file(receipt) && mu_file_read(receipt, MU_DIGEST_HEX + 1, &found) == MU_OK &&
                strncmp(found.data, digest, MU_DIGEST_HEX - 1) == 0 &&
                mu_checkpoint_scan(output, false, &list) == MU_OK && list.count == 1 &&
                list.entries[0].status == MU_OK;
    mu_checkpoint_list_release(&list);
    mu_buf_release(&found);
    return same;
}

static mu_status_t write_receipt(const char *receipt, const char *digest)
{
    char line[MU_DIGEST_HEX + 1];
    int n = snprintf(line, sizeof line, "%s\n", digest);
    return mu_file_replace(receipt, line, (size_t)n, 0644);
}

static mu_status_t refuse_used(const char *output)
{
    mu_checkpoint_list_t list;
    if (!mu_is_dir(output))
        return MU_OK;
    MU_TRY(mu_checkpoint_scan(output, false, &list));
    int count = list.count;
    mu_checkpoint_list_release(&list);
    if (count > 0)
        return mu_fail(MU_RUNDIR, "%s: holds %d checkpoints already: name another directory", output, count);
    return MU_OK;
}

/* One import at a time: the lock goes with the process. A volume that has no locks has none. */
static mu_status_t lock_output(const char *output, int *lock)
{
    MU_TRY(mu_make_dirs(output, 0777));
    *lock = open(output, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0)
        return mu_fail(MU_RUNDIR, "%s: cannot open directory: %s", output, strerror(errno));
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return mu_fail(MU_RUNDIR, "%s: another muster import is writing there", output);
    return MU_OK;
}

mu_status_t mu_import_write(mu_import_t *import, const char *output)
{
    char *tmp = NULL, *made = mu_path_join(output, "tokenizer.json.tmp-import");
    const char *tokenizer;
    mu_resize_t growth = {0};
    mu_shard_t shard = {0};
    mu_status_t status;
    char digest[MU_DIGEST_HEX], *receipt = mu_path_join(output, "import.digest"), *lineage = NULL;
    json_t *inputs = NULL;
    int lock = -1;
    bool made_output = !mu_is_dir(output), began = false;
    MU_TRY_GOTO(status, mu_import_inputs(import, &inputs), out);
    digest_source(import, inputs, digest);
    MU_TRY_GOTO(status, lock_output(output, &lock), out);
    if (is_there(output, receipt, digest)) {
        mu_info("'%s': is there already, from the same files", output);
        goto out;
    }
    MU_TRY_GOTO(status, refuse_used(output), out);
    MU_TRY_GOTO(status, mu_checkpoint_clean(output), out);
    began = true;
    MU_TRY_GOTO(status, write_receipt(receipt, digest),
                out); /* it counts beside a finished checkpoint only */
    MU_TRY_GOTO(status, prepare_tokenizer(import, made, &growth, &tokenizer), out);
    MU_TRY_GOTO(status, mu_checkpoint_begin(output, 0, 0, &tmp), out);
    status = write_shard(import, tmp, &growth, &shard);
    if (status == MU_OK)
        lineage = mu_import_lineage(import, inputs);
    if (status == MU_OK)
        status = commit(import, output, tmp, tokenizer, &shard, lineage);
    if (status != MU_OK)
        mu_checkpoint_abandon(tmp);
out:
    if (access(made, F_OK) == 0)
        unlink(made);
    if (status != MU_OK && began)
        unlink(receipt);
    if (status != MU_OK && began && made_output)
        rmdir(output); /* as we found it */
    if (lock >= 0)
        close(lock);
    mu_shard_release(&shard);
    json_decref(inputs);
    free(lineage);
    free(receipt);
    free(made);
    free(tmp);
    return status;
}
