/* Parameters that are set for Open MPI elsewhere: what ompi_info says of them, and what of it is refused. */
#include "launcher/mpi/mpirun.h"
#include "common/file.h"
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char said[2048];

static void keep(mu_log_level_t level, const char *text, void *arg)
{
    (void)level;
    (void)arg;
    snprintf(said, sizeof said, "%s", text);
}

static mu_settings_t parsed(const char *text)
{
    mu_settings_t settings = {.fd = -1};
    mu_settings_parse(&settings, text, strlen(text));
    return settings;
}

#define VALUE(name, value, source)                                                                           \
    "mca:x:y:param:" name ":value:" value "\nmca:x:y:param:" name ":source:" source "\nmca:x:y:param:" name  \
    ":help:a text: with colons\n"

static void the_sources_are_told_apart(void **state)
{
    (void)state;
    mu_settings_t s = parsed(VALUE("btl_tcp_if_exclude", "lo,docker0", "file (/etc/a (b).conf:12)")
                                 VALUE("plm", "", "default") VALUE("plm_rsh_args", "-o A=b:c", "environment")
                                     VALUE("pml", "^ucx", "file (/etc/x.conf:3)"));
    assert_int_equal(s.count, 3);
    const mu_setting_t *exclude = mu_settings_get(&s, "btl_tcp_if_exclude"),
                       *args = mu_settings_get(&s, "plm_rsh_args");
    assert_string_equal(exclude->value, "lo,docker0");
    assert_string_equal(exclude->from, "/etc/a (b).conf:12");
    assert_string_equal(args->value, "-o A=b:c");
    assert_null(args->from);
    assert_null(mu_settings_get(&s, "plm"));
    assert_null(mu_settings_get(&s, "pml")); /* a distribution's list of what it leaves out is no choice */
    assert_null(mu_settings_get(NULL, "pml"));
    mu_settings_free(&s);
}

static void refused(const char *text, int family, const char *first, const char *second)
{
    mu_settings_t s = parsed(text);
    said[0] = '\0';
    assert_int_equal(mu_settings_check(&s, family), MU_CONFIG);
    assert_non_null(strstr(said, first));
    assert_non_null(strstr(said, second));
    mu_settings_free(&s);
}

static void clashes_are_refused(void **state)
{
    (void)state;
    refused(VALUE("rmaps_base_no_schedule_local", "true", "file (/h/mca-params.conf:7)"), 0,
            "/h/mca-params.conf:7", "rmaps_base_no_schedule_local");
    refused(VALUE("btl_tcp_if_exclude", "lo", "file (/a:1)")
                VALUE("btl_tcp_if_include", "eth0", "environment"),
            0, "/a:1", "the environment");
    refused(VALUE("oob_tcp_disable_ipv4_family", "true", "file (/a:2)"), 4, "/a:2",
            "oob_tcp_disable_ipv4_family");
    refused(VALUE("btl_tcp_disable_family", "6", "environment"), 6, "the environment",
            "btl_tcp_disable_family");
    static const char *const fine[] = {VALUE("rmaps_base_mapping_policy", "node", "file (/a:1)"),
                                       VALUE("btl_tcp_if_exclude", "lo", "file (/a:1)"),
                                       VALUE("oob_tcp_disable_ipv4_family", "true", "file (/a:2)"),
                                       VALUE("rmaps_base_display_map", "1", "file (/a:2)")};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        mu_settings_t s = parsed(fine[i]);
        assert_int_equal(mu_settings_check(&s, i == 2 ? 6 : 4), MU_OK);
        mu_settings_free(&s);
    }
    /* a variable does not reach mpirun, and that is said */
    mu_settings_t s = parsed(VALUE("rmaps", "seq", "environment"));
    assert_int_equal(mu_settings_check(&s, 4), MU_OK);
    assert_non_null(strstr(said, "OMPI_MCA_rmaps"));
    mu_settings_free(&s);
}

#define COMPONENT(name) "mca:" name ":version:\"mca:2.1.0\"\nmca:" name ":version:\"component:4.1.4\"\n"

static void a_component_that_is_not_there_is_refused(void **state)
{
    (void)state;
#define THREE COMPONENT("plm:rsh") COMPONENT("plm:slurm") COMPONENT("btl:tcp")
    refused(THREE VALUE("plm", "nosuch", "environment"), 0, "plm = nosuch", "rsh, slurm");
    refused(THREE VALUE("plm", "rsh,tcp", "file (/a:4)"), 0, "/a:4", "tcp");
    static const char *const fine[] = {
        THREE VALUE("plm", "slurm,rsh", "environment"), THREE VALUE("plm", "^nosuch", "environment"),
        THREE VALUE("btl", "nosuch", "file (/a:1)"), /* is not followed */
        THREE VALUE("pml", "nosuch", "environment") /* nothing is known of pml */};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        mu_settings_t s = parsed(fine[i]);
        assert_int_equal(mu_settings_check(&s, 4), MU_OK);
        mu_settings_free(&s);
    }
}

