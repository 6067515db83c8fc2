/* What a person reads while waiting, and the list of causes at the end. */
#include "launcher/ready/ready_internal.h"
#include "common/log.h"

#include <sys/ioctl.h>
#include <unistd.h>

#define NAMES_A_CAUSE 3  /* on the progress line */
#define NAMES_AT_END  24 /* in the verdict */

static const char *const fixes[MU_REASON_COUNT] = {
    [MU_REASON_NO_NAME] =
        "check its spelling, /etc/hosts and DNS; in Kubernetes a name appears when its pod is up",
    [MU_REASON_NO_RESOLVER] = ("check /etc/resolv.conf, and that the name server answers from here; in "
                               "Kubernetes a name server without an "
                               "upstream says so of a pod that is not up"),
    [MU_REASON_REFUSED] = "start sshd there, or give its port (port=2222 after the name in the hostfile)",
    [MU_REASON_NO_ANSWER] = "check that the host is up and that no firewall drops TCP to its sshd",
    [MU_REASON_NO_ROUTE] = "check the network: there is no way from here to its address",
    [MU_REASON_NOT_SSH] =
        "give sshd's port (port=2222 after the name in the hostfile, or Port in ~/.ssh/config)",
    [MU_REASON_SILENT] = "check that sshd, and not a proxy, listens there",
    [MU_REASON_THROTTLED] = "raise MaxStartups in its sshd_config, or look why sshd closes connections",
    [MU_REASON_SLOW] = "look at the login shell's start files there: `ssh HOST true` should return at once",
    [MU_REASON_LOGIN] = "try: ssh HOST true",
    [MU_REASON_DENIED] =
        ("add this user's public key to ~/.ssh/authorized_keys there; then `ssh HOST true` works "
         "without a password"),
    [MU_REASON_KEY_CHANGED] =
        ("if the host was set up anew: ssh-keygen -R HOST, then accept its new key; if not, "
         "find out who answers there"),
    [MU_REASON_KEY_UNKNOWN] = "add its key to known_hosts after comparing the fingerprint (ssh-keyscan HOST)",
    [MU_REASON_SSH_CONFIG] = "correct muster.ssh_args or ~/.ssh/config; `ssh -G HOST` says what is wrong",
    [MU_REASON_NO_SSH] = "install openssh-client on this machine",
    [MU_REASON_NOISE] =
        "give the account a login shell that runs commands: `ssh HOST true` should print nothing",
    [MU_REASON_MISSING] = "install muster there, at the same path as here",
    [MU_REASON_BROKEN] = "log in there and start muster-worker --probe by hand",
    [MU_REASON_AMBIGUOUS] = "write the host's own address instead of its name, or correct /etc/hosts and DNS",
    [MU_REASON_TWICE] = "name each machine once, and give its slots there",
    [MU_REASON_SAME_NAME] =
        "give each machine a host name of its own (hostnamectl): MPI tells them apart by it",
    [MU_REASON_VERSION] = "install the same build on every host",
};

/* The causes of the hosts that are not ready, biggest group first. */
typedef struct group {
    mu_reason_t reason;
    int count;
} group_t;

static int by_size(const void *a, const void *b)
{
    const group_t *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count) - (x->count > y->count)
                                : ((int)x->reason > (int)y->reason) - ((int)x->reason < (int)y->reason);
}

static int group_by_reason(const mu_ready_t *ready, group_t groups[MU_REASON_COUNT])
{
    int n = 0;
    for (int r = 0; r < MU_REASON_COUNT; r++) {
        group_t group = {(mu_reason_t)r, 0};
        for (int i = 0; i < ready->hosts->count; i++)
            group.count +=
                ready->host[i].phase != MU_READY_PHASE_READY && ready->host[i].reason == group.reason;
        if (group.count)
            groups[n++] = group;
    }
    qsort(groups, (size_t)n, sizeof *groups, by_size);
    return n;
}

/* Up to `most` names of a group, separated by commas; how many more. */
static void add_names(const mu_ready_t *ready, const group_t *group, int most, mu_buf_t *out)
{
    int shown = 0;
    for (int i = 0; i < ready->hosts->count && shown < most; i++)
        if (ready->host[i].phase != MU_READY_PHASE_READY && ready->host[i].reason == group->reason)
            mu_buf_addf(out, "%s%s", shown++ ? ", " : "", ready->hosts->host[i].name);
    if (group->count > shown)
        mu_buf_addf(out, " and %d more", group->count - shown);
}

static void add_waiting(const mu_ready_t *ready, mu_buf_t *out)
{
    group_t groups[MU_REASON_COUNT];
    int n = group_by_reason(ready, groups);
    for (int g = 0; g < n; g++) {
        mu_buf_adds(out, g ? "; " : "  waiting: ");
        add_names(ready, &groups[g], NAMES_A_CAUSE, out);
        mu_buf_addf(out, " %s", mu_reason_text(groups[g].reason));
    }
}

