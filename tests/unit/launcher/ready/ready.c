/*
 * Readiness without hosts: 1,000 listeners on addresses of 127.0.0.0/8 to the banner, what each fault of a
 * socket is called, ssh's words as reasons, the rule of the exit codes, with a program of this test in the
 * place of ssh.
 */
#include "launcher/ready/ready.h"
#include "launcher/ready/ssh.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <cmocka.h>
#include <unistd.h>

static char dir[] = "/tmp/muster-ready-XXXXXX"; /* of this run */
static char said[65536];

static void keep(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    size_t n = strlen(said);
    snprintf(said + n, sizeof said - n, "%s\n", line);
}

static void assert_said(const char *part)
{
    if (!strstr(said, part))
        fail_msg("wanted \"%s\" in:\n%s", part, said);
}

/* ---- listeners in this process ---- */

typedef struct server {
    int *fd;
    int count;
    const char *banner; /* NULL: say nothing; "": close at once */
    atomic_bool end;
    pthread_t thread;
} server_t;

static void *serve(void *arg)
{
    server_t *server = arg;
    struct pollfd *p = calloc((size_t)server->count, sizeof *p);
    for (int i = 0; i < server->count; i++)
        p[i] = (struct pollfd){server->fd[i], POLLIN, 0};
    while (!server->end) {
        if (poll(p, (nfds_t)server->count, 20) <= 0)
            continue;
        for (int i = 0; i < server->count; i++) {
            int fd = p[i].revents ? accept4(p[i].fd, NULL, NULL, SOCK_CLOEXEC) : -1;
            if (fd < 0 || !server->banner)
                continue; /* a silent one keeps the connection open until the process ends */
            if (*server->banner && send(fd, server->banner, strlen(server->banner), MSG_NOSIGNAL) < 0)
                perror("send");
            close(fd);
        }
    }
    free(p);
    return NULL;
}

/* Listeners on 127.x.y.z, port `port` (0: the system's choice, returned in *chosen). */
static void server_start(server_t *server, int count, const char *banner, int port, int *chosen)
{
    *server = (server_t){.count = count, .banner = banner};
    server->fd = calloc((size_t)count, sizeof *server->fd);
    for (int i = 0; i < count; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        socklen_t n = sizeof a;
        a.sin_addr.s_addr = htonl(0x7f000000u + 0x10000u + (uint32_t)i + 2u);
        server->fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(server->fd[i] >= 0);
        setsockopt(server->fd[i], SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        assert_int_equal(bind(server->fd[i], (struct sockaddr *)&a, sizeof a), 0);
        assert_int_equal(listen(server->fd[i], 64), 0);
        if (port == 0) {
            assert_int_equal(getsockname(server->fd[i], (struct sockaddr *)&a, &n), 0);
            port = ntohs(a.sin_port);
        }
    }
    *chosen = port;
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_end(server_t *server)
{
    server->end = true;
    pthread_join(server->thread, NULL);
    for (int i = 0; i < server->count; i++)
        close(server->fd[i]);
    free(server->fd);
}

static mu_hosts_t *hosts_of(const char *format, ...)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_hosts_t *hosts = NULL;
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(&text, format, args);
    va_end(args);
    assert_int_equal(mu_hosts_parse_file("hosts", text.data, text.len, &hosts), MU_OK);
    mu_buf_release(&text);
    return hosts;
}

static void thousand_listeners(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct rlimit files;
    server_t server;
    int port;
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < 8192) {
        print_message("skipped: the limit of open files is %llu\n", (unsigned long long)files.rlim_max);
        skip();
    }
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    server_start(&server, COUNT, "SSH-2.0-stand_in\r\n", 0, &port);
    mu_buf_t text = MU_BUF_INIT;
    for (int i = 0; i < COUNT; i++) {
        uint32_t a = 0x7f000000u + 0x10000u + (uint32_t)i + 2u;
        mu_buf_addf(&text, "%u.%u.%u.%u port=%d\n", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255, port);
    }
    mu_hosts_t *hosts = NULL;
    assert_int_equal(mu_hosts_parse_file("hosts", text.data, text.len, &hosts), MU_OK);
    mu_buf_release(&text);
    mu_ready_t *ready = NULL;
    mu_ready_options_t options = {.timeout = 50, .until = MU_STAGE_BANNER, .quiet = true};
    assert_int_equal(mu_ready_new(hosts, NULL, &options, &ready), MU_OK);
    int64_t begin = mu_now_ns();
    assert_int_equal(mu_ready_wait(ready), MU_OK);
    print_message("%d hosts probed to the banner in %.3f s\n", COUNT, (double)(mu_now_ns() - begin) * 1e-9);
    assert_int_equal(mu_ready_count(ready), COUNT);
    mu_ready_free(ready);
    mu_hosts_free(hosts);
    server_end(&server);
}

