/* The parameters of each target: type, default, bounds, and what they are. */
#include "launcher/render/render_params.h"

static const mu_param_t slurm[] = {
    {"name", MU_PARAM_LABEL, NULL, 0, 63, NULL, "name of the job; default: the config's file name", false},
    {"nodes", MU_PARAM_NUMBER, "2", 1, 16384, NULL, "nodes of the allocation", false},
    {"tasks_per_node", MU_PARAM_NUMBER, NULL, 1, 4096, NULL, "workers of a node; default: one a GPU, else 1",
     false},
    {"gpus", MU_PARAM_NUMBER, NULL, 1, 64, NULL, "GPUs of a node; default: none", false},
    {"cpus_per_task", MU_PARAM_NUMBER, NULL, 1, 4096, NULL,
     "cores of a worker; default: the whole node is the job's", false},
    {"partition", MU_PARAM_WORD, NULL, 0, 0, NULL, "partition", false},
    {"account", MU_PARAM_WORD, NULL, 0, 0, NULL, "account", false},
    {"qos", MU_PARAM_WORD, NULL, 0, 0, NULL, "quality of service", false},
    {"time", MU_PARAM_TIME, "24:00:00", 0, 0, NULL, "time limit of one start", false},
    {"signal_seconds", MU_PARAM_NUMBER, "120", 10, 65535, NULL,
     "seconds before the limit at which the checkpoint is asked for", false},
    {"requeues", MU_PARAM_NUMBER, "100", 0, 1000000, NULL, "how often the job goes back into the queue",
     false},
    {"log", MU_PARAM_WORD, NULL, 0, 0, NULL, "the job's log; default: NAME-%j.log", false},
    {"muster", MU_PARAM_WORD, "muster", 0, 0, NULL, "the program, as the nodes find it", false},
    {"chain", MU_PARAM_STEPS, NULL, 0, 0, NULL,
     "a job a step, each after the one before: some of import,prepare,train,gate,export", false},
    {"base", MU_PARAM_PATH, NULL, 0, 0, NULL,
     "chain: what import reads, a directory of Hugging Face or gpt-neox", false},
    {"input", MU_PARAM_WORD, NULL, 0, 0, NULL,
     "chain: the text that prepare reads, with commas between paths", false},
    {"gate", MU_PARAM_GATES, NULL, 0, 0, NULL,
     "chain: what the model must reach, like 'ppl<=16.53,tokens>=1000'", false},
    {"gate_split", MU_PARAM_CHOICE, "test", 0, 0, "valid|test", "chain: on this part of the data", false},
    {"model", MU_PARAM_CHOICE, "latest", 0, 0, "latest|best", "chain: the checkpoint for gate and export",
     false},
    {"export", MU_PARAM_PATH, NULL, 0, 0, NULL, "chain: the Hugging Face directory that export makes", false},
    {"step_time", MU_PARAM_TIME, "4:00:00", 0, 0, NULL, "chain: time limit of each step but train", false},
    {"step_cpus", MU_PARAM_NUMBER, NULL, 1, 4096, NULL, "chain: cores of each step but train", false},
    {"step_partition", MU_PARAM_WORD, NULL, 0, 0, NULL, "chain: partition of each step but train", false},
    {0}};

