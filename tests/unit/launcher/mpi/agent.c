/* What mpirun starts instead of ssh: the command line that it makes, and a word that every shell passes on. */
#include "launcher/mpi/agent.h"
#include "common/buf.h"
#include "common/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static const char nodes[] = "one 4 one.lan\nip6-fd00--7 6 fd00::7\no-ne 0 o_ne\n";

static char *line_of(int argc, const char *const *argv)
{
    mu_args_t line = {0};
    mu_buf_t text = MU_BUF_INIT;
    if (mu_agent_line(argc, (char *const *)argv, nodes, &line) != MU_OK) {
        mu_args_free(&line);
        return NULL;
    }
    for (int i = 0; i < line.n; i++)
        mu_buf_addf(&text, "%s[%s]", i ? " " : "", line.v[i]);
    mu_args_free(&line);
    return mu_buf_detach(&text);
}

static void expect(const char *wanted, int argc, const char *const *argv)
{
    char *line = line_of(argc, argv);
    assert_non_null(line);
    assert_string_equal(line, wanted);
    free(line);
}

static void the_host_is_the_nodes(void **state)
{
    (void)state;
    expect("[ssh] [-p] [22] [-o] [AddressFamily=inet6] [--] [fd00::7] [exec sh -c \\ orted\\ --daemonize\\ "
           "-mca\\ ess\\ "
           "\\\"env\\\"]",
           10,
           (const char *const[]){"/t/muster-ssh", "-p", "22", "--", "ip6-fd00--7", " orted", "--daemonize",
                                 "-mca", "ess", "\"env\""});
    expect("[ssh] [-o] [AddressFamily=inet] [--] [one.lan] [exec sh -c a]", 4,
           (const char *const[]){"/t/muster-ssh", "--", "one", "a"});
    expect("[ssh] [--] [o_ne] [exec sh -c a]", 4, (const char *const[]){"/t/muster-ssh", "--", "o-ne", "a"});
    expect("[ssh] [--] [other] [exec sh -c a]", 4,
           (const char *const[]){"/t/muster-ssh", "--", "other", "a"});
    expect("[ssh] [--] [on] [exec csh -f -c set\\ path\\ \\=\\ \\(\\ /usr/bin\\ \\$path\\ \\)]", 4,
           (const char *const[]){"/t/muster-ssh", "--", "on", "set path = ( /usr/bin $path )"});
}

static void another_form_is_refused(void **state)
{
    (void)state;
    assert_null(line_of(1, (const char *const[]){"/t/muster-ssh"}));
    assert_null(line_of(3, (const char *const[]){"/t/muster-ssh", "--", "one"}));
    assert_null(line_of(3, (const char *const[]){"/t/muster-ssh", "one", "a"}));
}

/* What `shell -c TEXT` prints. */
static void run(const char *shell, const char *text, mu_buf_t *out)
{
    int fd[2];
    char piece[4096];
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fd[1], STDOUT_FILENO);
        execlp(shell, shell, "-c", text, (char *)NULL);
        _exit(127);
    }
    close(fd[1]);
    for (ssize_t n; (n = read(fd[0], piece, sizeof piece)) > 0;)
        mu_buf_add(out, piece, (size_t)n);
    close(fd[0]);
}

static bool is_installed(const char *shell)
{
    char path[64];
    snprintf(path, sizeof path, "/usr/bin/%s", shell);
    if (access(path, X_OK) == 0)
        return true;
    snprintf(path, sizeof path, "/bin/%s", shell);
    return access(path, X_OK) == 0;
}

/* Every byte that a command may hold, as the login shells that are installed here pass it on. */
static void shells_pass_a_word_on(void **state)
{
    (void)state;
    static const char *const shells[] = {"sh", "bash", "dash", "zsh", "ksh", "mksh", "fish", "tcsh", "csh"};
    mu_buf_t text = MU_BUF_INIT, word = MU_BUF_INIT, whole = MU_BUF_INIT, out = MU_BUF_INIT;
    int tried = 0;
    for (char c = ' '; c < 127; c++)
        mu_buf_addf(&text, "%c%c", c, c == ' ' ? 'x' : c);
    mu_buf_adds(&text, "\t~ =ls !! !x {a,b} [a] $HOME ${X:-y} `id` $(id) %1 *.c? \xc3\xa9 a=b 'q' \"r\" \\n "
                       "\\ ^x #c;&|<>()");
    assert_int_equal(mu_shell_word(text.data, &word), MU_OK);
    mu_buf_addf(&whole, "printf %%s %s", word.data);
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (!is_installed(shells[i]))
            continue;
        mu_buf_clear(&out);
        run(shells[i], whole.data, &out);
        if (out.len == 0 || strcmp(out.data, text.data) != 0)
            fail_msg("%s: %s\ninstead of %s", shells[i], out.data ? out.data : "", text.data);
        tried++;
    }
    assert_true(tried >= 2);
    mu_buf_release(&text);
    mu_buf_release(&word);
    mu_buf_release(&whole);
    mu_buf_release(&out);
}

/* csh and tcsh have no word with a line end in it. */
static void a_line_end_is_refused(void **state)
{
    (void)state;
    mu_buf_t word = MU_BUF_INIT;
    mu_args_t line = {0};
    assert_int_equal(mu_shell_word("/opt/a\nb/muster-worker", &word), MU_CONFIG);
    assert_int_equal(word.len, 0);
    assert_int_equal(mu_agent_line(4, (char *const[]){"/t/muster-ssh", "--", "one", "a\nb"}, nodes, &line),
                     MU_CONFIG);
    mu_args_free(&line);
    mu_buf_release(&word);
}

static void a_folder_gets_link_and_list(void **state)
{
    (void)state;
    char dir[] = "/tmp/muster-agent-XXXXXX";
    mu_node_t node[2] = {{.host = "fd00::7", .name = "ip6-fd00--7"}, {.host = "one", .name = "one"}};
    mu_buf_t text = MU_BUF_INIT;
    assert_non_null(mkdtemp(dir));
    for (int again = 0; again < 2; again++) /* a second attempt finds the link there */
        assert_int_equal(mu_agent_install(dir, node, (const int[]){6, 0}, 2), MU_OK);
    char *path = mu_path_join(dir, "nodes"), *link = mu_path_join(dir, MU_AGENT_NAME);
    struct stat st;
    assert_int_equal(mu_file_read(path, 1000, &text), MU_OK);
    assert_string_equal(text.data, "ip6-fd00--7 6 fd00::7\none 0 one\n");
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(mu_remove_tree(dir), MU_OK);
    mu_buf_release(&text);
    free(path);
    free(link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_is_the_nodes), cmocka_unit_test(another_form_is_refused),
        cmocka_unit_test(shells_pass_a_word_on), cmocka_unit_test(a_folder_gets_link_and_list),
        cmocka_unit_test(a_line_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
