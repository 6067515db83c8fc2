/* What all checks share: a finding, a value in the facts, and what most hosts have. */
#include "launcher/preflight/preflight_internal.h"
#include "common/buf.h"
#include "common/ready_text.h"

void mu_judge_find(mu_judge_t *judge, int host, bool fatal, const char *check, char *found, char *wanted,
                   const char *fix)
{
    mu_preflight_report_t *report = judge->report;
    report->finding = mu_realloc(report->finding, (size_t)(report->count + 1) * sizeof *report->finding);
    report->finding[report->count++] =
        (mu_finding_t){host, fatal, check, found, wanted, mu_strdup(fix), NULL};
    report->fatal += fatal;
}

/* What fails by itself, and what fails with it. */
static const struct {
    const char *cause, *follower;
} follows[] = {
    {"limits.nofile", "net.back"},        {"limits.nofile", "net.mesh"},
    {"limits.nofile", "storage.write"},   {"limits.nofile", "tmp.write"},
    {"versions.machine", "versions.mpi"}, {"versions.machine", "versions.library"},
};

static bool is_found(const mu_preflight_report_t *report, int host, const char *check)
{
    for (int i = 0; i < report->count; i++)
        if (report->finding[i].host == host && report->finding[i].fatal &&
            strcmp(report->finding[i].check, check) == 0)
            return true;
    return false;
}

void mu_judge_fold(mu_preflight_report_t *report)
{
    for (int i = 0; i < report->count; i++) {
        mu_finding_t *f = &report->finding[i];
        for (size_t k = 0; !f->after && k < sizeof follows / sizeof *follows; k++)
            if (strcmp(f->check, follows[k].follower) == 0 && is_found(report, f->host, follows[k].cause))
                f->after = follows[k].cause;
    }
}

const json_t *mu_judge_at(const json_t *facts, const char *path)
{
    char key[32];
    while (facts && *path) {
        size_t n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        facts = json_object_get(facts, key);
        path += n + (path[n] == '.');
    }
    return facts;
}

static const char *text_at(const json_t *facts, const char *path)
{
    return json_string_value(mu_judge_at(facts, path));
}

const char *mu_judge_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "unknown";
}

char *mu_judge_shown(const char *text)
{
    mu_buf_t out = MU_BUF_INIT;
    mu_text_escape(text ? text : "unknown", text ? strlen(text) : 7, 200, &out);
    return mu_buf_detach(&out);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char *mu_judge_majority(const char *const *all, int n, int *times)
{
    const char **sorted = mu_alloc(((size_t)n + 1) * sizeof *sorted), *best = NULL;
    int count = 0, most = 0;
    for (int i = 0; i < n; i++)
        if (all[i])
            sorted[count++] = all[i];
    qsort(sorted, (size_t)count, sizeof *sorted, by_text);
    for (int i = 0; i < count;) {
        int run = 1;
        while (i + run < count && strcmp(sorted[i], sorted[i + run]) == 0)
            run++;
        most = run > most ? run : most;
        i += run;
    }
    for (int i = 0; i < n && !best; i++) { /* the first host whose value is as frequent as any */
        int same = 0;
        for (int k = 0; all[i] && k < count; k++)
            same += strcmp(sorted[k], all[i]) == 0;
        if (all[i] && same == most)
            best = all[i];
    }
    free(sorted);
    *times = most;
    return best;
}

void mu_judge_others(mu_judge_t *judge, const char *check, const char *const *value, bool fatal,
                     const char *fix)
{
    int n = judge->hosts->count, times;
    const char *common = mu_judge_majority(value, n, &times);
    for (int i = 0; i < n; i++) {
        if (!value[i] || strcmp(value[i], common) == 0)
            continue;
        char *safe = mu_judge_shown(common);
        mu_judge_find(judge, i, fatal, check, mu_judge_shown(value[i]),
                      mu_format("%s, as on %d of %d hosts", safe, times, n), fix);
        free(safe);
    }
}

void mu_judge_same(mu_judge_t *judge, const char *check, const char *path, bool needed, const char *fix)
{
    int n = judge->hosts->count;
    const char **value = mu_calloc((size_t)n, sizeof *value);
    for (int i = 0; i < n; i++) {
        value[i] = text_at(judge->facts[i], path);
        if (judge->facts[i] && !value[i] && needed)
            mu_judge_find(judge, i, true, check, mu_strdup("unknown"), mu_strdup("the same on every host"),
                          fix);
    }
    mu_judge_others(judge, check, value, true, fix);
    free(value);
}

char *mu_judge_gpu(const json_t *device)
{
    char *uuid = mu_judge_shown(mu_judge_text(device, "uuid"));
    char *name = mu_format("GPU %d (%.12s)", (int)json_integer_value(json_object_get(device, "index")), uuid);
    free(uuid);
    return name;
}
