/* What the launcher concludes from heartbeats and deaths, and what it does about a failed attempt. */
#include "common/control/phase.h"
#include "launcher/monitor/dedup.h"
#include "launcher/run/policy.h"
#include "launcher/monitor/rank_table.h"
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

static const int64_t second = 1000000000;
static const mu_limits_t limits = {.hang = 0, .heartbeat = 10, .start = 60};

static mu_hello_t hello_of(int rank)
{
    mu_hello_t h = {.rank = rank, .attempt = 1, .world_size = 4, .guard_pid = 100 + rank};
    snprintf(h.host, sizeof h.host, "host-%d", rank);
    return h;
}

/* Four ranks that step for `steps` seconds, one step a second; returns the time after. */
static int64_t warm(mu_rank_table_t *r, int steps)
{
    mu_rank_table_init(r, 4, 1, &limits, 0);
    for (int i = 0; i < 4; i++) {
        mu_hello_t h = hello_of(i);
        assert_true(mu_rank_table_hello(r, &h, 0));
    }
    for (int s = 1; s <= steps; s++)
        for (int i = 0; i < 4; i++) {
            mu_heartbeat_t b = {
                .sequence = s, .phase = MU_PHASE_STEP, .step = s, .progress = 10 * s, .state = 'S'};
            mu_rank_table_heartbeat(r, i, &b, s * second);
        }
    return steps * second;
}

/* A heartbeat that shows that the rank has stood still since `since`. */
static void still(mu_rank_table_t *r, int rank, int64_t since, int64_t now, mu_heartbeat_t change)
{
    mu_heartbeat_t b = r->member[rank].heartbeat;
    b.sequence++;
    b.still_ms = (now - since) / 1000000;
    b.state = change.state ? change.state : 'S';
    b.in_collective = change.in_collective;
    b.collective = change.collective;
    snprintf(b.comm, sizeof b.comm, "%s", change.comm);
    snprintf(b.operation, sizeof b.operation, "allreduce");
    mu_rank_table_heartbeat(r, rank, &b, now);
}

static mu_failure_t judged(const mu_rank_table_t *r, int64_t now)
{
    mu_failure_t t;
    mu_rank_table_failure(r, now, &t);
    return t;
}

/* The launcher stood still, not they: nobody is lost, deaf or hung for that, and whoever stays silent is found
 * later by as much. */
static void a_pause_of_the_launcher_is_nobodys_fault(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t now = warm(&r, 20);
    mu_heartbeat_t deaf = r.member[2].heartbeat;
    deaf.sequence++;
    deaf.unanswered_ms = 3000;
    mu_rank_table_heartbeat(&r, 2, &deaf, now);
    now += 30 * second;
    assert_int_equal(judged(&r, now).kind, MU_FAILURE_LOST);
    mu_rank_table_pause(&r, 30 * second, now);
    assert_int_equal(judged(&r, now).kind, MU_FAILURE_NONE);
    assert_int_equal(judged(&r, now + 6 * second).kind, MU_FAILURE_NONE);
    assert_int_equal(judged(&r, now + 11 * second).kind, MU_FAILURE_LOST);
    /* what was heard in the turn of the pause is not put into the future */
    mu_heartbeat_t b = r.member[1].heartbeat;
    b.sequence++;
    b.progress++;
    mu_rank_table_heartbeat(&r, 1, &b, now);
    mu_rank_table_pause(&r, 5 * second, now);
    assert_true(r.member[1].heard_ns <= now && r.member[1].progress_ns <= now);
    mu_rank_table_free(&r);
}

static void only_this_attempt_and_world_are_let_in(void **state)
{
    (void)state;
    mu_rank_table_t r;
    mu_rank_table_init(&r, 4, 2, &limits, 0);
    mu_hello_t h = hello_of(1);
    assert_false(mu_rank_table_hello(&r, &h, 0)); /* attempt 1 */
    h.attempt = 2;
    h.world_size = 5;
    assert_false(mu_rank_table_hello(&r, &h, 0));
    h.world_size = 4;
    assert_true(mu_rank_table_hello(&r, &h, 0));
    assert_true(mu_rank_table_hello(&r, &h, 0)); /* dials again */
    h.guard_pid++;
    assert_false(mu_rank_table_hello(&r, &h, 0)); /* somebody else says to be this rank */
    h.rank = 4;
    assert_false(mu_rank_table_hello(&r, &h, 0));
    h.rank = -1;
    assert_false(mu_rank_table_hello(&r, &h, 0));
    assert_int_equal(r.present, 1);
    mu_rank_table_free(&r);
}

