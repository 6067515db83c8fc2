/*
 * `render storage`: what a workflow needs before it runs, in three parts that can be printed alone: claims with the
 * sizes that `muster plan` asks for; the account with exactly the verbs that Argo's executor and the MPIJob need; the
 * place of a Secret, which is filled by hand.
 */
#include "common/log.h"
#include "common/num.h"
#include "launcher/render/render_impl.h"
#include "launcher/render/render_params.h"

static const int64_t gib = (int64_t)1 << 30;
enum { DATA_GIB = 64 }; /* where the data is not here to be counted: the article's */

/* The word after CLAIM: in CLAIM:WORD,...; NULL where the claim is not named. free() it. */
static char *pair_of(const char *pairs, const char *claim)
{
    size_t n = strlen(claim);
    for (const char *at = pairs; at && *at; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, claim, n) == 0 && at[n] == ':')
            return mu_format("%.*s", (int)strcspn(at + n + 1, ","), at + n + 1);
    return NULL;
}

/* Bytes of the claim at `mount`, with what they are in `why`. A new checkpoint is whole before an old one goes. */
static int64_t bytes_of(const mu_plan_t *plan, const char *mount, mu_buf_t *why)
{
    const mu_config_t *c = plan->config;
    char *one = mu_format("x:%s", mount);
    int64_t bytes = 0, keep = c->keep_last_n_checkpoints,
            count = keep > 0 ? mu_min_i64(keep + 1, plan->checkpoints) : plan->checkpoints,
            model = plan->parameters * 4;
    if (c->save && mu_render_in_volume(one, c->save)) {
        char a[32];
        bytes += count * plan->checkpoint_bytes + model;
        mu_buf_addf(why, "%lld checkpoints of %s, an export; ", (long long)count,
                    mu_human_bytes((uint64_t)plan->checkpoint_bytes, a, sizeof a));
    }
    if (c->load && mu_render_in_volume(one, c->load)) {
        bytes += 2 * model;
        mu_buf_adds(why, "the model that is loaded, twice; ");
    }
    if (c->data_path && mu_render_in_volume(one, c->data_path)) {
        bytes += plan->data_tokens > 0 ? plan->data_tokens * 10 : DATA_GIB * gib;
        mu_buf_adds(why,
                    plan->data_tokens > 0 ? "text and tokens; " : "data that is not here to be counted; ");
    }
    if (bytes == 0)
        mu_buf_adds(why, "nothing of the config lies here; ");
    free(one);
    return bytes + gib;
}

static mu_status_t add_claim(const mu_params_t *p, const mu_plan_t *plan, const char *claim,
                             const char *mount, mu_buf_t *out)
{
    mu_buf_t why = MU_BUF_INIT;
    int64_t bytes = bytes_of(plan, mount, &why), wanted = (bytes + gib - 1) / gib;
    const char *classes = mu_params_text(p, "class");
    char *size = pair_of(mu_params_text(p, "sizes"), claim), *class = pair_of(classes, claim);
    mu_status_t status = MU_OK;
    if (size && mu_param_bytes(size) < (double)bytes)
        status =
            mu_fail(MU_CONFIG,
                    "render: sizes: claim %s: %s is less than %lldGi (%s1 GiB of logs): raise it, or lower "
                    "keep_last_n_checkpoints",
                    claim, size, (long long)wanted, why.data);
    if (!class && classes && !strchr(classes, ':'))
        class = mu_strdup(classes);
    mu_buf_addf(
        out, "---\n# %s1 GiB of logs\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: %s\n",
        why.data, MU_YAML_NAME(claim));
    if (mu_params_text(p, "namespace"))
        mu_buf_addf(out, "  namespace: %s\n", MU_YAML_NAME(mu_params_text(p, "namespace")));
    mu_buf_adds(out, "spec:\n  accessModes: [ReadWriteMany]\n");
    if (class)
        mu_buf_addf(out, "  storageClassName: %s\n", MU_YAML_NAME(class));
    if (size)
        mu_buf_addf(out, "  resources: {requests: {storage: %s}}\n", size);
    else
        mu_buf_addf(out, "  resources: {requests: {storage: %lldGi}}\n", (long long)wanted);
    free(size);
    free(class);
    mu_buf_release(&why);
    return status;
}

