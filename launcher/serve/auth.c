#include "launcher/serve/serve_impl.h"
#include "common/file.h"
#include "common/log.h"

#include <sodium.h>
#include <string.h>
#include <strings.h>

enum { FILE_LIMIT = 65536, LEAST = 16 };

static const char white[] = " \t\r\n";

static void digest(const char *text, size_t n, uint8_t out[32])
{
    crypto_generichash(out, 32, (const unsigned char *)text, n, NULL, 0);
}

mu_status_t mu_serve_read_token(mu_serve_t *s, const char *path)
{
    mu_buf_t text = MU_BUF_INIT;
    MU_TRY(mu_file_read(path, FILE_LIMIT, &text));
    mu_status_t status = MU_OK;
    size_t n = text.data ? strcspn(text.data, white) : 0;
    if (n < LEAST)
        status =
            mu_fail(MU_DATA, "%s: wanted a token of at least %d characters on its first line", path, LEAST);
    else
        digest(text.data, n, s->token);
    s->has_token = status == MU_OK;
    if (text.data)
        sodium_memzero(text.data, text.len);
    mu_buf_release(&text);
    return status;
}

/* Digests are compared, in a time that says nothing about where they differ, and nothing about the token's length. */
bool mu_serve_may(const mu_serve_t *s, const char *authorization)
{
    static const char scheme[] = "Bearer ";
    uint8_t given[32];
    if (!s->has_token)
        return true;
    if (strncasecmp(authorization, scheme, sizeof scheme - 1) != 0)
        return false;
    authorization += sizeof scheme - 1;
    digest(authorization, strcspn(authorization, white), given);
    return sodium_memcmp(given, s->token, sizeof given) == 0;
}
