/* Whom a broken connection is held against. A few hosts explain most broken pairs: the one with the most comes first,
 * then, without it, the next, until none is left. So a host behind a firewall is reported once, not by each other
 * host; and those that are not reported reach each other, and a run with muster.min_hosts can go on with them. */
#include "launcher/preflight/preflight_mesh.h"
#include "launcher/ready/ready_internal.h"

#define CHECK       "net.mesh"
#define NAMES_SHOWN 8

/* A broken connection, as seen from the member that it is held against. */
typedef struct broken {
    int other;
    mu_mesh_result_t result;
    bool in; /* the other dialed */
} broken_t;

typedef struct side {
    broken_t *broken;
    int count, room;
    int open; /* of them: whose other side is not held to be at fault yet */
    bool blamed;
} side_t;

static void add_broken(side_t *side, int other, mu_mesh_result_t result, bool in)
{
    if (side->count == side->room) {
        side->room = 2 * side->room + 8;
        side->broken = mu_realloc(side->broken, (size_t)side->room * sizeof *side->broken);
    }
    side->broken[side->count++] = (broken_t){other, result, in};
    side->open++;
}

static side_t *sides_of(const mu_preflight_mesh_t *mesh)
{
    side_t *side = mu_calloc((size_t)mesh->members, sizeof *side);
    for (int i = 0; i < mesh->members; i++) {
        const mu_mesh_member_t *m = &mesh->member[i];
        for (int k = 0; m->reported && k < m->peers; k++)
            if (m->result[k] != MU_MESH_OK) {
                add_broken(&side[i], m->peer[k], m->result[k], false);
                add_broken(&side[m->peer[k]], i, m->result[k], true);
            }
    }
    return side;
}

/* The member with most, -1 when none has any. Of equals the last: this machine, which cannot be replaced, comes first
 * in the list. */
static int worst_of(const side_t *side, int n)
{
    int worst = -1;
    for (int i = 0; i < n; i++)
        if (!side[i].blamed && side[i].open > 0 && (worst < 0 || side[i].open >= side[worst].open))
            worst = i;
    return worst;
}

static void blame(side_t *side, int i)
{
    side[i].blamed = true;
    for (int k = 0; k < side[i].count; k++)
        side[side[i].broken[k].other].open--;
}

/* ---- texts ---- */

typedef struct teller {
    const mu_preflight_mesh_t *mesh;
    const side_t *side;
    mu_buf_t *out;
} teller_t;

static bool has(const side_t *side, int other, mu_mesh_result_t result, bool in)
{
    for (int k = 0; k < side->count; k++)
        if (side->broken[k].other == other && side->broken[k].result == result && side->broken[k].in == in)
            return true;
    return false;
}

/* Whether the entry belongs to the phrase: the dialed (false, false), who dials (true, false), both ways (false, true).
 */
static bool belongs(const teller_t *t, const broken_t *b, mu_mesh_result_t result, bool in, bool both)
{
    return b->result == result && b->in == in && has(t->side, b->other, result, !in) == both;
}

/* "cannot reach h5, h6 (TCP 10.0.0.5:29500: timed out)" */
static void tell_phrase(teller_t *t, const char *words, mu_mesh_result_t result, bool in, bool both)
{
    const mu_preflight_mesh_t *mesh = t->mesh;
    const mu_mesh_member_t *first = NULL;
    int count = 0, shown = 0;
    for (int k = 0; k < t->side->count; k++)
        if (belongs(t, &t->side->broken[k], result, in, both)) {
            first = first ? first : &mesh->member[t->side->broken[k].other];
            count++;
        }
    if (count == 0)
        return;
    bool all = count > 1 && count == mesh->members - 1;
    mu_buf_addf(t->out, "%s%s %s", t->out->len ? "; " : "", words, all ? "any other host" : "");
    for (int k = 0; k < t->side->count && !all && shown < NAMES_SHOWN; k++)
        if (belongs(t, &t->side->broken[k], result, in, both)) {
            int host = mesh->member[t->side->broken[k].other].host;
            mu_buf_addf(t->out, "%s%s", shown++ ? ", " : "",
                        host < 0 ? "this machine" : mesh->ready->hosts->host[host].name);
        }
    if (!all && count > shown)
        mu_buf_addf(t->out, " and %d more", count - shown);
    if (all || in)
        mu_buf_addf(t->out, " (TCP, ports %d to %d: %s)", mesh->port, mesh->port + mesh->ports - 1,
                    mu_mesh_text(result));
    else
        mu_buf_addf(t->out, " (TCP %s:%d: %s)", first->self.address, first->self.port, mu_mesh_text(result));
}

