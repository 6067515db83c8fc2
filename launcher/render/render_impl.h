/* What the files of this folder share. */
#ifndef MU_LAUNCHER_RENDER_IMPL_H
#define MU_LAUNCHER_RENDER_IMPL_H

#include "launcher/render/render.h"

/* slurm/muster.sbatch from its first command on. */
extern const char mu_slurm_body[];

/* The steps of a chain, in their order. */
enum { MU_CHAIN_STEPS = 5 };
extern const char *const mu_chain_step[MU_CHAIN_STEPS];
/* Whether `list` names steps of a chain, in their order, each once. */
bool mu_chain_steps_valid(const char *list);

/* ---- render_check.c: errors are MU_CONFIG ---- */

/* GPUs in the config and in the parameters. */
mu_status_t mu_render_check_gpus(const mu_params_t *params, const mu_config_t *config);
/* Every path of the config lies in one of `volumes`. */
mu_status_t mu_render_check_paths(const mu_params_t *params, const mu_config_t *config);
/* volumes: CLAIM:/mount,CLAIM:/mount. of: where in it the claim begins that `path` lies in; NULL: in none. */
const char *mu_render_volume_of(const char *volumes, const char *path);
bool mu_render_in_volume(const char *volumes, const char *path);
void mu_render_warn_of_tag(const char *image);

/* ---- render_yaml.c ---- */

/* A name as YAML reads it as a string, in `room` (at least 520 bytes). */
const char *mu_yaml_scalar(const char *word, char *room, size_t size);
/* One that lives as long as the block that it stands in. */
#define MU_YAML_NAME(word) mu_yaml_scalar((word), (char[520]){0}, 520)
/* Every line of `text` that is not empty, `spaces` further in. */
void mu_yaml_indent(const char *text, int spaces, mu_buf_t *out);
/* The same, as one entry of a list. */
void mu_yaml_item(const char *text, int spaces, mu_buf_t *out);
/* metadata: NAME + suffix, namespace, labels */
void mu_render_meta(const mu_params_t *params, const char *suffix, mu_buf_t *out);
/* spec: of a NetworkPolicy among the pods with this label */
void mu_render_policy_spec(const char *label, const char *value, mu_buf_t *out);

/* ---- render_place.c: not indented ---- */

/* A line for each claim of `volumes`: a volume, or where it is mounted. */
void mu_render_volumes(const mu_params_t *p, bool mounts, bool read_only, mu_buf_t *out);
/* By region and, with `gpus`, gpu_model; nothing where neither is given. */
void mu_render_affinity(const mu_params_t *p, bool gpus, mu_buf_t *out);

/* ---- render_pod.c: from `template:` on, at the indentation of an MPIJob ---- */

enum { MU_RENDER_SSH_PORT = 2222 };

typedef struct mu_pod {
    const mu_params_t *params; /* those of an MPIJob */
    const char *name;          /* of the run: a label */
    const char *account, *config_map;
    const char *save;      /* run directory, for the drain */
    const char *arguments; /* NULL, or more words for `muster run`, with a blank first */
    const char *launcher_container, *worker_container; /* names */
    const char *restart;   /* restartPolicy in the pod; NULL: it stands elsewhere */
    bool own_ssh;          /* the config has muster.ssh_args */
    bool launcher_is_node; /* the launcher's pod is a host of the run too */
    bool made_again;       /* whoever made a worker makes another when it failed */
} mu_pod_t;

void mu_render_launcher(const mu_pod_t *pod, mu_buf_t *out);
void mu_render_worker(const mu_pod_t *pod, mu_buf_t *out);
/* render_mpijob.c: the MPIJob alone, without "---" */
void mu_render_mpijob_object(const mu_pod_t *pod, mu_buf_t *out);

#endif
