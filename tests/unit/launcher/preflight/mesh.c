/*
 * Hosts that dial each other: the sockets over loopback, with peers that refuse, are silent, hang up, or take only
 * small packets; the probe's lines, also bad ones; who dials whom; and whom broken connections are held against.
 */
#include "launcher/preflight/preflight_mesh.h"
#include "launcher/mpi/mpirun.h"
#include "launcher/mpi/ports.h"
#include "launcher/ready/ready_internal.h"
#include "worker/probe/probe.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <arpa/inet.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <cmocka.h>
#include <unistd.h>

#define TOKEN    "00112233445566778899aabbccddeeff"
#define LOOPBACK "127.0.0.0/8"

static void keep_quiet(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (void)arg;
}

/* ---- addresses ---- */

static void interfaces_are_chosen(void **state)
{
    (void)state;
    static const struct {
        const char *list, *address; /* NULL: none fits */
    } cases[] = {
        {"lo", "127.0.0.1"},
        {"127.0.0.0/8", "127.0.0.1"},
        {"127.0.0.1/32", "127.0.0.1"},
        {"127.0.0.3/30", "127.0.0.1"}, /* bits after the prefix do not matter, as with Open MPI */
        {"nowhere0,lo", "127.0.0.1"},
        {"203.0.113.0/24,127.0.0.0/9", "127.0.0.1"},
        {"127.128.0.0/9", NULL},
        {"127.0.0.4/30", NULL},
        {"127.0.0.0/33", NULL},
        {"127.0.0.0/-1", NULL},
        {"127.0.0.0/", NULL},
        {"127.0.0/8", NULL},
        {"::/x", NULL},
        {"/8", NULL},
        {",,", NULL},
        {"", NULL},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "/8",
         NULL},
    };
    mu_buf_t have = MU_BUF_INIT;
    char address[MU_ADDRESS_TEXT];
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        bool found = mu_interface_address(cases[c].list, address, &have);
        if (found != (cases[c].address != NULL) || (found && strcmp(address, cases[c].address) != 0))
            fail_msg("%s: %s", cases[c].list, found ? address : "nothing");
        assert_true(!found || have.len == 0);
        assert_null(have.data ? strstr(have.data, "lo 127.0.0.1") : NULL);
    }
    mu_buf_release(&have);
}

static void users_choice_wins(void **state)
{
    (void)state;
    mu_rank_net_t net = mu_mpirun_rank_net(NULL, "10.0.0.0/8");
    assert_true(net.tcp);
    assert_string_equal(net.interfaces, "10.0.0.0/8");
    assert_int_equal(net.port, MU_PORT_RANK);
    assert_int_equal(net.ports, MU_PORT_RANK_COUNT);
    setenv("OMPI_MCA_btl_tcp_if_include", "ib0", 1);
    setenv("OMPI_MCA_btl_tcp_port_min_v4", "65000", 1);
    setenv("OMPI_MCA_btl_tcp_port_range_v4", "5000", 1);
    setenv("OMPI_MCA_btl", "self,tcp", 1);
    net = mu_mpirun_rank_net(NULL, "10.0.0.0/8");
    assert_true(net.tcp);
    assert_string_equal(net.interfaces, "ib0");
    assert_int_equal(net.port, 65000);
    assert_int_equal(net.ports, 536);
    setenv("OMPI_MCA_btl", "^tcp", 1);
    assert_false(mu_mpirun_rank_net(NULL, "x").tcp);
    setenv("OMPI_MCA_btl", "^openib", 1);
    assert_true(mu_mpirun_rank_net(NULL, "x").tcp);
    setenv("OMPI_MCA_btl", "self,vader", 1);
    assert_false(mu_mpirun_rank_net(NULL, "x").tcp);
    unsetenv("OMPI_MCA_btl");
    setenv("OMPI_MCA_pml", "ucx", 1);
    assert_false(mu_mpirun_rank_net(NULL, "x").tcp);
    setenv("OMPI_MCA_pml", "^ucx", 1);
    assert_true(mu_mpirun_rank_net(NULL, "x").tcp);
    unsetenv("OMPI_MCA_pml");
    setenv("OMPI_MCA_btl_tcp_if_exclude", "docker0", 1);
    assert_false(mu_mpirun_rank_net(NULL, "x").tcp);
    unsetenv("OMPI_MCA_btl_tcp_if_exclude");
    unsetenv("OMPI_MCA_btl_tcp_if_include");
    unsetenv("OMPI_MCA_btl_tcp_port_min_v4");
    unsetenv("OMPI_MCA_btl_tcp_port_range_v4");
}

