#include "common/checkpoint/checkpoint_reader.h"
#include "common/file.h"
#include "common/log.h"
#include "common/meter.h"
#include "common/num.h"
#include "common/checkpoint/frame.h"
#include "common/checkpoint/index.h"
#include "common/checkpoint/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    KEEP_OPEN = 256,
    BLOCK = 4 << 20,
    AHEAD = 16 << 20, /* bytes that the volume is asked for before they are read */
    TOKENIZER_LIMIT = 256 << 20
};

struct mu_checkpoint {
    char *path;
    int dir; /* every file is opened below it */
    mu_manifest_t manifest;
    mu_index_t index;
    atomic_int *fds; /* of the shards, -1 until opened; the first KEEP_OPEN stay open */
};

/* A regular file of the directory: never a link, never something that blocks. */
static mu_status_t open_regular(int dir, const char *name, struct stat *st, int *out, mu_buf_t *why)
{
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        mu_buf_addf(why, "'%s' is missing", name);
        return MU_DATA;
    }
    if (fd < 0) {
        mu_buf_addf(why, "'%s' cannot be opened: %s", name, strerror(errno));
        return errno == ELOOP || errno == ENXIO ? MU_DATA : MU_IO;
    }
    if (fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) {
        mu_buf_addf(why, "'%s' is not a regular file", name);
        close(fd);
        return MU_DATA;
    }
    *out = fd;
    return MU_OK;
}

static mu_status_t read_small(int dir, const char *name, size_t limit, mu_buf_t *out, mu_buf_t *why)
{
    struct stat st;
    int fd;
    MU_TRY(open_regular(dir, name, &st, &fd, why));
    mu_status_t status = MU_OK;
    if ((uint64_t)st.st_size > limit) {
        mu_buf_addf(why, "'%s' is larger than the %zu bytes that it may have", name, limit);
        status = MU_DATA;
    } else {
        mu_buf_reserve(out, (size_t)st.st_size);
        if (!mu_pread_all(fd, out->data, (size_t)st.st_size, 0)) {
            mu_buf_addf(why, "'%s' cannot be read: %s", name, strerror(errno));
            status = MU_IO;
        } else {
            out->len = (size_t)st.st_size;
            out->data[out->len] = '\0';
        }
    }
    close(fd);
    return status;
}

/* Opens a shard and makes sure that it is the one which the manifest means. */
static mu_status_t open_shard(const mu_checkpoint_t *c, int index, int *out, mu_buf_t *why)
{
    const mu_shard_t *shard = &c->manifest.shards[index];
    const mu_checkpoint_info_t *info = &c->manifest.info;
    char want[MU_SHARD_HEADER], found[MU_SHARD_HEADER];
    struct stat st;
    int fd;
    MU_TRY(open_regular(c->dir, shard->name, &st, &fd, why));
    if ((uint64_t)st.st_size != shard->size) {
        mu_buf_addf(why, "'%s' has %lld bytes instead of %llu", shard->name, (long long)st.st_size,
                    (unsigned long long)shard->size);
        goto bad;
    }
    mu_shard_header(info->run_id, info->step, info->attempt, shard->name, want);
    if (!mu_pread_all(fd, found, sizeof found, 0) || memcmp(want, found, sizeof want) != 0) {
        mu_buf_addf(why,
                    "'%s' does not begin with the name of this run, step, attempt and file: it is damaged or "
                    "belongs to another checkpoint",
                    shard->name);
        goto bad;
    }
    *out = fd;
    return MU_OK;
bad:
    close(fd);
    return MU_DATA;
}

/* The descriptor of a shard; *ours says that the caller closes it. Threads may race to be the first: one
 * wins. */
static mu_status_t borrow_shard(const mu_checkpoint_t *c, int index, int *fd, bool *ours, mu_buf_t *why)
{
    int found = atomic_load(&c->fds[index]), none = -1;
    *ours = false;
    if (found < 0) {
        MU_TRY(open_shard(c, index, &found, why));
        if (index >= KEEP_OPEN) {
            *ours = true;
        } else if (!atomic_compare_exchange_strong(&c->fds[index], &none, found)) {
            close(found);
            found = none;
        }
    }
    *fd = found;
    return MU_OK;
}

