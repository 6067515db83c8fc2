/*
 * `render serve`: what serves a trained model. engine=muster: a Deployment of `muster serve` on the run itself; vllm:
 * one of vLLM on the exported directory; kserve: an InferenceService on it. New pods are ready before old ones go
 * (maxUnavailable 0), and a Job tries the model before (render_serve_smoke.c).
 */
#include "launcher/render/render_serve.h"
#include "common/digest.h"
#include "common/log.h"
#include "common/num.h"
#include "launcher/render/render_params.h"

static const int64_t mib = (int64_t)1 << 20;
enum {
    SLOT_TOKENS = 2048, /* where slot_tokens= is not given, as `muster serve` has it */
    CHUNK = 64,         /* prompt rows of a step, as `muster serve` has it */
    OWN_MIB = 512,      /* the programs and the tokenizer */
    PYTHON_MIB = 8192   /* of an engine in Python, beside the weights on their way to a GPU */
};

static bool is(const mu_params_t *p, const char *name, const char *value)
{
    const char *found = mu_params_text(p, name);
    return found && strcmp(found, value) == 0;
}

/* ---- what fits together ---- */

mu_status_t mu_serving_check(const mu_params_t *p)
{
    const char *name = mu_params_text(p, "name"), *engine = mu_params_text(p, "engine");
    bool own = is(p, "engine", "muster"), kserve = is(p, "engine", "kserve");
    size_t n = strlen(name) + strlen("-smoke-0123456789-abcde");
    if (n > 63)
        return mu_fail(MU_USAGE,
                       "render: name '%s' is too long: its pods' names would have %zu characters, 63 at most",
                       name, n);
    if (own == mu_serving_given(p, "engine_image"))
        return mu_fail(MU_USAGE,
                       own ? "render: engine_image=: engine %s is in image="
                           : "render: engine %s wants engine_image= (of argo: serve_image=), its own image",
                       engine);
    if (own && mu_params_number(p, "gpus") > 1)
        return mu_fail(MU_USAGE, "render: gpus=%s: engine=muster takes one: engine=vllm divides a model",
                       mu_params_text(p, "gpus"));
    if (kserve && mu_serving_given(p, "token_secret"))
        return mu_fail(MU_USAGE, "render: token_secret=: KServe's gateway asks for a token, not its server");
    if (kserve && is(p, "monitor", "true"))
        return mu_fail(MU_USAGE, "render: monitor=true: the Services of engine=kserve are KServe's");
    if (kserve && !is(p, "port", "8080"))
        return mu_fail(MU_USAGE, "render: port=%s: KServe's server listens on 8080",
                       mu_params_text(p, "port"));
    return MU_OK;
}

/* Bytes: weights and cache as the model computes, logits in fp32. Beside a better model its predecessor stays for a
 * while. */
static int64_t needed(const mu_params_t *p, const mu_plan_t *plan)
{
    const mu_model_t *m = &plan->config->model;
    int64_t width = strcmp(plan->numbers, "fp32") == 0 ? 4 : 2, slots = mu_params_number(p, "slots"),
            tokens = mu_serving_given(p, "slot_tokens") ? mu_params_number(p, "slot_tokens")
                                                        : mu_min_i64(mu_model_longest(m), SLOT_TOKENS),
            weights = plan->parameters * width,
            cache = m->layers * 2 * mu_model_kv_heads(m) * mu_model_head_dim(m) * slots * tokens * width,
            logits = (slots + CHUNK) * m->vocab * 4;
    if (!is(p, "engine", "muster"))
        return weights + weights / 4 + PYTHON_MIB * mib;
    return (weights + cache + logits) * (is(p, "model", "best") ? 2 : 1) + OWN_MIB * mib;
}

mu_status_t mu_serving_memory(const mu_params_t *p, const mu_plan_t *plan, char out[MU_SERVING_MEMORY])
{
    const char *given = mu_params_text(p, "memory");
    int64_t wanted = (needed(p, plan) + 256 * mib - 1) / (256 * mib) * 256;
    if (given && mu_param_bytes(given) < (double)(wanted * mib))
        return mu_fail(MU_CONFIG,
                       "render: memory=%s: the model with its cache wants %lldMi: raise it, or lower slots= "
                       "or slot_tokens=",
                       given, (long long)wanted);
    if (given)
        snprintf(out, MU_SERVING_MEMORY, "%s", given);
    else
        snprintf(out, MU_SERVING_MEMORY, "%lldMi", (long long)wanted);
    return MU_OK;
}

