/*
 * Credentials of trackers. They come from the environment, or from a file that the environment names, and stay in
 * memory that is locked and left out of core files. What the environment held is overwritten, so no program that is
 * started afterwards, ranks and ssh included, has them, nor does a core file of theirs.
 *
 *     mu_secrets_take(&secrets)        first thing in a program, before it starts any other
 *     mu_secrets_get(secrets, name)
 *     mu_secrets_give(secrets, prefix) in a child that is to become a tracker, before exec
 *     mu_secrets_free(secrets)
 */
#ifndef MU_LAUNCHER_TRACK_SECRETS_H
#define MU_LAUNCHER_TRACK_SECRETS_H

#include "common/status.h"

typedef struct mu_secrets mu_secrets_t;

/* MLFLOW_TRACKING_URI (which may hold a password), _USERNAME, _PASSWORD, _TOKEN and WANDB_API_KEY. When there is one
 * of them, this process writes no core files any more. White space at the end is cut off. Errors: MU_USAGE (a control
 * character in one of them); MU_BUG. */
mu_status_t mu_secrets_take(mu_secrets_t **out);
/* Without a token in the environment: that of the file which MLFLOW_TRACKING_TOKEN_FILE names, if it names one. Errors:
 * MU_NOINPUT, MU_DATA, MU_IO; MU_BUG. */
mu_status_t mu_secrets_read_token(mu_secrets_t *secrets);
/* NULL when it is not given, or empty. */
const char *mu_secrets_get(const mu_secrets_t *secrets, const char *name);
/* User and password that came with an address; they win over those of the environment. Errors: MU_BUG. */
mu_status_t mu_secrets_set_login(mu_secrets_t *secrets, const char *user, const char *password);
/* Puts those whose names begin with `prefix` into the environment: a tracker gets its own server's, no others. */
void mu_secrets_give(const mu_secrets_t *secrets, const char *prefix);
void mu_secrets_free(mu_secrets_t *secrets); /* NULL is fine; overwrites */

#endif
