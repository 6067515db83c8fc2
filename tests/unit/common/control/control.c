/* The control protocol: what opens, and everything that must not. */
#include "common/control/control.h"
#include "common/buf.h"
#include "common/control/control_link.h"
#include <malloc.h>
#include <poll.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct pair {
    uint8_t key[MU_CONTROL_KEY_BYTES];
    mu_control_t *guard, *launcher;
} pair_t;

static size_t move_all(mu_control_t *from, mu_control_t *to)
{
    size_t n;
    const void *bytes = mu_control_output(from, &n);
    mu_control_feed(to, bytes, n);
    mu_control_wrote(from, n);
    return n;
}

static mu_message_t beat_of(int64_t sequence)
{
    mu_message_t m = {.type = MU_MESSAGE_HEARTBEAT};
    m.heartbeat.sequence = sequence;
    m.heartbeat.phase = 5;
    m.heartbeat.step = -7;
    m.heartbeat.loss = 2.5;
    snprintf(m.heartbeat.comm, sizeof m.heartbeat.comm, "tp");
    return m;
}

static pair_t pair_new(void)
{
    pair_t p;
    mu_message_t none;
    mu_control_key_new(p.key);
    p.guard = mu_control_new(MU_CONTROL_GUARD, p.key);
    p.launcher = mu_control_new(MU_CONTROL_LAUNCHER, p.key);
    assert_int_equal(move_all(p.guard, p.launcher), MU_CONTROL_HELLO);
    assert_int_equal(mu_control_next(p.launcher, &none), 0);
    assert_false(mu_control_open(p.launcher)); /* a recording would have come this far */
    assert_int_equal(move_all(p.launcher, p.guard), MU_CONTROL_HELLO);
    assert_int_equal(mu_control_next(p.guard, &none), 0);
    assert_true(mu_control_open(p.guard));
    mu_message_t m = beat_of(1);
    assert_true(mu_control_send(p.guard, &m));
    move_all(p.guard, p.launcher);
    assert_int_equal(mu_control_next(p.launcher, &none), 1);
    assert_true(mu_control_open(p.launcher));
    return p;
}

static void pair_free(pair_t *p)
{
    mu_control_free(p->guard);
    mu_control_free(p->launcher);
}

static mu_buf_t output_of(mu_control_t *c)
{
    mu_buf_t out = MU_BUF_INIT;
    size_t n;
    const void *bytes = mu_control_output(c, &n);
    mu_buf_add(&out, bytes, n);
    mu_control_wrote(c, n);
    return out;
}

static void expect_fault(mu_control_t *c, mu_control_fault_t fault)
{
    mu_message_t m;
    assert_int_equal(mu_control_next(c, &m), -1);
    assert_int_equal(mu_control_fault(c), fault);
    mu_control_feed(c, "more", 4);
    assert_int_equal(mu_control_next(c, &m), -1);
    assert_false(mu_control_send(c, &m));
}

static void messages_arrive_as_they_were(void **state)
{
    (void)state;
    pair_t p = pair_new();
    mu_message_t hello = {.type = MU_MESSAGE_HELLO}, got;
    memset(hello.hello.host, 'h', sizeof hello.hello.host - 1);
    hello.hello.rank = 31;
    hello.hello.guard_pid = INT64_MAX;
    mu_message_t death = {.type = MU_MESSAGE_DEATH};
    death.death.signal = 9;
    death.death.oom_limit_bytes = -1;
    death.death.time = 1e9 + 0.25;
    snprintf(death.death.last_line, sizeof death.death.last_line, "\x1b[31mr\xc3\xa9");
    assert_true(mu_control_send(p.guard, &hello));
    assert_true(mu_control_send(p.guard, &death));
    mu_buf_t wire = output_of(p.guard);
    assert_null(memmem(wire.data, wire.len, "hhhh", 4)); /* encrypted */
    for (size_t i = 0; i < wire.len; i++) {              /* in any pieces */
        mu_control_feed(p.launcher, wire.data + i, 1);
        int r = mu_control_next(p.launcher, &got);
        if (r == 1 && got.type == MU_MESSAGE_HELLO)
            assert_memory_equal(&got.hello, &hello.hello, sizeof got.hello);
        assert_true(r >= 0);
    }
    assert_int_equal(got.type, MU_MESSAGE_DEATH);
    assert_memory_equal(&got.death, &death.death, sizeof got.death);

    mu_message_t order = {.type = MU_MESSAGE_ORDER};
    order.order.request = 2;
    assert_true(mu_control_send(p.launcher, &order));
    move_all(p.launcher, p.guard);
    assert_int_equal(mu_control_next(p.guard, &got), 1);
    assert_int_equal(got.order.request, 2);
    mu_buf_release(&wire);
    pair_free(&p);
}

