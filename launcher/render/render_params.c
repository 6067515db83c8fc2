#include "launcher/render/render.h"
#include "common/log.h"
#include "common/num.h"

#include <ctype.h>

typedef enum kind {
    NUMBER,  /* from low to high */
    WORD,    /* one word: letters, digits and - _ . / : @ , + */
    LABEL,   /* RFC 1035: a-z, then a-z 0-9 -, ends in a letter or digit */
    CHOICE,  /* one of `choices` */
    CORES,   /* Kubernetes: 4, 500m; at least 100m */
    MEMORY,  /* Kubernetes: 64Gi, 512M; at least 128 MiB */
    PATH,    /* absolute: letters, digits and / - _ . */
    TIME,    /* Slurm: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S */
    KEY,     /* of a label of Kubernetes: topology.kubernetes.io/region */
    VALUE,   /* of such a label */
    SECRET,  /* NAME or NAME:KEY=VARIABLE,KEY=VARIABLE */
    VOLUMES, /* CLAIM:/path,CLAIM:/path */
    UID      /* of an object of Kubernetes, RFC 4122: 8-4-4-4-12 of 0-9 a-f */
} kind_t;

typedef struct param {
    const char *name;
    kind_t kind;
    const char *preset; /* NULL: none */
    int64_t low, high;
    const char *choices, *what;
    bool required;
} param_t;

static const param_t slurm[] = {
    {"name", LABEL, NULL, 0, 63, NULL, "name of the job; default: the config's file name", false},
    {"nodes", NUMBER, "2", 1, 16384, NULL, "nodes of the allocation", false},
    {"tasks_per_node", NUMBER, NULL, 1, 4096, NULL, "workers of a node; default: one a GPU, else 1", false},
    {"gpus", NUMBER, NULL, 1, 64, NULL, "GPUs of a node; default: none", false},
    {"cpus_per_task", NUMBER, NULL, 1, 4096, NULL, "cores of a worker; default: the whole node is the job's",
     false},
    {"partition", WORD, NULL, 0, 0, NULL, "partition", false},
    {"account", WORD, NULL, 0, 0, NULL, "account", false},
    {"qos", WORD, NULL, 0, 0, NULL, "quality of service", false},
    {"time", TIME, "24:00:00", 0, 0, NULL, "time limit of one start", false},
    {"signal_seconds", NUMBER, "120", 10, 65535, NULL,
     "seconds before the limit at which the checkpoint is asked for", false},
    {"requeues", NUMBER, "100", 0, 1000000, NULL, "how often the job goes back into the queue", false},
    {"log", WORD, NULL, 0, 0, NULL, "the job's log; default: NAME-%j.log", false},
    {"muster", WORD, "muster", 0, 0, NULL, "the program, as the nodes find it", false},
    {0}};

static const param_t mpijob[] = {
    {"name", LABEL, NULL, 0, 63, NULL, "name of the MPIJob; default: the config's file name", false},
    {"namespace", LABEL, NULL, 0, 63, NULL, "namespace; default: kubectl's", false},
    {"image", WORD, NULL, 0, 0, NULL, "image with muster, Open MPI and sshd", true},
    {"workers", NUMBER, "2", 1, 10000, NULL, "worker pods", false},
    {"slots", NUMBER, NULL, 1, 4096, NULL, "workers of a pod; default: one a GPU, else 1", false},
    {"gpus", NUMBER, NULL, 1, 64, NULL, "GPUs of a worker pod (nvidia.com/gpu); default: none", false},
    {"rdma", NUMBER, NULL, 1, 64, NULL, "InfiniBand ports of a worker pod (rdma/ib); default: none", false},
    {"gpu_model", VALUE, NULL, 0, 0, NULL, "place workers on nodes with this GPU, as gpu_label tells it",
     false},
    {"gpu_label", KEY, "nvidia.com/gpu.product", 0, 0, NULL, "the nodes' label that names their GPU", false},
    {"region", VALUE, NULL, 0, 0, NULL, "place all pods in this topology.kubernetes.io/region", false},
    {"cpu", CORES, "4", 0, 0, NULL, "cores of a worker pod", false},
    {"memory", MEMORY, "16Gi", 0, 0, NULL, "memory of a worker pod", false},
    {"launcher_cpu", CORES, "2", 0, 0, NULL, "cores of the launcher's pod", false},
    {"launcher_memory", MEMORY, "4Gi", 0, 0, NULL, "memory of the launcher's pod", false},
    {"volumes", VOLUMES, NULL, 0, 0, NULL, "claims and where they are mounted: runs:/runs,data:/data", true},
    {"user", NUMBER, "1000", 1, 65534, NULL, "numeric user of all pods", false},
    {"home", PATH, "/var/lib/muster", 0, 0, NULL, "that user's home in the image", false},
    {"launcher_creation", CHOICE, "AtStartup", 0, 0, "AtStartup|WaitForWorkersReady",
     "when the launcher pod is made; it waits for the workers itself", false},
    {"launcher_restart", CHOICE, "Never", 0, 0, "Never|OnFailure",
     "Never: a failed launcher is a new pod, and its log stays", false},
    {"worker_restart", CHOICE, "OnFailure", 0, 0, "Never|OnFailure", "of the workers' sshd", false},
    {"clean_pods", CHOICE, "Running", 0, 0, "None|Running|All", "worker pods that go when the job ends",
     false},
    {"backoff", NUMBER, "20", 0, 1000, NULL,
     "how often Kubernetes starts the launcher again; a clean stop (75) counts too", false},
    {"deadline", NUMBER, NULL, 1, 315360000, NULL, "seconds after which Kubernetes ends the launcher", false},
    {"grace", NUMBER, "120", 30, 3600, NULL, "seconds for the last checkpoint after SIGTERM", false},
    {"queue", LABEL, NULL, 0, 63, NULL, "Kueue's LocalQueue", false},
    {"secret", SECRET, NULL, 0, 0, NULL,
     "a Secret whose keys become variables of the launcher; NAME:KEY=VARIABLE,... gives them other names",
     false},
    {"owner_uid", UID, NULL, 0, 0, NULL,
     "metadata.uid of the MPIJob, once it is made: the other objects then go with it", false},
    {0}};

