/*
 * `render argo`: a ConfigMap with the config, a NetworkPolicy, and the WorkflowTemplate that fetches, imports, prepares,
 * trains, gates and exports. The ConfigMap's name holds the config's digest, so that no run ever sees another one's.
 *
 * Whoever submits the workflow sets its parameters; their names are those of the article that this serves. Parameters of
 * a workflow are texts: all values are quoted.
 */
#include "launcher/render/render_argo.h"
#include "common/digest.h"
#include "common/log.h"
#include "launcher/render/render_params.h"

#define GIVEN(name) "{{workflow.parameters." name "}}"

/* What is worth another try (docs/exit-codes.md). 70 is a bug; the launcher tries that again itself. */
#define RETRIED "69, 74, 75, 80, 81, 82, 83, 84"

static const struct {
    const char *name; /* also that of the parameter of render that gives the default */
    bool choice;
    const char *what;
} given[] = {
    {"run_name", false, "names the run directory, below finetuned_checkpoint_path"},
    {"pvc_checkpoints_name", false, "the claim for models and runs"},
    {"pvc_data_name", false, "the claim for data"},
    {"download_checkpoint", true, "false: the files must be there, and are verified"},
    {"model_weights_url", false, "a directory of Hugging Face's or gpt-neox's files"},
    {"model_weights_sha256", false, "of the list SHA256SUMS beside the files; empty: not compared"},
    {"pretrained_checkpoint_path", false, "in pvc_checkpoints_name"},
    {"finetuned_checkpoint_path", false, "in pvc_checkpoints_name"},
    {"tokenizer_file", false, "in pvc_checkpoints_name"},
    {"download_dataset", true, "false: the file must be there, and is verified"},
    {"dataset_url", false, "the text to fetch"},
    {"dataset_sha256", false, "of that file; empty: not compared"},
    {"dataset_path", false, "in pvc_data_name"},
    {"dataset_file", false, "in dataset_path"},
    {"tokenize_dataset", true, "false: the data set must be there, and is verified"},
    {"tokenized_dataset_path", false, "in pvc_data_name"},
    {"training_config_name", false, "the ConfigMap that holds config.yml"},
    {"region", false, "topology.kubernetes.io/region of the training pods"},
    {"trainer_nodes", false, "worker pods"},
    {"trainer_gpu", false, "the GPU that their nodes have"},
    {"use_ib", true, "one rdma/ib a pod, or none"},
    {"micro_batch_size", false, "samples of a worker at a time"},
    {"gradient_accumulation_steps", false, "micro batches of a step"},
    {"gate", false, "what the model must reach, with commas between expressions"},
    {"gate_split", false, "valid or test"},
    {"model", false, "latest or best: the checkpoint for gate and export"},
    {"wandb_secret_name", false, "its key token becomes WANDB_API_KEY of the launcher; empty: none"},
    {"wandb_project", false, "empty: none"},
    {"wandb_group", false, "empty: none"},
    {"register_name", false, "the model in MLflow's registry"},
    {"register_alias", false, "its new version gets this alias; empty: none"},
    {"mlflow_tracking_uri", false, "the registry's server, without a password"},
    {"mlflow_secret_name", false, "its key token becomes MLFLOW_TRACKING_TOKEN of that step; empty: none"},
    {"image", false, "of all pods"},
};

/* Those of the step `register` are there where it is. */
static bool is_given(const mu_params_t *p, size_t i)
{
    const char *name = given[i].name;
    return *mu_params_text(p, "register_name") ||
           (strncmp(name, "register_", 9) != 0 && strncmp(name, "mlflow_", 7) != 0);
}

/* The two claims and mounts of `volumes`: claim, mount, claim, mount; free() each. */
static mu_status_t two_volumes(const mu_params_t *p, char *out[4])
{
    const char *v = mu_params_text(p, "volumes");
    for (int i = 0; i < 4; i++) {
        size_t n = strcspn(v, i % 2 ? "," : ":");
        out[i] = mu_format("%.*s", (int)n, v);
        v += n + (v[n] != '\0');
    }
    if (*v || !*out[3])
        return mu_fail(MU_USAGE, "render: volumes=%s: two are wanted, for checkpoints and for data",
                       mu_params_text(p, "volumes"));
    return MU_OK;
}

