/*
 * What the control server costs: the launcher's real supervision of one attempt, with guards or with peers
 * that only send heartbeats, all on this machine over loopback.
 *
 *     bench_control guards|peers COUNT [SECONDS]       default: 20 s
 *
 * guards: COUNT times muster's guard with a rank that only counts steps. peers: COUNT connections of two
 * processes, each with a hello and a heartbeat a second, as a guard would send. Prints what the launcher's
 * process used in SECONDS after all had said hello, as a share of one core, and its memory.
 */
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"
#include "common/control/phase.h"
#include "common/open_files.h"
#include "launcher/monitor/supervise.h"
#include "worker/guard/guard.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PEER_PROCESSES = 2, DIALING_MAX = 100, EVENTS = 512 };
static const int64_t second_ns = 1000000000;

/* ---- simulated peers ---- */

typedef struct peer {
    mu_link_t *link;
    mu_hello_t hello;
    mu_heartbeat_t heartbeat;
    int64_t due_ns;
    bool greeted, joined;
} peer_t;

typedef struct crowd {
    mu_address_t launcher;
    uint8_t key[MU_CONTROL_KEY_BYTES];
    peer_t *peer;
    int count, epoll, dialing, joined;
    bool over;
} crowd_t;

static void dial(crowd_t *c, peer_t *p, int64_t now)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = p};
    if (mu_link_dial(&c->launcher, c->key, &p->link)) {
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, p->link->fd, &event);
        c->dialing++;
    }
    p->due_ns = now + second_ns;
}

static void beat(peer_t *p, int64_t now)
{
    mu_message_t m = {.type = MU_MESSAGE_HEARTBEAT};
    p->heartbeat.sequence++;
    p->heartbeat.step++;
    p->heartbeat.progress += 100;
    m.heartbeat = p->heartbeat;
    mu_link_send(p->link, &m);
    p->due_ns = now + second_ns;
}

static void greet(crowd_t *c, peer_t *p, int64_t now)
{
    mu_message_t m = {.type = MU_MESSAGE_HELLO, .hello = p->hello};
    if (p->greeted || !mu_link_send(p->link, &m))
        return;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
    p->greeted = true;
    c->dialing--;
    beat(p, now);
    p->due_ns = now + second_ns * (p->hello.rank % 1000) / 1000; /* spread over the second from here on */
    epoll_ctl(c->epoll, EPOLL_CTL_MOD, p->link->fd, &event);
}

static void hang_up(crowd_t *c, peer_t *p)
{
    c->dialing -= !p->greeted;
    p->greeted = false;
    mu_link_close(p->link);
    p->link = NULL;
}

static void move(crowd_t *c, peer_t *p, uint32_t events, int64_t now)
{
    mu_message_t m;
    mu_link_move(p->link, (short)((events & EPOLLIN ? POLLIN : 0) | (events & EPOLLOUT ? POLLOUT : 0) |
                                  (events & (EPOLLHUP | EPOLLERR) ? POLLHUP : 0)));
    while (mu_link_next(p->link, &m))
        c->over = c->over || (m.type == MU_MESSAGE_ORDER && m.order.kill);
    if (p->link->closed)
        hang_up(c, p);
    else
        greet(c, p, now);
}

static int play_peers(crowd_t *c)
{
    while (!c->over) {
        struct epoll_event event[EVENTS];
        int n = epoll_wait(c->epoll, event, EVENTS, 5);
        int64_t now = mu_now_ns();
        for (int i = 0; i < n; i++)
            move(c, event[i].data.ptr, event[i].events, now);
        for (int i = 0; i < c->count; i++) {
            peer_t *p = &c->peer[i];
            if (!p->link && c->dialing < DIALING_MAX && now > p->due_ns)
                dial(c, p, now);
            else if (p->link && p->greeted && now > p->due_ns)
                beat(p, now);
        }
    }
    return 0;
}

