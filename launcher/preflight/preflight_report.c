/* Findings for people and for programs. */
#include "launcher/preflight/preflight_internal.h"
#include "common/buf.h"
#include "common/log.h"

#define NAMES_SHOWN 16

bool mu_preflight_fit(const mu_preflight_report_t *report, int host)
{
    for (int i = 0; i < report->count; i++)
        if (report->finding[i].fatal && report->finding[i].host == host)
            return false;
    return report->facts[host] != NULL;
}

static const char *name_of(const mu_preflight_report_t *report, int host)
{
    return host < 0 ? "this machine" : report->hosts->host[host].name;
}

static bool is_same(const mu_finding_t *a, const mu_finding_t *b)
{
    return a->fatal == b->fatal && strcmp(a->check, b->check) == 0 && strcmp(a->found, b->found) == 0 &&
           strcmp(a->wanted, b->wanted) == 0;
}

/* Findings that say the same, reported once: the first of them, and how many. */
typedef struct group {
    const mu_finding_t *first;
    int count;
} group_t;

static int by_size(const void *a, const void *b)
{
    const group_t *x = a, *y = b;
    if (x->first->fatal != y->first->fatal)
        return x->first->fatal ? -1 : 1;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

static bool is_after(const mu_finding_t *f, const mu_finding_t *cause)
{
    return f->after && f->host == cause->host && strcmp(f->after, cause->check) == 0;
}

/* The checks that fail with a group's own, each once. */
static void add_followers(const mu_preflight_report_t *report, const mu_finding_t *first, mu_buf_t *text)
{
    const mu_finding_t *end = report->finding + report->count;
    size_t begin = text->len;
    for (const mu_finding_t *cause = first; cause < end; cause++)
        for (const mu_finding_t *f = report->finding; is_same(cause, first) && f < end; f++) {
            if (!is_after(f, cause) || strstr(text->data + begin, f->check))
                continue;
            mu_buf_addf(text, "%s%s", text->len > begin ? ", " : "\n      and with it: ", f->check);
        }
}

static void report_group(const mu_preflight_report_t *report, const group_t *group)
{
    const mu_finding_t *first = group->first;
    mu_buf_t text = MU_BUF_INIT;
    int shown = 0;
    mu_buf_addf(&text, "  %-20s ", first->check);
    for (const mu_finding_t *f = first; f < report->finding + report->count && shown < NAMES_SHOWN; f++)
        if (is_same(f, first))
            mu_buf_addf(&text, "%s%s", shown++ ? ", " : "", name_of(report, f->host));
    if (group->count > shown)
        mu_buf_addf(&text, " and %d more", group->count - shown);
    mu_buf_addf(&text, "\n      found: %s; wanted: %s\n      fix: %s", first->found, first->wanted,
                first->fix);
    add_followers(report, first, &text);
    mu_log(first->fatal ? MU_LOG_ERROR : MU_LOG_WARN, "%s", text.data);
    mu_buf_release(&text);
}

/* What RDMA there is, a line for all hosts that have the same. */
static void print_network(const mu_preflight_report_t *report)
{
    int n = report->hosts->count;
    char **words = mu_calloc((size_t)n + 1, sizeof *words);
    bool *printed = mu_calloc((size_t)n + 1, sizeof *printed);
    for (int i = 0; i < n; i++)
        words[i] = mu_preflight_network(report, i);
    for (int i = 0; i < n; i++) {
        mu_buf_t line = MU_BUF_INIT;
        int count = 0;
        if (!words[i] || printed[i])
            continue;
        mu_buf_addf(&line, "RDMA%s on ", report->rdma ? "" : " (not used)");
        for (int k = i; k < n; k++) {
            if (!words[k] || strcmp(words[k], words[i]) != 0)
                continue;
            printed[k] = true;
            if (++count <= NAMES_SHOWN)
                mu_buf_addf(&line, "%s%s", count > 1 ? ", " : "", name_of(report, k));
        }
        if (count > NAMES_SHOWN)
            mu_buf_addf(&line, " and %d more", count - NAMES_SHOWN);
        mu_info("%s: %s", line.data, words[i]);
        mu_buf_release(&line);
    }
    for (int i = 0; i < n; i++)
        free(words[i]);
    free(words);
    free(printed);
}

static int unfit_hosts(const mu_preflight_report_t *report)
{
    int n = 0;
    for (int i = 0; i < report->hosts->count; i++) {
        bool unfit = false;
        for (int f = 0; f < report->count && !unfit; f++)
            unfit = report->finding[f].fatal && report->finding[f].host == i;
        n += unfit;
    }
    return n;
}

static void print_effort(const mu_preflight_report_t *report)
{
    mu_info("%d checks on %d host%s took %.1f s", report->checks, report->looked_at,
            report->looked_at == 1 ? "" : "s", report->seconds);
}

void mu_preflight_print(const mu_preflight_report_t *report)
{
    group_t *groups = mu_calloc((size_t)report->count + 1, sizeof *groups);
    int n = 0;
    for (int i = 0; i < report->count; i++) {
        int g = 0;
        if (report->finding[i].after)
            continue;
        while (g < n && !is_same(groups[g].first, &report->finding[i]))
            g++;
        if (g == n)
            groups[n++].first = &report->finding[i];
        groups[g].count++;
    }
    qsort(groups, (size_t)n, sizeof *groups, by_size);
    bool refuses = report->fatal && !report->goes_on; /* then why is said last */
    if (refuses)
        print_effort(report);
    if (report->fatal && report->goes_on)
        mu_warn("%d of %d hosts failed preflight: it goes on without them (muster.min_hosts)",
                unfit_hosts(report), report->looked_at);
    else if (report->fatal)
        mu_error("NOT STARTED: %d of %d hosts failed preflight (exit %d: worth a retry without them)",
                 unfit_hosts(report), report->looked_at, mu_status_exit(MU_PREFLIGHT));
    for (int g = 0; g < n; g++)
        report_group(report, &groups[g]);
    print_network(report);
    if (!refuses)
        print_effort(report);
    free(groups);
}

json_t *mu_preflight_json(const mu_preflight_report_t *report)
{
    json_t *findings = json_array(), *facts = json_object();
    for (int i = 0; i < report->count; i++) {
        const mu_finding_t *f = &report->finding[i];
        json_array_append_new(findings, json_pack("{s:s, s:s, s:b, s:s, s:s, s:s, s:s?}", "host",
                                                  name_of(report, f->host), "check", f->check, "fatal",
                                                  f->fatal, "found", f->found, "wanted", f->wanted, "fix",
                                                  f->fix, "after", f->after));
    }
    for (int i = 0; i < report->hosts->count; i++)
        if (report->facts[i])
            json_object_set(facts, report->hosts->host[i].name, report->facts[i]);
    return json_pack("{s:i, s:f, s:o, s:o}", "checks", report->checks, "seconds", report->seconds, "findings",
                     findings, "facts", facts);
}
