#include "launcher/preflight/preflight_mesh.h"
#include "launcher/mpi/mpirun.h"
#include "launcher/ready/ready_internal.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/control/probe_words.h"

#include <poll.h>

#define SECONDS      5.0 /* for a host to reach the others: three tries of TCP */
#define GRACE_NS     3000000000
#define PEERS_OF_BIG 64

/* ---- who takes part ---- */

static int add_peer(int n, int self, int64_t at, int *peer, int count)
{
    int p = (int)(((at % n) + n) % n);
    if (p == self)
        return count;
    for (int i = 0; i < count; i++)
        if (peer[i] == p)
            return count;
    peer[count] = p;
    return count + 1;
}

static uint64_t mix(uint64_t x) /* splitmix64's */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

int mu_preflight_mesh_peers(int n, int i, int peer[MU_MESH_PEERS])
{
    int count = 0;
    if (n <= MU_MESH_ALL) {
        for (int k = 1; k < n;
             k++) /* each begins with its neighbour, so that nobody is dialed by all at once */
            count = add_peer(n, i, i + k, peer, count);
        return count;
    }
    for (int64_t step = 1; step < n; step *= 2) {
        count = add_peer(n, i, i + step, peer, count);
        count = add_peer(n, i, i - step, peer, count);
    }
    for (uint64_t k = 0; count < PEERS_OF_BIG; k++)
        count = add_peer(n, i, (int64_t)(mix((uint64_t)i << 32 | k) % (uint64_t)n), peer, count);
    return count;
}

static bool is_ready(const mu_ready_t *ready, int i)
{
    return ready->host[i].phase == MU_READY_PHASE_READY;
}

/* The way to the hosts elsewhere, which is what mpirun will get. Behind a ProxyJump only a name is known, and maybe
 * not here; one that is not found is enough, since looking up takes time. */
static void find_route(mu_preflight_mesh_t *mesh)
{
    mesh->family = -1;
    const mu_ready_t *ready = mesh->ready;
    mu_route_t *all = &mesh->route, route;
    bool unknown = false;
    for (int i = 0; i < ready->hosts->count; i++) {
        const char *address = ready->host[i].address, *why;
        if (!is_ready(ready, i) || ready->host[i].local || (unknown && !*address))
            continue;
        int family = !*address ? 0 : strchr(address, ':') ? 6 : 4;
        mesh->family = mesh->family < 0 || mesh->family == family ? family : 0;
        if (!mu_route_find(*address ? address : ready->hosts->host[i].name, &route, &why))
            unknown = unknown || !*address;
        else if (!route.here && *all->address)
            mu_route_add(all, &route);
        else if (!route.here)
            *all = route;
    }
}

static bool find_network(mu_preflight_mesh_t *mesh, const mu_settings_t *settings)
{
    char ours[80];
    find_route(mesh);
    /* of an interface's addresses those of the family that works; a network is of one */
    snprintf(ours, sizeof ours, "%s", *mesh->route.interfaces ? mesh->route.interfaces : "*");
    if (mesh->family > 0 && !strchr(ours, '/'))
        snprintf(ours + strlen(ours), 3, "%s", mesh->family == 4 ? "@4" : "@6");
    mu_rank_net_t net = mu_mpirun_rank_net(settings, ours);
    if (!net.tcp) {
        mu_info(
            "OMPI_MCA_pml or OMPI_MCA_btl choose another transport than TCP, or OMPI_MCA_btl_tcp_if_exclude "
            "its interfaces: whether hosts reach each other is not checked");
        return false;
    }
    snprintf(mesh->interfaces, sizeof mesh->interfaces, "%s", net.interfaces);
    mesh->port = net.port;
    mesh->ports = net.ports;
    return true;
}

static mu_mesh_member_t *join(mu_preflight_mesh_t *mesh, int host)
{
    mu_mesh_member_t *member = &mesh->member[mesh->members++];
    *member = (mu_mesh_member_t){.host = host};
    return member;
}

