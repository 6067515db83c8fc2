/* The server's container and the pod around it, for each engine. */
#include "common/args.h"
#include "common/config/config_keys.h"
#include "common/num.h"
#include "launcher/render/render_params.h"
#include "launcher/render/render_serve.h"

typedef struct engine {
    const char *name, *live, *ready, *base;
    void (*words)(const mu_serving_t *s, mu_args_t *out);
    bool writes; /* into its volumes: feedback */
} engine_t;

bool mu_serving_given(const mu_params_t *p, const char *name)
{
    const char *value = mu_params_text(p, name);
    return value && *value;
}

/* `name`=value as --option=value */
static void add_option(const mu_params_t *p, const char *name, const char *option, mu_args_t *out)
{
    if (mu_serving_given(p, name))
        mu_args_addf(out, "--%s=%s", option, mu_params_text(p, name));
}

const char *mu_serving_name(const mu_params_t *p)
{
    return mu_params_text(p, mu_serving_given(p, "served_name") ? "served_name" : "name");
}

/* Whole cores, one at least: the server cannot see the container's limit. */
static int64_t threads(const mu_params_t *p)
{
    return mu_max_i64((int64_t)mu_param_cores(mu_params_text(p, "cpu")), 1);
}

/* Each pod keeps its own feedback: several writers of one file need not see each other's ends. */
static void words_muster(const mu_serving_t *s, mu_args_t *out)
{
    const char *model = mu_params_text(s->p, "model");
    mu_args_add(out, "muster");
    mu_args_add(out, "serve");
    mu_args_addf(out, "%s@%s", s->save, model);
    mu_args_addf(out, "--listen=0.0.0.0:%s", mu_params_text(s->p, "port"));
    mu_args_addf(out, "--name=%s", mu_serving_name(s->p));
    if (!mu_serving_given(s->p, "gpus"))
        mu_args_addf(out, "--threads=%lld", (long long)threads(s->p));
    add_option(s->p, "slots", "slots", out);
    add_option(s->p, "slot_tokens", "slot-tokens", out);
    add_option(s->p, "drain", "drain", out);
    mu_args_addf(out, "--feedback=%s/feedback-$(POD).jsonl", s->save);
    mu_args_add(out, mu_serving_given(s->p, "token_secret") ? "--token-file=" MU_SERVING_TOKEN "/token"
                                                            : "--no-auth");
    if (strcmp(model, "best") == 0)
        mu_args_add(out, "--follow");
}

static void words_vllm(const mu_serving_t *s, mu_args_t *out)
{
    mu_args_add(out, "vllm");
    mu_args_add(out, "serve");
    mu_args_add(out, s->dir);
    mu_args_add(out, "--host=0.0.0.0");
    add_option(s->p, "port", "port", out);
    mu_args_addf(out, "--served-model-name=%s", mu_serving_name(s->p));
    add_option(s->p, "slots", "max-num-seqs", out);
    add_option(s->p, "slot_tokens", "max-model-len", out);
    add_option(s->p, "gpus", "tensor-parallel-size", out);
}

/* KServe's own server: the image begins it, and takes the options of vLLM's with these. */
static void words_kserve(const mu_serving_t *s, mu_args_t *out)
{
    mu_args_addf(out, "--model_name=%s", mu_serving_name(s->p));
    mu_args_addf(out, "--model_dir=%s", s->dir);
    add_option(s->p, "slots", "max-num-seqs", out);
    add_option(s->p, "slot_tokens", "max-model-len", out);
    add_option(s->p, "gpus", "tensor-parallel-size", out);
}

static const engine_t engines[] = {
    {"muster", "/v2/health/live", "/v2/health/ready", "", words_muster, true},
    {"vllm", "/health", "/health", "", words_vllm, false},
    {"kserve", "/v2/health/live", "/v2/health/ready", "/openai", words_kserve, false}};

static const engine_t *engine_of(const mu_params_t *p)
{
    const char *name = mu_params_text(p, "engine");
    const engine_t *e = engines;
    while (strcmp(e->name, name) != 0)
        e++;
    return e;
}

const char *mu_serving_base(const mu_params_t *p)
{
    return engine_of(p)->base;
}

/* ---- the container ---- */

static void add_words(const mu_serving_t *s, const engine_t *e, mu_buf_t *out)
{
    mu_args_t words = {0};
    e->words(s, &words);
    mu_buf_adds(out, strcmp(e->name, "kserve") == 0 ? "args:\n" : "command:\n");
    for (int i = 0; i < words.n; i++) {
        mu_buf_adds(out, "  - ");
        mu_key_quote(words.v[i], out);
        mu_buf_addc(out, '\n');
    }
    mu_args_free(&words);
}

/* What vLLM keeps lies in its home, and its user has no name in the image. */
static void add_environment(const mu_params_t *p, const engine_t *e, mu_buf_t *out)
{
    mu_buf_adds(out, "env:\n");
    if (strcmp(e->name, "muster") == 0) {
        mu_buf_adds(out, "  - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}\n");
        return;
    }
    mu_buf_adds(out, "  - {name: HOME, value: /tmp}\n"
                     "  - {name: USER, value: muster}\n"
                     "  - {name: HF_HUB_OFFLINE, value: \"1\"}\n");
    if (mu_serving_given(p, "token_secret"))
        mu_buf_addf(out, "  - {name: VLLM_API_KEY, valueFrom: {secretKeyRef: {name: %s, key: token}}}\n",
                    MU_YAML_NAME(mu_params_text(p, "token_secret")));
}