/* The pods of an MPIJob and of a TrainJob. */
#define POD_ROWS                                                                                             \
    {"slots", MU_PARAM_NUMBER, NULL, 1, 4096, NULL, "workers of a pod; default: one a GPU, else 1", false},  \
        {"gpus", MU_PARAM_NUMBER, NULL, 1, 64, NULL, "GPUs of a worker pod (nvidia.com/gpu); default: none", \
         false},                                                                                             \
        {"rdma",                                                                                             \
         MU_PARAM_NUMBER,                                                                                    \
         NULL,                                                                                               \
         1,                                                                                                  \
         64,                                                                                                 \
         NULL,                                                                                               \
         "InfiniBand ports of a worker pod (rdma/ib); default: none",                                        \
         false},                                                                                             \
        {"gpu_model",                                                                                        \
         MU_PARAM_VALUE,                                                                                     \
         NULL,                                                                                               \
         0,                                                                                                  \
         0,                                                                                                  \
         NULL,                                                                                               \
         "place workers on nodes with this GPU, as gpu_label tells it",                                      \
         false},                                                                                             \
        {"gpu_label",                                                                                        \
         MU_PARAM_KEY,                                                                                       \
         "nvidia.com/gpu.product",                                                                           \
         0,                                                                                                  \
         0,                                                                                                  \
         NULL,                                                                                               \
         "the nodes' label that names their GPU",                                                            \
         false},                                                                                             \
        {"region", MU_PARAM_VALUE, NULL, 0, 0, NULL, "place all pods in this topology.kubernetes.io/region", \
         false},                                                                                             \
        {"cpu", MU_PARAM_CORES, "4", 0, 0, NULL, "cores of a worker pod", false},                            \
        {"memory", MU_PARAM_MEMORY, "16Gi", 0, 0, NULL, "memory of a worker pod", false},                    \
        {"launcher_cpu", MU_PARAM_CORES, "2", 0, 0, NULL, "cores of the launcher's pod", false},             \
        {"launcher_memory", MU_PARAM_MEMORY, "4Gi", 0, 0, NULL, "memory of the launcher's pod", false},      \
        {"volumes",                                                                                          \
         MU_PARAM_VOLUMES,                                                                                   \
         NULL,                                                                                               \
         0,                                                                                                  \
         0,                                                                                                  \
         NULL,                                                                                               \
         "claims and where they are mounted: runs:/runs,data:/data",                                         \
         true},                                                                                              \
        {"user", MU_PARAM_NUMBER, "1000", 1, 65534, NULL, "numeric user of all pods", false},                \
    {                                                                                                        \
        "home", MU_PARAM_PATH, "/var/lib/muster", 0, 0, NULL, "that user's home in the image", false         \
    }

static const mu_param_t mpijob[] = {
    {"name", MU_PARAM_LABEL, NULL, 0, 63, NULL, "name of the MPIJob; default: the config's file name", false},
    {"namespace", MU_PARAM_LABEL, NULL, 0, 63, NULL, "namespace; default: kubectl's", false},
    {"image", MU_PARAM_WORD, NULL, 0, 0, NULL, "image with muster, Open MPI and sshd", true},
    {"workers", MU_PARAM_NUMBER, "2", 1, 10000, NULL, "worker pods", false},
    POD_ROWS,
    {"launcher_creation", MU_PARAM_CHOICE, "AtStartup", 0, 0, "AtStartup|WaitForWorkersReady",
     "when the launcher pod is made; it waits for the workers itself", false},
    {"launcher_restart", MU_PARAM_CHOICE, "Never", 0, 0, "Never|OnFailure",
     "Never: a failed launcher is a new pod, and its log stays", false},
    {"worker_restart", MU_PARAM_CHOICE, "OnFailure", 0, 0, "Never|OnFailure", "of the workers' sshd", false},
    {"clean_pods", MU_PARAM_CHOICE, "Running", 0, 0, "None|Running|All",
     "worker pods that go when the job ends", false},
    {"backoff", MU_PARAM_NUMBER, "20", 0, 1000, NULL,
     "how often Kubernetes starts the launcher again; a clean stop (75) counts too", false},
    {"deadline", MU_PARAM_NUMBER, NULL, 1, 315360000, NULL,
     "seconds after which Kubernetes ends the launcher", false},
    {"grace", MU_PARAM_NUMBER, "120", 30, 3600, NULL, "seconds for the last checkpoint after SIGTERM", false},
    {"queue", MU_PARAM_LABEL, NULL, 0, 63, NULL, "Kueue's LocalQueue", false},
    {"secret", MU_PARAM_SECRET, NULL, 0, 0, NULL,
     "a Secret whose keys become variables of the launcher; NAME:KEY=VARIABLE,... gives them other names",
     false},
    {"owner_uid", MU_PARAM_UID, NULL, 0, 0, NULL,
     "metadata.uid of the MPIJob, once it is made: the other objects then go with it", false},
    {0}};

