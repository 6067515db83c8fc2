#include "worker/train/background_save.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/machine.h"
#include "common/num.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Above the computing threads' value. Those weigh 1024 to the scheduler's 56 then: the two that write get a tenth. */
enum { NICE = 13 };

static mu_status_t refuse(const mu_run_t *run, uint64_t bytes, int neighbours, int64_t room)
{
    char one[32], all[32], there[32];
    return mu_fail(
        MU_CONFIG,
        "muster.async_checkpoint (%s): a copy of the state takes %s a worker, %s on this host, and %s of "
        "memory are available: set it to off, or use more hosts",
        mu_config_origin(run->config, "muster.async_checkpoint"), mu_human_bytes(bytes, one, sizeof one),
        mu_human_bytes(bytes * (uint64_t)neighbours, all, sizeof all),
        mu_human_bytes((uint64_t)mu_max_i64(room, 0), there, sizeof there));
}

/* Whether to reserve: by the rule in the header. */
static mu_status_t judge(const mu_run_t *run, uint64_t bytes, int neighbours, bool *wanted)
{
    int64_t room = mu_machine_room("/proc", "/sys").memory;
    int64_t all = (int64_t)bytes * neighbours;
    if (run->config->muster.async_checkpoint == MU_CHOICE_ON) {
        *wanted = true;
        return room >= 0 && room < all ? refuse(run, bytes, neighbours, room) : MU_OK;
    }
    *wanted = (int64_t)bytes >= MU_BACKGROUND_LEAST && room / 2 >= all;
    return MU_OK;
}

/* All pages at once, in huge ones where there are any: no copy waits for the kernel to find them. */
static mu_status_t get_memory(uint64_t bytes, void **out)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return mu_fail(MU_NOMEM, "no memory for %llu bytes of a copy of the state: %s",
                       (unsigned long long)bytes, strerror(errno));
    (void)madvise(memory, bytes, MADV_HUGEPAGE); /* a matter of speed */
#ifdef MADV_POPULATE_WRITE
    if (madvise(memory, bytes, MADV_POPULATE_WRITE) != 0) /* an older kernel */
#endif
        for (uint64_t at = 0; at < bytes; at += 4096)
            ((volatile char *)memory)[at] = 0;
    *out = memory;
    return MU_OK;
}

mu_status_t mu_background_save_reserve(const mu_run_t *run, mu_device_t *device, const mu_shard_plan_t *plan,
                                       int neighbours, mu_background_save_t *save)
{
    uint64_t bytes;
    bool wanted;
    if (run->config->muster.async_checkpoint == MU_CHOICE_OFF)
        return MU_OK;
    MU_TRY(mu_shard_copy_bytes(plan, &bytes));
    if (save->memory && save->bytes == bytes)
        return MU_OK;
    mu_background_save_release(save);
    MU_TRY(judge(run, bytes, neighbours, &wanted));
    if (!wanted)
        return MU_OK;
    MU_TRY(get_memory(bytes, &save->memory));
    save->bytes = bytes;
    save->device = device;
    save->pinned = device->ops->pin(device, save->memory, (int64_t)bytes);
    if (!save->pinned)
        mu_warn(
            "the memory for copies of the state cannot be pinned (ulimit -l?): checkpoints copy more slowly");
    return MU_OK;
}

static void *write_copy(void *arg)
{
    mu_background_save_t *save = arg;
    /* of this thread and of those it makes; more than 19 is 19 */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), getpriority(PRIO_PROCESS, 0) + NICE);
    save->status = mu_shard_write_copy(save->copy, &save->shard);
    save->seconds = (double)(mu_now_ns() - save->began_ns) * 1e-9;
    atomic_store(&save->done, true);
    return NULL;
}

mu_status_t mu_background_save_begin(mu_background_save_t *save, const mu_shard_plan_t *plan)
{
    save->began_ns = mu_now_ns();
    MU_TRY(mu_shard_copy_begin(plan, save->memory, save->bytes, &save->copy));
    atomic_store(&save->done, false);
    int rc = pthread_create(&save->thread, NULL, write_copy, save);
    if (rc != 0) {
        mu_shard_copy_free(save->copy);
        return mu_fail(MU_NOMEM, "no thread can be made to write a checkpoint: %s", strerror(rc));
    }
    save->active = true;
    save->held = false;
    return MU_OK;
}

void mu_background_save_hold(mu_background_save_t *save)
{
    (void)mu_shard_copy_rest(save->copy); /* the thread learns of a failure too */
    save->held = true;
}

void mu_background_save_give_up(mu_background_save_t *save)
{
    if (save->active)
        mu_shard_copy_give_up(save->copy);
}

bool mu_background_save_done(const mu_background_save_t *save)
{
    return save->active && atomic_load(&save->done);
}

uint64_t mu_background_save_written(const mu_background_save_t *save)
{
    return mu_shard_copy_written(save->copy);
}

mu_status_t mu_background_save_take(mu_background_save_t *save, mu_shard_t *out)
{
    pthread_join(save->thread, NULL);
    save->active = false;
    mu_shard_copy_free(save->copy);
    *out = save->shard;
    save->shard = (mu_shard_t){.slices = NULL};
    return save->status;
}

void mu_background_save_release(mu_background_save_t *save)
{
    if (save->pinned)
        save->device->ops->unpin(save->device, save->memory);
    if (save->memory)
        munmap(save->memory, save->bytes);
    save->memory = NULL;
    save->pinned = false;
}
