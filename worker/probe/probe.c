#include "worker/probe/probe_internal.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/log.h"
#include "common/machine.h"
#include "common/run/orphan_cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

mu_probe_child_t mu_probe_child(mu_probe_look_t look, const json_t *ask)
{
    mu_probe_child_t child = {-1, -1};
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return child;
    child.pid = fork();
    if (child.pid == 0) {
        json_t *seen = look(ask);
        char *text = json_dumps(seen, JSON_COMPACT);
        _exit(text && mu_write_all(fds[1], text, strlen(text)) ? 0 : 1);
    }
    close(fds[1]);
    child.fd = fds[0];
    return child;
}

json_t *mu_probe_collect(mu_probe_child_t *child, double seconds, int64_t begin_ns)
{
    mu_buf_t text = MU_BUF_INIT;
    int64_t end_ns = begin_ns + (int64_t)(seconds * 1e9);
    bool complete = false;
    if (child->pid < 0)
        return mu_probe_state("error", "cannot start a process there");
    for (;;) {
        char bytes[4096];
        int64_t left = end_ns - mu_now_ns();
        struct pollfd p = {child->fd, POLLIN, 0};
        if (left <= 0 || poll(&p, 1, (int)(left / 1000000) + 1) == 0)
            break;
        ssize_t n = read(child->fd, bytes, sizeof bytes);
        complete = n == 0;
        if (n == 0 || (n < 0 && errno != EINTR) || text.len > MU_PROBE_LINE)
            break;
        if (n > 0)
            mu_buf_add(&text, bytes, (size_t)n);
    }
    close(child->fd);
    json_t *seen = NULL;
    if (!complete) {
        kill(child->pid, SIGKILL);
        waitpid(child->pid, NULL, WNOHANG);
        char *why = mu_format("no answer in %.1f s", seconds);
        seen = mu_probe_state("error", why);
        json_object_set_new(seen, "timeout", json_true());
        free(why);
    } else {
        int status = 0;
        waitpid(child->pid, &status, 0);
        seen = text.len ? json_loadb(text.data, text.len, 0, NULL) : NULL;
        if (!seen) {
            char *why = WIFSIGNALED(status) ? mu_format("the look ended by signal %d", WTERMSIG(status))
                                            : mu_strdup("the look gave nothing");
            seen = mu_probe_state("error", why);
            free(why);
        }
    }
    mu_buf_release(&text);
    return seen;
}

/* How many processes there were; nothing is done for a token that is none. */
static json_t *orphan_cleanup(const json_t *wish)
{
    const char *token = json_string_value(json_object_get(wish, "token"));
    json_int_t last = json_integer_value(json_object_get(wish, "last"));
    if (!token || !mu_run_token_ok(token))
        return json_integer(0);
    int ended = mu_orphan_cleanup_processes(token, last);
    mu_orphan_cleanup_folders(token);
    mu_orphan_cleanup_copies(token, json_string_value(json_object_get(wish, "copies")));
    return json_integer(ended);
}

json_t *mu_probe_answer(const json_t *ask)
{
    static const struct {
        const char *key; /* in the facts; parts that have settings are looked at only when asked for */
        mu_probe_look_t look;
        bool if_asked;
    } parts[] = {{"storage", mu_probe_storage, true},
                 {"tmp", mu_probe_tmp, true},
                 {"back", mu_probe_back, true},
                 {"gpu", mu_probe_gpu, false},
                 {"ibverbs", mu_probe_ibverbs, false}};
    enum { PARTS = sizeof parts / sizeof *parts };
    mu_probe_child_t child[PARTS];
    int64_t begin_ns = mu_now_ns();
    double seconds = json_number_value(json_object_get(ask, "seconds"));
    json_t *facts = json_pack("{s:f}", "time", mu_wall_seconds());

    if (json_object_get(ask, "orphan_cleanup"))
        json_object_set_new(facts, "orphans", orphan_cleanup(json_object_get(ask, "orphan_cleanup")));
    if (json_object_get(ask, "orphan_cleanup") && json_object_size(ask) == 1)
        return facts;
    if (seconds <= 0)
        seconds = 10;
    for (int i = 0; i < PARTS; i++)
        if (!parts[i].if_asked || json_object_get(ask, parts[i].key))
            child[i] = mu_probe_child(parts[i].look, ask);
    json_object_set_new(facts, "versions", mu_probe_versions(ask));
    json_object_set_new(facts, "libraries", mu_probe_libraries());
    json_object_set_new(facts, "resources", mu_probe_resources(ask));
    if (json_object_get(ask, "daemon"))
        json_object_set_new(facts, "daemon", mu_probe_daemon(ask));
    for (int i = 0; i < PARTS; i++)
        if (!parts[i].if_asked || json_object_get(ask, parts[i].key))
            json_object_set_new(facts, parts[i].key, mu_probe_collect(&child[i], seconds, begin_ns));
    json_object_set_new(facts, "sent", json_real(mu_wall_seconds()));
    return facts;
}

static bool say(int fd, const char *word, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII), *line;
    if (!text)
        return false;
    line = mu_format("%s%s\n", word, text);
    bool written = mu_write_all(fd, line, strlen(line));
    free(text);
    free(line);
    return written;
}

