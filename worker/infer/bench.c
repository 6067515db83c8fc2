#include "worker/infer/bench.h"
#include "common/clock.h"
#include "common/log.h"

#include <jansson.h>
#include <math.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double mu_times_share(mu_times_t *times, double share)
{
    if (times->count == 0)
        return NAN;
    qsort(times->ms, (size_t)times->count, sizeof *times->ms, by_value);
    int64_t rank = (int64_t)ceil(share * (double)times->count);
    return times->ms[rank < 1 ? 0 : rank - 1];
}

static void add(mu_times_t *times, double ms)
{
    times->ms[times->count++] = ms;
}

typedef struct watch {
    mu_bench_t *bench;
    int64_t last_ns;
    int64_t token; /* of this request */
    bool cold;
} watch_t;

static mu_status_t take(void *arg, int32_t id)
{
    watch_t *w = arg;
    int64_t now = mu_now_ns();
    double ms = (double)(now - w->last_ns) * 1e-6;
    (void)id;
    if (w->cold)
        w->bench->cold_ms = w->token == 0 ? ms : w->bench->cold_ms;
    else
        add(w->token == 0 ? &w->bench->first : &w->bench->next, ms);
    w->token++;
    w->last_ns = now;
    return MU_OK;
}

mu_status_t mu_bench_run(mu_bench_t *b, mu_generation_t *g, mu_net_t *net, mu_comm_t *group, int64_t runs)
{
    if (g->most < 1)
        return mu_fail(MU_USAGE, "--bench: no token is to be made: --max-new-tokens from 1");
    b->runs = runs;
    b->prompt_tokens = (int64_t)g->prompt.len;
    b->new_tokens = g->most;
    b->first.ms = mu_calloc((size_t)runs, sizeof(double));
    b->next.ms = mu_calloc((size_t)(runs * g->most), sizeof(double));
    g->ends = 0; /* every request is as long as the others */
    for (int64_t i = -1; i < runs; i++) {
        int64_t began = mu_now_ns();
        watch_t watch = {.bench = b, .last_ns = began, .cold = i < 0};
        MU_TRY(mu_generation_run(g, net, group, take, &watch));
        if (i >= 0)
            b->total_ms += (double)(mu_now_ns() - began) * 1e-6;
    }
    return MU_OK;
}

static json_t *shares(mu_times_t times)
{
    double p50 = mu_times_share(&times, 0.5), p95 = mu_times_share(&times, 0.95),
           most = mu_times_share(&times, 1);
    return times.count == 0 ? json_null() : json_pack("{s:f, s:f, s:f}", "p50", p50, "p95", p95, "max", most);
}

void mu_bench_print(const mu_bench_t *b, const char *words, bool json, mu_buf_t *out)
{
    mu_times_t first = b->first, next = b->next;
    double rate = (double)(b->runs * b->new_tokens) / (b->total_ms * 1e-3);
    if (!json) {
        mu_buf_addf(out, "%lld requests of %lld tokens after a prompt of %lld, one after the other, %s\n",
                    (long long)b->runs, (long long)b->new_tokens, (long long)b->prompt_tokens, words);
        mu_buf_addf(out, "load         %.1f ms\n", b->load_ms);
        mu_buf_addf(out, "first token  p50 %.2f ms, p95 %.2f ms, max %.2f ms (the very first: %.2f ms)\n",
                    mu_times_share(&first, 0.5), mu_times_share(&first, 0.95), mu_times_share(&first, 1),
                    b->cold_ms);
        if (next.count > 0)
            mu_buf_addf(out, "each token   p50 %.2f ms, p95 %.2f ms, max %.2f ms\n",
                        mu_times_share(&next, 0.5), mu_times_share(&next, 0.95), mu_times_share(&next, 1));
        mu_buf_addf(out, "rate         %.1f tokens/s\n", rate);
        return;
    }
    json_t *root =
        json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:f}", "device", words, "requests",
                  (json_int_t)b->runs, "prompt_tokens", (json_int_t)b->prompt_tokens, "new_tokens",
                  (json_int_t)b->new_tokens, "load_ms", b->load_ms, "cold_first_token_ms", b->cold_ms,
                  "first_token_ms", shares(first), "token_ms", shares(next), "tokens_per_s", rate);
    char *text = json_dumps(root, 0);
    mu_buf_addf(out, "%s\n", text ? text : "null");
    free(text);
    json_decref(root);
}

void mu_bench_release(mu_bench_t *b)
{
    free(b->first.ms);
    free(b->next.ms);
    *b = (mu_bench_t){0};
}
