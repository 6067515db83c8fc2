/* What the steps of a workflow run (render_argo_steps.c), and the two objects that surround it (render_argo.c). */
#ifndef MU_LAUNCHER_RENDER_ARGO_H
#define MU_LAUNCHER_RENDER_ARGO_H

#include "launcher/render/render_impl.h"

/* Each step's script is the head and its own part; those that fetch have mu_argo_get between them. */
extern const char mu_argo_head[], mu_argo_get[];
extern const char mu_argo_parameters[], mu_argo_fetch_model[], mu_argo_fetch_data[], mu_argo_import[],
    mu_argo_prepare[], mu_argo_gate[], mu_argo_export[], mu_argo_register[];

/* What submits the workflow again when the mean of the feedback falls: an account for Alertmanager's webhook and the
 * event's binding; and the rule for Prometheus, which is no object of Kubernetes. */
void mu_argo_retrain(const mu_params_t *params, mu_buf_t *out);
void mu_argo_alert(const mu_params_t *params, mu_buf_t *out);

#endif
