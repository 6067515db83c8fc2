/* The launcher's end of the control connections: who is let in, whose messages go where, who is dropped. */
#include "launcher/monitor/server.h"
#include "common/clock.h"
#include "common/log.h"
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

enum { RANKS = 3, LINKS = 8 };

typedef struct stage {
    uint8_t key[MU_CONTROL_KEY_BYTES];
    mu_server_t *server;
    mu_address_t address;
    mu_link_t *link[LINKS];
    int hellos, beats[RANKS];
    int64_t refused_attempt;
    mu_order_t order[LINKS]; /* the last one that connection i got */
    int orders[LINKS];
} stage_t;

static bool take(void *arg, int rank, const mu_message_t *message)
{
    stage_t *s = arg;
    if (message->type == MU_MESSAGE_HELLO) {
        assert_int_equal(rank, -1);
        assert_in_range(message->hello.rank, 0, RANKS - 1);
        s->hellos++;
        return message->hello.attempt != s->refused_attempt;
    }
    assert_int_equal(message->type, MU_MESSAGE_HEARTBEAT);
    s->beats[rank]++;
    return true;
}

static void stage_open(stage_t *s)
{
    *s = (stage_t){.refused_attempt = 7};
    mu_control_key_new(s->key);
    assert_int_equal(mu_server_open("127.0.0.1", s->key, RANKS, &s->server), MU_OK);
    assert_true(mu_address_parse(mu_server_address(s->server), &s->address));
}

static void stage_close(stage_t *s)
{
    for (int i = 0; i < LINKS; i++)
        mu_link_close(s->link[i]);
    mu_server_close(s->server);
}

/* Both sides, for as long as anything moves. */
static void play(stage_t *s)
{
    for (int quiet = 0; quiet < 20; quiet++) {
        struct pollfd p = {mu_server_fd(s->server), POLLIN, 0};
        if (poll(&p, 1, 1) > 0)
            quiet = 0;
        mu_server_move(s->server, take, s);
        for (int i = 0; i < LINKS; i++) {
            mu_message_t m;
            if (!s->link[i] || s->link[i]->closed)
                continue;
            struct pollfd l = {s->link[i]->fd, mu_link_events(s->link[i]), 0};
            if (poll(&l, 1, 0) > 0)
                mu_link_move(s->link[i], l.revents);
            while (mu_link_next(s->link[i], &m))
                if (m.type == MU_MESSAGE_ORDER) {
                    s->order[i] = m.order;
                    s->orders[i]++;
                }
        }
    }
}

static void dial(stage_t *s, int i, int64_t rank, int64_t attempt)
{
    mu_message_t hello = {.type = MU_MESSAGE_HELLO, .hello = {.rank = rank, .attempt = attempt}};
    assert_true(mu_link_dial(&s->address, s->key, &s->link[i]));
    play(s);
    assert_true(mu_link_send(s->link[i], &hello));
    play(s);
}

static void send_heartbeat(stage_t *s, int i)
{
    mu_message_t heartbeat = {.type = MU_MESSAGE_HEARTBEAT};
    mu_link_send(s->link[i], &heartbeat);
    play(s);
}

static void every_rank_has_its_connections(void **state)
{
    (void)state;
    stage_t s;
    mu_order_t order = {.sequence = 5, .request = 2};
    stage_open(&s);
    dial(&s, 0, 0, 1);
    dial(&s, 1, 2, 1);
    dial(&s, 2, 2, 1); /* rank 2 dials again */
    assert_int_equal(s.hellos, 3);
    assert_int_equal(mu_server_count(s.server), 3);
    send_heartbeat(&s, 0);
    send_heartbeat(&s, 2);
    assert_int_equal(s.beats[0], 1);
    assert_int_equal(s.beats[1], 0);
    assert_int_equal(s.beats[2], 1);
    mu_server_order(s.server, 2, &order);
    mu_server_order(s.server, 1, &order); /* nobody there */
    play(&s);
    assert_int_equal(s.orders[0], 0);
    assert_int_equal(s.orders[1], 1);
    assert_int_equal(s.orders[2], 1);
    assert_int_equal(s.order[1].sequence, 5);
    /* one of two goes; the other one still gets orders */
    mu_link_close(s.link[1]);
    s.link[1] = NULL;
    play(&s);
    assert_int_equal(mu_server_count(s.server), 2);
    mu_server_order(s.server, 2, &order);
    play(&s);
    assert_int_equal(s.orders[2], 2);
    stage_close(&s);
}

static void who_does_not_belong_here_is_told_to_end(void **state)
{
    (void)state;
    static const int64_t stranger[][2] = {{RANKS, 1}, {-1, 1}, {INT64_MIN, 1}, {1, 7}};
    stage_t s;
    stage_open(&s);
    for (int i = 0; i < 4; i++) {
        dial(&s, i, stranger[i][0], stranger[i][1]);
        assert_int_equal(s.orders[i], 1);
        assert_int_equal(s.order[i].kill, 1);
        assert_true(s.link[i]->closed);
    }
    assert_int_equal(s.hellos, 1); /* of another attempt: only that the handler can know */
    assert_int_equal(mu_server_count(s.server), 0);
    stage_close(&s);
}

static void messages_out_of_order_end_the_connection(void **state)
{
    (void)state;
    stage_t s;
    stage_open(&s);
    assert_true(mu_link_dial(&s.address, s.key, &s.link[0]));
    play(&s);
    send_heartbeat(&s, 0); /* before any hello */
    assert_true(s.link[0]->closed);
    dial(&s, 1, 1, 1);
    mu_message_t again = {.type = MU_MESSAGE_HELLO, .hello = {.rank = 1, .attempt = 1}};
    mu_link_send(s.link[1], &again);
    play(&s);
    assert_true(s.link[1]->closed);
    assert_int_equal(mu_server_count(s.server), 0);
    stage_close(&s);
}

static void strangers_are_counted_and_dropped(void **state)
{
    (void)state;
    enum { MANY = 300 };
    stage_t s;
    int fd[MANY];
    char noise[64] = "GET / HTTP/1.1";
    stage_open(&s);
    for (int i = 0; i < MANY; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd[i], (struct sockaddr *)&s.address.sa, s.address.len), 0);
    }
    play(&s);
    assert_int_equal(mu_server_count(s.server), 256); /* no more may wait */
    for (int i = 0; i < 10; i++)
        assert_int_equal(send(fd[i], noise, sizeof noise, MSG_NOSIGNAL), sizeof noise);
    play(&s);
    assert_int_equal(mu_server_count(s.server), 246);
    assert_int_equal(mu_server_faults(s.server)[MU_CONTROL_FOREIGN], 10);
    mu_sleep_ms(3000); /* what they have to prove themselves */
    play(&s);
    assert_int_equal(mu_server_count(s.server), 0);
    dial(&s, 0, 0, 1);
    assert_int_equal(s.hellos, 1);
    for (int i = 0; i < MANY; i++)
        close(fd[i]);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rank_has_its_connections),
        cmocka_unit_test(who_does_not_belong_here_is_told_to_end),
        cmocka_unit_test(messages_out_of_order_end_the_connection),
        cmocka_unit_test(strangers_are_counted_and_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
