#include "worker/train/peers.h"
#include "common/buf.h"
#include "common/machine.h"

#include <sys/stat.h>

enum { SHM_DIGITS = 24, KEY = MU_MACHINE_SIZE + SHM_DIGITS };

/* A host is what shares its memory: the machine, and its /dev/shm. "" when the machine cannot be known. */
static void own_key(char key[KEY])
{
    struct stat st;
    memset(key, 0, KEY);
    mu_machine_id(key);
    if (key[0] && stat("/dev/shm", &st) == 0) {
        size_t n = strlen(key);
        snprintf(key + n, KEY - n, " %llx", (unsigned long long)st.st_dev);
    }
}

/* The worker of replica `replica` with the tp rank of `like`. */
static int worker_of(int like, int replica, int tp)
{
    return replica * tp + like % tp;
}

/* The next host, by index and around, that has a worker with that tp rank; the own one when there is no other. */
static int next_host(const mu_peers_t *p, int worker, int tp)
{
    int own = p->host[worker], next = -1, least = own;
    for (int d = 0; d < p->workers / tp; d++) {
        int host = p->host[worker_of(worker, d, tp)];
        if (host > own && (next < 0 || host < next))
            next = host;
        if (host < least)
            least = host;
    }
    return next >= 0 ? next : least;
}

/* How many workers with that tp rank are on `host`, of the replicas before `end`. */
static int count_on(const mu_peers_t *p, int worker, int tp, int host, int end)
{
    int n = 0;
    for (int d = 0; d < end; d++)
        n += p->host[worker_of(worker, d, tp)] == host;
    return n;
}

static int partner_of(const mu_peers_t *p, int worker, int tp)
{
    int dp = p->workers / tp, host = next_host(p, worker, tp);
    if (host == p->host[worker])
        return -1;
    int place = count_on(p, worker, tp, p->host[worker], worker / tp) % count_on(p, worker, tp, host, dp);
    for (int d = 0; d < dp; d++)
        if (p->host[worker_of(worker, d, tp)] == host && place-- == 0)
            return worker_of(worker, d, tp);
    return -1;
}

void mu_peers_pair(mu_peers_t *p, int tp)
{
    p->possible = true;
    for (int w = 0; w < p->workers; w++) {
        p->partner[w] = partner_of(p, w, tp);
        p->possible = p->possible && p->partner[w] >= 0;
    }
}

mu_status_t mu_peers_find(const mu_run_t *run, mu_peers_t *out)
{
    const mu_layout_t *layout = &run->groups->layout;
    mu_peers_t p = {.workers = layout->tp * layout->dp,
                    .self = layout->dp_rank * layout->tp + layout->tp_rank};
    char own[KEY], *keys = mu_calloc((size_t)p.workers, KEY);
    own_key(own);
    mu_status_t status = mu_mpi_check(
        MPI_Allgather(own, KEY, MPI_BYTE, keys, KEY, MPI_BYTE, mu_comm_mpi_group(run->groups->workers)),
        "MPI_Allgather of hosts");
    if (status != MU_OK) {
        free(keys);
        return status;
    }
    p.host = mu_calloc((size_t)p.workers, sizeof *p.host);
    p.partner = mu_calloc((size_t)p.workers, sizeof *p.partner);
    p.first = true;
    for (int w = 0; w < p.workers; w++) {
        int same = 0;
        while (same < w && strcmp(keys + (size_t)same * KEY, keys + (size_t)w * KEY) != 0)
            same++;
        p.host[w] = same < w ? p.host[same] : p.hosts++;
        if (w == p.self)
            p.first = same == w;
    }
    free(keys);
    mu_peers_pair(&p, layout->tp);
    *out = p;
    return MU_OK;
}

void mu_peers_release(mu_peers_t *p)
{
    free(p->host);
    free(p->partner);
    memset(p, 0, sizeof *p);
}