static void another_key_gets_no_answer(void **state)
{
    (void)state;
    uint8_t one[MU_CONTROL_KEY_BYTES], other[MU_CONTROL_KEY_BYTES];
    mu_control_key_new(one);
    mu_control_key_new(other);
    mu_control_t *guard = mu_control_new(MU_CONTROL_GUARD, one);
    mu_control_t *launcher = mu_control_new(MU_CONTROL_LAUNCHER, other);
    move_all(guard, launcher);
    expect_fault(launcher, MU_CONTROL_FOREIGN);
    size_t n;
    mu_control_output(launcher, &n);
    assert_int_equal(n, 0);
    mu_control_free(guard);
    mu_control_free(launcher);
}

/* The version is under the tag: a changed byte is foreign, so nobody can talk a side down; only a holder of
 * the key can have another version. */
static void another_version_is_told_apart(void **state)
{
    (void)state;
    for (int authentic = 0; authentic < 2; authentic++) {
        uint8_t key[MU_CONTROL_KEY_BYTES];
        mu_control_key_new(key);
        mu_control_t *guard = mu_control_new(MU_CONTROL_GUARD, key);
        mu_control_t *launcher = mu_control_new(MU_CONTROL_LAUNCHER, key);
        mu_buf_t hello = output_of(guard);
        hello.data[6]++;
        if (authentic)
            crypto_generichash((uint8_t *)hello.data + 48, 16, (const uint8_t *)hello.data, 48, key,
                               sizeof key);
        mu_control_feed(launcher, hello.data, hello.len);
        expect_fault(launcher, authentic ? MU_CONTROL_VERSION_DIFFERS : MU_CONTROL_FOREIGN);
        mu_buf_release(&hello);
        mu_control_free(guard);
        mu_control_free(launcher);
    }
}

static void a_replayed_session_fails(void **state)
{
    (void)state;
    uint8_t key[MU_CONTROL_KEY_BYTES];
    mu_message_t m = beat_of(1);
    mu_control_key_new(key);
    mu_control_t *guard = mu_control_new(MU_CONTROL_GUARD, key);
    mu_control_t *launcher = mu_control_new(MU_CONTROL_LAUNCHER, key);
    mu_buf_t recorded = output_of(guard), scratch = MU_BUF_INIT;
    mu_control_feed(launcher, recorded.data, recorded.len);
    assert_int_equal(mu_control_next(launcher, &m), 0);
    move_all(launcher, guard);
    assert_int_equal(mu_control_next(guard, &m), 0);
    m = beat_of(1);
    assert_true(mu_control_send(guard, &m));
    mu_buf_t frames = output_of(guard);
    mu_buf_add(&recorded, frames.data, frames.len);
    mu_control_feed(launcher, frames.data, frames.len);
    assert_int_equal(mu_control_next(launcher, &m), 1);

    mu_control_t *again = mu_control_new(MU_CONTROL_LAUNCHER, key);
    mu_control_feed(again, recorded.data, recorded.len);
    expect_fault(again, MU_CONTROL_FORGED);
    assert_false(mu_control_open(again));
    mu_buf_release(&recorded);
    mu_buf_release(&frames);
    mu_buf_release(&scratch);
    mu_control_free(guard);
    mu_control_free(launcher);
    mu_control_free(again);
}