static bool has(const mu_args_t *args, const char *word)
{
    for (int i = 0; i < args->n; i++)
        if (strcmp(args->v[i], word) == 0)
            return true;
    return false;
}

static void mpirun_is_told_what_is_not_set(void **state)
{
    (void)state;
    mu_settings_t s = parsed(VALUE("btl_tcp_if_exclude", "lo", "file (/a:1)") VALUE(
        "btl", "^uct", "file (/a:2)") VALUE("plm_rsh_args", "-o A=b", "file (/a:3)"));
    mu_mpirun_t mpirun = {.program = "mpirun", .major = 4};
    mu_args_t vars = {0}, args = {0}, env = {0};
    mu_mpi_job_t job = {.ranks = 3,
                        .hostfile = "h",
                        .tmp_dir = "t",
                        .shm_dir = "s",
                        .interfaces = "eth0",
                        .family = 6,
                        .ssh_args = "-p 22",
                        .agent = "/t/muster-ssh",
                        .settings = &s,
                        .worker = "w",
                        .config = "c",
                        .daemon_port = 29100,
                        .daemon_ports = 4,
                        .vars = &vars};
    setenv("OMPI_MCA_rmaps", "seq", 1);
    mu_mpirun_args(&mpirun, &job, &args);
    mu_mpirun_env(&job, &env);
    unsetenv("OMPI_MCA_rmaps");
    assert_false(has(&args, "btl_tcp_if_include"));
    assert_true(has(&args, "oob_tcp_if_include"));
    assert_true(has(&args, "self,vader,tcp"));
    assert_true(has(&args, "-o A=b -p 22 --"));
    assert_true(has(&args, "/t/muster-ssh : ssh"));
    assert_true(has(&args, "oob_tcp_disable_ipv4_family"));
    assert_true(has(&args, "29100-29101"));
    assert_true(has(&args, "29102-29103"));
    assert_false(has(&env, "OMPI_MCA_rmaps=seq"));
    assert_false(mu_mpirun_rank_net(&s, "eth0").tcp);
    mu_args_free(&args);
    mu_args_free(&env);
    mu_settings_free(&s);
}

static void whose_agent_it_is(void **state)
{
    (void)state;
    mu_mpirun_t mpirun = {.major = 4};
    static const struct {
        const char *text;
        bool ours;
    } cases[] = {{"", true},
                 {VALUE("plm_rsh_agent", "ssh : rsh", "file (/a:1)"), true},
                 {VALUE("plm_rsh_agent", "ssh", "environment"), true},
                 {VALUE("plm_rsh_agent", "/etc/mpi/kubexec.sh", "environment"), false},
                 {VALUE("plm", "slurm", "file (/a:1)"), false},
                 {VALUE("plm", "rsh", "file (/a:1)"), true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mu_settings_t s = parsed(cases[i].text);
        assert_int_equal(mu_mpirun_takes_agent(&mpirun, &s), cases[i].ours);
        mu_settings_free(&s);
    }
}

/* Open MPI's own program, where it is installed: a file that it reads, with its line. */
static void ompi_info_is_asked(void **state)
{
    (void)state;
    char path[] = "/tmp/muster-settings-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "# a comment\nplm_rsh_args = -o A=b\n";
    assert_true(fd >= 0);
    assert_true(mu_write_all(fd, text, sizeof text - 1));
    close(fd);
    mu_settings_t s;
    setenv("OMPI_MCA_mca_base_param_files", path, 1);
    said[0] = '\0';
    mu_settings_start(&s);
    mu_settings_read(&s);
    unsetenv("OMPI_MCA_mca_base_param_files");
    unlink(path);
    if (strstr(said, "ompi_info")) {
        mu_settings_free(&s);
        skip();
    }
    const mu_setting_t *args = mu_settings_get(&s, "plm_rsh_args");
    assert_non_null(args);
    assert_string_equal(args->value, "-o A=b");
    assert_non_null(strstr(args->from, path));
    assert_non_null(strstr(args->from, ":2"));
    mu_settings_free(&s);
}

int main(void)
{
    mu_log_sink_set(keep, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sources_are_told_apart),
        cmocka_unit_test(clashes_are_refused),
        cmocka_unit_test(a_component_that_is_not_there_is_refused),
        cmocka_unit_test(mpirun_is_told_what_is_not_set),
        cmocka_unit_test(whose_agent_it_is),
        cmocka_unit_test(ompi_info_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