static int run_peers(int world, int first, int count)
{
    crowd_t c = {.count = count, .epoll = epoll_create1(0)};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!mu_address_parse(getenv("MUSTER_CONTROL"), &c.launcher) ||
        !mu_control_key_parse(getenv("MUSTER_CONTROL_KEY"), c.key))
        return 2;
    c.peer = mu_calloc((size_t)count, sizeof *c.peer);
    for (int i = 0; i < count; i++) {
        peer_t *p = &c.peer[i];
        p->hello =
            (mu_hello_t){.guard_pid = 2, .rank_pid = 3, .rank = first + i, .world_size = world, .attempt = 1};
        snprintf(p->hello.host, sizeof p->hello.host, "gpu-%05d.cluster.example", (first + i) / 8);
        snprintf(p->hello.version, sizeof p->hello.version, "%s", MU_VERSION);
        p->heartbeat =
            (mu_heartbeat_t){.phase = MU_PHASE_STEP, .state = 'S', .rss_bytes = 1 << 30, .loss = 2.5};
        snprintf(p->heartbeat.comm, sizeof p->heartbeat.comm, "dp");
        snprintf(p->heartbeat.operation, sizeof p->heartbeat.operation, "allreduce");
    }
    return play_peers(&c);
}

/* ---- real guards ---- */

static int be_guard(int rank, int world)
{
    char text[16];
    mu_page_t *page;
    mu_guard_config_t config = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(text, sizeof text, "%d", rank);
    setenv("OMPI_COMM_WORLD_RANK", text, 1);
    snprintf(text, sizeof text, "%d", world);
    setenv("OMPI_COMM_WORLD_SIZE", text, 1);
    if (mu_guard_start(&config, &page) != MU_OK)
        return 2;
    mu_page_phase(page, MU_PHASE_STEP);
    for (;;) {
        mu_sleep_ms(500);
        atomic_fetch_add(&page->step, 1);
        mu_page_collective_begin(page, "dp", (uint64_t)atomic_load(&page->step), "allreduce", 1 << 20);
        mu_page_collective_end(page);
    }
}

/* What takes mpirun's place. */
static int start_world(const char *kind, int world)
{
    bool guards = strcmp(kind, "guards") == 0;
    int processes = guards ? world : PEER_PROCESSES;
    for (int i = 0; i < processes; i++) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0 && guards)
            _exit(be_guard(i, world));
        int first = world / processes * i;
        if (pid == 0)
            _exit(run_peers(world, first, i + 1 < processes ? world / processes : world - first));
        if (pid < 0)
            return 2;
    }
    while (wait(NULL) > 0)
        ;
    return 0;
}

/* ---- the launcher ---- */

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals++;
}

static mu_status_t launch(const char *self, const char *dir, const char *kind, int world)
{
    mu_supervisor_t s = {.run_dir = dir, .config_digest = "", .ranks = world, .signals = &signals};
    mu_run_state_t state = {.attempt = 1, .last_checkpoint = -1};
    mu_progress_t progress = {.log_interval = 1 << 30};
    mu_args_t args = {0}, env = {0};
    mu_outcome_t outcome;
    uint8_t key[MU_CONTROL_KEY_BYTES];
    char hex[2 * MU_CONTROL_KEY_BYTES + 1];
    mu_control_key_new(key);
    mu_control_key_hex(key, hex);
    s.limits = (mu_limits_t){.heartbeat = 10, .start = 120};
    s.state = &state;
    s.progress = &progress;
    MU_TRY(mu_rundir_writer_start(dir, -1, &s.writer));
    MU_TRY(mu_server_open("127.0.0.1", key, world, &s.server));
    mu_args_add(&args, self);
    mu_args_add(&args, "--world");
    mu_args_add(&args, kind);
    mu_args_addf(&args, "%d", world);
    mu_args_addf(&env, "MUSTER_CONTROL=%s", mu_server_address(s.server));
    mu_args_addf(&env, "MUSTER_CONTROL_KEY=%s", hex);
    mu_args_add(&env, "MUSTER_ATTEMPT=1");
    s.args = &args;
    s.env = &env;
    MU_TRY(mu_supervise(&s, &outcome));
    if (outcome.status != MU_STOPPED)
        mu_error("%s %s", outcome.who, outcome.what);
    mu_rundir_writer_end(s.writer);
    mu_server_close(s.server);
    return outcome.status;
}

