#include "dataset/order/order.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "common/token_marks.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* The head of the index file; docs, position, offset and shuffle follow, 4 bytes an entry. */
typedef struct head {
    char magic[8];
    char version[32]; /* of the data */
    uint64_t split, seq_length, seed, epochs;
    uint64_t entries, samples; /* docs has `entries`; position and offset samples + 1; shuffle samples */
    uint64_t digest;           /* XXH3, 64 bits, of what follows */
    uint64_t reserved;
} head_t;
_Static_assert(sizeof(head_t) == 104, "the head has no holes");

struct mu_order {
    mu_dataset_t *ds;
    mu_data_split_t split;
    bool borders; /* beginnings of documents are marked */
    head_t head;  /* what the index must say; digest apart */
    unsigned char *map;
    size_t bytes;
    uint32_t *docs, *position, *offset, *shuffle; /* in map */
};

/* ---- sizes ---- */

int64_t mu_order_epoch_samples(const mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length,
                               int64_t epochs)
{
    int64_t tokens = mu_dataset_tokens(ds, split), all;
    if (tokens <= 0 || epochs <= 0)
        return 0;
    if (__builtin_mul_overflow(tokens, epochs, &all))
        all = INT64_MAX;
    return (all - 1) / seq_length;
}

void mu_order_counts(int64_t train_iters, int64_t eval_interval, int64_t eval_iters, int64_t global_batch,
                     int64_t out[MU_DATA_SPLITS])
{
    int64_t evaluations = eval_interval > 0 ? train_iters / eval_interval + 1 : 1;
    out[MU_TRAIN] = train_iters * global_batch;
    out[MU_VALID] = evaluations * eval_iters * global_batch;
    out[MU_TEST] = eval_iters * global_batch;
}

static mu_status_t plan(mu_order_t *order, int64_t seq_length, uint32_t seed, int64_t samples)
{
    const mu_dataset_t *ds = order->ds;
    const char *name = mu_data_split_name(order->split);
    int64_t tokens = mu_dataset_tokens(ds, order->split), documents = mu_dataset_documents(ds, order->split),
            wanted;
    if (tokens <= 0)
        return mu_fail(MU_DATA, "%s: its %s split holds no tokens: give it another split",
                       mu_dataset_path(ds), name);
    /* smallest e with (e * tokens - 1) / seq_length >= samples */
    if (__builtin_mul_overflow(mu_max_i64(samples, 1), seq_length, &wanted) || wanted == INT64_MAX)
        return mu_fail(MU_CONFIG, "%lld samples of %lld tokens: more than can be counted", (long long)samples,
                       (long long)seq_length);
    int64_t epochs = wanted / tokens + 1;
    int64_t n = mu_order_epoch_samples(ds, order->split, seq_length, epochs);
    if (epochs > UINT32_MAX / documents || n >= UINT32_MAX)
        return mu_fail(
            MU_CONFIG,
            "%s: %lld samples take %lld epochs of the %lld documents of %s: the order counts to 2^32 only: "
            "train for fewer steps, or on more data",
            mu_dataset_path(ds), (long long)samples, (long long)epochs, (long long)documents, name);
    for (int64_t i = 0; i < documents; i++) {
        if (mu_dataset_length(ds, order->split, i) > UINT32_MAX)
            return mu_fail(MU_CONFIG, "%s: document %lld of %s has more than 2^32 tokens",
                           mu_dataset_path(ds), (long long)i, name);
    }
    head_t *head = &order->head;
    memcpy(head->magic, "MUORDER1", 8);
    memcpy(head->version, mu_dataset_version(ds), 32);
    head->split = (uint64_t)order->split;
    head->seq_length = (uint64_t)seq_length;
    head->seed = seed;
    head->epochs = (uint64_t)epochs;
    head->entries = (uint64_t)(documents * epochs);
    head->samples = (uint64_t)n;
    order->bytes = sizeof *head + 4 * (head->entries + 3 * head->samples + 2);
    return MU_OK;
}

