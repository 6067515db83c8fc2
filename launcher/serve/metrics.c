#include "launcher/serve/serve_impl.h"

#include <math.h>

static const double bucket[MU_SERVE_BUCKETS] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

void mu_histogram_add(mu_histogram_t *h, double seconds)
{
    int i = 0;
    while (i < MU_SERVE_BUCKETS && seconds > bucket[i])
        i++;
    h->count[i]++;
    h->sum += seconds;
}

static void head(mu_buf_t *out, const char *name, const char *type, const char *help)
{
    mu_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(mu_buf_t *out, const char *name, const char *type, const char *help, double value)
{
    head(out, name, type, help);
    mu_buf_addf(out, "%s %.17g\n", name, value);
}

static void histogram(mu_buf_t *out, const char *name, const char *help, const mu_histogram_t *h)
{
    int64_t sum = 0;
    head(out, name, "histogram", help);
    for (int i = 0; i <= MU_SERVE_BUCKETS; i++) {
        sum += h->count[i];
        if (i < MU_SERVE_BUCKETS)
            mu_buf_addf(out, "%s_bucket{le=\"%g\"} %lld\n", name, bucket[i], (long long)sum);
    }
    mu_buf_addf(out, "%s_bucket{le=\"+Inf\"} %lld\n%s_sum %.17g\n%s_count %lld\n", name, (long long)sum, name,
                h->sum, name, (long long)sum);
}

/* A label's value: a name of a run may hold what ends one. */
static void label(mu_buf_t *out, const char *text)
{
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            mu_buf_addf(out, "\\%c", *text);
        else if (*text == '\n')
            mu_buf_adds(out, "\\n");
        else
            mu_buf_addc(out, *text);
}

static void requests(const mu_counts_t *c, mu_buf_t *out)
{
    head(out, "muster_serve_requests_total", "counter", "Requests for texts, by the class of their status.");
    for (int i = 2; i < 6; i++)
        mu_buf_addf(out, "muster_serve_requests_total{status=\"%dxx\"} %lld\n", i, (long long)c->requests[i]);
}

static void feedback(mu_feedback_t *f, mu_buf_t *out)
{
    mu_feedback_counts_t c;
    if (!f)
        return;
    mu_feedback_counts(f, &c);
    one(out, "muster_feedback_total", "counter", "Feedback that was stored.", (double)c.records);
    one(out, "muster_feedback_rewards_total", "counter", "Feedback with a reward.", (double)c.rewards);
    if (isnan(c.newest))
        return;
    one(out, "muster_feedback_reward", "gauge", "The newest reward.", c.newest);
    if (!isnan(c.mean))
        one(out, "muster_feedback_reward_mean", "gauge", "Mean of the rewards of the last 300 seconds.",
            c.mean);
}

void mu_serve_metrics(mu_serve_t *s, mu_buf_t *out)
{
    const mu_counts_t *c = &s->counts;
    const mu_backend_t *b = s->current;
    int64_t jobs = b ? b->jobs : 0, slots = b && b->state == MU_BACKEND_READY ? b->hello.slots : 0;
    head(out, "muster_serve_info", "gauge", "The model that answers.");
    mu_buf_adds(out, "muster_serve_info{model=\"");
    label(out, s->model ? s->model->name : "");
    mu_buf_adds(out, "\",version=\"");
    label(out, s->model ? s->model->version : "");
    mu_buf_adds(out, "\"} 1\n");
    one(out, "muster_serve_ready", "gauge", "Whether requests are answered.", mu_serve_ready(s));
    requests(c, out);
    one(out, "muster_serve_refused_total", "counter", "Requests refused since too many waited.",
        (double)c->refused);
    one(out, "muster_serve_cancelled_total", "counter", "Requests whose client went.", (double)c->cancelled);
    one(out, "muster_serve_prompt_tokens_total", "counter", "Tokens of prompts.", (double)c->prompt_tokens);
    one(out, "muster_serve_new_tokens_total", "counter", "Tokens written.", (double)c->new_tokens);
    one(out, "muster_serve_sequences", "gauge", "Sequences that run or wait.", (double)jobs);
    one(out, "muster_serve_slots", "gauge", "Sequences that can run at once.", (double)slots);
    one(out, "muster_serve_cache_bytes", "gauge", "Bytes of the key/value cache on each worker.",
        slots > 0 ? (double)b->hello.cache_bytes : 0);
    one(out, "muster_serve_engine_restarts_total", "counter", "Engines started in place of one that died.",
        (double)c->restarts);
    one(out, "muster_serve_models_total", "counter", "Models that have answered.", (double)c->models);
    histogram(out, "muster_serve_first_token_seconds", "From a request to its first token.", &c->first);
    histogram(out, "muster_serve_request_seconds", "From a request to its end.", &c->whole);
    feedback(s->feedback, out);
}
