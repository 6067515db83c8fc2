/*
 * A run as Prometheus reads it: text of version 0.0.4, made anew for each scrape from run.json, metrics.jsonl and
 * events.jsonl. From the first scrape on it keeps about 130 bytes a step (launcher/report/history.h).
 *
 *     mu_prometheus_open(run_dir, &prometheus)      reads what is there of metrics.jsonl
 *     mu_prometheus_text(prometheus, &out)          one scrape; not from two threads at once
 *     mu_prometheus_close(prometheus)
 *
 *     mu_prometheus_handle()                        the same as a handler of launcher/http/http_server.h: GET /metrics
 */
#ifndef MU_LAUNCHER_TRACK_PROMETHEUS_H
#define MU_LAUNCHER_TRACK_PROMETHEUS_H

#include "launcher/http/http_server.h"
#include <stdbool.h>

typedef struct mu_prometheus mu_prometheus_t;

void mu_prometheus_open(const char *run_dir, mu_prometheus_t **out);
/* False when the run directory cannot be read now; nothing is added then, and the reason is logged. */
bool mu_prometheus_text(mu_prometheus_t *prometheus, mu_buf_t *out);
void mu_prometheus_close(mu_prometheus_t *prometheus); /* NULL is fine */

void mu_prometheus_handle(const mu_http_request_t *request, mu_http_response_t *response, void *prometheus);

#endif
