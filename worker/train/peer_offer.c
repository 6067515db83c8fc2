#include "worker/train/peer_copy.h"
#include "common/file.h"
#include "common/log.h"
#include "worker/comm/yielding_wait.h"
#include "worker/train/peer_exchange.h"

MPI_Comm mu_peer_copy_workers(const mu_peer_copy_t *p)
{
    return mu_comm_mpi_group(p->run->groups->workers);
}

/* ---- the start: what is there ---- */

/* Every host's entries, at every worker. */
static mu_status_t gather_entries(mu_peer_copy_t *p)
{
    mu_copy_entry_t *own = NULL;
    int n = 0, *counts = mu_calloc((size_t)p->peers.workers, sizeof *counts),
        *at = mu_calloc((size_t)p->peers.workers, sizeof *at);
    if (p->peers.first)
        mu_copies_list(p->run->copies_dir, &own, &n);
    for (int i = 0; i < n; i++)
        own[i].host = p->peers.host[p->peers.self];
    int bytes = n * (int)sizeof *own, total = 0;
    mu_status_t status = mu_mpi_check(
        MPI_Allgather(&bytes, 1, MPI_INT, counts, 1, MPI_INT, mu_peer_copy_workers(p)), "MPI_Allgather");
    for (int w = 0; w < p->peers.workers; w++) {
        at[w] = total;
        total += counts[w];
    }
    p->count = total / (int)sizeof *own;
    p->entries = mu_calloc((size_t)p->count + 1, sizeof *p->entries);
    if (status == MU_OK)
        status = mu_mpi_check(
            MPI_Allgatherv(own, bytes, MPI_BYTE, p->entries, counts, at, MPI_BYTE, mu_peer_copy_workers(p)),
            "MPI_Allgatherv of copies in memory");
    free(own);
    free(counts);
    free(at);
    return status;
}

/* The rank in `firsts` of a host is its index. */
static mu_status_t make_firsts(mu_peer_copy_t *p)
{
    return mu_mpi_check(MPI_Comm_split(mu_peer_copy_workers(p), p->peers.first ? 0 : MPI_UNDEFINED,
                                       p->peers.host[p->peers.self], &p->firsts),
                        "MPI_Comm_split");
}

static int first_worker_of(const mu_peers_t *peers, int host)
{
    int w = 0;
    while (peers->host[w] != host)
        w++;
    return w;
}

/* The manifest of the state that was found, from its holder to all. One that cannot be read any more makes it not
 * whole. */
static mu_status_t spread_manifest(mu_peer_copy_t *p)
{
    const mu_copy_entry_t *e = &p->entries[p->found.manifest];
    int holder = first_worker_of(&p->peers, e->host);
    mu_buf_t text = MU_BUF_INIT;
    if (holder == p->peers.self) {
        char *path = mu_format("%s/%d/%s", p->run->copies_dir, e->slot, MU_MANIFEST_NAME);
        if (mu_file_read(path, MU_MANIFEST_LIMIT, &text) == MU_OK)
            p->manifest_bytes = (int64_t)text.len;
        free(path);
    }
    mu_status_t status = mu_mpi_check(
        MPI_Bcast(&p->manifest_bytes, 1, MPI_INT64_T, holder, mu_peer_copy_workers(p)), "MPI_Bcast");
    p->whole = p->manifest_bytes > 0;
    if (status == MU_OK && p->whole) {
        p->manifest = mu_calloc((size_t)p->manifest_bytes + 1, 1);
        if (text.len > 0)
            memcpy(p->manifest, text.data, text.len);
        status = mu_mpi_check(
            MPI_Bcast(p->manifest, (int)p->manifest_bytes, MPI_BYTE, holder, mu_peer_copy_workers(p)),
            "MPI_Bcast of a manifest");
    }
    mu_buf_release(&text);
    return status;
}

static mu_status_t send_offer(const mu_peer_copy_t *p)
{
    mu_copies_offer_t offer = {.hosts = p->peers.hosts,
                               .possible = p->peers.possible,
                               .whole = p->whole,
                               .have = p->found.have,
                               .pieces = p->found.workers,
                               .step = p->found.workers > 0 ? p->found.id.step : -1};
    mu_buf_t message = MU_BUF_INIT;
    mu_buf_add(&message, &offer, sizeof offer);
    if (p->whole)
        mu_buf_add(&message, p->manifest, (size_t)p->manifest_bytes);
    mu_status_t status = mu_mpi_check(
        MPI_Send(message.data, (int)message.len, MPI_BYTE, 0, MU_TAG_COPIES, p->run->groups->control),
        "MPI_Send of what copies there are");
    mu_buf_release(&message);
    return status;
}