/* Each fault of a socket has its own name, and the wait ends exactly at the deadline with 69. */
static void faults_before_ssh(void **state)
{
    (void)state;
    server_t http, silent, closing, busy;
    int p_http, p_silent, p_closing, p_busy;
    server_start(&http, 1, "HTTP/1.1 400 Bad Request\r\n\x1b[31m", 0, &p_http);
    server_start(&silent, 1, NULL, 0, &p_silent);
    server_start(&closing, 1, "", 0, &p_closing);
    server_start(&busy, 1, "Exceeded MaxStartups\r\n", 0, &p_busy);
    mu_hosts_t *hosts = hosts_of("127.1.0.2 port=%d\n", p_http);
    mu_hosts_t *all[5] = {hosts, hosts_of("127.1.0.2 port=%d", p_silent),
                          hosts_of("127.1.0.2 port=%d", p_closing), hosts_of("127.1.0.2 port=%d", p_busy),
                          hosts_of("127.1.0.3 port=%d", p_http)};
    const mu_reason_t wanted[5] = {MU_REASON_NOT_SSH, MU_REASON_SILENT, MU_REASON_THROTTLED,
                                   MU_REASON_THROTTLED, MU_REASON_REFUSED};
    for (int i = 0; i < 5; i++) {
        mu_ready_t *ready = NULL;
        double limit = i == 1 ? 2.5 : 0.5;
        mu_ready_options_t options = {.timeout = limit, .until = MU_STAGE_BANNER};
        assert_int_equal(mu_ready_new(all[i], NULL, &options, &ready), MU_OK);
        int64_t begin = mu_now_ns();
        said[0] = '\0';
        assert_int_equal(mu_ready_wait(ready), MU_UNREADY);
        assert_true((double)(mu_now_ns() - begin) * 1e-9 >= limit);
        assert_int_equal(mu_ready_host(ready, 0).reason, wanted[i]);
        assert_said("1 of 1 hosts are not ready");
        assert_said("exit 69");
        assert_said(mu_reason_text(wanted[i]));
        if (i == 0) {
            assert_said("it says \"HTTP/1.1 400 Bad Request\"");
            assert_null(strchr(said, '\x1b'));
        }
        mu_ready_free(ready);
        mu_hosts_free(all[i]);
    }
    server_end(&http);
    server_end(&silent);
    server_end(&closing);
    server_end(&busy);
}

/* A port among ssh's arguments is the first and only one to be tried: another may be dropped on the way. */
static void given_port(void **state)
{
    static const char *const forms[] = {"-p %d", "-p%d -p 1", "-o Port=%d -o Port=1", "-oport=%d -p 1"};
    server_t server;
    int port;
    (void)state;
    server_start(&server, 1, "SSH-2.0-given\r\n", 0, &port);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        mu_hosts_t *hosts =
            hosts_of(i % 2 ? "127.1.0.2 port=9" : "127.1.0.2"); /* ssh takes the option first */
        char args[64];
        int n = (int)(strchr(forms[i], '%') - forms[i]);
        snprintf(args, sizeof args, "%.*s%d%s", n, forms[i], port, forms[i] + n + 2);
        mu_ssh_t *ssh = NULL;
        mu_ready_t *ready = NULL;
        mu_ready_options_t options = {
            .timeout = 10, .until = MU_STAGE_BANNER, .quiet = true, .no_ssh_config = true};
        assert_int_equal(mu_ssh_new(hosts, args, dir, &ssh), MU_OK);
        assert_int_equal(mu_ssh_port(ssh, 0), port);
        assert_int_equal(mu_ready_new(hosts, ssh, &options, &ready), MU_OK);
        assert_int_equal(mu_ready_wait(ready), MU_OK);
        assert_int_equal(mu_ready_host(ready, 0).tries, 1);
        mu_ready_free(ready);
        mu_ssh_free(ssh);
        mu_hosts_free(hosts);
    }
    server_end(&server);
}

