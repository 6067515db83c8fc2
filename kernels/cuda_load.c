#include "kernels/cuda_load.h"
#include "common/launch_env.h"
#include "common/log.h"

#include <dlfcn.h>
#include <limits.h>
#include <unistd.h>

#define LIBRARY "libmuster-cuda.so"

/* The folder of the running program, with its slash; "" when the system does not say. */
static void program_folder(char out[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    out[n > 0 ? n : 0] = 0;
    char *slash = strrchr(out, '/');
    if (slash)
        slash[1] = 0;
}

/* The first file there is; false when there is none. */
static bool find(char *out, size_t size)
{
    const char *named = getenv(MU_ENV_CUDA_LIBRARY);
    if (named && *named) {
        snprintf(out, size, "%s", named);
        return access(out, R_OK) == 0;
    }
    char folder[PATH_MAX];
    program_folder(folder);
    static const char *const place[] = {LIBRARY, "../lib/muster/" LIBRARY};
    for (size_t i = 0; i < sizeof place / sizeof *place; i++) {
        snprintf(out, size, "%s%s", folder, place[i]);
        if (access(out, R_OK) == 0)
            return true;
    }
    snprintf(out, size, "%s%s", folder, LIBRARY);
    return false;
}

bool mu_cuda_present(void)
{
    char path[PATH_MAX + 64];
    return find(path, sizeof path);
}

/* Opening again is cheap: the system counts, and gives the same. */
mu_status_t mu_cuda_open(const mu_cuda_plugin_t **out)
{
    static const mu_cuda_host_t host = {
        mu_fail,         mu_device_alloc,          mu_device_free,           mu_device_error,
        mu_device_count, mu_product_operands_make, mu_product_operands_free, mu_product_compute};
    char path[PATH_MAX + 64];
    if (!find(path, sizeof path))
        return mu_fail(
            MU_GPU,
            "%s: no such file: this muster was built without CUDA; build it where nvcc is, or train on CPUs",
            path);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return mu_fail(MU_GPU, "cannot open the CUDA part of muster: %s; install the CUDA libraries it names",
                       dlerror());
    const mu_cuda_plugin_t *(*entry)(const mu_cuda_host_t *);
    *(void **)&entry = dlsym(library, "mu_cuda_plugin");
    const mu_cuda_plugin_t *plugin = entry ? entry(&host) : NULL;
    if (!plugin || strcmp(plugin->version, MU_VERSION) != 0 || plugin->layout != MU_CUDA_LAYOUT) {
        mu_status_t status = mu_fail(MU_GPU, "%s: built for muster %s, this is %s; build both from one tree",
                                     path, plugin ? plugin->version : "(unknown)", MU_VERSION);
        dlclose(library);
        return status;
    }
    *out = plugin;
    return MU_OK;
}

mu_status_t mu_device_cuda_new(int index, mu_device_t **out)
{
    const mu_cuda_plugin_t *plugin;
    MU_TRY(mu_cuda_open(&plugin));
    return plugin->device_new(index, out);
}
