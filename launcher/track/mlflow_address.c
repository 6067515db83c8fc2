#include "launcher/track/mlflow_address.h"
#include "common/log.h"

#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>

mu_status_t mu_mlflow_address(const char *verb, const char *option, mu_secrets_t *secrets, mu_buf_t *base)
{
    const char *uri = option ? option : mu_secrets_get(secrets, "MLFLOW_TRACKING_URI"), *why;
    const char *from = option ? "--mlflow" : "MLFLOW_TRACKING_URI";
    mu_buf_t user = MU_BUF_INIT, password = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    if (!uri)
        return MU_OK;
    if (!mu_http_split_url(uri, base, &user, &password, &why))
        status = mu_fail(MU_USAGE, "%s: %s: %s: wanted http[s]://HOST[:PORT][/PATH]", verb, from, why);
    else if (option && (user.len > 0 || password.len > 0))
        status = mu_fail(MU_USAGE,
                         "%s: --mlflow with a user or password, which ps shows to everybody: put them into "
                         "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
                         verb);
    else if (user.len > 0 || password.len > 0)
        status =
            mu_secrets_set_login(secrets, user.data ? user.data : "", password.data ? password.data : "");
    if (password.data)
        sodium_memzero(password.data, password.len);
    mu_buf_release(&user);
    mu_buf_release(&password);
    return status;
}

void mu_mlflow_credentials(const mu_secrets_t *secrets, mu_http_client_options_t *options)
{
    if (!secrets)
        return;
    options->credentials = (mu_http_credentials_t){mu_secrets_get(secrets, "MLFLOW_TRACKING_TOKEN"),
                                                   mu_secrets_get(secrets, "MLFLOW_TRACKING_USERNAME"),
                                                   mu_secrets_get(secrets, "MLFLOW_TRACKING_PASSWORD")};
    if ((options->credentials.token || options->credentials.password) && mu_http_is_open(options->base))
        mu_warn("%s: credentials go there unencrypted: use https", options->base);
}

mu_status_t mu_mlflow_experiment_name(const char **name)
{
    const char *wanted = getenv("MLFLOW_EXPERIMENT_NAME");
    *name = wanted && *wanted ? wanted : "muster";
    json_t *text = json_string(*name);
    if (!text)
        return mu_fail(MU_USAGE, "MLFLOW_EXPERIMENT_NAME is not UTF-8, which MLflow's calls have to be");
    json_decref(text);
    return MU_OK;
}
