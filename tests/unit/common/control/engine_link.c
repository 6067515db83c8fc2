/* Frames between a server's front and its engine: what is written is read again; what is cut or wrong is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/control/engine_link.h"

#include <math.h>
#include <string.h>

static int32_t ids[] = {5, 0, 77};

static mu_engine_message_t request(void)
{
    return (mu_engine_message_t){.type = MU_ENGINE_REQUEST,
                                 .id = 0x123456789abcdef,
                                 .request = {.client = 9,
                                             .most = 40,
                                             .temperature = 0.75,
                                             .top_p = 0.5,
                                             .top_k = 3,
                                             .seed = UINT64_MAX,
                                             .top = 2,
                                             .echo = true,
                                             .ends = {1, 2},
                                             .nends = 2,
                                             .ids = ids,
                                             .count = 3}};
}

static void what_is_written_is_read_again(void **state)
{
    (void)state;
    mu_buf_t bytes = MU_BUF_INIT;
    mu_engine_message_t all[] = {
        {.type = MU_ENGINE_HELLO, .hello = {MU_ENGINE_VERSION, 8, 2048, 64, 1 << 20, "fp32"}},
        request(),
        {.type = MU_ENGINE_CANCEL, .id = 3},
        {.type = MU_ENGINE_SCORE, .id = 4, .token = {.id = 7, .logprob = NAN}},
        {.type = MU_ENGINE_TOKEN,
         .id = 5,
         .token = {.id = 8, .logprob = -1.5F, .ntop = 1, .top = {{9, -0.5F}}}},
        {.type = MU_ENGINE_DONE, .id = 6, .done = MU_ENGINE_LENGTH},
    };
    size_t at = 0, used;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mu_engine_write(&all[i], &bytes);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++, at += used) {
        mu_engine_message_t m;
        /* a frame that is not whole is none */
        for (size_t n = 0; n < 4; n++)
            assert_int_equal(mu_engine_read(bytes.data + at, n, &used, &m), MU_ENGINE_MORE);
        assert_int_equal(mu_engine_read(bytes.data + at, bytes.len - at, &used, &m), MU_ENGINE_GOT);
        mu_engine_release(&m);
        assert_int_equal(mu_engine_read(bytes.data + at, used - 1, &used, &m), MU_ENGINE_MORE);
        assert_int_equal(mu_engine_read(bytes.data + at, bytes.len - at, &used, &m), MU_ENGINE_GOT);
        assert_int_equal(m.type, all[i].type);
        assert_true(m.id == all[i].id);
        if (m.type == MU_ENGINE_REQUEST) {
            assert_true(m.request.seed == UINT64_MAX && m.request.temperature > 0.74 && m.request.echo);
            assert_int_equal(m.request.ends[1], 2);
            assert_memory_equal(m.request.ids, ids, sizeof ids);
        }
        if (m.type == MU_ENGINE_TOKEN)
            assert_true(m.token.id == 8 && m.token.top[0].id == 9 && m.token.top[0].logprob > -0.6F);
        if (m.type == MU_ENGINE_DONE)
            assert_int_equal(m.done, MU_ENGINE_LENGTH);
        mu_engine_release(&m);
    }
    assert_int_equal(at, bytes.len);
    mu_buf_release(&bytes);
}

/* Every byte of a request changed, and every length: what is taken keeps to the limits. */
static void no_byte_is_taken_on_trust(void **state)
{
    (void)state;
    mu_buf_t bytes = MU_BUF_INIT;
    mu_engine_message_t m = request();
    size_t used;
    mu_engine_write(&m, &bytes);
    for (size_t i = 0; i < bytes.len; i++)
        for (int value = 0; value < 256; value += 5) {
            char old = bytes.data[i];
            bytes.data[i] = (char)value;
            if (mu_engine_read(bytes.data, bytes.len, &used, &m) == MU_ENGINE_GOT) {
                assert_true(m.type == MU_ENGINE_REQUEST
                                ? m.request.nends <= MU_ENGINE_ENDS && m.request.top <= MU_ENGINE_TOP &&
                                      m.request.count == 3
                                : m.type != MU_ENGINE_HELLO);
                mu_engine_release(&m);
            }
            bytes.data[i] = old;
        }
    uint32_t length = MU_ENGINE_FRAME + 1;
    memcpy(bytes.data, &length, sizeof length);
    assert_int_equal(mu_engine_read(bytes.data, bytes.len, &used, &m), MU_ENGINE_BAD);
    length = 3;
    memcpy(bytes.data, &length, sizeof length);
    assert_int_equal(mu_engine_read(bytes.data, bytes.len, &used, &m), MU_ENGINE_BAD);
    mu_buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(no_byte_is_taken_on_trust),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
