/* The guard against a launcher played by this program: what it says, obeys, and does when nobody answers. */
#include "worker/guard/guard.h"
#include "common/buf.h"
#include "common/clock.h"
#include "common/control/control_link.h"
#include "common/file.h"
#include "common/log.h"
#include "worker/guard/guard_impl.h"
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct stage {
    uint8_t key[MU_CONTROL_KEY_BYTES];
    int door;
    char dir[64], address[64];
    pid_t guard;
    mu_link_t *link[8];
    int links;
    bool answering[8]; /* connection i gets answers */
    mu_order_t order;
    mu_hello_t hello;
    mu_heartbeat_t heartbeat;
    mu_death_t death;
    mu_line_t line;
    int seen[MU_MESSAGE_COUNT];
} stage_t;

static double seconds_since(int64_t since)
{
    return (double)(mu_now_ns() - since) * 1e-9;
}

static void stage_open(stage_t *s)
{
    *s = (stage_t){0};
    mu_control_key_new(s->key);
    snprintf(s->dir, sizeof s->dir, "/tmp/muster-guard-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    char *logs = mu_path_join(s->dir, "logs");
    assert_int_equal(mu_make_dirs(logs, 0), MU_OK);
    free(logs);
    mu_address_t address;
    mu_address_parse("127.0.0.1:1", &address);
    ((struct sockaddr_in *)&address.sa)->sin_port = 0;
    s->door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(s->door, (struct sockaddr *)&address.sa, address.len), 0);
    assert_int_equal(listen(s->door, 8), 0);
    assert_int_equal(getsockname(s->door, (struct sockaddr *)&address.sa, &address.len), 0);
    mu_address_format(&address, s->address, sizeof s->address);
    for (int i = 0; i < 8; i++)
        s->answering[i] = true;
}

static void stage_close(stage_t *s)
{
    if (s->guard > 0) {
        kill(s->guard, SIGKILL);
        waitpid(s->guard, NULL, 0);
    }
    for (int i = 0; i < s->links; i++)
        mu_link_close(s->link[i]);
    close(s->door);
    assert_int_equal(mu_remove_tree(s->dir), MU_OK);
}

/* The rank's part of a case. */
typedef int (*part_t)(mu_page_t *page);

static void start(stage_t *s, part_t part, const char *lease)
{
    char hex[2 * MU_CONTROL_KEY_BYTES + 1];
    mu_control_key_hex(s->key, hex);
    fflush(NULL);
    s->guard = fork();
    assert_true(s->guard >= 0);
    if (s->guard > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("OMPI_COMM_WORLD_RANK", "3", 1);
    setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
    if (lease) {
        setenv("MUSTER_CONTROL", s->address, 1);
        setenv("MUSTER_CONTROL_KEY", hex, 1);
        setenv("MUSTER_LEASE", lease, 1);
        setenv("MUSTER_RUN_DIR", s->dir, 1);
        setenv("MUSTER_ATTEMPT", "2", 1);
    }
    mu_page_t *page;
    mu_guard_config_t config = {0};
    if (mu_guard_start(&config, &page) != MU_OK)
        _exit(99);
    _exit(part(page));
}

static void take_messages(stage_t *s, int i)
{
    mu_message_t m;
    while (mu_link_next(s->link[i], &m)) {
        s->seen[m.type]++;
        if (m.type == MU_MESSAGE_HELLO)
            s->hello = m.hello;
        if (m.type == MU_MESSAGE_HEARTBEAT)
            s->heartbeat = m.heartbeat;
        if (m.type == MU_MESSAGE_DEATH)
            s->death = m.death;
        if (m.type == MU_MESSAGE_LINE)
            s->line = m.line;
        int64_t sequence = m.type == MU_MESSAGE_HEARTBEAT ? m.heartbeat.sequence
                           : m.type == MU_MESSAGE_DEATH   ? m.death.sequence
                                                          : 0;
        if (sequence > s->order.sequence)
            s->order.sequence = sequence;
        mu_message_t answer = {.type = MU_MESSAGE_ORDER, .order = s->order};
        if (s->answering[i])
            mu_link_send(s->link[i], &answer);
    }
}

/* Plays the launcher until `done`, or fails. Returns the seconds it took. */
static double play(stage_t *s, bool (*done)(const stage_t *s), double limit)
{
    int64_t begin = mu_now_ns();
    while (!done(s)) {
        struct pollfd fds[9] = {{s->door, POLLIN, 0}};
        for (int i = 0; i < s->links; i++)
            fds[1 + i] =
                (struct pollfd){s->link[i]->closed ? -1 : s->link[i]->fd, mu_link_events(s->link[i]), 0};
        int links = s->links;
        poll(fds, (nfds_t)(1 + links), 20);
        if (fds[0].revents && links < 8)
            s->link[s->links++] = mu_link_accept(accept4(s->door, NULL, NULL, SOCK_NONBLOCK), s->key);
        for (int i = 0; i < links; i++) {
            if (fds[1 + i].revents)
                mu_link_move(s->link[i], fds[1 + i].revents);
            take_messages(s, i);
        }
        if (seconds_since(begin) > limit)
            fail_msg("nothing happened for %g s", limit);
    }
    return seconds_since(begin);
}

static int wait_guard(stage_t *s)
{
    int status = 0;
    for (int i = 0; i < 500; i++) {
        if (waitpid(s->guard, &status, WNOHANG) == s->guard) {
            s->guard = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        }
        mu_sleep_ms(10);
    }
    fail_msg("the guard did not end");
    return -1;
}

static bool gone(pid_t pid)
{
    char state;
    int64_t rss;
    mu_proc_state(pid, &state, &rss);
    return state == '?' || state == 'Z';
}

/* What fork and waitpid() alone cost on this machine now. */
static double waitpid_delay(void)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    int64_t begin = mu_now_ns();
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return seconds_since(begin);
}

