/*
 * The last steps of the workflow. `smoke` is a Job that tries the model; `serve` applies the Deployment; `served`
 * waits until its new pods are there and the old ones gone. That is a step of its own, in a pod of its own, because
 * what a Deployment says of itself right after it was applied is still about the one before.
 */
#include "launcher/render/render_argo.h"

bool mu_argo_serves(const mu_params_t *p)
{
    return strcmp(mu_params_text(p, "serve"), "none") != 0;
}

/* Parameter of `render serve`, and of `render argo`. */
static const char *const same[][2] = {{"name", "name"},
                                      {"namespace", "namespace"},
                                      {"engine", "serve"},
                                      {"user", "user"},
                                      {"engine_image", "serve_image"},
                                      {"replicas", "serve_replicas"},
                                      {"gpus", "serve_gpus"},
                                      {"cpu", "serve_cpu"},
                                      {"token_secret", "serve_secret"},
                                      {"memory", "serve_memory"},
                                      {"gpu_label", "gpu_label"}};

/* What `render serve` would be called with. */
static void params_of(const mu_params_t *p, mu_params_t *out)
{
    mu_params_init(out, MU_RENDER_SERVE);
    mu_params_defaults(out);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        mu_params_put(out, same[i][0], mu_params_text(p, same[i][1]));
    if (mu_params_number(out, "gpus") == 0)
        mu_params_put(out, "gpus", NULL);
    else if (strcmp(mu_params_text(p, "trainer_gpu"), "none") != 0)
        mu_params_put(out, "gpu_model", MU_ARGO_GIVEN("trainer_gpu"));
    if (strcmp(mu_params_text(p, "region"), "none") != 0)
        mu_params_put(out, "region", MU_ARGO_GIVEN("region"));
    mu_params_put(out, "image", MU_ARGO_GIVEN("image"));
    mu_params_put(out, "model", MU_ARGO_GIVEN("model"));
}

mu_status_t mu_argo_serve_check(const mu_params_t *p, const mu_plan_query_t *query,
                                char memory[MU_SERVING_MEMORY])
{
    mu_params_t own;
    mu_plan_t plan;
    params_of(p, &own);
    mu_status_t status = mu_serving_check(&own);
    if (status == MU_OK && (status = mu_plan_make(query, &plan)) == MU_OK) {
        status = mu_serving_memory(&own, &plan, memory);
        mu_plan_free(&plan);
    }
    mu_params_release(&own);
    return status;
}

void mu_argo_service(const mu_params_t *p, mu_buf_t *out)
{
    mu_params_t own;
    params_of(p, &own);
    mu_buf_adds(out, "---\n");
    mu_serving_service(&own, out);
    mu_params_release(&own);
}

static void add_manifest(const char *manifest, mu_buf_t *out)
{
    mu_buf_adds(out, "        manifest: |\n");
    mu_yaml_indent(manifest, 10, out);
}

static void add_smoke(const mu_serving_t *s, mu_buf_t *out)
{
    mu_buf_t job = MU_BUF_INIT;
    mu_serving_job(s, "{{workflow.name}}-smoke", false, &job);
    mu_buf_addf(out,
                "    - name: smoke\n"
                "      activeDeadlineSeconds: \"%lld\"\n"
                "      resource:\n"
                "        action: apply\n"
                "        setOwnerReference: true\n"
                "        successCondition: status.succeeded > 0\n"
                "        failureCondition: status.failed > %d\n",
                (long long)mu_serving_job_seconds(s) + 60, MU_SERVING_TRIES);
    add_manifest(job.data, out);
    mu_buf_release(&job);
}

static void add_serve(const mu_serving_t *s, mu_buf_t *out)
{
    mu_buf_t deployment = MU_BUF_INIT;
    const char *replicas = mu_params_text(s->p, "replicas");
    mu_serving_deployment(s, &deployment);
    mu_buf_addf(out,
                "    - name: serve\n"
                "      synchronization:\n"
                "        mutexes:\n"
                "          - name: \"%s-serve\"\n"
                "      resource:\n"
                "        action: apply\n",
                mu_params_text(s->p, "name"));
    add_manifest(deployment.data, out);
    mu_buf_clear(&deployment);
    mu_buf_adds(&deployment, "apiVersion: apps/v1\nkind: Deployment\n");
    mu_render_meta(s->p, "", &deployment);
    mu_buf_addf(out,
                "    - name: served\n"
                "      activeDeadlineSeconds: \"%lld\"\n"
                "      resource:\n"
                "        action: get\n"
                "        successCondition: status.updatedReplicas == %s,status.availableReplicas == %s,"
                "status.replicas == %s\n",
                (long long)mu_serving_job_seconds(s) * mu_params_number(s->p, "replicas"), replicas, replicas,
                replicas);
    add_manifest(deployment.data, out);
    mu_buf_release(&deployment);
}

void mu_argo_serve_steps(const mu_params_t *p, char *volumes[4], const char *memory, mu_buf_t *out)
{
    mu_params_t own;
    char *save = mu_format("%s/%s/%s", volumes[1], MU_ARGO_GIVEN("finetuned_checkpoint_path"),
                           MU_ARGO_GIVEN("run_name")),
         *dir = mu_format("%s.hf", save),
         *claims = mu_format(MU_ARGO_GIVEN("pvc_checkpoints_name") ":%s", volumes[1]);
    params_of(p, &own);
    mu_params_put(&own, "volumes", claims);
    mu_params_put(&own, "memory", memory);
    mu_serving_t serving = {.p = &own, .save = save, .dir = dir, .mark = "{{workflow.name}}"};
    add_smoke(&serving, out);
    add_serve(&serving, out);
    mu_params_release(&own);
    free(claims);
    free(dir);
    free(save);
}
