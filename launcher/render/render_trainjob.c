/*
 * ConfigMap, ServiceAccount, NetworkPolicy, TrainingRuntime and TrainJob of one run, for Kubeflow Trainer v2. Trainer
 * makes a JobSet of the runtime's template: a Job `launcher` of one pod and a Job `node` of the others, and it mounts
 * keys and hostfile into the containers that are named `node`.
 *
 * Who starts what again is said by the two Jobs alone: a launcher that ends with 75 saved a checkpoint and is started
 * again without being counted; a code that another start cannot help fails its Job, and with it the JobSet; any other
 * code counts as one of `backoff`. A node that goes is made again.
 */
#include "common/log.h"
#include "common/pages.h"
#include "launcher/render/render_impl.h"

/* What Trainer sets itself in the launcher; it refuses a TrainJob that does. */
static const char *const reserved[] = {"OMPI_MCA_orte_default_hostfile", "OMPI_MCA_orte_keep_fqdn_hostnames",
                                       "OMPI_MCA_orte_set_default_slots", "OMPI_MCA_plm_rsh_args"};

static mu_status_t check_names(const mu_params_t *p)
{
    const char *name = mu_params_text(p, "name"), *secret = mu_params_text(p, "secret");
    char last[128];
    int n = snprintf(last, sizeof last, "%s-node-0-%lld-abcde", name,
                     (long long)mu_params_number(p, "workers") - 1);
    int other = snprintf(NULL, 0, "%s-launcher-0-0-abcde", name);
    if (n > 63 || other > 63)
        return mu_fail(MU_USAGE,
                       "render: name '%s' is too long: its pods' names would have %d characters, 63 at most",
                       name, n > other ? n : other);
    for (size_t i = 0; secret && i < sizeof reserved / sizeof *reserved; i++)
        if (strstr(secret, reserved[i]))
            return mu_fail(MU_USAGE, "render: secret: %s is a variable that Trainer sets itself",
                           reserved[i]);
    return MU_OK;
}

static void add_object(const mu_params_t *p, const char *api, const char *kind, const char *suffix,
                       mu_buf_t *out)
{
    mu_buf_addf(out, "---\napiVersion: %s\nkind: %s\n", api, kind);
    mu_render_meta(p, suffix, out);
}

/* A Job of the set, up to its pod's template. */
static void add_job(const char *name, bool trainer, const char *rules, const char *backoff, mu_buf_t *out)
{
    mu_buf_addf(out, "        - name: %s\n          template:\n", name);
    if (trainer)
        mu_buf_adds(out, "            metadata:\n"
                         "              labels: {trainer.kubeflow.org/trainjob-ancestor-step: trainer}\n");
    mu_buf_addf(out,
                "            spec:\n"
                "              backoffLimit: %s\n"
                "              podFailurePolicy:\n"
                "                rules:\n%s"
                "                  - {action: Ignore, onExitCodes: {containerName: node, operator: In, "
                "values: [75]}}\n"
                "                  - {action: Ignore, onPodConditions: [{type: DisruptionTarget, status: "
                "\"True\"}]}\n",
                backoff, rules);
}

static void add_runtime(const mu_params_t *p, const mu_pod_t *pod, mu_buf_t *out)
{
    /* docs/exit-codes.md: not worth another try */
    static const char final[] =
        "                  - {action: FailJob, onExitCodes: {containerName: node, operator: In, "
        "values: [2, 65, 66, 73, 77, 78, 85, 86, 87, 93]}}\n";
    mu_buf_t launcher = MU_BUF_INIT, node = MU_BUF_INIT;
    add_object(p, "trainer.kubeflow.org/v1alpha1", "TrainingRuntime", "-muster", out);
    mu_buf_addf(out,
                "spec:\n"
                "  mlPolicy:\n"
                "    numNodes: %s\n"
                "    mpi:\n"
                "      mpiImplementation: OpenMPI\n"
                "      numProcPerNode: %s\n"
                "      sshAuthMountPath: %s/.ssh\n"
                "      runLauncherAsNode: %s\n"
                "  template:\n"
                "    spec:\n"
                "      network: {publishNotReadyAddresses: true}\n"
                "      successPolicy: {operator: All, targetReplicatedJobs: [launcher]}\n"
                "      failurePolicy:\n"
                "        maxRestarts: 0\n"
                "        rules:\n"
                "          - {name: launcher, action: FailJobSet, targetReplicatedJobs: [launcher]}\n"
                "      replicatedJobs:\n",
                mu_params_text(p, "workers"), mu_params_text(p, "slots"), mu_params_text(p, "home"),
                mu_params_text(p, "launcher_as_node"));
    add_job("launcher", true, final, mu_params_text(p, "backoff"), out);
    mu_render_launcher(pod, &launcher);
    mu_yaml_indent(launcher.data, 8, out);
    /* what ends sshd with another code than 75 is the node's fault; training goes on as long as a node comes back */
    add_job("node", false, "", "1000", out);
    mu_render_worker(pod, &node);
    mu_yaml_indent(node.data, 8, out);
    mu_buf_release(&launcher);
    mu_buf_release(&node);
}

