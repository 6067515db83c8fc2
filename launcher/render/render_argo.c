/*
 * `render argo`: a ConfigMap with the config, a NetworkPolicy, and the WorkflowTemplate that fetches, imports,
 * prepares, trains, gates and exports. The ConfigMap's name holds the config's digest, so that no run ever sees
 * another one's.
 *
 * Whoever submits the workflow sets its parameters; their names are those of the article that this serves. Parameters
 * of a workflow are texts: all values are quoted.
 */
#include "launcher/render/render_argo.h"
#include "common/digest.h"
#include "common/log.h"
#include "launcher/render/render_params.h"

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
    {"serve_model", true, "false: the model is tried, and what is served stays"},
    {"register_name", false, "the model in MLflow's registry"},
    {"register_alias", false, "its new version gets this alias; empty: none"},
    {"mlflow_tracking_uri", false, "the registry's server, without a password"},
    {"mlflow_secret_name", false, "its key token becomes MLFLOW_TRACKING_TOKEN of that step; empty: none"},
    {"image", false, "of all pods"},
};

/* Those of the steps `register` and `serve` are there where these are. */
static bool is_given(const mu_params_t *p, size_t i)
{
    const char *name = given[i].name;
    if (strcmp(name, "serve_model") == 0)
        return mu_argo_serves(p);
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
        mu_buf_addf(out, ", value: \"" MU_ARGO_GIVEN("%s") "\"}\n", given[i].name);
    }
    if (step->token)
        mu_buf_addf(out,
                    "          - name: %s\n"
                    "            valueFrom: {secretKeyRef: {name: \"{{=sprig.default('none', "
                    "workflow.parameters.%s)}}\", key: token, optional: true}}\n",
                    step->token, step->secret);
}

static void add_step(const mu_params_t *p, char *volumes[4], const step_t *step, mu_buf_t *out)
{
    const char *gpus = step->gpus ? mu_params_text(p, "gpus") : NULL;
    mu_buf_addf(out, "    - name: %s\n", step->name);
    if (step->mutex)
        mu_argo_mutex(step->mutex, "", out);
    mu_buf_addf(out,
                "      retryStrategy:\n"
                "        limit: \"5\"\n"
                "        retryPolicy: Always\n"
                "        expression: \"lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [" RETRIED
                "]\"\n"
                "        backoff: {duration: \"30\", factor: \"2\", maxDuration: \"3600\"}\n"
                "      container:\n        image: \"%s\"\n        command: [/bin/sh, -c]\n        args:\n"
                "          - |\n",
                MU_ARGO_GIVEN("image"));
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

/* ---- the whole ---- */

/* What the config says that no parameter does. */
typedef struct argo_objects {
    bool own_ssh;
    const mu_buf_t *yaml;
    char serve_memory[MU_SERVING_MEMORY];
} argo_objects_t;

static void add_task(const char *name, const char *depends, const char *more, mu_buf_t *out)
{
    mu_buf_addf(out, "          - {name: %s, template: %s", name, name);
    if (depends)
        mu_buf_addf(out, ", depends: \"%s\"", depends);
    mu_buf_addf(out, "%s}\n", more);
}

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
    static const char when[] = ", when: \"" MU_ARGO_GIVEN("serve_model") " == true\"";
    bool registers = *mu_params_text(p, "register_name") != '\0';
    size_t count = sizeof task / sizeof *task - !registers;
    mu_buf_adds(out, "    - name: main\n      dag:\n        tasks:\n");
    for (size_t i = 0; i < count; i++)
        add_task(task[i][0], task[i][1], "", out);
    if (mu_argo_serves(p)) {
        add_task("smoke", registers ? "register" : "export", "", out);
        add_task("serve", "smoke", when, out);
        add_task("served", "serve", when, out);
    }
}