static const char *default_of(const mu_params_t *p, int i, char *volumes[4], const char *config_map)
{
    const char *name = given[i].name;
    if (strcmp(name, "run_name") == 0)
        return NULL;
    if (strcmp(name, "training_config_name") == 0)
        return config_map;
    if (strncmp(name, "pvc_", 4) == 0)
        return volumes[strcmp(name, "pvc_data_name") == 0 ? 2 : 0];
    return mu_params_text(p, name);
}

static void add_parameters(const mu_params_t *p, char *volumes[4], const char *config_map, mu_buf_t *out)
{
    mu_buf_adds(out, "  arguments:\n    parameters:\n");
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (!is_given(p, i))
            continue;
        const char *value = default_of(p, (int)i, volumes, config_map);
        mu_buf_addf(out, "      - name: %s\n        description: \"%s\"\n", given[i].name, given[i].what);
        if (given[i].choice)
            mu_buf_adds(out, "        enum: [\"true\", \"false\"]\n");
        if (value)
            mu_buf_addf(out, "        value: \"%s\"\n", value);
    }
}

/* ---- the steps that are a container ---- */

typedef struct step {
    const char *name, *script, *mutex; /* mutex: the parameter that names what the step writes, or NULL */
    bool fetches, gpus;
    const char *token,
        *secret; /* a variable and the parameter that names the Secret that holds it; NULL: none */
} step_t;

static void add_variables(const mu_params_t *p, const step_t *step, mu_buf_t *out)
{
    mu_buf_adds(out, "        env:\n");
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (!is_given(p, i) || strncmp(given[i].name, "pvc_", 4) == 0 || strcmp(given[i].name, "image") == 0)
            continue;
        mu_buf_adds(out, "          - {name: ");
        for (const char *c = given[i].name; *c; c++)
            mu_buf_addc(out, (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c));
        mu_buf_addf(out, ", value: \"" GIVEN("%s") "\"}\n", given[i].name);
    }
    if (step->token)
        mu_buf_addf(out,
                    "          - name: %s\n"
                    "            valueFrom: {secretKeyRef: {name: \"{{=sprig.default('none', "
                    "workflow.parameters.%s)}}\", key: token, optional: true}}\n",
                    step->token, step->secret);
}

/* The work of one place is done by one workflow at a time. */
static void add_mutex(const char *parameter, const char *more, mu_buf_t *out)
{
    mu_buf_addf(out,
                "      synchronization:\n"
                "        mutexes:\n"
                "          - name: \"{{=sprig.replace('/', '-', workflow.parameters.%s)}}%s\"\n",
                parameter, more);
}