static mu_status_t add_claims(const mu_params_t *p, const mu_plan_t *plan, mu_buf_t *out)
{
    for (const char *v = mu_params_text(p, "volumes"); *v;) {
        size_t n = strcspn(v, ":"), m = strcspn(v + n + 1, ",");
        char *claim = mu_format("%.*s", (int)n, v), *mount = mu_format("%.*s", (int)m, v + n + 1);
        mu_status_t status = add_claim(p, plan, claim, mount, out);
        free(claim);
        free(mount);
        MU_TRY(status);
        v += n + 1 + m;
        v += *v == ',';
    }
    return MU_OK;
}

/* Argo's executor writes each step's result; the step that trains makes an MPIJob, looks at it, and on another try
 * applies it again. Pods that train get no token. */
static void add_account(const mu_params_t *p, mu_buf_t *out)
{
    const char *account = MU_YAML_NAME(mu_params_text(p, "account")), *space = mu_params_text(p, "namespace");
    static const char *const kinds[][3] = {
        {"v1", "ServiceAccount", ""},
        {"rbac.authorization.k8s.io/v1", "Role",
         "rules:\n"
         "  - {apiGroups: [argoproj.io], resources: [workflowtaskresults], verbs: "
         "[create, patch]}\n"
         "  - {apiGroups: [kubeflow.org], resources: [mpijobs], verbs: [create, get, "
         "patch]}\n"},
        {"rbac.authorization.k8s.io/v1", "RoleBinding", NULL}};
    static const char serving[] =
        "  - {apiGroups: [batch], resources: [jobs], verbs: [create, get, patch]}\n"
        "  - {apiGroups: [apps], resources: [deployments], verbs: [create, get, patch]}\n";
    bool serves = strcmp(mu_params_text(p, "serve"), "none") != 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        mu_buf_addf(out, "---\napiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n", kinds[i][0], kinds[i][1],
                    account);
        if (space)
            mu_buf_addf(out, "  namespace: %s\n", MU_YAML_NAME(space));
        if (kinds[i][2])
            mu_buf_addf(out, "%s%s", kinds[i][2], *kinds[i][2] && serves ? serving : "");
        else
            mu_buf_addf(out,
                        "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %s}\n"
                        "subjects:\n"
                        "  - {kind: ServiceAccount, name: %s}\n",
                        account, account);
    }
}

static void add_secret(const mu_params_t *p, const char *name, mu_buf_t *out)
{
    if (!*name)
        return;
    mu_buf_addf(out,
                "---\n"
                "# Empty: a key belongs in no file. From a file that holds the key alone:\n"
                "#   kubectl create secret generic %s --from-file=token=FILE --dry-run=client -o yaml | "
                "kubectl apply -f -\n"
                "apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n",
                name, MU_YAML_NAME(name));
    if (mu_params_text(p, "namespace"))
        mu_buf_addf(out, "  namespace: %s\n", MU_YAML_NAME(mu_params_text(p, "namespace")));
    mu_buf_adds(out, "type: Opaque\n");
}

/* NULL where `part` leaves it out. */
static mu_buf_t *begin(const mu_params_t *params, const char *part, const char *file,
                       mu_render_files_t *files)
{
    const char *wanted = mu_params_text(params, "part");
    if (strcmp(wanted, "all") != 0 && strcmp(wanted, part) != 0)
        return NULL;
    mu_buf_t *out = mu_render_file(files, file);
    if (out->len == 0)
        mu_buf_adds(out, "# Written by `muster render storage`. kubectl apply -f THIS-FILE\n");
    return out;
}

mu_status_t mu_render_storage(const mu_params_t *params, const mu_plan_query_t *query,
                              mu_render_files_t *files)
{
    mu_plan_t plan;
    mu_buf_t *out;
    MU_TRY(mu_plan_make(query, &plan));
    mu_status_t status = mu_render_check_paths(params, plan.config);
    if (status == MU_OK && (out = begin(params, "claims", "01-claims.yaml", files)))
        status = add_claims(params, &plan, out);
    if ((out = begin(params, "account", "02-account.yaml", files)))
        add_account(params, out);
    if ((out = begin(params, "secret", "03-secret.yaml", files))) {
        add_secret(params, mu_params_text(params, "wandb_secret_name"), out);
        add_secret(params, mu_params_text(params, "mlflow_secret_name"), out);
    }
    mu_plan_free(&plan);
    return status;
}
