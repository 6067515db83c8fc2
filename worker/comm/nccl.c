#include "worker/comm/nccl.h"
#include "common/launch_env.h"
#include "common/log.h"

#include <dlfcn.h>

enum { OLDEST = 21400 };

mu_status_t mu_nccl_open(mu_nccl_t *out)
{
    const char *named = getenv(MU_ENV_NCCL_LIBRARY), *path = named && *named ? named : "libnccl.so.2";
    mu_nccl_t nccl = {.version = 0};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return mu_fail(MU_GPU,
                       "cannot open NCCL, which more than one GPU needs: %s; install libnccl2, or name the "
                       "file in " MU_ENV_NCCL_LIBRARY,
                       dlerror());
    *(void **)&nccl.error_string = dlsym(library, "ncclGetErrorString");
    bool whole = nccl.error_string != NULL;
#define LOAD(member, symbol, args)                                                                           \
    *(void **)&nccl.member = dlsym(library, symbol);                                                         \
    whole = whole && nccl.member != NULL;
    MU_NCCL_TABLE(LOAD)
#undef LOAD
    if (!whole || nccl.get_version(&nccl.version) != MU_NCCL_SUCCESS || nccl.version < OLDEST) {
        dlclose(library);
        return mu_fail(MU_GPU, "%s is NCCL %d.%d: 2.14 or later is wanted", path, nccl.version / 10000,
                       nccl.version / 100 % 100);
    }
    *out = nccl;
    return MU_OK;
}
