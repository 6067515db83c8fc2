/* Which of a process's connections send again: the kernel's table, and a connection that does so. */
#include "worker/guard/guard_impl.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const char table[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 0100090A:73D4 0200090A:8235 01 00000000:00000000 00:00000000 00000000     0        0 101 1 0 20 4 "
    "30 10 -1\n"
    "   1: 0100090A:73D5 0300090A:8236 01 0000A8C0:00000000 01:00000029 00000004     0        0 102 3 0 20 4 "
    "30 1 7\n"
    "   2: 0100090A:73D6 0400090A:8237 01 0000A8C0:00000000 01:00000029 00000002     0        0 103 3 0 20 4 "
    "30 1 7\n"
    "   3: 0100090A:73D7 0500090A:8238 01 0000A8C0:00000000 04:00000029 00000009     0        0 104 3 0 20 4 "
    "30 1 7\n"
    "   4: 0100090A:73D8 0600090A:8239 01 0000A8C0:00000000 01:00000029 00000009     0        0 999 3 0 20 4 "
    "30 1 7\n"
    "   5: 0100090A:73D8 0600090A:8239 01 00000001:00000000 00:00000000 00000000     0        0 105 3 0 20 4 "
    "30 1 7\n";

static void the_most_tired_connection_is_found(void **state)
{
    (void)state;
    static const unsigned long all[] = {101, 103, 102, 104, 105}, quiet[] = {101, 104};
    mu_resending_t most = {0};
    mu_net_parse(table, all, 4, &most);
    assert_int_equal(most.times, 5);
    assert_string_equal(most.peer, "10.9.0.3");
    most = (mu_resending_t){0};
    mu_net_parse(table, quiet, 2, &most); /* 104 waits for room at its peer, which is no loss */
    assert_int_equal(most.times, 0);
    mu_net_parse("", all, 4, &most);
    mu_net_parse("  sl\n   0: nonsense\n", all, 4, &most);
    assert_int_equal(most.times, 0);
    mu_net_parse(table, all + 4, 1, &most); /* on its way for the first time, or waits to be sent */
    assert_int_equal(most.times, 1);
}

static void an_address_of_six_is_known(void **state)
{
    (void)state;
    static const unsigned long mine[] = {7};
    mu_resending_t most = {0};
    mu_net_parse("  sl\n   0: 00000000000000000000000001000000:1F90 B80D0120000000000000000001000000:8235 01 "
                 "00000010:00000000 01:00000029 00000001     0        0 7 3 0 20 4 30 1 7\n",
                 mine, 1, &most);
    assert_int_equal(most.times, 2);
    assert_string_equal(most.peer, "2001:db8::1");
}

static void this_process_loses_nothing(void **state)
{
    (void)state;
    mu_resending_t most = {.times = 9};
    mu_net_resending(getpid(), &most);
    assert_int_equal(most.times, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_tired_connection_is_found),
        cmocka_unit_test(an_address_of_six_is_known),
        cmocka_unit_test(this_process_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