static void set_arrays(mu_order_t *order)
{
    order->docs = (uint32_t *)(void *)(order->map + sizeof(head_t));
    order->position = order->docs + order->head.entries;
    order->offset = order->position + order->head.samples + 1;
    order->shuffle = order->offset + order->head.samples + 1;
}

static uint64_t digest_of(const mu_order_t *order)
{
    return XXH3_64bits(order->map + sizeof(head_t), order->bytes - sizeof(head_t));
}

/* ---- building ---- */

void mu_order_cut(const mu_dataset_t *ds, mu_data_split_t split, const uint32_t *docs, int64_t seq_length,
                  int64_t n, uint32_t *position, uint32_t *offset)
{
    uint32_t at = 0;
    int64_t inside = 0; /* tokens of docs[at] that are in samples already */
    position[0] = offset[0] = 0;
    for (int64_t i = 1; i <= n; i++) {
        /* a sample's last token is the next one's first: its document is where the next one begins */
        int64_t want = seq_length + 1, left;
        while ((left = mu_dataset_length(ds, split, docs[at]) - inside) < want) {
            want -= left;
            at++;
            inside = 0;
        }
        inside += want - 1;
        position[i] = at;
        offset[i] = (uint32_t)inside;
    }
}

static void build(mu_order_t *order)
{
    mu_mt19937_t rng;
    const head_t *head = &order->head;
    size_t documents = (size_t)(head->entries / head->epochs);
    for (size_t i = 0; i < head->entries; i++)
        order->docs[i] = (uint32_t)(i % documents);
    mu_mt19937_seed(&rng, (uint32_t)head->seed);
    mu_mt19937_shuffle(&rng, order->docs, head->entries);
    mu_order_cut(order->ds, order->split, order->docs, (int64_t)head->seq_length, (int64_t)head->samples,
                 order->position, order->offset);
    for (size_t i = 0; i < head->samples; i++)
        order->shuffle[i] = (uint32_t)i;
    mu_mt19937_shuffle(&rng, order->shuffle, head->samples);
}