static void bad_frames_end_the_connection(void **state)
{
    (void)state;
    enum { REPLAY, REORDER, REFLECT, FLIP, OVERSIZE, TINY, CUT, CASES };
    static const mu_control_fault_t expected[CASES] = {
        MU_CONTROL_FORGED,    MU_CONTROL_FORGED,    MU_CONTROL_FORGED,   MU_CONTROL_FORGED,
        MU_CONTROL_OVERSIZED, MU_CONTROL_OVERSIZED, MU_CONTROL_TRUNCATED};
    for (int i = 0; i < CASES; i++) {
        pair_t p = pair_new();
        mu_message_t m = beat_of(2), got;
        assert_true(mu_control_send(p.guard, &m));
        mu_buf_t first = output_of(p.guard);
        assert_true(mu_control_send(p.guard, &m));
        mu_buf_t second = output_of(p.guard);
        mu_control_t *victim = p.launcher;
        switch (i) {
        case REPLAY:
            mu_control_feed(victim, first.data, first.len);
            assert_int_equal(mu_control_next(victim, &got), 1);
            mu_control_feed(victim, first.data, first.len);
            break;
        case REORDER:
            mu_control_feed(victim, second.data, second.len);
            break;
        case REFLECT:
            victim = p.guard;
            mu_control_feed(victim, first.data, first.len);
            break;
        case FLIP:
            first.data[first.len / 2] ^= 1;
            mu_control_feed(victim, first.data, first.len);
            break;
        case OVERSIZE:
            mu_control_feed(victim, "\x01\x00\x01\x00", 4);
            break;
        case TINY:
            mu_control_feed(victim, "\x10\x00\x00\x00", 4);
            break;
        case CUT:
            mu_control_feed(victim, first.data, first.len - 1);
            assert_int_equal(mu_control_next(victim, &got), 0);
            mu_control_eof(victim);
            break;
        }
        expect_fault(victim, expected[i]);
        mu_buf_release(&first);
        mu_buf_release(&second);
        pair_free(&p);
    }
}

static void a_reflected_hello_is_foreign(void **state)
{
    (void)state;
    uint8_t key[MU_CONTROL_KEY_BYTES];
    mu_control_key_new(key);
    mu_control_t *guard = mu_control_new(MU_CONTROL_GUARD, key);
    mu_buf_t hello = output_of(guard);
    mu_control_feed(guard, hello.data, hello.len);
    expect_fault(guard, MU_CONTROL_FOREIGN);
    mu_buf_release(&hello);
    mu_control_free(guard);
}

static void a_stuck_peer_is_noticed(void **state)
{
    (void)state;
    pair_t p = pair_new();
    mu_message_t m = beat_of(1);
    int sent = 0;
    while (mu_control_send(p.guard, &m))
        assert_true(++sent < 10000);
    assert_true(sent > 100);
    pair_free(&p);
}

static uint64_t noise_state = 88172645463325252u;

static uint64_t noise(void)
{
    noise_state ^= noise_state << 13;
    noise_state ^= noise_state >> 7;
    noise_state ^= noise_state << 17;
    return noise_state;
}

/* A hundred thousand frames of noise after a good handshake: every one ends its connection, none is kept. */
static void noise_behind_a_handshake_does_no_harm(void **state)
{
    (void)state;
    pair_t p = pair_new();
    char frame[512];
    size_t before = 0;
    for (int i = 0; i < 100000; i++) {
        if (i % 1000 == 0) { /* a fresh session now and then; in between the dead one must stay dead */
            pair_free(&p);
            p = pair_new();
        }
        size_t n = 4 + noise() % (sizeof frame - 4);
        for (size_t k = 0; k < n; k++)
            frame[k] = (char)noise();
        if (i % 2)
            memcpy(frame, (char[4]){(char)((n - 4) & 255), (char)((n - 4) >> 8), 0, 0}, 4);
        mu_message_t m;
        mu_control_feed(p.launcher, frame, n);
        assert_true(mu_control_next(p.launcher, &m) <= 0);
        if (i == 50000)
            before = mallinfo2().uordblks;
    }
    assert_in_range(mallinfo2().uordblks, 0, before + 300000);
    pair_free(&p);
}

/* A million bytes of noise at a listening end, in pieces, each on a connection of its own when it ends one.
 */
static void noise_at_the_door_does_no_harm(void **state)
{
    (void)state;
    uint8_t key[MU_CONTROL_KEY_BYTES];
    mu_control_key_new(key);
    mu_control_t *c = mu_control_new(MU_CONTROL_LAUNCHER, key);
    int refused = 0;
    for (int i = 0; i < 1000000;) {
        char piece[97];
        size_t n = 1 + noise() % sizeof piece;
        for (size_t k = 0; k < n; k++)
            piece[k] = (char)noise();
        i += (int)n;
        mu_message_t m;
        mu_control_feed(c, piece, n);
        int r = mu_control_next(c, &m);
        assert_true(r <= 0);
        if (r < 0) {
            assert_int_equal(mu_control_fault(c), MU_CONTROL_FOREIGN);
            refused++;
            mu_control_free(c);
            c = mu_control_new(MU_CONTROL_LAUNCHER, key);
        }
    }
    assert_true(refused > 1000);
    mu_control_free(c);
}