/* ---- objects ---- */

static void add_monitor(const mu_params_t *p, mu_buf_t *out)
{
    mu_buf_adds(out, "---\napiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\n");
    mu_render_meta(p, "", out);
    mu_buf_addf(out,
                "spec:\n"
                "  selector:\n"
                "    matchLabels: {app.kubernetes.io/name: muster, app.kubernetes.io/instance: %s}\n"
                "  endpoints:\n"
                "    - port: http\n"
                "      path: /metrics\n"
                "      interval: 15s\n",
                MU_YAML_NAME(mu_params_text(p, "name")));
    if (mu_serving_given(p, "token_secret"))
        mu_buf_addf(out, "      authorization: {credentials: {name: %s, key: token}}\n",
                    MU_YAML_NAME(mu_params_text(p, "token_secret")));
}

void mu_serving_service(const mu_params_t *p, mu_buf_t *out)
{
    const char *port = mu_params_text(p, "port");
    mu_buf_adds(out, "apiVersion: v1\nkind: Service\n");
    mu_render_meta(p, "", out);
    mu_buf_adds(out, "spec:\n  selector: ");
    mu_serving_labels(p, "server", out);
    mu_buf_addf(out, "\n  ports: [{name: http, port: %s, targetPort: %s}]\n", port, port);
    if (is(p, "monitor", "true"))
        add_monitor(p, out);
}

static void add_strategy(int spaces, mu_buf_t *out)
{
    mu_buf_addf(out, "%*stype: RollingUpdate\n%*srollingUpdate: {maxUnavailable: 0, maxSurge: 1}\n", spaces,
                "", spaces, "");
}

static void add_inference_service(const mu_serving_t *s, mu_buf_t *out)
{
    const mu_params_t *p = s->p;
    mu_buf_t part = MU_BUF_INIT;
    const char *volume = mu_render_volume_of(mu_params_text(p, "volumes"), s->dir),
               *mount = strchr(volume, ':') + 1;
    mu_buf_adds(out, "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n");
    mu_render_meta(p, "", out);
    mu_buf_addf(out,
                "  annotations: {serving.kserve.io/deploymentMode: Standard}\n"
                "spec:\n"
                "  predictor:\n"
                "    minReplicas: %s\n"
                "    maxReplicas: %s\n"
                "    deploymentStrategy:\n",
                mu_params_text(p, "replicas"), mu_params_text(p, "replicas"));
    add_strategy(6, out);
    mu_serving_pod(s, &part);
    mu_yaml_indent(part.data, 4, out);
    mu_buf_addf(out,
                "    model:\n"
                "      modelFormat: {name: huggingface}\n"
                "      storageUri: \"pvc://%.*s%s\"\n",
                (int)(mount - 1 - volume), volume, s->dir + strcspn(mount, ","));
    mu_buf_clear(&part);
    /* KServe mounts what storageUri names there */
    mu_serving_container(&(mu_serving_t){.p = p, .save = s->save, .dir = "/mnt/models"}, false, &part);
    mu_yaml_indent(part.data, 6, out);
    mu_buf_release(&part);
}

void mu_serving_deployment(const mu_serving_t *s, mu_buf_t *out)
{
    const mu_params_t *p = s->p;
    mu_buf_t part = MU_BUF_INIT;
    if (is(p, "engine", "kserve")) {
        add_inference_service(s, out);
        return;
    }
    mu_buf_adds(out, "apiVersion: apps/v1\nkind: Deployment\n");
    mu_render_meta(p, "", out);
    mu_buf_addf(out,
                "spec:\n"
                "  replicas: %s\n"
                "  minReadySeconds: 5\n"
                "  progressDeadlineSeconds: %lld\n"
                "  revisionHistoryLimit: 3\n"
                "  strategy:\n",
                mu_params_text(p, "replicas"), (long long)mu_serving_job_seconds(s));
    add_strategy(4, out);
    mu_buf_adds(out, "  selector:\n    matchLabels: ");
    mu_serving_labels(p, "server", out);
    mu_buf_adds(out, "\n  template:\n    metadata:\n      labels: ");
    mu_serving_labels(p, "server", out);
    mu_buf_adds(out, "\n");
    if (s->mark)
        mu_buf_addf(out, "      annotations: {muster/workflow: \"%s\"}\n", s->mark);
    mu_buf_adds(out, "    spec:\n");
    mu_serving_pod(s, &part);
    mu_yaml_indent(part.data, 6, out);
    mu_buf_adds(out, "      containers:\n");
    mu_buf_clear(&part);
    mu_serving_container(s, false, &part);
    mu_yaml_item(part.data, 8, out);
    mu_buf_clear(&part);
    mu_serving_volumes(p, &part);
    mu_yaml_indent(part.data, 6, out);
    mu_buf_release(&part);
}

