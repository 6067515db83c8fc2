/*
 * The Job that tries a model before it is rolled out. Its pod has the server that the Deployment will have, as a
 * container that runs beside (restartPolicy Always among the init containers), and a client that starts when the
 * server is ready, asks, and ends with 0 or not. Whoever rolls out waits for the Job: `kubectl wait`, a step of Argo
 * Workflows, or Argo CD and Helm, which read the annotations.
 */
#include "launcher/render/render_serve.h"

enum { CLIENT_S = 300 }; /* for pulling images, and for the questions */

/* A shell script. The token is in no argument: other processes of the pod see those. */
static void add_script(const mu_serving_t *s, mu_buf_t *out)
{
    const mu_params_t *p = s->p;
    mu_buf_addf(out,
                "set -eu\n"
                "umask 077\n"
                "url=http://127.0.0.1:%s%s/v1 name=%s token=" MU_SERVING_TOKEN "/token\n"
                "at=$(mktemp -d)\n"
                "trap 'rm -rf \"$at\"' EXIT\n"
                "fail() { # CODE TEXT\n"
                "  echo \"$2\" >&2\n"
                "  exit \"$1\"\n"
                "}\n",
                mu_params_text(p, "port"), mu_serving_base(p), mu_serving_name(p));
    mu_buf_adds(
        out,
        ": >\"$at/header\"\n"
        "[ ! -s $token ] || printf 'Authorization: Bearer %s\\n' \"$(cat $token)\" >\"$at/header\"\n"
        "ask() { # FILE PATH CURL-OPTION...\n"
        "  file=$1 path=$2\n"
        "  shift 2\n"
        "  curl --silent --show-error --fail-with-body --max-time 120 --header \"@$at/header\" \\\n"
        "    --header 'Content-Type: application/json' --output \"$at/$file\" \"$@\" \"$url/$path\" ||\n"
        "    fail 69 \"$path: no answer: $(cat \"$at/$file\" 2>/dev/null || :)\"\n"
        "}\n"
        "ask models models\n"
        "grep -q \"\\\"id\\\": *\\\"$name\\\"\" \"$at/models\" || fail 65 \"models: none is called $name: "
        "$(cat \"$at/models\")\"\n");
    mu_buf_addf(out,
                "for i in 1 2; do\n"
                "  ask answer.$i completions --data "
                "\"{\\\"model\\\": \\\"$name\\\", \\\"prompt\\\": \\\"%s\\\", \\\"max_tokens\\\": 8, "
                "\\\"temperature\\\": 0}\"\n",
                mu_params_text(p, "smoke_prompt"));
    mu_buf_adds(
        out,
        "  grep -q '\"completion_tokens\": *[1-9]' \"$at/answer.$i\" || fail 65 \"completions: no new token: "
        "$(cat \"$at/answer.$i\")\"\n"
        "done\n"
        "text() { grep -oE '\"text\": *\"([^\"\\\\]|\\\\.)*\"' \"$1\"; }\n"
        "text \"$at/answer.1\" || fail 65 \"completions: no text: $(cat \"$at/answer.1\")\"\n"
        "[ \"$(text \"$at/answer.1\")\" = \"$(text \"$at/answer.2\")\" ] ||\n"
        "  fail 65 \"completions: temperature 0 gives two texts: $(cat \"$at/answer.2\")\"\n");
}

static void add_client(const mu_serving_t *s, mu_buf_t *out)
{
    mu_buf_t script = MU_BUF_INIT;
    mu_buf_addf(out,
                "name: smoke\n"
                "image: %s\n"
                "command: [/bin/sh, -c]\n"
                "args:\n"
                "  - |\n",
                MU_YAML_NAME(mu_params_text(s->p, "image")));
    add_script(s, &script);
    mu_yaml_indent(script.data, 4, out);
    mu_buf_adds(out, "terminationMessagePolicy: FallbackToLogsOnError\n"
                     "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n"
                     "resources:\n"
                     "  requests: {cpu: \"100m\", memory: 128Mi}\n"
                     "  limits: {cpu: \"100m\", memory: 128Mi}\n");
    if (mu_serving_given(s->p, "token_secret"))
        mu_buf_adds(out,
                    "volumeMounts:\n  - {name: token, mountPath: " MU_SERVING_TOKEN ", readOnly: true}\n");
    mu_buf_release(&script);
}

int64_t mu_serving_job_seconds(const mu_serving_t *s)
{
    return mu_params_number(s->p, "startup") + CLIENT_S;
}

static void add_meta(const mu_params_t *p, const char *name, bool hooks, mu_buf_t *out)
{
    mu_buf_addf(out, "metadata:\n  name: %s\n", MU_YAML_NAME(name));
    if (mu_params_text(p, "namespace"))
        mu_buf_addf(out, "  namespace: %s\n", MU_YAML_NAME(mu_params_text(p, "namespace")));
    mu_buf_adds(out, "  labels: ");
    mu_serving_labels(p, "smoke", out);
    mu_buf_adds(out, "\n");
    if (hooks)
        mu_buf_adds(out, "  annotations:\n"
                         "    argocd.argoproj.io/hook: PreSync\n"
                         "    argocd.argoproj.io/hook-delete-policy: BeforeHookCreation\n"
                         "    helm.sh/hook: pre-install,pre-upgrade\n"
                         "    helm.sh/hook-delete-policy: before-hook-creation\n");
}

void mu_serving_job(const mu_serving_t *s, const char *name, bool hooks, mu_buf_t *out)
{
    mu_buf_t part = MU_BUF_INIT;
    mu_buf_adds(out, "apiVersion: batch/v1\nkind: Job\n");
    add_meta(s->p, name, hooks, out);
    mu_buf_addf(out,
                "spec:\n"
                "  backoffLimit: %d\n"
                "  activeDeadlineSeconds: %lld\n"
                "  ttlSecondsAfterFinished: 604800\n"
                "  template:\n"
                "    metadata:\n"
                "      labels: ",
                MU_SERVING_TRIES, (long long)mu_serving_job_seconds(s));
    mu_serving_labels(s->p, "smoke", out);
    mu_buf_adds(out, "\n"
                     "      annotations: {sidecar.istio.io/inject: \"false\"}\n"
                     "    spec:\n"
                     "      restartPolicy: Never\n");
    mu_serving_pod(s, &part);
    mu_yaml_indent(part.data, 6, out);
    mu_buf_adds(out, "      initContainers:\n");
    mu_buf_clear(&part);
    mu_serving_container(s, true, &part);
    mu_yaml_item(part.data, 8, out);
    mu_buf_adds(out, "      containers:\n");
    mu_buf_clear(&part);
    add_client(s, &part);
    mu_yaml_item(part.data, 8, out);
    mu_buf_clear(&part);
    mu_serving_volumes(s->p, &part);
    mu_yaml_indent(part.data, 6, out);
    mu_buf_release(&part);
}
