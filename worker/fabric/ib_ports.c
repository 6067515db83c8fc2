#include "worker/fabric/ib_ports.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/num.h"
#include "worker/fabric/sysfs.h"

enum { GIDS = 256 };

#define IPV4_MAPPED "0000:0000:0000:0000:0000:ffff:"
#define NO_GID      "0000:0000:0000:0000:0000:0000:0000:0000"

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* The GID at an index; false after the end of the table. */
static bool read_gid(const char *dir, int index, char gid[40], char type[32])
{
    char name[32];
    snprintf(name, sizeof name, "gids/%d", index);
    mu_sysfs_line(dir, name, gid, 40);
    snprintf(name, sizeof name, "gid_attrs/types/%d", index);
    type[0] = '\0';
    if (gid[0] != '\0' && strcmp(gid, NO_GID) != 0)
        mu_sysfs_line(dir, name, type, 32);
    return gid[0] != '\0';
}

static void find_gid(const char *dir, mu_ib_port_t *port)
{
    char gid[40], type[32];
    port->gid_index = -1;
    if (!port->roce) {
        if (read_gid(dir, 0, gid, type)) {
            memcpy(port->gid, gid, sizeof gid);
            port->gid_index = 0;
        }
        return;
    }
    for (int i = 0; i < GIDS && read_gid(dir, i, gid, type); i++) {
        bool ipv4 = begins(gid, IPV4_MAPPED);
        if (!begins(type, "RoCE v2") || begins(gid, "fe8") || (!ipv4 && port->gid_index >= 0))
            continue;
        memcpy(port->gid, gid, sizeof gid);
        port->gid_index = i;
        if (ipv4)
            return;
    }
}

static void read_port(const char *dir, mu_ib_port_t *port)
{
    char state[64];
    mu_sysfs_line(dir, "state", state, sizeof state); /* "4: ACTIVE" */
    const char *word = strchr(state, ' ');
    snprintf(port->state, sizeof port->state, "%.31s", word ? word + 1 : state);
    mu_sysfs_line(dir, "rate", port->rate, sizeof port->rate);
    mu_sysfs_line(dir, "link_layer", port->link, sizeof port->link);
    port->gbps = strtod(port->rate, NULL);
    port->active = strcmp(port->state, "ACTIVE") == 0;
    port->roce = strcmp(port->link, "Ethernet") == 0;
    if (!port->roce)
        mu_sysfs_line(dir, "lid", port->lid, sizeof port->lid);
    find_gid(dir, port);
}

