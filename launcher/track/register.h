/* An exported directory as a version of a registered model: its files go through MLflow's artifact proxy into the
 * artifacts of the run that trained it, then a version is made of them. The same export again makes no second
 * version. */
#ifndef MU_LAUNCHER_TRACK_REGISTER_H
#define MU_LAUNCHER_TRACK_REGISTER_H

#include "common/status.h"
#include "launcher/track/secrets.h"
#include <stdbool.h>

typedef struct mu_register {
    const char *dir; /* of Hugging Face's kind; its regular files are taken, folders are not */
    const char *
        run_dir; /* of the run that trained it, whose run of MLflow takes the files; NULL or unknown to the server: a
                            run of MLflow of its own */
    const char *mlflow;       /* address, without credentials */
    const char *name, *alias; /* alias NULL: none */
    const char *experiment;   /* of a run of MLflow of its own */
    const mu_secrets_t *secrets;
} mu_register_t;

/* Whether a registered model or an alias may have that name; logs nothing. */
bool mu_register_name_ok(const char *name);
/* Errors: MU_NOINPUT (no such directory, or no files in it), MU_IO, MU_UNREADY (the server does not answer), MU_AUTH,
 * MU_DATA (it refused). */
mu_status_t mu_register(const mu_register_t *ask);

#endif