/* ---- sockets ---- */

static mu_mesh_t *mesh_on_loopback(const char *token)
{
    mu_buf_t why = MU_BUF_INIT;
    mu_mesh_t *mesh = NULL;
    if (!mu_mesh_new(LOOPBACK, NULL, MU_PORT_RANK, MU_PORT_RANK_COUNT, token, &why, &mesh))
        fail_msg("%s", why.data);
    mu_buf_release(&why);
    assert_in_range(mu_mesh_self(mesh).port, MU_PORT_RANK, MU_PORT_RANK + MU_PORT_RANK_COUNT - 1);
    return mesh;
}

/* Serves all of them until each has its results. */
static void drive(mu_mesh_t *const *mesh, int n)
{
    static struct pollfd fds[4 * MU_MESH_FDS];
    int64_t end = mu_now_ns() + 20000000000;
    assert_true(n <= 4);
    for (bool done = false; !done;) {
        done = true;
        int at[4], all = 0;
        for (int i = 0; i < n; i++) {
            at[i] = all;
            all += mu_mesh_gather(mesh[i], fds + all);
        }
        assert_true(poll(fds, (nfds_t)all, 20) >= 0);
        for (int i = 0; i < n; i++) {
            mu_mesh_serve(mesh[i], fds + at[i]);
            done &= mu_mesh_done(mesh[i]);
        }
        assert_true(mu_now_ns() < end);
    }
}

static int64_t in_seconds(double s)
{
    return mu_now_ns() + (int64_t)(s * 1e9);
}

/* A process that may open few files polls what is open, not all that could be. */
static void few_files_are_enough(void **state)
{
    (void)state;
    struct rlimit old, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    few = (struct rlimit){64, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    mu_mesh_t *mesh[2] = {mesh_on_loopback("0123456789abcdef0123456789abcdef"),
                          mesh_on_loopback("0123456789abcdef0123456789abcdef")};
    mu_mesh_peer_t peer = mu_mesh_self(mesh[1]);
    mu_mesh_dial(mesh[0], &peer, 1, mu_now_ns() + 5000000000);
    drive(mesh, 2);
    assert_int_equal(mu_mesh_result(mesh[0], 0), MU_MESH_OK);
    mu_mesh_free(mesh[0]);
    mu_mesh_free(mesh[1]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void all_reach_all(void **state)
{
    (void)state;
    mu_mesh_t *mesh[3];
    for (int i = 0; i < 3; i++)
        mesh[i] = mesh_on_loopback(TOKEN);
    for (int i = 0; i < 3; i++) {
        mu_mesh_peer_t others[2] = {mu_mesh_self(mesh[(i + 1) % 3]), mu_mesh_self(mesh[(i + 2) % 3])};
        assert_true(mu_mesh_done(mesh[i])); /* nobody is dialed yet */
        mu_mesh_dial(mesh[i], others, 2, in_seconds(10));
        assert_false(mu_mesh_done(mesh[i]));
    }
    drive(mesh, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mu_mesh_result(mesh[i], 0), MU_MESH_OK);
        assert_int_equal(mu_mesh_result(mesh[i], 1), MU_MESH_OK);
    }
    for (int i = 0; i < 3; i++)
        mu_mesh_free(mesh[i]);
}

typedef enum trick { NEVER_ACCEPTS, HANGS_UP, TALKS, TAKES_SMALL } trick_t;

/* A port on loopback, and a process that plays the trick on whoever dials it. */
static mu_mesh_peer_t play(trick_t trick, pid_t *pid)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t length = sizeof a;
    mu_mesh_peer_t peer = {.address = "127.0.0.1"};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &length), 0);
    peer.port = ntohs(a.sin_port);
    *pid = fork();
    if (*pid == 0) {
        char token[MU_MESH_TOKEN + 1];
        int connection = trick == NEVER_ACCEPTS ? -1 : accept(fd, NULL, NULL);
        if (connection >= 0 && recv(connection, token, sizeof token, MSG_WAITALL) != (ssize_t)sizeof token)
            _exit(1);
        if (trick == TALKS && send(connection, "220 hello", 9, 0) != 9)
            _exit(1);
        if (trick == TAKES_SMALL && send(connection, "t", 1, 0) != 1)
            _exit(1);
        if (trick == HANGS_UP)
            close(connection);
        for (;;)
            pause();
    }
    close(fd);
    return peer;
}