static void redraw(const mu_buf_t *line, bool last)
{
    struct winsize size;
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    char text[1024];
    int n = snprintf(text, sizeof text, "\r\033[K%.*s%s", columns - 1, line->data, last ? "\n" : "");
    if (n > 0 && write(STDERR_FILENO, text, strlen(text)) < 0)
        return; /* nobody looks: the wait goes on */
}

/* On a terminal one line, rewritten; elsewhere a line when something changed, at most one a second, and every
 * 10 s. */
void mu_ready_progress(mu_ready_t *ready, int64_t now, bool last)
{
    int64_t since = now - ready->line_ns;
    if (ready->options.quiet || (!last && since < (ready->terminal ? 100000000 : 1000000000)))
        return;
    mu_buf_t waiting = MU_BUF_INIT;
    mu_ready_sum_t sum = mu_ready_sum(ready);
    mu_buf_addf(&waiting, "%d", sum.ready);
    add_waiting(ready, &waiting);
    bool changed = !ready->last_line.data || strcmp(waiting.data, ready->last_line.data) != 0;
    const char *rest = strchr(waiting.data, ' ');
    mu_buf_clear(&ready->line);
    mu_buf_addf(&ready->line, "hosts %d/%d ready  (%.1f s of %g)%s", sum.ready, ready->hosts->count,
                (double)(now - ready->begin_ns) * 1e-9, ready->options.timeout, rest ? rest : "");
    if (ready->terminal)
        redraw(&ready->line, last);
    else if (changed || since >= 10000000000)
        mu_info("%s", ready->line.data);
    if (changed || since >= 10000000000 || ready->terminal)
        ready->line_ns = now;
    mu_buf_clear(&ready->last_line);
    mu_buf_adds(&ready->last_line, waiting.data);
    mu_buf_release(&waiting);
}

/* A pod that is Succeeded or Failed has no name, and the operator makes none again while it is there. */
void mu_ready_pods(mu_ready_t *ready, int64_t now)
{
    double after = ready->options.nameless > 0 ? ready->options.nameless : 60;
    if (ready->options.quiet || !getenv("K_MPI_JOB_ROLE"))
        return;
    for (int i = 0; i < ready->hosts->count; i++) {
        mu_ready_state_t *host = &ready->host[i];
        const char *name = ready->hosts->host[i].name;
        int pod = (int)strcspn(name, ".");
        double seconds = (double)(now - host->nameless_ns) * 1e-9;
        if (host->pod_said || host->nameless_ns == 0 || seconds < after)
            continue;
        host->pod_said = true;
        mu_warn("%s: its name has not been found for %.0f s: its pod may be waiting for a node, or may have "
                "ended for "
                "good (Succeeded, Failed, Evicted), and then the operator makes it again only when it is "
                "deleted: "
                "see kubectl get pod %.*s; if it has ended: kubectl delete pod %.*s",
                name, seconds, pod, name, pod, name);
    }
}

/* One group as one message: names, what was seen at the first ones, what to do. */
static void tell_group(const mu_ready_t *ready, const group_t *group, mu_status_t status)
{
    mu_buf_t text = MU_BUF_INIT;
    int details = 0;
    mu_buf_addf(&text, "  %s: ", mu_reason_text(group->reason));
    add_names(ready, group, NAMES_AT_END, &text);
    for (int i = 0; i < ready->hosts->count && details < 4; i++) {
        const mu_ready_state_t *host = &ready->host[i];
        if (host->phase == MU_READY_PHASE_READY || host->reason != group->reason || host->detail.len == 0)
            continue;
        mu_buf_addf(&text, "\n      %s: %s", ready->hosts->host[i].name, host->detail.data);
        details++;
    }
    if (fixes[group->reason])
        mu_buf_addf(&text, "\n      fix: %s", fixes[group->reason]);
    mu_log(status == MU_OK ? MU_LOG_WARN : MU_LOG_ERROR, "%s", text.data);
    mu_buf_release(&text);
}

void mu_ready_verdict(mu_ready_t *ready, mu_status_t status, int64_t now)
{
    mu_ready_sum_t sum = mu_ready_sum(ready);
    group_t groups[MU_REASON_COUNT];
    int count = ready->hosts->count, n = group_by_reason(ready, groups);
    double seconds = (double)(now - ready->begin_ns) * 1e-9;
    if (status == MU_STOPPED || ready->options.quiet)
        return;
    if (status == MU_OK && n == 0) {
        if (count == 1 && ready->host[0].local)
            mu_info("this machine alone: no ssh, nothing to wait for");
        else
            mu_info("all %d host%s ready after %.1f s", count, count == 1 ? "" : "s", seconds);
        return;
    }
    if (status == MU_OK)
        mu_warn("going on with %d of %d hosts (min_hosts %d) after %.1f s; not ready:", sum.ready, count,
                ready->min_hosts, seconds);
    else
        mu_error("%d of %d hosts are not ready after %.1f s (exit %d: %s)", count - sum.ready, count, seconds,
                 mu_status_exit(status), mu_status_text(status));
    for (int g = 0; g < n; g++)
        tell_group(ready, &groups[g], status);
}
