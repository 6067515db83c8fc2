#include "common/run/rundir.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SMALL_FILE = 65536 };

/* One table for both directions of run.json; clang-format takes it for statements. */
/* clang-format off */
#define STATE_FIELDS(I, F, S) \
    S(state) I(step) MU_METRIC_TABLE(I, F) I(pid) S(host) I(attempt) I(restarts) F(started) F(time) \
    I(exit_code) S(reason) S(token) S(data_version) S(config_digest) S(hosts) S(slowest_host)
/* clang-format on */

/* A string of JSON must be UTF-8; what came from outside may be anything. */
static json_t *text_json(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    mu_buf_t ascii = MU_BUF_INIT;
    for (const char *p = text; *p; p++)
        mu_buf_addc(&ascii, *p >= ' ' && *p < 127 ? *p : '?');
    value = json_string(ascii.data ? ascii.data : "");
    mu_buf_release(&ascii);
    return value;
}

static void dump(json_t *json, size_t flags, mu_buf_t *out)
{
    char *text = json_dumps(json, flags);
    mu_buf_adds(out, text ? text : "{}");
    mu_buf_addc(out, '\n');
    free(text);
    json_decref(json);
}

static void put_spread(const mu_spread_t *s, const char *name, json_t *out)
{
    json_object_set_new(out, name,
                        json_pack("{s:f, s:f, s:f, s:I}", "min", s->min, "median", s->median, "max", s->max,
                                  "rank", (json_int_t)s->rank));
}

static void get_spread(const json_t *ranks, const char *name, mu_spread_t *s)
{
    const json_t *json = json_object_get(ranks, name);
    *s = (mu_spread_t){.min = json_number_value(json_object_get(json, "min")),
                       .median = json_number_value(json_object_get(json, "median")),
                       .max = json_number_value(json_object_get(json, "max")),
                       .rank = json_integer_value(json_object_get(json, "rank"))};
}

