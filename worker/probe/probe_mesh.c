/* The probe among the hosts of a run: what common/control/mesh.h does, in the words of the protocol. */
#include "worker/probe/probe_internal.h"
#include "common/clock.h"

static bool is_port(json_int_t port)
{
    return port >= 1 && port <= 65535;
}

json_t *mu_probe_mesh_listen(const json_t *wish, mu_mesh_t **mesh)
{
    const char *interfaces = json_string_value(json_object_get(wish, "interfaces"));
    const char *instead = json_string_value(json_object_get(wish, "instead"));
    const char *token = json_string_value(json_object_get(wish, "token"));
    json_int_t port = json_integer_value(json_object_get(wish, "port"));
    json_int_t ports = json_integer_value(json_object_get(wish, "ports"));
    mu_buf_t why = MU_BUF_INIT;
    json_t *seen;
    *mesh = NULL;
    if (!interfaces || !token || strlen(token) != MU_MESH_TOKEN || !is_port(port) || ports < 1 ||
        !is_port(port + ports - 1))
        return mu_probe_state("error", "not a question about the network");
    if (mu_mesh_new(interfaces, instead, (int)port, (int)ports, token, &why, mesh)) {
        mu_mesh_peer_t self = mu_mesh_self(*mesh);
        seen = json_pack("{s:s, s:s, s:i}", "state", "ok", "address", self.address, "port", self.port);
        if (why.len)
            json_object_set_new(seen, "instead", json_string(why.data));
    } else {
        seen = mu_probe_state("error", why.data);
    }
    mu_buf_release(&why);
    return seen;
}

bool mu_probe_mesh_dial(mu_mesh_t *mesh, const json_t *line)
{
    const json_t *to = json_object_get(line, "to"), *entry;
    double seconds = json_number_value(json_object_get(line, "seconds"));
    mu_mesh_peer_t peer[MU_MESH_PEERS];
    size_t i, n = json_array_size(to);
    if (!json_is_array(to) || n > MU_MESH_PEERS || !(seconds > 0 && seconds <= 3600))
        return false;
    json_array_foreach(to, i, entry)
    {
        const char *address = json_string_value(json_array_get(entry, 0));
        json_int_t port = json_integer_value(json_array_get(entry, 1));
        if (!address || strlen(address) >= sizeof peer[i].address || !is_port(port))
            return false;
        snprintf(peer[i].address, sizeof peer[i].address, "%s", address);
        peer[i].port = (int)port;
    }
    mu_mesh_dial(mesh, peer, (int)n, mu_now_ns() + (int64_t)(seconds * 1e9));
    return true;
}

json_t *mu_probe_mesh_seen(const mu_mesh_t *mesh, int peers)
{
    json_t *seen = json_array();
    for (int i = 0; i < peers; i++)
        json_array_append_new(seen, json_string(mu_mesh_word(mu_mesh_result(mesh, i))));
    return json_pack("{s:s, s:o}", "state", "ok", "seen", seen);
}
