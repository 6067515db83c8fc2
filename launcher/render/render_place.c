/* Where pods run and what they mount: pieces of a pod's spec, not indented. */
#include "launcher/render/render_impl.h"

void mu_render_volumes(const mu_params_t *p, bool mounts, bool read_only, mu_buf_t *out)
{
    int i = 0;
    for (const char *v = mu_params_text(p, "volumes"); *v; i++) {
        size_t n = strcspn(v, ":"), m = strcspn(v + n + 1, ",");
        char *claim = mu_format("%.*s", (int)n, v);
        if (mounts)
            mu_buf_addf(out, "- {name: volume-%d, mountPath: %.*s%s}\n", i, (int)m, v + n + 1,
                        read_only ? ", readOnly: true" : "");
        else
            mu_buf_addf(out, "- {name: volume-%d, persistentVolumeClaim: {claimName: %s}}\n", i,
                        MU_YAML_NAME(claim));
        free(claim);
        v += n + 1 + m;
        v += *v == ',';
    }
}

void mu_render_affinity(const mu_params_t *p, bool gpus, mu_buf_t *out)
{
    const char *model = gpus ? mu_params_text(p, "gpu_model") : NULL, *region = mu_params_text(p, "region");
    if (!model && !region)
        return;
    mu_buf_adds(out, "affinity:\n"
                     "  nodeAffinity:\n"
                     "    requiredDuringSchedulingIgnoredDuringExecution:\n"
                     "      nodeSelectorTerms:\n"
                     "        - matchExpressions:\n");
    if (model)
        mu_buf_addf(out, "            - {key: %s, operator: In, values: [\"%s\"]}\n",
                    MU_YAML_NAME(mu_params_text(p, "gpu_label")), model);
    if (region)
        mu_buf_addf(out,
                    "            - {key: topology.kubernetes.io/region, operator: In, values: [\"%s\"]}\n",
                    region);
}
