/* What Kubernetes would accept and the run would not survive. */
#include "common/log.h"
#include "launcher/render/render_impl.h"

mu_status_t mu_render_check_gpus(const mu_params_t *p, const mu_config_t *c)
{
    int64_t gpus = mu_params_number(p, "gpus");
    if (gpus > 0 && c->muster.device == MU_DEVICE_CPU)
        return mu_fail(MU_CONFIG, "%s: muster.device is cpu, but gpus=%lld asks for GPUs: leave one out",
                       mu_config_origin(c, "muster.device"), (long long)gpus);
    if (gpus == 0 && c->muster.device == MU_DEVICE_CUDA)
        return mu_fail(MU_CONFIG, "%s: muster.device is cuda: give gpus=N, the GPUs of a pod",
                       mu_config_origin(c, "muster.device"));
    return MU_OK;
}

const char *mu_render_volume_of(const char *volumes, const char *path)
{
    for (const char *v = volumes; *v;) {
        const char *mount = strchr(v, ':') + 1;
        size_t n = strcspn(mount, ",");
        if (strncmp(path, mount, n) == 0 && (path[n] == '/' || path[n] == '\0'))
            return v;
        v = mount + n + (mount[n] == ',');
    }
    return NULL;
}

bool mu_render_in_volume(const char *volumes, const char *path)
{
    return mu_render_volume_of(volumes, path) != NULL;
}

static mu_status_t check_path(const mu_params_t *p, const mu_config_t *c, const char *key, const char *path)
{
    if (!path || !*path || mu_render_in_volume(mu_params_text(p, "volumes"), path))
        return MU_OK;
    return mu_fail(MU_CONFIG, "%s: %s '%s' lies outside every volume (%s): what is there goes with the pod",
                   mu_config_origin(c, key), key, path, mu_params_text(p, "volumes"));
}

mu_status_t mu_render_check_paths(const mu_params_t *p, const mu_config_t *c)
{
    if (!c->save || !*c->save)
        return mu_fail(MU_CONFIG, "render: the config has no save: give save=/a/volume/run");
    MU_TRY(check_path(p, c, "save", c->save));
    MU_TRY(check_path(p, c, "load", c->load));
    MU_TRY(check_path(p, c, "data_path", c->data_path));
    for (char *const *d = c->train_data_paths; d && *d; d++)
        MU_TRY(check_path(p, c, "train_data_paths", *d));
    for (char *const *d = c->valid_data_paths; d && *d; d++)
        MU_TRY(check_path(p, c, "valid_data_paths", *d));
    return check_path(p, c, "vocab_file", c->vocab_file);
}

/* A moving tag is pulled at every start of a pod, and may be another program each time. */
void mu_render_warn_of_tag(const char *image)
{
    const char *base = strrchr(image, '/'), *tag = strchr(base ? base : image, ':');
    if (!strchr(image, '@') && (!tag || strcmp(tag, ":latest") == 0))
        mu_warn(
            "render: image %s: with %s Kubernetes pulls it at every start of a pod (an image that is only "
            "on the node is not found), and pods may get different builds: give a tag of your own, or a "
            "digest",
            image, tag ? "the tag latest" : "no tag");
}
