/*
 * Where the time of a checkpoint goes, on the machine and the volume at hand.
 *
 *     bench_checkpoint_bytes DIR 70m|160m|410m|1.4b [WORKERS]           default 2 workers
 *
 * WORKERS processes hold the state of a model's dp replicas each, as a run does, and write a checkpoint below DIR
 * together: in one go as with async_checkpoint off, then by a copy in memory and its writing. Then each part of it
 * alone, and a load of all of it by all workers. DIR/cold, when it is there, is a command that is run before the load,
 * to drop caches. Prints "what seconds bytes": of the slowest worker, and of all workers together. Not a test: it
 * asserts nothing.
 */
#include "common/clock.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "common/checkpoint/checkpoint_reader.h"
#include "common/checkpoint/commit.h"
#include "kernels/device.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct shape {
    const char *name;
    int64_t layers, hidden, heads;
} shape_t;

static const shape_t shapes[] = {
    {"70m", 6, 512, 8}, {"160m", 12, 768, 12}, {"410m", 24, 1024, 16}, {"1.4b", 24, 2048, 16}};

enum { MOST_WORKERS = 16, PACKED = 4 << 20 };

/* Between the processes. */
typedef struct page {
    pthread_barrier_t barrier;
    int64_t ns[MOST_WORKERS];
    uint64_t bytes[MOST_WORKERS];
    size_t packed[MOST_WORKERS];
    char text[MOST_WORKERS][PACKED];
} page_t;

typedef struct worker {
    page_t *page;
    const char *dir;
    char *tmp;
    mu_model_t model;
    int rank, workers;
    float *state;   /* all values, slice by slice */
    int64_t *begin; /* [tensor][state] in it */
    mu_device_t *device;
    mu_shard_layout_t *layout;
    int64_t began;
} worker_t;

static mu_status_t read_state(void *arg, const mu_slice_t *slice, int64_t first, int64_t n, float *out)
{
    worker_t *w = arg;
    return w->device->ops->get(
        w->device, out, w->state + w->begin[slice->tensor * MU_STATE_COUNT + (int)slice->state] + first,
        n * (int64_t)sizeof *out);
}

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        exit(70);
    madvise(p, bytes, MADV_HUGEPAGE);
    memset(p, 0, bytes);
    return p;
}

static void make_state(worker_t *w)
{
    int count;
    int64_t total = 0;
    mu_slice_t *list = mu_slices_of(&w->model, 1, w->workers, 0, w->rank, true, &count);
    w->begin = mu_calloc((size_t)mu_model_tensor_count(&w->model) * MU_STATE_COUNT, sizeof *w->begin);
    for (int i = 0; i < count; i++) {
        w->begin[list[i].tensor * MU_STATE_COUNT + (int)list[i].state] = total;
        total += (list[i].count[0] * list[i].count[1] + 15) / 16 * 16;
    }
    w->state = map((size_t)total * sizeof *w->state);
    for (int64_t i = 0; i < total; i++)
        w->state[i] = (float)(i * 2654435761 % 1000003) * 1e-6f;
    free(list);
}

static void begin(worker_t *w)
{
    pthread_barrier_wait(&w->page->barrier);
    w->began = mu_now_ns();
}

static void done(worker_t *w, const char *what, uint64_t bytes)
{
    w->page->ns[w->rank] = mu_now_ns() - w->began;
    w->page->bytes[w->rank] = bytes;
    pthread_barrier_wait(&w->page->barrier);
    if (w->rank == 0) {
        int64_t ns = 0;
        uint64_t sum = 0;
        for (int i = 0; i < w->workers; i++) {
            ns = mu_max_i64(ns, w->page->ns[i]);
            sum += w->page->bytes[i];
        }
        printf("%-22s %8.3f s  %12llu bytes  %7.1f MB/s\n", what, (double)ns * 1e-9, (unsigned long long)sum,
               (double)sum / ((double)ns * 1e-3));
        fflush(stdout);
    }
    pthread_barrier_wait(&w->page->barrier);
}

static mu_shard_plan_t plan_of(worker_t *w)
{
    return (mu_shard_plan_t){.dir = w->tmp,
                             .model = &w->model,
                             .tp = 1,
                             .dp = w->workers,
                             .dp_rank = w->rank,
                             .optimizer = true,
                             .run_id = "bench",
                             .step = 1,
                             .read = read_state,
                             .arg = w,
                             .layout = w->layout};
}

