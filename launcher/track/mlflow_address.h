/* Which MLflow server (an option, or MLFLOW_TRACKING_URI), and the credentials for it. */
#ifndef MU_LAUNCHER_TRACK_MLFLOW_ADDRESS_H
#define MU_LAUNCHER_TRACK_MLFLOW_ADDRESS_H

#include "common/buf.h"
#include "launcher/http/http_client.h"
#include "launcher/track/secrets.h"

/* Adds the address without credentials to `base`, nothing when neither says one. `option` NULL: not given. User and
 * password of the variable's address go to `secrets`; in an option, where ps shows them to everybody, they are
 * refused. Errors: MU_USAGE (no http or https address); `verb` begins the message. */
mu_status_t mu_mlflow_address(const char *verb, const char *option, mu_secrets_t *secrets, mu_buf_t *base);
/* Sets options->credentials, which point into `secrets` (NULL: none). A warning when they would go to options->base,
 * which is set before, unencrypted. */
void mu_mlflow_credentials(const mu_secrets_t *secrets, mu_http_client_options_t *options);
/* The experiment that MLFLOW_EXPERIMENT_NAME names, "muster" without it. Errors: MU_USAGE (it is not UTF-8, and
 * MLflow's calls are JSON). */
mu_status_t mu_mlflow_experiment_name(const char **name);

#endif
