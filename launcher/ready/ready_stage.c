/* One host's way through the stages. Each function returns at once and leaves the host in a phase with a
 * deadline. */
#include "launcher/ready/ready_internal.h"
#include "common/ready_text.h"
#include "common/clock.h"

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
    if (host->phase == MU_READY_PHASE_LOGIN)
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
    int64_t ms = ready->hosts->count <= 64 ? 100 : 250;
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

static bool ask_where(mu_ready_t *ready, int index, mu_reason_t reason);

void mu_ready_miss(mu_ready_t *ready, int index, mu_reason_t reason, const char *detail)
{
    mu_ready_state_t *host = &ready->host[index];
    mu_ready_drop(ready, index);
    host->reason = reason;
    host->shown = true;
    host->tries++;
    if (reason != MU_REASON_NO_NAME && reason != MU_REASON_NO_RESOLVER)
        host->nameless_ns = 0;
    else if (host->nameless_ns == 0)
        host->nameless_ns = mu_now_ns();
    mu_buf_clear(&host->detail);
    mu_buf_adds(&host->detail, detail ? detail : "");
    if (ask_where(ready, index, reason))
        return;
    host->phase = mu_reason_is_transient(reason) ? MU_READY_PHASE_WAIT : MU_READY_PHASE_FAILED;
    host->next_ns = mu_now_ns() + pause_after(ready, reason, host->tries);
}