/* Until it has started, nothing but the first probe counts: a model may take long to load. */
static void add_probes(const mu_params_t *p, const engine_t *e, mu_buf_t *out)
{
    const char *port = mu_params_text(p, "port");
    mu_buf_addf(out,
                "startupProbe: {httpGet: {path: %s, port: %s}, periodSeconds: 5, timeoutSeconds: 5, "
                "failureThreshold: %lld}\n"
                "readinessProbe: {httpGet: {path: %s, port: %s}, periodSeconds: 2, timeoutSeconds: 5, "
                "failureThreshold: 2}\n"
                "livenessProbe: {httpGet: {path: %s, port: %s}, periodSeconds: 10, timeoutSeconds: 10, "
                "failureThreshold: 6}\n",
                e->ready, port, (long long)((mu_params_number(p, "startup") + 4) / 5), e->ready, port,
                e->live, port);
}

static void add_resources(const mu_params_t *p, mu_buf_t *out)
{
    mu_buf_adds(out, "resources:\n");
    for (int i = 0; i < 2; i++) {
        mu_buf_addf(out, "  %s: {cpu: \"%s\", memory: %s", i ? "limits" : "requests",
                    mu_params_text(p, "cpu"), mu_params_text(p, "memory"));
        if (mu_serving_given(p, "gpus"))
            mu_buf_addf(out, ", nvidia.com/gpu: \"%s\"", mu_params_text(p, "gpus"));
        mu_buf_adds(out, "}\n");
    }
}

static void add_mounts(const mu_params_t *p, const engine_t *e, mu_buf_t *out)
{
    mu_buf_adds(out, "volumeMounts:\n");
    mu_buf_adds(out, "  - {name: shm, mountPath: /dev/shm}\n");
    if (mu_serving_given(p, "token_secret"))
        mu_buf_adds(out, "  - {name: token, mountPath: " MU_SERVING_TOKEN ", readOnly: true}\n");
    mu_buf_t claims = MU_BUF_INIT;
    mu_render_volumes(p, true, !e->writes, &claims);
    mu_yaml_indent(claims.data, 2, out);
    mu_buf_release(&claims);
}

void mu_serving_container(const mu_serving_t *s, bool inside, mu_buf_t *out)
{
    const engine_t *e = engine_of(s->p);
    bool kserve = strcmp(e->name, "kserve") == 0;
    const char *image = mu_params_text(s->p, e->writes ? "image" : "engine_image");
    if (!kserve || inside)
        mu_buf_adds(out, "name: server\n");
    mu_buf_addf(out, "image: %s\n", MU_YAML_NAME(image));
    add_words(s, e, out);
    add_environment(s->p, e, out);
    if (inside)
        mu_buf_adds(out, "restartPolicy: Always\n");
    else if (!kserve)
        mu_buf_addf(out, "ports: [{name: http, containerPort: %s}]\n", mu_params_text(s->p, "port"));
    add_probes(s->p, e, out);
    if (!inside)
        mu_buf_addf(out, "lifecycle: {preStop: {exec: {command: [/bin/sh, -c, \"sleep %d\"]}}}\n",
                    MU_SERVING_PRESTOP);
    mu_buf_adds(out, "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n");
    add_resources(s->p, out);
    if (!kserve || inside)
        add_mounts(s->p, e, out);
}

/* ---- the pod ---- */

void mu_serving_labels(const mu_params_t *p, const char *component, mu_buf_t *out)
{
    mu_buf_addf(out,
                "{app.kubernetes.io/name: muster, app.kubernetes.io/instance: %s, "
                "app.kubernetes.io/component: %s}",
                MU_YAML_NAME(mu_params_text(p, "name")), component);
}

void mu_serving_pod(const mu_serving_t *s, mu_buf_t *out)
{
    const mu_params_t *p = s->p;
    const char *user = mu_params_text(p, "user");
    mu_buf_addf(out,
                "automountServiceAccountToken: false\n"
                "enableServiceLinks: false\n"
                "terminationGracePeriodSeconds: %lld\n"
                "securityContext:\n"
                "  {runAsNonRoot: true, runAsUser: %s, runAsGroup: %s, fsGroup: %s, "
                "fsGroupChangePolicy: OnRootMismatch,\n"
                "   seccompProfile: {type: RuntimeDefault}}\n",
                (long long)mu_params_number(p, "drain") + MU_SERVING_PRESTOP + 15, user, user, user);
    mu_render_affinity(p, mu_serving_given(p, "gpus"), out);
}

void mu_serving_volumes(const mu_params_t *p, mu_buf_t *out)
{
    mu_buf_t claims = MU_BUF_INIT;
    mu_buf_adds(out, "volumes:\n  - {name: shm, emptyDir: {medium: Memory}}\n");
    if (mu_serving_given(p, "token_secret"))
        mu_buf_addf(out, "  - {name: token, secret: {secretName: %s}}\n",
                    MU_YAML_NAME(mu_params_text(p, "token_secret")));
    mu_render_volumes(p, false, false, &claims);
    mu_yaml_indent(claims.data, 2, out);
    mu_buf_release(&claims);
}
