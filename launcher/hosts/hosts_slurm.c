/*
 * Slurm's compressed lists. A list is prefixes and bracketed ranges, separated by commas outside brackets:
 *     node[01-16,20],gpu-a[1-2]-x,login     a leading zero fixes the width; several brackets multiply
 * and numbers a node are runs: "8(x4),4" (Slurm's manual page of sbatch, OUTPUT ENVIRONMENT VARIABLES).
 */
#include "launcher/hosts/hosts_build.h"
#include "common/buf.h"

typedef struct reader {
    mu_hosts_build_t *build;
    const char *text;
} reader_t;

static mu_status_t fail_at(const reader_t *reader, const char *p, const char *why)
{
    return mu_hosts_build_fail(reader->build, (mu_origin_t){1, (int)(p - reader->text) + 1}, "%s", why);
}

/* Digits at p; their count, value in *out (at most nine digits). */
static size_t digits(const char *p, long *out)
{
    size_t n = strspn(p, "0123456789");
    *out = 0;
    for (size_t i = 0; i < n && i < 9; i++)
        *out = *out * 10 + (p[i] - '0');
    return n;
}

static mu_status_t expand(reader_t *reader, const char *element, const char *p, mu_buf_t *name);

/* The ranges of one bracket: p is after '['. The rest of the element follows each number. */
static mu_status_t expand_bracket(reader_t *reader, const char *element, const char *p, mu_buf_t *name)
{
    const char *close = strchr(p, ']');
    size_t length = name->len;
    if (!close)
        return fail_at(reader, p, "'[' without ']'");
    for (;;) {
        long first, last;
        size_t width = digits(p, &first), width_last = width;
        if (width == 0 || width > 9)
            return fail_at(reader, p, "a number (up to nine digits) is wanted here");
        last = first;
        const char *q = p + width;
        if (*q == '-') {
            width_last = digits(++q, &last);
            if (width_last == 0 || width_last > 9 || last < first)
                return fail_at(reader, q, "the end of a range, not below its beginning, is wanted here");
            q += width_last;
        }
        for (long i = first; i <= last; i++) {
            mu_buf_addf(name, "%0*ld", (int)width, i);
            MU_TRY(expand(reader, element, close + 1, name));
            name->len = length;
            name->data[length] = '\0';
        }
        if (*q == ']')
            return MU_OK;
        if (*q != ',')
            return fail_at(reader, q, "',' or ']' is wanted here");
        p = q + 1;
    }
}

/* Adds the hosts of the element from p on, with what is in `name` before each. */
static mu_status_t expand(reader_t *reader, const char *element, const char *p, mu_buf_t *name)
{
    size_t plain = strcspn(p, "[,"), length = name->len;
    mu_status_t status;
    mu_buf_add(name, p, plain);
    if (name->len > 253) {
        status = fail_at(reader, element, "a host name is longer than 253 bytes");
    } else if (p[plain] == '[') {
        status = expand_bracket(reader, element, p + plain + 1, name);
    } else {
        mu_origin_t place = {1, (int)(element - reader->text) + 1};
        mu_host_t host = {0};
        if (strpbrk(name->data, ":@"))
            status = fail_at(reader, element, "':' and '@' cannot be in a node's name");
        else
            status = mu_hosts_word(reader->build, place, name->data, name->len, &host);
        if (status == MU_OK)
            status = mu_hosts_build_add(reader->build, &host, place);
        mu_host_release(&host);
    }
    name->len = length;
    name->data[length] = '\0';
    return status;
}

/* "8(x4),4" over the hosts, in order. */
static mu_status_t read_counts(const char *source, const char *text, mu_hosts_t *hosts, bool cpus)
{
    mu_hosts_build_t build = {.source = source, .error = MU_CONFIG};
    reader_t reader = {&build, text};
    const char *p = text;
    int i = 0;
    for (;;) {
        long number, times = 1;
        size_t n = digits(p, &number);
        if (n == 0 || n > 7 || number < 1)
            return fail_at(&reader, p, "a positive number is wanted here, as in 8(x4),4");
        p += n;
        if (strncmp(p, "(x", 2) == 0) {
            n = digits(p + 2, &times);
            if (n == 0 || n > 7 || times < 1 || p[2 + n] != ')')
                return fail_at(&reader, p, "a repetition is wanted here, as in 8(x4)");
            p += n + 3;
        }
        if (!cpus && number > MU_SLOTS_MAX)
            return fail_at(&reader, p, "more than 4096 tasks on one node");
        for (; times > 0 && i < hosts->count; times--, i++)
            *(cpus ? &hosts->host[i].cpus : &hosts->host[i].slots) = (int)number;
        if (times > 0)
            return fail_at(&reader, p, "more numbers than nodes in SLURM_JOB_NODELIST");
        if (*p == '\0')
            break;
        if (*p++ != ',')
            return fail_at(&reader, p - 1, "',' is wanted here");
    }
    return i == hosts->count ? MU_OK : fail_at(&reader, p, "fewer numbers than nodes in SLURM_JOB_NODELIST");
}

mu_status_t mu_hosts_parse_slurm(const char *nodelist, const char *tasks, const char *cpus, mu_hosts_t **out)
{
    mu_hosts_build_t build;
    reader_t reader = {&build, nodelist};
    mu_buf_t name = MU_BUF_INIT;
    mu_hosts_t *hosts = NULL;
    mu_status_t status = MU_OK;

    mu_hosts_build_begin(&build, "SLURM_JOB_NODELIST", MU_CONFIG);
    mu_buf_adds(&name, "");
    for (const char *p = nodelist; status == MU_OK;) {
        status = expand(&reader, p, p, &name);
        /* the end of the element: the next comma outside brackets */
        for (bool inside = false; *p && (inside || *p != ','); p++)
            inside = *p == '[' ? true : *p == ']' ? false : inside;
        if (*p++ == '\0')
            break;
    }
    mu_buf_release(&name);
    MU_TRY(mu_hosts_build_end(&build, status, &hosts));
    if (tasks && *tasks)
        status = read_counts("SLURM_TASKS_PER_NODE", tasks, hosts, false);
    if (status == MU_OK && cpus && *cpus)
        status = read_counts("SLURM_JOB_CPUS_PER_NODE", cpus, hosts, true);
    if (status != MU_OK) {
        mu_hosts_free(hosts);
        return status;
    }
    *out = hosts;
    return MU_OK;
}