/* In a pod of an MPIJob, and only there: what may have become of a worker whose name is not found for long. */
static void pod_without_name(void **state)
{
    (void)state;
    setenv("RES_OPTIONS", "timeout:1 attempts:1", 1);
    for (int in_pod = 0; in_pod < 2; in_pod++) {
        mu_hosts_t *hosts = hosts_of("job-worker-1.job.invalid\n");
        mu_ready_t *ready = NULL;
        mu_ready_options_t options = {.timeout = 4, .until = MU_STAGE_BANNER, .nameless = 0.2};
        if (in_pod)
            setenv("K_MPI_JOB_ROLE", "launcher", 1);
        said[0] = '\0';
        assert_int_equal(mu_ready_new(hosts, NULL, &options, &ready), MU_OK);
        assert_int_equal(mu_ready_wait(ready), MU_UNREADY);
        const char *hint = strstr(said, "kubectl delete pod job-worker-1");
        assert_int_equal(hint != NULL, in_pod);
        assert_true(!hint || !strstr(hint + 1, "kubectl delete pod")); /* once */
        mu_ready_free(ready);
        mu_hosts_free(hosts);
    }
    unsetenv("K_MPI_JOB_ROLE");
    unsetenv("RES_OPTIONS");
}

/* A listener that comes up later is found soon after. */
static void *start_late(void *arg)
{
    int port;
    mu_sleep_ms(700);
    server_start(arg, 1, "SSH-2.0-late\r\n", 42022, &port);
    return NULL;
}

static void late_host(void **state)
{
    (void)state;
    server_t server;
    pthread_t thread;
    mu_hosts_t *hosts = hosts_of("127.1.0.2 port=42022\n");
    mu_ready_t *ready = NULL;
    mu_ready_options_t options = {.timeout = 20, .until = MU_STAGE_BANNER, .quiet = true};
    assert_int_equal(mu_ready_new(hosts, NULL, &options, &ready), MU_OK);
    assert_int_equal(pthread_create(&thread, NULL, start_late, &server), 0);
    assert_int_equal(mu_ready_wait(ready), MU_OK);
    assert_true(mu_ready_host(ready, 0).tries >= 2);
    assert_true(mu_ready_host(ready, 0).ready_after >= 0.6);
    pthread_join(thread, NULL);
    server_end(&server);
    mu_ready_free(ready);
    mu_hosts_free(hosts);
}

