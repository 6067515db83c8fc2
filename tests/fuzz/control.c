/*
 * The control protocol, against a peer made here from its description alone (common/control/control.h): the peer can
 * seal anything, so that authentic frames of any content reach the decoder.
 *
 *     1 byte   bit 0: the role under test; bit 1: a handshake comes first
 *     then     pieces of 2 bytes of length, where bit 15 says that the piece is sealed first, and the piece
 */
#include "common/control/control.h"
#include "tests/fuzz/fuzz.h"

#include <sodium.h>

enum { SIGNED = 48, PUBLIC_AT = 16, TAG = 16, SEALED = 0x8000, KEY = MU_CONTROL_KEY_BYTES };
static const uint8_t run_key[KEY] = "the key of the run, 32 bytes lon";

typedef struct peer {
    bool is_guard;
    uint8_t secret[32], hello[MU_CONTROL_HELLO], send_key[32];
    uint64_t sent;
} peer_t;

static void peer_hello(peer_t *p, const uint8_t *answered)
{
    crypto_generichash_state state;
    memcpy(p->hello, "muster", 6);
    p->hello[6] = MU_CONTROL_VERSION;
    p->hello[7] = p->is_guard ? MU_CONTROL_GUARD : MU_CONTROL_LAUNCHER;
    memset(p->secret, 7, sizeof p->secret);
    crypto_scalarmult_base(p->hello + PUBLIC_AT, p->secret);
    crypto_generichash_init(&state, run_key, KEY, TAG);
    crypto_generichash_update(&state, p->hello, SIGNED);
    if (answered)
        crypto_generichash_update(&state, answered, MU_CONTROL_HELLO);
    crypto_generichash_final(&state, p->hello + SIGNED, TAG);
}

static void peer_keys(peer_t *p, const uint8_t *other)
{
    crypto_generichash_state state;
    uint8_t shared[32], keys[64];
    FUZZ_CHECK(crypto_scalarmult(shared, p->secret, other + PUBLIC_AT) == 0);
    crypto_generichash_init(&state, run_key, KEY, sizeof keys);
    crypto_generichash_update(&state, shared, sizeof shared);
    crypto_generichash_update(&state, p->is_guard ? p->hello : other, MU_CONTROL_HELLO);
    crypto_generichash_update(&state, p->is_guard ? other : p->hello, MU_CONTROL_HELLO);
    crypto_generichash_final(&state, keys, sizeof keys);
    memcpy(p->send_key, p->is_guard ? keys : keys + 32, 32);
}

/* The end under test is left with both hellos exchanged; the launcher's answer comes after ours. */
static void shake_hands(mu_control_t *c, peer_t *p)
{
    mu_message_t none;
    size_t n;
    if (p->is_guard) {
        peer_hello(p, NULL);
        mu_control_feed(c, p->hello, sizeof p->hello);
        FUZZ_CHECK(mu_control_next(c, &none) == 0);
    }
    const uint8_t *other = mu_control_output(c, &n);
    FUZZ_CHECK(n == MU_CONTROL_HELLO);
    if (!p->is_guard)
        peer_hello(p, other);
    peer_keys(p, other);
    if (!p->is_guard) {
        mu_control_feed(c, p->hello, sizeof p->hello);
        FUZZ_CHECK(mu_control_next(c, &none) == 0);
    }
    mu_control_wrote(c, MU_CONTROL_HELLO);
}

static void seal(peer_t *p, const uint8_t *plain, size_t n, mu_buf_t *out)
{
    uint8_t nonce[12] = {0};
    uint32_t length = (uint32_t)n + 16;
    memcpy(nonce + 4, &p->sent, 8);
    p->sent++;
    mu_buf_add(out, &length, 4);
    mu_buf_reserve(out, length);
    crypto_aead_chacha20poly1305_ietf_encrypt((uint8_t *)out->data + out->len, NULL, plain, n,
                                              (const uint8_t *)&length, 4, NULL, nonce, p->send_key);
    out->len += length;
}

/* Every string of a message ends inside its array. */
static void check_texts(const mu_message_t *message)
{
    switch (message->type) {
#define PASS(field, ...)
#define CHECK_TEXT(field, size) FUZZ_CHECK(memchr(m->field, 0, size));
#define CHECK_ONE(NAME, name)                                                                                \
    case MU_MESSAGE_##NAME: {                                                                                \
        const mu_##name##_t *m = &message->name;                                                             \
        (void)m;                                                                                             \
        MU_MESSAGE_##NAME##_FIELDS(PASS, PASS, CHECK_TEXT) break;                                            \
    }
        MU_MESSAGE_TABLE(CHECK_ONE)
    case MU_MESSAGE_NONE:
    case MU_MESSAGE_COUNT:
        FUZZ_CHECK(false);
    }
}

/* Every message that came in is one that can go out. */
static void take_all(mu_control_t *c)
{
    mu_message_t m;
    int r;
    while ((r = mu_control_next(c, &m)) > 0) {
        size_t before, after;
        mu_control_output(c, &before);
        check_texts(&m);
        FUZZ_CHECK(mu_control_open(c));
        FUZZ_CHECK(mu_control_send(c, &m));
        mu_control_output(c, &after);
        FUZZ_CHECK(after > before);
        mu_control_wrote(c, after);
    }
    FUZZ_CHECK((r < 0) == (mu_control_fault(c) != MU_CONTROL_NONE));
    FUZZ_CHECK(*mu_control_fault_text(mu_control_fault(c)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t what = fuzz_byte(&data, &n);
    peer_t peer = {.is_guard = what & 1};
    fuzz_begin();
    mu_control_t *c = mu_control_new(peer.is_guard ? MU_CONTROL_LAUNCHER : MU_CONTROL_GUARD, run_key);
    if (what & 2)
        shake_hands(c, &peer);
    while (n > 0) {
        mu_buf_t wire = MU_BUF_INIT;
        unsigned head = fuzz_short(&data, &n);
        size_t length = head & (SEALED - 1);
        length = length < n ? length : n;
        if (head & SEALED)
            seal(&peer, data, length, &wire);
        else
            mu_buf_add(&wire, data, length);
        data += length;
        n -= length;
        mu_control_feed(c, wire.data, wire.len);
        take_all(c);
        mu_buf_release(&wire);
    }
    mu_control_eof(c);
    FUZZ_CHECK(!mu_control_open(c));
    mu_control_free(c);
    return 0;
}
