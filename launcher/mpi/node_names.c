#include "launcher/mpi/node_names.h"
#include "common/buf.h"
#include "common/log.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

bool mu_node_name_fits(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > 253 || !isalnum((unsigned char)name[0]) || !isalnum((unsigned char)name[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '.')
            return false;
    return true;
}

static bool is_ipv4(const char *name)
{
    return name[strspn(name, "0123456789.")] == '\0';
}

/* What Open MPI compares of a name: up to the first dot, but the whole of an address. */
static size_t compared(const char *name)
{
    return is_ipv4(name) ? strlen(name) : strcspn(name, ".");
}

static bool is_same(const char *a, const char *b)
{
    size_t n = compared(a), m = compared(b);
    return n == m && strncasecmp(a, b, n) == 0;
}

static bool is_used(const mu_node_t *nodes, int count, const char *own, const char *name)
{
    if (is_same(name, own))
        return true;
    for (int i = 0; i < count; i++)
        if (*nodes[i].name && is_same(name, nodes[i].name))
            return true;
    return false;
}

/* "job-0.ml.svc" becomes "job-0", "o_ne" becomes "o-ne", "fd00::7" becomes "ip6-fd00--7"; a number follows when that is
 * used already. */
static void rename_node(mu_node_t *nodes, int count, int which, const char *own)
{
    const char *host = nodes[which].host;
    char base[200] = "", name[256];
    size_t n = 0, end = strchr(host, ':') ? strlen(host) : compared(host);
    if (strchr(host, ':'))
        n = (size_t)snprintf(base, sizeof base, "ip6-");
    for (size_t i = 0; i < end && n < sizeof base - 1; i++)
        if (isalnum((unsigned char)host[i]) || n > 0)
            base[n++] = isalnum((unsigned char)host[i]) ? host[i] : '-';
    while (n > 0 && base[n - 1] == '-')
        n--;
    snprintf(name, sizeof name, "%.*s", n > 0 ? (int)n : 4, n > 0 ? base : "host");
    for (int k = 2; is_used(nodes, count, own, name); k++)
        snprintf(name, sizeof name, "%.*s-%d", n > 0 ? (int)n : 4, n > 0 ? base : "host", k);
    memcpy(nodes[which].name, name, sizeof nodes[which].name);
}

static mu_status_t check_own(const char *own)
{
    if (mu_node_name_fits(own))
        return MU_OK;
    return mu_fail(
        MU_CONFIG,
        "this machine's host name is '%s': Open MPI 4 takes letters, digits, '-' and '.' only, and "
        "cannot start a run over several hosts from here: rename the machine (hostnamectl), or "
        "start the run on another",
        own);
}

/* Without our agent a host is reached by the name that Open MPI has. */
static mu_status_t keep_names(mu_node_t *nodes, int count, const char *own)
{
    for (int i = 0; i < count; i++) {
        const char *name = nodes[i].here ? own : nodes[i].host;
        if (!mu_node_name_fits(name))
            return mu_fail(MU_CONFIG,
                           "host %s: Open MPI 4 takes letters, digits, '-' and '.' only, and your plm or "
                           "plm_rsh_agent starts its daemons: name the host otherwise, or leave that "
                           "parameter out",
                           name);
        snprintf(nodes[i].name, sizeof nodes[i].name, "%s", name);
    }
    return MU_OK;
}

mu_status_t mu_node_names(mu_node_t *nodes, int count, const char *own, bool agent)
{
    MU_TRY(check_own(own));
    if (!agent)
        return keep_names(nodes, count, own);
    for (int i = 0; i < count; i++)
        nodes[i].name[0] = '\0';
    for (int i = 0; i < count; i++) {
        const char *host = nodes[i].host;
        bool plain = mu_node_name_fits(host) && (is_ipv4(host) || !strchr(host, '.'));
        if (nodes[i].here)
            snprintf(nodes[i].name, sizeof nodes[i].name, "%.*s", (int)compared(own), own);
        else if (plain && !is_used(nodes, count, own, host))
            snprintf(nodes[i].name, sizeof nodes[i].name, "%s", host);
    }
    for (int i = 0; i < count; i++)
        if (!*nodes[i].name)
            rename_node(nodes, count, i, own);
    return MU_OK;
}