static void words_of_ssh(void **state)
{
    (void)state;
    static const struct {
        int exit_code;
        const char *err, *out;
        mu_reason_t reason;
        const char *detail;
    } cases[] = {
        {255, "ann@h: Permission denied (publickey).\r\n", "", MU_REASON_DENIED,
         "Permission denied (publickey)"},
        {255,
         "@@@\n@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\n@@@\nPermissions 0644 for '/k' are too open.\n"
         "h: Permission denied (publickey).\n",
         "", MU_REASON_DENIED, "Permissions 0644 for '/k' are too open."},
        {255,
         "@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@\nOffending ED25519 key in "
         "/root/.ssh/known_hosts:3\nHost key verification failed.\n",
         "", MU_REASON_KEY_CHANGED, "Offending ED25519 key in /root/.ssh/known_hosts:3"},
        {255,
         "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification "
         "failed.\n",
         "", MU_REASON_KEY_UNKNOWN, "No ED25519 host key is known for h"},
        {255, "kex_exchange_identification: Connection closed by remote host\n", "", MU_REASON_THROTTLED,
         "kex_"},
        {255, "Connection timed out during banner exchange\n", "", MU_REASON_SILENT, "banner"},
        {255, "ssh: Could not resolve hostname h: Name or service not known\n", "", MU_REASON_NO_NAME,
         "resolve"},
        {255, "ssh: connect to host h port 22: Connection refused\n", "", MU_REASON_REFUSED, "refused"},
        {255, "ssh: connect to host h port 22: Connection timed out\n", "", MU_REASON_NO_ANSWER, "timed out"},
        {255, "ssh: connect to host h port 22: No route to host\n", "", MU_REASON_NO_ROUTE, "route"},
        {255, "command-line: line 0: Bad configuration option: foo\n", "", MU_REASON_SSH_CONFIG,
         "option: foo"},
        {255, "command-line line 0: unsupported option \"banana\".\n", "", MU_REASON_SSH_CONFIG, "banana"},
        {255, "Connection to h closed by remote host.\n", "", MU_REASON_LOGIN, "closed by remote host"},
        {255, "System is booting up.\r\n\r\nConnection closed by 10.0.0.1 port 22\r\n", "", MU_REASON_LOGIN,
         "System is booting up.; Connection closed by 10.0.0.1"},
        {255, "Connection closed by 10.0.0.1 port 22\r\n", "", MU_REASON_LOGIN,
         "Connection closed by 10.0.0.1"},
        {255, "", "", MU_REASON_LOGIN, "ended with 255"},
        {143, "", "", MU_REASON_LOGIN, "ended with 143"},
        {127, "bash: line 1: /opt/muster-worker: No such file or directory\n", "", MU_REASON_MISSING,
         "/opt/muster"},
        {127, "sh: 1: exec: /opt/muster-worker: not found\n", "Welcome!\n", MU_REASON_MISSING, "not found"},
        {127, "/opt/muster-worker: error while loading shared libraries: libdnnl.so.2: cannot open\n", "",
         MU_REASON_BROKEN, "libdnnl.so.2"},
        {126, "bash: /opt/muster-worker: Permission denied\n", "", MU_REASON_BROKEN, "Permission denied"},
        {1, "", "This account is currently not available.\n", MU_REASON_NOISE,
         "it printed \"This account is currently not available.\" and ended with 1"},
        {0, "", "\x1b[1mHello\n", MU_REASON_NOISE, "\\x1b[1mHello"},
        {0, "", "", MU_REASON_BROKEN, "ended with 0 before its hello"},
        {132, "", "", MU_REASON_LOGIN, "132"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mu_buf_t detail = MU_BUF_INIT;
        mu_reason_t reason = mu_ready_classify(cases[i].exit_code, cases[i].err, cases[i].out, &detail);
        if (reason != cases[i].reason || !strstr(detail.data, cases[i].detail))
            fail_msg("case %zu: %s: %s", i, mu_reason_name(reason), detail.data);
        mu_buf_release(&detail);
    }
}

/* ---- a stand-in for ssh, found through PATH; it does what the host's name says ---- */

static const char script[] =
    "#!/bin/sh\n"
    "for a; do last=$prev; prev=$a; done\n" /* ... -- HOST COMMAND */
    "hello() { echo \"MUSTER-HELLO $1 "
    "{\\\"version\\\":\\\"9.9\\\",\\\"build\\\":\\\"$2\\\",\\\"host\\\":\\\"x\\\"}\"; cat >/dev/null; }\n"
    "case $last in\n"
    "127.1.0.2) hello 1 right;;\n"
    "127.1.0.3) echo Welcome; echo; hello 1 right;;\n"
    "127.1.0.4) echo 'ann@h: Permission denied (publickey).' >&2; exit 255;;\n"
    "127.1.0.5) hello 1 wrong;;\n"
    "127.1.0.6) hello 2 right;;\n"
    "127.1.0.7) echo 'exec: /w: not found' >&2; exit 127;;\n"
    "127.1.0.8) exec sleep 30;;\n"
    "127.1.0.9) echo 'kex_exchange_identification: closed' >&2; exit 255;;\n"
    "esac\n";

static void use_stand_in(void)
{
    char *ssh = mu_path_join(dir, "ssh");
    assert_int_equal(mu_file_replace(ssh, script, strlen(script), 0755), MU_OK);
    free(ssh);
    char *path = mu_format("%s:/usr/bin:/bin", dir);
    setenv("PATH", path, 1);
    free(path);
}

/* Hosts 127.1.0.N for the digits N; checks the status and each host's reason. */
static void expect(const char *numbers, int min_hosts, double timeout, mu_status_t wanted,
                   const mu_reason_t *reasons, int port, double at_most)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_hosts_t *hosts = NULL;
    mu_ssh_t *ssh = NULL;
    mu_ready_t *ready = NULL;
    for (const char *n = numbers; *n; n++)
        mu_buf_addf(&text, "127.1.0.%c port=%d\n", *n, port);
    assert_int_equal(mu_hosts_parse_file("hosts", text.data, text.len, &hosts), MU_OK);
    mu_buf_release(&text);
    assert_int_equal(mu_ssh_new(hosts, "-i /no/key", dir, &ssh), MU_OK);
    mu_ready_options_t options = {.timeout = timeout,
                                  .min_hosts = min_hosts,
                                  .last_call = 1,
                                  .worker = "/opt/it's/muster-worker",
                                  .build = "right",
                                  .no_ssh_config = true};
    assert_int_equal(mu_ready_new(hosts, ssh, &options, &ready), MU_OK);
    said[0] = '\0';
    int64_t begin = mu_now_ns();
    assert_int_equal(mu_ready_wait(ready), wanted);
    assert_true((double)(mu_now_ns() - begin) * 1e-9 <= at_most);
    for (int i = 0; i < hosts->count; i++) {
        mu_ready_host_t host = mu_ready_host(ready, i);
        if (host.reason != reasons[i])
            fail_msg("%s: %s %s", hosts->host[i].name, mu_reason_name(host.reason), host.detail);
        assert_true((host.hello != NULL) == (host.stage == MU_STAGE_READY));
        if (host.stage == MU_STAGE_READY)
            assert_string_equal(host.launcher, "127.0.0.1");
    }
    json_t *json = mu_ready_json(ready);
    assert_int_equal(json_array_size(json_object_get(json, "hosts")), hosts->count);
    json_decref(json);
    mu_ready_free(ready);
    mu_ssh_free(ssh);
    mu_hosts_free(hosts);
}