/* What to do about the most frequent cause. */
static char *fix_of(const mu_preflight_mesh_t *mesh, const side_t *side)
{
    int times[MU_MESH_RESULTS] = {0}, most = 0;
    for (int k = 0; k < side->count; k++)
        times[side->broken[k].result]++;
    for (int i = 0; i < MU_MESH_RESULTS; i++)
        most = times[i] > times[most] ? i : most;
    switch ((mu_mesh_result_t)most) {
    case MU_MESH_REFUSED:
    case MU_MESH_TIMED_OUT:
        return mu_format(
            "let TCP ports %d to %d through between the hosts (firewall, security group, "
            "NetworkPolicy); or name the network that connects them: OMPI_MCA_btl_tcp_if_include "
            "(now %s)",
            mesh->port, mesh->port + mesh->ports - 1, mesh->interfaces);
    case MU_MESH_NO_ROUTE:
        return mu_format(
            "look at the routes (ip route get ADDRESS); or name the network that connects the hosts: "
            "OMPI_MCA_btl_tcp_if_include (now %s)",
            mesh->interfaces);
    case MU_MESH_STUCK:
        return mu_strdup(
            "set one MTU on all interfaces and switches between them (look with ping -M do -s 1472), or let "
            "ICMP's 'fragmentation needed' through");
    default:
        return mu_strdup("look at what takes connections on the way (a proxy, a service mesh's sidecar)");
    }
}

static void find_broken(const mu_preflight_mesh_t *mesh, const side_t *side, int host, mu_judge_t *judge)
{
    mu_buf_t found = MU_BUF_INIT;
    teller_t t = {mesh, side, &found};
    for (int r = MU_MESH_OK + 1; r < MU_MESH_RESULTS; r++) {
        tell_phrase(&t, "neither reaches nor is reached by", (mu_mesh_result_t)r, false, true);
        tell_phrase(&t, "cannot reach", (mu_mesh_result_t)r, false, false);
        tell_phrase(&t, "is not reached by", (mu_mesh_result_t)r, true, false);
    }
    char *fix = fix_of(mesh, side);
    mu_judge_find(judge, host, true, CHECK, mu_buf_detach(&found),
                  mu_strdup("a connection from every host to every other"), fix);
    free(fix);
}

/* What the host lacks; without what it has, when others lack it too, so that one line reports them. */
static char *lacks(const mu_preflight_mesh_t *mesh, const char *instead)
{
    const char *has = strstr(instead, MU_MESH_HAS);
    int others = -1;
    for (int i = 0; i < mesh->members; i++)
        others += mesh->member[i].instead != NULL;
    char *text = mu_format("%.*s", (int)(has && others > 0 ? has - instead : (long)strlen(instead)), instead);
    char *shown = mu_judge_shown(text);
    free(text);
    return shown;
}

/* Hosts that say nothing, or that MPI's list of interfaces does not fit: Open MPI ignores it there. */
static void find_others(const mu_preflight_mesh_t *mesh, mu_judge_t *judge)
{
    for (int i = 0; i < mesh->members; i++) {
        const mu_mesh_member_t *m = &mesh->member[i];
        if (m->instead)
            mu_judge_find(
                judge, m->host, false, CHECK, lacks(mesh, m->instead),
                mu_format("an address of %s, where MPI is to talk; it takes what there is", mesh->interfaces),
                "name what every host has: OMPI_MCA_btl_tcp_if_include, "
                "OMPI_MCA_oob_tcp_if_include");
        if (m->missing && (m->host < 0 || judge->facts[m->host])) /* else it is reported already */
            mu_judge_find(judge, m->host, true, CHECK, mu_judge_shown(m->missing),
                          mu_format("its word on every other host, and a free port from %d to %d", mesh->port,
                                    mesh->port + mesh->ports - 1),
                          "log in there and start muster-worker --probe by hand");
    }
}

void mu_preflight_mesh_judge(const mu_preflight_mesh_t *mesh, mu_judge_t *judge)
{
    side_t *side = sides_of(mesh);
    for (int i; (i = worst_of(side, mesh->members)) >= 0;)
        blame(side, i);
    for (int i = 0; i < mesh->members; i++)
        if (side[i].blamed)
            find_broken(mesh, &side[i], mesh->member[i].host, judge);
    find_others(mesh, judge);
    judge->report->checks++;
    for (int i = 0; i < mesh->members; i++)
        free(side[i].broken);
    free(side);
}
