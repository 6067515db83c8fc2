#include "worker/train/device_context.h"
#include "common/buf.h"
#include "common/launch_env.h"
#include "common/log.h"
#include "kernels/cuda_load.h"
#include "worker/comm/comm_nccl.h"
#include "worker/guard/page.h"
#include "worker/train/device_context_impl.h"

#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

/* muster.threads_per_worker, or a share of the host's cores. */
static int threads_of(const mu_config_t *config, int sharers)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    if (config->muster.threads_per_worker > 0)
        return (int)config->muster.threads_per_worker;
    return cores / sharers > 0 ? cores / sharers : 1;
}

/* All workers call it. */
static int share_of_threads(const mu_run_t *run)
{
    mu_neighbours_t near;
    return threads_of(run->config, mu_device_context_neighbours(run, NULL, &near) == MU_OK ? near.count : 1);
}

/* Whether there is a driver to ask; without one a CUDA library built here says nothing about this host. A
 * library that was named is asked in any case. */
static bool has_driver(void)
{
    const char *named = getenv(MU_ENV_CUDA_LIBRARY);
    if (named && *named)
        return true;
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver)
        dlclose(driver);
    return driver != NULL;
}

/* GPUs that this process sees; 0 without a driver or without the CUDA part of muster. */
static mu_status_t count_gpus(mu_device_choice_t choice, int *out)
{
    const mu_cuda_plugin_t *cuda;
    *out = 0;
    if (choice == MU_DEVICE_CPU || (choice == MU_DEVICE_AUTO && !(mu_cuda_present() && has_driver())))
        return MU_OK;
    MU_TRY(mu_cuda_open(&cuda));
    MU_TRY(cuda->device_count(out));
    if (*out == 0 && choice == MU_DEVICE_CUDA)
        return mu_fail(MU_GPU, "muster.device is cuda, but this host has no GPU that CUDA sees");
    return MU_OK;
}

static mu_status_t all_the_same(const mu_run_t *run, bool cuda)
{
    int32_t most[2] = {cuda, !cuda};
    MU_TRY(mu_comm_allreduce(run->groups->workers, MU_MAX, MU_TYPE_I32, most, 2));
    if (most[0] && most[1] && !cuda)
        return mu_fail(MU_CONFIG,
                       "this host has no GPU that muster can use, but others have: leave it out, or "
                       "set muster.device=cpu");
    return most[0] && most[1] ? MU_CONFIG : MU_OK;
}

/* MUSTER_SHARE_GPU=1: workers of a host take its GPUs in turns, as hosts of their own to NCCL, which refuses
 * two of its ranks on one device of one host. For tests on a single card. */
static mu_status_t share_gpu(const mu_run_t *run, const mu_neighbours_t *near, int count, int *index)
{
    const char *share = getenv(MU_ENV_SHARE_GPU);
    char id[48];
    if (!share || strcmp(share, "1") != 0)
        return mu_fail(
            MU_CONFIG,
            "this host has %d GPUs and %d workers, and each needs its own: start fewer workers, or "
            "give each its CUDA_VISIBLE_DEVICES",
            count, near->count);
    *index = near->rank % count;
    snprintf(id, sizeof id, "muster-%d-%d", run->groups->workers->rank, (int)getpid());
    setenv("NCCL_HOSTID", id, 1);
    return MU_OK;
}

static mu_status_t choose_gpu(const mu_run_t *run, const mu_cuda_plugin_t *cuda, int count, int *index)
{
    mu_neighbours_t near;
    mu_gpu_id_t id = {0};
    MU_TRY(cuda->device_id(0, id.bytes));
    MU_TRY(mu_device_context_neighbours(run, &id, &near));
    *index = near.rank;
    if (near.count <= count)
        return MU_OK;
    *index = 0;
    if (count == 1 && near.distinct)
        return MU_OK;
    return share_gpu(run, &near, count, index);
}