static const mu_param_t trainjob[] = {
    {"name", MU_PARAM_LABEL, NULL, 0, 63, NULL, "name of the TrainJob; default: the config's file name",
     false},
    {"namespace", MU_PARAM_LABEL, NULL, 0, 63, NULL, "namespace; default: kubectl's", false},
    {"image", MU_PARAM_WORD, NULL, 0, 0, NULL, "image with muster, Open MPI and sshd", true},
    {"launcher_as_node", MU_PARAM_CHOICE, "false", 0, 0, "true|false",
     "true: the launcher's pod is one of the nodes", false},
    {"workers", MU_PARAM_NUMBER, "2", 1, 10000, NULL, "nodes: pods with workers", false},
    POD_ROWS,
    {"backoff", MU_PARAM_NUMBER, "20", 0, 1000, NULL,
     "how often Kubernetes starts the launcher again; a clean stop (75) counts too", false},
    {"deadline", MU_PARAM_NUMBER, NULL, 1, 315360000, NULL,
     "seconds after which Kubernetes ends the launcher", false},
    {"grace", MU_PARAM_NUMBER, "120", 30, 3600, NULL, "seconds for the last checkpoint after SIGTERM", false},
    {"queue", MU_PARAM_LABEL, NULL, 0, 63, NULL, "Kueue's LocalQueue", false},
    {"secret", MU_PARAM_SECRET, NULL, 0, 0, NULL,
     "a Secret whose keys become variables of the launcher; NAME:KEY=VARIABLE,... gives them other names",
     false},
    {0}};

static const mu_param_t storage[] = {
    {"name", MU_PARAM_LABEL, NULL, 0, 63, NULL, "name of the workflow; default: the config's file name",
     false},
    {"namespace", MU_PARAM_LABEL, NULL, 0, 63, NULL, "namespace; default: kubectl's", false},
    {"volumes", MU_PARAM_VOLUMES, "neox-checkpoints:/neox-checkpoints,neox-data:/neox-data", 0, 0, NULL,
     "two claims and where they are mounted: for models and runs, and for data", false},
    {"account", MU_PARAM_LABEL, "finetune", 0, 63, NULL, "ServiceAccount of the workflow", false},
    {"wandb_secret_name", MU_PARAM_NAME, "wandb-token-secret", 0, 0, NULL,
     "a Secret; its key token becomes WANDB_API_KEY of the launcher; empty: none", false},
    {"mlflow_secret_name", MU_PARAM_NAME, "", 0, 0, NULL,
     "a Secret; its key token becomes MLFLOW_TRACKING_TOKEN of the step that registers; empty: none", false},
    {"class", MU_PARAM_CLASSES, NULL, 0, 0, NULL,
     "storage class, or CLAIM:CLASS,CLAIM:CLASS; default: the cluster's", false},
    {"sizes", MU_PARAM_SIZES, NULL, 0, 0, NULL, "CLAIM:SIZE,CLAIM:SIZE; default: what muster plan asks for",
     false},
    {"serve", MU_PARAM_CHOICE, "none", 0, 0, "none|muster|vllm",
     "as of argo: the account may then make the Job and the Deployment", false},
    {"part", MU_PARAM_CHOICE, "all", 0, 0, "all|claims|account|secret", "what is printed", false},
    {"workers", MU_PARAM_NUMBER, "0", 0, 1000000, NULL, "workers to plan for; 0: as the batch sizes say",
     false},
    {"pretrained_checkpoint_path", MU_PARAM_INSIDE, "20B_pretrained_checkpoint", 0, 0, NULL,
     "where the fetched model lies; what import makes of it is beside it", false},
    {"finetuned_checkpoint_path", MU_PARAM_INSIDE, "20B_finetuned_checkpoint", 0, 0, NULL,
     "where runs lie, by run_name", false},
    {"tokenizer_file", MU_PARAM_INSIDE, "20B_pretrained_checkpoint/20B_tokenizer.json", 0, 0, NULL,
     "the tokenizer, among the models", false},
    {"tokenized_dataset_path", MU_PARAM_INSIDE, "datasets/hackernews", 0, 0, NULL, "the data set", false},
    {"micro_batch_size", MU_PARAM_NUMBER, "8", 1, 1000000, NULL, "samples of a worker at a time", false},
    {"gradient_accumulation_steps", MU_PARAM_NUMBER, "96", 1, 1000000, NULL, "micro batches of a step",
     false},
    {0}};

