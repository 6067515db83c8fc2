/* What the checkpoint tests share: a small model, values that anyone can recompute, and a save of all
 * workers. */
#ifndef MU_TESTS_CHECKPOINT_HELP_H
#define MU_TESTS_CHECKPOINT_HELP_H

#include "common/file.h"
#include "common/log.h"
#include "common/checkpoint/commit.h"
#include "common/checkpoint/checkpoint_reader.h"

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

/* Divisible by tp 1, 2 and 4; no row count is a multiple of 3, 5 or 7 by design of the layers' widths. */
static inline mu_model_t small_model(void)
{
    return (mu_model_t){.layers = 2,
                        .hidden = 20,
                        .heads = 4,
                        .ffn = 44,
                        .seq_length = 8,
                        .max_positions = 11,
                        .vocab = 52,
                        .position = MU_POSITION_LEARNED,
                        .norm_eps = 1e-5,
                        .init_std = 0.02};
}

/* A shard of some 20 KB: for tests that save thousands of times. */
static inline mu_model_t tiny_model(void)
{
    mu_model_t model = small_model();
    model.layers = 1;
    model.hidden = 8;
    model.ffn = 12;
    model.vocab = 12;
    return model;
}

/* Any bit pattern may come up, NaN among them: a checkpoint moves bits. */
static inline uint32_t value_bits(int64_t salt, int tensor, mu_state_t state, int64_t row, int64_t column)
{
    uint64_t x = (uint64_t)salt * 0x9e3779b97f4a7c15u + (uint64_t)tensor * 0xbf58476d1ce4e5b9u +
                 (uint64_t)state * 0x94d049bb133111ebu + (uint64_t)row * 0xd6e8feb86659fd93u +
                 (uint64_t)column;
    x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 32)) * 0x94d049bb133111ebu;
    return (uint32_t)(x >> 32);
}

static inline void fill_values(int64_t salt, int tensor, mu_state_t state, const int64_t offset[2],
                               const int64_t count[2], float *out)
{
    for (int64_t r = 0; r < count[0]; r++) {
        for (int64_t c = 0; c < count[1]; c++) {
            uint32_t bits = value_bits(salt, tensor, state, offset[0] + r, offset[1] + c);
            memcpy(&out[r * count[1] + c], &bits, sizeof bits);
        }
    }
}

static inline mu_status_t source_values(void *arg, const mu_slice_t *slice, int64_t first, int64_t n,
                                        float *out)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t row = (first + i) / slice->count[1], column = (first + i) % slice->count[1];
        uint32_t bits = value_bits(*(int64_t *)arg, slice->tensor, slice->state, slice->offset[0] + row,
                                   slice->offset[1] + column);
        memcpy(&out[i], &bits, sizeof bits);
    }
    return MU_OK;
}

typedef struct save {
    const char *dir;
    mu_model_t model;
    int tp, dp, attempt;
    int64_t step, salt;
    bool weights_only, best;
    double valid_loss; /* 0: none */
    bool background;   /* by copies that two threads write while the values change */
    size_t block;      /* of mu_shard_plan_t */
    const char *tokenizer;
    mu_shard_layout_t *const *layouts; /* of each worker, as a run keeps them; NULL: one for each file */
} save_t;

static inline mu_checkpoint_info_t save_info(const save_t *save)
{
    return (mu_checkpoint_info_t){
        .run_id = mu_strdup("run-1"),
        .attempt = save->attempt,
        .tp = save->tp,
        .dp = save->dp,
        .step = save->step,
        .optimizer_step = save->step,
        .samples = 4 * save->step,
        .tokens = 32 * save->step,
        .order_samples = {480, 24},
        .parent_step = -1,
        .seed = 1234,
        .time = 1.7e9,
        .loss = 0.1 + 0.2,
        .loss_scale = {.scale = 65536, .clean = 3, .skipped = 2, .hysteresis = 1},
        .valid_loss = save->valid_loss > 0 ? save->valid_loss : (double)NAN,
        .schedule = {mu_strdup("cosine"), 6e-4, 6e-5, 0.01, 0.9, 100, 120},
        .environment = {2, mu_strdup("cpu"), mu_strdup("AVX-512"), mu_strdup("oneDNN 2.6")},
        .config = mu_strdup("# \"quoted\"\nhidden_size: 20\n"),
        .data_version = mu_strdup("00112233445566778899aabbccddeeff")};
}

static inline mu_shard_plan_t save_plan(const save_t *save, const char *tmp, int worker, int64_t *salt)
{
    return (mu_shard_plan_t){.dir = tmp,
                             .model = &save->model,
                             .tp = save->tp,
                             .dp = save->dp,
                             .tp_rank = worker % save->tp,
                             .dp_rank = worker / save->tp,
                             .optimizer = !save->weights_only,
                             .run_id = "run-1",
                             .step = save->step,
                             .attempt = save->attempt,
                             .read = source_values,
                             .arg = salt,
                             .block = save->block,
                             .layout = save->layouts ? save->layouts[worker] : NULL};
}

/* What the controller gets is what a worker packed. */
static inline mu_status_t send_shard(mu_shard_t *shard, mu_shard_t *out)
{
    mu_buf_t packed = MU_BUF_INIT;
    mu_shard_pack(shard, &packed);
    mu_shard_release(shard);
    mu_status_t status = mu_shard_unpack(packed.data, packed.len, out);
    mu_buf_release(&packed);
    return status;
}

typedef struct copied {
    mu_shard_copy_t *copy;
    void *memory;
    pthread_t thread;
    mu_shard_t shard;
    mu_status_t status;
} copied_t;

