#include "worker/train/peer_copy.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/machine.h"
#include "common/num.h"
#include "worker/train/peer_exchange.h"

#include <sys/statvfs.h>

/* ---- memory for what is to come ---- */

/* The first attempt of this launcher, which the folder's name begins with. */
static bool is_restart(const mu_run_t *run)
{
    return run->attempt > (int)strtol(strrchr(run->copies_dir, '/') + 1, NULL, 10);
}

typedef struct size_of {
    uint64_t size;
    char name[MU_SHARD_NAME];
    char padding[7];
} size_of_t;

/* What this host is still to give: both slots of the pieces of its workers and of those whose partners are here. */
static uint64_t wanted_here(const mu_peer_copy_t *p, const size_of_t *all)
{
    uint64_t wanted = 0;
    int host = p->peers.host[p->peers.self];
    for (int w = 0; w < p->peers.workers; w++)
        if (p->peers.host[w] == host || p->peers.host[p->peers.partner[w]] == host)
            wanted += MU_COPY_SLOTS * all[w].size -
                      mu_copy_piece_there(p->run->copies_dir, all[w].name, all[w].size);
    return wanted;
}

/* Whether the host has it. */
static bool has_room(const mu_peer_copy_t *p, uint64_t wanted)
{
    struct statvfs v;
    char want[32], shm[32], memory[32];
    int64_t room = mu_machine_room("/proc", "/sys").memory;
    uint64_t free_bytes = statvfs(p->run->copies_dir, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : 0;
    if (wanted <= free_bytes && (room < 0 || wanted <= (uint64_t)room))
        return true;
    mu_log(
        is_restart(p->run) ? MU_LOG_WARN : MU_LOG_ERROR,
        "muster.peer_checkpoint (%s): copies in memory take %s more of this host, %s are free in /dev/shm "
        "and %s of memory are available: make /dev/shm larger (in a pod: an emptyDir with medium: Memory), "
        "use more hosts, or leave peer_checkpoint out",
        mu_config_origin(p->run->config, "muster.peer_checkpoint"), mu_human_bytes(wanted, want, sizeof want),
        mu_human_bytes(free_bytes, shm, sizeof shm),
        mu_human_bytes((uint64_t)mu_max_i64(room, 0), memory, sizeof memory));
    return false;
}

static mu_status_t map_pieces(mu_peer_copy_t *p, const size_of_t *all)
{
    const char *dir = p->run->copies_dir;
    int self = p->peers.self;
    p->taken = mu_calloc((size_t)p->peers.workers, sizeof *p->taken);
    p->source = mu_calloc((size_t)p->peers.workers, sizeof *p->source);
    MU_TRY(mu_copy_piece_map(dir, all[self].name, all[self].size, &p->own));
    int64_t bytes = MU_COPY_SLOTS * (int64_t)all[self].size;
    for (int w = 0; w < p->peers.workers; w++) {
        if (p->peers.partner[w] != self)
            continue;
        MU_TRY(mu_copy_piece_map(dir, all[w].name, all[w].size, &p->taken[p->taken_count]));
        p->source[p->taken_count++] = w;
        bytes += MU_COPY_SLOTS * (int64_t)all[w].size;
    }
    p->bytes = bytes;
    return MU_OK;
}

/* What lies here from another placement of the ranks. */
static void sweep(const mu_peer_copy_t *p, const size_of_t *all)
{
    int host = p->peers.host[p->peers.self], n = 0;
    char(*keep)[MU_SHARD_NAME] = mu_calloc((size_t)p->peers.workers, sizeof *keep);
    for (int w = 0; w < p->peers.workers; w++)
        if (p->peers.host[w] == host || p->peers.host[p->peers.partner[w]] == host)
            memcpy(keep[n++], all[w].name, sizeof *keep);
    mu_copies_sweep(p->run->copies_dir, keep, n);
    free(keep);
}

/* All go through the collectives, also one that has failed. *fits: every host has the memory. */
static mu_status_t agree(mu_peer_copy_t *p, const size_of_t *own, size_of_t *all, bool *fits)
{
    MPI_Comm workers = mu_peer_copy_workers(p);
    int ok = own->size > 0;
    MU_TRY(
        mu_mpi_check(MPI_Allgather(own, (int)sizeof *own, MPI_BYTE, all, (int)sizeof *own, MPI_BYTE, workers),
                     "MPI_Allgather of sizes"));
    if (ok && p->peers.first) {
        sweep(p, all);
        ok = has_room(p, wanted_here(p, all));
    }
    bool here = ok;
    MU_TRY(mu_mpi_check(MPI_Allreduce(MPI_IN_PLACE, &ok, 1, MPI_INT, MPI_MIN, workers),
                        "MPI_Allreduce of room"));
    *fits = ok;
    return here || own->size == 0 || is_restart(p->run) ? MU_OK : MU_CONFIG;
}

mu_status_t mu_peer_copy_reserve(mu_peer_copy_t *p, const mu_shard_plan_t *plan)
{
    size_of_t own = {.size = 0}, *all;
    bool fits = false;
    if (!p->peers.possible || p->bytes > 0)
        return MU_OK;
    mu_status_t made = mu_copies_make(p->run->copies_dir);
    if (made == MU_OK)
        made = mu_shard_size(plan, &own.size, own.name);
    all = mu_calloc((size_t)p->peers.workers, sizeof *all);
    mu_status_t status = agree(p, &own, all, &fits);
    if (status == MU_OK && made == MU_OK && fits)
        status = map_pieces(p, all);
    free(all);
    return made != MU_OK ? made : status;
}

void mu_peer_copy_begin(mu_peer_copy_t *p, bool on)
{
    if (p->peers.first)
        mu_copies_whole_end(p->run->copies_dir);
    if (p->firsts != MPI_COMM_NULL)
        MPI_Comm_free(&p->firsts);
    if (!on)
        p->bytes = 0;
    free(p->manifest);
    p->manifest = NULL;
}

/* ---- a copy ---- */

static mu_status_t send_copied(mu_peer_copy_t *p, int64_t step, mu_shard_t *shard, int64_t ns)
{
    mu_groups_t *g = p->run->groups;
    mu_saved_t saved = {.step = step, .bytes = (int64_t)shard->size, .seconds = (double)ns * 1e-9};
    mu_buf_t message = MU_BUF_INIT;
    mu_buf_add(&message, &saved, sizeof saved);
    mu_shard_pack(shard, &message);
    mu_status_t status =
        mu_mpi_check(mu_progress_thread_send(g->progress_thread, message.data, (int)message.len, MPI_BYTE, 0,
                                             MU_TAG_COPIED, g->control),
                     "MPI_Send of a copy's list");
    mu_buf_release(&message);
    return status;
}

static mu_status_t exchange(mu_peer_copy_t *p)
{
    mu_status_t status;
    mu_transfer_t *t = mu_calloc((size_t)p->taken_count + 1, sizeof *t);
    t[0] = (mu_transfer_t){.peer = p->peers.partner[p->peers.self],
                           .sends = true,
                           .bytes = p->own.bytes[p->slot],
                           .size = p->own.size};
    for (int i = 0; i < p->taken_count; i++)
        t[1 + i] = (mu_transfer_t){
            .peer = p->source[i], .bytes = p->taken[i].bytes[p->slot], .size = p->taken[i].size};
    status = mu_exchange(p->run, t, 1 + p->taken_count);
    free(t);
    return status;
}

mu_status_t mu_peer_copy_make(mu_peer_copy_t *p, const mu_shard_plan_t *plan)
{
    const char *dir = p->run->copies_dir;
    int64_t began = mu_now_ns();
    mu_shard_copy_t *copy = NULL;
    mu_shard_t shard = {.slices = NULL};
    mu_status_t status = MU_OK;
    mu_page_phase(p->run->page, MU_PHASE_SAVE);
    MU_TRY(mu_copy_piece_begin(dir, &p->own, p->slot));
    for (int i = 0; i < p->taken_count; i++)
        MU_TRY(mu_copy_piece_begin(dir, &p->taken[i], p->slot));
    MU_TRY(mu_shard_copy(plan, p->own.bytes[p->slot], p->own.size, &copy));
    mu_shard_digest_copy(copy, &shard);
    mu_shard_copy_free(copy);
    MU_TRY_GOTO(status, exchange(p), out);
    MU_TRY_GOTO(status, mu_copy_piece_end(dir, &p->own, p->slot), out);
    for (int i = 0; i < p->taken_count; i++)
        MU_TRY_GOTO(status, mu_copy_piece_end(dir, &p->taken[i], p->slot), out);
    p->ns += mu_now_ns() - began;
    status = send_copied(p, plan->step, &shard, mu_now_ns() - began);
out:
    mu_shard_release(&shard);
    return status;
}

mu_status_t mu_peer_copy_keep(mu_peer_copy_t *p, const char *text, size_t n)
{
    mu_status_t status = MU_OK;
    if (p->peers.first) {
        char *path = mu_format("%s/%d/%s", p->run->copies_dir, p->slot, MU_MANIFEST_NAME);
        status = mu_file_replace(path, text, n, 0600);
        free(path);
    }
    p->slot = (p->slot + 1) % MU_COPY_SLOTS;
    return status;
}

double mu_peer_copy_take_ms(mu_peer_copy_t *p)
{
    double ms = (double)p->ns * 1e-6;
    p->ns = 0;
    return ms;
}

void mu_peer_copy_release(mu_peer_copy_t *p)
{
    mu_copy_piece_unmap(&p->own);
    for (int i = 0; i < p->taken_count; i++)
        mu_copy_piece_unmap(&p->taken[i]);
    free(p->taken);
    free(p->source);
    free(p->entries);
    free(p->manifest);
    mu_peers_release(&p->peers);
}