void mu_run_state_json(const mu_run_state_t *s, mu_buf_t *out)
{
    json_t *json = json_object();
#define PUT_I(name, ...) json_object_set_new(json, #name, json_integer(s->name));
#define PUT_F(name, ...)                                                                                     \
    json_object_set_new(json, #name, isfinite(s->name) ? json_real(s->name) : json_null());
#define PUT_S(name) json_object_set_new(json, #name, text_json(s->name));
    STATE_FIELDS(PUT_I, PUT_F, PUT_S)
#undef PUT_I
#undef PUT_F
#undef PUT_S
    json_object_set_new(json, "layout",
                        json_pack("{s:I, s:I, s:I}", "tp", (json_int_t)s->tp, "dp", (json_int_t)s->dp,
                                  "workers", (json_int_t)s->workers));
    json_object_set_new(json, "versions",
                        json_pack("{s:o, s:o}", "muster", text_json(s->version), "mpi", text_json(s->mpi)));
    json_t *ranks = json_object();
#define PUT_SPREAD(name) put_spread(&s->name, &#name[sizeof "rank"], ranks); /* without "rank_" */
    MU_RANK_METRIC_TABLE(PUT_SPREAD)
#undef PUT_SPREAD
    json_object_set_new(json, "ranks", ranks);
    mu_account_put(&s->account, json);
    dump(json, JSON_INDENT(2), out);
}

static void get_text(const json_t *object, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(out, size, "%s", text ? text : "");
}

/* A file that may be absent, as JSON. NULL when it is not there or damaged. */
static json_t *load(const char *path)
{
    mu_buf_t text = MU_BUF_INIT;
    json_t *json = NULL;
    if (mu_is_file(path) && mu_file_read(path, SMALL_FILE, &text) == MU_OK)
        json = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    mu_buf_release(&text);
    if (json && !json_is_object(json)) {
        json_decref(json);
        json = NULL;
    }
    return json;
}

mu_status_t mu_run_state_read(const char *dir, mu_run_state_t *s)
{
    char *path = mu_path_join(dir, "run.json");
    mu_status_t status = MU_OK;
    if (access(path, R_OK) != 0) {
        status = errno == ENOENT || errno == ENOTDIR
                     ? mu_fail(MU_NOINPUT, "%s: no run.json there: is it a run directory?", dir)
                     : mu_fail(mu_open_status(errno), "%s: cannot read: %s", path, strerror(errno));
        goto out;
    }
    json_t *json = load(path);
    if (!json) {
        status = mu_fail(MU_DATA, "%s: damaged: not a JSON object", path);
        goto out;
    }
    memset(s, 0, sizeof *s);
#define GET_I(name, ...) s->name = json_integer_value(json_object_get(json, #name));
#define GET_F(name, ...) s->name = json_number_value(json_object_get(json, #name));
#define GET_S(name)      get_text(json, #name, s->name, sizeof s->name);
    STATE_FIELDS(GET_I, GET_F, GET_S)
#undef GET_I
#undef GET_F
#undef GET_S
#define GET_SPREAD(name) get_spread(json_object_get(json, "ranks"), &#name[sizeof "rank"], &s->name);
    MU_RANK_METRIC_TABLE(GET_SPREAD)
#undef GET_SPREAD
    mu_account_get(json, &s->account);
    const json_t *layout = json_object_get(json, "layout"), *versions = json_object_get(json, "versions");
    s->tp = json_integer_value(json_object_get(layout, "tp"));
    s->dp = json_integer_value(json_object_get(layout, "dp"));
    s->workers = json_integer_value(json_object_get(layout, "workers"));
    const int64_t most = INT32_MAX / 2; /* counts that a run could reach; ranks take them as int */
    if (s->attempt < 0 || s->attempt > most || s->restarts < 0 || s->restarts > most)
        status = mu_fail(MU_DATA, "%s: damaged: attempt %lld, restarts %lld", path, (long long)s->attempt,
                         (long long)s->restarts);
    get_text(versions, "muster", s->version, sizeof s->version);
    get_text(versions, "mpi", s->mpi, sizeof s->mpi);
    json_decref(json);
out:
    free(path);
    return status;
}

void mu_event_json(const char *kind, const char *host, int rank, const char *text, mu_buf_t *out)
{
    json_t *json = json_pack("{s:f, s:s}", "time", mu_wall_seconds(), "kind", kind);
    if (host)
        json_object_set_new(json, "host", text_json(host));
    if (rank >= 0)
        json_object_set_new(json, "rank", json_integer(rank));
    json_object_set_new(json, "text", text_json(text));
    dump(json, JSON_COMPACT, out);
}

void mu_event_over_json(int exit_code, double checkpoint_s, int64_t last_checkpoint, const char *text,
                        mu_buf_t *out)
{
    json_t *json =
        json_pack("{s:f, s:s, s:i, s:f, s:I}", "time", mu_wall_seconds(), "kind", "over", "exit_code",
                  exit_code, "checkpoint_s", checkpoint_s, "last_checkpoint", (json_int_t)last_checkpoint);
    json_object_set_new(json, "text", text_json(text));
    dump(json, JSON_COMPACT, out);
}

/* ---- ownership ---- */

mu_status_t mu_rundir_check_name(const char *dir)
{
    json_t *text = json_string(dir);
    bool fine = text != NULL;
    json_decref(text);
    return fine
               ? MU_OK
               : mu_fail(MU_RUNDIR,
                         "run directory '%s': the path is not UTF-8: name it otherwise, or make a link to it",
                         dir);
}

static const int64_t MOST_WAIT_NS = (int64_t)10 * 1000000000;
static const struct flock whole_file = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

static mu_status_t make_folders(const char *dir)
{
    static const char *const inside[] = {"logs", "checkpoints"};
    MU_TRY(mu_make_dirs(dir, 0700));
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        char *path = mu_path_join(dir, inside[i]);
        mu_status_t status = mu_make_dirs(path, 0700);
        free(path);
        if (status != MU_OK)
            return status;
    }
    return MU_OK;
}

