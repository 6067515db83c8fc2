/* The types of parameters: what each accepts, and what is said of the rest. */
#include "launcher/render/render_params.h"
#include "common/gate.h"
#include "common/log.h"
#include "common/num.h"
#include "launcher/render/render_impl.h"

#include <ctype.h>

bool mu_param_is_label(const char *v)
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

double mu_param_cores(const char *v)
{
    int64_t n = 0;
    is_quantity(v, "m", &n);
    return strchr(v, 'm') ? (double)n / 1000 : (double)n;
}

double mu_param_bytes(const char *v)
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
        return 0;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].unit) == 0)
            bytes = units[i].bytes;
    return (double)n * bytes;
}

/* Kubernetes takes `m` here too: thousandths of a byte. */
static bool is_memory(const char *v)
{
    return mu_param_bytes(v) >= 128. * 1024 * 1024;
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
        if (!mu_param_is_label(claim) || m < 2 || v[0] != '/' || v[m - 1] == '/' || memchr(v, ':', m) ||
            m > 255)
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

/* A key itself in place of a name: long and hexadecimal, or with the mark of a service. */
static bool is_literal_key(const char *v)
{
    size_t n = strlen(v);
    return (n >= 32 && strspn(v, "0123456789abcdefABCDEF") == n) || strncmp(v, "hf_", 3) == 0 ||
           strncmp(v, "sk-", 3) == 0;
}

/* A key of a Secret holds letters, digits and -_. only. */
static bool is_secret(const char *v)
{
    char name[64];
    size_t n = strcspn(v, ":");
    snprintf(name, sizeof name, "%.*s", (int)n, v);
    if (n > 63 || !mu_param_is_label(name) || is_literal_key(name))
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

/* No ".." that would lead out of the volume, no "//". */
static bool is_inside(const char *v)
{
    char whole[300];
    if (snprintf(whole, sizeof whole, "/%s/", v) >= (int)sizeof whole || strstr(whole, "/../") ||
        strstr(whole, "//"))
        return false;
    for (const char *p = v; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("/-_.", *p))
            return false;
    return *v != '\0' && strlen(v) < 256;
}

/* One that carries a password is no URL to write into a file. */
static bool is_url(const char *v)
{
    static const char *const schemes[] = {"https://", "http://", "file:///"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t n = strlen(schemes[i]);
        if (strncmp(v, schemes[i], n) == 0 && v[n] && !strchr(v, '@') && strlen(v) < 1024 &&
            v[strspn(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/?&=+%")] == '\0')
            return true;
    }
    return false;
}

static bool is_digest(const char *v)
{
    size_t n = strspn(v, "0123456789abcdef");
    return v[n] == '\0' && (n == 64 || n == 0);
}

static bool is_gates(const char *v)
{
    char expression[128];
    mu_gate_t gate;
    for (size_t n; n = strcspn(v, ","), n > 0 && n < sizeof expression; v += n + 1) {
        snprintf(expression, sizeof expression, "%.*s", (int)n, v);
        if (mu_gate_parse(expression, &gate) != MU_OK)
            return false;
        if (!v[n])
            return true;
    }
    return false;
}

/* CLAIM:WORD,CLAIM:WORD, each word as `of` wants it */
static bool is_pairs(const char *v, bool (*of)(const char *))
{
    for (;;) {
        char claim[64], word[64];
        size_t n = strcspn(v, ":,"), m = v[n] == ':' ? strcspn(v + n + 1, ",") : 0;
        snprintf(claim, sizeof claim, "%.*s", (int)n, v);
        snprintf(word, sizeof word, "%.*s", (int)m, v + n + (v[n] == ':'));
        if (n > 63 || m > 63 || !mu_param_is_label(claim) || !of(word))
            return false;
        v += n + 1 + m;
        if (!*v++)
            return true;
    }
}

static bool is_classes(const char *v)
{
    return mu_param_is_label(v) || is_pairs(v, mu_param_is_label);
}

static bool is_sizes(const char *v)
{
    return is_pairs(v, is_memory);
}

static bool is_nonempty_volumes(const char *v)
{
    return *v && is_volumes(v);
}

static bool is_label_value(const char *v)
{
    return is_value(v, strlen(v));
}

static bool is_secret_name(const char *v)
{
    return !*v || (mu_param_is_label(v) && !is_literal_key(v));
}

static bool is_option(const char *v)
{
    return !*v || is_word(v);
}

static bool is_real(const char *v)
{
    double number;
    return mu_parse_f64(v, &number);
}

static bool is_span(const char *v)
{
    int64_t n;
    return is_quantity(v, "s|m|h|d", &n) && n > 0 && strpbrk(v, "smhd");
}

static bool is_step(const char *v)
{
    int64_t n;
    return strcmp(v, "best") == 0 || strcmp(v, "latest") == 0 || (is_quantity(v, "", &n) && n > 0);
}

/* The kinds that need to know nothing but the value. */
static const struct {
    bool (*is)(const char *);
    const char *wants;
} simple[] = {
    [MU_PARAM_WORD] = {is_word, "one word of letters, digits and -_./:@,+%"},
    [MU_PARAM_LABEL] = {mu_param_is_label, "at most 63 of a-z, 0-9 and '-', a letter first and no '-' last"},
    [MU_PARAM_CORES] = {is_cores, "cores, like 4 or 500m (half a core), 100m at least"},
    [MU_PARAM_MEMORY] = {is_memory, "bytes, like 64Gi or 512Mi, 128Mi at least"},
    [MU_PARAM_PATH] = {is_path, "an absolute path of letters, digits and -_./"},
    [MU_PARAM_TIME] = {is_time, "MINUTES, H:M:S or D-H:M:S"},
    [MU_PARAM_KEY] = {is_key, "a label's key like nvidia.com/gpu.product"},
    [MU_PARAM_VALUE] = {is_label_value, "a label's value, at most 63 letters, digits and -_."},
    [MU_PARAM_SECRET] =
        {is_secret, "NAME or NAME:KEY=VARIABLE,KEY=VARIABLE, the name of a Secret and never a key itself"},
    [MU_PARAM_VOLUMES] = {is_nonempty_volumes, "CLAIM:/path,CLAIM:/path"},
    [MU_PARAM_UID] = {is_uid, "the job's uid (kubectl get mpijob NAME -o jsonpath='{.metadata.uid}')"},
    [MU_PARAM_STEPS] = {mu_chain_steps_valid, "steps in this order: import,prepare,train,gate,export"},
    [MU_PARAM_GATES] = {is_gates, "gates with commas between them: 'ppl<=16.53,tokens>=100000'"},
    [MU_PARAM_URL] = {is_url, "an address of http, https or file, without a user or a password in it"},
    [MU_PARAM_DIGEST] = {is_digest, "a SHA-256 of 64 hexadecimal digits, or nothing"},
    [MU_PARAM_INSIDE] = {is_inside, "a path inside the volume, of letters, digits and -_./, without '..'"},
    [MU_PARAM_CLASSES] = {is_classes, "a storage class, or CLAIM:CLASS,CLAIM:CLASS"},
    [MU_PARAM_NAME] = {is_secret_name,
                       "the name of a Secret, never a key itself (it would stay in the file), or nothing"},
    [MU_PARAM_OPTION] = {is_option, "one word of letters, digits and -_./:@,+%, or nothing"},
    [MU_PARAM_REAL] = {is_real, "a number"},
    [MU_PARAM_SPAN] = {is_span, "a span of Prometheus, like 5m or 1h"},
    [MU_PARAM_STEP] = {is_step, "best, latest, or the number of a step"},
    [MU_PARAM_SIZES] = {is_sizes, "CLAIM:SIZE,CLAIM:SIZE, like neox-data:64Gi"},
};

mu_status_t mu_param_check(const mu_param_t *p, const char *v)
{
    int64_t number;
    if (p->kind == MU_PARAM_NUMBER) {
        if (mu_parse_i64(v, &number) && number >= p->low && number <= p->high)
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s wants a number from %lld to %lld, not '%s'", p->name,
                       (long long)p->low, (long long)p->high, v);
    }
    if (p->kind == MU_PARAM_CHOICE) {
        if (is_choice(p->choices, v))
            return MU_OK;
        return mu_fail(MU_USAGE, "render: %s is one of %s, not '%s'", p->name, p->choices, v);
    }
    if (simple[p->kind].is(v))
        return MU_OK;
    return mu_fail(MU_USAGE, "render: %s wants %s, not '%s'%s", p->name, simple[p->kind].wants, v,
                   p->kind == MU_PARAM_MEMORY && v[strspn(v, "0123456789")] == 'm'
                       ? ": m is a thousandth of a byte, M a million"
                       : "");
}
