#include "worker/fabric/transport.h"
#include "common/buf.h"
#include "common/num.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>

/* Adds a name to a list separated by commas; one that does not fit is left out. */
static void add_name(char *out, size_t size, const char *name)
{
    size_t have = strlen(out), need = strlen(name);
    if (have + (have > 0) + need >= size)
        return;
    if (have > 0)
        out[have++] = ',';
    memcpy(out + have, name, need + 1);
}

/* --- interfaces --- */

static bool in_network(const struct ifaddrs *i, const char *network)
{
    char text[INET_ADDRSTRLEN];
    int64_t bits;
    struct in_addr base;
    const char *slash = strchr(network, '/');
    if (!slash || slash - network >= (ptrdiff_t)sizeof text || !i->ifa_addr ||
        i->ifa_addr->sa_family != AF_INET)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)(slash - network), network);
    if (!mu_parse_i64(slash + 1, &bits) || bits < 0 || bits > 32 || inet_pton(AF_INET, text, &base) != 1)
        return false;
    struct sockaddr_in own;
    memcpy(&own, i->ifa_addr, sizeof own);
    uint32_t mask = bits == 0 ? 0 : UINT32_MAX << (32 - bits);
    return ((ntohl(own.sin_addr.s_addr) ^ ntohl(base.s_addr)) & mask) == 0;
}

static bool wanted(const struct ifaddrs *i, const char *include)
{
    bool yes = false;
    char *list = mu_strdup(include), *rest = list;
    for (char *word; !yes && (word = strsep(&rest, ",")) != NULL;)
        yes = strcmp(word, i->ifa_name) == 0 || in_network(i, word);
    free(list);
    return yes;
}

static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = list; (at = strstr(at, name)) != NULL; at += n)
        if ((at == list || at[-1] == ',' || at[-1] == '=') && (at[n] == ',' || at[n] == '\0'))
            return true;
    return false;
}

void mu_transport_interfaces(const char *include, char *out, size_t size)
{
    struct ifaddrs *all;
    char names[512] = "";
    out[0] = '\0';
    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next)
        if ((i->ifa_flags & IFF_UP) && wanted(i, include) && !listed(names, i->ifa_name))
            add_name(names, sizeof names, i->ifa_name);
    freeifaddrs(all);
    if (names[0])
        snprintf(out, size, "=%s", names);
}

/* --- the log --- */

static void take_line(const char *line, mu_transport_seen_t *seen)
{
    const char *via = strstr(line, " via ");
    if (!via || !strstr(line, "Channel "))
        return;
    via += strlen(" via ");
    if (strncmp(via, "P2P", 3) == 0) {
        seen->peer++;
    } else if (strncmp(via, "SHM", 3) == 0) {
        seen->shared++;
    } else if (strncmp(via, "NET/Socket", 10) == 0) {
        seen->tcp++;
    } else if (strncmp(via, "NET/", 4) == 0) {
        seen->rdma++;
        seen->gpu_direct = seen->gpu_direct || strstr(via, "GDRDMA");
    }
}

void mu_transport_read(const char *log, mu_transport_seen_t *out)
{
    char line[1024];
    *out = (mu_transport_seen_t){0};
    FILE *file = fopen(log, "re");
    if (!file)
        return;
    while (fgets(line, sizeof line, file))
        take_line(line, out);
    fclose(file);
}

void mu_transport_words(const mu_transport_seen_t *seen, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s%s%s%s", seen->peer ? "P2P" : "", seen->peer && seen->shared ? ", " : "",
             seen->shared ? "SHM" : "", (seen->peer || seen->shared) && (seen->rdma || seen->tcp) ? ", " : "",
             seen->rdma ? (seen->gpu_direct ? "RDMA with GPUDirect" : "RDMA") : "",
             seen->tcp ? (seen->rdma ? ", TCP" : "TCP") : "");
}