static bool has_beats(const stage_t *s)
{
    return s->seen[MU_MESSAGE_HEARTBEAT] >= 2 && s->heartbeat.step == 17;
}
static bool has_death(const stage_t *s)
{
    return s->seen[MU_MESSAGE_DEATH] > 0;
}

static int part_steps(mu_page_t *page)
{
    mu_page_phase(page, MU_PHASE_STEP);
    atomic_store(&page->step, 17);
    atomic_store(&page->loss, 2.5);
    mu_page_collective_begin(page, "tp", 88, "allreduce", 4096);
    while (atomic_load(&page->request) < MU_REQUEST_STOP)
        mu_sleep_ms(5);
    return 75;
}

static void says_hello_beats_and_obeys_stop(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    start(&s, part_steps, "15");
    play(&s, has_beats, 10);
    assert_int_equal(s.seen[MU_MESSAGE_HELLO], 1);
    assert_int_equal(s.hello.rank, 3);
    assert_int_equal(s.hello.world_size, 4);
    assert_int_equal(s.hello.attempt, 2);
    assert_int_equal(s.hello.guard_pid, s.guard);
    assert_string_equal(s.hello.version, MU_VERSION);
    assert_int_equal(s.heartbeat.phase, MU_PHASE_STEP);
    assert_int_equal(s.heartbeat.collective, 88);
    assert_int_equal(s.heartbeat.in_collective, 1);
    assert_string_equal(s.heartbeat.comm, "tp");
    assert_string_equal(s.heartbeat.operation, "allreduce");
    assert_true(s.heartbeat.loss == 2.5);
    assert_true(s.heartbeat.state == 'S' || s.heartbeat.state == 'R');
    assert_true(s.heartbeat.rss_bytes > 0);
    s.order.request = MU_REQUEST_STOP;
    play(&s, has_death, 10);
    assert_int_equal(s.death.exit_code, 75);
    assert_int_equal(s.death.signal, 0);
    assert_int_equal(s.death.reason, MU_DEATH_BY_ITSELF);
    assert_int_equal(wait_guard(&s), 75);
    assert_true(gone((pid_t)s.hello.rank_pid));
    stage_close(&s);
}

static int part_talk(mu_page_t *page)
{
    mu_page_phase(page, MU_PHASE_FINISH);
    mu_info("a quiet line");
    mu_warn("a loud line");
    printf("\x1b[31mthe end");
    fflush(stdout);
    return getenv("MUSTER_CONTROL") || getenv("MUSTER_CONTROL_KEY") ? 98 : 66;
}

static bool has_death_and_line(const stage_t *s)
{
    return s->seen[MU_MESSAGE_DEATH] > 0 && s->seen[MU_MESSAGE_LINE] > 0;
}

static void keeps_the_log_and_passes_warnings_on(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    start(&s, part_talk, "15");
    play(&s, has_death_and_line, 10);
    assert_int_equal(s.death.exit_code, 66);
    assert_string_equal(s.death.last_line, "\x1b[31mthe end");
    assert_int_equal(s.seen[MU_MESSAGE_LINE], 1);
    assert_string_equal(s.line.text, "rank 3: warning: a loud line");
    assert_int_equal(s.line.level, MU_LOG_WARN);
    /* it had come to its end, and the launcher knows the code: mpirun need not take the others down */
    assert_int_equal(wait_guard(&s), 0);
    mu_buf_t text = MU_BUF_INIT;
    char *path = mu_format("%s/logs/rank-00003.log", s.dir);
    mu_sleep_ms(100);
    assert_int_equal(mu_file_read(path, 4096, &text), MU_OK);
    assert_string_equal(text.data, "rank 3: a quiet line\nrank 3: warning: a loud line\n\x1b[31mthe end");
    free(path);
    mu_buf_release(&text);
    stage_close(&s);
}

static bool has_beat(const stage_t *s)
{
    return s->seen[MU_MESSAGE_HEARTBEAT] > 0;
}