static mu_status_t build_in_memory(mu_order_t *order)
{
    order->map = mmap(NULL, order->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (order->map == MAP_FAILED) {
        order->map = NULL;
        return mu_fail(MU_NOMEM, "%s: no %zu bytes of memory for the order of samples",
                       mu_dataset_path(order->ds), order->bytes);
    }
    set_arrays(order);
    build(order);
    return MU_OK;
}

/* Builds inside the mapped file: its pages go to disk as memory runs short. */
static mu_status_t build_in_file(mu_order_t *order, int fd, const char *path)
{
    int rc = posix_fallocate(fd, 0, (off_t)order->bytes); /* a full disk is found here, and not by SIGBUS */
    if (rc != 0)
        return mu_fail(MU_IO, "%s: cannot allocate %zu bytes: %s", path, order->bytes, strerror(rc));
    order->map = mmap(NULL, order->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (order->map == MAP_FAILED) {
        order->map = NULL;
        return mu_fail(MU_IO, "%s: cannot map: %s", path, strerror(errno));
    }
    set_arrays(order);
    build(order);
    order->head.digest = digest_of(order);
    memcpy(order->map, &order->head, sizeof order->head);
    if (msync(order->map, order->bytes, MS_SYNC) != 0 || fsync(fd) != 0)
        return mu_fail(MU_IO, "%s: cannot write: %s", path, strerror(errno));
    return MU_OK;
}

static mu_status_t build_and_keep(mu_order_t *order, const char *dir, const char *path)
{
    int64_t begun = mu_now_ns();
    char *temporary = mu_format("%s.tmp-%ld", path, (long)getpid());
    int fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    mu_status_t status;
    if (fd < 0) {
        status = mu_fail(MU_RUNDIR, "%s: cannot create: %s", temporary, strerror(errno));
        goto out;
    }
    status = build_in_file(order, fd, temporary);
    if (status == MU_OK && rename(temporary, path) != 0)
        status = mu_fail(MU_IO, "%s: cannot rename to '%s': %s", temporary, path, strerror(errno));
    if (status == MU_OK)
        status = mu_sync_dir(dir);
    else
        unlink(temporary);
    close(fd);
    if (status == MU_OK)
        mu_info("%s: order of %llu samples of %s made in %.1f s", mu_dataset_path(order->ds),
                (unsigned long long)order->head.samples, mu_data_split_name(order->split),
                (double)(mu_now_ns() - begun) * 1e-9);
out:
    free(temporary);
    return status;
}

/* ---- the kept index ---- */

static char *index_path(const mu_order_t *order, const char *dir)
{
    char hex[MU_DIGEST_HEX];
    mu_digest_bytes(&order->head, sizeof order->head, hex); /* digest is still 0 */
    char *name = mu_format("order-%s-%s.idx", mu_data_split_name(order->split), hex);
    char *path = mu_path_join(dir, name);
    free(name);
    return path;
}

static bool head_matches(const mu_order_t *order, head_t found)
{
    found.digest = 0;
    return memcmp(&found, &order->head, sizeof found) == 0;
}

/* Maps the file when it is the wanted index, whole. */
static bool map_kept(mu_order_t *order, const char *path)
{
    struct stat st;
    head_t head;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool good = fstat(fd, &st) == 0 && (uint64_t)st.st_size == order->bytes &&
                mu_pread_all(fd, &head, sizeof head, 0) && head_matches(order, head);
    if (good) {
        order->map = mmap(NULL, order->bytes, PROT_READ, MAP_SHARED, fd, 0);
        good = order->map != MAP_FAILED;
        if (!good)
            order->map = NULL;
    }
    close(fd);
    if (good && digest_of(order) != head.digest) {
        munmap(order->map, order->bytes);
        order->map = NULL;
        good = false;
    }
    if (good)
        set_arrays(order);
    else
        mu_warn("%s: damaged order of samples: made again", path);
    return good;
}

mu_status_t mu_order_open(mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length, uint32_t seed,
                          int64_t samples, const char *cache_dir, mu_order_t **out)
{
    mu_order_t *order = mu_calloc(1, sizeof *order);
    order->ds = ds;
    order->split = split;
    mu_status_t status = plan(order, seq_length, seed, samples);
    if (status == MU_OK && !cache_dir) {
        status = build_in_memory(order);
    } else if (status == MU_OK) {
        char *path = index_path(order, cache_dir);
        if (!map_kept(order, path))
            status = build_and_keep(order, cache_dir, path);
        free(path);
    }
    if (status == MU_OK)
        *out = order;
    else
        mu_order_close(order);
    return status;
}

void mu_order_close(mu_order_t *order)
{
    if (!order)
        return;
    if (order->map)
        munmap(order->map, order->bytes);
    free(order);
}

void mu_order_mark_borders(mu_order_t *order, bool borders)
{
    order->borders = borders;
}

int64_t mu_order_samples(const mu_order_t *order)
{
    return (int64_t)order->head.samples;
}

int64_t mu_order_epochs(const mu_order_t *order)
{
    return (int64_t)order->head.epochs;
}

mu_status_t mu_order_sample(mu_order_t *order, int64_t j, int32_t *tokens)
{
    uint32_t i = order->shuffle[(uint64_t)j % order->head.samples];
    uint32_t at = order->position[i], last = order->position[i + 1];
    int64_t from = order->offset[i];
    for (; at <= last; at++, from = 0) {
        uint32_t doc = order->docs[at];
        int64_t end =
            at == last ? (int64_t)order->offset[i + 1] + 1 : mu_dataset_length(order->ds, order->split, doc);
        MU_TRY(mu_dataset_read_marked(order->ds, order->split, doc, from, end - from, tokens));
        if (order->borders && from == 0 && end > 0)
            tokens[0] |= MU_TOKEN_BEGINS;
        tokens += end - from;
    }
    return MU_OK;
}