static void each_trouble_has_its_name(void **state)
{
    (void)state;
    static const mu_mesh_result_t wanted[] = {[NEVER_ACCEPTS] = MU_MESH_NO_ANSWER,
                                              [HANGS_UP] = MU_MESH_CLOSED,
                                              [TALKS] = MU_MESH_CLOSED,
                                              [TAKES_SMALL] = MU_MESH_STUCK,
                                              MU_MESH_REFUSED,
                                              MU_MESH_CLOSED,
                                              MU_MESH_FAILED};
    enum { TRICKS = TAKES_SMALL + 1, CASES = sizeof wanted / sizeof *wanted };
    pid_t pid[TRICKS];
    mu_mesh_peer_t peer[CASES] = {0};
    mu_mesh_t *stranger = mesh_on_loopback("ffffffffffffffffffffffffffffffff"),
              *mesh = mesh_on_loopback(TOKEN);
    for (int i = 0; i < TRICKS; i++)
        peer[i] = play((trick_t)i, &pid[i]);
    peer[TRICKS] = (mu_mesh_peer_t){"127.0.0.1", 1};
    peer[TRICKS + 1] = mu_mesh_self(stranger); /* another run's */
    peer[TRICKS + 2] = (mu_mesh_peer_t){"a.name", 29500};
    int64_t begin = mu_now_ns();
    mu_mesh_dial(mesh, peer, CASES, in_seconds(0.5));
    drive((mu_mesh_t *[]){mesh, stranger}, 2);
    assert_true(mu_now_ns() - begin >= 500000000);
    for (int i = 0; i < CASES; i++)
        if (mu_mesh_result(mesh, i) != wanted[i])
            fail_msg("case %d: %s", i, mu_mesh_word(mu_mesh_result(mesh, i)));
    for (int i = 0; i < TRICKS; i++) {
        kill(pid[i], SIGKILL);
        waitpid(pid[i], NULL, 0);
    }
    mu_mesh_free(mesh);
    mu_mesh_free(stranger);
}

/* Connections that say nothing do not keep a host out, and get nothing. */
static void silent_connections_are_closed(void **state)
{
    (void)state;
    mu_mesh_t *mesh[2] = {mesh_on_loopback(TOKEN), mesh_on_loopback(TOKEN)};
    mu_mesh_peer_t self = mu_mesh_self(mesh[0]);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)self.port)};
    int silent[MU_MESH_CONNECTIONS + 8];
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++) {
        silent[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(silent[i], (struct sockaddr *)&a, sizeof a), 0);
    }
    drive(mesh, 2);
    mu_mesh_dial(mesh[1], &self, 1, in_seconds(10));
    drive(mesh, 2);
    assert_int_equal(mu_mesh_result(mesh[1], 0), MU_MESH_OK);
    char byte;
    assert_int_equal(recv(silent[0], &byte, 1, MSG_DONTWAIT), 0); /* the first had to go */
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
        close(silent[i]);
    mu_mesh_free(mesh[0]);
    mu_mesh_free(mesh[1]);
}

static void listening_can_fail(void **state)
{
    (void)state;
    mu_buf_t why = MU_BUF_INIT;
    mu_mesh_t *mesh = mesh_on_loopback(TOKEN), *other = NULL;
    int port = mu_mesh_self(mesh).port;
    assert_false(mu_mesh_new("203.0.113.0/24", NULL, port, 1, TOKEN, &why, &other));
    assert_non_null(strstr(why.data, "no address of 203.0.113.0/24 (it has "));
    assert_false(mu_mesh_new("203.0.113.0/24", "203.0.113.1/32", port, 1, TOKEN, &why, &other));
    assert_non_null(strstr(why.data, "no address of 203.0.113.0/24 (it has "));
    assert_false(mu_mesh_new(LOOPBACK, LOOPBACK, port, 1, TOKEN, &why, &other));
    assert_non_null(strstr(why.data, "Address already in use"));
    assert_true(mu_mesh_new("nowhere0", "203.0.113.1/32,lo", port, 500, TOKEN, &why, &other));
    assert_string_equal(mu_mesh_self(other).address, "127.0.0.1");
    assert_non_null(strstr(why.data, "no address of nowhere0 (it has "));
    mu_mesh_free(other);
    mu_buf_release(&why);
    mu_mesh_free(mesh);
}