static void keys_are_parsed_strictly(void **state)
{
    (void)state;
    uint8_t key[MU_CONTROL_KEY_BYTES], back[MU_CONTROL_KEY_BYTES];
    char hex[2 * MU_CONTROL_KEY_BYTES + 1];
    mu_control_key_new(key);
    mu_control_key_hex(key, hex);
    assert_true(mu_control_key_parse(hex, back));
    assert_memory_equal(key, back, sizeof key);
    hex[5] = 'x';
    assert_false(mu_control_key_parse(hex, back));
    hex[5] = '\0';
    assert_false(mu_control_key_parse(hex, back));
    assert_false(mu_control_key_parse("", back));
}

static void addresses_are_numeric(void **state)
{
    (void)state;
    static const char *const good[] = {"127.0.0.1:29000", "[::1]:1", "[fe80::1]:65535"};
    static const char *const bad[] = {"localhost:1",     "127.0.0.1",  "127.0.0.1:", "127.0.0.1:0",
                                      "127.0.0.1:65536", "[::1]",      "::1:80",     ":80",
                                      "[]:80",           "1.2.3.4:+5x"};
    mu_address_t a;
    char text[64];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(mu_address_parse(good[i], &a));
        mu_address_format(&a, text, sizeof text);
        assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (mu_address_parse(bad[i], &a))
            fail_msg("'%s' was taken for an address", bad[i]);
}

static void links_talk_over_sockets(void **state)
{
    (void)state;
    uint8_t key[MU_CONTROL_KEY_BYTES];
    mu_control_key_new(key);
    int door = socket(AF_INET, SOCK_STREAM, 0);
    mu_address_t address;
    assert_true(mu_address_parse("127.0.0.1:1", &address));
    ((struct sockaddr_in *)&address.sa)->sin_port = 0;
    assert_int_equal(bind(door, (struct sockaddr *)&address.sa, address.len), 0);
    assert_int_equal(listen(door, 1), 0);
    assert_int_equal(getsockname(door, (struct sockaddr *)&address.sa, &address.len), 0);
    mu_link_t *guard;
    assert_true(mu_link_dial(&address, key, &guard));
    mu_link_t *launcher = mu_link_accept(accept(door, NULL, NULL), key);
    mu_message_t m = beat_of(3), got = {0};
    bool sent = false;
    for (int i = 0; i < 1000 && got.type == MU_MESSAGE_NONE; i++) {
        struct pollfd fd[2] = {{guard->fd, mu_link_events(guard), 0},
                               {launcher->fd, mu_link_events(launcher), 0}};
        poll(fd, 2, 1000);
        mu_link_move(guard, fd[0].revents);
        mu_link_move(launcher, fd[1].revents);
        mu_message_t none;
        assert_false(mu_link_next(guard, &none));
        if (!sent)
            sent = mu_link_send(guard, &m);
        mu_link_next(launcher, &got);
        assert_false(guard->closed || launcher->closed);
    }
    assert_int_equal(got.heartbeat.sequence, 3);
    mu_link_close(guard);
    struct pollfd fd = {launcher->fd, POLLIN, 0};
    poll(&fd, 1, 1000);
    mu_link_move(launcher, fd.revents);
    assert_true(launcher->closed);
    mu_link_close(launcher);
    close(door);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_arrive_as_they_were),
        cmocka_unit_test(another_key_gets_no_answer),
        cmocka_unit_test(another_version_is_told_apart),
        cmocka_unit_test(a_replayed_session_fails),
        cmocka_unit_test(bad_frames_end_the_connection),
        cmocka_unit_test(a_reflected_hello_is_foreign),
        cmocka_unit_test(a_stuck_peer_is_noticed),
        cmocka_unit_test(noise_behind_a_handshake_does_no_harm),
        cmocka_unit_test(noise_at_the_door_does_no_harm),
        cmocka_unit_test(keys_are_parsed_strictly),
        cmocka_unit_test(addresses_are_numeric),
        cmocka_unit_test(links_talk_over_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