static void rule_of_exit_codes(void **state)
{
    (void)state;
    server_t server;
    int port;
    use_stand_in();
    server_start(&server, 8, "SSH-2.0-stand_in\r\n", 0, &port); /* 127.1.0.2 to .9 */
    expect("23", 0, 20, MU_OK, (mu_reason_t[]){0, 0}, port, 10);
    /* 77 before 80, and both at once instead of at the deadline */
    expect("24567", 0, 20, MU_AUTH,
           (mu_reason_t[]){0, MU_REASON_DENIED, MU_REASON_VERSION, MU_REASON_VERSION, MU_REASON_MISSING},
           port, 10);
    assert_said("4 of 5 hosts are not ready");
    assert_said("exit 77: authentication failed");
    assert_said("another build of muster: 127.1.0.5, 127.1.0.6");
    assert_said("127.1.0.5: muster 9.9 build wrong there, muster " MU_VERSION " build right... here");
    assert_said("muster-worker is missing there: 127.1.0.7");
    assert_said("fix: ");
    expect("25", 0, 20, MU_PREFLIGHT, (mu_reason_t[]){0, MU_REASON_VERSION}, port, 10);
    /* a host that only hangs gets 3 s */
    expect("58", 0, 20, MU_PREFLIGHT, (mu_reason_t[]){MU_REASON_VERSION, 0}, port, 10);
    /* min_hosts: one permanent failure is not the end ... */
    expect("24", 1, 20, MU_OK, (mu_reason_t[]){0, MU_REASON_DENIED}, port, 10);
    assert_said("going on with 1 of 2 hosts");
    /* ... and one that does not come is waited for until the last call */
    expect("29", 1, 20, MU_OK, (mu_reason_t[]){0, MU_REASON_THROTTLED}, port, 10);
    /* transient causes only: 69 at the deadline */
    expect("29", 0, 1.5, MU_UNREADY, (mu_reason_t[]){0, MU_REASON_THROTTLED}, port, 10);
    assert_said("exit 69");
    /* without any ssh here: at once, for all hosts */
    setenv("PATH", "/nowhere", 1);
    expect("23", 0, 20, MU_PREFLIGHT, (mu_reason_t[]){MU_REASON_NO_SSH, MU_REASON_NO_SSH}, port, 10);
    server_end(&server);
}

