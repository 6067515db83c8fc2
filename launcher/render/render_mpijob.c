/*
 * ConfigMap, ServiceAccount, NetworkPolicy and MPIJob of one run, named after it. The operator makes objects
 * of its own, named J, J-config, J-ssh, J-worker-i and J-launcher for a job J, and stops at one that it did
 * not make: ours are J-muster.
 */
#include "launcher/mpi/ports.h"
#include "common/log.h"
#include "common/pages.h"
#include "launcher/render/render_impl.h"

/* ---- what the operator would misread ---- */

static mu_status_t check_names(const mu_params_t *p)
{
    const char *name = mu_params_text(p, "name");
    char last[128];
    int n =
        snprintf(last, sizeof last, "%s-worker-%lld", name, (long long)mu_params_number(p, "workers") - 1);
    if (n > 63)
        return mu_fail(
            MU_USAGE,
            "render: name '%s' is too long: pod %s has %d characters, and the operator does nothing about a "
            "job whose pods have more than 63: shorten it by %d",
            name, last, n, n - 63);
    return MU_OK;
}

/* The API server gives the job its uid, so that the job's owning the others can be written only after that.
 * An owner that does not wait for them: deleting the job ends its pods first. */
static void add_owner(const mu_params_t *p, mu_buf_t *out)
{
    const char *uid = mu_params_text(p, "owner_uid");
    if (uid)
        mu_buf_addf(out,
                    "  ownerReferences:\n"
                    "    - {apiVersion: kubeflow.org/v2beta1, kind: MPIJob, name: %s, uid: \"%s\"}\n",
                    MU_YAML_NAME(mu_params_text(p, "name")), uid);
}

static void add_config(const mu_params_t *p, const mu_buf_t *yaml, mu_buf_t *out)
{
    mu_buf_adds(out, "apiVersion: v1\nkind: ConfigMap\n");
    mu_render_meta(p, "-muster", out);
    add_owner(p, out);
    mu_buf_adds(out, "data:\n  config.yml: |\n");
    mu_yaml_indent(yaml->data, 4, out);
}

/* No pod asks the API server for anything: an account without a token, and no Role. */
static void add_account(const mu_params_t *p, mu_buf_t *out)
{
    mu_buf_adds(out, "---\napiVersion: v1\nkind: ServiceAccount\n");
    mu_render_meta(p, "-muster", out);
    add_owner(p, out);
    mu_buf_adds(out, "automountServiceAccountToken: false\n");
}

static void add_policy(const mu_params_t *p, mu_buf_t *out)
{
    mu_buf_adds(out, "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n");
    mu_render_meta(p, "-muster", out);
    add_owner(p, out);
    mu_render_policy_spec("training.kubeflow.org/job-name", mu_params_text(p, "name"), out);
}

static void add_replica(const mu_pod_t *pod, bool launcher, mu_buf_t *out)
{
    mu_buf_addf(out, "    %s:\n      replicas: %s\n      restartPolicy: %s\n",
                launcher ? "Launcher" : "Worker", launcher ? "1" : mu_params_text(pod->params, "workers"),
                mu_params_text(pod->params, launcher ? "launcher_restart" : "worker_restart"));
    if (launcher)
        mu_render_launcher(pod, out);
    else
        mu_render_worker(pod, out);
}

void mu_render_mpijob_object(const mu_pod_t *pod, mu_buf_t *out)
{
    const mu_params_t *p = pod->params;
    const char *queue = mu_params_text(p, "queue"), *deadline = mu_params_text(p, "deadline");
    mu_buf_adds(out, "apiVersion: kubeflow.org/v2beta1\nkind: MPIJob\n");
    mu_render_meta(p, "", out);
    if (queue)
        mu_buf_addf(out, "    kueue.x-k8s.io/queue-name: %s\n", MU_YAML_NAME(queue));
    mu_buf_addf(out,
                "spec:\n"
                "  mpiImplementation: OpenMPI\n"
                "  slotsPerWorker: %s\n"
                "  sshAuthMountPath: %s/.ssh\n"
                "  launcherCreationPolicy: %s\n"
                "  runPolicy:\n"
                "    cleanPodPolicy: %s\n"
                "    backoffLimit: %s\n",
                mu_params_text(p, "slots"), mu_params_text(p, "home"), mu_params_text(p, "launcher_creation"),
                mu_params_text(p, "clean_pods"), mu_params_text(p, "backoff"));
    if (deadline)
        mu_buf_addf(out, "    activeDeadlineSeconds: %s\n", deadline);
    mu_buf_adds(out, "  mpiReplicaSpecs:\n");
    add_replica(pod, true, out);
    add_replica(pod, false, out);
}

static void add_job(const mu_params_t *p, const mu_config_t *c, mu_buf_t *out)
{
    char *own = mu_format("%s-muster", mu_params_text(p, "name"));
    mu_buf_adds(out, "---\n");
    mu_render_mpijob_object(&(mu_pod_t){.params = p,
                                        .name = mu_params_text(p, "name"),
                                        .account = own,
                                        .config_map = own,
                                        .save = c->save,
                                        .launcher_container = "muster",
                                        .worker_container = "sshd",
                                        .own_ssh = mu_config_given(c, "muster.ssh_args")},
                            out);
    free(own);
}

mu_status_t mu_render_mpijob(const mu_params_t *params, mu_config_t *config, mu_buf_t *out)
{
    int64_t slots = mu_params_number(params, "slots");
    mu_world_t world = {.workers = (int)(mu_params_number(params, "workers") * slots),
                        .slots_per_host = (int)slots,
                        .device_has_fp16 = true};
    mu_buf_t yaml = MU_BUF_INIT;
    mu_render_warn_of_tag(mu_params_text(params, "image"));
    MU_TRY(check_names(params));
    MU_TRY(mu_render_check_gpus(params, config));
    MU_TRY(mu_render_check_paths(params, config));
    mu_config_write_yaml(config, false, &yaml);
    mu_status_t status = mu_config_resolve(config, &world);
    if (status == MU_OK) {
        mu_buf_adds(out, "# Written by `muster render mpijob`. kubectl apply -f THIS-FILE; muster's " MU_PAGE(
                             "kubernetes") "\n");
        add_config(params, &yaml, out);
        add_account(params, out);
        add_policy(params, out);
        add_job(params, config, out);
    }
    mu_buf_release(&yaml);
    return status;
}
