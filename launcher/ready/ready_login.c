/* The last stage: a login, its hello, its end. */
#include "launcher/ready/ready_internal.h"
#include "common/ready_text.h"
#include "common/clock.h"

#include <errno.h>

void mu_ready_login_start(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    bool started;
    if (host->local) {
        started = mu_login_start(&host->login, (char *const[]){ready->worker, (char[]){"--probe"}, NULL});
    } else {
        char **argv;
        mu_ssh_argv(ready->ssh, index, ready->command, &argv);
        started = mu_login_start(&host->login, argv);
        mu_ssh_argv_free(argv);
    }
    if (!started) {
        mu_buf_t why = MU_BUF_INIT;
        bool errno_is_lasting = errno == ENOENT || errno == EACCES; /* others: no process or file is free */
        mu_buf_addf(&why, "cannot start %s here: %s", host->local ? ready->worker : "ssh", strerror(errno));
        mu_ready_miss(ready, index,
                      host->local        ? MU_REASON_BROKEN
                      : errno_is_lasting ? MU_REASON_NO_SSH
                                         : MU_REASON_LOGIN,
                      why.data);
        mu_buf_release(&why);
        return;
    }
    ready->logins++;
    host->phase = MU_PHASE_LOGIN;
    host->next_ns = mu_now_ns() + MU_READY_LOGIN_NS;
}

/* "1 {...}" behind the hello word. */
static void hello(mu_ready_t *ready, int index, const char *line)
{
    mu_ready_state_t *host = &ready->host[index];
    const char *json = strncmp(line, "1 ", 2) == 0 ? line + 2 : NULL, *version = NULL, *build = NULL;
    json_t *object = json ? json_loads(json, JSON_REJECT_DUPLICATES, NULL) : NULL;
    mu_buf_t why = MU_BUF_INIT;
    if (json_unpack(object, "{s:s, s:s}", "version", &version, "build", &build) != 0) {
        mu_text_escape(line, strlen(line), 60, &why);
        mu_ready_miss(ready, index, MU_REASON_VERSION, why.data);
    } else if (strcmp(build, ready->build) != 0) {
        mu_buf_adds(&why, "muster ");
        mu_text_escape(version, strlen(version), 32, &why);
        mu_buf_adds(&why, " build ");
        mu_text_escape(build, strlen(build), 8, &why);
        mu_buf_addf(&why, " there, muster %s build %.8s... here", MU_VERSION, ready->build);
        mu_ready_miss(ready, index, MU_REASON_VERSION, why.data);
    } else {
        host->hello = json_incref(object);
        host->stage = MU_STAGE_READY;
        mu_ready_arrive(ready, index);
    }
    mu_buf_release(&why);
    json_decref(object);
}

void mu_ready_login_event(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    mu_buf_t line = MU_BUF_INIT, detail = MU_BUF_INIT;
    mu_login_read(&host->login);
    if (host->phase == MU_PHASE_LOGIN && mu_login_line(&host->login, "MUSTER-HELLO ", &line)) {
        hello(ready, index, line.data);
    } else if (host->login.ended) {
        const char *said = host->login.said.data ? host->login.said.data : "";
        const char *noise = host->login.noise.data ? host->login.noise.data : "";
        mu_reason_t reason = MU_REASON_LOGIN;
        if (host->phase == MU_PHASE_LOGIN)
            reason = mu_ready_classify(host->login.exit_code, said, noise, &detail);
        else
            mu_buf_addf(&detail, "the login ended again with %d", host->login.exit_code);
        host->stage = MU_STAGE_LOGIN;
        mu_ready_miss(ready, index, reason, detail.data);
    }
    mu_buf_release(&line);
    mu_buf_release(&detail);
}