/* ---- the probe's lines ---- */

typedef struct talk {
    pid_t pid;
    FILE *to, *from;
    char line[65536];
} talk_t;

static void start_probe(talk_t *talk)
{
    int in[2], out[2];
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    talk->pid = fork();
    if (talk->pid == 0) {
        alarm(30);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        close(out[0]);
        _exit(mu_probe_main() == MU_OK ? 0 : 1);
    }
    close(in[0]);
    close(out[1]);
    talk->to = fdopen(in[1], "w");
    talk->from = fdopen(out[0], "r");
}

/* What follows `word` on the next line, as an object. */
static json_t *next_line(talk_t *talk, const char *word)
{
    assert_non_null(fgets(talk->line, sizeof talk->line, talk->from));
    if (strncmp(talk->line, word, strlen(word)) != 0)
        fail_msg("wanted %s, got %s", word, talk->line);
    json_t *object = json_loads(talk->line + strlen(word), 0, NULL);
    assert_non_null(object);
    return object;
}

static void say(talk_t *talk, const char *text)
{
    fprintf(talk->to, "%s\n", text);
    fflush(talk->to);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void probe_refuses_bad_lines(void **state)
{
    (void)state;
    static const char *const asks[] = {
        "{\"mesh\": {}}",
        "{\"mesh\": []}",
        "{\"mesh\": {\"interfaces\": \"lo\", \"port\": 29500, \"ports\": 500, \"token\": \"short\"}}",
        "{\"mesh\": {\"interfaces\": 7, \"port\": 29500, \"ports\": 500, \"token\": \"" TOKEN "\"}}",
        "{\"mesh\": {\"interfaces\": \"lo\", \"port\": 0, \"ports\": 500, \"token\": \"" TOKEN "\"}}",
        "{\"mesh\": {\"interfaces\": \"lo\", \"port\": 65535, \"ports\": 2, \"token\": \"" TOKEN "\"}}",
        "{\"mesh\": {\"interfaces\": \"lo\", \"port\": 29500, \"ports\": -1, \"token\": \"" TOKEN "\"}}",
        "{\"mesh\": {\"interfaces\": \"nowhere0\", \"port\": 29500, \"ports\": 500, \"token\": \"" TOKEN
        "\"}}",
    };
    static const char *const lines[] = {
        "MUSTER-MESH []",
        "MUSTER-MESH nonsense",
        "MUSTER-MESH {\"to\": []}",
        "MUSTER-MESH {\"to\": [], \"seconds\": -1}",
        "MUSTER-MESH {\"to\": [], \"seconds\": 1e300}",
        "MUSTER-MESH {\"to\": {}, \"seconds\": 1}",
        "MUSTER-MESH {\"to\": [7], \"seconds\": 1}",
        "MUSTER-MESH {\"to\": [[\"127.0.0.1\"]], \"seconds\": 1}",
        "MUSTER-MESH {\"to\": [[\"127.0.0.1\", 65536]], \"seconds\": 1}",
    };
    mu_mesh_t *mesh = NULL;
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        json_t *ask = json_loads(asks[i], 0, NULL), *seen;
        assert_non_null(ask);
        seen = mu_probe_mesh_listen(json_object_get(ask, "mesh"), &mesh);
        assert_string_equal(text_of(seen, "state"), "error");
        assert_null(mesh);
        json_decref(seen);
        json_decref(ask);
    }
    mesh = mesh_on_loopback(TOKEN);
    for (size_t i = 2; i < sizeof lines / sizeof *lines; i++) {
        json_t *line = json_loads(lines[i] + strlen(MU_PROBE_MESH), 0, NULL);
        if (!line || mu_probe_mesh_dial(mesh, line))
            fail_msg("taken: %s", lines[i]);
        json_decref(line);
    }
    mu_mesh_free(mesh);
    talk_t talk;
    start_probe(&talk);
    json_decref(next_line(&talk, MU_PROBE_HELLO));
    for (size_t i = 0; i < 3; i++) {
        say(&talk, lines[i]);
        json_t *answer = next_line(&talk, MU_PROBE_MESH);
        assert_string_equal(text_of(answer, "state"), "error");
        json_decref(answer);
    }
    say(&talk, "MUSTER-MESH {}"); /* has no answer */
    say(&talk, "nonsense");
    json_t *answer = next_line(&talk, MU_PROBE_FACTS);
    assert_string_equal(text_of(answer, "detail"), "not a question");
    json_decref(answer);
    fclose(talk.to);
    int status;
    assert_int_equal(waitpid(talk.pid, &status, 0), talk.pid);
    assert_int_equal(status, 0);
    fclose(talk.from);
}