static void names_a_signal_at_once(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    start(&s, part_steps, "15");
    play(&s, has_beat, 10);
    double delay = waitpid_delay();
    kill((pid_t)s.hello.rank_pid, SIGKILL);
    double took = play(&s, has_death, 10);
    if (took > 0.5 + delay)
        fail_msg("named after %g s; waitpid() alone takes %g s", took, delay);
    assert_int_equal(s.death.signal, SIGKILL);
    assert_int_equal(s.death.exit_code, -1);
    assert_int_equal(s.death.oom_kills, 0);
    assert_int_equal(wait_guard(&s), 128 + SIGKILL);
    stage_close(&s);
}

static bool is_stopped(const stage_t *s)
{
    return s->heartbeat.state == 'T';
}

static void sees_a_stopped_rank_and_kills_it_when_told(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    start(&s, part_steps, "15");
    play(&s, has_beat, 10);
    kill((pid_t)s.hello.rank_pid, SIGSTOP);
    assert_true(play(&s, is_stopped, 10) < 5);
    s.order.kill = 1;
    play(&s, has_death, 10);
    assert_int_equal(s.death.reason, MU_DEATH_BY_ORDER);
    assert_int_equal(s.death.signal, SIGKILL);
    stage_close(&s);
}

static bool is_dead(const stage_t *s)
{
    return gone((pid_t)s->hello.rank_pid);
}

static void ends_its_rank_when_the_lease_runs_out(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    start(&s, part_steps, "1.5");
    play(&s, has_beats, 10);
    double delay = waitpid_delay();
    for (int i = 0; i < 8; i++)
        s.answering[i] = false;
    double took = play(&s, is_dead, 10);
    assert_true(took > 0.5);
    if (took > 1.5 + 0.5 + delay)
        fail_msg("ended after %g s", took);
    assert_int_equal(wait_guard(&s), 83);
    stage_close(&s);
}

static bool has_second_link(const stage_t *s)
{
    return s->links >= 2;
}
static bool first_is_closed(const stage_t *s)
{
    return s->link[0]->closed;
}

static void dials_again_when_nobody_answers(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    start(&s, part_steps, "20");
    play(&s, has_beat, 10);
    s.answering[0] = false;
    assert_true(play(&s, has_second_link, 10) > 1);
    assert_false(s.link[0]->closed); /* it may still be the one that answers */
    play(&s, first_is_closed, 10);   /* the second one answered */
    int beats = s.seen[MU_MESSAGE_HEARTBEAT];
    assert_int_equal(s.seen[MU_MESSAGE_HELLO], 2);
    mu_sleep_ms(10);
    s.order.request = MU_REQUEST_STOP;
    play(&s, has_death, 10);
    assert_true(s.seen[MU_MESSAGE_HEARTBEAT] >= beats);
    assert_int_equal(wait_guard(&s), 75);
    stage_close(&s);
}

static void takes_its_rank_along(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    start(&s, part_steps, "20");
    play(&s, has_beat, 10);
    kill(s.guard, SIGKILL);
    waitpid(s.guard, NULL, 0);
    s.guard = 0;
    assert_true(play(&s, is_dead, 5) < 2);
    stage_close(&s);
}

static void teardown_is_told_apart(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    start(&s, part_steps, "20");
    play(&s, has_beat, 10);
    kill(s.guard, SIGTERM);
    play(&s, has_death, 5);
    assert_int_equal(s.death.reason, MU_DEATH_BY_TEARDOWN);
    stage_close(&s);
}

static int part_by_hand(mu_page_t *page)
{
    return part_steps(page) == 75 && !getenv("MUSTER_CONTROL") ? 75 : 1;
}

static void by_hand_sigterm_asks_for_a_stop(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    start(&s, part_by_hand, NULL);
    mu_sleep_ms(300);
    kill(s.guard, SIGTERM);
    assert_int_equal(wait_guard(&s), 75);
    stage_close(&s);
}

static int part_flood(mu_page_t *page)
{
    (void)page;
    for (int i = 0; i < 100000; i++)
        fprintf(stderr, "rank 3: error: line %d of a flood ........................................\n", i);
    return 1;
}

static void a_flood_of_lines_is_bounded(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    start(&s, part_flood, "20");
    play(&s, has_death, 30);
    assert_in_range(s.seen[MU_MESSAGE_LINE], 1, 200);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_hello_beats_and_obeys_stop),
        cmocka_unit_test(keeps_the_log_and_passes_warnings_on),
        cmocka_unit_test(names_a_signal_at_once),
        cmocka_unit_test(sees_a_stopped_rank_and_kills_it_when_told),
        cmocka_unit_test(ends_its_rank_when_the_lease_runs_out),
        cmocka_unit_test(dials_again_when_nobody_answers),
        cmocka_unit_test(takes_its_rank_along),
        cmocka_unit_test(teardown_is_told_apart),
        cmocka_unit_test(by_hand_sigterm_asks_for_a_stop),
        cmocka_unit_test(a_flood_of_lines_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
