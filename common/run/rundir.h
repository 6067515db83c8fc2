/*
 * The run directory: who owns it, and the small files that say how the run is (docs/run-directory.md).
 *
 *     mu_rundir_claim(dir, &claim)          makes the folders; one launcher a directory
 *     mu_verdict_read(dir, digest, &v)      has this very request already ended for good?
 *     mu_run_state_json(), _parse()         run.json
 *     mu_event_json()                       a line of events.jsonl
 *     mu_stop_ask(), mu_stop_asked()        the file `stop`
 *     mu_drain_ask(), mu_drain_take()       the file `drain`
 *     mu_rundir_release(&claim)
 */
#ifndef MU_COMMON_RUNDIR_H
#define MU_COMMON_RUNDIR_H

#include "common/run/account.h"
#include "common/buf.h"
#include "common/metric_table.h"
#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

/* A figure over the workers. */
typedef struct mu_spread {
    double min, median, max;
    int64_t rank; /* of the most; 0: there is none yet */
} mu_spread_t;

/* What run.json holds. Strings are NUL terminated and cut. */
#define MU_STATE_I(name, ...) int64_t name;
#define MU_STATE_F(name, ...) double name;
#define MU_STATE_SPREAD(name) mu_spread_t name;
typedef struct mu_run_state {
    char state[16]; /* waiting checking starting running saving restarting stopped done failed */
    int64_t step;
    MU_METRIC_TABLE(MU_STATE_I, MU_STATE_F)
    int64_t pid; /* of the launcher */
    char host[256];
    int64_t attempt;  /* counts from 1 over the life of the directory */
    int64_t restarts; /* of this launcher */
    int64_t tp, dp, workers;
    double started, time; /* seconds since 1970: the launcher's start; this writing */
    int64_t exit_code;    /* -1 while it goes on */
    char reason[1200];    /* why it ended or restarts, for people; "" otherwise */
    char token[33];       /* marks the run's processes: MUSTER_RUN_TOKEN; no secret */
    char version[32], mpi[64];
    char data_version[64], config_digest[40];
    char hosts[1024]; /* "gpu-01: ranks 1-4, gpu-02: ranks 5-8", cut with "..." */
    MU_RANK_METRIC_TABLE(MU_STATE_SPREAD)
    char slowest_host[256]; /* of the rank that computes longest */
    mu_account_t account;   /* up to the start of this attempt, or the end */
} mu_run_state_t;
#undef MU_STATE_I
#undef MU_STATE_F
#undef MU_STATE_SPREAD

void mu_run_state_json(const mu_run_state_t *state, mu_buf_t *out);
/* Errors: MU_NOINPUT (no run.json there), MU_DATA (it is damaged), MU_IO. */
mu_status_t mu_run_state_read(const char *dir, mu_run_state_t *out);

/* One line with a newline: {"time", "kind", "host", "rank", "text"}. host NULL and rank -1: none. */
void mu_event_json(const char *kind, const char *host, int rank, const char *text, mu_buf_t *out);
/* The event `over`, the end of an attempt: with "exit_code", and "checkpoint_s", the seconds that saving has held it
 * up, and "last_checkpoint". */
void mu_event_over_json(int exit_code, double checkpoint_s, int64_t last_checkpoint, const char *text,
                        mu_buf_t *out);

/* Ownership of the directory. */
typedef struct mu_claim {
    int fd;
    char *path;
} mu_claim_t;

/* Hosts are asked about the directory in JSON, whose texts are UTF-8. Errors: MU_RUNDIR. */
mu_status_t mu_rundir_check_name(const char *dir);
/* Makes DIR, DIR/logs, DIR/checkpoints (0700) and takes DIR/launcher.lock. Errors: MU_RUNDIR, when the folder
 * cannot be made or written, or another launcher has it (named by host, pid and time); MU_IO, when the volume is full
 * or fails. What a launcher of this host left that has ended is waited for, 10 s at most. */
mu_status_t mu_rundir_claim(const char *dir, mu_claim_t *out);
void mu_rundir_release(mu_claim_t *claim);
/* Whether what lies in a run directory under the names of its files are files: a FIFO would hold up who opens it, a
 * folder `stop` would stop each start. Errors: MU_RUNDIR, with the name. */
mu_status_t mu_rundir_check_files(const char *dir);
/* Whether DIR/launcher.lock is still the file that `fd` (of a claim) has open: false when the directory was moved,
 * removed or replaced. A volume that does not answer counts as true: it is not another one. */
bool mu_rundir_stands(const char *dir, int fd);
/* The mark of this run's processes and folders: 32 hex digits that follow from a random word in DIR/run.id, made here
 * if it is missing, and the directory's inode. Two directories have two marks even where their paths are alike, as in
 * two mount namespaces, and a copy has another one than its original. Call it with the claim held. Errors: MU_RUNDIR,
 * MU_IO. */
mu_status_t mu_rundir_token(const char *dir, char out[33]);
/* The same with another random word: the folders that the last one named are somebody else's. */
mu_status_t mu_rundir_new_token(const char *dir, char out[33]);
/* Whether a launcher on this or (as far as locks reach) another host holds the directory. */
bool mu_rundir_is_claimed(const char *dir);

/* The end that another start would only repeat. */
typedef struct mu_verdict {
    mu_status_t status;
    char config_digest[40];
    char reason[1200];
} mu_verdict_t;

mu_status_t mu_verdict_write(const char *dir, const mu_verdict_t *verdict);
/* MU_OK with out->status MU_OK: none, or one about another config (config_digest NULL: any). A damaged file
 * counts as none, with a warning. */
mu_status_t mu_verdict_read(const char *dir, const char *config_digest, mu_verdict_t *out);
/* Whether a status is marked as not worth a retry in docs/exit-codes.md. */
bool mu_status_is_final(mu_status_t status);

typedef enum mu_stop { MU_STOP_NONE, MU_STOP_SAVE, MU_STOP_NOW } mu_stop_t;
mu_status_t mu_stop_ask(const char *dir, mu_stop_t stop);
mu_stop_t mu_stop_asked(const char *dir);
void mu_stop_forget(const char *dir);

/* A host is about to go: the run shall save a checkpoint, end its ranks, and start them again once every host
 * is ready. The file holds the host's name; the launcher takes it away, so a file that is still there has not
 * been heard. */
mu_status_t mu_drain_ask(const char *dir, const char *host);
bool mu_drain_waits(const char *dir);
/* Whether there was one; it is removed. Of what it holds, at most 255 bytes of the first line. */
bool mu_drain_take(const char *dir, char host[256]);

#endif
