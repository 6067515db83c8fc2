/* The gates of `muster eval`: what an expression means, what is none, and what holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/gate.h"
#include "common/log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static char said[4096];

static void keep(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}

static mu_status_t judge(const char *text, double value)
{
    mu_gate_t gate;
    double values[MU_GATE_METRICS];
    for (int i = 0; i < MU_GATE_METRICS; i++)
        values[i] = value;
    said[0] = '\0';
    assert_int_equal(mu_gate_parse(text, &gate), MU_OK);
    return mu_gates_judge(&gate, 1, values);
}

static void what_holds(void **state)
{
    static const struct {
        const char *text;
        double value;
        bool met;
    } cases[] = {
        {"ppl<=16.53", 16.5429, false},  {"ppl<=16.55", 16.5429, true}, {"ppl<=16.5429", 16.5429, true},
        {"acc>=0.75", 0.75, true},       {"acc_norm>0.5", 0.5, false},  {"acc>0", (double)NAN, false},
        {"ppl<16.5429", 16.5429, false}, {"loss < 2.5e0", 2.4, true},   {"tokens>=1000", 1000, true},
        {"tokens>1000", 1000, false},    {"tokens > 999", 1000, true},  {"bits_per_byte<=1", 1.01, false},
        {"loss<=1e300", NAN, false},     {"loss>=-1e300", NAN, false},  {"ppl>=1", INFINITY, false},
        {"loss>-1", -INFINITY, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if ((judge(cases[i].text, cases[i].value) == MU_OK) != cases[i].met)
            fail_msg("%s with %g: %s", cases[i].text, cases[i].value, said);
    assert_int_equal(judge("ppl<=16.53", 16.5429), MU_GATE);
    assert_int_equal(mu_status_exit(MU_GATE), 87);
    if (!strstr(said, "ppl: found 16.5429, wanted <= 16.53"))
        fail_msg("%s", said);
}

static void all_must_hold(void **state)
{
    static const double values[MU_GATE_METRICS] = {2, 8, 1, 100};
    mu_gate_t gates[3];
    (void)state;
    mu_gate_parse("loss<3", &gates[0]);
    mu_gate_parse("ppl<7", &gates[1]);
    mu_gate_parse("tokens>1000", &gates[2]);
    said[0] = '\0';
    assert_int_equal(mu_gates_judge(gates, 3, values), MU_GATE);
    assert_non_null(strstr(said, "gate not met: ppl")); /* each is named */
    assert_non_null(strstr(said, "gate not met: tokens"));
    assert_int_equal(mu_gates_judge(gates, 1, values), MU_OK);
    assert_int_equal(mu_gates_judge(gates, 0, values), MU_OK);
}

static void what_is_no_gate(void **state)
{
    static const char *const bad[] = {"",           "accuracy>0.5", "ppl",       "ppl=3",    "ppl==3",
                                      "ppl<",       "ppl<=",        "ppl<=nan",  "ppl<=inf", "ppl<=0x10",
                                      "ppl<=1e999", "ppl<=1.5.2",   "ppl<=16,5", "ppl=<3",   "Ppl<3",
                                      " ppl<3",     "ppl<3 ",       "<3",        "ppl!=3",   "ppl<>3",
                                      "ppl<=3e"};
    mu_gate_t gate;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (mu_gate_parse(bad[i], &gate) != MU_USAGE)
            fail_msg("taken: '%s'", bad[i]);
}

/* A gate on what is not measured would never hold; that is a mistake of the command line. */
static void what_is_not_measured(void **state)
{
    mu_gate_t gates[2];
    (void)state;
    mu_gate_parse("ppl<7", &gates[0]);
    mu_gate_parse("acc>=0.5", &gates[1]);
    assert_int_equal(mu_gates_check(gates, 2, true, true, false), MU_OK);
    assert_int_equal(mu_gates_check(gates, 2, true, false, false), MU_USAGE);
    assert_int_equal(mu_gates_check(gates, 2, false, true, false), MU_USAGE);
    assert_int_equal(mu_gates_check(gates, 1, true, false, false), MU_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_holds),
        cmocka_unit_test(all_must_hold),
        cmocka_unit_test(what_is_no_gate),
        cmocka_unit_test(what_is_not_measured),
    };
    mu_log_sink_set(keep, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