static void add_step(const mu_params_t *p, char *volumes[4], const step_t *step, mu_buf_t *out)
{
    const char *gpus = step->gpus ? mu_params_text(p, "gpus") : NULL;
    mu_buf_addf(out, "    - name: %s\n", step->name);
    if (step->mutex)
        add_mutex(step->mutex, "", out);
    mu_buf_adds(out,
                "      retryStrategy:\n"
                "        limit: \"5\"\n"
                "        retryPolicy: Always\n"
                "        expression: \"lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [" RETRIED
                "]\"\n"
                "        backoff: {duration: \"30\", factor: \"2\", maxDuration: \"3600\"}\n"
                "      container:\n"
                "        image: \"" GIVEN("image") "\"\n"
                                                   "        command: [/bin/sh, -c]\n"
                                                   "        args:\n"
                                                   "          - |\n");
    mu_buf_addf(out, "            checkpoints=%s data=%s slots=%s\n", volumes[1], volumes[3],
                gpus                                    ? gpus
                : strcmp(step->name, "parameters") == 0 ? mu_params_text(p, "slots")
                                                        : "1");
    mu_yaml_indent(mu_argo_head, 12, out);
    if (step->fetches)
        mu_yaml_indent(mu_argo_get, 12, out);
    mu_yaml_indent(step->script, 12, out);
    add_variables(p, step, out);
    mu_buf_adds(out,
                "        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n"
                "        resources:\n");
    for (int i = 0; i < 2; i++) {
        mu_buf_addf(out, "          %s: {cpu: \"%s\", memory: %s", i ? "limits" : "requests",
                    mu_params_text(p, step->gpus ? "cpu" : "step_cpu"),
                    mu_params_text(p, step->gpus ? "memory" : "step_memory"));
        if (gpus)
            mu_buf_addf(out, ", nvidia.com/gpu: \"%s\"", gpus);
        mu_buf_adds(out, "}\n");
    }
    mu_buf_addf(out,
                "        volumeMounts:\n"
                "          - {name: config, mountPath: /etc/muster}\n"
                "          - {name: checkpoints, mountPath: %s}\n"
                "          - {name: data, mountPath: %s}\n",
                volumes[1], volumes[3]);
}

/* ---- the step that is an MPIJob ---- */

static void set(mu_params_t *job, const char *name, const char *value)
{
    const mu_param_t *t = mu_param_table(MU_RENDER_MPIJOB);
    for (int i = 0; t[i].name; i++)
        if (strcmp(t[i].name, name) == 0) {
            free(job->value[i]);
            job->value[i] = value ? mu_strdup(value) : NULL;
        }
}

/* What an MPIJob of its own would be rendered from, with the workflow's parameters in place of values. */
static void job_params(const mu_params_t *p, char *volumes[4], mu_params_t *job)
{
    static const char *const same[] = {
        "namespace",         "gpus",      "slots", "gpu_label", "cpu",   "memory",           "launcher_cpu",
        "launcher_memory",   "user",      "home",  "backoff",   "grace", "launcher_restart", "worker_restart",
        "launcher_creation", "clean_pods"};
    char *claims =
        mu_format(GIVEN("pvc_checkpoints_name") ":%s," GIVEN("pvc_data_name") ":%s", volumes[1], volumes[3]);
    mu_params_init(job, MU_RENDER_MPIJOB);
    mu_params_defaults(job);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (mu_params_text(p, same[i]))
            set(job, same[i], mu_params_text(p, same[i]));
    set(job, "name", "{{workflow.name}}-train");
    set(job, "image", GIVEN("image"));
    set(job, "workers", GIVEN("trainer_nodes"));
    set(job, "volumes", claims);
    set(job, "region", strcmp(mu_params_text(p, "region"), "none") == 0 ? NULL : GIVEN("region"));
    set(job, "gpu_model",
        strcmp(mu_params_text(p, "trainer_gpu"), "none") == 0 ? NULL : GIVEN("trainer_gpu"));
    set(job, "rdma",
        mu_params_text(p, "gpus") ? "{{=workflow.parameters.use_ib == 'true' ? '1' : '0'}}" : NULL);
    set(job, "secret",
        "{{=sprig.default('none', workflow.parameters.wandb_secret_name)}}:token=WANDB_API_KEY");
    free(claims);
}

/* More words for `muster run`, a line each. */
static void add_words(const mu_params_t *p, char *volumes[4], const char *save, mu_buf_t *out)
{
    static const char next[] = " \\\n                    ";
    mu_buf_addf(out, "%s'save=%s' finetune=true", next, save);
    mu_buf_addf(out, "%s'load=%s/%s.imported'", next, volumes[1], GIVEN("pretrained_checkpoint_path"));
    mu_buf_addf(out, "%s'data_path=%s/%s'", next, volumes[3], GIVEN("tokenized_dataset_path"));
    mu_buf_addf(out, "%s'vocab_file=%s/%s'", next, volumes[1], GIVEN("tokenizer_file"));
    mu_buf_addf(out, "%s'train_micro_batch_size_per_gpu=%s'", next, GIVEN("micro_batch_size"));
    mu_buf_addf(out, "%s'gradient_accumulation_steps=%s'", next, GIVEN("gradient_accumulation_steps"));
    mu_buf_addf(out, "%s'wandb_project=%s' 'wandb_group=%s'", next, GIVEN("wandb_project"),
                GIVEN("wandb_group"));
    if (!mu_params_text(p, "gpus")) /* else one worker a GPU */
        mu_buf_addf(out, " --workers $((%s * %s))", GIVEN("trainer_nodes"), mu_params_text(p, "slots"));
}

