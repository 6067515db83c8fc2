#include "launcher/track/secrets.h"
#include "common/file.h"
#include "common/log.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static const char *const names[] = {"MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME",
                                    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_URI", "WANDB_API_KEY"};
static const char file_name[] = "MLFLOW_TRACKING_TOKEN_FILE";
enum { COUNT = sizeof names / sizeof *names, TOKEN = 0, USERNAME, PASSWORD, FILE_LIMIT = 65536 };

struct mu_secrets {
    char *value[COUNT]; /* sodium_malloc(): locked, left out of core files */
};

static mu_status_t keep(mu_secrets_t *secrets, int i, const char *text, size_t n)
{
    char *copy = sodium_malloc(n + 1);
    sodium_free(secrets->value[i]);
    secrets->value[i] = NULL;
    if (!copy)
        return mu_fail(MU_BUG, "no locked memory for %s", names[i]);
    memcpy(copy, text, n);
    copy[n] = '\0';
    secrets->value[i] = copy;
    return MU_OK;
}

/* A line end in a token would begin another header of the request. */
static bool has_control(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127)
            return true;
    return false;
}

mu_status_t mu_secrets_read_token(mu_secrets_t *secrets)
{
    const char *path = getenv(file_name);
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    if (!path || !*path || secrets->value[TOKEN])
        return MU_OK;
    status = mu_file_read(path, FILE_LIMIT, &text);
    if (status == MU_OK) {
        size_t n = strcspn(text.data ? text.data : "", " \t\r\n");
        if (n == 0)
            status = mu_fail(MU_DATA, "%s: %s names it, and it holds no token", path, file_name);
        else if (n < text.len && text.data[n] == '\0')
            status =
                mu_fail(MU_DATA, "%s: %s names it, and it holds a NUL byte: wanted a token", path, file_name);
        else if (has_control(text.data, n))
            status = mu_fail(MU_DATA, "%s: the token there holds a control character", path);
        else
            status = keep(secrets, TOKEN, text.data, n);
        sodium_memzero(text.data, text.len);
    }
    mu_buf_release(&text);
    return status;
}

/* Without the white space at its end, which a shell or a mounted Secret may leave. A password may end in a blank. */
static mu_status_t take_text(mu_secrets_t *secrets, int i, const char *text, size_t n)
{
    const char *white = i == PASSWORD ? "\r\n" : " \t\r\n";
    while (n > 0 && strchr(white, text[n - 1]))
        n--;
    if (has_control(text, n))
        return mu_fail(MU_USAGE, "%s holds a control character: give it on one line", names[i]);
    return n > 0 ? keep(secrets, i, text, n) : MU_OK;
}

mu_status_t mu_secrets_take(mu_secrets_t **out)
{
    mu_status_t status = MU_OK;
    if (sodium_init() < 0)
        return mu_fail(MU_BUG, "libsodium does not start");
    mu_secrets_t *secrets = mu_calloc(1, sizeof *secrets);
    for (int i = 0; i < COUNT; i++) {
        char *text = getenv(names[i]);
        if (!text)
            continue;
        prctl(PR_SET_DUMPABLE, 0); /* programs that are started are not affected */
        size_t n = strlen(text);
        mu_status_t taken = take_text(secrets, i, text, n);
        status = status == MU_OK ? taken : status;
        sodium_memzero(text, n); /* where the kernel put it, which a core file and /proc show */
        unsetenv(names[i]);
    }
    if (status == MU_OK)
        *out = secrets;
    else
        mu_secrets_free(secrets);
    return status;
}

const char *mu_secrets_get(const mu_secrets_t *secrets, const char *name)
{
    for (int i = 0; i < COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return secrets->value[i] && *secrets->value[i] ? secrets->value[i] : NULL;
    return NULL;
}

mu_status_t mu_secrets_set_login(mu_secrets_t *secrets, const char *user, const char *password)
{
    MU_TRY(keep(secrets, USERNAME, user, strlen(user)));
    return keep(secrets, PASSWORD, password, strlen(password));
}

void mu_secrets_give(const mu_secrets_t *secrets, const char *prefix)
{
    for (int i = 0; i < COUNT; i++)
        if (secrets->value[i] && strncmp(names[i], prefix, strlen(prefix)) == 0)
            setenv(names[i], secrets->value[i], 1);
}

void mu_secrets_free(mu_secrets_t *secrets)
{
    if (!secrets)
        return;
    for (int i = 0; i < COUNT; i++)
        sodium_free(secrets->value[i]); /* overwrites; NULL is fine */
    free(secrets);
}
