#include "dataset/prepare/shards.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "dataset/prepare/spool.h"
#include "dataset/store/shard_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { SHARD_DOCUMENTS_MAX = 8 << 20 };
static const int64_t SHARD_TOKENS = (int64_t)128 << 20;
static const char TOKENIZER_FILE[] = "tokenizer.json";

struct mu_shards {
    char *dir, *partial;
    mu_shards_options_t options;
    double ratio[MU_DATA_SPLITS];
    int lock; /* fd of the partial directory, locked */
    /* Documents that go to a part by their digest are spooled by part; else all are in the first spool, and the parts
     * are cut by position. */
    mu_spool_t spools[MU_DATA_SPLITS];
    int64_t count;
    mu_data_manifest_t manifest;
    bool finished;
};

static mu_status_t io_error(const char *path, const char *verb)
{
    return mu_fail(MU_IO, "%s: cannot %s: %s", path, verb, strerror(errno));
}

/* ---- the directory ---- */

/* Whether DIR may become the data set: absent, empty, or a data set that is to be replaced. */
static mu_status_t check_target(const char *dir, bool replace)
{
    struct stat st;
    if (lstat(dir, &st) != 0)
        return errno == ENOENT ? MU_OK
                               : mu_fail(MU_RUNDIR, "%s: cannot look at it: %s", dir, strerror(errno));
    DIR *list = opendir(dir);
    if (!list)
        return mu_fail(MU_RUNDIR, "%s: cannot open as a directory: %s", dir, strerror(errno));
    int entries = 0;
    for (struct dirent *e; (e = readdir(list));)
        entries += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(list);
    char *manifest = mu_path_join(dir, MU_DATASET_MANIFEST);
    bool ours = mu_is_file(manifest);
    free(manifest);
    if (entries == 0 || (ours && replace))
        return MU_OK;
    if (ours)
        return mu_fail(MU_RUNDIR,
                       "%s: holds a data set already: give another --output, or --force to replace it", dir);
    return mu_fail(MU_RUNDIR, "%s: is not empty and holds no data set: give another --output", dir);
}

/* Makes the partial directory and locks it; the lock goes with the process, so what a dead writer left is
 * known. */
static mu_status_t take_partial(mu_shards_t *s)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        bool made = mkdir(s->partial, 0777) == 0;
        if (!made && errno != EEXIST)
            return mu_fail(MU_RUNDIR, "%s: cannot make directory: %s", s->partial, strerror(errno));
        s->lock = open(s->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->lock < 0)
            return mu_fail(MU_RUNDIR, "%s: cannot open directory: %s", s->partial, strerror(errno));
        if (flock(s->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            close(s->lock);
            s->lock = -1;
            return mu_fail(MU_RUNDIR, "%s: another muster prepare is writing there", s->partial);
        }
        if (made)
            return MU_OK;
        mu_info("%s: removing what an interrupted run left", s->partial);
        close(s->lock);
        s->lock = -1;
        MU_TRY(mu_remove_tree(s->partial));
    }
    return mu_fail(MU_RUNDIR, "%s: another muster prepare is writing there", s->partial);
}

static mu_status_t create_spools(mu_shards_t *s)
{
    for (int i = 0; i < (s->options.by_digest ? MU_DATA_SPLITS : 1); i++) {
        char name[32];
        snprintf(name, sizeof name, "spool%s%s", i > 0 ? "-" : "",
                 i > 0 ? mu_data_split_name((mu_data_split_t)i) : "");
        MU_TRY(mu_spool_create(&s->spools[i], s->partial, name, s->manifest.token_bytes, s->options.labels));
    }
    return MU_OK;
}

static mu_status_t save_tokenizer(mu_shards_t *s)
{
    mu_data_manifest_t *m = &s->manifest;
    char *path = mu_path_join(s->partial, TOKENIZER_FILE);
    mu_status_t status = mu_tokenizer_save(s->options.tokenizer, path);
    if (status == MU_OK)
        status = mu_tokenizer_save_beside(s->options.tokenizer, s->partial);
    if (status == MU_OK)
        status = mu_digest_file(path, m->tokenizer_file_digest);
    free(path);
    m->tokenizer_file = mu_strdup(TOKENIZER_FILE);
    snprintf(m->tokenizer_digest, MU_DIGEST_HEX, "%s", mu_tokenizer_digest(s->options.tokenizer));
    return status;
}

static mu_status_t prepare_directory(mu_shards_t *s)
{
    MU_TRY(check_target(s->dir, s->options.replace));
    char *slash = strrchr(s->dir, '/');
    mu_status_t status = MU_OK;
    if (slash && slash > s->dir) {
        char *above = mu_format("%.*s", (int)(slash - s->dir), s->dir);
        status = mu_make_dirs(above, 0777);
        free(above);
    }
    MU_TRY(status);
    MU_TRY(take_partial(s));
    MU_TRY(create_spools(s));
    return s->options.tokenizer ? save_tokenizer(s) : MU_OK;
}