void mu_checkpoint_close(mu_checkpoint_t *c)
{
    if (!c)
        return;
    for (int i = 0; c->fds && i < c->manifest.shard_count; i++)
        if (c->fds[i] >= 0)
            close(c->fds[i]);
    free(c->fds);
    mu_index_release(&c->index);
    mu_manifest_release(&c->manifest);
    if (c->dir >= 0)
        close(c->dir);
    free(c->path);
    free(c);
}

static mu_status_t read_manifest(mu_checkpoint_t *c, mu_buf_t *why)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_t reason = MU_BUF_INIT;
    mu_status_t status = read_small(c->dir, MU_MANIFEST_NAME, MU_MANIFEST_LIMIT, &text, why);
    if (status == MU_OK && !mu_manifest_parse(text.data, text.len, &c->manifest, &reason)) {
        mu_buf_addf(why, "'%s' %s%s", MU_MANIFEST_NAME, reason.data[0] == '\'' ? "is wrong: " : "",
                    reason.data);
        status = MU_DATA;
    }
    mu_buf_release(&reason);
    mu_buf_release(&text);
    return status;
}

mu_status_t mu_checkpoint_open_manifest(const char *name, const char *text, size_t n, mu_checkpoint_t **out)
{
    mu_checkpoint_t *c = mu_calloc(1, sizeof *c);
    mu_buf_t why = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    c->path = mu_strdup(name);
    c->dir = -1;
    if (!mu_manifest_parse(text, n, &c->manifest, &why))
        status = mu_fail(MU_DATA, "%s: '%s' is wrong: %s", name, MU_MANIFEST_NAME, why.data);
    mu_buf_release(&why);
    if (status != MU_OK) {
        mu_checkpoint_close(c);
        return status;
    }
    mu_index_build(&c->manifest, &c->index);
    *out = c;
    return MU_OK;
}

mu_status_t mu_checkpoint_open_why(const char *path, mu_checkpoint_t **out, mu_buf_t *why)
{
    mu_status_t status;
    mu_checkpoint_t *c = mu_calloc(1, sizeof *c);
    c->path = mu_strdup(path);
    c->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->dir < 0) {
        mu_buf_addf(why, "cannot open directory: %s", strerror(errno));
        status = errno == ENOENT || errno == ENOTDIR ? MU_NOINPUT : MU_IO;
        goto fail;
    }
    MU_TRY_GOTO(status, read_manifest(c, why), fail);
    mu_index_build(&c->manifest, &c->index);
    c->fds = mu_alloc(sizeof *c->fds * (size_t)c->manifest.shard_count);
    for (int i = 0; i < c->manifest.shard_count; i++)
        atomic_init(&c->fds[i], -1);
    for (int i = 0; i < c->manifest.shard_count; i++) {
        int fd;
        bool ours;
        MU_TRY_GOTO(status, borrow_shard(c, i, &fd, &ours, why), fail);
        if (ours)
            close(fd);
    }
    if (c->manifest.info.tokenizer_digest) {
        struct stat st;
        int fd;
        MU_TRY_GOTO(status, open_regular(c->dir, MU_TOKENIZER_NAME, &st, &fd, why), fail);
        close(fd);
    }
    *out = c;
    return MU_OK;
fail:
    mu_checkpoint_close(c);
    return status;
}

mu_status_t mu_checkpoint_open(const char *path, mu_checkpoint_t **out)
{
    mu_buf_t why = MU_BUF_INIT;
    mu_status_t status = mu_checkpoint_open_why(path, out, &why);
    if (status != MU_OK)
        mu_error("checkpoint '%s': %s", path, why.data);
    mu_buf_release(&why);
    return status;
}

const mu_manifest_t *mu_checkpoint_manifest(const mu_checkpoint_t *checkpoint)
{
    return &checkpoint->manifest;
}

const char *mu_checkpoint_path(const mu_checkpoint_t *checkpoint)
{
    return checkpoint->path;
}

int mu_checkpoint_find(const mu_checkpoint_t *checkpoint, const char *tensor)
{
    for (int i = 0; i < checkpoint->manifest.tensor_count; i++)
        if (strcmp(checkpoint->manifest.tensors[i].name, tensor) == 0)
            return i;
    return -1;
}

/* What a caller wants of a tensor, in global coordinates, and where to. */
typedef struct mu_want {
    int64_t offset[2], count[2];
    float *out;
} mu_want_t;