static void need(mu_status_t status)
{
    if (status != MU_OK)
        _exit(mu_status_exit(status));
}

/* The shards become a checkpoint. */
static void commit(worker_t *w, const mu_shard_t *shard)
{
    mu_buf_t packed = MU_BUF_INIT;
    mu_shard_pack(shard, &packed);
    w->page->packed[w->rank] = packed.len;
    memcpy(w->page->text[w->rank], packed.data, packed.len);
    mu_buf_release(&packed);
    begin(w);
    if (w->rank == 0) {
        mu_shard_t *all = mu_calloc((size_t)w->workers, sizeof *all);
        mu_checkpoint_info_t info = {.run_id = mu_strdup("bench"), .tp = 1, .dp = w->workers, .step = 1};
        info.config = mu_strdup("");
        info.schedule.style = mu_strdup("constant");
        info.environment.device = mu_strdup("cpu");
        info.environment.instruction_set = mu_strdup("");
        info.environment.libraries = mu_strdup("");
        mu_commit_t what = {
            .info = &info, .model = &w->model, .optimizer = true, .shards = all, .shard_count = w->workers};
        for (int i = 0; i < w->workers; i++)
            need(mu_shard_unpack(w->page->text[i], w->page->packed[i], &all[i]));
        need(mu_checkpoint_commit(w->dir, w->tmp, &what));
    }
    done(w, "commit", 0);
}

static void start_save(worker_t *w)
{
    if (w->rank == 0) {
        char *tmp;
        need(mu_checkpoint_begin(w->dir, 1, 0, &tmp));
        free(tmp);
    }
}

/* Before the first checkpoint of a run. */
static void lay_out(worker_t *w)
{
    mu_shard_plan_t plan = plan_of(w);
    begin(w);
    need(mu_shard_layout_make(&plan, &w->layout));
    done(w, "lay out (HDF5)", 0);
}

static void save_at_once(worker_t *w)
{
    mu_shard_plan_t plan = plan_of(w);
    mu_shard_t shard;
    start_save(w);
    begin(w);
    need(mu_shard_write(&plan, &shard));
    done(w, "write at once", shard.size);
    commit(w, &shard);
    mu_shard_release(&shard);
}

static void save_by_copy(worker_t *w)
{
    mu_shard_plan_t plan = plan_of(w);
    mu_shard_copy_t *copy;
    mu_shard_t shard;
    uint64_t bytes;
    need(mu_shard_copy_bytes(&plan, &bytes));
    begin(w);
    char *memory = map(bytes);
    done(w, "reserve memory", bytes);
    start_save(w);
    for (int i = 0; i < 2; i++) {
        begin(w);
        need(mu_shard_copy(&plan, memory, bytes, &copy));
        done(w, "copy (the stall)", bytes);
        if (i == 0)
            mu_shard_copy_free(copy);
    }
    begin(w);
    need(mu_shard_write_copy(copy, &shard));
    done(w, "write the copy", shard.size);
    commit(w, &shard);
    mu_shard_copy_free(copy);
    mu_shard_release(&shard);
    munmap(memory, bytes);
}

/* What a write is made of, each alone. */
static void parts(worker_t *w, size_t bytes)
{
    enum { BLOCK = 4 << 20 };
    char digest[MU_DIGEST_HEX], *block = aligned_alloc(4096, BLOCK);
    char *path = mu_format("%s/parts-%d", w->dir, w->rank);
    bytes = bytes / BLOCK * BLOCK;
    memset(block, 1, BLOCK);
    begin(w);
    for (size_t at = 0; at < bytes; at += BLOCK)
        memcpy(block, (char *)w->state + at, BLOCK);
    done(w, "part: copy by blocks", bytes);
    begin(w);
    mu_digest_bytes(w->state, bytes, digest);
    done(w, "part: digest", bytes);
    for (int direct = 0; direct < 2; direct++) {
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | (direct ? O_DIRECT : 0), 0600);
        begin(w);
        if (fd < 0 || fallocate(fd, 0, 0, (off_t)bytes) != 0)
            _exit(74);
        done(w, "part: reserve room", bytes);
        begin(w);
        for (size_t at = 0; at < bytes; at += BLOCK)
            if (!mu_pwrite_all(fd, block, BLOCK, (off_t)at))
                _exit(74);
        done(w, direct ? "part: direct write" : "part: page cache", bytes);
        begin(w);
        if (fsync(fd) != 0)
            _exit(74);
        done(w, direct ? "part: fsync, direct" : "part: fsync", bytes);
        close(fd);
        unlink(path);
    }
    free(block);
    free(path);
}

