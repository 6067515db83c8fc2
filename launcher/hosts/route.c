#include "launcher/hosts/route.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <strings.h>
#include <unistd.h>

enum { ANY_PORT = 22 };

static const void *address_bytes(const struct sockaddr *sa, size_t *n)
{
    *n = sa->sa_family == AF_INET6 ? 16 : 4;
    return sa->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr
                                     : (const void *)&((const struct sockaddr_in *)sa)->sin_addr;
}

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    size_t n, m;
    const void *x = address_bytes(a, &n), *y = address_bytes(b, &m);
    return a->sa_family == b->sa_family && memcmp(x, y, n) == 0;
}

/* Debian gives the own full name 127.0.1.1, which is on no interface. */
static bool is_loopback(const struct sockaddr *a)
{
    size_t n;
    const uint8_t *byte = address_bytes(a, &n);
    return n == 4 && byte[0] == 127;
}

/* Our address towards `to`: a datagram socket is connected, which sends nothing. */
static bool source_of(const struct addrinfo *to, struct sockaddr_storage *out)
{
    int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *out;
    bool ok = fd >= 0 && connect(fd, to->ai_addr, to->ai_addrlen) == 0 &&
              getsockname(fd, (struct sockaddr *)out, &size) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static void name_network(const struct ifaddrs *i, const struct sockaddr *to, char *out, size_t size)
{
    size_t n, m;
    const uint8_t *address = address_bytes(i->ifa_addr, &n), *other = address_bytes(to, &m);
    const uint8_t *mask = i->ifa_netmask ? address_bytes(i->ifa_netmask, &n) : NULL;
    int bits = 0;
    bool inside = n == m;
    uint8_t net[16];
    for (size_t k = 0; k < n; k++) {
        net[k] = (uint8_t)(address[k] & (mask ? mask[k] : 0xff));
        bits += mask ? __builtin_popcount(mask[k]) : 8;
        inside = inside && net[k] == (other[k] & (mask ? mask[k] : 0xff));
    }
    char text[INET6_ADDRSTRLEN];
    if (n == 4 && inside && bits < 31 && inet_ntop(AF_INET, net, text, sizeof text))
        snprintf(out, size, "%s/%d", text, bits);
    else
        snprintf(out, size, "%s", i->ifa_name);
}

static void find_interface(const struct sockaddr *ours, const struct sockaddr *to, mu_route_t *route)
{
    struct ifaddrs *list;
    if (getifaddrs(&list) != 0)
        return;
    for (const struct ifaddrs *i = list; i; i = i->ifa_next)
        if (i->ifa_addr && (i->ifa_addr->sa_family == AF_INET || i->ifa_addr->sa_family == AF_INET6) &&
            same_address(i->ifa_addr, ours)) {
            name_network(i, to, route->interfaces, sizeof route->interfaces);
            snprintf(route->name, sizeof route->name, "%s", i->ifa_name);
            break;
        }
    freeifaddrs(list);
}

bool mu_route_find(const char *host, mu_route_t *out, const char **why)
{
    mu_route_t route = {0};
    char self[256] = "";
    gethostname(self, sizeof self - 1);
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found = NULL;
    if (strcasecmp(host, "localhost") == 0 || strcasecmp(host, self) == 0) {
        route.here = true;
        snprintf(route.address, sizeof route.address, "127.0.0.1");
        snprintf(route.interfaces, sizeof route.interfaces, "lo");
        snprintf(route.name, sizeof route.name, "lo");
        *out = route;
        return true;
    }
    char port[8];
    snprintf(port, sizeof port, "%d", ANY_PORT);
    int e = getaddrinfo(host, port, &want, &found);
    if (e != 0) {
        *why = gai_strerror(e);
        return false;
    }
    bool reached = false;
    for (const struct addrinfo *i = found; i && !reached; i = i->ai_next) {
        struct sockaddr_storage ours;
        if (!source_of(i, &ours))
            continue;
        reached = true;
        /* the kernel talks to an address of its own from that very address */
        route.here = same_address(i->ai_addr, (const struct sockaddr *)&ours) || is_loopback(i->ai_addr);
        size_t n;
        inet_ntop(ours.ss_family, address_bytes((const struct sockaddr *)&ours, &n), route.address,
                  sizeof route.address);
        find_interface((const struct sockaddr *)&ours, i->ai_addr, &route);
    }
    freeaddrinfo(found);
    if (reached)
        *out = route;
    else
        *why = "no route from this host";
    return reached;
}

mu_status_t mu_route_to(const char *host, mu_route_t *out)
{
    const char *why;
    return mu_route_find(host, out, &why) ? MU_OK : mu_fail(MU_UNREADY, "%s: %s", host, why);
}

void mu_route_add(mu_route_t *route, const mu_route_t *other)
{
    if (strcmp(route->interfaces, other->interfaces) != 0)
        snprintf(route->interfaces, sizeof route->interfaces, "%s", route->name);
}