static void add_train(const mu_params_t *p, char *volumes[4], bool own_ssh, mu_buf_t *out)
{
    mu_params_t job;
    mu_buf_t manifest = MU_BUF_INIT, words = MU_BUF_INIT;
    char *save = mu_format("%s/%s/%s", volumes[1], GIVEN("finetuned_checkpoint_path"), GIVEN("run_name"));
    add_words(p, volumes, save, &words);
    job_params(p, volumes, &job);
    mu_render_mpijob_object(&(mu_pod_t){.params = &job,
                                        .name = mu_params_text(p, "name"),
                                        .account = mu_params_text(p, "account"),
                                        .config_map = GIVEN("training_config_name"),
                                        .save = save,
                                        .arguments = words.data,
                                        .launcher_container = "muster",
                                        .worker_container = "sshd",
                                        .own_ssh = own_ssh},
                            &manifest);
    /* Kubernetes starts a failed launcher again, backoffLimit times: before that the job has not failed. */
    mu_buf_adds(out, "    - name: train\n");
    add_mutex("finetuned_checkpoint_path", "-" GIVEN("run_name"), out);
    mu_buf_addf(out,
                "      resource:\n"
                "        action: apply\n"
                "        setOwnerReference: true\n"
                "        successCondition: status.replicaStatuses.Launcher.succeeded > 0\n"
                "        failureCondition: status.replicaStatuses.Launcher.failed > %s\n"
                "        manifest: |\n",
                mu_params_text(p, "backoff"));
    mu_yaml_indent(manifest.data, 10, out);
    mu_buf_release(&manifest);
    mu_params_release(&job);
    mu_buf_release(&words);
    free(save);
}

/* ---- the whole ---- */

static void add_graph(const mu_params_t *p, mu_buf_t *out)
{
    static const char *const task[][2] = {{"parameters", NULL},
                                          {"fetch-model", "parameters"},
                                          {"fetch-data", "parameters"},
                                          {"import", "fetch-model"},
                                          {"prepare", "import && fetch-data"},
                                          {"train", "prepare"},
                                          {"gate", "train"},
                                          {"export", "gate"},
                                          {"register", "export"}};
    size_t count = sizeof task / sizeof *task - !*mu_params_text(p, "register_name");
    mu_buf_adds(out, "    - name: main\n      dag:\n        tasks:\n");
    for (size_t i = 0; i < count; i++) {
        mu_buf_addf(out, "          - {name: %s, template: %s", task[i][0], task[i][0]);
        if (task[i][1])
            mu_buf_addf(out, ", depends: \"%s\"", task[i][1]);
        mu_buf_adds(out, "}\n");
    }
}

