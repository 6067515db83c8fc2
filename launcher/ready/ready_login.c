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
        mu_ssh_argv(ready->ssh, index, host->found.proxied ? "" : host->address, ready->command, &argv);
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
    host->phase = MU_READY_PHASE_LOGIN;
    host->next_ns = mu_now_ns() + MU_READY_LOGIN_NS;
}

static const char *text_of(const json_t *hello, const char *key)
{
    const char *text = json_string_value(json_object_get(hello, key));
    return text ? text : "";
}

/* Two names of one machine would be two workers' places that are one. Two machines with one host name are one to MPI:
 * its daemons are known by that name, and ranks of one name try to share memory. */
static bool is_other(mu_ready_t *ready, int index, const json_t *hello)
{
    const char *machine = text_of(hello, "machine"), *name = text_of(hello, "host");
    for (int i = 0; i < ready->hosts->count; i++) {
        const mu_ready_state_t *other = &ready->host[i];
        if (i == index || !other->hello || !*machine || !*text_of(other->hello, "machine"))
            continue;
        bool same = strcmp(machine, text_of(other->hello, "machine")) == 0;
        if (!same && strcmp(name, text_of(other->hello, "host")) != 0)
            continue;
        mu_buf_t why = MU_BUF_INIT;
        mu_buf_addf(&why, "%s%s, host name ", same ? "the same as " : "as ", ready->hosts->host[i].name);
        mu_text_escape(name, strlen(name), 64, &why);
        mu_ready_miss(ready, index, same ? MU_REASON_TWICE : MU_REASON_SAME_NAME, why.data);
        mu_buf_release(&why);
        return false;
    }
    return true;
}

/* An ssh login that leads back to this very machine (Debian resolves the own full name to 127.0.1.1): proved by the
 * answer, and its probe is started again without ssh. */
static bool leads_here(mu_ready_t *ready, int index, const json_t *hello)
{
    mu_ready_state_t *host = &ready->host[index];
    if (host->local || !ready->machine[0] || strcmp(ready->machine, text_of(hello, "machine")) != 0)
        return false;
    mu_ready_drop(ready, index);
    host->local = true;
    host->phase = MU_READY_PHASE_QUEUE;
    return true;
}

/* "1 {...}" after the hello word. */
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
    } else if (!leads_here(ready, index, object) && is_other(ready, index, object)) {
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
    if (host->phase == MU_READY_PHASE_LOGIN && mu_login_line(&host->login, "MUSTER-HELLO ", &line)) {
        hello(ready, index, line.data);
    } else if (host->login.ended) {
        const char *said = host->login.said.data ? host->login.said.data : "";
        const char *noise = host->login.noise.data ? host->login.noise.data : "";
        mu_reason_t reason = MU_REASON_LOGIN;
        if (host->phase == MU_READY_PHASE_LOGIN)
            reason = mu_ready_classify(host->login.exit_code, said, noise, &detail);
        else
            mu_buf_addf(&detail, "the login ended again with %d", host->login.exit_code);
        host->stage = MU_STAGE_LOGIN;
        mu_ready_miss(ready, index, reason, detail.data);
    }
    mu_buf_release(&line);
    mu_buf_release(&detail);
}
