/* Lists of hosts: every source and form, the strict grammar against 200 hostile names, places of mistakes. */
#include "launcher/hosts/hosts.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

static char last_error[4200];

static void keep_error(mu_log_level_t level, const char *line, void *arg)
{
    (void)arg;
    if (level == MU_LOG_ERROR)
        snprintf(last_error, sizeof last_error, "%s", line);
}

static void assert_said(const char *part)
{
    if (!strstr(last_error, part))
        fail_msg("wanted \"%s\" in: %s", part, last_error);
}

static mu_hosts_t *file(const char *text)
{
    mu_hosts_t *hosts = NULL;
    assert_int_equal(mu_hosts_parse_file("f", text, strlen(text), &hosts), MU_OK);
    return hosts;
}

static void assert_host(const mu_hosts_t *hosts, int i, const char *name, int slots)
{
    assert_true(i < hosts->count);
    assert_string_equal(hosts->host[i].name, name);
    assert_int_equal(hosts->host[i].slots, slots);
}

static void forms_of_hostfiles(void **state)
{
    (void)state;
    mu_hosts_t *hosts = file("# all forms\r\n"
                             "job-worker-0.job.ns.svc slots=8\r\n"
                             "job-worker-1.job.ns.svc:4   # Intel, MPICH\n"
                             "\n"
                             "  plain\n"
                             "10.0.0.7 slots = 2 max_slots=4 rack=r7\n"
                             "[fd00::1]:3\n"
                             "[fd00::2] slots=1 port=2222 user=ann\n"
                             "bob@h7");
    assert_int_equal(hosts->count, 7);
    assert_host(hosts, 0, "job-worker-0.job.ns.svc", 8);
    assert_host(hosts, 1, "job-worker-1.job.ns.svc", 4);
    assert_host(hosts, 2, "plain", 0);
    assert_host(hosts, 3, "10.0.0.7", 2);
    assert_string_equal(hosts->host[3].extra, "max_slots=4 rack=r7");
    assert_host(hosts, 4, "fd00::1", 3);
    assert_host(hosts, 5, "fd00::2", 1);
    assert_int_equal(hosts->host[5].port, 2222);
    assert_string_equal(hosts->host[5].user, "ann");
    assert_string_equal(hosts->host[6].user, "bob");
    assert_null(hosts->host[0].user);
    assert_int_equal(mu_hosts_slots(hosts), 8 + 4 + 1 + 2 + 3 + 1 + 1);
    assert_int_equal(mu_hosts_index(hosts, "PLAIN"), 2);
    assert_int_equal(mu_hosts_index(hosts, "plai"), -1);
    mu_hosts_free(hosts);
}

static void mistakes_name_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"", "f:1:1: names no host"},
        {"# nothing\n\n", "f:1:1: names no host"},
        {"a slots=8\nb slots=0\n", "f:2:9: \"0\" is not a number of slots"},
        {"a slots=8\n  b slots=eight\n", "f:2:11: \"eight\" is not a number of slots"},
        {"a slots=99999999999999999999\n", "f:1:9: "},
        {"a slots=-1\n", "f:1:9: "},
        {"a slots\n", "f:1:3: \"slots\" is not of the form key=value"},
        {"a =8\n", "f:1:3: \"\" is not of the form key=value"},
        {"a slots=1 slots=2\n", "f:1:17: "},
        {"a:4 slots=4\n", "f:1:11: "},
        {"a slots=1\nb lots=2\n", "f:2:3: \"lots\" is not a word of hostfiles: did you mean slots?"},
        {"a Slots=2\n", "f:1:3: \"Slots\" is not a word of hostfiles: did you mean slots?"},
        {"a max_slots=2\n", "f:1:1: max_slots=2 without slots"},
        {"a np=2\n", "f:1:3: \"np\" is not a word of hostfiles"},
        {"a port=70000\n", "f:1:8: \"70000\" is not a port"},
        {"a user=-x\n", "f:1:8: \"-x\" is not a user name"},
        {"a:0\n", "f:1:3: \"0\" is not a number of slots"},
        {"a:\n", "f:1:3: \"\" is not a number of slots"},
        {"a\nb\nA slots=2\n", "f:3:1: host A is there twice (first in line 1, column 1)"},
        {"fd00::1\n", "f:1:1: \"fd00::1\" has several colons"},
        {"[fd00::1\n", "f:1:1: \"[fd00::1\" is not an IPv6 address in brackets"},
        {"[fd00::1]x\n", "f:1:1: \"[fd00::1]x\" has something after the bracket"},
        {"[a]\n", "f:1:1: \"[a]\" is not an IPv6 address"},
        {"-oProxyCommand=x\n", "f:1:1: \"-oProxyCommand=x\" is not a host name"},
        {"a@-b\n", "f:1:3: \"-b\" is not a host name"},
        {"a\nn2. slots=2\n", "f:2:1: \"n2.\" ends with a dot, which Open MPI cannot take"},
        {"_a\n", "f:1:1: \"_a\" is not a host name"},
        {"a\x1b[31m\n", "f:1:1: \"a\\x1b[31m\" is not a host name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mu_hosts_t *hosts = NULL;
        assert_int_equal(mu_hosts_parse_file("f", cases[i].text, strlen(cases[i].text), &hosts), MU_CONFIG);
        assert_null(hosts);
        assert_said(cases[i].said);
    }
    mu_hosts_t *hosts = NULL;
    assert_int_equal(mu_hosts_parse_file("f", "a\0b", 3, &hosts), MU_CONFIG);
    assert_said("f:1:1: \"a\\x00b\" is not a host name");
}