static const param_t *table(mu_render_target_t target)
{
    return target == MU_RENDER_SLURM ? slurm : mpijob;
}

static int find(mu_render_target_t target, const char *name, size_t n)
{
    const param_t *t = table(target);
    for (int i = 0; t[i].name; i++)
        if (strlen(t[i].name) == n && memcmp(t[i].name, name, n) == 0)
            return i;
    return -1;
}

/* ---- types ---- */

static bool is_label(const char *v)
{
    size_t n = strlen(v);
    if (n == 0 || n > 63 || v[0] < 'a' || v[0] > 'z' || v[n - 1] == '-')
        return false;
    return strspn(v, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static bool is_word(const char *v)
{
    size_t n = strlen(v);
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)v[i]) && !strchr("-_./:@,+%", v[i]))
            return false;
    return n > 0 && n < 512 && v[0] != '-';
}

/* The value of a label: at most 63 letters, digits and -_. with a letter or digit at both ends. */
static bool is_value(const char *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)v[i]) && (i == 0 || i + 1 == n || !strchr("-_.", v[i])))
            return false;
    return n > 0 && n <= 63;
}

/* A name like a value, after a domain and a slash or without. */
static bool is_key(const char *v)
{
    size_t n = strcspn(v, "/");
    if (!v[n])
        return is_value(v, n);
    return n > 0 && n <= 253 && strspn(v, "abcdefghijklmnopqrstuvwxyz0123456789.-") == n &&
           is_value(v + n + 1, strlen(v + n + 1));
}

static bool is_choice(const char *choices, const char *v)
{
    size_t n = strlen(v);
    for (const char *c = choices; n > 0;) {
        size_t m = strcspn(c, "|");
        if (m == n && memcmp(c, v, n) == 0)
            return true;
        if (!c[m])
            return false;
        c += m + 1;
    }
    return false;
}

/* Digits, then one of `units` or nothing; the digits' value goes to *number. */
static bool is_quantity(const char *v, const char *units, int64_t *number)
{
    char digits[20];
    size_t n = strspn(v, "0123456789");
    snprintf(digits, sizeof digits, "%.*s", (int)n, v);
    return n > 0 && n < 16 && (!v[n] || is_choice(units, v + n)) && mu_parse_i64(digits, number);
}

static bool is_cores(const char *v)
{
    int64_t n;
    return is_quantity(v, "m", &n) && n >= (strchr(v, 'm') ? 100 : 1);
}

/* Kubernetes takes `m` here too: thousandths of a byte. */
static bool is_memory(const char *v)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"k", 1e3},      {"M", 1e6},      {"G", 1e9},      {"T", 1e12},
                 {"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1024. * (1 << 30)}};
    const char *unit = v + strspn(v, "0123456789");
    double bytes = 1;
    int64_t n;
    if (!is_quantity(v, "k|M|G|T|Ki|Mi|Gi|Ti", &n))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].unit) == 0)
            bytes = units[i].bytes;
    return (double)n * bytes >= 128. * 1024 * 1024;
}