static void the_cause_comes_before_those_who_follow(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t now = warm(&r, 5);
    mu_death_t network = {.sequence = 9, .exit_code = 83, .phase = MU_PHASE_STEP};
    mu_death_t killed = {.sequence = 9, .signal = SIGKILL, .exit_code = -1, .phase = MU_PHASE_STEP};
    mu_death_t teardown = {.sequence = 9, .signal = SIGKILL, .exit_code = -1, .reason = MU_DEATH_BY_TEARDOWN};
    mu_rank_table_death(&r, 3, &teardown, now);
    assert_int_equal(judged(&r, now).kind, MU_FAILURE_NONE);
    mu_rank_table_death(&r, 1, &network, now + 1);
    assert_int_equal(judged(&r, now).kind, MU_FAILURE_SECONDARY);
    mu_rank_table_death(&r, 2, &killed, now + 2); /* its report was slower */
    mu_failure_t t = judged(&r, now);
    assert_int_equal(t.kind, MU_FAILURE_DEATH);
    assert_int_equal(t.rank, 2);
    assert_int_equal(t.status, MU_DIED);
    mu_rank_table_death(&r, 0, &killed, now + 3);
    assert_int_equal(judged(&r, now).rank, 2);
    mu_buf_t text = MU_BUF_INIT;
    mu_failure_text(&r, &t, &text);
    assert_string_equal(text.data, "was killed by signal 9 (Killed) in phase step at step 0");
    mu_buf_release(&text);
    mu_rank_table_free(&r);
}

static void a_lost_peer_is_no_cause(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t now = warm(&r, 5);
    static const mu_death_t lost[] = {
        {.sequence = 9, .exit_code = 14, .phase = MU_PHASE_STEP},
        {.sequence = 9, .exit_code = 255, .phase = MU_PHASE_STEP},
        {.sequence = 9, .signal = SIGPIPE, .exit_code = -1, .phase = MU_PHASE_STEP}};
    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
        mu_rank_table_death(&r, 3, &lost[i], now);
        assert_int_equal(judged(&r, now).kind, MU_FAILURE_SECONDARY);
        mu_rank_table_free(&r);
        now = warm(&r, 5);
    }
    mu_rank_table_free(&r);
}

