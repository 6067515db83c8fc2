/* One host's way through the stages. Each function returns at once and leaves the host in a phase with a
 * deadline. */
#include "launcher/ready_internal.h"
#include "launcher/ready_text.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/probe_words.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

void mu_ready_drop(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    if (host->fd >= 0)
        close(host->fd);
    host->fd = -1;
    if (host->phase == MU_PHASE_LOGIN)
        ready->logins--;
    if (host->login.pid)
        mu_login_end((mu_login_t *const[]){&host->login}, 1, 0);
    json_decref(host->hello);
    host->hello = NULL;
}

/* ns, within a quarter up or down, so that many hosts do not come in step. */
static int64_t jitter(int64_t ns)
{
    uint32_t r = 0;
    if (getrandom(&r, sizeof r, GRND_NONBLOCK) != sizeof r)
        r = (uint32_t)mu_now_ns();
    return ns * 3 / 4 + (int64_t)((double)ns / 2 * (r / 4294967296.0));
}

/* A probe of a socket is cheap, a name costs a server something, a login costs both sides a tenth of a
 * second. */
static int64_t pause_after(const mu_ready_t *ready, mu_reason_t reason, int tries)
{
    int64_t ms = 250;
    switch (reason) {
    case MU_REASON_NO_NAME:
    case MU_REASON_NO_RESOLVER:
        ms = 500;
        break;
    case MU_REASON_THROTTLED:
    case MU_REASON_LOGIN:
    case MU_REASON_SLOW:
        ms = tries < 8 ? 250 * tries : 2000;
        break;
    default:
        break;
    }
    if (ready->hosts->count > 512)
        ms += ready->hosts->count / 2;
    return jitter(ms * 1000000);
}

void mu_ready_miss(mu_ready_t *ready, int index, mu_reason_t reason, const char *detail)
{
    mu_ready_state_t *host = &ready->host[index];
    mu_ready_drop(ready, index);
    host->reason = reason;
    host->shown = true;
    host->tries++;
    mu_buf_clear(&host->detail);
    mu_buf_adds(&host->detail, detail ? detail : "");
    host->phase = mu_reason_is_transient(reason) ? MU_PHASE_WAIT : MU_PHASE_FAILED;
    host->next_ns = mu_now_ns() + pause_after(ready, reason, host->tries);
}

static void become_ready(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    if (host->phase == MU_PHASE_LOGIN)
        ready->logins--;
    host->phase = MU_PHASE_READY;
    host->reason = MU_REASON_NONE;
    host->shown = true;
    host->tries++;
    host->ready_after = (double)(mu_now_ns() - ready->begin_ns) * 1e-9;
    mu_buf_clear(&host->detail);
}

/* Whether the wait ends at this stage (a measurement); then the host counts as ready. */
static bool ends_here(mu_ready_t *ready, int index, mu_stage_t passed)
{
    if (ready->options.until > passed)
        return false;
    if (ready->host[index].fd >= 0)
        close(ready->host[index].fd);
    ready->host[index].fd = -1;
    become_ready(ready, index);
    return true;
}

static bool is_own_address(const mu_ready_t *ready, const struct sockaddr_storage *address)
{
    const struct sockaddr_in *a4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)address;
    for (const struct ifaddrs *i = ready->interfaces; i; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != address->ss_family)
            continue;
        const struct sockaddr_in *i4 = (const struct sockaddr_in *)i->ifa_addr;
        const struct sockaddr_in6 *i6 = (const struct sockaddr_in6 *)i->ifa_addr;
        if (address->ss_family == AF_INET && i4->sin_addr.s_addr == a4->sin_addr.s_addr)
            return true;
        if (address->ss_family == AF_INET6 &&
            memcmp(&i6->sin6_addr, &a6->sin6_addr, sizeof i6->sin6_addr) == 0)
            return true;
    }
    return false;
}

static void enqueue_login(mu_ready_t *ready, int index)
{
    ready->host[index].phase = MU_PHASE_QUEUE;
    ready->host[index].stage = MU_STAGE_LOGIN;
    if (ready->host[index].reason == MU_REASON_LOOKUP)
        ready->host[index].reason = MU_REASON_NONE;
}

void mu_ready_start(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    const mu_host_t *entry = &ready->hosts->host[index];
    mu_found_t found;
    if (strcasecmp(entry->name, "localhost") == 0 || strcasecmp(entry->name, ready->self) == 0)
        host->local = true;
    if (host->local) {
        enqueue_login(ready, index);
        return;
    }
    host->stage = MU_STAGE_NAME;
    host->phase = MU_PHASE_LOOK;
    host->next_ns = INT64_MAX; /* a thread that is stuck must not be joined by another */
    char **ask = NULL;
    if (ready->ssh && !ready->options.no_ssh_config)
        mu_ssh_argv_ask(ready->ssh, index, &ask);
    else if (mu_lookup_numeric(entry->name, entry->port ? entry->port : 22, &found)) {
        found.index = index;
        mu_ready_found(ready, &found);
        return;
    }
    if (host->reason == MU_REASON_NONE)
        host->reason = MU_REASON_LOOKUP;
    mu_lookup_push(ready->lookup, index, entry->name, entry->port ? entry->port : 22, ask);
}

static void name_address(const struct sockaddr_storage *address, socklen_t length, char *out, size_t size)
{
    if (getnameinfo((const struct sockaddr *)address, length, out, (socklen_t)size, NULL, 0,
                    NI_NUMERICHOST) != 0)
        *out = '\0';
}

static mu_reason_t of_errno(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return MU_REASON_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
    case EADDRNOTAVAIL:
        return MU_REASON_NO_ROUTE;
    case ECONNRESET:
    case EPIPE:
        return MU_REASON_THROTTLED;
    default:
        return MU_REASON_NO_ANSWER;
    }
}