static bool say_hello(int fd)
{
    char host[256] = "", build[MU_DIGEST_HEX], machine[MU_MACHINE_SIZE];
    if (gethostname(host, sizeof host - 1) != 0 || mu_digest_file("/proc/self/exe", build) != MU_OK)
        return false;
    mu_machine_id(machine);
    json_t *hello = json_pack("{s:s, s:s, s:s+, s:i, s:s}", "version", MU_VERSION, "build", build, "host",
                              host, "", "pid", (int)getpid(), "machine", machine);
    bool said = say(fd, MU_PROBE_HELLO, hello);
    json_decref(hello);
    return said;
}

/* What lasts from line to line. */
typedef struct probe {
    int out;
    mu_buf_t in;
    mu_mesh_t *mesh; /* NULL: does not listen */
    int peers;       /* being dialed; -1: none are */
} probe_t;

static json_t *object_of(const char *line, size_t n, const char *word)
{
    size_t length = strlen(word);
    json_t *object = n > length ? json_loadb(line + length, n - length, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_object(object))
        return object;
    json_decref(object);
    return NULL;
}

/* A line that is no question gets an answer that says so. */
static bool answer_ask(probe_t *probe, json_t *ask)
{
    json_t *facts = ask ? mu_probe_answer(ask) : mu_probe_state("error", "not a question");
    const json_t *wish = json_object_get(ask, "mesh");
    if (wish) {
        mu_mesh_free(probe->mesh);
        json_object_set_new(facts, "mesh", mu_probe_mesh_listen(wish, &probe->mesh));
        probe->peers = -1;
    }
    bool said = say(probe->out, MU_PROBE_FACTS, facts);
    json_decref(facts);
    return said;
}

static bool answer_mesh(probe_t *probe, const json_t *line)
{
    bool said = true;
    if (line && json_object_size(line) == 0) {
        mu_mesh_free(probe->mesh);
        probe->mesh = NULL;
        probe->peers = -1;
    } else if (line && probe->mesh && mu_probe_mesh_dial(probe->mesh, line)) {
        probe->peers = (int)json_array_size(json_object_get(line, "to"));
    } else {
        json_t *error = mu_probe_state("error", probe->mesh ? "not a list of hosts" : "not listening");
        said = say(probe->out, MU_PROBE_MESH, error);
        json_decref(error);
    }
    return said;
}

static bool answer_line(probe_t *probe, const char *line, size_t n)
{
    bool mesh = n > strlen(MU_PROBE_MESH) && memcmp(line, MU_PROBE_MESH, strlen(MU_PROBE_MESH)) == 0;
    bool ask = n > strlen(MU_PROBE_ASK) && memcmp(line, MU_PROBE_ASK, strlen(MU_PROBE_ASK)) == 0;
    json_t *object = mesh || ask ? object_of(line, n, mesh ? MU_PROBE_MESH : MU_PROBE_ASK) : NULL;
    bool said = mesh ? answer_mesh(probe, object) : answer_ask(probe, object);
    json_decref(object);
    return said;
}

static bool tell_mesh(probe_t *probe)
{
    json_t *seen = mu_probe_mesh_seen(probe->mesh, probe->peers);
    bool said = say(probe->out, MU_PROBE_MESH, seen);
    probe->peers = -1;
    json_decref(seen);
    return said;
}

/* Until there is something to read; meanwhile other hosts are served and dialed. */
static bool wait_for_line(probe_t *probe)
{
    struct pollfd fds[1 + MU_MESH_FDS] = {{STDIN_FILENO, POLLIN, 0}};
    while (!fds[0].revents) {
        if (probe->peers >= 0 && mu_mesh_done(probe->mesh) && !tell_mesh(probe))
            return false;
        int n = probe->mesh ? mu_mesh_gather(probe->mesh, fds + 1) : 0;
        if (poll(fds, (nfds_t)n + 1, probe->peers >= 0 ? 50 : -1) < 0) {
            if (errno != EINTR)
                return false;
            continue;
        }
        if (probe->mesh)
            mu_mesh_serve(probe->mesh, fds + 1);
    }
    return true;
}

static mu_status_t answer_lines(probe_t *probe)
{
    mu_buf_t *in = &probe->in;
    for (;;) {
        char bytes[4096], *newline;
        if (!wait_for_line(probe))
            return mu_fail(MU_IO, "cannot write facts: %s", strerror(errno));
        ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return MU_OK;
        mu_buf_add(in, bytes, (size_t)n);
        while ((newline = memchr(in->data, '\n', in->len))) {
            size_t length = (size_t)(newline - in->data);
            if (!answer_line(probe, in->data, length))
                return mu_fail(MU_IO, "cannot write facts: %s", strerror(errno));
            memmove(in->data, newline + 1, in->len - length);
            in->len -= length + 1;
        }
        if (in->len > MU_PROBE_LINE)
            return mu_fail(MU_IO, "a question is longer than %d bytes", MU_PROBE_LINE);
    }
}

mu_status_t mu_probe_main(void)
{
    /* a library that prints something must not print into the protocol */
    probe_t probe = {.out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3), .in = MU_BUF_INIT, .peers = -1};
    mu_log_tag("muster-worker --probe");
    signal(SIGPIPE, SIG_IGN);
    if (probe.out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 || !say_hello(probe.out))
        return mu_fail(MU_IO, "cannot write the hello: %s", strerror(errno));
    mu_status_t status = answer_lines(&probe);
    mu_mesh_free(probe.mesh);
    mu_buf_release(&probe.in);
    close(probe.out);
    return status;
}
