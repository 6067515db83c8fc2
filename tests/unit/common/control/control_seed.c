/*
 * The fuzz seed of what a guard sends (tests/fuzz/corpus/control/guard-to-launcher) holds today's messages: made here
 * from the tables of control.h, in the form that tests/fuzz/control.c reads. MUSTER_WRITE_SEEDS=1 writes the file.
 */
#include "common/buf.h"
#include "common/control/control.h"
#include "common/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { GUARD_WITH_HANDSHAKE = 3, SEALED = 0x8000 };
static const char path[] = MU_SOURCE_DIR "/tests/fuzz/corpus/control/guard-to-launcher";

static void add_le(uint64_t value, int bytes, mu_buf_t *out)
{
    for (int i = 0; i < bytes; i++)
        mu_buf_addc(out, (char)(value >> (8 * i)));
}

static void add_f64(double value, mu_buf_t *out)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_le(bits, 8, out);
}

static void add_text(const char *text, mu_buf_t *out)
{
    add_le(strlen(text), 2, out);
    mu_buf_adds(out, text);
}

/* Each field of a message has another value; what is shown holds what an escape must not let through. */
static void add_piece(mu_message_type_t type, mu_buf_t *out)
{
    mu_buf_t plain = MU_BUF_INIT;
    int n = 0;
    mu_buf_addc(&plain, (char)type);
    switch (type) {
#define PUT_I(field, ...)  add_le((uint64_t)++n, 8, &plain);
#define PUT_F(field, ...)  add_f64(++n * 0.5, &plain);
#define PUT_S(field, size) ++n, add_text((size) >= 512 ? "a line \033[31m" : "text", &plain);
#define PUT(NAME, name)                                                                                      \
    case MU_MESSAGE_##NAME:                                                                                  \
        MU_MESSAGE_##NAME##_FIELDS(PUT_I, PUT_F, PUT_S) break;
        MU_MESSAGE_TABLE(PUT)
#undef PUT
#undef PUT_I
#undef PUT_F
#undef PUT_S
    case MU_MESSAGE_NONE:
    case MU_MESSAGE_COUNT:
        fail();
    }
    add_le(SEALED | plain.len, 2, out);
    mu_buf_add(out, plain.data, plain.len);
    mu_buf_release(&plain);
}

static void the_seed_holds_todays_messages(void **state)
{
    (void)state;
    static const mu_message_type_t sent[] = {MU_MESSAGE_HELLO, MU_MESSAGE_HEARTBEAT, MU_MESSAGE_LINE,
                                             MU_MESSAGE_HEARTBEAT, MU_MESSAGE_DEATH};
    mu_buf_t want = MU_BUF_INIT, found = MU_BUF_INIT;
    mu_buf_addc(&want, GUARD_WITH_HANDSHAKE);
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++)
        add_piece(sent[i], &want);
    if (getenv("MUSTER_WRITE_SEEDS"))
        assert_int_equal(mu_file_replace(path, want.data, want.len, 0644), MU_OK);
    assert_int_equal(mu_file_read(path, 1 << 16, &found), MU_OK);
    if (found.len != want.len || memcmp(found.data, want.data, want.len) != 0)
        fail_msg("%s is of other messages than control.h has: MUSTER_WRITE_SEEDS=1 writes it", path);
    mu_buf_release(&want);
    mu_buf_release(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_seed_holds_todays_messages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