mu_status_t mu_peer_copy_offer(mu_peer_copy_t *p)
{
    p->firsts = MPI_COMM_NULL;
    MU_TRY(mu_peers_find(p->run, &p->peers));
    MU_TRY(make_firsts(p));
    MU_TRY(gather_entries(p));
    if (!mu_copies_newest(p->entries, p->count, &p->found, &p->whole))
        p->found = (mu_copy_set_t){.workers = 0};
    if (p->whole)
        MU_TRY(spread_manifest(p));
    p->slot = p->found.workers > 0 ? (p->found.slot + 1) % MU_COPY_SLOTS : 0;
    return p->peers.self == 0 ? send_offer(p) : MU_OK;
}

/* ---- the start: from everywhere to everywhere ---- */

/* The entry of this host that is the same piece; NULL: it is not here. */
static const mu_copy_entry_t *here(const mu_peer_copy_t *p, const mu_copy_entry_t *piece)
{
    for (int i = 0; i < p->count; i++)
        if (p->entries[i].host == p->peers.host[p->peers.self] &&
            strcmp(p->entries[i].name, piece->name) == 0 && mu_copy_same(&p->entries[i].id, &piece->id))
            return &p->entries[i];
    return NULL;
}

/* One piece from the host of `piece` to those that lack it. A host that has no room receives all the same, so that
 * the others do not wait; *lost says so. */
static mu_status_t spread_piece(mu_peer_copy_t *p, const mu_copy_entry_t *piece, char *scrap, bool *lost)
{
    const char *dir = p->run->copies_dir;
    const mu_copy_entry_t *mine = here(p, piece);
    char *bytes = NULL;
    int root = piece->host;
    bool ok = !mine || mu_copies_whole_link(dir, mine) == MU_OK;
    if (ok && (!mine || root == p->peers.host[p->peers.self])) /* who receives, and who sends */
        ok = mu_copies_whole_map(dir, piece->name, piece->size, &bytes) == MU_OK;
    *lost = *lost || !ok;
    mu_status_t status = MU_OK;
    for (uint64_t at = 0, n; status == MU_OK && at < piece->size; at += n) {
        n = piece->size - at < MU_EXCHANGE_BLOCK ? piece->size - at : MU_EXCHANGE_BLOCK;
        status = mu_mpi_check(MPI_Bcast(bytes ? bytes + at : scrap, (int)n, MPI_BYTE, root, p->firsts),
                              "MPI_Bcast of a piece");
        mu_page_progress(p->run->page);
    }
    mu_copies_whole_unmap(bytes, piece->size);
    return status;
}

static mu_status_t spread_pieces(mu_peer_copy_t *p, bool *lost)
{
    const char *dir = p->run->copies_dir;
    int *index = mu_calloc((size_t)p->count + 1, sizeof *index);
    int n = mu_copies_pieces(p->entries, p->count, &p->found.id, index);
    char *scrap = mu_alloc(MU_EXCHANGE_BLOCK), *path = mu_format("%s/whole/%s", dir, MU_MANIFEST_NAME);
    mu_status_t status = MU_OK;
    *lost = mu_copies_make(dir) != MU_OK || mu_copies_whole_begin(dir) != MU_OK ||
            mu_file_replace(path, p->manifest, (size_t)p->manifest_bytes, 0600) != MU_OK;
    for (int i = 0; status == MU_OK && i < n; i++)
        status = spread_piece(p, &p->entries[index[i]], scrap, lost);
    free(path);
    free(scrap);
    free(index);
    return status;
}

mu_status_t mu_peer_copy_restore(mu_peer_copy_t *p, char **path)
{
    bool mine = false;
    mu_page_phase(p->run->page, MU_PHASE_LOAD);
    if (p->peers.first)
        MU_TRY(spread_pieces(p, &mine));
    MU_TRY(mu_yielding_barrier(mu_peer_copy_workers(p), "waiting for copies in memory"));
    int lost = mine;
    MU_TRY(mu_mpi_check(MPI_Allreduce(MPI_IN_PLACE, &lost, 1, MPI_INT, MPI_MAX, mu_peer_copy_workers(p)),
                        "MPI_Allreduce"));
    if (lost)
        return mu_fail(MU_DATA, "the copies of step %lld in memory cannot be brought together",
                       (long long)p->found.id.step);
    *path = mu_copies_whole(p->run->copies_dir);
    return MU_OK;
}