static int read_device(const char *root, const char *device, mu_ib_port_t *port, int room)
{
    struct dirent **list;
    char *dir = mu_format("%s/%s/ports", root, device);
    int found = 0, n = scandir(dir, &list, mu_sysfs_visible, alphasort);
    for (int i = 0; i < n; i++) {
        int64_t number;
        char *below = mu_path_join(dir, list[i]->d_name);
        if (found < room && strlen(device) < sizeof port->device && mu_parse_i64(list[i]->d_name, &number) &&
            number > 0 && number < 256) {
            mu_ib_port_t *p = &port[found++];
            *p = (mu_ib_port_t){.number = (int)number};
            snprintf(p->device, sizeof p->device, "%s", device);
            read_port(below, p);
        }
        free(below);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    free(dir);
    return found;
}

int mu_ib_ports_read(const char *sys, mu_ib_port_t port[MU_PORTS])
{
    struct dirent **list;
    char *root = mu_path_join(sys, "class/infiniband");
    int found = 0, n = scandir(root, &list, mu_sysfs_visible, alphasort);
    for (int i = 0; i < n; i++) {
        found += read_device(root, list[i]->d_name, port + found, MU_PORTS - found);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    free(root);
    return found;
}

/* --- the choice --- */

static bool word_names(const char *word, bool exact, const mu_ib_port_t *port)
{
    size_t n = strcspn(word, ":");
    int64_t number;
    bool any_port = word[n] == '\0';
    if (!any_port && (!mu_parse_i64(word + n + 1, &number) || number != port->number))
        return false;
    return strncmp(word, port->device, n) == 0 && (!exact || port->device[n] == '\0');
}

static bool named_by(const char *hca, const mu_ib_port_t *port)
{
    bool others = hca[0] == '^', named = false;
    const char *words = hca + others;
    bool exact = words[0] == '=';
    char *copy = mu_strdup(words + exact), *rest = copy;
    for (char *word; (word = strsep(&rest, ",")) != NULL;)
        named = named || (*word && word_names(word, exact, port));
    free(copy);
    return named != others;
}

static double sum_of(const mu_ib_port_t *port, int n, const char *link)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (port[i].active && strcmp(port[i].link, link) == 0)
            sum += port[i].gbps;
    return sum;
}

static const char *best_link(const mu_ib_port_t *port, int n)
{
    const char *best = "InfiniBand";
    for (int i = 0; i < n; i++)
        if (port[i].active && sum_of(port, n, port[i].link) > sum_of(port, n, best))
            best = port[i].link;
    return best;
}

void mu_ports_choose(mu_ib_port_t *port, int n, const char *hca)
{
    const char *link = best_link(port, n);
    double fastest = 0;
    bool addressed = false;
    for (int i = 0; i < n; i++)
        port[i].used =
            port[i].active && (hca && *hca ? named_by(hca, &port[i]) : strcmp(port[i].link, link) == 0);
    if (hca && *hca)
        return;
    for (int i = 0; i < n; i++)
        if (port[i].used && port[i].gbps > fastest)
            fastest = port[i].gbps;
    for (int i = 0; i < n; i++) {
        port[i].used = port[i].used && port[i].gbps >= fastest / 2;
        addressed = addressed || (port[i].used && port[i].gid_index >= 0);
    }
    for (int i = 0; i < n && addressed; i++)
        port[i].used = port[i].used && (!port[i].roce || port[i].gid_index >= 0);
}

void mu_ib_ports_hca(const mu_ib_port_t *port, int n, char *out, size_t size)
{
    size_t have = 0;
    out[0] = '\0';
    for (int i = 0; i < n; i++) {
        char name[80];
        if (!port[i].used)
            continue;
        int need = snprintf(name, sizeof name, "%s%s:%d", have ? "," : "", port[i].device, port[i].number);
        if (have + (size_t)need >= size)
            return;
        memcpy(out + have, name, (size_t)need + 1);
        have += (size_t)need;
    }
}

bool mu_ib_ports_gid_index(const mu_ib_port_t *port, int n, int *out)
{
    int index = -1;
    for (int i = 0; i < n; i++) {
        if (!port[i].used)
            continue;
        if (!port[i].roce || port[i].gid_index < 0 || (index >= 0 && port[i].gid_index != index))
            return false;
        index = port[i].gid_index;
    }
    if (index >= 0)
        *out = index;
    return index >= 0;
}

void mu_ib_ports_tell(const char *sys, char *out, size_t size)
{
    static const char *const rules[] = {"NCCL_IB_ADDR_FAMILY", "NCCL_IB_ADDR_RANGE",
                                        "NCCL_IB_ROCE_VERSION_NUM"};
    mu_ib_port_t port[MU_PORTS];
    int index, n = mu_ib_ports_read(sys, port);
    bool ruled = false;
    mu_ports_choose(port, n, getenv("NCCL_IB_HCA"));
    mu_ib_ports_hca(port, n, out, size);
    char *exact = mu_format("=%s", out);
    if (out[0])
        setenv("NCCL_IB_HCA", exact, 0);
    free(exact);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        ruled = ruled || getenv(rules[i]);
    if (!ruled && mu_ib_ports_gid_index(port, n, &index)) {
        char *text = mu_format("%d", index);
        setenv("NCCL_IB_GID_INDEX", text, 0);
        free(text);
    }
}