static void describe(mu_device_context_t *context)
{
    snprintf(context->words, sizeof context->words, "%s", context->device->description);
}

static mu_status_t make_cuda(mu_run_t *run, int count, mu_device_context_t *context)
{
    int index;
    MU_TRY(mu_cuda_open(&context->cuda));
    MU_TRY(choose_gpu(run, context->cuda, count, &index));
    MU_TRY(mu_device_cuda_new(index, &context->device));
    describe(context);
    return mu_device_context_join(run, context);
}

mu_status_t mu_device_context_make(mu_run_t *run, mu_device_context_t *out)
{
    mu_device_context_t context = {.tp = run->groups->tp, .dp = run->groups->dp};
    int gpus;
    mu_status_t status = count_gpus(run->config->muster.device, &gpus);
    if (status == MU_OK)
        status = all_the_same(run, gpus > 0);
    if (status == MU_OK && gpus > 0) {
        status = make_cuda(run, gpus, &context);
    } else if (status == MU_OK) {
        status = mu_device_cpu_new(share_of_threads(run), &context.device);
        if (status == MU_OK)
            describe(&context);
    }
    if (status != MU_OK) {
        mu_device_context_free(&context);
        return status;
    }
    *out = context;
    return MU_OK;
}

mu_status_t mu_device_context_alone(const mu_config_t *config, mu_device_context_t *out)
{
    mu_device_context_t context = {.own = true};
    int gpus;
    MU_TRY(count_gpus(config->muster.device, &gpus));
    MU_TRY(gpus > 0 ? mu_device_cuda_new(0, &context.device)
                    : mu_device_cpu_new(threads_of(config, 1), &context.device));
    describe(&context);
    context.tp = mu_comm_self("tp");
    context.dp = mu_comm_self("dp");
    *out = context;
    return MU_OK;
}

/* Until the device has passed the oldest mark. A peer that broke does not hold it up: the watch over NCCL aborts. */
static mu_status_t pass_oldest(mu_device_context_t *context)
{
    static const struct timespec between = {.tv_nsec = 50000};
    bool passed = false;
    while (!passed) {
        MU_TRY(context->cuda->mark_passed(context->device, context->ahead[0], &passed));
        if (!passed)
            nanosleep(&between, NULL);
    }
    context->cuda->mark_free(context->device, context->ahead[0]);
    context->ahead_count--;
    memmove(context->ahead, context->ahead + 1, (size_t)context->ahead_count * sizeof *context->ahead);
    mu_page_progress(context->tp->page);
    return MU_OK;
}

mu_status_t mu_device_context_pace(mu_device_context_t *context)
{
    if (!context->cuda)
        return MU_OK;
    if (context->ahead_count == MU_DEVICE_AHEAD)
        MU_TRY(pass_oldest(context));
    MU_TRY(context->cuda->mark_new(context->device, context->cuda->stream(context->device),
                                   &context->ahead[context->ahead_count]));
    context->ahead_count++;
    return MU_OK;
}

mu_status_t mu_device_context_wait(mu_device_context_t *context)
{
    mu_comm_t *const groups[] = {context->tp, context->dp};
    while (context->ahead_count > 0)
        MU_TRY(pass_oldest(context));
    MU_TRY(mu_comm_sync(groups, 2));
    return context->device->ops->sync(context->device);
}

void mu_device_context_abandon(mu_device_context_t *context)
{
    mu_comm_abandon(context->tp);
    mu_comm_abandon(context->dp);
}

void mu_device_context_free(mu_device_context_t *context)
{
    while (context->ahead_count > 0)
        context->cuda->mark_free(context->device, context->ahead[--context->ahead_count]);
    if (context->own && context->dp)
        mu_comm_free(context->dp);
    if (context->own && context->tp)
        mu_comm_free(context->tp);
    mu_nccl_watch_free(context->watch);
    mu_device_close(context->device);
    *context = (mu_device_context_t){0};
}
