/*
 * What trains again when a served model's feedback falls: Prometheus evaluates the rule; Alertmanager posts the alert
 * to Argo's server (/api/v1/events/NAMESPACE/alertmanager); the event's binding submits the workflow. The run and its
 * data are named after the alert's start, so that a repeated notification submits nothing new.
 */
#include "launcher/render/render_argo.h"

#define SINCE "string(date(payload.alerts[0].startsAt).Unix())"

static void add_head(const mu_params_t *p, const char *api, const char *kind, const char *suffix,
                     mu_buf_t *out)
{
    mu_buf_addf(out, "---\napiVersion: %s\nkind: %s\n", api, kind);
    mu_render_meta(p, suffix, out);
}

/* Parameters of a binding are expressions; a text is one in quotes. */
static void add_argument(const char *name, const char *expression, mu_buf_t *out)
{
    mu_buf_addf(out, "        - {name: %s, valueFrom: {event: '%s'}}\n", name, expression);
}

void mu_argo_retrain(const mu_params_t *p, mu_buf_t *out)
{
    const char *name = mu_params_text(p, "name"), *file = mu_params_text(p, "dataset_file"),
               *set = mu_params_text(p, "tokenized_dataset_path");
    const char *rules[] = {
        "workfloweventbindings", "list", "workflowtemplates", "get", "workflows", "create"};
    char *account = mu_format("%s-events", name), *run = mu_format("\"retrain-\" + " SINCE),
         *data = mu_format("\"retrain-\" + " SINCE " + \"-%s\"", file),
         *tokens = mu_format("\"%s-retrain-\" + " SINCE, set);
    mu_buf_adds(out, "# Written by `muster render argo part=retrain`. kubectl apply -f THIS-FILE\n"
                     "# The token of the Secret is what Alertmanager sends to Argo's server.\n"
                     "apiVersion: v1\nkind: ServiceAccount\n");
    mu_render_meta(p, "-events", out);
    mu_buf_adds(out, "automountServiceAccountToken: false\n");
    add_head(p, "v1", "Secret", "-events-token", out);
    mu_buf_addf(out,
                "  annotations: {kubernetes.io/service-account.name: %s}\ntype: "
                "kubernetes.io/service-account-token\n",
                account);
    add_head(p, "rbac.authorization.k8s.io/v1", "Role", "-events", out);
    mu_buf_adds(out, "rules:\n");
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i += 2)
        mu_buf_addf(out, "  - {apiGroups: [argoproj.io], resources: [%s], verbs: [%s]}\n", rules[i],
                    rules[i + 1]);
    add_head(p, "rbac.authorization.k8s.io/v1", "RoleBinding", "-events", out);
    mu_buf_addf(out,
                "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %s}\n"
                "subjects:\n"
                "  - {kind: ServiceAccount, name: %s}\n",
                account, account);
    add_head(p, "argoproj.io/v1alpha1", "WorkflowEventBinding", "-retrain", out);
    mu_buf_addf(out,
                "spec:\n"
                "  event:\n"
                "    selector: 'discriminator == \"alertmanager\" && payload.status == \"firing\" && "
                "payload.alerts != nil &&\n"
                "      any(payload.alerts, {.labels.alertname == \"MusterFeedbackFell\" && .labels.template "
                "== \"%s\"})'\n"
                "  submit:\n"
                "    workflowTemplateRef: {name: %s}\n"
                "    metadata: {name: '\"%s-retrain-\" + " SINCE "'}\n"
                "    arguments:\n"
                "      parameters:\n",
                name, MU_YAML_NAME(name), name);
    add_argument("run_name", run, out);
    add_argument("download_checkpoint", "\"false\"", out);
    add_argument("dataset_file", data, out);
    add_argument("tokenized_dataset_path", tokens, out);
    free(account);
    free(run);
    free(data);
    free(tokens);
}

void mu_argo_alert(const mu_params_t *p, mu_buf_t *out)
{
    const char *name = mu_params_text(p, "name");
    mu_buf_addf(out,
                "# Written by `muster render argo part=alert`. A rule file of Prometheus: promtool check "
                "rules THIS-FILE\n"
                "groups:\n"
                "  - name: %s\n"
                "    rules:\n"
                "      - alert: MusterFeedbackFell\n"
                "        expr: avg_over_time(%s[%s]) < %s\n"
                "        for: %s\n"
                "        labels: {template: %s}\n"
                "        annotations: {summary: \"the mean of the feedback of {{ $labels.instance }} is {{ "
                "$value }}\"}\n",
                MU_YAML_NAME(name), mu_params_text(p, "feedback_metric"), mu_params_text(p, "retrain_window"),
                mu_params_text(p, "retrain_below"), mu_params_text(p, "retrain_window"), MU_YAML_NAME(name));
}
