/* The names by which mpirun knows hosts. */
#include "launcher/mpi/node_names.h"
#include "common/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static char said[1024];

static void keep(mu_log_level_t level, const char *text, void *arg)
{
    (void)level;
    (void)arg;
    snprintf(said, sizeof said, "%s", text);
}

static void expect(const char *own, int here, int n, const char *const *hosts, const char *const *names)
{
    mu_node_t node[8] = {0};
    for (int i = 0; i < n; i++)
        node[i] = (mu_node_t){.host = hosts[i], .here = i == here};
    assert_int_equal(mu_node_names(node, n, own, true), MU_OK);
    for (int i = 0; i < n; i++)
        assert_string_equal(node[i].name, names[i]);
}

static void what_open_mpi_takes(void **state)
{
    (void)state;
    static const char *const good[] = {"n1", "10.1.0.7", "job-worker-0.job.ml.svc", "2wo"};
    static const char *const bad[] = {"o_ne", "fd00::7", "n2.", "-n", "n-", ""};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(mu_node_name_fits(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(mu_node_name_fits(bad[i]));
}

static void others_are_renamed(void **state)
{
    (void)state;
    expect("head", -1, 2, (const char *const[]){"n1", "10.1.0.7"}, (const char *const[]){"n1", "10.1.0.7"});
    expect("head", -1, 3, (const char *const[]){"o_ne", "fd00::7", "::1"},
           (const char *const[]){"o-ne", "ip6-fd00--7", "ip6---1"});
    expect("head", -1, 2, (const char *const[]){"o_ne", "o-ne"}, (const char *const[]){"o-ne-2", "o-ne"});
    /* this machine is known by its own name, whatever the list calls it, and nobody else by that */
    expect("head", 0, 2, (const char *const[]){"localhost", "n1"}, (const char *const[]){"head", "n1"});
    expect("one.example", -1, 2, (const char *const[]){"one", "two"}, (const char *const[]){"one-2", "two"});
    expect("one.x", 1, 3, (const char *const[]){"one.y", "whatever", "two.y"},
           (const char *const[]){"one-2", "one", "two"});
    expect("head", -1, 2, (const char *const[]){"job-0.a.svc", "job-0.b.svc"},
           (const char *const[]){"job-0", "job-0-2"});
    expect("head", -1, 2, (const char *const[]){"___", "_."}, (const char *const[]){"host", "host-2"});
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    mu_node_t node[1] = {{.host = "n1"}};
    assert_int_equal(mu_node_names(node, 1, "he_ad", true), MU_CONFIG);
    assert_non_null(strstr(said, "he_ad"));
    node[0] = (mu_node_t){.host = "fd00::7"};
    assert_int_equal(mu_node_names(node, 1, "head", false), MU_CONFIG);
    assert_non_null(strstr(said, "fd00::7"));
}

int main(void)
{
    mu_log_sink_set(keep, NULL);
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_open_mpi_takes),
                                       cmocka_unit_test(others_are_renamed),
                                       cmocka_unit_test(what_cannot_be_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
