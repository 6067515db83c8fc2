/* Whose memory takes a second copy: always another host's, the same tensor-parallel rank, and no host takes much more
 * than another. */
#include "worker/train/peers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

enum { MOST = 64 };

/* pair LAYOUT: host of worker 0, 1, ... as digits */
static mu_peers_t pair(const char *hosts, int tp, int host[MOST], int partner[MOST])
{
    mu_peers_t p = {.workers = (int)strlen(hosts), .host = host, .partner = partner};
    for (int w = 0; w < p.workers; w++) {
        host[w] = hosts[w] - '0';
        p.hosts = host[w] >= p.hosts ? host[w] + 1 : p.hosts;
    }
    mu_peers_pair(&p, tp);
    return p;
}

static void every_piece_lies_on_two_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *hosts;
        int tp;
    } layouts[] = {{"01", 1},
                   {"012", 1},
                   {"0011", 1},
                   {"0011", 2},
                   {"001122", 2},
                   {"00001111", 4},
                   {"0001", 1},
                   {"010101", 1},
                   {"0120", 1},
                   {"00112233", 2},
                   {"01230123", 4},
                   {"000111222", 1},
                   {"0000111122223333", 2}};
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        int host[MOST], partner[MOST], takes[MOST] = {0};
        mu_peers_t p = pair(layouts[i].hosts, layouts[i].tp, host, partner);
        bool possible =
            strcmp(layouts[i].hosts, "01230123") != 0; /* a replica's rank t is on host t in both */
        assert_int_equal(p.possible, possible);
        for (int w = 0; possible && w < p.workers; w++) {
            assert_in_range(partner[w], 0, p.workers - 1);
            assert_int_not_equal(host[partner[w]], host[w]);
            assert_int_equal(partner[w] % layouts[i].tp, w % layouts[i].tp);
            takes[partner[w]]++;
        }
        if (strcmp(layouts[i].hosts, "0001") == 0)
            assert_int_equal(takes[3], 3);
        if (strcmp(layouts[i].hosts, "00112233") == 0)
            for (int w = 0; w < p.workers; w++)
                assert_int_equal(takes[w], 1);
    }
}

/* Any one host may go: of every worker's piece its own host's or its partner's is left. Of a ring of four, two that
 * are not neighbours too. */
static void one_host_may_go(void **state)
{
    (void)state;
    int host[MOST], partner[MOST];
    mu_peers_t p = pair("0123", 1, host, partner);
    for (int gone = 0; gone < p.hosts; gone++)
        for (int w = 0; w < p.workers; w++)
            assert_true(host[w] != gone || host[partner[w]] != gone);
    for (int w = 0; w < p.workers; w++)
        assert_false((host[w] == 0 || host[w] == 2) && (host[partner[w]] == 0 || host[partner[w]] == 2));
}

static void nobody_elsewhere_is_no_partner(void **state)
{
    (void)state;
    int host[MOST], partner[MOST];
    static const char *const hosts[] = {"0", "00", "0000"};
    for (size_t i = 0; i < 3; i++) {
        mu_peers_t p = pair(hosts[i], 1, host, partner);
        assert_false(p.possible);
        for (int w = 0; w < p.workers; w++)
            assert_int_equal(partner[w], -1);
    }
    assert_false(pair("01", 2, host, partner).possible); /* one replica over two hosts */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece_lies_on_two_hosts),
        cmocka_unit_test(one_host_may_go),
        cmocka_unit_test(nobody_elsewhere_is_no_partner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