/* Copies what is wanted of `n` values that lie in a slice from its value number `first` on. */
static void copy_wanted(const mu_slice_t *slice, int64_t first, int64_t n, const float *values,
                        const mu_want_t *want)
{
    for (int64_t run; n > 0; first += run, values += run, n -= run) {
        int64_t column = first % slice->count[1];
        run = mu_min_i64(n, slice->count[1] - column);
        int64_t row = slice->offset[0] + first / slice->count[1] - want->offset[0];
        if (row < 0 || row >= want->count[0])
            continue;
        int64_t from = mu_max_i64(slice->offset[1] + column, want->offset[1]);
        int64_t to = mu_min_i64(slice->offset[1] + column + run, want->offset[1] + want->count[1]);
        if (from < to)
            memcpy(want->out + row * want->count[1] + (from - want->offset[1]),
                   values + (from - slice->offset[1] - column), sizeof(float) * (size_t)(to - from));
    }
}

/* The volume begins to read; nobody waits. A hint: an error shows when the bytes are read. */
static void read_ahead(int fd, const mu_stored_t *stored, uint64_t from)
{
    uint64_t total = mu_slice_bytes(&stored->slice), n = total - from < AHEAD ? total - from : AHEAD;
    (void)posix_fadvise(fd, (off_t)(stored->at + from), (off_t)n, POSIX_FADV_WILLNEED);
}

/* Where `n` values of a slice from its value number `first` on lie in what is wanted, when they lie there in one
 * piece; else NULL. Then they are read to their place, and not copied. */
static float *place_wanted(const mu_slice_t *slice, int64_t first, int64_t n, const mu_want_t *want)
{
    if (!want || slice->offset[1] != want->offset[1] || slice->count[1] != want->count[1])
        return NULL;
    int64_t at = (slice->offset[0] - want->offset[0]) * want->count[1] + first;
    return at >= 0 && at + n <= want->count[0] * want->count[1] ? want->out + at : NULL;
}

/* Reads a slice once, digesting every byte and copying what is wanted (NULL: nothing). */
static mu_status_t read_slice(const mu_checkpoint_t *c, int fd, const mu_shard_t *shard,
                              const mu_stored_t *stored, const mu_want_t *want, float *block, mu_buf_t *why)
{
    int64_t total = stored->slice.count[0] * stored->slice.count[1], most = BLOCK / (int64_t)sizeof(float);
    mu_status_t status = MU_OK;
    char digest[MU_DIGEST_HEX];
    mu_digest_t *running = mu_digest_new();
    for (int64_t done = 0, n; done < total; done += n) {
        n = mu_min_i64(most, total - done);
        size_t bytes = sizeof(float) * (size_t)n;
        uint64_t at = stored->at + sizeof(float) * (uint64_t)done;
        float *place = place_wanted(&stored->slice, done, n, want), *to = place ? place : block;
        if (total > most)
            read_ahead(fd, stored, sizeof(float) * (uint64_t)done);
        if (!mu_pread_all(fd, to, bytes, (off_t)at)) {
            mu_buf_addf(why, "'%s' cannot be read at byte %llu: %s", shard->name, (unsigned long long)at,
                        errno == EPROTO ? "the file has been cut off" : strerror(errno));
            status = errno == EPROTO ? MU_DATA : MU_IO;
            goto out;
        }
        mu_digest_add(running, to, bytes);
        if (want && !place)
            copy_wanted(&stored->slice, done, n, block, want);
    }
    mu_digest_hex(running, digest);
    if (strcmp(digest, stored->digest) != 0) {
        mu_buf_addf(why, "'%s' is damaged between byte %llu and %llu (%s/%s): digest %s instead of %s",
                    shard->name, (unsigned long long)stored->at,
                    (unsigned long long)(stored->at + mu_slice_bytes(&stored->slice)),
                    mu_state_name(stored->slice.state), c->manifest.tensors[stored->slice.tensor].name,
                    digest, stored->digest);
        status = MU_DATA;
    }
out:
    mu_digest_free(running);
    return status;
}

static bool meets(const mu_slice_t *slice, const mu_want_t *want)
{
    for (int d = 0; d < 2; d++)
        if (slice->offset[d] >= want->offset[d] + want->count[d] ||
            want->offset[d] >= slice->offset[d] + slice->count[d])
            return false;
    return true;
}

