#include "worker/fabric/ibverbs.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BUFFER = 16 << 20, /* more than the usual limits of locked memory, 64 KiB and 8 MiB */
    LOCAL_WRITE = 1    /* IBV_ACCESS_LOCAL_WRITE */
};

bool mu_ibverbs_open(const char *path, mu_ibverbs_t *out, char *why, size_t size)
{
    mu_ibverbs_t verbs = {.library = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
    const char *lacks = NULL;
    if (!verbs.library) {
        snprintf(why, size, "libibverbs.so.1 is not there");
        return false;
    }
#define LOAD(member, type, symbol, args)                                                                     \
    *(void **)&verbs.member = dlsym(verbs.library, symbol);                                                  \
    if (!verbs.member)                                                                                       \
        lacks = symbol;
    MU_IBVERBS_TABLE(LOAD)
#undef LOAD
    *(void **)&verbs.reg_dmabuf_mr = dlsym(verbs.library, "ibv_reg_dmabuf_mr");
    if (lacks) {
        snprintf(why, size, "libibverbs.so.1 lacks %s", lacks);
        dlclose(verbs.library);
        return false;
    }
    *out = verbs;
    return true;
}

void mu_ibverbs_close(mu_ibverbs_t *verbs)
{
    if (verbs->library)
        dlclose(verbs->library);
    *verbs = (mu_ibverbs_t){0};
}

static void *find_device(const mu_ibverbs_t *verbs, void **list, const char *name)
{
    for (void **device = list; device && *device; device++) {
        const char *its = verbs->get_device_name(*device);
        if (its && strcmp(its, name) == 0)
            return *device;
    }
    return NULL;
}

static bool knows_dma_buf(const mu_ibverbs_t *verbs, void *domain)
{
    if (!verbs->reg_dmabuf_mr)
        return false;
    errno = 0;
    void *region = verbs->reg_dmabuf_mr(domain, 0, 0, 0, -1, 0);
    if (region)
        verbs->dereg_mr(region);
    return region || (errno != EOPNOTSUPP && errno != EPROTONOSUPPORT);
}

static mu_ibverbs_step_t try_memory(const mu_ibverbs_t *verbs, void *domain)
{
    void *buffer = NULL;
    if (posix_memalign(&buffer, 4096, BUFFER) != 0)
        return MU_IBVERBS_REGISTER;
    void *region = verbs->reg_mr(domain, buffer, BUFFER, LOCAL_WRITE);
    int error = errno;
    if (region)
        verbs->dereg_mr(region);
    free(buffer);
    errno = error;
    return region ? MU_IBVERBS_FINE : MU_IBVERBS_REGISTER;
}

static mu_ibverbs_step_t try_gid(const mu_ibverbs_t *verbs, void *context, int port, int index, char out[40])
{
    unsigned char raw[16] = {0};
    int error = verbs->query_gid(context, (uint8_t)port, index, raw);
    if (error != 0) { /* errno's value in new versions, -1 and errno in old ones */
        errno = error > 0 ? error : errno;
        return MU_IBVERBS_GID;
    }
    for (int i = 0; i < 8; i++)
        snprintf(out + 5 * i, 6, "%02x%02x%s", raw[2 * i], raw[2 * i + 1], i < 7 ? ":" : "");
    return MU_IBVERBS_FINE;
}

static mu_ibverbs_step_t try_opened(const mu_ibverbs_t *verbs, void *context, int port, int gid_index,
                                    mu_ibverbs_trial_t *out)
{
    void *domain = verbs->alloc_pd(context);
    if (!domain)
        return MU_IBVERBS_DOMAIN;
    mu_ibverbs_step_t step = try_memory(verbs, domain);
    int error = errno;
    out->dma_buf = knows_dma_buf(verbs, domain);
    verbs->dealloc_pd(domain);
    errno = error;
    if (step == MU_IBVERBS_FINE && gid_index >= 0)
        step = try_gid(verbs, context, port, gid_index, out->gid);
    return step;
}

void mu_ibverbs_try(const mu_ibverbs_t *verbs, const char *device, int port, int gid_index,
                    mu_ibverbs_trial_t *out)
{
    *out = (mu_ibverbs_trial_t){.step = MU_IBVERBS_LIST};
    errno = 0;
    void **list = verbs->get_device_list(NULL);
    void *found = find_device(verbs, list, device);
    out->error = errno;
    if (found) {
        errno = 0;
        void *context = verbs->open_device(found);
        out->step = context ? try_opened(verbs, context, port, gid_index, out) : MU_IBVERBS_OPEN;
        out->error = out->step == MU_IBVERBS_FINE ? 0 : errno;
        if (context)
            verbs->close_device(context);
    }
    if (list)
        verbs->free_device_list(list);
}