mu_status_t mu_shards_create(const char *dir, const mu_shards_options_t *options, mu_shards_t **out)
{
    double ratio[MU_DATA_SPLITS];
    MU_TRY(mu_split_parse(options->split, ratio));
    mu_shards_t *s = mu_calloc(1, sizeof *s);
    memcpy(s->ratio, ratio, sizeof ratio);
    s->lock = -1;
    s->options = *options;
    if (s->options.tokens_a_shard <= 0)
        s->options.tokens_a_shard = SHARD_TOKENS;
    s->dir = mu_strdup(dir);
    for (size_t n = strlen(s->dir); n > 1 && s->dir[n - 1] == '/'; n--)
        s->dir[n - 1] = '\0';
    s->partial = mu_format("%s.partial", s->dir);
    s->manifest.split = mu_strdup(options->split);
    s->manifest.vocab = options->vocab;
    s->manifest.token_bytes = mu_token_bytes(options->vocab);
    s->manifest.labels = options->labels;
    mu_status_t status = prepare_directory(s);
    if (status != MU_OK) {
        mu_shards_free(s);
        return status;
    }
    *out = s;
    return MU_OK;
}

void mu_shards_free(mu_shards_t *s)
{
    if (!s)
        return;
    for (int i = 0; i < MU_DATA_SPLITS; i++)
        mu_spool_remove(&s->spools[i]);
    if (!s->finished && s->lock >= 0)
        mu_remove_tree(s->partial);
    if (s->lock >= 0)
        close(s->lock);
    mu_data_manifest_free(&s->manifest);
    free(s->partial);
    free(s->dir);
    free(s);
}

/* ---- documents ---- */

mu_status_t mu_shards_add(mu_shards_t *s, const int32_t *ids, const unsigned char *labels, size_t n,
                          uint64_t text_bytes, uint64_t digest)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= s->options.vocab)
            return mu_fail(MU_BUG, "document %lld: id %d is outside the vocabulary of %lld",
                           (long long)s->count, ids[i], (long long)s->options.vocab);
    }
    s->count++;
    return mu_spool_add(&s->spools[s->options.by_digest ? mu_split_part(s->ratio, digest) : MU_TRAIN], ids,
                        labels, n, text_bytes);
}

void mu_shards_made(mu_shards_t *s, json_t *made)
{
    json_decref(s->manifest.made);
    s->manifest.made = made;
}

void mu_shards_chat(mu_shards_t *s, json_t *chat)
{
    json_decref(s->manifest.chat);
    s->manifest.chat = chat;
}

/* ---- cutting ---- */

/* Where the cutting stands. */
typedef struct cutter {
    mu_shards_t *s;
    const mu_spool_t *spool;
    int64_t doc, token; /* next of the spool */
    int64_t *starts;    /* of the shard being made: documents + 1 entries */
    int64_t starts_room;
    unsigned char *block;
} cutter_t;

/* Takes documents from the spool until the shard is full or `end` is reached: counts, and the table of
 * starts. */
static mu_status_t choose(cutter_t *c, int64_t end, mu_data_shard_t *shard)
{
    enum { READ = 4096 };
    mu_spooled_t docs[READ];
    c->starts[0] = 0;
    for (bool full = false; !full && c->doc + shard->documents < end;) {
        int64_t at = c->doc + shard->documents, n = mu_min_i64(READ, end - at);
        MU_TRY(mu_spool_documents(c->spool, at, n, docs));
        for (int64_t i = 0; i < n && !full; i++) {
            full = shard->documents > 0 && (shard->documents == SHARD_DOCUMENTS_MAX ||
                                            shard->tokens + docs[i].tokens > c->s->options.tokens_a_shard);
            if (full)
                break;
            shard->tokens += docs[i].tokens;
            shard->text_bytes += docs[i].text_bytes;
            if (++shard->documents == c->starts_room) {
                c->starts_room *= 2;
                c->starts = mu_realloc(c->starts, (size_t)c->starts_room * sizeof *c->starts);
            }
            c->starts[shard->documents] = shard->tokens;
        }
    }
    return MU_OK;
}