static void read_owner(int fd, char *out, size_t size)
{
    ssize_t n = pread(fd, out, size - 1, 0);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    for (char *p = out; *p; p++)
        if (*p < ' ' || *p > 126)
            *p = '?';
}

static mu_status_t write_owner(const mu_claim_t *claim)
{
    char text[512], host[256] = "unknown", when[32];
    gethostname(host, sizeof host - 1);
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    int n = snprintf(text, sizeof text, "pid %ld on %s since %s\n", (long)getpid(), host, when);
    if (ftruncate(claim->fd, 0) != 0 || !mu_pwrite_all(claim->fd, text, (size_t)n, 0) ||
        fsync(claim->fd) != 0)
        return mu_fail(mu_make_status(errno), "%s: cannot write: %s", claim->path, strerror(errno));
    return MU_OK;
}

mu_status_t mu_rundir_check_files(const char *dir)
{
    static const char *const names[] = {"config.yml",   "run.json",      "metrics.jsonl", "events.jsonl",
                                        "verdict.json", "complete.json", "stop",          "drain",
                                        "control.key",  "run.id",        "launcher.lock", "logs/mpirun.log"};
    mu_status_t status = MU_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == MU_OK; i++) {
        char *path = mu_path_join(dir, names[i]);
        struct stat st;
        if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode))
            status = mu_fail(MU_RUNDIR, "%s: is %s, not a file: remove it, or give another --run-dir", path,
                             S_ISDIR(st.st_mode)    ? "a directory"
                             : S_ISFIFO(st.st_mode) ? "a FIFO"
                             : S_ISLNK(st.st_mode)  ? "a symbolic link"
                                                    : "a device or socket");
        free(path);
    }
    return status;
}

/* Also while nobody has waited for it: its files are closed then. */
static bool has_ended(long pid)
{
    char path[64], text[512];
    if (kill((pid_t)pid, 0) != 0)
        return errno == ESRCH;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[n] = '\0';
    const char *name_end = strrchr(text, ')'); /* then its state */
    return name_end && (strncmp(name_end, ") Z", 3) == 0 || strncmp(name_end, ") X", 3) == 0);
}

/* Whether the launcher that `owner` names was on this host and has ended: what it left (the process that writes the run
 * directory) may have the lock until it has written. */
static bool owner_ended(const char *owner)
{
    char host[256] = "", named[256];
    long pid;
    return gethostname(host, sizeof host - 1) == 0 &&
           sscanf(owner, "pid %ld on %255s since", &pid, named) == 2 && strcmp(host, named) == 0 && pid > 0 &&
           has_ended(pid);
}

/* Takes the lock, or says in errno why not. Waits for what a launcher that was killed left. */
static bool take_lock(int fd, char *owner, size_t size)
{
    struct flock lock = whole_file;
    for (int64_t began = mu_now_ns();; mu_sleep_ms(20)) {
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
            return true;
        int error = errno;
        read_owner(fd, owner, size);
        bool wait =
            (error == EAGAIN || error == EACCES) && mu_now_ns() - began < MOST_WAIT_NS && owner_ended(owner);
        errno = error;
        if (!wait)
            return false;
    }
}