/* A replica's weights, and its part of the moments. */
static uint64_t part_of(const worker_t *w, const mu_tensor_t *t, int state, int64_t offset[2],
                        int64_t count[2])
{
    offset[0] = state == 0 ? 0 : mu_part_begin(t->shape[0], w->rank, w->workers);
    count[0] = (state == 0 ? t->shape[0] : mu_part_begin(t->shape[0], w->rank + 1, w->workers)) - offset[0];
    offset[1] = 0;
    count[1] = t->shape[1];
    return (uint64_t)(count[0] * count[1]) * sizeof(float);
}

static void load(worker_t *w)
{
    char *path = mu_format("%s/step-00000001", w->dir), *cold = mu_format("%s/cold", w->dir);
    int64_t offset[2], count[2];
    mu_checkpoint_t *checkpoint;
    mu_tensor_t t;
    uint64_t bytes = 0, most = 0;
    int tensors = mu_model_tensor_count(&w->model);
    for (int i = 0; i < tensors; i++) {
        mu_model_tensor(&w->model, i, &t);
        uint64_t n = part_of(w, &t, 0, offset, count);
        most = n > most ? n : most;
    }
    float *out = map(most);
    if (w->rank == 0 && mu_is_file(cold) && system(cold) != 0)
        _exit(1);
    begin(w);
    need(mu_checkpoint_open(path, &checkpoint));
    for (int i = 0; i < tensors; i++) {
        for (int s = 0; i + 1 < tensors && s < MU_STATE_COUNT; s++) {
            mu_model_tensor(&w->model, i + 1, &t);
            part_of(w, &t, s, offset, count);
            mu_checkpoint_expect(checkpoint, t.name, (mu_state_t)s, offset, count);
        }
        mu_model_tensor(&w->model, i, &t);
        for (int s = 0; s < MU_STATE_COUNT; s++) {
            uint64_t n = part_of(w, &t, s, offset, count);
            need(mu_checkpoint_read(checkpoint, t.name, (mu_state_t)s, offset, count, out));
            bytes += s > 0 || w->rank == 0
                         ? n
                         : 0; /* the weights are read by all, and come from the volume once */
        }
    }
    mu_checkpoint_close(checkpoint);
    done(w, "load", bytes);
    munmap(out, most);
    free(path);
    free(cold);
}

static int work(worker_t *w)
{
    w->tmp = mu_format("%s/step-00000001.tmp-0", w->dir);
    need(mu_device_cpu_new(1, &w->device));
    make_state(w);
    lay_out(w);
    save_at_once(w);
    save_by_copy(w);
    parts(w, (size_t)mu_model_parameters(&w->model) * 12 / (size_t)w->workers);
    load(w);
    return 0;
}

int main(int argc, char **argv)
{
    int64_t workers = 2;
    const shape_t *shape = NULL;
    for (size_t i = 0; argc >= 3 && i < sizeof shapes / sizeof *shapes; i++)
        if (strcmp(shapes[i].name, argv[2]) == 0)
            shape = &shapes[i];
    if (!shape || argc > 4 ||
        (argc == 4 && (!mu_parse_i64(argv[3], &workers) || workers < 1 || workers > MOST_WORKERS)))
        return mu_status_exit(
            mu_fail(MU_USAGE, "usage: bench_checkpoint_bytes DIR 70m|160m|410m|1.4b [WORKERS]"));
    page_t *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrierattr_t shared;
    pthread_barrierattr_init(&shared);
    pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&page->barrier, &shared, (unsigned)workers);
    mu_log_level_set(MU_LOG_ERROR);
    for (int rank = 0; rank < (int)workers; rank++) {
        worker_t w = {.page = page,
                      .dir = argv[1],
                      .rank = rank,
                      .workers = (int)workers,
                      .model = {.layers = shape->layers,
                                .hidden = shape->hidden,
                                .heads = shape->heads,
                                .ffn = 4 * shape->hidden,
                                .seq_length = 2048,
                                .max_positions = 2048,
                                .vocab = 50304,
                                .position = MU_POSITION_ROTARY,
                                .rotary_dims = shape->hidden / shape->heads / 4,
                                .norm_eps = 1e-5,
                                .init_std = 0.02}};
        if (fork() == 0)
            _exit(work(&w));
    }
    int status, code = 0;
    while (wait(&status) > 0)
        code = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? code : 1;
    return code;
}