/* ---- the whole ---- */

static mu_status_t check_place(const mu_params_t *p, const char *key, const char *path)
{
    if (!path || !*path)
        return mu_fail(MU_CONFIG, "render: the config has no save: give save=/a/volume/run");
    if (mu_render_in_volume(mu_params_text(p, "volumes"), path))
        return MU_OK;
    return mu_fail(MU_CONFIG, "render: %s '%s' lies outside every volume (%s)", key, path,
                   mu_params_text(p, "volumes"));
}

/* Another server is another Job: `kubectl apply` leaves one that ended as it is. */
static char *job_name(const mu_serving_t *s)
{
    mu_buf_t job = MU_BUF_INIT;
    char digest[MU_DIGEST_HEX];
    mu_serving_job(s, "", true, &job);
    mu_digest_bytes(job.data, job.len, digest);
    mu_buf_release(&job);
    return mu_format("%s-smoke-%.10s", mu_params_text(s->p, "name"), digest);
}

static void add_parts(const mu_serving_t *s, mu_render_files_t *files)
{
    char *job = job_name(s);
    if (!is(s->p, "part", "serve")) {
        mu_buf_t *out = mu_render_file(files, "07-smoke.yaml");
        mu_buf_addf(
            out,
            "# Written by `muster render serve`: what tries the model before it is rolled out.\n"
            "# kubectl apply -f THIS-FILE && kubectl wait --for=condition=complete --timeout=%llds job/%s\n",
            (long long)mu_serving_job_seconds(s), job);
        mu_serving_job(s, job, true, out);
    }
    if (!is(s->p, "part", "smoke")) {
        mu_buf_t *out = mu_render_file(files, "08-serve.yaml");
        mu_buf_addf(out,
                    "%s# Written by `muster render serve`: what serves the model. After job/%s is complete:\n"
                    "# kubectl apply -f THIS-FILE\n",
                    out->len > 0 ? "---\n" : "", job);
        if (!is(s->p, "engine", "kserve")) {
            mu_serving_service(s->p, out);
            mu_buf_adds(out, "---\n");
        }
        mu_serving_deployment(s, out);
    }
    free(job);
}

mu_status_t mu_render_serve(const mu_params_t *p, const mu_plan_query_t *query, mu_render_files_t *files)
{
    mu_plan_t plan;
    mu_params_t own;
    char memory[MU_SERVING_MEMORY], *dir = NULL;
    bool run = is(p, "engine", "muster");
    MU_TRY(mu_serving_check(p));
    MU_TRY(mu_plan_make(query, &plan));
    mu_params_copy(p, &own);
    const char *save = plan.config->save, *exported = mu_params_text(p, "export");
    mu_status_t status = MU_OK;
    if (run || !exported)
        MU_TRY_GOTO(status, check_place(p, "save", save), out);
    dir = exported ? mu_strdup(exported) : mu_format("%s.hf", save);
    if (!run)
        MU_TRY_GOTO(status, check_place(p, "export", dir), out);
    MU_TRY_GOTO(status, mu_serving_memory(p, &plan, memory), out);
    mu_params_put(&own, "memory", memory);
    mu_render_warn_of_tag(mu_params_text(p, run ? "image" : "engine_image"));
    add_parts(&(mu_serving_t){.p = &own, .save = save, .dir = dir}, files);
out:
    free(dir);
    mu_params_release(&own);
    mu_plan_free(&plan);
    return status;
}