mu_status_t mu_rundir_claim(const char *dir, mu_claim_t *out)
{
    char owner[256];
    MU_TRY(make_folders(dir));
    MU_TRY(mu_rundir_check_files(dir));
    mu_claim_t claim = {.path = mu_path_join(dir, "launcher.lock")};
    mu_status_t status = MU_OK;
    claim.fd = open(claim.path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (claim.fd < 0) {
        status = mu_fail(mu_make_status(errno), "%s: cannot open: %s", claim.path, strerror(errno));
        goto fail;
    }
    /* The lock belongs to the open file: it goes with the last process that has it open, whatever ends it,
     * and network file systems carry it between hosts. */
    if (!take_lock(claim.fd, owner, sizeof owner)) {
        if (errno == EAGAIN || errno == EACCES) {
            status = mu_fail(MU_RUNDIR,
                             "%s: another launcher runs here: %s: stop it (muster stop %s), or give another "
                             "--run-dir",
                             dir, *owner ? owner : "unknown", dir);
            goto fail;
        }
        mu_warn("%s: this volume has no locks (%s): see to it that no second launcher uses it", dir,
                strerror(errno));
    }
    status = write_owner(&claim);
    if (status != MU_OK)
        goto fail;
    *out = claim;
    return MU_OK;
fail:
    mu_rundir_release(&claim);
    return status;
}

void mu_rundir_release(mu_claim_t *claim)
{
    if (claim->fd >= 0)
        close(claim->fd);
    free(claim->path);
    *claim = (mu_claim_t){.fd = -1};
}

bool mu_rundir_is_claimed(const char *dir)
{
    char *path = mu_path_join(dir, "launcher.lock");
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct flock lock = whole_file;
    bool claimed = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    if (fd >= 0)
        close(fd);
    free(path);
    return claimed;
}

bool mu_rundir_stands(const char *dir, int fd)
{
    char *path = mu_path_join(dir, "launcher.lock");
    struct stat held, named;
    bool gone = fstat(fd, &held) == 0 && stat(path, &named) != 0 && (errno == ENOENT || errno == ENOTDIR);
    bool other = !gone && fstat(fd, &held) == 0 && stat(path, &named) == 0 &&
                 (held.st_dev != named.st_dev || held.st_ino != named.st_ino);
    free(path);
    return !gone && !other;
}

enum { ID_HEX = 32 };

static bool read_id(const char *path, char out[ID_HEX + 1])
{
    mu_buf_t text = MU_BUF_INIT;
    bool good = mu_is_file(path) && mu_file_read(path, SMALL_FILE, &text) == MU_OK && text.len > ID_HEX &&
                strspn(text.data, "0123456789abcdef") == ID_HEX;
    if (good)
        snprintf(out, ID_HEX + 1, "%.*s", ID_HEX, text.data);
    mu_buf_release(&text);
    return good;
}

static mu_status_t make_id(const char *path, char id[ID_HEX + 2])
{
    uint8_t raw[ID_HEX / 2];
    randombytes_buf(raw, sizeof raw);
    sodium_bin2hex(id, ID_HEX + 1, raw, sizeof raw);
    snprintf(id + ID_HEX, 2, "\n");
    mu_status_t status = mu_file_replace(path, id, ID_HEX + 1, 0600);
    id[ID_HEX] = '\0';
    return status;
}

mu_status_t mu_rundir_new_token(const char *dir, char out[33])
{
    char *path = mu_path_join(dir, "run.id"), id[ID_HEX + 2];
    mu_status_t status = make_id(path, id);
    free(path);
    return status == MU_OK ? mu_rundir_token(dir, out) : status;
}

mu_status_t mu_rundir_token(const char *dir, char out[33])
{
    char *path = mu_path_join(dir, "run.id"), id[ID_HEX + 2];
    uint8_t raw[ID_HEX / 2];
    struct stat st;
    mu_status_t status = read_id(path, id) ? MU_OK : make_id(path, id);
    if (status == MU_OK && stat(dir, &st) != 0)
        status = mu_fail(mu_make_status(errno), "%s: %s", dir, strerror(errno));
    if (status == MU_OK) {
        char *text = mu_format("%s %llu", id, (unsigned long long)st.st_ino);
        crypto_generichash(raw, sizeof raw, (const uint8_t *)text, strlen(text), NULL, 0);
        sodium_bin2hex(out, ID_HEX + 1, raw, sizeof raw);
        free(text);
    }
    free(path);
    return status;
}

/* ---- verdict ---- */

bool mu_status_is_final(mu_status_t status)
{
    switch (status) {
    case MU_USAGE:
    case MU_DATA:
    case MU_NOINPUT:
    case MU_RUNDIR:
    case MU_AUTH:
    case MU_CONFIG:
    case MU_DIVERGED:
    case MU_NOVALID:
    case MU_NOPROGRESS:
        return true;
    default:
        return false;
    }
}

mu_status_t mu_verdict_write(const char *dir, const mu_verdict_t *verdict)
{
    char *path = mu_path_join(dir, "verdict.json");
    mu_buf_t text = MU_BUF_INIT;
    json_t *json = json_pack("{s:i, s:s, s:s, s:f}", "exit_code", mu_status_exit(verdict->status), "status",
                             mu_status_name(verdict->status), "config_digest", verdict->config_digest, "time",
                             mu_wall_seconds());
    json_object_set_new(json, "reason", text_json(verdict->reason));
    dump(json, JSON_INDENT(2), &text);
    mu_status_t status = mu_file_replace(path, text.data, text.len, 0600);
    mu_buf_release(&text);
    free(path);
    return status;
}

mu_status_t mu_verdict_read(const char *dir, const char *config_digest, mu_verdict_t *out)
{
    char *path = mu_path_join(dir, "verdict.json");
    mu_verdict_t verdict = {0};
    json_t *json = load(path);
    if (json) {
        verdict.status = mu_status_from_exit((int)json_integer_value(json_object_get(json, "exit_code")));
        get_text(json, "config_digest", verdict.config_digest, sizeof verdict.config_digest);
        get_text(json, "reason", verdict.reason, sizeof verdict.reason);
    } else if (mu_is_file(path)) {
        mu_warn("%s: damaged, and taken for absent", path);
    }
    if (!mu_status_is_final(verdict.status) ||
        (config_digest && strcmp(config_digest, verdict.config_digest) != 0))
        verdict = (mu_verdict_t){0};
    json_decref(json);
    free(path);
    *out = verdict;
    return MU_OK;
}

/* ---- stop ---- */

mu_status_t mu_stop_ask(const char *dir, mu_stop_t stop)
{
    char *path = mu_path_join(dir, "stop");
    const char *text = stop == MU_STOP_NOW ? "now\n" : "checkpoint\n";
    mu_status_t status = mu_file_replace(path, text, strlen(text), 0600);
    free(path);
    return status;
}

mu_stop_t mu_stop_asked(const char *dir)
{
    char *path = mu_path_join(dir, "stop"), text[16] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    mu_stop_t stop = MU_STOP_NONE;
    if (fd >= 0) {
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        stop = strncmp(text, "now", 3) == 0 ? MU_STOP_NOW : MU_STOP_SAVE;
        close(fd);
    }
    free(path);
    return stop;
}

void mu_stop_forget(const char *dir)
{
    char *path = mu_path_join(dir, "stop");
    unlink(path);
    free(path);
}

/* ---- drain ---- */

mu_status_t mu_drain_ask(const char *dir, const char *host)
{
    char *path = mu_path_join(dir, "drain"), *line = mu_format("%s\n", host);
    mu_status_t status = mu_file_replace(path, line, strlen(line), 0600);
    free(path);
    free(line);
    return status;
}

bool mu_drain_waits(const char *dir)
{
    char *path = mu_path_join(dir, "drain");
    struct stat st;
    bool there = lstat(path, &st) == 0;
    free(path);
    return there;
}

bool mu_drain_take(const char *dir, char host[256])
{
    char *path = mu_path_join(dir, "drain");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    host[0] = '\0';
    if (fd >= 0) {
        ssize_t n = read(fd, host, 255);
        host[n > 0 ? n : 0] = '\0';
        host[strcspn(host, "\n")] = '\0';
        close(fd);
    }
    bool taken = unlink(path) == 0;
    free(path);
    return taken;
}