static void repeated_lines_are_slots(void **state)
{
    (void)state;
    mu_hosts_t *hosts = file("n1\nn1\nn2\nn1\nn2\nn3\n");
    assert_int_equal(hosts->count, 3);
    assert_host(hosts, 0, "n1", 3);
    assert_host(hosts, 1, "n2", 2);
    assert_host(hosts, 2, "n3", 0);
    mu_hosts_free(hosts);
    static const char sge[] = "n1 2 all.q@n1 UNDEFINED\nn2 4 all.q@n2 UNDEFINED\n";
    assert_int_equal(mu_hosts_parse_batch("pe", sge, sizeof sge - 1, true, &hosts), MU_OK);
    assert_int_equal(hosts->count, 2);
    assert_host(hosts, 0, "n1", 2);
    assert_host(hosts, 1, "n2", 4);
    mu_hosts_free(hosts);
    assert_int_equal(mu_hosts_parse_batch("pe", "n1 x\n", 5, true, &hosts), MU_CONFIG);
    assert_said("pe:1:4: a number of slots");
}

static void option_list(void **state)
{
    (void)state;
    mu_hosts_t *hosts = NULL;
    assert_int_equal(mu_hosts_parse_list("h1:8,ann@h2,[::1]:2,10.1.2.3:4", &hosts), MU_OK);
    assert_int_equal(hosts->count, 4);
    assert_host(hosts, 0, "h1", 8);
    assert_host(hosts, 1, "h2", 0);
    assert_host(hosts, 2, "::1", 2);
    assert_host(hosts, 3, "10.1.2.3", 4);
    mu_hosts_free(hosts);
    hosts = NULL;
    static const struct {
        const char *text, *said;
    } bad[] = {{"", "--hosts:1:1: names no host"},
               {"h1,,h2", "--hosts:1:4: \"\" is not a host name"},
               {"h1,", "--hosts:1:4: "},
               {"h1, h2", "--hosts:1:4: \" h2\" is not a host name"},
               {"h1:8,h1:8", "--hosts:1:6: host h1 is there twice"},
               {"h1:x", "--hosts:1:4: \"x\" is not a number of slots"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(mu_hosts_parse_list(bad[i].text, &hosts), MU_USAGE);
        assert_null(hosts);
        assert_said(bad[i].said);
    }
}

static void slurm_lists(void **state)
{
    (void)state;
    mu_hosts_t *hosts = NULL;
    assert_int_equal(
        mu_hosts_parse_slurm("node[01-16,20],gpu-a[1-2]-x,login", "8(x16),4,2(x3)", "64(x20)", &hosts),
        MU_OK);
    assert_int_equal(hosts->count, 20);
    assert_host(hosts, 0, "node01", 8);
    assert_host(hosts, 15, "node16", 8);
    assert_host(hosts, 16, "node20", 4);
    assert_host(hosts, 17, "gpu-a1-x", 2);
    assert_host(hosts, 18, "gpu-a2-x", 2);
    assert_host(hosts, 19, "login", 2);
    assert_int_equal(hosts->host[19].cpus, 64);
    mu_hosts_free(hosts);

    assert_int_equal(mu_hosts_parse_slurm("r[1-2]n[009-010]", NULL, NULL, &hosts), MU_OK);
    assert_int_equal(hosts->count, 4);
    assert_host(hosts, 0, "r1n009", 0);
    assert_host(hosts, 1, "r1n010", 0);
    assert_host(hosts, 3, "r2n010", 0);
    mu_hosts_free(hosts);
    hosts = NULL;

    static const struct {
        const char *nodes, *tasks, *said;
    } bad[] = {{"n[1-2", NULL, "SLURM_JOB_NODELIST:1:3: '[' without ']'"},
               {"n[2-1]", NULL, "SLURM_JOB_NODELIST:1:5: the end of a range"},
               {"n[x]", NULL, "SLURM_JOB_NODELIST:1:3: a number"},
               {"n[1;2]", NULL, "SLURM_JOB_NODELIST:1:4: ',' or ']'"},
               {"n[1-999999999]", NULL, "SLURM_JOB_NODELIST:1:1: more than 16384 hosts"},
               {"n[1-2],n2", NULL, "SLURM_JOB_NODELIST:1:8: host n2 is there twice"},
               {"-o,b", NULL, "SLURM_JOB_NODELIST:1:1: \"-o\" is not a host name"},
               {"a:8", NULL, "SLURM_JOB_NODELIST:1:1: ':' and '@'"},
               {"a,", NULL, "SLURM_JOB_NODELIST:1:3: \"\" is not a host name"},
               {"n[1-3]", "8(x2)", "SLURM_TASKS_PER_NODE:1:6: fewer numbers than nodes"},
               {"n[1-3]", "8(x4)", "SLURM_TASKS_PER_NODE:1:6: more numbers than nodes"},
               {"n[1-3]", "8(y3)", "SLURM_TASKS_PER_NODE:1:2: ',' is wanted"},
               {"n[1-3]", "8(x3", "SLURM_TASKS_PER_NODE:1:2: a repetition"},
               {"n[1-3]", "0(x3)", "SLURM_TASKS_PER_NODE:1:1: a positive number"},
               {"n[1-3]", "5000(x3)", "SLURM_TASKS_PER_NODE:1:9: more than 4096"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(mu_hosts_parse_slurm(bad[i].nodes, bad[i].tasks, NULL, &hosts), MU_CONFIG);
        assert_null(hosts);
        assert_said(bad[i].said);
    }
    /* many brackets: bounded by the length of a name, not by the stack */
    mu_buf_t deep = MU_BUF_INIT;
    for (int i = 0; i < 5000; i++)
        mu_buf_adds(&deep, "[1]");
    assert_int_equal(mu_hosts_parse_slurm(deep.data, NULL, NULL, &hosts), MU_CONFIG);
    assert_said("longer than 253 bytes");
    mu_buf_release(&deep);
}

/* Names that would do something else on a command line, in a shell, in a hostfile or on a terminal. */
static const char *const hostile[] = {"-oProxyCommand=touch",
                                      "-o",
                                      "--",
                                      "-",
                                      "-l",
                                      "-p22",
                                      "-Fconfig",
                                      "--hostfile",
                                      "-i/tmp/k",
                                      "-h1",
                                      "h1-",
                                      "h1;reboot",
                                      "h1|id",
                                      "h1&",
                                      "h1&&id",
                                      "h1`id`",
                                      "$(id)",
                                      "h1$(id)",
                                      "${HOME}",
                                      "$HOME",
                                      "h1>x",
                                      "h1<x",
                                      "h1\nh2",
                                      "h1\th2",
                                      "h1 h2",
                                      " h1",
                                      "h1 ",
                                      "h1\r",
                                      "\"h1\"",
                                      "'h1'",
                                      "h1\\",
                                      "h\\1",
                                      "h1*",
                                      "h?1",
                                      "h[1]",
                                      "h{1,2}",
                                      "h1!",
                                      "!h1",
                                      "~h1",
                                      "~",
                                      "^h1",
                                      "h1^",
                                      "h1%h",
                                      "%C",
                                      "h1%20",
                                      "h1=x",
                                      "h1+",
                                      "+h1",
                                      "h1,h2",
                                      "h1/",
                                      "/etc/passwd",
                                      "../h1",
                                      "./h1",
                                      "h1/..",
                                      "h1#x",
                                      "#h1",
                                      "h1(x)",
                                      "(h1)",
                                      "h1{",
                                      "}",
                                      "h1_",
                                      "_h1",
                                      ".",
                                      "..",
                                      ".h1",
                                      "h1.",
                                      "h1..x",
                                      "h1.-x",
                                      "h1-.x",
                                      "h1.x-",
                                      "a..b",
                                      "...",
                                      "1",
                                      "123",
                                      "1.2",
                                      "1.2.3",
                                      "1.2.3.4.5",
                                      "256.1.1.1",
                                      "1.2.3.256",
                                      "1.2.3.4 ",
                                      " 1.2.3.4",
                                      "01.02.03.04.05",
                                      "0x7f.1",
                                      "0x7f000001",
                                      "0X7F.0.0.1",
                                      "2130706433",
                                      "h1.0x10",
                                      "h1.5",
                                      "0x1",
                                      "1e3.5",
                                      "::1%lo",
                                      "fe80::1%eth0",
                                      "::g",
                                      ":::",
                                      "1:2:3:4:5:6:7:8:9",
                                      "::1::",
                                      "[::1]",
                                      "[::1",
                                      "::1]",
                                      "::ffff:1.2.3.256",
                                      "h1:",
                                      "h1:8",
                                      ":8",
                                      "a@b",
                                      "@",
                                      "a@",
                                      "@b",
                                      "a@b@c",
                                      "ssh://h1",
                                      "http://h1/",
                                      "file:///x",
                                      "h1\x01",
                                      "\x1b[2J",
                                      "h1\x1b]0;x\x07",
                                      "h1\x7f",
                                      "\x80",
                                      "h\xc3\xa4",
                                      "\xc3\xa4",
                                      "h1\xe2\x80\xae",
                                      "\xff\xfe",
                                      "h\xcc\x81",
                                      "\xe2\x80\x8bh1",
                                      "h1\xc2\xa0",
                                      "xn--\xc3\xa4",
                                      "h\x08",
                                      "h\x0b",
                                      "h\x0c",
                                      "h1\\n",
                                      "h1\\x00",
                                      "h1%00",
                                      "h1%0a",
                                      "%",
                                      "%s",
                                      "%n%n%n",
                                      "%d",
                                      "*",
                                      "?",
                                      "[",
                                      "]",
                                      "{",
                                      "|",
                                      "&",
                                      ";",
                                      "<",
                                      ">",
                                      "`",
                                      "$",
                                      "\\",
                                      "'",
                                      "\"",
                                      "!",
                                      "#",
                                      "=",
                                      "+",
                                      ",",
                                      "/",
                                      "(",
                                      ")",
                                      "^",
                                      ":",
                                      "@",
                                      "\n",
                                      "\r\n",
                                      "\t",
                                      " ",
                                      "  ",
                                      "",
                                      "$IFS",
                                      "h1${IFS}id",
                                      "h1$@",
                                      "$$",
                                      "$0",
                                      "$!",
                                      "&>x",
                                      "2>&1",
                                      "h1;",
                                      ";h1",
                                      "||id",
                                      "&&id",
                                      "\nid",
                                      "id\n",
                                      "h1\n-oX",
                                      "-\n",
                                      "--help",
                                      "-V",
                                      "-vvv",
                                      "-W",
                                      "-J x",
                                      "-Jx",
                                      "-D1",
                                      "-L1",
                                      "-R1",
                                      "-w0",
                                      "-E/x",
                                      "-S/x",
                                      "-Q",
                                      "-G",
                                      "-N",
                                      "-f",
                                      "-n",
                                      "-t",
                                      "-A",
                                      "-X",
                                      "-Y",
                                      "-K",
                                      "-C",
                                      "h1 -o X",
                                      "h1 slots=9",
                                      "h1\tslots=9",
                                      "h1,-oX",
                                      "h1:8,-oX"};

static void hostile_names(void **state)
{
    (void)state;
    size_t count = sizeof hostile / sizeof *hostile;
    assert_true(count >= 200);
    for (size_t i = 0; i < count; i++)
        if (mu_host_name_valid(hostile[i], strlen(hostile[i])))
            fail_msg("accepted: %s", hostile[i]);
    assert_false(mu_host_name_valid("h1\0x", 4));
    assert_false(mu_host_name_valid("1.2.3.4\0", 8));
    char label[66], name[300];
    memset(label, 'a', sizeof label);
    assert_true(mu_host_name_valid(label, 63));
    assert_false(mu_host_name_valid(label, 64));
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = i % 50 == 49 ? '.' : 'b';
    assert_true(mu_host_name_valid(name, 253));
    assert_false(mu_host_name_valid(name, 254));
    static const char *const fine[] = {"h1",
                                       "H1",
                                       "a",
                                       "node-01",
                                       "a-b.c-d",
                                       "1a",
                                       "3com.com",
                                       "job-worker-0.job.ns.svc.cluster.local",
                                       "10.0.0.1",
                                       "255.255.255.255",
                                       "::1",
                                       "fd00:1::a",
                                       "::ffff:1.2.3.4",
                                       "x--y",
                                       "0x7g"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        if (!mu_host_name_valid(fine[i], strlen(fine[i])))
            fail_msg("refused: %s", fine[i]);
}

/* The sources, with an environment of our own. */
static const char *const *fake_env;

static const char *env(const char *name)
{
    for (const char *const *e = fake_env; *e; e += 2)
        if (strcmp(e[0], name) == 0)
            return e[1];
    return NULL;
}

static void order_of_sources(void **state)
{
    (void)state;
    char dir[] = "/tmp/muster-hosts-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *f1 = mu_path_join(dir, "f1"), *f2 = mu_path_join(dir, "f2"), *absent = mu_path_join(dir, "absent");
    assert_int_equal(mu_file_replace(f1, "one slots=3\n", 12, 0600), MU_OK);
    assert_int_equal(mu_file_replace(f2, "two\n", 4, 0600), MU_OK);
    const char *const nothing[] = {NULL};
    const char *const mpi[] = {"OMPI_MCA_orte_default_hostfile",
                               f2,
                               "OMPI_MCA_orte_set_default_slots",
                               "6",
                               "SLURM_JOB_NODELIST",
                               "s[1-2]",
                               NULL};
    const char *const slurm[] = {"SLURM_JOB_NODELIST", "s[1-2]", "SLURM_TASKS_PER_NODE", "5(x2)", NULL};
    const char *const older[] = {"SLURM_JOB_NODELIST", "", "SLURM_NODELIST", "s[1-2]", NULL};
    const char *const lost[] = {"PRTE_MCA_prte_default_hostfile", absent, NULL};
    const struct {
        const char *hosts, *hostfile, *config, *mpi;
        const char *const *env;
        mu_hosts_source_t source;
        const char *name; /* NULL: not looked at */
        int slots;
    } cases[] = {{"opt", f1, f1, f1, mpi, MU_HOSTS_OPTION, "opt", 0},
                 {NULL, f1, f2, f2, mpi, MU_HOSTS_FILE, "one", 3},
                 {NULL, NULL, f1, f2, mpi, MU_HOSTS_FILE, "one", 3},
                 {NULL, NULL, absent, absent, mpi, MU_HOSTS_MPI, "two", 6},
                 {NULL, NULL, NULL, f1, slurm, MU_HOSTS_MPI, "one", 3},
                 {NULL, NULL, "/mock_path", absent, slurm, MU_HOSTS_SLURM, "s1", 5},
                 {NULL, NULL, NULL, absent, older, MU_HOSTS_SLURM, "s1", 0},
                 {NULL, NULL, "/mock_path", absent, nothing, MU_HOSTS_LOCAL, NULL, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mu_hosts_t *hosts = NULL;
        fake_env = cases[i].env;
        mu_hosts_query_t query = {cases[i].hosts, cases[i].hostfile, cases[i].config, cases[i].mpi, env};
        assert_int_equal(mu_hosts_find(&query, &hosts), MU_OK);
        assert_int_equal(hosts->source, cases[i].source);
        if (cases[i].name)
            assert_string_equal(hosts->host[0].name, cases[i].name);
        assert_int_equal(hosts->host[0].slots, cases[i].slots);
        mu_hosts_free(hosts);
    }
    mu_hosts_t *hosts = NULL;
    fake_env = nothing;
    assert_int_equal(mu_hosts_find(&(mu_hosts_query_t){.hostfile = absent, .env = env}, &hosts), MU_NOINPUT);
    assert_said(absent);
    fake_env = lost;
    assert_int_equal(mu_hosts_find(&(mu_hosts_query_t){.env = env}, &hosts), MU_NOINPUT);
    assert_said("PRTE_MCA_prte_default_hostfile names it");
    assert_null(hosts);
    free(f1);
    free(f2);
    free(absent);
    assert_int_equal(mu_remove_tree(dir), MU_OK);
}

int main(void)
{
    mu_log_sink_set(keep_error, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_of_hostfiles),
        cmocka_unit_test(mistakes_name_their_place),
        cmocka_unit_test(repeated_lines_are_slots),
        cmocka_unit_test(option_list),
        cmocka_unit_test(slurm_lists),
        cmocka_unit_test(hostile_names),
        cmocka_unit_test(order_of_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