/* The whole conversation: it listens, is dialed, dials, and stops listening. */
static void probe_dials_and_is_dialed(void **state)
{
    (void)state;
    talk_t talk;
    mu_mesh_t *mesh = mesh_on_loopback(TOKEN);
    mu_mesh_peer_t self = mu_mesh_self(mesh);
    start_probe(&talk);
    json_decref(next_line(&talk, MU_PROBE_HELLO));
    char *line =
        mu_format("MUSTER-ASK {\"mesh\": {\"interfaces\": \"lo\", \"port\": %d, \"ports\": %d, \"token\": "
                  "\"%s\"}}",
                  MU_PORT_RANK, MU_PORT_RANK_COUNT, TOKEN);
    say(&talk, line);
    free(line);
    json_t *facts = next_line(&talk, MU_PROBE_FACTS);
    mu_mesh_member_t member = {.host = 0};
    mu_preflight_mesh_receive_place(&member, facts);
    assert_null(member.missing);
    assert_string_equal(member.self.address, "127.0.0.1");
    json_decref(facts);

    line = mu_format("MUSTER-MESH {\"seconds\": 10, \"to\": [[\"%s\", %d], [\"127.0.0.1\", 1]]}",
                     self.address, self.port);
    say(&talk, line);
    free(line);
    mu_mesh_dial(mesh, &member.self, 1, in_seconds(10));
    struct pollfd fds[MU_MESH_FDS + 1];
    fds[MU_MESH_FDS] = (struct pollfd){fileno(talk.from), POLLIN, 0};
    for (int64_t end = in_seconds(20); !fds[MU_MESH_FDS].revents || !mu_mesh_done(mesh);) {
        mu_mesh_gather(mesh, fds);
        poll(fds, MU_MESH_FDS + 1, 20);
        mu_mesh_serve(mesh, fds);
        assert_true(mu_now_ns() < end);
    }
    assert_int_equal(mu_mesh_result(mesh, 0), MU_MESH_OK);
    json_t *seen = next_line(&talk, MU_PROBE_MESH);
    member.peers = 2;
    mu_preflight_mesh_receive_seen(&member, seen);
    assert_true(member.reported);
    assert_int_equal(member.result[0], MU_MESH_OK);
    assert_int_equal(member.result[1], MU_MESH_REFUSED);
    json_decref(seen);

    say(&talk, "MUSTER-MESH {}");
    say(&talk, "MUSTER-MESH []"); /* answered when the line before has been heeded */
    seen = next_line(&talk, MU_PROBE_MESH);
    assert_string_equal(text_of(seen, "detail"), "not listening");
    json_decref(seen);
    mu_mesh_dial(mesh, &member.self, 1, in_seconds(10));
    drive(&mesh, 1);
    assert_int_equal(mu_mesh_result(mesh, 0), MU_MESH_REFUSED);
    fclose(talk.to);
    fclose(talk.from);
    waitpid(talk.pid, NULL, 0);
    mu_mesh_free(mesh);
}

/* ---- what hosts say ---- */