/* Where a host listens that has no address in MPI's network: at the one that it is known by, or at any. */
static char *instead_of(const char *address)
{
    return mu_format("%s%s*", address, !*address ? "" : strchr(address, ':') ? "/128," : "/32,");
}

static void join_here(mu_preflight_mesh_t *mesh, int host)
{
    mu_mesh_member_t *member = join(mesh, host);
    mu_buf_t why = MU_BUF_INIT;
    char *instead = instead_of(mesh->route.address);
    member->listens =
        mu_mesh_new(mesh->interfaces, instead, mesh->port, mesh->ports, mesh->token, &why, &mesh->here);
    free(instead);
    if (member->listens)
        member->self = mu_mesh_self(mesh->here);
    if (why.len)
        *(member->listens ? &member->instead : &member->missing) = mu_buf_detach(&why);
    mu_buf_release(&why);
}

mu_preflight_mesh_t *mu_preflight_mesh_new(mu_ready_t *ready, const mu_preflight_want_t *want,
                                           const char *token)
{
    int n = ready->hosts->count, elsewhere = 0, local = -1;
    for (int i = n - 1; i >= 0; i--) {
        elsewhere += is_ready(ready, i) && !ready->host[i].local;
        if (is_ready(ready, i) && ready->host[i].local)
            local = i;
    }
    bool here = local >= 0 || want->controller_here;
    if (elsewhere + here < 2)
        return NULL;
    mu_preflight_mesh_t *mesh = mu_calloc(1, sizeof *mesh);
    mesh->ready = ready;
    mesh->member = mu_calloc((size_t)n + 1, sizeof *mesh->member);
    snprintf(mesh->token, sizeof mesh->token, "%s", token);
    if (!find_network(mesh, want->settings)) {
        mu_preflight_mesh_free(mesh);
        return NULL;
    }
    if (here)
        join_here(mesh, local);
    for (int i = 0; i < n; i++)
        if (is_ready(ready, i) && !ready->host[i].local)
            join(mesh, i);
    return mesh;
}

/* ---- what is asked ---- */

json_t *mu_preflight_mesh_ask(const mu_preflight_mesh_t *mesh, int i)
{
    char *instead = instead_of(mesh->ready->host[i].address);
    json_t *ask = json_pack("{s:s, s:s, s:i, s:i, s:s}", "interfaces", mesh->interfaces, "instead", instead,
                            "port", mesh->port, "ports", mesh->ports, "token", mesh->token);
    free(instead);
    return ask;
}

static mu_login_t *login_of(const mu_preflight_mesh_t *mesh, const mu_mesh_member_t *member)
{
    return &mesh->ready->host[member->host].login;
}

static bool is_here(const mu_preflight_mesh_t *mesh, const mu_mesh_member_t *member)
{
    return member->host < 0 || mesh->ready->host[member->host].local;
}

static void choose_peers(mu_preflight_mesh_t *mesh, int i)
{
    mu_mesh_member_t *member = &mesh->member[i];
    int all[MU_MESH_PEERS], n = mu_preflight_mesh_peers(mesh->members, i, all);
    for (int k = 0; k < n; k++)
        if (mesh->member[all[k]].listens)
            member->peer[member->peers++] = all[k];
}

static bool ask_to_dial(const mu_preflight_mesh_t *mesh, const mu_mesh_member_t *member)
{
    json_t *to = json_array();
    for (int k = 0; k < member->peers; k++) {
        const mu_mesh_peer_t *peer = &mesh->member[member->peer[k]].self;
        json_array_append_new(to, json_pack("[s, i]", peer->address, peer->port));
    }
    json_t *line = json_pack("{s:f, s:o}", "seconds", SECONDS, "to", to);
    char *text = json_dumps(line, JSON_COMPACT);
    char *whole = mu_format(MU_PROBE_MESH "%s\n", text);
    bool written = mu_login_write(login_of(mesh, member), whole, strlen(whole));
    free(whole);
    free(text);
    json_decref(line);
    return written;
}