static bool is_path(const char *v)
{
    for (const char *p = v; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("/-_.", *p))
            return false;
    return v[0] == '/' && v[1] && strlen(v) < 256;
}

static bool is_time(const char *v)
{
    int colons = 0, dashes = 0, digits = 0;
    bool zero = true;
    for (const char *p = v; *p; p++) {
        if (isdigit((unsigned char)*p)) {
            digits++;
            zero = zero && *p == '0';
        } else if ((*p == ':' || (*p == '-' && !colons && !dashes)) && digits > 0) {
            colons += *p == ':';
            dashes += *p == '-';
            digits = 0;
        } else {
            return false;
        }
    }
    return digits > 0 && colons <= 2 && !zero && strlen(v) < 24;
}

static bool is_volumes(const char *v)
{
    while (*v) {
        char claim[64];
        size_t n = strcspn(v, ":,"), m;
        if (v[n] != ':' || n == 0 || n > 63)
            return false;
        snprintf(claim, sizeof claim, "%.*s", (int)n, v);
        v += n + 1;
        m = strcspn(v, ",");
        if (!is_label(claim) || m < 2 || v[0] != '/' || v[m - 1] == '/' || memchr(v, ':', m) || m > 255)
            return false;
        for (size_t i = 0; i < m; i++)
            if (!isalnum((unsigned char)v[i]) && !strchr("/-_.", v[i]))
                return false;
        v += m;
        if (*v == ',' && !*++v)
            return false;
    }
    return true;
}

static bool is_variable(const char *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalpha((unsigned char)v[i]) && v[i] != '_' && (i == 0 || !isdigit((unsigned char)v[i])))
            return false;
    return n > 0 && n <= 255;
}

/* A key of a Secret holds letters, digits and -_. only. */
static bool is_secret(const char *v)
{
    char name[64];
    size_t n = strcspn(v, ":");
    snprintf(name, sizeof name, "%.*s", (int)n, v);
    if (n > 63 || !is_label(name))
        return false;
    for (v += n; *v; v += n) {
        size_t key = strcspn(++v, "=,");
        n = strcspn(v, ",");
        if (v[key] != '=' || key == 0 || key > 253 || !is_variable(v + key + 1, n - key - 1))
            return false;
        for (size_t i = 0; i < key; i++)
            if (!isalnum((unsigned char)v[i]) && !strchr("-_.", v[i]))
                return false;
    }
    return true;
}

static bool is_uid(const char *v)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (strlen(v) != sizeof form - 1)
        return false;
    for (size_t i = 0; form[i]; i++)
        if (form[i] == '-' ? v[i] != '-' : !strchr("0123456789abcdef", v[i]))
            return false;
    return true;
}

static mu_status_t check(const param_t *p, const char *v)
{
    int64_t number;
    switch (p->kind) {
    case NUMBER:
        if (mu_parse_i64(v, &number) && number >= p->low && number <= p->high)
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s wants a number from %lld to %lld, not '%s'", p->name,
                       (long long)p->low, (long long)p->high, v);
    case WORD:
        if (is_word(v))
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s wants one word of letters, digits and -_./:@,+%%, not '%s'",
                       p->name, v);
    case LABEL:
        if (is_label(v))
            return MU_OK;
        return mu_fail(
            MU_USAGE,
            "render: %s wants at most 63 of a-z, 0-9 and '-', a letter first and no '-' last, not '%s'",
            p->name, v);
    case CHOICE:
        if (is_choice(p->choices, v))
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s is one of %s, not '%s'", p->name, p->choices, v);
    case CORES:
        if (is_cores(v))
            return MU_OK;
        return mu_fail(MU_USAGE,
                       "render: %s wants cores, like 4 or 500m (half a core), 100m at least, not '%s'",
                       p->name, v);
    case MEMORY:
        if (is_memory(v))
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s wants bytes, like 64Gi or 512Mi, 128Mi at least, not '%s'%s",
                       p->name, v,
                       v[strspn(v, "0123456789")] == 'm' ? ": m is a thousandth of a byte, M a million" : "");
    case PATH:
        if (is_path(v))
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s wants an absolute path of letters, digits and -_./, not '%s'",
                       p->name, v);
    case TIME:
        if (is_time(v))
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s wants MINUTES, H:M:S or D-H:M:S, not '%s'", p->name, v);
    case KEY:
        if (is_key(v))
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s wants a label's key like nvidia.com/gpu.product, not '%s'",
                       p->name, v);
    case VALUE:
        if (is_value(v, strlen(v)))
            return MU_OK;
        return mu_fail(MU_USAGE,
                       "render: %s wants a label's value, at most 63 letters, digits and -_., not '%s'",
                       p->name, v);
    case SECRET:
        if (is_secret(v))
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s wants NAME or NAME:KEY=VARIABLE,KEY=VARIABLE, not '%s'", p->name,
                       v);
    case VOLUMES:
        if (*v && is_volumes(v))
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s wants CLAIM:/path,CLAIM:/path, not '%s'", p->name, v);
    case UID:
        if (is_uid(v))
            return MU_OK;
        return mu_fail(MU_USAGE,
                       "render: %s wants the job's uid (kubectl get mpijob NAME -o "
                       "jsonpath='{.metadata.uid}'), not '%s'",
                       p->name, v);
    }
    return MU_OK;
}