static void bad_words_are_no_pass(void **state)
{
    (void)state;
    static const struct {
        const char *facts, *why; /* NULL: it listens */
    } places[] = {
        {"{\"mesh\": {\"state\": \"ok\", \"address\": \"10.0.0.1\", \"port\": 29500}}", NULL},
        {"{\"mesh\": {\"state\": \"ok\", \"address\": \"fd00::1\", \"port\": 29500}}", NULL},
        {"{\"mesh\": {\"state\": \"ok\", \"address\": \"evil.example\", \"port\": 29500}}",
         "does not say where"},
        {"{\"mesh\": {\"state\": \"ok\", \"address\": \"\", \"port\": 29500}}", "does not say where"},
        {"{\"mesh\": {\"state\": \"ok\", \"address\": \"10.0.0.1\", \"port\": 0}}", "does not say where"},
        {"{\"mesh\": {\"state\": \"ok\", \"address\": \"10.0.0.1\", \"port\": 65536}}", "does not say where"},
        {"{\"mesh\": {\"state\": \"ok\", \"address\": \"10.0.0.1\", \"port\": \"29500\"}}",
         "does not say where"},
        {"{\"mesh\": {\"state\": \"ok\", \"address\": "
         "\"1111111111111111111111111111111111111111111111111111111111111111\", \"port\": 29500}}",
         "does not say where"},
        {"{\"mesh\": {\"state\": \"error\", \"detail\": \"no address of x\"}}", "no address of x"},
        {"{\"mesh\": {\"address\": \"10.0.0.1\", \"port\": 29500}}", "does not say where"},
        {"{\"mesh\": 7}", "does not say where"},
        {"{}", "does not say where"},
    };
    static const struct {
        const char *answer;
        bool reported;
    } answers[] = {
        {"{\"state\": \"ok\", \"seen\": [\"ok\", \"stuck\"]}", true},
        {"{\"state\": \"ok\", \"seen\": [\"ok\"]}", false},
        {"{\"state\": \"ok\", \"seen\": [\"ok\", \"ok\", \"ok\"]}", false},
        {"{\"state\": \"ok\", \"seen\": [\"ok\", \"fine\"]}", false},
        {"{\"state\": \"ok\", \"seen\": [\"ok\", 0]}", false},
        {"{\"state\": \"ok\", \"seen\": {\"0\": \"ok\"}}", false},
        {"{\"state\": \"error\", \"detail\": \"not listening\"}", false},
        {"[]", false},
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        mu_mesh_member_t member = {0};
        json_t *facts = json_loads(places[i].facts, 0, NULL);
        assert_non_null(facts);
        mu_preflight_mesh_receive_place(&member, facts);
        if (member.listens != !places[i].why || (places[i].why && !strstr(member.missing, places[i].why)))
            fail_msg("%s: %s", places[i].facts, member.missing ? member.missing : "taken");
        json_decref(facts);
        free(member.missing);
        assert_null(member.instead);
    }
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        mu_mesh_member_t member = {.peers = 2};
        json_t *answer = json_loads(answers[i].answer, 0, NULL);
        assert_non_null(answer);
        mu_preflight_mesh_receive_seen(&member, answer);
        if (member.reported != answers[i].reported || member.reported != !member.missing)
            fail_msg("%s", answers[i].answer);
        json_decref(answer);
        free(member.missing);
    }
    mu_mesh_member_t member = {0};
    mu_preflight_mesh_receive_place(&member, NULL);
    assert_non_null(member.missing);
    free(member.missing);
}

static void peers_are_few_and_connected(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 3, MU_MESH_ALL, MU_MESH_ALL + 1, 1000, MU_HOSTS_MAX};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int n = sizes[s], wanted = n <= MU_MESH_ALL ? n - 1 : 64;
        bool *seen = mu_calloc((size_t)n, sizeof *seen);
        for (int i = 0; i<n; i += n> 100 ? 37 : 1) {
            int peer[MU_MESH_PEERS], count = mu_preflight_mesh_peers(n, i, peer);
            bool next = n == 1;
            assert_int_equal(count, wanted);
            memset(seen, 0, (size_t)n * sizeof *seen);
            for (int k = 0; k < count; k++) {
                assert_in_range(peer[k], 0, n - 1);
                assert_int_not_equal(peer[k], i);
                assert_false(seen[peer[k]]);
                seen[peer[k]] = true;
                next |= peer[k] == (i + 1) % n;
            }
            assert_true(next);
        }
        free(seen);
    }
}

/* ---- the judge ---- */