static mu_status_t read_wanted(const mu_checkpoint_t *c, int group, const mu_want_t *want, mu_buf_t *why)
{
    mu_status_t status = MU_OK;
    float *block = mu_alloc(BLOCK);
    for (int i = c->index.begin[group]; status == MU_OK && i < c->index.begin[group + 1]; i++) {
        const mu_index_entry_t *entry = &c->index.entries[i];
        int fd;
        bool ours;
        if (!meets(&entry->stored->slice, want))
            continue;
        status = borrow_shard(c, entry->shard, &fd, &ours, why);
        if (status != MU_OK)
            break;
        status = read_slice(c, fd, &c->manifest.shards[entry->shard], entry->stored, want, block, why);
        if (ours)
            close(fd);
    }
    free(block);
    return status;
}

void mu_checkpoint_expect(const mu_checkpoint_t *c, const char *tensor, mu_state_t state,
                          const int64_t offset[2], const int64_t count[2])
{
    mu_want_t want = {{offset[0], offset[1]}, {count[0], count[1]}, NULL};
    int index = mu_checkpoint_find(c, tensor);
    if (index < 0)
        return;
    int group = index * MU_STATE_COUNT + (int)state;
    for (int i = c->index.begin[group]; i < c->index.begin[group + 1]; i++) {
        const mu_index_entry_t *entry = &c->index.entries[i];
        int fd = atomic_load(&c->fds[entry->shard]);
        if (fd >= 0 && meets(&entry->stored->slice, &want))
            read_ahead(fd, entry->stored, 0);
    }
}

mu_status_t mu_checkpoint_read(const mu_checkpoint_t *c, const char *tensor, mu_state_t state,
                               const int64_t offset[2], const int64_t count[2], float *out)
{
    int index = mu_checkpoint_find(c, tensor);
    if (index < 0)
        return mu_fail(MU_DATA, "checkpoint '%s': has no tensor '%s'", c->path, tensor);
    if (state != MU_STATE_WEIGHT && !c->manifest.optimizer)
        return mu_fail(MU_DATA, "checkpoint '%s': was saved without optimizer state, so it has no %s/%s",
                       c->path, mu_state_name(state), tensor);
    const int64_t *shape = c->manifest.tensors[index].shape;
    for (int d = 0; d < 2; d++)
        if (offset[d] < 0 || count[d] < 0 || offset[d] > shape[d] || count[d] > shape[d] - offset[d])
            return mu_fail(
                MU_DATA,
                "checkpoint '%s': '%s' is %lld x %lld; %lld x %lld values from (%lld, %lld) are wanted",
                c->path, tensor, (long long)shape[0], (long long)shape[1], (long long)count[0],
                (long long)count[1], (long long)offset[0], (long long)offset[1]);
    mu_want_t want = {{offset[0], offset[1]}, {count[0], count[1]}, out};
    mu_buf_t why = MU_BUF_INIT;
    mu_status_t status = read_wanted(c, index * MU_STATE_COUNT + (int)state, &want, &why);
    if (status != MU_OK)
        mu_error("checkpoint '%s': %s", c->path, why.data);
    mu_buf_release(&why);
    return status;
}

mu_status_t mu_checkpoint_match(const mu_checkpoint_t *c, const mu_model_t *model)
{
    mu_status_t status = MU_OK;
    int first = mu_model_saved_first(model), count = mu_model_tensor_count(model);
    for (int i = first; i < count; i++) {
        mu_tensor_t t;
        mu_model_tensor(model, i, &t);
        int found = mu_checkpoint_find(c, t.name);
        const int64_t *shape = found < 0 ? NULL : c->manifest.tensors[found].shape;
        if (!shape)
            status = mu_fail(MU_CONFIG, "checkpoint '%s': has no tensor '%s', which the model has", c->path,
                             t.name);
        else if (shape[0] != t.shape[0] || shape[1] != t.shape[1])
            status = mu_fail(MU_CONFIG, "checkpoint '%s': '%s' is %lld x %lld, the model's is %lld x %lld",
                             c->path, t.name, (long long)shape[0], (long long)shape[1], (long long)t.shape[0],
                             (long long)t.shape[1]);
    }
    for (int i = 0; i < c->manifest.tensor_count; i++)
        if (mu_model_tensor_find(model, c->manifest.tensors[i].name) < first)
            status = mu_fail(MU_CONFIG, "checkpoint '%s': has a tensor '%s', which the model has not",
                             c->path, c->manifest.tensors[i].name);
    return status;
}