static void dial(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    int which = host->dials++ % host->found.count;
    const struct sockaddr_storage *address = &host->found.address[which];
    socklen_t length = host->found.length[which];
    host->stage = MU_STAGE_CONNECT;
    if (host->reason == MU_REASON_LOOKUP)
        host->reason = MU_REASON_NONE;
    host->phase = MU_PHASE_DIAL;
    host->next_ns = mu_now_ns() + MU_READY_TRY_NS;
    host->banner_len = 0;
    host->banner[0] = '\0';
    name_address(address, length, host->address, sizeof host->address);
    host->fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (host->fd < 0) {
        mu_ready_miss(ready, index, MU_REASON_NO_ROUTE, strerror(errno));
        return;
    }
    if (connect(host->fd, (const struct sockaddr *)address, length) != 0 && errno != EINPROGRESS)
        mu_ready_miss(ready, index, of_errno(errno), strerror(errno));
}

void mu_ready_found(mu_ready_t *ready, const mu_found_t *found)
{
    mu_ready_state_t *host = &ready->host[found->index];
    if (host->phase != MU_PHASE_LOOK)
        return;
    if (found->proxied) { /* only ssh knows the way */
        enqueue_login(ready, found->index);
        return;
    }
    if (found->error) {
        bool server = found->error == EAI_AGAIN || found->error == EAI_FAIL || found->error == EAI_SYSTEM;
        mu_ready_miss(ready, found->index, server ? MU_REASON_NO_RESOLVER : MU_REASON_NO_NAME,
                      gai_strerror(found->error));
        return;
    }
    host->found = *found;
    for (int i = 0; i < found->count && !host->local; i++)
        host->local = is_own_address(ready, &found->address[i]);
    if (host->local && ready->options.until == MU_STAGE_READY)
        enqueue_login(ready, found->index);
    else
        dial(ready, found->index);
}

static void connected(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(host->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    if (error) {
        mu_ready_miss(ready, index, of_errno(error), strerror(error));
        return;
    }
    if (getsockname(host->fd, (struct sockaddr *)&own, &length) == 0)
        name_address(&own, length, host->launcher, sizeof host->launcher);
    if (ends_here(ready, index, MU_STAGE_CONNECT))
        return;
    host->phase = MU_PHASE_LISTEN;
    host->stage = MU_STAGE_BANNER;
    host->next_ns = mu_now_ns() + MU_READY_TRY_NS;
}

static void miss_banner(mu_ready_t *ready, int index, mu_reason_t reason)
{
    mu_ready_state_t *host = &ready->host[index];
    mu_buf_t said = MU_BUF_INIT;
    if (host->banner_len > 0) {
        mu_buf_adds(&said, "it says \"");
        mu_text_escape(host->banner, strcspn(host->banner, "\r\n"), 60, &said);
        mu_buf_adds(&said, "\"");
        reason = strstr(host->banner, "MaxStartups") ? MU_REASON_THROTTLED : MU_REASON_NOT_SSH;
    }
    mu_ready_miss(ready, index, reason, said.data);
    mu_buf_release(&said);
}

/* A server may send lines before its version (RFC 4253, 4.2). */
static bool has_banner(const char *text)
{
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, "SSH-2.0-", 8) == 0 || strncmp(line, "SSH-1.99-", 9) == 0)
            return true;
    return false;
}

static void read_banner(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    ssize_t n =
        recv(host->fd, host->banner + host->banner_len, sizeof host->banner - 1 - host->banner_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        host->banner_len += (size_t)n;
        host->banner[host->banner_len] = '\0';
    }
    if (has_banner(host->banner)) {
        close(host->fd);
        host->fd = -1;
        if (!ends_here(ready, index, MU_STAGE_BANNER))
            enqueue_login(ready, index);
    } else if (n <= 0) {
        miss_banner(ready, index, MU_REASON_THROTTLED);
    } else if (host->banner_len + 1 >= sizeof host->banner) {
        miss_banner(ready, index, MU_REASON_NOT_SSH);
    }
}

void mu_ready_socket_event(mu_ready_t *ready, int index)
{
    if (ready->host[index].phase == MU_PHASE_DIAL)
        connected(ready, index);
    else if (ready->host[index].phase == MU_PHASE_LISTEN)
        read_banner(ready, index);
}

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
        mu_buf_addf(&why, "cannot start %s here: %s", host->local ? ready->worker : "ssh", strerror(errno));
        mu_ready_miss(ready, index, host->local ? MU_REASON_BROKEN : MU_REASON_LOGIN, why.data);
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
        become_ready(ready, index);
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

void mu_ready_timer(mu_ready_t *ready, int index, int64_t now)
{
    mu_ready_state_t *host = &ready->host[index];
    if (now < host->next_ns)
        return;
    switch (host->phase) {
    case MU_PHASE_WAIT:
        mu_ready_start(ready, index);
        break;
    case MU_PHASE_DIAL:
        mu_ready_miss(ready, index, MU_REASON_NO_ANSWER, NULL);
        break;
    case MU_PHASE_LISTEN:
        miss_banner(ready, index, MU_REASON_SILENT);
        break;
    case MU_PHASE_LOGIN: {
        const char *noise = host->login.noise.data;
        mu_buf_t detail = MU_BUF_INIT;
        mu_buf_adds(&detail, "none in 20 s");
        if (noise && *noise) {
            mu_buf_adds(&detail, "; the login shell printed \"");
            mu_text_escape(noise, strcspn(noise, "\r\n"), 60, &detail);
            mu_buf_adds(&detail, "\"");
        }
        mu_ready_miss(ready, index, MU_REASON_SLOW, detail.data);
        mu_buf_release(&detail);
        break;
    }
    default:
        break;
    }
}