static void ends_have_their_status(void **state)
{
    (void)state;
    static const struct {
        mu_death_t death;
        mu_status_t status;
    } row[] = {
        {{.exit_code = 0, .phase = MU_PHASE_FINISH}, MU_OK},
        {{.exit_code = 0, .phase = MU_PHASE_SETUP}, MU_DIED}, /* it left the others waiting */
        {{.exit_code = 75, .phase = MU_PHASE_FINISH}, MU_STOPPED},
        {{.exit_code = 66}, MU_NOINPUT},
        {{.exit_code = 85}, MU_DIVERGED},
        {{.exit_code = 1}, MU_DIED}, /* nobody's code in muster */
        {{.exit_code = 255}, MU_DIED},
        {{.exit_code = 14}, MU_NETWORK}, /* Open MPI 5, when a peer is gone */
        {{.signal = SIGSEGV, .exit_code = -1}, MU_DIED},
        {{.signal = SIGKILL, .exit_code = -1, .reason = MU_DEATH_BY_LEASE}, MU_NETWORK},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        assert_int_equal(mu_death_status(&row[i].death), row[i].status);
}

static void memory_is_named(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t now = warm(&r, 5);
    mu_death_t d = {.sequence = 9,
                    .signal = SIGKILL,
                    .exit_code = -1,
                    .oom_kills = 1,
                    .oom_limit_bytes = (int64_t)64 << 30,
                    .phase = MU_PHASE_LOAD};
    mu_rank_table_death(&r, 2, &d, now);
    mu_failure_t t = judged(&r, now);
    mu_buf_t text = MU_BUF_INIT;
    mu_failure_text(&r, &t, &text);
    assert_string_equal(text.data,
                        "was killed by the kernel for memory (limit 64.0 GiB) in phase load at step 0");
    mu_buf_release(&text);
    mu_rank_table_free(&r);
}

static void a_stopped_rank_hangs_after_its_limit(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t begin = warm(&r, 10), now = begin;
    assert_true(mu_rank_table_limit(&r, MU_PHASE_STEP) == 10);
    mu_heartbeat_t waiting = {.in_collective = 1, .collective = 88, .comm = "dp"};
    for (int s = 1; s <= 9; s++) {
        now = begin + s * second;
        for (int i = 0; i < 4; i++)
            still(&r, i, begin, now, i == 2 ? (mu_heartbeat_t){.state = 'T'} : waiting);
        assert_int_equal(judged(&r, now).kind, MU_FAILURE_NONE);
    }
    mu_failure_t t = judged(&r, begin + 10 * second + second / 10);
    assert_int_equal(t.kind, MU_FAILURE_HUNG);
    assert_int_equal(t.rank, 2);
    assert_int_equal(t.status, MU_HUNG);
    mu_rank_table_free(&r);
}

static void the_rank_behind_is_blamed(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t begin = warm(&r, 10), now = begin + 9 * second;
    /* ranks 1 and 3 wait in the 89th operation; rank 2 is still in the 88th */
    for (int i = 0; i < 4; i++)
        still(&r, i, begin, now,
              (mu_heartbeat_t){.in_collective = i > 0, .collective = i == 2 ? 88 : 89, .comm = "dp"});
    assert_int_equal(judged(&r, now).kind, MU_FAILURE_NONE);
    mu_failure_t t = judged(&r, begin + 11 * second);
    assert_int_equal(t.kind, MU_FAILURE_HUNG);
    assert_int_equal(t.rank, 2);
    mu_rank_table_free(&r);

    /* the others wait inside; rank 3 never went in */
    begin = warm(&r, 10);
    now = begin + 9 * second;
    for (int i = 0; i < 4; i++)
        still(&r, i, begin, now,
              (mu_heartbeat_t){.in_collective = i > 0 && i < 3, .collective = 89, .comm = "dp"});
    assert_int_equal(judged(&r, begin + 11 * second).rank, 3);
    mu_rank_table_free(&r);
}

static void nobody_hangs_while_someone_moves(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t begin = warm(&r, 10);
    for (int s = 1; s < 60; s++) {
        int64_t now = begin + s * second;
        for (int i = 0; i < 4; i++)
            still(&r, i, i == 3 ? now : begin, now,
                  (mu_heartbeat_t){0}); /* rank 3 writes its part of a checkpoint */
        assert_int_equal(judged(&r, now).kind, MU_FAILURE_NONE);
    }
    mu_rank_table_free(&r);
}

/* Nothing moves, but a connection sends again what was lost: that is the network, and takes long to be sure of. */
/* All stood still for long, for a network that lost packets; then they go on, save and end, and the news of the ends
 * comes before the controller's next heartbeat. */
static void ends_are_moves(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t begin = warm(&r, 10), now = begin + 29 * second;
    for (int i = 0; i < 4; i++)
        still(&r, i, begin, now, (mu_heartbeat_t){.in_collective = 1});
    assert_int_equal(judged(&r, now).kind, MU_FAILURE_HUNG);
    for (int i = 1; i < 4; i++) {
        mu_death_t stopped = {
            .exit_code = mu_status_exit(MU_STOPPED), .sequence = 1000, .phase = MU_PHASE_FINISH};
        mu_rank_table_death(&r, i, &stopped, now);
    }
    assert_int_equal(judged(&r, now).kind, MU_FAILURE_NONE);
    assert_int_equal(judged(&r, now + 9 * second).kind, MU_FAILURE_NONE);
    r.member[0].heard_ns = now + 11 * second; /* it is heard, and does not move */
    assert_int_equal(judged(&r, now + 11 * second).kind, MU_FAILURE_HUNG);
    mu_rank_table_free(&r);
}

static void a_network_that_loses_packets_is_no_hang(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t begin = warm(&r, 10), now = begin;
    for (int s = 1; s <= (int)MU_RETRANSMIT_LIMIT; s++) {
        now = begin + s * second;
        for (int i = 0; i < 4; i++) {
            still(&r, i, begin, now, (mu_heartbeat_t){.in_collective = 1});
            mu_heartbeat_t b = r.member[i].heartbeat;
            b.sequence++;
            b.resending = i == 2 && s % 8 < 3 ? 5 : i == 1 && s % 8 < 3 ? 1 : 0; /* not in every heartbeat */
            snprintf(b.resending_to, sizeof b.resending_to, "10.9.0.3");
            mu_rank_table_heartbeat(&r, i, &b, now);
        }
        assert_int_equal(judged(&r, now).kind, MU_FAILURE_NONE);
    }
    assert_true(mu_rank_table_retransmitting(&r, now) >= 0);
    mu_failure_t t = judged(&r, now + second);
    assert_int_equal(t.kind, MU_FAILURE_STUCK);
    assert_int_equal(t.status, MU_NETWORK);
    mu_rank_table_free(&r);

    /* once it has ended, the usual limit counts again; and a limit that was given always does */
    begin = warm(&r, 10);
    for (int i = 0; i < 4; i++)
        still(&r, i, begin, begin + second, (mu_heartbeat_t){.in_collective = 1});
    mu_heartbeat_t b = r.member[2].heartbeat;
    b.sequence++;
    b.resending = 3;
    mu_rank_table_heartbeat(&r, 2, &b, begin + 2 * second);
    r.member[2].heartbeat.resending = 0; /* as the heartbeats that follow say */
    for (int s = 3; s < 36; s++)
        for (int i = 0; i < 4; i++)
            still(&r, i, begin, begin + s * second, (mu_heartbeat_t){.in_collective = 1});
    assert_int_equal(judged(&r, begin + 31 * second).kind, MU_FAILURE_NONE);
    assert_int_equal(judged(&r, begin + 33 * second).kind,
                     MU_FAILURE_HUNG); /* 31 s after the last repetition */
    r.limits.hang = 8;
    assert_int_equal(judged(&r, begin + 10 * second).kind, MU_FAILURE_HUNG);
    mu_rank_table_free(&r);
}

static void slow_steps_get_more_time(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t now = warm(&r, 3);
    for (int s = 0; s < 3; s++) {
        mu_heartbeat_t b = r.member[0].heartbeat;
        now += 30 * second;
        b.sequence++;
        b.step++;
        mu_rank_table_heartbeat(&r, 0, &b, now);
    }
    assert_true(fabs(mu_rank_table_limit(&r, MU_PHASE_STEP) - 120) < 1e-6);
    r.limits.hang = 7; /* the user's word counts */
    assert_true(mu_rank_table_limit(&r, MU_PHASE_STEP) == 7);
    assert_true(mu_rank_table_limit(&r, MU_PHASE_FIRST_STEP) == 300);
    mu_rank_table_free(&r);
}

static void an_evaluation_is_no_slow_step(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t now = warm(&r, 10);
    mu_heartbeat_t b = r.member[1].heartbeat;
    b.sequence++;
    b.phase = MU_PHASE_EVAL;
    mu_rank_table_heartbeat(&r, 1, &b, now + second);
    b = r.member[0].heartbeat;
    b.sequence++;
    mu_rank_table_heartbeat(&r, 0, &b,
                            now + 40 * second); /* the controller's heartbeat while workers evaluate */
    b.sequence++;
    b.step++;
    mu_rank_table_heartbeat(&r, 0, &b, now + 41 * second);
    assert_true(mu_rank_table_limit(&r, MU_PHASE_STEP) == 10);
    mu_rank_table_free(&r);
}

static void silence_is_noticed(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t begin = warm(&r, 10);
    for (int s = 1; s < 10; s++) {
        int64_t now = begin + s * second;
        for (int i = 0; i < 3; i++)
            still(&r, i, now, now, (mu_heartbeat_t){0});
        assert_int_equal(judged(&r, now).kind, MU_FAILURE_NONE);
    }
    mu_failure_t t = judged(&r, begin + 10 * second + second / 10);
    assert_int_equal(t.kind, MU_FAILURE_LOST);
    assert_int_equal(t.rank, 3);
    assert_int_equal(t.status, MU_NETWORK);
    mu_rank_table_free(&r);

    mu_rank_table_init(&r, 2, 1, &limits, 0);
    assert_int_equal(judged(&r, 59 * second).kind, MU_FAILURE_NONE);
    assert_int_equal(judged(&r, 61 * second).kind, MU_FAILURE_ABSENT);
    mu_rank_table_free(&r);
}

static void report_no_acks(mu_rank_table_t *r, int rank, int64_t seconds, int64_t now)
{
    mu_heartbeat_t b = r->member[rank].heartbeat;
    b.sequence++;
    b.progress++;
    b.unanswered_ms = seconds * 1000;
    mu_rank_table_heartbeat(r, rank, &b, now);
}

/* Cut off one way, a host still sends, and says that it hears nothing. When it was the launcher that stood
 * still, everybody says so, and nobody is to blame. */
static void a_deaf_rank(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t begin = warm(&r, 10);
    for (int s = 1; s <= 9; s++) {
        int64_t now = begin + s * second;
        for (int i = 0; i < 4; i++)
            report_no_acks(&r, i, i == 2 ? s : 0, now);
        assert_int_equal(judged(&r, now).kind, MU_FAILURE_NONE);
    }
    mu_failure_t t = judged(&r, begin + 10 * second + 1);
    assert_int_equal(t.kind, MU_FAILURE_NO_ACKS);
    assert_int_equal(t.rank, 2);
    assert_int_equal(t.status, MU_NETWORK);
    mu_rank_table_free(&r);

    begin = warm(&r, 10);
    for (int i = 0; i < 4; i++)
        report_no_acks(&r, i, 14, begin + 15 * second);
    assert_int_equal(judged(&r, begin + 15 * second).kind, MU_FAILURE_NONE);
    for (int i = 0; i < 4; i++)
        report_no_acks(&r, i, 0, begin + 16 * second);
    assert_int_equal(judged(&r, begin + 21 * second).kind, MU_FAILURE_NONE);
    mu_rank_table_free(&r);
}

static void an_old_heartbeat_changes_nothing(void **state)
{
    (void)state;
    mu_rank_table_t r;
    int64_t now = warm(&r, 5);
    mu_heartbeat_t b = {.sequence = 3, .step = 99, .state = 'T'};
    mu_rank_table_heartbeat(&r, 1, &b, now + second);
    assert_int_equal(r.member[1].heartbeat.step, 5);
    assert_int_equal(r.member[1].stopped, 0);
    mu_rank_table_free(&r);
}

static void decide(mu_policy_t *p, mu_status_t status, int64_t step, int64_t checkpoint, const char *place)
{
    mu_failed_attempt_t failed = {status, step, checkpoint, place};
    mu_policy_decide(p, &failed, false);
}

static void restarts_are_bounded(void **state)
{
    (void)state;
    mu_policy_t p = {.max_restarts = 3};
    decide(&p, MU_DIED, 0, -1, "rank 1");
    assert_true(p.again && p.pause == 1);
    decide(&p, MU_DIED, 0, -1, "rank 1");
    assert_true(p.again && p.pause == 2);
    decide(&p, MU_DIED, 0, -1, "rank 1");
    assert_false(p.again);
    assert_int_equal(p.status, MU_NOPROGRESS);

    p = (mu_policy_t){.max_restarts = 3};
    for (int i = 0; i < 3; i++) { /* each attempt saved something */
        decide(&p, MU_HUNG, 10 * i, 10 * i, "rank 1");
        assert_true(p.again && p.pause == 1);
    }
    decide(&p, MU_HUNG, 40, 40, "rank 1");
    assert_false(p.again);
    assert_int_equal(p.status, MU_HUNG);

    static const mu_status_t final[] = {MU_DATA,     MU_NOINPUT, MU_RUNDIR,   MU_CONFIG,
                                        MU_DIVERGED, MU_NOVALID, MU_PREFLIGHT};
    for (size_t i = 0; i < sizeof final / sizeof *final; i++) {
        p = (mu_policy_t){.max_restarts = 3};
        decide(&p, final[i], 5, 5, "rank 1");
        assert_false(p.again);
        assert_int_equal(p.status, final[i]);
    }
    p = (mu_policy_t){.max_restarts = 3};
    decide(&p, MU_BUG, 5, 5, "rank 1");
    assert_true(p.again);
    decide(&p, MU_BUG, 6, 6, "rank 1");
    assert_false(p.again);
    p = (mu_policy_t){.max_restarts = 3};
    mu_policy_decide(&p, &(mu_failed_attempt_t){MU_DIED, 5, 5, "rank 1"}, true); /* a stop was asked for */
    assert_false(p.again);
}

/* 93 is final: it needs one cause at one place, and no step that no attempt had reached. */
static void other_causes_and_further_steps_are_progress(void **state)
{
    (void)state;
    static const struct {
        int64_t step;
        const char *place;
    } died[] = {{100, "rank 1"}, {119, "rank 2"}, {119, "rank 3"},
                {138, "rank 3"}, {138, "rank 1"}, {138, "rank 2"}};
    mu_policy_t p = {.max_restarts = 100};
    for (size_t i = 0; i < sizeof died / sizeof *died; i++) {
        decide(&p, MU_DIED, died[i].step, 50, died[i].place);
        assert_true(p.again);
    }
    decide(&p, MU_DIED, 138, 50, "rank 2");
    assert_true(p.again);
    decide(&p, MU_DIED, 120, 50, "rank 2");
    assert_false(p.again);
    assert_int_equal(p.status, MU_NOPROGRESS);
}

static void equal_lines_are_shown_once(void **state)
{
    (void)state;
    mu_dedup_t f = {0};
    mu_progress_t p = {.async_stderr = mu_async_stderr_open(STDERR_FILENO)};
    assert_true(mu_dedup_line(&f, 3, "rank 3: warning: the disk is slow", 0));
    for (int i = 4; i < 35; i++) {
        char line[64];
        snprintf(line, sizeof line, "host-9: rank %d: warning: the disk is slow", i);
        assert_false(mu_dedup_line(&f, i, line, second));
    }
    assert_true(mu_dedup_line(&f, 5, "rank 5: warning: another thing", second));
    assert_int_equal(f.line[0].others, 31);
    mu_dedup_flush(&f, &p, 10 * second);
    assert_true(mu_dedup_line(&f, 4, "rank 4: warning: the disk is slow", 11 * second));
    mu_async_stderr_close(p.async_stderr, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pause_of_the_launcher_is_nobodys_fault),
        cmocka_unit_test(only_this_attempt_and_world_are_let_in),
        cmocka_unit_test(the_cause_comes_before_those_who_follow),
        cmocka_unit_test(a_lost_peer_is_no_cause),
        cmocka_unit_test(ends_have_their_status),
        cmocka_unit_test(memory_is_named),
        cmocka_unit_test(a_stopped_rank_hangs_after_its_limit),
        cmocka_unit_test(the_rank_behind_is_blamed),
        cmocka_unit_test(nobody_hangs_while_someone_moves),
        cmocka_unit_test(ends_are_moves),
        cmocka_unit_test(a_network_that_loses_packets_is_no_hang),
        cmocka_unit_test(slow_steps_get_more_time),
        cmocka_unit_test(an_evaluation_is_no_slow_step),
        cmocka_unit_test(silence_is_noticed),
        cmocka_unit_test(a_deaf_rank),
        cmocka_unit_test(an_old_heartbeat_changes_nothing),
        cmocka_unit_test(restarts_are_bounded),
        cmocka_unit_test(other_causes_and_further_steps_are_progress),
        cmocka_unit_test(equal_lines_are_shown_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