static void add_template(const mu_params_t *p, char *volumes[4], const char *config_map,
                         const argo_objects_t *with, mu_buf_t *out)
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
    mu_buf_addf(out,
                "  volumes:\n"
                "    - {name: config, configMap: {name: \"%s\"}}\n"
                "    - {name: checkpoints, persistentVolumeClaim: {claimName: \"%s\"}}\n"
                "    - {name: data, persistentVolumeClaim: {claimName: \"%s\"}}\n"
                "  templates:\n",
                MU_ARGO_GIVEN("training_config_name"), MU_ARGO_GIVEN("pvc_checkpoints_name"),
                MU_ARGO_GIVEN("pvc_data_name"));
    add_graph(p, out);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(steps[i].name, "gate") == 0)
            mu_argo_train(p, volumes, with->own_ssh, out);
        add_step(p, volumes, &steps[i], out);
    }
    if (mu_argo_serves(p))
        mu_argo_serve_steps(p, volumes, with->serve_memory, out);
}

/* The operator's names: WORKFLOW-train-worker-N; WORKFLOW is the template's name and, after a dash, what makes it
 * unique: five characters, or ten digits of a retraining. */
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

static void add_all(const mu_params_t *p, char *volumes[4], const argo_objects_t *with, mu_buf_t *out)
{
    const mu_buf_t *yaml = with->yaml;
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
    if (mu_argo_serves(p))
        mu_argo_service(p, out);
    add_template(p, volumes, config_map, with, out);
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
static mu_status_t add_parts(const mu_params_t *p, char *volumes[4], const argo_objects_t *with,
                             mu_render_files_t *files)
{
    const char *part = mu_params_text(p, "part");
    bool retrain = mu_params_text(p, "retrain_below") != NULL, whole = strcmp(part, "workflow") == 0;
    if (!whole && !retrain)
        return mu_fail(
            MU_USAGE, "render: part=%s wants retrain_below=, the mean of the feedback that is too low", part);
    if (whole)
        add_all(p, volumes, with, mu_render_file(files, "04-workflow.yaml"));
    if (strcmp(part, "retrain") == 0 || (whole && retrain && files->apart))
        mu_argo_retrain(p, mu_render_file(files, "05-retrain.yaml"));
    if (strcmp(part, "alert") == 0 || (whole && retrain && files->apart))
        mu_argo_alert(p, mu_render_file(files, "06-alert.rules"));
    return MU_OK;
}

mu_status_t mu_render_argo(const mu_params_t *p, mu_config_t *config, const mu_plan_query_t *query,
                           mu_render_files_t *files)
{
    int64_t slots = mu_params_number(p, "slots");
    mu_world_t world = {.workers = (int)(mu_params_number(p, "trainer_nodes") * slots),
                        .slots_per_host = (int)slots,
                        .device_has_fp16 = true};
    char *volumes[4] = {0};
    mu_buf_t yaml = MU_BUF_INIT;
    argo_objects_t with = {.own_ssh = mu_config_given(config, "muster.ssh_args"), .yaml = &yaml};
    mu_status_t status;
    MU_TRY_GOTO(status, two_volumes(p, volumes), out);
    MU_TRY_GOTO(status, check_name(p), out);
    MU_TRY_GOTO(status, check_register(p), out);
    MU_TRY_GOTO(status, mu_render_check_gpus(p, config), out);
    MU_TRY_GOTO(status, mu_render_check_paths(p, config), out);
    if (mu_argo_serves(p))
        MU_TRY_GOTO(status, mu_argo_serve_check(p, query, with.serve_memory), out);
    mu_render_warn_of_tag(mu_params_text(p, "image"));
    mu_config_write_yaml(config, false, &yaml);
    MU_TRY_GOTO(status, mu_config_resolve(config, &world), out);
    status = add_parts(p, volumes, &with, files);
out:
    mu_buf_release(&yaml);
    for (int i = 0; i < 4; i++)
        free(volumes[i]);
    return status;
}