static volatile sig_atomic_t stop = 1;

static void stops_when_told(void **state)
{
    (void)state;
    mu_hosts_t *hosts = hosts_of("127.1.0.2 port=9\n");
    mu_ready_t *ready = NULL;
    mu_ready_options_t options = {.timeout = 20, .until = MU_STAGE_BANNER, .stop = &stop};
    assert_int_equal(mu_ready_new(hosts, NULL, &options, &ready), MU_OK);
    assert_int_equal(mu_ready_wait(ready), MU_STOPPED);
    mu_ready_free(ready);
    mu_hosts_free(hosts);
}

static void arguments_of_ssh(void **state)
{
    (void)state;
    mu_hosts_t *hosts = hosts_of("h1\nh2 port=2222 user=ann\n");
    mu_ssh_t *ssh = NULL;
    mu_buf_t text = MU_BUF_INIT, config = MU_BUF_INIT;
    assert_int_equal(mu_ssh_new(hosts, "-i /k -o StrictHostKeyChecking=yes -4", dir, &ssh), MU_OK);
    char **argv;
    mu_ssh_argv(ssh, 1, "", "exec x", &argv);
    int n = 0;
    while (argv[n]) {
        assert_false(strstr(argv[n], "ControlMaster=auto") != NULL);
        n++;
    }
    assert_string_equal(argv[0], "ssh");
    assert_string_equal(argv[n - 3], "--");
    assert_string_equal(argv[n - 2], "h2");
    assert_string_equal(argv[n - 1], "exec x");
    mu_ssh_argv_free(argv);
    mu_ssh_mpirun_args(ssh, &text);
    assert_non_null(strstr(text.data, "-o BatchMode=yes -o ControlPath="));
    assert_non_null(strstr(text.data, "-i /k -o StrictHostKeyChecking=yes -4"));
    assert_null(strstr(text.data, "ControlMaster"));
    char *path = mu_path_join(dir, "ssh_config");
    assert_non_null(strstr(text.data, path));
    assert_int_equal(mu_file_read(path, 4096, &config), MU_OK);
    assert_non_null(strstr(config.data, "Host h2\n    Port 2222\n    User ann\n"));
    assert_null(strstr(config.data, "Host h1"));
    assert_non_null(strstr(config.data, "Include ~/.ssh/config"));
    free(path);
    mu_ssh_free(ssh);
    static const char *const bad[] = {"x",      "-i", "-o 'a b'", "-f",           "-M",
                                      "-W a:1", "--", "-",        "-i /k; reboot"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        said[0] = '\0';
        assert_int_equal(mu_ssh_new(hosts, bad[i], dir, &ssh), MU_CONFIG);
        assert_said("muster.ssh_args");
    }
    assert_int_equal(mu_ssh_new(hosts, NULL, "/tmp/with a blank", &ssh), MU_USAGE);
    /* Open MPI takes what follows a colon for another agent, and starts plain ssh */
    assert_int_equal(mu_ssh_new(hosts, NULL, "/tmp/with:colon", &ssh), MU_USAGE);
    assert_int_equal(mu_ssh_new(hosts, NULL, "/tmp/0123456789012345678901234567890123456789012345", &ssh),
                     MU_USAGE);
    mu_buf_release(&text);
    mu_buf_release(&config);
    mu_hosts_free(hosts);
}

int main(void)
{
    if (!mkdtemp(dir))
        return 1;
    mu_log_sink_set(keep, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousand_listeners), cmocka_unit_test(faults_before_ssh),
        cmocka_unit_test(late_host),          cmocka_unit_test(words_of_ssh),
        cmocka_unit_test(rule_of_exit_codes), cmocka_unit_test(stops_when_told),
        cmocka_unit_test(arguments_of_ssh),   cmocka_unit_test(given_port),
        cmocka_unit_test(pod_without_name),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return mu_remove_tree(dir) == MU_OK ? failed : 1;
}