static void add_template(const mu_params_t *p, char *volumes[4], const char *config_map, bool own_ssh,
                         mu_buf_t *out)
{
    static const step_t steps[] = {
        {.name = "parameters", .script = mu_argo_parameters},
        {.name = "fetch-model",
         .script = mu_argo_fetch_model,
         .mutex = "pretrained_checkpoint_path",
         .fetches = true},
        {.name = "fetch-data", .script = mu_argo_fetch_data, .mutex = "dataset_file", .fetches = true},
        {.name = "import", .script = mu_argo_import, .mutex = "pretrained_checkpoint_path"},
        {.name = "prepare", .script = mu_argo_prepare, .mutex = "tokenized_dataset_path"},
        {.name = "gate", .script = mu_argo_gate, .gpus = true},
        {.name = "export", .script = mu_argo_export},
        {.name = "register",
         .script = mu_argo_register,
         .mutex = "register_name",
         .token = "MLFLOW_TRACKING_TOKEN",
         .secret = "mlflow_secret_name"}};
    size_t count = sizeof steps / sizeof *steps - !*mu_params_text(p, "register_name");
    const char *user = mu_params_text(p, "user");
    mu_buf_adds(out, "---\napiVersion: argoproj.io/v1alpha1\nkind: WorkflowTemplate\n");
    mu_render_meta(p, "", out);
    mu_buf_addf(out,
                "spec:\n"
                "  entrypoint: main\n"
                "  serviceAccountName: %s\n"
                "  ttlStrategy: {secondsAfterCompletion: %s}\n"
                "  workflowMetadata:\n"
                "    labels: {app.kubernetes.io/name: muster, app.kubernetes.io/instance: %s}\n"
                "  securityContext:\n"
                "    {runAsNonRoot: true, runAsUser: %s, runAsGroup: %s, fsGroup: %s, fsGroupChangePolicy: "
                "OnRootMismatch,\n"
                "     seccompProfile: {type: RuntimeDefault}}\n",
                MU_YAML_NAME(mu_params_text(p, "account")), mu_params_text(p, "ttl"),
                MU_YAML_NAME(mu_params_text(p, "name")), user, user, user);
    add_parameters(p, volumes, config_map, out);
    mu_buf_adds(
        out,
        "  volumes:\n"
        "    - {name: config, configMap: {name: \"" GIVEN(
            "training_config_name") "\"}}\n"
                                    "    - {name: checkpoints, persistentVolumeClaim: {claimName: \"" GIVEN(
                                        "pvc_checkpoints_name") "\"}}\n"
                                                                "    - {name: data, persistentVolumeClaim: "
                                                                "{claimName: \"" GIVEN(
                                                                    "pvc_data_name") "\"}}\n"
                                                                                     "  templates:\n");
    add_graph(p, out);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(steps[i].name, "gate") == 0)
            add_train(p, volumes, own_ssh, out);
        add_step(p, volumes, &steps[i], out);
    }
}

/* The operator's names: WORKFLOW-train-worker-N; WORKFLOW is the template's name and, after a dash, what makes it unique:
 * five characters, or ten digits of a retraining. */
static mu_status_t check_name(const mu_params_t *p)
{
    const char *name = mu_params_text(p, "name");
    size_t n = strlen(name) + strlen("-retrain-0123456789-train-worker-999");
    if (n > 63)
        return mu_fail(MU_USAGE,
                       "render: name '%s' is too long: its pods' names would have %zu characters, 63 at most",
                       name, n);
    return MU_OK;
}

void mu_argo_overrides(const mu_params_t *p, mu_args_t *out)
{
    char *volumes[4] = {0};
    if (two_volumes(p, volumes) == MU_OK) {
        mu_args_addf(out, "save=%s/%s/run", volumes[1], mu_params_text(p, "finetuned_checkpoint_path"));
        mu_args_addf(out, "load=%s/%s.imported", volumes[1], mu_params_text(p, "pretrained_checkpoint_path"));
        mu_args_addf(out, "data_path=%s/%s", volumes[3], mu_params_text(p, "tokenized_dataset_path"));
        mu_args_addf(out, "vocab_file=%s/%s", volumes[1], mu_params_text(p, "tokenizer_file"));
        mu_args_addf(out, "train_micro_batch_size_per_gpu=%s", mu_params_text(p, "micro_batch_size"));
        mu_args_addf(out, "gradient_accumulation_steps=%s", mu_params_text(p, "gradient_accumulation_steps"));
        mu_args_add(out, "finetune=true");
    }
    for (int i = 0; i < 4; i++)
        free(volumes[i]);
}

