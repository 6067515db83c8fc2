/*
 * What serves a model: one container, the server, which a Deployment or KServe runs, and which a Job tries before. Made
 * from the parameters of `render serve`; a workflow of Argo's that serves its model makes them itself.
 */
#ifndef MU_LAUNCHER_RENDER_SERVE_H
#define MU_LAUNCHER_RENDER_SERVE_H

#include "launcher/render/render_impl.h"

enum {
    MU_SERVING_MEMORY = 24, /* a quantity of Kubernetes, as text */
    MU_SERVING_TRIES = 2    /* backoffLimit of the Job */
};

typedef struct mu_serving {
    const mu_params_t *p; /* of MU_RENDER_SERVE; memory= is given */
    const char *save;     /* the run: what engine=muster serves */
    const char *dir;      /* the exported directory: what the others serve */
    const char *mark;     /* NULL, or an annotation of the pods: another one makes new pods */
} mu_serving_t;

/* Errors: MU_USAGE, parameters that contradict each other. */
mu_status_t mu_serving_check(const mu_params_t *params);
/* memory=, or what the plan's model needs with its cache. Errors: MU_CONFIG, memory= is less. */
mu_status_t mu_serving_memory(const mu_params_t *params, const mu_plan_t *plan, char out[MU_SERVING_MEMORY]);

/* Objects, without "---" between or before them. */
void mu_serving_service(const mu_params_t *params,
                        mu_buf_t *out); /* and the ServiceMonitor of monitor=true */
void mu_serving_deployment(const mu_serving_t *serving, mu_buf_t *out); /* kserve: the InferenceService */
/* hooks: Argo CD and Helm make the Job before everything else and wait for it. */
void mu_serving_job(const mu_serving_t *serving, const char *name, bool hooks, mu_buf_t *out);
int64_t mu_serving_job_seconds(const mu_serving_t *serving); /* after which it is given up */

/* ---- render_serve_pod.c ---- */

#define MU_SERVING_TOKEN "/etc/muster-token" /* where the Secret is mounted: its file `token` */
enum { MU_SERVING_PRESTOP = 5 }; /* seconds in which the pod's address leaves the Service, before SIGTERM */

/* Text that is not indented. inside: in the Job, where no Service reaches the server. */
void mu_serving_container(const mu_serving_t *serving, bool inside, mu_buf_t *out);
/* Of the pod's spec all but containers and volumes. */
void mu_serving_pod(const mu_serving_t *serving, mu_buf_t *out);
void mu_serving_volumes(const mu_params_t *params, mu_buf_t *out);
/* {app.kubernetes.io/...}: those of the pods of one component. */
void mu_serving_labels(const mu_params_t *params, const char *component, mu_buf_t *out);
const char *mu_serving_base(const mu_params_t *params);             /* of OpenAI's paths: "", "/openai" */
const char *mu_serving_name(const mu_params_t *params);             /* what clients call the model */
bool mu_serving_given(const mu_params_t *params, const char *name); /* and not empty */

#endif