/* ---- the set ---- */

void mu_params_init(mu_params_t *params, mu_render_target_t target)
{
    *params = (mu_params_t){.target = target};
}

mu_status_t mu_params_take(mu_params_t *params, const char *argument, bool *taken)
{
    size_t n = strcspn(argument, "=");
    int i = find(params->target, argument, n);
    *taken = i >= 0 && argument[n] == '=';
    if (!*taken)
        return MU_OK;
    MU_TRY(check(&table(params->target)[i], argument + n + 1));
    free(params->value[i]);
    params->value[i] = mu_strdup(argument + n + 1);
    return MU_OK;
}

/* "configs/Pythia_70M.yml" is pythia-70m. */
static char *name_from(const char *path)
{
    const char *base = strrchr(path, '/');
    char *name = mu_strdup(base ? base + 1 : path), *dot = strrchr(name, '.');
    if (dot && dot > name)
        *dot = '\0';
    for (char *p = name; *p; p++)
        *p = isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '-';
    return name;
}

/* A worker owns one GPU. Without this a job would hold GPUs that nobody uses, or workers would find none. */
static mu_status_t match_gpus(mu_params_t *params)
{
    const char *name = params->target == MU_RENDER_SLURM ? "tasks_per_node" : "slots";
    int workers = find(params->target, name, strlen(name));
    const char *gpus = mu_params_text(params, "gpus");
    if (!params->value[workers])
        params->value[workers] = mu_strdup(gpus ? gpus : "1");
    if (gpus && mu_params_number(params, "gpus") != mu_params_number(params, name))
        return mu_fail(MU_USAGE, "render: gpus=%s and %s=%s: a worker owns one GPU: leave %s out", gpus, name,
                       params->value[workers], name);
    return MU_OK;
}

mu_status_t mu_params_finish(mu_params_t *params, const char *config)
{
    const param_t *t = table(params->target);
    for (int i = 0; t[i].name; i++) {
        if (params->value[i])
            continue;
        if (t[i].required)
            return mu_fail(MU_USAGE, "render: %s=... is wanted: %s", t[i].name, t[i].what);
        if (t[i].preset)
            params->value[i] = mu_strdup(t[i].preset);
    }
    int name = find(params->target, "name", 4);
    if (!params->value[name]) {
        params->value[name] = name_from(config);
        if (!is_label(params->value[name]))
            return mu_fail(MU_USAGE, "render: no name can be made from '%s': give name=...", config);
    }
    return match_gpus(params);
}

void mu_params_release(mu_params_t *params)
{
    for (int i = 0; i < MU_PARAMS_MAX; i++)
        free(params->value[i]);
    *params = (mu_params_t){.target = params->target};
}

const char *mu_params_text(const mu_params_t *params, const char *name)
{
    int i = find(params->target, name, strlen(name));
    return i < 0 ? NULL : params->value[i];
}

int64_t mu_params_number(const mu_params_t *params, const char *name)
{
    const char *text = mu_params_text(params, name);
    int64_t number = 0;
    if (text)
        mu_parse_i64(text, &number);
    return number;
}

void mu_params_help(mu_render_target_t target, mu_buf_t *out)
{
    for (const param_t *p = table(target); p->name; p++) {
        mu_buf_addf(out, "  %-18s %s", p->name, p->what);
        if (p->choices)
            mu_buf_addf(out, " (%s)", p->choices);
        if (p->preset)
            mu_buf_addf(out, "; default %s", p->preset);
        mu_buf_addf(out, "%s\n", p->required ? "; must be given" : "");
    }
}
