/* The step that trains: an MPIJob that the workflow makes, owns and waits for. */
#include "launcher/render/render_argo.h"

/* What an MPIJob of its own would be rendered from, with the workflow's parameters in place of values. */
static void job_params(const mu_params_t *p, char *volumes[4], mu_params_t *job)
{
    static const char *const same[] = {
        "namespace",         "gpus",      "slots", "gpu_label", "cpu",   "memory",           "launcher_cpu",
        "launcher_memory",   "user",      "home",  "backoff",   "grace", "launcher_restart", "worker_restart",
        "launcher_creation", "clean_pods"};
    char *claims =
        mu_format(MU_ARGO_GIVEN("pvc_checkpoints_name") ":%s," MU_ARGO_GIVEN("pvc_data_name") ":%s",
                  volumes[1], volumes[3]);
    mu_params_init(job, MU_RENDER_MPIJOB);
    mu_params_defaults(job);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (mu_params_text(p, same[i]))
            mu_params_put(job, same[i], mu_params_text(p, same[i]));
    mu_params_put(job, "name", "{{workflow.name}}-train");
    mu_params_put(job, "image", MU_ARGO_GIVEN("image"));
    mu_params_put(job, "workers", MU_ARGO_GIVEN("trainer_nodes"));
    mu_params_put(job, "volumes", claims);
    mu_params_put(job, "region",
                  strcmp(mu_params_text(p, "region"), "none") == 0 ? NULL : MU_ARGO_GIVEN("region"));
    mu_params_put(job, "gpu_model",
                  strcmp(mu_params_text(p, "trainer_gpu"), "none") == 0 ? NULL
                                                                        : MU_ARGO_GIVEN("trainer_gpu"));
    mu_params_put(job, "rdma",
                  mu_params_text(p, "gpus") ? "{{=workflow.parameters.use_ib == 'true' ? '1' : '0'}}" : NULL);
    mu_params_put(job, "secret",
                  "{{=sprig.default('none', workflow.parameters.wandb_secret_name)}}:token=WANDB_API_KEY");
    free(claims);
}

/* More words for `muster run`, a line each. */
static void add_words(const mu_params_t *p, char *volumes[4], const char *save, mu_buf_t *out)
{
    static const char next[] = " \\\n                    ";
    mu_buf_addf(out, "%s'save=%s' finetune=true", next, save);
    mu_buf_addf(out, "%s'load=%s/%s.imported'", next, volumes[1],
                MU_ARGO_GIVEN("pretrained_checkpoint_path"));
    mu_buf_addf(out, "%s'data_path=%s/%s'", next, volumes[3], MU_ARGO_GIVEN("tokenized_dataset_path"));
    mu_buf_addf(out, "%s'vocab_file=%s/%s'", next, volumes[1], MU_ARGO_GIVEN("tokenizer_file"));
    mu_buf_addf(out, "%s'train_micro_batch_size_per_gpu=%s'", next, MU_ARGO_GIVEN("micro_batch_size"));
    mu_buf_addf(out, "%s'gradient_accumulation_steps=%s'", next,
                MU_ARGO_GIVEN("gradient_accumulation_steps"));
    mu_buf_addf(out, "%s'wandb_project=%s' 'wandb_group=%s'", next, MU_ARGO_GIVEN("wandb_project"),
                MU_ARGO_GIVEN("wandb_group"));
    if (!mu_params_text(p, "gpus")) /* else one worker a GPU */
        mu_buf_addf(out, " --workers $((%s * %s))", MU_ARGO_GIVEN("trainer_nodes"),
                    mu_params_text(p, "slots"));
}

void mu_argo_mutex(const char *parameter, const char *more, mu_buf_t *out)
{
    mu_buf_addf(out,
                "      synchronization:\n"
                "        mutexes:\n"
                "          - name: \"{{=sprig.replace('/', '-', workflow.parameters.%s)}}%s\"\n",
                parameter, more);
}

void mu_argo_train(const mu_params_t *p, char *volumes[4], bool own_ssh, mu_buf_t *out)
{
    mu_params_t job;
    mu_buf_t manifest = MU_BUF_INIT, words = MU_BUF_INIT;
    char *save = mu_format("%s/%s/%s", volumes[1], MU_ARGO_GIVEN("finetuned_checkpoint_path"),
                           MU_ARGO_GIVEN("run_name"));
    add_words(p, volumes, save, &words);
    job_params(p, volumes, &job);
    mu_render_mpijob_object(&(mu_pod_t){.params = &job,
                                        .name = mu_params_text(p, "name"),
                                        .account = mu_params_text(p, "account"),
                                        .config_map = MU_ARGO_GIVEN("training_config_name"),
                                        .save = save,
                                        .arguments = words.data,
                                        .launcher_container = "muster",
                                        .worker_container = "sshd",
                                        .own_ssh = own_ssh},
                            &manifest);
    /* Kubernetes starts a failed launcher again, backoffLimit times: before that the job has not failed. */
    mu_buf_adds(out, "    - name: train\n");
    mu_argo_mutex("finetuned_checkpoint_path", "-" MU_ARGO_GIVEN("run_name"), out);
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