static const mu_param_t argo[] = {
    {"name", MU_PARAM_LABEL, NULL, 0, 63, NULL,
     "name of the WorkflowTemplate; default: the config's file name", false},
    {"namespace", MU_PARAM_LABEL, NULL, 0, 63, NULL, "namespace; default: kubectl's", false},
    {"image", MU_PARAM_WORD, NULL, 0, 0, NULL, "image with muster, Open MPI, sshd and curl", true},
    {"volumes", MU_PARAM_VOLUMES, "neox-checkpoints:/neox-checkpoints,neox-data:/neox-data", 0, 0, NULL,
     "two claims and where they are mounted: for models and runs, and for data", false},
    {"account", MU_PARAM_LABEL, "finetune", 0, 63, NULL, "ServiceAccount of the workflow", false},
    {"wandb_secret_name", MU_PARAM_NAME, "wandb-token-secret", 0, 0, NULL,
     "a Secret; its key token becomes WANDB_API_KEY of the launcher; empty: none", false},
    {"pretrained_checkpoint_path", MU_PARAM_INSIDE, "20B_pretrained_checkpoint", 0, 0, NULL,
     "where the fetched model lies; what import makes of it is beside it", false},
    {"finetuned_checkpoint_path", MU_PARAM_INSIDE, "20B_finetuned_checkpoint", 0, 0, NULL,
     "where runs lie, by run_name", false},
    {"tokenizer_file", MU_PARAM_INSIDE, "20B_pretrained_checkpoint/20B_tokenizer.json", 0, 0, NULL,
     "the tokenizer, among the models", false},
    {"tokenized_dataset_path", MU_PARAM_INSIDE, "datasets/hackernews", 0, 0, NULL, "the data set", false},
    {"micro_batch_size", MU_PARAM_NUMBER, "8", 1, 1000000, NULL, "samples of a worker at a time", false},
    {"gradient_accumulation_steps", MU_PARAM_NUMBER, "96", 1, 1000000, NULL, "micro batches of a step",
     false},
    {"gate", MU_PARAM_GATES, NULL, 0, 0, NULL, "what the model must reach, like 'ppl<=16.53,tokens>=1000'",
     true},
    {"gate_split", MU_PARAM_CHOICE, "test", 0, 0, "valid|test", "on this part of the data", false},
    {"model", MU_PARAM_CHOICE, "latest", 0, 0, "latest|best", "the checkpoint for gate and export", false},
    {"download_checkpoint", MU_PARAM_CHOICE, "true", 0, 0, "true|false", "false: what is there is verified",
     false},
    {"model_weights_url", MU_PARAM_URL, "https://the-eye.eu/public/AI/models/GPT-NeoX-20B/slim_weights/", 0,
     0, NULL, "a directory of Hugging Face's or gpt-neox's files", false},
    {"model_weights_sha256", MU_PARAM_DIGEST, "", 0, 0, NULL,
     "of its SHA256SUMS, which the first fetch prints", false},
    {"download_dataset", MU_PARAM_CHOICE, "true", 0, 0, "true|false", "false: what is there is verified",
     false},
    {"dataset_url", MU_PARAM_URL, "https://the-eye.eu/public/AI/pile_preliminary_components/hn.tar.gz", 0, 0,
     NULL, "the text", false},
    {"dataset_sha256", MU_PARAM_DIGEST, "", 0, 0, NULL, "of that file", false},
    {"dataset_path", MU_PARAM_INSIDE, "datasets", 0, 0, NULL, "where it is kept", false},
    {"dataset_file", MU_PARAM_INSIDE, "hn.tar.gz", 0, 0, NULL, "its name there", false},
    {"tokenize_dataset", MU_PARAM_CHOICE, "true", 0, 0, "true|false", "false: what is there is verified",
     false},
    {"region", MU_PARAM_VALUE, "LAS1", 0, 0, NULL,
     "topology.kubernetes.io/region of the training pods; none: any", false},
    {"trainer_nodes", MU_PARAM_NUMBER, "2", 1, 999, NULL, "worker pods", false},
    {"trainer_gpu", MU_PARAM_VALUE, "A100_NVLINK_80GB", 0, 0, NULL,
     "the nodes' GPU, as gpu_label tells it; none: any", false},
    {"gpu_label", MU_PARAM_KEY, "gpu.nvidia.com/model", 0, 0, NULL, "the nodes' label that names their GPU",
     false},
    {"use_ib", MU_PARAM_CHOICE, "true", 0, 0, "true|false", "one rdma/ib a worker pod", false},
    {"wandb_project", MU_PARAM_OPTION, "finetune-gpt-neox", 0, 0, NULL, "of Weights & Biases; empty: none",
     false},
    {"wandb_group", MU_PARAM_OPTION, "A100-NVLINK-2N", 0, 0, NULL, "of Weights & Biases; empty: none", false},
    {"register_name", MU_PARAM_OPTION, "", 0, 0, NULL,
     "the exported model becomes a version of this one in MLflow's registry; empty: no such step", false},
    {"register_alias", MU_PARAM_OPTION, "", 0, 0, NULL, "that version gets this alias; empty: none", false},
    {"mlflow_tracking_uri", MU_PARAM_URL, NULL, 0, 0, NULL, "the registry's server", false},
    {"mlflow_secret_name", MU_PARAM_NAME, "", 0, 0, NULL,
     "a Secret; its key token becomes MLFLOW_TRACKING_TOKEN of the step that registers; empty: none", false},
    {"serve", MU_PARAM_CHOICE, "none", 0, 0, "none|muster|vllm",
     "the last steps: the model is tried and rolled out, by muster serve, or by vLLM on the export; none: no "
     "such steps",
     false},
    {"serve_model", MU_PARAM_CHOICE, "true", 0, 0, "true|false",
     "false: the model is tried, and what is served stays", false},
    {"serve_image", MU_PARAM_WORD, NULL, 0, 0, NULL, "serve=vllm: its image", false},
    {"serve_replicas", MU_PARAM_NUMBER, "1", 1, 1000, NULL, "pods that serve", false},
    {"serve_gpus", MU_PARAM_NUMBER, "0", 0, 64, NULL, "GPUs of a pod that serves; 0: none", false},
    {"serve_cpu", MU_PARAM_CORES, "4", 0, 0, NULL, "cores of a pod that serves", false},
    {"serve_memory", MU_PARAM_MEMORY, NULL, 0, 0, NULL,
     "memory of a pod that serves; default: what the model and its cache need", false},
    {"serve_secret", MU_PARAM_NAME, "", 0, 0, NULL,
     "a Secret; its key token is what clients must send; empty: everyone who reaches the Service may ask",
     false},
    {"gpus", MU_PARAM_NUMBER, "8", 0, 64, NULL, "GPUs of a worker pod; 0: none", false},
    {"slots", MU_PARAM_NUMBER, NULL, 1, 4096, NULL, "workers of a pod; default: one a GPU, else 1", false},
    {"cpu", MU_PARAM_CORES, "48", 0, 0, NULL, "cores of a worker pod, and of the gate's", false},
    {"memory", MU_PARAM_MEMORY, "256Gi", 0, 0, NULL, "memory of a worker pod, and of the gate's", false},
    {"launcher_cpu", MU_PARAM_CORES, "2", 0, 0, NULL, "cores of the launcher's pod", false},
    {"launcher_memory", MU_PARAM_MEMORY, "4Gi", 0, 0, NULL, "memory of the launcher's pod", false},
    {"step_cpu", MU_PARAM_CORES, "8", 0, 0, NULL, "cores of the other steps' pods", false},
    {"step_memory", MU_PARAM_MEMORY, "16Gi", 0, 0, NULL, "memory of the other steps' pods", false},
    {"user", MU_PARAM_NUMBER, "1000", 1, 65534, NULL, "numeric user of all pods", false},
    {"home", MU_PARAM_PATH, "/var/lib/muster", 0, 0, NULL, "that user's home in the image", false},
    {"backoff", MU_PARAM_NUMBER, "6", 0, 1000, NULL, "how often Kubernetes starts the launcher again", false},
    {"grace", MU_PARAM_NUMBER, "600", 30, 3600, NULL, "seconds for the last checkpoint after SIGTERM", false},
    {"ttl", MU_PARAM_NUMBER, "604800", 60, 315360000, NULL, "seconds after which an ended workflow goes",
     false},
    {"part", MU_PARAM_CHOICE, "workflow", 0, 0, "workflow|retrain|alert",
     "what is printed: the workflow; what submits it on an alert; the alert's rule for Prometheus", false},
    {"retrain_below", MU_PARAM_REAL, NULL, 0, 0, NULL, "train again when the mean of the feedback is below",
     false},
    {"retrain_window", MU_PARAM_SPAN, "1h", 0, 0, NULL, "over this span, and for as long", false},
    {"feedback_metric", MU_PARAM_WORD, "muster_feedback_reward", 0, 0, NULL, "the served model's metric",
     false},
    {0}};