static inline void *write_copied(void *arg)
{
    copied_t *c = arg;
    c->status = mu_shard_write_copy(c->copy, &c->shard);
    return NULL;
}

static inline mu_status_t save_copies(const save_t *save, const char *tmp, mu_shard_t *shards)
{
    int64_t salt = save->salt;
    int workers = save->tp * save->dp;
    mu_status_t status = MU_OK;
    copied_t *c = mu_calloc((size_t)workers, sizeof *c);
    for (int w = 0; status == MU_OK && w < workers; w++) {
        mu_shard_plan_t plan = save_plan(save, tmp, w, &salt);
        uint64_t bytes = 0;
        status = mu_shard_copy_bytes(&plan, &bytes);
        c[w].memory = aligned_alloc(4096, bytes);
        if (status == MU_OK)
            status = mu_shard_copy_begin(&plan, c[w].memory, bytes, &c[w].copy);
    }
    for (int w = 0; status == MU_OK && w < workers; w++)
        if (pthread_create(&c[w].thread, NULL, write_copied, &c[w]) != 0)
            abort();
    for (int w = 0; status == MU_OK && w < workers; w++)
        (void)mu_shard_copy_rest(c[w].copy);
    salt = ~salt; /* training goes on */
    for (int w = 0; status == MU_OK && w < workers; w++)
        pthread_join(c[w].thread, NULL);
    for (int w = 0; w < workers; w++) {
        status = status == MU_OK ? c[w].status : status;
        if (status == MU_OK)
            status = send_shard(&c[w].shard, &shards[w]);
        else
            mu_shard_release(&c[w].shard);
        mu_shard_copy_free(c[w].copy);
        free(c[w].memory);
    }
    free(c);
    return status;
}

/* Every worker writes its shard, one after the other. */
static inline mu_status_t save_shards(const save_t *save, const char *tmp, mu_shard_t *shards)
{
    mu_status_t status = MU_OK;
    int64_t salt = save->salt;
    if (save->background)
        return save_copies(save, tmp, shards);
    for (int w = 0; status == MU_OK && w < save->tp * save->dp; w++) {
        mu_shard_plan_t plan = save_plan(save, tmp, w, &salt);
        mu_shard_t shard;
        status = mu_shard_write(&plan, &shard);
        if (status == MU_OK)
            status = send_shard(&shard, &shards[w]);
    }
    return status;
}

static inline mu_status_t save_checkpoint(const save_t *save)
{
    char *tmp;
    mu_checkpoint_info_t info = save_info(save);
    mu_shard_t *shards = mu_calloc((size_t)(save->tp * save->dp), sizeof *shards);
    mu_status_t status = mu_checkpoint_begin(save->dir, save->step, save->attempt, &tmp);
    if (status == MU_OK) {
        mu_commit_t commit = {.info = &info,
                              .model = &save->model,
                              .optimizer = !save->weights_only,
                              .shards = shards,
                              .shard_count = save->tp * save->dp,
                              .tokenizer = save->tokenizer,
                              .best = save->best};
        status = save_shards(save, tmp, shards);
        if (status == MU_OK)
            status = mu_checkpoint_commit(save->dir, tmp, &commit);
        if (status != MU_OK)
            mu_checkpoint_abandon(tmp);
        free(tmp);
    }
    for (int w = 0; w < save->tp * save->dp; w++)
        mu_shard_release(&shards[w]);
    free(shards);
    mu_checkpoint_info_release(&info);
    return status;
}

/* Reads the part (offset, count) and compares every bit; MU_BUG when one differs. */
static inline mu_status_t compare_part(const mu_checkpoint_t *checkpoint, int64_t salt, int index,
                                       const char *name, mu_state_t state, const int64_t offset[2],
                                       const int64_t count[2])
{
    size_t n = (size_t)(count[0] * count[1]);
    float *found = mu_calloc(n, sizeof *found), *want = mu_calloc(n, sizeof *want);
    fill_values(salt, index, state, offset, count, want);
    mu_status_t status = mu_checkpoint_read(checkpoint, name, state, offset, count, found);
    if (status == MU_OK && memcmp(found, want, n * sizeof *want) != 0)
        status = mu_fail(MU_BUG, "'%s': values differ", name);
    free(found);
    free(want);
    return status;
}

/* Everything that tp rank `rank` of `tp` holds, whatever wrote it. */
static inline mu_status_t compare_rank(const mu_checkpoint_t *checkpoint, const mu_model_t *model,
                                       int64_t salt, int tp, int rank, bool optimizer)
{
    mu_status_t status = MU_OK;
    for (int s = 0; s < (optimizer ? MU_STATE_COUNT : 1); s++) {
        for (int i = 0; status == MU_OK && i < mu_model_tensor_count(model); i++) {
            mu_tensor_t t;
            int64_t offset[2], count[2];
            mu_model_tensor(model, i, &t);
            mu_tensor_slice(&t, tp, rank, offset, count);
            status = compare_part(checkpoint, salt, i, t.name, (mu_state_t)s, offset, count);
        }
    }
    return status;
}

/* A new directory below TMPDIR; mu_remove_tree() and free() it. */
static inline char *scratch_dir(void)
{
    const char *base = getenv("TMPDIR");
    char *path = mu_format("%s/muster-ckpt-XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(path);
}

/* A log sink that keeps every line. */
static inline void keep_line(mu_log_level_t level, const char *line, void *buf)
{
    (void)level;
    mu_buf_adds(buf, line);
    mu_buf_addc(buf, '\n');
}

#endif