static void dial_from_here(mu_preflight_mesh_t *mesh)
{
    const mu_mesh_member_t *member = &mesh->member[0];
    mu_mesh_peer_t peer[MU_MESH_PEERS];
    for (int k = 0; k < member->peers; k++)
        peer[k] = mesh->member[member->peer[k]].self;
    mu_mesh_dial(mesh->here, peer, member->peers, mu_now_ns() + (int64_t)(SECONDS * 1e9));
}

/* ---- what is answered ---- */

static void miss(mu_mesh_member_t *member, const char *why)
{
    if (!member->missing)
        member->missing = mu_strdup(why);
}

void mu_preflight_mesh_receive_place(mu_mesh_member_t *member, const json_t *facts)
{
    const json_t *place = json_object_get(facts, "mesh");
    const char *state = json_string_value(json_object_get(place, "state"));
    const char *detail = json_string_value(json_object_get(place, "detail"));
    const char *address = json_string_value(json_object_get(place, "address"));
    json_int_t port = json_integer_value(json_object_get(place, "port"));
    bool ok = state && strcmp(state, "ok") == 0;
    if (ok && address && *address && strlen(address) < sizeof member->self.address &&
        strspn(address, "0123456789abcdefABCDEF.:") == strlen(address) && port >= 1 && port <= 65535) {
        snprintf(member->self.address, sizeof member->self.address, "%s", address);
        member->self.port = (int)port;
        member->listens = true;
        const char *instead = json_string_value(json_object_get(place, "instead"));
        member->instead = instead ? mu_strdup(instead) : NULL;
    } else {
        miss(member, !facts ? "gave no facts" : !ok && detail ? detail : "does not say where it listens");
    }
}

void mu_preflight_mesh_receive_seen(mu_mesh_member_t *member, const json_t *answer)
{
    const json_t *seen = json_object_get(answer, "seen");
    mu_mesh_result_t result[MU_MESH_PEERS];
    bool ok = json_is_array(seen) && json_array_size(seen) == (size_t)member->peers;
    for (int k = 0; ok && k < member->peers; k++)
        ok = mu_mesh_of_word(json_string_value(json_array_get(seen, (size_t)k)), &result[k]);
    if (!ok) {
        miss(member, "does not say whom it reached");
        return;
    }
    memcpy(member->result, result, sizeof result[0] * (size_t)member->peers);
    member->reported = true;
}

static void hear_member(mu_preflight_mesh_t *mesh, mu_mesh_member_t *member)
{
    mu_login_t *login = login_of(mesh, member);
    mu_buf_t line = MU_BUF_INIT;
    mu_login_read(login);
    if (mu_login_line(login, MU_PROBE_MESH, &line)) {
        json_t *answer = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
        mu_preflight_mesh_receive_seen(member, answer);
        json_decref(answer);
    } else if (login->ended) {
        miss(member, "its login ended");
    }
    mu_buf_release(&line);
}

static void hear_here(mu_preflight_mesh_t *mesh)
{
    mu_mesh_member_t *member = &mesh->member[0];
    if (!mu_mesh_done(mesh->here))
        return;
    for (int k = 0; k < member->peers; k++)
        member->result[k] = mu_mesh_result(mesh->here, k);
    member->reported = true;
}

static bool is_waited_for(const mu_mesh_member_t *member)
{
    return !member->reported && !member->missing;
}

static int waited_for(const mu_preflight_mesh_t *mesh)
{
    int n = 0;
    for (int i = 0; i < mesh->members; i++)
        n += is_waited_for(&mesh->member[i]);
    return n;
}