static const mu_param_t serve[] = {
    {"name", MU_PARAM_LABEL, NULL, 0, 63, NULL, "name of the Deployment; default: the config's file name",
     false},
    {"namespace", MU_PARAM_LABEL, NULL, 0, 63, NULL, "namespace; default: kubectl's", false},
    {"engine", MU_PARAM_CHOICE, "muster", 0, 0, "muster|vllm|kserve",
     "what serves: muster serve on the run itself, or vLLM or KServe on the exported directory", false},
    {"image", MU_PARAM_WORD, NULL, 0, 0, NULL, "image with muster and curl; the smoke test runs in it", true},
    {"engine_image", MU_PARAM_WORD, NULL, 0, 0, NULL, "vllm, kserve: the image that serves", false},
    {"volumes", MU_PARAM_VOLUMES, NULL, 0, 0, NULL, "claims and where they are mounted: runs:/runs", true},
    {"model", MU_PARAM_STEP, "best", 0, 0, NULL,
     "muster: best, which is followed as the run finds better ones, latest, or a step of the run", false},
    {"export", MU_PARAM_PATH, NULL, 0, 0, NULL,
     "vllm, kserve: the directory that export made; default: the run's path with .hf", false},
    {"served_name", MU_PARAM_VALUE, NULL, 0, 0, NULL, "what clients call the model; default: name", false},
    {"smoke_prompt", MU_PARAM_WORD, "The", 0, 0, NULL, "what the smoke test asks to continue", false},
    {"replicas", MU_PARAM_NUMBER, "1", 1, 1000, NULL, "pods that serve", false},
    {"port", MU_PARAM_NUMBER, "8080", 1024, 65535, NULL, "of the Service and of the pods", false},
    {"slots", MU_PARAM_NUMBER, "8", 1, 1024, NULL, "sequences that are computed at once", false},
    {"slot_tokens", MU_PARAM_NUMBER, NULL, 2, 1048576, NULL,
     "prompt and answer of one sequence; default: what the model takes, muster 2048 at most", false},
    {"drain", MU_PARAM_NUMBER, "30", 0, 3600, NULL, "seconds that running requests have when a pod ends",
     false},
    {"startup", MU_PARAM_NUMBER, "600", 10, 86400, NULL, "seconds that loading may take", false},
    {"token_secret", MU_PARAM_NAME, "", 0, 0, NULL,
     "a Secret; its key token is what clients must send; empty: everyone who reaches the Service may ask",
     false},
    {"monitor", MU_PARAM_CHOICE, "false", 0, 0, "true|false", "a ServiceMonitor for the Prometheus operator",
     false},
    {"gpus", MU_PARAM_NUMBER, NULL, 1, 64, NULL, "GPUs of a pod (nvidia.com/gpu); default: none", false},
    {"gpu_model", MU_PARAM_VALUE, NULL, 0, 0, NULL,
     "place pods on nodes with this GPU, as gpu_label tells it", false},
    {"gpu_label", MU_PARAM_KEY, "nvidia.com/gpu.product", 0, 0, NULL, "the nodes' label that names their GPU",
     false},
    {"region", MU_PARAM_VALUE, NULL, 0, 0, NULL, "place all pods in this topology.kubernetes.io/region",
     false},
    {"cpu", MU_PARAM_CORES, "4", 0, 0, NULL, "cores of a pod", false},
    {"memory", MU_PARAM_MEMORY, NULL, 0, 0, NULL,
     "memory of a pod; default: what the model and its cache need", false},
    {"user", MU_PARAM_NUMBER, "1000", 1, 65534, NULL, "numeric user of all pods", false},
    {"part", MU_PARAM_CHOICE, "all", 0, 0, "all|smoke|serve", "what is printed", false},
    {0}};

const mu_param_t *mu_param_table(mu_render_target_t target)
{
    static const mu_param_t *const tables[MU_RENDER_TARGETS] = {
        [MU_RENDER_SLURM] = slurm, [MU_RENDER_MPIJOB] = mpijob,     [MU_RENDER_STORAGE] = storage,
        [MU_RENDER_ARGO] = argo,   [MU_RENDER_TRAINJOB] = trainjob, [MU_RENDER_SERVE] = serve};
    return tables[target];
}