/* Copies the shard's tokens from the spool, block by block, and keeps each block's digest. */
static mu_status_t copy_tokens(cutter_t *c, int fd, const char *path, const mu_data_shard_t *shard,
                               uint64_t *blocks)
{
    int width = c->s->manifest.token_bytes;
    int64_t count = mu_data_shard_blocks(shard->tokens), block = (int64_t)MU_BLOCK_TOKENS * width;
    for (int64_t b = 0; b < count; b++) {
        size_t n = (size_t)mu_min_i64(block, shard->tokens * width - b * block);
        MU_TRY(mu_spool_tokens(c->spool, c->token * width + b * block, n, c->block));
        blocks[b] = XXH3_64bits(c->block, n);
        if (!mu_pwrite_all(fd, c->block, n, (off_t)(shard->tokens_at + b * block)))
            return io_error(path, "write");
    }
    return MU_OK;
}

/* The same for labels, which are counted. */
static mu_status_t copy_labels(cutter_t *c, int fd, const char *path, mu_data_shard_t *shard,
                               uint64_t *blocks)
{
    int64_t count = mu_data_shard_blocks(shard->tokens);
    for (int64_t b = 0; b < count; b++) {
        size_t n = (size_t)mu_min_i64(MU_BLOCK_TOKENS, shard->tokens - b * MU_BLOCK_TOKENS);
        MU_TRY(mu_spool_labels(c->spool, c->token + b * MU_BLOCK_TOKENS, n, c->block));
        blocks[b] = XXH3_64bits(c->block, n);
        for (size_t i = 0; i < n; i++)
            shard->counted += c->block[i];
        if (!mu_pwrite_all(fd, c->block, n, (off_t)(shard->labels_at + b * MU_BLOCK_TOKENS)))
            return io_error(path, "write");
    }
    return MU_OK;
}

static mu_status_t fill_shard(cutter_t *c, const char *path, mu_data_shard_t *shard)
{
    bool labels = c->s->manifest.labels;
    MU_TRY(mu_data_shard_lay_out(path, c->s->manifest.token_bytes, labels, shard));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return io_error(path, "open");
    size_t starts = (size_t)(shard->documents + 1) * 8,
           count = (size_t)mu_data_shard_blocks(shard->tokens) * 8;
    uint64_t *blocks = mu_alloc(count), *label_blocks = mu_alloc(count);
    mu_status_t status = copy_tokens(c, fd, path, shard, blocks);
    if (status == MU_OK && labels)
        status = copy_labels(c, fd, path, shard, label_blocks);
    if (status == MU_OK &&
        (!mu_pwrite_all(fd, c->starts, starts, (off_t)shard->documents_at) ||
         !mu_pwrite_all(fd, blocks, count, (off_t)shard->blocks_at) ||
         (labels && !mu_pwrite_all(fd, label_blocks, count, (off_t)shard->label_blocks_at)) ||
         fsync(fd) != 0))
        status = io_error(path, "write");
    mu_digest_t *tables = mu_digest_new();
    mu_digest_add(tables, c->starts, starts);
    mu_digest_add(tables, blocks, count);
    if (labels)
        mu_digest_add(tables, label_blocks, count);
    mu_digest_hex(tables, shard->tables);
    mu_digest_free(tables);
    free(blocks);
    free(label_blocks);
    if (close(fd) != 0 && status == MU_OK)
        status = io_error(path, "close");
    return status == MU_OK ? mu_digest_file(path, shard->digest) : status;
}

static mu_data_shard_t *append_shard(mu_data_manifest_t *m)
{
    m->shards = mu_realloc(m->shards, (size_t)(m->count + 1) * sizeof *m->shards);
    mu_data_shard_t *shard = &m->shards[m->count++];
    *shard = (mu_data_shard_t){0};
    return shard;
}

static mu_status_t cut_split(cutter_t *c, mu_data_split_t split, int64_t end)
{
    char name[32];
    for (int number = 0; c->doc < end; number++) {
        mu_data_shard_t *shard = append_shard(&c->s->manifest);
        shard->split = split;
        shard->number = number;
        mu_data_shard_name(split, number, name);
        char *path = mu_path_join(c->s->partial, name);
        mu_status_t status = choose(c, end, shard);
        if (status == MU_OK)
            status = fill_shard(c, path, shard);
        free(path);
        MU_TRY(status);
        c->doc += shard->documents;
        c->token += shard->tokens;
    }
    return MU_OK;
}

/* No part that is wanted may be empty. counts: documents of each. */
static mu_status_t check_parts(const mu_shards_t *s, const int64_t counts[MU_DATA_SPLITS])
{
    if (s->count == 0)
        return mu_fail(MU_DATA, "the input holds no document");
    for (int i = 0; i < MU_DATA_SPLITS; i++) {
        if (s->ratio[i] > 0 && counts[i] == 0)
            return mu_fail(
                MU_DATA,
                "%s would be empty: split '%s' gives it %.3g %% of %lld documents%s: give more documents (is "
                "--document right?), or another split, as \"1, 0, 0\"",
                mu_data_split_name((mu_data_split_t)i), s->manifest.split, 100 * s->ratio[i],
                (long long)s->count, s->options.by_digest ? ", and the digests of none fall there" : "");
    }
    return MU_OK;
}

