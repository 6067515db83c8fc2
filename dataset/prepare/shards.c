#include "dataset/prepare/shards.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "dataset/store/shard_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { SHARD_DOCUMENTS_MAX = 8 << 20, SPOOL_BUFFER = 1 << 20 };
static const int64_t SHARD_TOKENS = (int64_t)128 << 20;
static const char TOKENIZER_FILE[] = "tokenizer.json";

/* What the spool keeps of a document. */
typedef struct spooled {
    int64_t tokens;
    uint64_t text_bytes;
} spooled_t;

struct mu_shards {
    char *dir, *partial;
    mu_shards_options_t options;
    int lock; /* fd of the partial directory, locked */
    char *tokens_path, *documents_path;
    FILE *tokens, *documents; /* the spool */
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

static mu_status_t open_spool(const char *path, FILE **out)
{
    *out = fopen(path, "wxe");
    if (!*out)
        return io_error(path, "create");
    setvbuf(*out, NULL, _IOFBF, SPOOL_BUFFER);
    return MU_OK;
}

static mu_status_t save_tokenizer(mu_shards_t *s)
{
    mu_data_manifest_t *m = &s->manifest;
    char *path = mu_path_join(s->partial, TOKENIZER_FILE);
    mu_status_t status = mu_tokenizer_save(s->options.tokenizer, path);
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
    s->tokens_path = mu_path_join(s->partial, "spool.tokens");
    s->documents_path = mu_path_join(s->partial, "spool.documents");
    MU_TRY(open_spool(s->tokens_path, &s->tokens));
    MU_TRY(open_spool(s->documents_path, &s->documents));
    return s->options.tokenizer ? save_tokenizer(s) : MU_OK;
}

mu_status_t mu_shards_create(const char *dir, const mu_shards_options_t *options, mu_shards_t **out)
{
    double ratio[3];
    MU_TRY(mu_split_parse(options->split, ratio));
    mu_shards_t *s = mu_calloc(1, sizeof *s);
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
    if (s->tokens)
        fclose(s->tokens);
    if (s->documents)
        fclose(s->documents);
    if (!s->finished && s->lock >= 0)
        mu_remove_tree(s->partial);
    if (s->lock >= 0)
        close(s->lock);
    mu_data_manifest_free(&s->manifest);
    free(s->tokens_path);
    free(s->documents_path);
    free(s->partial);
    free(s->dir);
    free(s);
}

/* ---- the spool ---- */

mu_status_t mu_shards_add(mu_shards_t *s, const int32_t *ids, size_t n, uint64_t text_bytes)
{
    enum { CHUNK = 4096 };
    uint16_t narrow[CHUNK];
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= s->options.vocab)
            return mu_fail(MU_BUG, "document %lld: id %d is outside the vocabulary of %lld",
                           (long long)s->count, ids[i], (long long)s->options.vocab);
    }
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t m = n - at < CHUNK ? n - at : CHUNK;
        const void *bytes = ids + at;
        if (s->manifest.token_bytes == 2) {
            for (size_t i = 0; i < m; i++)
                narrow[i] = (uint16_t)ids[at + i];
            bytes = narrow;
        }
        if (fwrite(bytes, (size_t)s->manifest.token_bytes, m, s->tokens) != m)
            return io_error(s->tokens_path, "write");
    }
    spooled_t doc = {(int64_t)n, text_bytes};
    if (fwrite(&doc, sizeof doc, 1, s->documents) != 1)
        return io_error(s->documents_path, "write");
    s->count++;
    return MU_OK;
}

static mu_status_t end_spool(FILE **file, const char *path, int *fd)
{
    FILE *f = *file;
    *file = NULL;
    if (fclose(f) != 0)
        return io_error(path, "write");
    *fd = open(path, O_RDWR | O_CLOEXEC);
    return *fd < 0 ? io_error(path, "open") : MU_OK;
}

/* ---- cutting ---- */

/* Where the cutting stands. */
typedef struct cutter {
    mu_shards_t *s;
    int tokens, documents; /* fds of the spool */
    int64_t doc, token;    /* next of the spool */
    int64_t *starts;       /* of the shard being made: documents + 1 entries */
    int64_t starts_room;
    unsigned char *block;
} cutter_t;

/* Takes documents from the spool until the shard is full or `end` is reached: counts, and the table of
 * starts. */
