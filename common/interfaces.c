#include "common/interfaces.h"
#include "common/num.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdint.h>

static const uint8_t *bytes_of(const struct sockaddr *sa)
{
    return sa->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)sa)->sin6_addr.s6_addr
                                     : (const uint8_t *)&((const struct sockaddr_in *)sa)->sin_addr;
}

static bool counts(const struct ifaddrs *i)
{
    if (!i->ifa_addr || !(i->ifa_flags & IFF_UP))
        return false;
    if (i->ifa_addr->sa_family == AF_INET6)
        return !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)i->ifa_addr)->sin6_addr);
    return i->ifa_addr->sa_family == AF_INET;
}

typedef struct network {
    int family, bits;
    uint8_t address[16];
} network_t;

/* "10.1.0.0/16" */
static bool parse_network(const char *word, network_t *out)
{
    char address[MU_ADDRESS_TEXT];
    const char *slash = strchr(word, '/');
    int64_t bits;
    if (!slash || (size_t)(slash - word) >= sizeof address || !mu_parse_i64(slash + 1, &bits))
        return false;
    snprintf(address, sizeof address, "%.*s", (int)(slash - word), word);
    out->family = strchr(address, ':') ? AF_INET6 : AF_INET;
    out->bits = (int)bits;
    return inet_pton(out->family, address, out->address) == 1 && bits >= 0 &&
           bits <= (out->family == AF_INET6 ? 128 : 32);
}

static bool is_inside(const struct sockaddr *sa, const network_t *network)
{
    if (sa->sa_family != network->family)
        return false;
    const uint8_t *address = bytes_of(sa);
    int whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(address, network->address, (size_t)whole) != 0)
        return false;
    return rest == 0 || ((address[whole] ^ network->address[whole]) >> (8 - rest)) == 0;
}

static bool is_named(const struct ifaddrs *i, const char *word)
{
    size_t n = strcspn(word, "@");
    bool any = n == 1 && *word == '*' && !(i->ifa_flags & IFF_LOOPBACK);
    if (!any && (strlen(i->ifa_name) != n || memcmp(i->ifa_name, word, n) != 0))
        return false;
    return word[n] == '\0' || (i->ifa_addr->sa_family == AF_INET6) == (word[n + 1] == '6');
}

static const struct ifaddrs *find(const struct ifaddrs *list, const char *word)
{
    network_t network;
    const struct ifaddrs *six = NULL;
    bool is_network = parse_network(word, &network);
    for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
        if (!counts(i) || !(is_network ? is_inside(i->ifa_addr, &network) : is_named(i, word)))
            continue;
        if (i->ifa_addr->sa_family == AF_INET)
            return i;
        six = six ? six : i;
    }
    return six;
}

static void write_address(const struct ifaddrs *i, char out[MU_ADDRESS_TEXT])
{
    inet_ntop(i->ifa_addr->sa_family, bytes_of(i->ifa_addr), out, MU_ADDRESS_TEXT);
}

bool mu_interface_address(const char *words, char out[MU_ADDRESS_TEXT], mu_buf_t *have)
{
    struct ifaddrs *list = NULL;
    const struct ifaddrs *found = NULL;
    char word[MU_ADDRESS_TEXT];
    mu_buf_clear(have);
    if (getifaddrs(&list) != 0)
        list = NULL;
    while (*words && !found) {
        size_t n = strcspn(words, ",");
        if (n < sizeof word) {
            snprintf(word, sizeof word, "%.*s", (int)n, words);
            found = find(list, word);
        }
        words += n + (words[n] == ',');
    }
    if (found)
        write_address(found, out);
    for (const struct ifaddrs *i = list; i && !found; i = i->ifa_next)
        if (counts(i) && !(i->ifa_flags & IFF_LOOPBACK)) {
            write_address(i, word);
            mu_buf_addf(have, "%s%s %s", have->len ? ", " : "", i->ifa_name, word);
        }
    if (list)
        freeifaddrs(list);
    return found != NULL;
}