/* Appends a reason after others. */
static void also(mu_buf_t *why, const mu_buf_t *reason)
{
    mu_buf_addf(why, "%s%s", why->len ? "; " : "", reason->data);
}

/* Every byte of one shard, in the order of the bytes. */
static mu_status_t verify_shard(const mu_checkpoint_t *c, int index, float *block, mu_buf_t *why)
{
    const mu_shard_t *shard = &c->manifest.shards[index];
    mu_buf_t reason = MU_BUF_INIT;
    char digest[MU_DIGEST_HEX];
    int fd = -1;
    bool ours = false;
    mu_status_t status = borrow_shard(c, index, &fd, &ours, &reason), one;
    if (status != MU_OK) {
        also(why, &reason);
        mu_buf_release(&reason);
        return status;
    }
    int *order = mu_frame_order(shard);
    for (int i = 0; i < shard->count; i++) {
        mu_buf_clear(&reason);
        one = read_slice(c, fd, shard, &shard->slices[order[i]], NULL, block, &reason);
        mu_meter_add(mu_slice_bytes(&shard->slices[order[i]].slice));
        if (one != MU_OK)
            also(why, &reason);
        status = status == MU_OK ? one : status;
    }
    mu_buf_clear(&reason);
    one = MU_OK;
    if (!mu_frame_digest(fd, shard, order, digest)) {
        one = errno == EPROTO ? MU_DATA : MU_IO;
        mu_buf_addf(&reason, "'%s' cannot be read: %s", shard->name, strerror(errno));
    } else if (strcmp(digest, shard->frame) != 0) {
        one = MU_DATA;
        mu_buf_addf(&reason, "'%s' is damaged outside its values, in what HDF5 wrote", shard->name);
    }
    if (one != MU_OK)
        also(why, &reason);
    free(order);
    mu_buf_release(&reason);
    if (ours)
        close(fd);
    return status == MU_OK ? one : status;
}

static mu_status_t verify_tokenizer(const mu_checkpoint_t *c, mu_buf_t *why)
{
    mu_buf_t text = MU_BUF_INIT, reason = MU_BUF_INIT;
    mu_status_t status = read_small(c->dir, MU_TOKENIZER_NAME, TOKENIZER_LIMIT, &text, &reason);
    char digest[MU_DIGEST_HEX];
    if (status == MU_OK) {
        mu_digest_bytes(text.data, text.len, digest);
        if (strcmp(digest, c->manifest.info.tokenizer_digest) != 0) {
            mu_buf_addf(&reason, "'%s' is damaged: digest %s instead of %s", MU_TOKENIZER_NAME, digest,
                        c->manifest.info.tokenizer_digest);
            status = MU_DATA;
        }
    }
    if (status != MU_OK)
        also(why, &reason);
    mu_buf_release(&reason);
    mu_buf_release(&text);
    return status;
}

mu_status_t mu_checkpoint_verify_why(const mu_checkpoint_t *c, int part, int parts, mu_buf_t *why)
{
    mu_status_t status = MU_OK;
    float *block = mu_alloc(BLOCK);
    for (int i = part; i < c->manifest.shard_count; i += parts)
        mu_meter_expect(c->manifest.shards[i].size);
    for (int i = part; i < c->manifest.shard_count; i += parts) {
        mu_status_t one = verify_shard(c, i, block, why);
        status = status == MU_OK ? one : status;
    }
    if (part == 0 && c->manifest.info.tokenizer_digest) {
        mu_status_t one = verify_tokenizer(c, why);
        status = status == MU_OK ? one : status;
    }
    free(block);
    return status;
}

mu_status_t mu_checkpoint_verify(const mu_checkpoint_t *c, int part, int parts)
{
    mu_buf_t why = MU_BUF_INIT;
    mu_status_t status = mu_checkpoint_verify_why(c, part, parts, &why);
    if (status != MU_OK)
        mu_error("checkpoint '%s': %s", c->path, why.data);
    mu_buf_release(&why);
    return status;
}
