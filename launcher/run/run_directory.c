#include "launcher/run/run_impl.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/run/orphan_cleanup.h"
#include "launcher/run/source.h"

#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

void mu_launch_set_state(mu_launch_t *r, const char *word)
{
    snprintf(r->state.state, sizeof r->state.state, "%s", word);
    r->state.time = mu_wall_seconds();
    if (r->supervisor.writer)
        mu_rundir_writer_state(r->supervisor.writer, &r->state);
}

/* The checkpoint that the last launcher knew of, if it is still there; -1: none. */
static int64_t past_checkpoint(const mu_launch_t *r, const mu_run_state_t *past)
{
    char *path = mu_format("%s/checkpoints/step-%08lld", r->plan.run_dir, (long long)past->last_checkpoint);
    bool there = past->last_checkpoint >= 0 && mu_is_dir(path);
    free(path);
    return there ? past->last_checkpoint : -1;
}

/* A fresh state; what goes on from earlier launchers is what they left in run.json. */
void mu_launch_read_past(mu_launch_t *r)
{
    mu_run_state_t past = {0};
    char *path = mu_path_join(r->plan.run_dir, "run.json");
    bool known = mu_is_file(path) && mu_run_state_read(r->plan.run_dir, &past) == MU_OK;
    free(path);
    r->state = (mu_run_state_t){.last_checkpoint = -1, .copy_step = -1, .exit_code = -1, .pid = getpid()};
    if (known) {
        r->state.attempt = past.attempt;
        r->state.last_checkpoint = past_checkpoint(r, &past);
    }
    gethostname(r->state.host, sizeof r->state.host - 1);
    snprintf(r->state.version, sizeof r->state.version, "%s", MU_VERSION);
    snprintf(r->state.mpi, sizeof r->state.mpi, "%s", r->plan.mpirun.version);
    snprintf(r->state.config_digest, sizeof r->state.config_digest, "%s", r->config_digest);
    r->state.started = mu_wall_seconds();
}

/* What was asked of a launcher before this one, or too late of this one. */
void mu_launch_forget_requests(const mu_launch_t *r)
{
    char host[256];
    mu_stop_forget(r->plan.run_dir);
    mu_drain_take(r->plan.run_dir, host);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What the user's environment sets for Open MPI, in order. */
static void add_settings(mu_buf_t *out)
{
    mu_args_t set = {0};
    for (char **e = environ; *e; e++)
        if (strncmp(*e, "OMPI_MCA_", 9) == 0 || strncmp(*e, "PRTE_MCA_", 9) == 0)
            mu_args_add(&set, *e);
    if (set.n > 0)
        qsort(set.v, (size_t)set.n, sizeof *set.v, by_text);
    for (int i = 0; i < set.n; i++)
        mu_buf_addf(out, "%s\n", set.v[i]);
    mu_args_free(&set);
}

/* A verdict stands as long as the same is asked for. Hosts that a scheduler gave are not asked for. */
static void digest_request(mu_launch_t *r)
{
    const mu_run_plan_t *p = &r->plan;
    mu_config_digest(p->config, r->config_digest);
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_addf(&text, "config %s\nworkers %lld\nhosts %s\nhostfile %s\n", r->config_digest,
                (long long)p->workers_option, p->hosts_option ? p->hosts_option : "",
                p->hostfile ? p->hostfile : "");
    add_settings(&text);
    mu_digest_bytes(text.data, text.len, r->verdict_digest);
    char own[256] = "";
    gethostname(own, sizeof own - 1);
    mu_buf_addf(&text, "launcher %s\n", own);
    for (int i = 0; i < p->hosts->count; i++)
        mu_buf_addf(&text, "host %s\n", p->hosts->host[i].name);
    mu_digest_bytes(text.data, text.len, r->hosts_digest);
    mu_buf_release(&text);
}

static mu_status_t read_verdict(mu_launch_t *r, mu_verdict_t *out)
{
    MU_TRY(mu_verdict_read(r->plan.run_dir, r->verdict_digest, out));
    return out->status != MU_OK ? MU_OK : mu_verdict_read(r->plan.run_dir, r->hosts_digest, out);
}

/* /tmp is everybody's, and the names of the run's folders can be seen there while it runs: another user may have made
 * them before this start. Then the run takes another mark, and with it other names. */
static mu_status_t take_free_folders(mu_launch_t *r)
{
    mu_buf_t name = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    for (int i = 0; i < 8 && status == MU_OK && mu_run_folders_foreign(r->state.token); i++) {
        mu_buf_clear(&name);
        mu_run_tmp_dir(r->state.token, &name);
        mu_warn("%s, or its like in shared memory, is there and not a private folder of ours: taking another "
                "name",
                name.data);
        status = mu_rundir_new_token(r->plan.run_dir, r->state.token);
    }
    mu_buf_release(&name);
    return status;
}

mu_status_t mu_launch_claim(mu_launch_t *r)
{
    mu_verdict_t verdict;
    MU_TRY(mu_rundir_claim(r->plan.run_dir, &r->claim));
    digest_request(r);
    MU_TRY(read_verdict(r, &verdict));
    if (verdict.status != MU_OK)
        return mu_fail(verdict.status,
                       "%s/verdict.json: this run has ended for good: %s: change the config or the options, "
                       "or mend the cause and remove the file",
                       r->plan.run_dir, verdict.reason);
    mu_launch_read_past(r);
    MU_TRY(mu_rundir_token(r->plan.run_dir, r->state.token));
    mu_launch_forget_requests(r);
    int orphans = mu_orphan_cleanup_processes(r->state.token, INT64_MAX);
    if (orphans > 0)
        mu_warn("ended %d processes that an earlier attempt had left on this machine", orphans);
    mu_orphan_cleanup_folders(r->state.token);
    mu_orphan_cleanup_copies(r->state.token, NULL);
    MU_TRY(take_free_folders(r));
    if (!r->plan.more)
        MU_TRY(mu_source_write(r->plan.run_dir, r->plan.files.item, r->plan.files.count));
    MU_TRY(mu_rundir_writer_start(r->plan.run_dir, r->claim.fd, &r->supervisor.writer));
    mu_rundir_writer_event(r->supervisor.writer, "launcher", r->state.host, -1, "pid %lld",
                           (long long)r->state.pid);
    return MU_OK;
}

mu_status_t mu_launch_write_config(mu_launch_t *r)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_config_write_yaml(r->plan.config, false, &text);
    mu_status_t status = mu_file_replace(r->config_path, text.data, text.len, 0600);
    mu_digest_bytes(text.data, text.len, r->file_digest);
    mu_buf_release(&text);
    return status; /* 74: a volume that is full now is no directory that cannot be used */
}

mu_status_t mu_launch_write_key(mu_launch_t *r)
{
    char hex[2 * MU_CONTROL_KEY_BYTES + 1];
    mu_control_key_hex(r->key, hex);
    mu_status_t status = mu_file_replace(r->key_path, hex, sizeof hex - 1, 0600);
    sodium_memzero(hex, sizeof hex);
    struct stat st = {0};
    if (status == MU_OK && lstat(r->key_path, &st) == 0)
        r->supervisor.key_inode = st.st_ino;
    return status;
}