static void add_trainjob(const mu_params_t *p, mu_buf_t *out)
{
    const char *name = mu_params_text(p, "name"), *queue = mu_params_text(p, "queue"),
               *deadline = mu_params_text(p, "deadline");
    add_object(p, "trainer.kubeflow.org/v1alpha1", "TrainJob", "", out);
    if (queue)
        mu_buf_addf(out, "    kueue.x-k8s.io/queue-name: %s\n", MU_YAML_NAME(queue));
    mu_buf_addf(out,
                "spec:\n"
                "  runtimeRef: {apiGroup: trainer.kubeflow.org, kind: TrainingRuntime, name: %s-muster}\n"
                "  trainer: {numNodes: %s, numProcPerNode: %s}\n",
                name, mu_params_text(p, "workers"), mu_params_text(p, "slots"));
    if (deadline)
        mu_buf_addf(out, "  activeDeadlineSeconds: %s\n", deadline);
}

mu_status_t mu_render_trainjob(const mu_params_t *p, mu_config_t *config, mu_buf_t *out)
{
    int64_t slots = mu_params_number(p, "slots");
    mu_world_t world = {.workers = (int)(mu_params_number(p, "workers") * slots),
                        .slots_per_host = (int)slots,
                        .device_has_fp16 = true};
    mu_buf_t yaml = MU_BUF_INIT;
    mu_render_warn_of_tag(mu_params_text(p, "image"));
    MU_TRY(check_names(p));
    MU_TRY(mu_render_check_gpus(p, config));
    MU_TRY(mu_render_check_paths(p, config));
    mu_config_write_yaml(config, false, &yaml);
    mu_status_t status = mu_config_resolve(config, &world);
    if (status == MU_OK) {
        char *own = mu_format("%s-muster", mu_params_text(p, "name"));
        mu_buf_adds(out,
                    "# Written by `muster render trainjob`. kubectl apply -f THIS-FILE; muster's " MU_PAGE(
                        "kubernetes") "\n");
        add_object(p, "v1", "ConfigMap", "-muster", out);
        mu_buf_adds(out, "data:\n  config.yml: |\n");
        mu_yaml_indent(yaml.data, 4, out);
        add_object(p, "v1", "ServiceAccount", "-muster", out);
        mu_buf_adds(out, "automountServiceAccountToken: false\n");
        add_object(p, "networking.k8s.io/v1", "NetworkPolicy", "-muster", out);
        mu_render_policy_spec("jobset.sigs.k8s.io/jobset-name", mu_params_text(p, "name"), out);
        add_runtime(
            p,
            &(mu_pod_t){.params = p,
                        .name = mu_params_text(p, "name"),
                        .account = own,
                        .config_map = own,
                        .save = config->save,
                        .launcher_container = "node",
                        .worker_container = "node",
                        .restart = "Never",
                        .own_ssh = mu_config_given(config, "muster.ssh_args"),
                        .launcher_is_node = strcmp(mu_params_text(p, "launcher_as_node"), "true") == 0,
                        .made_again = true},
            out);
        add_trainjob(p, out);
        free(own);
    }
    mu_buf_release(&yaml);
    return status;
}