enum { MEMBERS = 6 };
typedef struct court {
    mu_hosts_t *hosts;
    struct mu_ready ready;
    mu_ready_state_t state[MEMBERS];
    mu_preflight_mesh_t mesh;
    mu_mesh_member_t member[MEMBERS];
    mu_preflight_report_t *report;
    json_t *facts[MEMBERS];
} court_t;

/* Members h1 to h5, after this machine, which is none of them; all of them reach all. */
static void open_court(court_t *c)
{
    *c = (court_t){0};
    assert_int_equal(mu_hosts_parse_list("h1,h2,h3,h4,h5", &c->hosts), MU_OK);
    c->ready.hosts = c->hosts;
    c->ready.host = c->state;
    c->report = mu_calloc(1, sizeof *c->report);
    c->report->hosts = c->hosts;
    c->report->facts = mu_calloc(MEMBERS, sizeof *c->report->facts);
    for (int i = 0; i < MEMBERS; i++) {
        mu_mesh_member_t *m = &c->member[i];
        c->facts[i] = json_object();
        *m = (mu_mesh_member_t){.host = i - 1, .listens = true, .reported = true, .self = {.port = 29500}};
        snprintf(m->self.address, sizeof m->self.address, "10.0.0.%d", i);
        m->peers = mu_preflight_mesh_peers(MEMBERS, i, m->peer);
    }
    c->mesh = (mu_preflight_mesh_t){.ready = &c->ready,
                                    .interfaces = "10.0.0.0/24",
                                    .port = 29500,
                                    .ports = 500,
                                    .member = c->member,
                                    .members = MEMBERS};
}

static void cut(court_t *c, int from, int to, mu_mesh_result_t result)
{
    for (int k = 0; k < c->member[from].peers; k++)
        if (c->member[from].peer[k] == to)
            c->member[from].result[k] = result;
}

static void judge(court_t *c)
{
    mu_judge_t judge = {.hosts = c->hosts, .facts = c->facts, .report = c->report};
    mu_preflight_mesh_judge(&c->mesh, &judge);
}

static void close_court(court_t *c)
{
    for (int i = 0; i < MEMBERS; i++) {
        json_decref(c->facts[i]);
        free(c->member[i].missing);
        free(c->member[i].instead);
    }
    mu_preflight_free(c->report);
    mu_hosts_free(c->hosts);
}

static void wants(const court_t *c, int index, int host, const char *found, const char *fix)
{
    assert_true(index < c->report->count);
    const mu_finding_t *f = &c->report->finding[index];
    assert_true(f->fatal);
    assert_string_equal(f->check, "net.mesh");
    if (f->host != host || strcmp(f->found, found) != 0 || !strstr(f->fix, fix))
        fail_msg("host %d: %s (fix: %s)", f->host, f->found, f->fix);
}

static void one_host_is_blamed_once(void **state)
{
    (void)state;
    court_t c;
    open_court(&c);
    judge(&c);
    assert_int_equal(c.report->count, 0);
    cut(&c, 3, 4, MU_MESH_TIMED_OUT);
    cut(&c, 3, 5, MU_MESH_TIMED_OUT);
    judge(&c);
    assert_int_equal(c.report->count, 1);
    wants(&c, 0, 2, "cannot reach h4, h5 (TCP 10.0.0.4:29500: timed out)", "29500 to 29999");
    close_court(&c);

    open_court(&c); /* one pair: the later of the two */
    cut(&c, 1, 2, MU_MESH_STUCK);
    cut(&c, 2, 1, MU_MESH_STUCK);
    cut(&c, 3, 4, MU_MESH_REFUSED);
    judge(&c);
    assert_int_equal(c.report->count, 2);
    wants(
        &c, 0, 1,
        "neither reaches nor is reached by h1 (TCP 10.0.0.1:29500: small packets pass, large ones are lost)",
        "MTU");
    wants(&c, 1, 3, "is not reached by h3 (TCP, ports 29500 to 29999: refused)", "NetworkPolicy");
    close_court(&c);

    open_court(&c); /* this machine cannot be replaced: only blamed when it alone explains it */
    cut(&c, 0, 5, MU_MESH_NO_ROUTE);
    judge(&c);
    wants(&c, 0, 4, "is not reached by this machine (TCP, ports 29500 to 29999: no route)", "ip route");
    assert_int_equal(c.report->count, 1);
    close_court(&c);

    open_court(&c);
    cut(&c, 0, 4, MU_MESH_NO_ROUTE);
    cut(&c, 0, 5, MU_MESH_NO_ROUTE);
    judge(&c);
    assert_int_equal(c.report->count, 1);
    wants(&c, 0, -1, "cannot reach h4, h5 (TCP 10.0.0.4:29500: no route)", "ip route");
    close_court(&c);
}

