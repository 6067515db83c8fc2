/* What the steps of a workflow run (render_argo_steps.c), and the two objects that surround it (render_argo.c). */
#ifndef MU_LAUNCHER_RENDER_ARGO_H
#define MU_LAUNCHER_RENDER_ARGO_H

#include "launcher/render/render_impl.h"
#include "launcher/render/render_serve.h"

/* A parameter of the workflow, in a text of Argo's. */
#define MU_ARGO_GIVEN(name) "{{workflow.parameters." name "}}"

/* Each step's script is the head and its own part; those that fetch have mu_argo_get between them. */
extern const char mu_argo_head[], mu_argo_get[];
extern const char mu_argo_parameters[], mu_argo_fetch_model[], mu_argo_fetch_data[], mu_argo_import[],
    mu_argo_prepare[], mu_argo_gate[], mu_argo_export[], mu_argo_register[];

/* The work of one place is done by one workflow at a time: the place is a parameter of the workflow, and `more`. */
void mu_argo_mutex(const char *parameter, const char *more, mu_buf_t *out);

/* render_argo_train.c: the template `train`. volumes: claim, mount, claim, mount. */
void mu_argo_train(const mu_params_t *params, char *volumes[4], bool own_ssh, mu_buf_t *out);

/* render_argo_serve.c. Whether the workflow serves its model. */
bool mu_argo_serves(const mu_params_t *params);
/* Errors: MU_USAGE, parameters that contradict each other; MU_CONFIG, serve_memory= is too little; those of
 * mu_plan_make(). memory: what the server gets. */
mu_status_t mu_argo_serve_check(const mu_params_t *params, const mu_plan_query_t *query,
                                char memory[MU_SERVING_MEMORY]);
/* The Service: it stays, whatever a workflow does. */
void mu_argo_service(const mu_params_t *params, mu_buf_t *out);
/* The templates `smoke`, `serve` and `served`. */
void mu_argo_serve_steps(const mu_params_t *params, char *volumes[4], const char *memory, mu_buf_t *out);

/* What submits the workflow again when the mean of the feedback falls: an account for Alertmanager's webhook and the
 * event's binding; and the rule for Prometheus, which is no object of Kubernetes. */
void mu_argo_retrain(const mu_params_t *params, mu_buf_t *out);
void mu_argo_alert(const mu_params_t *params, mu_buf_t *out);

#endif
