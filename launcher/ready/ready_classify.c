/* What ssh said, as a reason. OpenSSH's texts are stable and not translated; its exit code says only "255".
 */
#include "launcher/ready/ready_internal.h"
#include "common/ready_text.h"

#include <ctype.h>

static const struct {
    const char *json, *text;
    mu_status_t status;
    bool transient;
} reasons[] = {
#define MU_REASON_ROW(name, json, status, transient, text) {json, text, MU_##status, transient},
    MU_REASON_TABLE(MU_REASON_ROW)
#undef MU_REASON_ROW
};

const char *mu_reason_name(mu_reason_t reason)
{
    return reasons[reason].json;
}

const char *mu_reason_text(mu_reason_t reason)
{
    return reasons[reason].text;
}

mu_status_t mu_reason_status(mu_reason_t reason)
{
    return reasons[reason].status;
}

bool mu_reason_is_transient(mu_reason_t reason)
{
    return reasons[reason].transient;
}

/* Adds the first line of `text` that holds `part`; with part NULL, the last line that is not empty. */
static void add_line(const char *text, const char *part, mu_buf_t *out)
{
    const char *found = NULL, *line = text;
    while (line && *line) {
        const char *end = line + strcspn(line, "\r\n");
        size_t n = (size_t)(end - line);
        if (n > 0 && (!part || memmem(line, n, part, strlen(part)))) {
            found = line;
            if (part)
                break;
        }
        line = *end ? end + 1 : NULL;
    }
    if (found)
        mu_text_escape(found, strcspn(found, "\r\n"), 160, out);
}

/* In this order: a changed key is followed by "verification failed", a refused key file by "denied". */
static const struct {
    const char *said;
    mu_reason_t reason;
    const char *detail; /* the line to show instead, if ssh said that too */
} of_ssh[] = {
    {"Bad configuration option", MU_REASON_SSH_CONFIG, NULL},
    {"command-line line", MU_REASON_SSH_CONFIG, NULL},
    {"unknown option -- ", MU_REASON_SSH_CONFIG, NULL},
    {"REMOTE HOST IDENTIFICATION HAS CHANGED", MU_REASON_KEY_CHANGED, "Offending "},
    {"Host key verification failed", MU_REASON_KEY_UNKNOWN, "host key is known for"},
    {"UNPROTECTED PRIVATE KEY FILE", MU_REASON_DENIED, "Permissions "},
    {"Permission denied", MU_REASON_DENIED, NULL},
    {"Access denied", MU_REASON_DENIED, NULL}, /* pam_slurm_adopt, pam_access */
    {"no active jobs", MU_REASON_DENIED, NULL},
    {"account is currently not available", MU_REASON_DENIED, NULL},
    {"account has expired", MU_REASON_DENIED, NULL},
    {"Unable to negotiate", MU_REASON_SSH_CONFIG, NULL},
    {"No user exists for uid", MU_REASON_SSH_CONFIG, NULL},
    {"Too many authentication failures", MU_REASON_DENIED, NULL},
    {"no more authentication methods", MU_REASON_DENIED, NULL},
    {"Exceeded MaxStartups", MU_REASON_THROTTLED, NULL},
    {"Not allowed at this time", MU_REASON_THROTTLED, NULL},
    {"kex_exchange_identification", MU_REASON_THROTTLED, NULL},
    {"ssh_exchange_identification", MU_REASON_THROTTLED, NULL},
    {"banner exchange", MU_REASON_SILENT, NULL},
    {"Could not resolve hostname", MU_REASON_NO_NAME, NULL},
    {"Connection refused", MU_REASON_REFUSED, NULL},
    {"timed out", MU_REASON_NO_ANSWER, NULL},
    {"No route to host", MU_REASON_NO_ROUTE, NULL},
    {"unreachable", MU_REASON_NO_ROUTE, NULL},
};

static bool is_blank_text(const char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    return *text == '\0';
}

static mu_reason_t without_hello(int exit_code, const char *said, const char *noise, mu_buf_t *detail)
{
    if (exit_code == 127 && !strstr(said, "shared libraries")) {
        add_line(said, NULL, detail);
        return MU_REASON_MISSING;
    }
    if (exit_code != 126 && exit_code != 127 && !is_blank_text(noise)) {
        mu_buf_adds(detail, "it printed \"");
        add_line(noise, NULL, detail);
        mu_buf_addf(detail, "\" and ended with %d", exit_code);
        return MU_REASON_NOISE;
    }
    if (is_blank_text(said))
        mu_buf_addf(detail, "ended with %d before its hello", exit_code);
    else
        add_line(said, NULL, detail);
    return MU_REASON_BROKEN;
}

/* The last line. That the connection was closed says less than what the server said before: PAM's reason, a banner. */
static void add_last_word(const char *text, mu_buf_t *out)
{
    const char *closed = strstr(text, "Connection closed by ");
    char *before = closed ? mu_format("%.*s", (int)(closed - text), text) : NULL;
    if (before && !is_blank_text(before)) {
        add_line(before, NULL, out);
        mu_buf_adds(out, "; ");
    }
    free(before);
    add_line(text, NULL, out);
}

mu_reason_t mu_ready_classify(int exit_code, const char *stderr_text, const char *noise, mu_buf_t *detail)
{
    mu_buf_adds(detail, "");
    if (exit_code < 128)
        return without_hello(exit_code, stderr_text, noise, detail);
    for (size_t i = 0; exit_code == 255 && i < sizeof of_ssh / sizeof *of_ssh; i++) {
        if (!strstr(stderr_text, of_ssh[i].said))
            continue;
        if (of_ssh[i].detail)
            add_line(stderr_text, of_ssh[i].detail, detail);
        if (detail->len == 0)
            add_line(stderr_text, of_ssh[i].said, detail);
        return of_ssh[i].reason;
    }
    if (is_blank_text(stderr_text))
        mu_buf_addf(detail, "ended with %d", exit_code);
    else
        add_last_word(stderr_text, detail);
    return MU_REASON_LOGIN;
}
