/* Opening cuDNN. */
#include "kernels/cuda/cudnn_api.h"

extern "C" {
#include "common/launch_env.h"
}

#include <dlfcn.h>

/* Its makers withdrew attention in bf16 and fp16 of these two. */
static bool is_faulty(int version)
{
    return version == 91000 || version == 91001;
}

template <class F> static bool look_up(void *library, const char *symbol, F *out)
{
    *out = reinterpret_cast<F>(dlsym(library, symbol));
    return *out != NULL;
}

mu_status_t mu_cudnn_open(mu_cudnn_t *out)
{
    const char *named = getenv(MU_ENV_CUDNN_LIBRARY), *path = named && *named ? named : "libcudnn.so.9";
    mu_cudnn_t lib = {};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return mu_cuda_host->fail(MU_CONFIG,
                                  "cannot open cuDNN: %s; install cuDNN 9 (libcudnn9-cuda-%d), name the file "
                                  "in " MU_ENV_CUDNN_LIBRARY ", or set muster.attention=own",
                                  dlerror(), CUDART_VERSION / 1000);
    bool whole = look_up(library, "cudnnGetVersion", &lib.get_version) &&
                 look_up(library, "cudnnGetErrorString", &lib.error_string);
    lib.version = whole ? (int)lib.get_version() : 0;
    if (!whole || lib.version < MU_CUDNN_OLDEST || lib.version >= MU_CUDNN_NEXT_MAJOR ||
        is_faulty(lib.version)) {
        dlclose(library);
        return mu_cuda_host->fail(
            MU_CONFIG,
            "%s is cuDNN %d.%d.%d: 9.2 or a later 9 is wanted for attention, not 9.10.0 or "
            "9.10.1; or set muster.attention=own",
            path, lib.version / 10000, lib.version / 100 % 100, lib.version % 100);
    }
    whole = look_up(library, "cudnnGetLastErrorString", &lib.last_error);
#define LOAD(member, symbol, args) whole = look_up(library, symbol, &lib.member) && whole;
    MU_CUDNN_TABLE(LOAD)
#undef LOAD
    if (!whole) {
        dlclose(library);
        return mu_cuda_host->fail(MU_CONFIG, "%s: not all of cuDNN %d.%d is there; install it anew", path,
                                  lib.version / 10000, lib.version / 100 % 100);
    }
    *out = lib;
    return MU_OK;
}