/* The parts as stretches of the one spool. */
static mu_status_t cut_by_position(cutter_t *c)
{
    mu_shards_t *s = c->s;
    int64_t bounds[4], counts[MU_DATA_SPLITS];
    MU_TRY(mu_split_bounds(s->manifest.split, s->count, bounds));
    for (int i = 0; i < MU_DATA_SPLITS; i++)
        counts[i] = bounds[i + 1] - bounds[i];
    MU_TRY(check_parts(s, counts));
    MU_TRY(mu_spool_rewind(&s->spools[0]));
    c->spool = &s->spools[0];
    for (int i = 0; i < MU_DATA_SPLITS; i++)
        MU_TRY(cut_split(c, (mu_data_split_t)i, bounds[i + 1]));
    return MU_OK;
}

/* A spool a part. */
static mu_status_t cut_by_digest(cutter_t *c)
{
    mu_shards_t *s = c->s;
    int64_t counts[MU_DATA_SPLITS];
    for (int i = 0; i < MU_DATA_SPLITS; i++)
        counts[i] = s->spools[i].count;
    MU_TRY(check_parts(s, counts));
    for (int i = 0; i < MU_DATA_SPLITS; i++) {
        MU_TRY(mu_spool_rewind(&s->spools[i]));
        c->spool = &s->spools[i];
        c->doc = c->token = 0;
        MU_TRY(cut_split(c, (mu_data_split_t)i, counts[i]));
        mu_spool_remove(&s->spools[i]);
    }
    return MU_OK;
}

static mu_status_t cut(mu_shards_t *s)
{
    cutter_t c = {.s = s, .starts_room = 1024};
    c.starts = mu_alloc((size_t)c.starts_room * sizeof *c.starts);
    c.block = mu_alloc((size_t)MU_BLOCK_TOKENS * 4);
    mu_status_t status = s->options.by_digest ? cut_by_digest(&c) : cut_by_position(&c);
    for (int i = 0; i < MU_DATA_SPLITS; i++)
        mu_spool_remove(&s->spools[i]);
    free(c.starts);
    free(c.block);
    return status;
}

/* ---- the commit ---- */

/* Puts the partial directory in DIR's place in one step; an old data set that was there is removed
 * afterwards. */
static mu_status_t publish(mu_shards_t *s)
{
    MU_TRY(mu_sync_dir(s->partial));
    if (rename(s->partial, s->dir) != 0) {
        if (errno != ENOTEMPTY && errno != EEXIST)
            return mu_fail(MU_IO, "%s: cannot rename to '%s': %s", s->partial, s->dir, strerror(errno));
        MU_TRY(check_target(s->dir, s->options.replace));
        if (renameat2(AT_FDCWD, s->partial, AT_FDCWD, s->dir, RENAME_EXCHANGE) != 0)
            return mu_fail(MU_IO, "%s: cannot exchange with '%s': %s: remove that one first", s->partial,
                           s->dir, strerror(errno));
        s->finished = true;
        MU_TRY(mu_remove_tree(s->partial));
    }
    s->finished = true;
    char *parent = mu_path_join(s->dir, "..");
    mu_status_t status = mu_sync_dir(parent);
    free(parent);
    return status;
}

static mu_status_t write_manifest(mu_shards_t *s)
{
    mu_buf_t text = MU_BUF_INIT;
    char *path = mu_path_join(s->partial, MU_DATASET_MANIFEST);
    mu_data_manifest_version(&s->manifest);
    mu_data_manifest_write(&s->manifest, &text);
    mu_status_t status = mu_file_replace(path, text.data, text.len, 0666);
    free(path);
    mu_buf_release(&text);
    return status;
}

void mu_shards_sum(const mu_data_manifest_t *manifest, mu_shards_summary_t *summary)
{
    *summary = (mu_shards_summary_t){.shards = manifest->count};
    for (int i = 0; i < manifest->count; i++) {
        const mu_data_shard_t *shard = &manifest->shards[i];
        summary->documents[shard->split] += shard->documents;
        summary->tokens[shard->split] += shard->tokens;
        summary->counted[shard->split] += shard->counted;
        summary->text_bytes[shard->split] += shard->text_bytes;
    }
    snprintf(summary->version, MU_DIGEST_HEX, "%s", manifest->version);
}

mu_status_t mu_shards_finish(mu_shards_t *s, mu_shards_summary_t *summary)
{
    MU_TRY(cut(s));
    MU_TRY(write_manifest(s));
    MU_TRY(publish(s));
    mu_shards_sum(&s->manifest, summary);
    return MU_OK;
}