/* ---- the measurement ---- */

static bool joined(const char *dir)
{
    char *path = mu_path_join(dir, "events.jsonl");
    mu_buf_t text = MU_BUF_INIT;
    bool there =
        mu_is_file(path) && mu_file_read(path, 1 << 20, &text) == MU_OK && strstr(text.data, "\"joined\"");
    mu_buf_release(&text);
    free(path);
    return there;
}

static double cpu_seconds(pid_t pid)
{
    char path[64], text[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[n] = '\0';
    const char *p = strrchr(text, ')');
    if (p)
        sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double resident_mib(pid_t pid)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%*d %ld", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

static bool alive(pid_t pid)
{
    return waitpid(pid, NULL, WNOHANG) == 0;
}

static int measure(pid_t launcher, const char *dir, const char *kind, int world, double seconds)
{
    double before = resident_mib(launcher);
    int64_t begin = mu_now_ns();
    while (!joined(dir)) {
        if (!alive(launcher))
            return 1;
        mu_sleep_ms(100);
    }
    double join = (double)(mu_now_ns() - begin) * 1e-9;
    mu_sleep_ms(2000);
    double cpu = cpu_seconds(launcher);
    begin = mu_now_ns();
    mu_sleep_ms((int)(seconds * 1e3));
    cpu = cpu_seconds(launcher) - cpu;
    double wall = (double)(mu_now_ns() - begin) * 1e-9, after = resident_mib(launcher);
    if (!alive(launcher))
        return 1;
    printf("%d %s: all there after %.1f s; then, with %d heartbeats a second, %.2f %% of a core (%.1f us a "
           "heartbeat "
           "and its answer); %.1f MiB, %.1f more than before\n",
           world, kind, join, world, 100 * cpu / wall, 1e6 * cpu / wall / world, after, after - before);
    kill(launcher, SIGTERM);
    mu_sleep_ms(300);
    kill(launcher, SIGTERM);
    waitpid(launcher, NULL, 0);
    return 0;
}

int main(int argc, char **argv)
{
    int64_t world = 0;
    double seconds = 20;
    char dir[] = "/tmp/muster-bench-XXXXXX", self[4096];
    if (argc == 4 && strcmp(argv[1], "--world") == 0 && mu_parse_i64(argv[3], &world))
        return start_world(argv[2], (int)world);
    if (argc < 3 || argc > 4 || (strcmp(argv[1], "guards") != 0 && strcmp(argv[1], "peers") != 0) ||
        !mu_parse_i64(argv[2], &world) || world < 1 || world > 100000 ||
        (argc == 4 && !mu_parse_f64(argv[3], &seconds))) {
        fprintf(stderr, "usage: bench_control guards|peers COUNT [SECONDS]\n");
        return 2;
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0 || !mkdtemp(dir) || mu_open_files_allow(world + 256, world + 256, "the connections") != MU_OK)
        return 1;
    self[n] = '\0';
    char *logs = mu_path_join(dir, "logs");
    mu_make_dirs(logs, 0700);
    free(logs);
    pid_t launcher = fork();
    if (launcher == 0) {
        struct sigaction action = {.sa_handler = count_signal};
        sigaction(SIGTERM, &action, NULL);
        signal(SIGPIPE, SIG_IGN);
        mu_status_t status = launch(self, dir, argv[1], (int)world);
        _exit(status == MU_STOPPED ? 0 : 1);
    }
    int code = measure(launcher, dir, argv[1], (int)world, seconds);
    mu_remove_tree(dir);
    return code;
}