void mu_ready_arrive(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    if (host->phase == MU_READY_PHASE_LOGIN)
        ready->logins--;
    host->phase = MU_READY_PHASE_READY;
    host->nameless_ns = 0;
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
    mu_ready_arrive(ready, index);
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

/* "n1.lan" and "N1" on a machine whose host name is n1 or n1.example. */
static bool is_own_name(const mu_ready_t *ready, const char *name)
{
    size_t n = strcspn(name, "."), m = strcspn(ready->self, ".");
    return n > 0 && n == m && strncasecmp(name, ready->self, n) == 0;
}

/* Debian gives the own name and the own full name 127.0.1.1, which is on no interface. */
static bool is_own_loopback(const mu_ready_t *ready, const char *name, const struct sockaddr_storage *address)
{
    const struct sockaddr_in *a4 = (const struct sockaddr_in *)address;
    return is_own_name(ready, name) && address->ss_family == AF_INET &&
           ntohl(a4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static void enqueue_login(mu_ready_t *ready, int index)
{
    ready->host[index].phase = MU_READY_PHASE_QUEUE;
    ready->host[index].stage = MU_STAGE_LOGIN;
    if (ready->host[index].reason == MU_REASON_LOOKUP)
        ready->host[index].reason = MU_REASON_NONE;
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
    host->phase = MU_READY_PHASE_DIAL;
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

static void look_up(mu_ready_t *ready, int index, char **ask)
{
    mu_ready_state_t *host = &ready->host[index];
    const mu_host_t *entry = &ready->hosts->host[index];
    const char *name = host->found.name[0] ? host->found.name : entry->name;
    int given = ready->ssh ? mu_ssh_port(ready->ssh, index) : entry->port;
    int port = host->found.port ? host->found.port : given ? given : 22;
    mu_found_t found;
    host->stage = MU_STAGE_NAME;
    host->phase = MU_READY_PHASE_LOOK;
    host->next_ns = INT64_MAX; /* a thread that is stuck must not be joined by another */
    if (!ask && mu_lookup_numeric(name, port, &found)) {
        found.index = index;
        mu_ready_found(ready, &found);
        return;
    }
    if (host->reason == MU_REASON_NONE)
        host->reason = MU_REASON_LOOKUP;
    mu_lookup_push(ready->lookup, index, name, port, ask);
}

void mu_ready_start(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    if (ready->hosts->source == MU_HOSTS_LOCAL ||
        strcasecmp(ready->hosts->host[index].name, "localhost") == 0)
        host->local = true;
    if (host->local || host->found.proxied)
        enqueue_login(ready, index);
    else if (host->found.count > 0 && mu_now_ns() - host->found_ns < MU_READY_NAME_NS)
        dial(ready, index);
    else
        look_up(ready, index, NULL);
}

/* `ssh -G` costs a process, so it is asked only where the plain name and port led to nothing. A wrong guess
 * that leads to some sshd does no harm: the login itself goes where ssh is configured to go. */
static bool ask_where(mu_ready_t *ready, int index, mu_reason_t reason)
{
    mu_ready_state_t *host = &ready->host[index];
    char **ask;
    if (host->asked || host->local || !ready->ssh || ready->options.no_ssh_config ||
        host->stage > MU_STAGE_BANNER || !mu_reason_is_transient(reason))
        return false;
    host->asked = true;
    mu_ssh_argv_ask(ready->ssh, index, &ask);
    look_up(ready, index, ask);
    return true;
}

/* Whether a host is this machine, by its addresses: if all are ours. One that is ours among others proves nothing: a
 * bridge has the same address on every machine, a floating address moves. MPI takes such a name for this machine all
 * the same, so only the own name may be of this kind. */
static bool tell_local(mu_ready_t *ready, int index)
{
    mu_ready_state_t *host = &ready->host[index];
    const mu_found_t *found = &host->found;
    char own[64] = "", other[64] = "";
    for (int i = 0; i < found->count; i++) {
        bool ours = is_own_address(ready, &found->address[i]) ||
                    is_own_loopback(ready, ready->hosts->host[index].name, &found->address[i]);
        name_address(&found->address[i], found->length[i], ours ? own : other, sizeof own);
    }
    host->local = *own && (!*other || is_own_name(ready, ready->hosts->host[index].name));
    if (!*own || host->local)
        return true;
    char *why = mu_format("%s is also an address of this machine, %s is not", own, other);
    mu_ready_miss(ready, index, MU_REASON_AMBIGUOUS, why);
    free(why);
    return false;
}

void mu_ready_found(mu_ready_t *ready, const mu_found_t *found)
{
    mu_ready_state_t *host = &ready->host[found->index];
    if (host->phase != MU_READY_PHASE_LOOK)
        return;
    host->found = *found;
    host->found_ns = mu_now_ns();
    if (found->proxied) { /* only ssh knows the way */
        enqueue_login(ready, found->index);
        return;
    }
    if (found->error && strcasecmp(ready->hosts->host[found->index].name, ready->self) == 0)
        host->local = true; /* nobody else has this name */
    else if (found->error) {
        bool server = found->error == EAI_AGAIN || found->error == EAI_FAIL || found->error == EAI_SYSTEM;
        mu_ready_miss(ready, found->index, server ? MU_REASON_NO_RESOLVER : MU_REASON_NO_NAME,
                      gai_strerror(found->error));
        return;
    }
    if (!host->local && !tell_local(ready, found->index))
        return;
    if (host->local && (ready->options.until == MU_STAGE_READY || found->count == 0))
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
    host->phase = MU_READY_PHASE_LISTEN;
    host->stage = MU_STAGE_BANNER;
    host->next_ns = mu_now_ns() + MU_READY_TRY_NS;
}

/* What sshd says instead of its version when it takes no more: until 9.7 and since 9.8. */
static bool throws_out(const char *text)
{
    return strstr(text, "Exceeded MaxStartups") || strstr(text, "Not allowed at this time");
}

static void miss_banner(mu_ready_t *ready, int index, mu_reason_t reason)
{
    mu_ready_state_t *host = &ready->host[index];
    mu_buf_t said = MU_BUF_INIT;
    if (host->banner_len > 0) {
        mu_buf_adds(&said, "it says \"");
        mu_text_escape(host->banner, strcspn(host->banner, "\r\n"), 60, &said);
        mu_buf_adds(&said, "\"");
        reason = throws_out(host->banner) ? MU_REASON_THROTTLED : MU_REASON_NOT_SSH;
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
    if (ready->host[index].phase == MU_READY_PHASE_DIAL)
        connected(ready, index);
    else if (ready->host[index].phase == MU_READY_PHASE_LISTEN)
        read_banner(ready, index);
}

void mu_ready_timer(mu_ready_t *ready, int index, int64_t now)
{
    mu_ready_state_t *host = &ready->host[index];
    if (now < host->next_ns)
        return;
    switch (host->phase) {
    case MU_READY_PHASE_WAIT:
        mu_ready_start(ready, index);
        break;
    case MU_READY_PHASE_DIAL:
        mu_ready_miss(ready, index, MU_REASON_NO_ANSWER, NULL);
        break;
    case MU_READY_PHASE_LISTEN:
        miss_banner(ready, index, MU_REASON_SILENT);
        break;
    case MU_READY_PHASE_LOGIN: {
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