static void many_hosts_are_few_lines(void **state)
{
    (void)state;
    court_t c;
    open_court(&c); /* nobody reaches anybody: all but one are blamed, with the same words */
    for (int i = 0; i < MEMBERS; i++)
        for (int k = 0; k < MEMBERS; k++)
            cut(&c, i, k, MU_MESH_TIMED_OUT);
    judge(&c);
    assert_int_equal(c.report->count, MEMBERS - 1);
    for (int i = 0; i < MEMBERS - 1; i++)
        wants(&c, i, i,
              "neither reaches nor is reached by any other host (TCP, ports 29500 to 29999: timed out)",
              "29500");
    close_court(&c);

    open_court(&c); /* two halves: one of them is blamed */
    for (int i = 0; i < 3; i++)
        for (int k = 3; k < MEMBERS; k++) {
            cut(&c, i, k, MU_MESH_TIMED_OUT);
            cut(&c, k, i, MU_MESH_TIMED_OUT);
        }
    judge(&c);
    assert_int_equal(c.report->count, 3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(c.report->finding[i].found,
                            "neither reaches nor is reached by this machine, h1, h2 (TCP "
                            "10.0.0.0:29500: timed out)");
    close_court(&c);
}

static void silence_is_a_finding(void **state)
{
    (void)state;
    court_t c;
    open_court(&c);
    c.member[1].reported = false;
    c.member[1].missing = mu_strdup("does not say in time whom it reached");
    c.member[2].reported = c.member[2].listens = false;
    c.member[2].missing = mu_strdup("does not listen: \x1b[31m");
    c.member[3].reported = c.member[3].listens = false; /* gave no facts: reported elsewhere */
    c.member[3].missing = mu_strdup("gave no facts");
    json_decref(c.facts[2]);
    c.facts[2] = NULL;
    judge(&c);
    assert_int_equal(c.report->count, 2);
    wants(&c, 0, 0, "does not say in time whom it reached", "--probe");
    wants(&c, 1, 1, "does not listen: \\x1b[31m", "--probe");
    close_court(&c);
}

/* Open MPI ignores a list of interfaces that fits nothing on a host: a warning, in one line for all such hosts. */
static void another_network_is_a_warning(void **state)
{
    (void)state;
    court_t c;
    open_court(&c);
    c.member[3].instead = mu_strdup("no address of ib0" MU_MESH_HAS "eth0 10.0.0.3)");
    judge(&c);
    assert_int_equal(c.report->count, 1);
    assert_int_equal(c.report->fatal, 0);
    assert_int_equal(c.report->finding[0].host, 2);
    assert_string_equal(c.report->finding[0].found, "no address of ib0 (it has eth0 10.0.0.3)");
    c.member[4].instead = mu_strdup("no address of ib0" MU_MESH_HAS "eth0 10.0.0.4)");
    judge(&c);
    assert_int_equal(c.report->count, 3);
    assert_string_equal(c.report->finding[1].found, "no address of ib0");
    assert_string_equal(c.report->finding[2].found, "no address of ib0");
    close_court(&c);
}

int main(void)
{
    mu_log_sink_set(keep_quiet, NULL);
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interfaces_are_chosen),        cmocka_unit_test(users_choice_wins),
        cmocka_unit_test(few_files_are_enough),         cmocka_unit_test(all_reach_all),
        cmocka_unit_test(each_trouble_has_its_name),    cmocka_unit_test(silent_connections_are_closed),
        cmocka_unit_test(listening_can_fail),           cmocka_unit_test(probe_refuses_bad_lines),
        cmocka_unit_test(probe_dials_and_is_dialed),    cmocka_unit_test(bad_words_are_no_pass),
        cmocka_unit_test(peers_are_few_and_connected),  cmocka_unit_test(one_host_is_blamed_once),
        cmocka_unit_test(many_hosts_are_few_lines),     cmocka_unit_test(silence_is_a_finding),
        cmocka_unit_test(another_network_is_a_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