static mu_status_t choose(cutter_t *c, int64_t end, mu_data_shard_t *shard)
{
    enum { READ = 4096 };
    spooled_t docs[READ];
    c->starts[0] = 0;
    for (bool full = false; !full && c->doc + shard->documents < end;) {
        int64_t at = c->doc + shard->documents, n = mu_min_i64(READ, end - at);
        if (!mu_pread_all(c->documents, docs, (size_t)n * sizeof *docs, (off_t)(at * (int64_t)sizeof *docs)))
            return io_error(c->s->documents_path, "read");
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
        off_t from = (off_t)(c->token * width + b * block);
        if (!mu_pread_all(c->tokens, c->block, n, from))
            return io_error(c->s->tokens_path, "read");
        blocks[b] = XXH3_64bits(c->block, n);
        if (!mu_pwrite_all(fd, c->block, n, (off_t)(shard->tokens_at + b * block)))
            return io_error(path, "write");
        /* gives the spool's room back; where that cannot be done, the spool goes at the end */
        (void)fallocate(c->tokens, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, (off_t)n);
    }
    return MU_OK;
}

static mu_status_t fill_shard(cutter_t *c, const char *path, mu_data_shard_t *shard)
{
    MU_TRY(mu_data_shard_lay_out(path, c->s->manifest.token_bytes, shard));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return io_error(path, "open");
    size_t starts = (size_t)(shard->documents + 1) * 8,
           count = (size_t)mu_data_shard_blocks(shard->tokens) * 8;
    uint64_t *blocks = mu_alloc(count);
    mu_status_t status = copy_tokens(c, fd, path, shard, blocks);
    if (status == MU_OK && (!mu_pwrite_all(fd, c->starts, starts, (off_t)shard->documents_at) ||
                            !mu_pwrite_all(fd, blocks, count, (off_t)shard->blocks_at) || fsync(fd) != 0))
        status = io_error(path, "write");
    mu_digest_t *tables = mu_digest_new();
    mu_digest_add(tables, c->starts, starts);
    mu_digest_add(tables, blocks, count);
    mu_digest_hex(tables, shard->tables);
    mu_digest_free(tables);
    free(blocks);
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

static mu_status_t check_bounds(const mu_shards_t *s, const int64_t bounds[4])
{
    double ratio[3];
    MU_TRY(mu_split_parse(s->manifest.split, ratio));
    if (s->count == 0)
        return mu_fail(MU_DATA, "the input holds no document");
    for (int i = 0; i < MU_DATA_SPLITS; i++) {
        if (ratio[i] > 0 && bounds[i] == bounds[i + 1])
            return mu_fail(
                MU_DATA,
                "%s would be empty: split '%s' gives it %.3g %% of %lld documents: give more documents (is "
                "--document right?), or another split, as \"1, 0, 0\"",
                mu_data_split_name((mu_data_split_t)i), s->manifest.split, 100 * ratio[i],
                (long long)s->count);
    }
    return MU_OK;
}

static mu_status_t cut(mu_shards_t *s)
{
    int64_t bounds[4];
    cutter_t c = {.s = s, .tokens = -1, .documents = -1, .starts_room = 1024};
    mu_status_t status;
    c.starts = mu_alloc((size_t)c.starts_room * sizeof *c.starts);
    c.block = mu_alloc((size_t)MU_BLOCK_TOKENS * 4);
    MU_TRY_GOTO(status, end_spool(&s->tokens, s->tokens_path, &c.tokens), out);
    MU_TRY_GOTO(status, end_spool(&s->documents, s->documents_path, &c.documents), out);
    MU_TRY_GOTO(status, mu_split_bounds(s->manifest.split, s->count, bounds), out);
    MU_TRY_GOTO(status, check_bounds(s, bounds), out);
    for (int i = 0; i < MU_DATA_SPLITS && status == MU_OK; i++)
        status = cut_split(&c, (mu_data_split_t)i, bounds[i + 1]);
out:
    if (c.tokens >= 0)
        close(c.tokens);
    if (c.documents >= 0)
        close(c.documents);
    unlink(s->tokens_path);
    unlink(s->documents_path);
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

mu_status_t mu_shards_finish(mu_shards_t *s, mu_shards_summary_t *summary)
{
    MU_TRY(cut(s));
    MU_TRY(write_manifest(s));
    MU_TRY(publish(s));
    *summary = (mu_shards_summary_t){.shards = s->manifest.count};
    for (int i = 0; i < s->manifest.count; i++) {
        const mu_data_shard_t *shard = &s->manifest.shards[i];
        summary->documents[shard->split] += shard->documents;
        summary->tokens[shard->split] += shard->tokens;
        summary->text_bytes[shard->split] += shard->text_bytes;
    }
    snprintf(summary->version, MU_DIGEST_HEX, "%s", s->manifest.version);
    return MU_OK;
}