static void add_all(const mu_params_t *p, char *volumes[4], bool own_ssh, const mu_buf_t *yaml, mu_buf_t *out)
{
    char digest[MU_DIGEST_HEX], *suffix, *config_map;
    mu_digest_bytes(yaml->data, yaml->len, digest);
    suffix = mu_format("-config-%.10s", digest);
    config_map = mu_format("%s%s", mu_params_text(p, "name"), suffix);
    mu_buf_adds(out, "# Written by `muster render argo`. kubectl apply -f THIS-FILE; argo submit --from "
                     "workflowtemplate/NAME "
                     "-p run_name=...\napiVersion: v1\nkind: ConfigMap\n");
    mu_render_meta(p, suffix, out);
    mu_buf_adds(out, "immutable: true\ndata:\n  config.yml: |\n");
    mu_yaml_indent(yaml->data, 4, out);
    mu_buf_adds(out, "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n");
    mu_render_meta(p, "-train", out);
    mu_render_policy_spec("app.kubernetes.io/instance", mu_params_text(p, "name"), out);
    add_template(p, volumes, config_map, own_ssh, out);
    free(config_map);
    free(suffix);
}

/* As `muster export --register` takes them. */
static mu_status_t check_register(const mu_params_t *p)
{
    static const char *const words[] = {"register_name", "register_alias"};
    const char *name = mu_params_text(p, "register_name");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *word = mu_params_text(p, words[i]);
        if (word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")])
            return mu_fail(MU_USAGE, "render: %s wants letters, digits and ._-, not '%s'", words[i], word);
    }
    if (*name && !mu_params_text(p, "mlflow_tracking_uri"))
        return mu_fail(MU_USAGE, "render: register_name=%s wants mlflow_tracking_uri=, the registry's server",
                       name);
    return MU_OK;
}

/* The parts that are wanted, to their files. */
static mu_status_t add_parts(const mu_params_t *p, char *volumes[4], bool own_ssh, const mu_buf_t *yaml,
                             mu_render_files_t *files)
{
    const char *part = mu_params_text(p, "part");
    bool retrain = mu_params_text(p, "retrain_below") != NULL, whole = strcmp(part, "workflow") == 0;
    if (!whole && !retrain)
        return mu_fail(
            MU_USAGE, "render: part=%s wants retrain_below=, the mean of the feedback that is too low", part);
    if (whole)
        add_all(p, volumes, own_ssh, yaml, mu_render_file(files, "04-workflow.yaml"));
    if (strcmp(part, "retrain") == 0 || (whole && retrain && files->apart))
        mu_argo_retrain(p, mu_render_file(files, "05-retrain.yaml"));
    if (strcmp(part, "alert") == 0 || (whole && retrain && files->apart))
        mu_argo_alert(p, mu_render_file(files, "06-alert.rules"));
    return MU_OK;
}

mu_status_t mu_render_argo(const mu_params_t *p, mu_config_t *config, mu_render_files_t *files)
{
    int64_t slots = mu_params_number(p, "slots");
    mu_world_t world = {.workers = (int)(mu_params_number(p, "trainer_nodes") * slots),
                        .slots_per_host = (int)slots,
                        .device_has_fp16 = true};
    char *volumes[4] = {0};
    mu_buf_t yaml = MU_BUF_INIT;
    mu_status_t status;
    MU_TRY_GOTO(status, two_volumes(p, volumes), out);
    MU_TRY_GOTO(status, check_name(p), out);
    MU_TRY_GOTO(status, check_register(p), out);
    MU_TRY_GOTO(status, mu_render_check_gpus(p, config), out);
    MU_TRY_GOTO(status, mu_render_check_paths(p, config), out);
    mu_render_warn_of_tag(mu_params_text(p, "image"));
    mu_config_write_yaml(config, false, &yaml);
    MU_TRY_GOTO(status, mu_config_resolve(config, &world), out);
    status = add_parts(p, volumes, mu_config_given(config, "muster.ssh_args"), &yaml, files);
out:
    mu_buf_release(&yaml);
    for (int i = 0; i < 4; i++)
        free(volumes[i]);
    return status;
}