/* One turn of the loop; fds has room for a login of each member and for this machine. */
static void poll_once(mu_preflight_mesh_t *mesh, struct pollfd *fds)
{
    int n = mesh->members;
    for (int i = 0; i < n; i++) {
        const mu_mesh_member_t *member = &mesh->member[i];
        bool listen = is_waited_for(member) && !is_here(mesh, member);
        fds[i] = (struct pollfd){listen ? login_of(mesh, member)->out : -1, POLLIN, 0};
    }
    int more = mesh->here ? mu_mesh_gather(mesh->here, fds + n) : 0;
    if (poll(fds, (nfds_t)(n + more), 50) < 0)
        return; /* a signal: the stop flag is looked at next */
    if (mesh->here)
        mu_mesh_serve(mesh->here, fds + n);
    for (int i = 0; i < n; i++) {
        mu_mesh_member_t *member = &mesh->member[i];
        if (is_waited_for(member) && !is_here(mesh, member) &&
            (fds[i].revents || login_of(mesh, member)->out < 0)) /* closed: its end is to be seen yet */
            hear_member(mesh, member);
    }
    if (mesh->here && is_waited_for(&mesh->member[0]))
        hear_here(mesh);
}

static void add_facts(const mu_preflight_mesh_t *mesh, json_t *const *facts)
{
    for (int i = 0; i < mesh->members; i++) {
        const mu_mesh_member_t *member = &mesh->member[i];
        json_t *place = member->host < 0 ? NULL : json_object_get(facts[member->host], "mesh");
        if (!place || !member->reported)
            continue;
        json_t *lost = json_object();
        for (int k = 0; k < member->peers; k++) {
            int host = mesh->member[member->peer[k]].host;
            const char *name = host < 0 ? "this machine" : mesh->ready->hosts->host[host].name;
            if (member->result[k] != MU_MESH_OK)
                json_object_set_new(lost, name, json_string(mu_mesh_word(member->result[k])));
        }
        json_object_set_new(place, "cannot_reach", lost);
    }
}

static void begin(mu_preflight_mesh_t *mesh, json_t *const *facts)
{
    for (int i = 0; i < mesh->members; i++)
        if (!is_here(mesh, &mesh->member[i]))
            mu_preflight_mesh_receive_place(&mesh->member[i], facts[mesh->member[i].host]);
    for (int i = 0; i < mesh->members; i++) {
        mu_mesh_member_t *member = &mesh->member[i];
        if (!member->listens)
            continue;
        choose_peers(mesh, i);
        if (is_here(mesh, member))
            dial_from_here(mesh);
        else if (!ask_to_dial(mesh, member))
            miss(member, "cannot be asked");
    }
}

mu_status_t mu_preflight_mesh_run(mu_preflight_mesh_t *mesh, json_t *const *facts,
                                  const volatile sig_atomic_t *stop)
{
    struct pollfd *fds = mu_calloc((size_t)mesh->members + MU_MESH_FDS, sizeof *fds);
    int64_t end_ns = mu_now_ns() + (int64_t)(SECONDS * 1e9) + GRACE_NS;
    mu_status_t status = MU_OK;
    begin(mesh, facts);
    while (status == MU_OK && waited_for(mesh) > 0 && mu_now_ns() < end_ns) {
        poll_once(mesh, fds);
        if (stop && *stop)
            status = mu_fail(MU_STOPPED, "stopped during preflight");
    }
    for (int i = 0; i < mesh->members; i++)
        if (is_waited_for(&mesh->member[i]))
            miss(&mesh->member[i], "does not say in time whom it reached");
    add_facts(mesh, facts);
    free(fds);
    return status;
}

void mu_preflight_mesh_free(mu_preflight_mesh_t *mesh)
{
    static const char end[] = MU_PROBE_MESH "{}\n";
    if (!mesh)
        return;
    for (int i = 0; i < mesh->members; i++) {
        const mu_mesh_member_t *member = &mesh->member[i];
        if (member->listens && !is_here(mesh, member))
            mu_login_write(login_of(mesh, member), end, strlen(end));
        free(member->missing);
        free(member->instead);
    }
    mu_mesh_free(mesh->here);
    free(mesh->member);
    free(mesh);
}
