#include "common/control/control.h"
#include "common/buf.h"

#include <sodium.h>

enum {
    MAGIC = 6,
    TAG = 16,
    SIGNED = MU_CONTROL_HELLO - TAG, /* bytes of a hello that its tag covers */
    PUBLIC_AT = 16,                  /* magic 6, version 1, role 1, zero 8, public key 32, tag 16 */
    PUBLIC = crypto_scalarmult_BYTES,
    LENGTH = 4,
    SEAL = crypto_aead_chacha20poly1305_ietf_ABYTES,
    SEAL_KEY = crypto_aead_chacha20poly1305_ietf_KEYBYTES,
    INPUT_MAX = 2 * (LENGTH + MU_CONTROL_FRAME_MAX),
    OUTPUT_MAX = 4 * MU_CONTROL_FRAME_MAX
};
static const uint8_t magic[MAGIC] = {'m', 'u', 's', 't', 'e', 'r'};

typedef enum stage { STAGE_HELLO, STAGE_FRAMES, STAGE_DEAD } stage_t;

/* Lives in memory that is locked and left out of core files (sodium_malloc): it holds keys. The buffers hold no secrets
 * that matter after their frame. */
struct mu_control {
    mu_control_role_t role;
    stage_t stage;
    bool proven; /* a frame of the peer opened */
    mu_control_fault_t fault;
    uint8_t key[MU_CONTROL_KEY_BYTES];
    uint8_t secret[crypto_scalarmult_SCALARBYTES];
    uint8_t hello[MU_CONTROL_HELLO]; /* ours; the launcher's is made once the guard's is here */
    uint8_t send_key[SEAL_KEY], receive_key[SEAL_KEY];
    uint64_t sent, received; /* frames */
    mu_buf_t in, out;
};

const char *mu_control_fault_text(mu_control_fault_t fault)
{
    static const char *const text[] = {
#define FAULT_TEXT(name, words) words,
        MU_CONTROL_FAULT_TABLE(FAULT_TEXT)
#undef FAULT_TEXT
    };
    return (int)fault >= 0 && fault < MU_CONTROL_FAULT_COUNT ? text[fault] : "unknown";
}

static void put_le(uint8_t *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *in, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

static void take(mu_buf_t *buf, size_t n)
{
    memmove(buf->data, buf->data + n, buf->len - n);
    buf->len -= n;
    buf->data[buf->len] = '\0';
}

static int give_up(mu_control_t *c, mu_control_fault_t fault)
{
    c->stage = STAGE_DEAD;
    c->fault = fault;
    mu_buf_clear(&c->in);
    return -1;
}

/* ---- handshake ---- */

/* The tag of a hello; the launcher's answers one hello of a guard and covers it. */
static void sign(const mu_control_t *c, const uint8_t *hello, const uint8_t *answered, uint8_t tag[TAG])
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, c->key, sizeof c->key, TAG);
    crypto_generichash_update(&state, hello, SIGNED);
    if (answered)
        crypto_generichash_update(&state, answered, MU_CONTROL_HELLO);
    crypto_generichash_final(&state, tag, TAG);
}

static void make_hello(mu_control_t *c, const uint8_t *answered)
{
    memcpy(c->hello, magic, MAGIC);
    c->hello[6] = MU_CONTROL_VERSION;
    c->hello[7] = (uint8_t)c->role;
    randombytes_buf(c->secret, sizeof c->secret);
    crypto_scalarmult_base(c->hello + PUBLIC_AT, c->secret);
    sign(c, c->hello, answered, c->hello + SIGNED);
    mu_buf_add(&c->out, c->hello, sizeof c->hello);
}

/* Both directions' keys from the run's key, the fresh shared secret and both hellos. */
static bool make_keys(mu_control_t *c, const uint8_t *guard, const uint8_t *launcher, const uint8_t *peer)
{
    uint8_t shared[crypto_scalarmult_BYTES], keys[2 * SEAL_KEY];
    if (crypto_scalarmult(shared, c->secret, peer + PUBLIC_AT) != 0)
        return false;
    crypto_generichash_state state;
    crypto_generichash_init(&state, c->key, sizeof c->key, sizeof keys);
    crypto_generichash_update(&state, shared, sizeof shared);
    crypto_generichash_update(&state, guard, MU_CONTROL_HELLO);
    crypto_generichash_update(&state, launcher, MU_CONTROL_HELLO);
    crypto_generichash_final(&state, keys, sizeof keys);
    bool is_guard = c->role == MU_CONTROL_GUARD;
    memcpy(c->send_key, is_guard ? keys : keys + SEAL_KEY, SEAL_KEY);
    memcpy(c->receive_key, is_guard ? keys + SEAL_KEY : keys, SEAL_KEY);
    sodium_memzero(shared, sizeof shared);
    sodium_memzero(keys, sizeof keys);
    sodium_memzero(c->secret, sizeof c->secret);
    return true;
}

static int take_hello(mu_control_t *c)
{
    if (c->in.len < MU_CONTROL_HELLO)
        return 0;
    const uint8_t *peer = (const uint8_t *)c->in.data;
    bool is_guard = c->role == MU_CONTROL_GUARD;
    uint8_t tag[TAG];
    sign(c, peer, is_guard ? c->hello : NULL, tag);
    if (sodium_memcmp(tag, peer + SIGNED, TAG) != 0 || memcmp(peer, magic, MAGIC) != 0 ||
        peer[7] != (is_guard ? MU_CONTROL_LAUNCHER : MU_CONTROL_GUARD))
        return give_up(c, MU_CONTROL_FOREIGN);
    if (peer[6] != MU_CONTROL_VERSION)
        return give_up(c, MU_CONTROL_VERSION_DIFFERS);
    if (!is_guard)
        make_hello(c, peer);
    if (!make_keys(c, is_guard ? c->hello : peer, is_guard ? peer : c->hello, peer))
        return give_up(c, MU_CONTROL_FOREIGN);
    take(&c->in, MU_CONTROL_HELLO);
    c->stage = STAGE_FRAMES;
    return 1;
}

/* ---- messages ---- */

typedef struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
} reader_t;

static uint64_t read_le(reader_t *r, int bytes)
{
    if (r->left < (size_t)bytes) {
        r->bad = true;
        return 0;
    }
    uint64_t value = get_le(r->at, bytes);
    r->at += bytes;
    r->left -= (size_t)bytes;
    return value;
}

static double read_f64(reader_t *r)
{
    uint64_t bits = read_le(r, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void read_text(reader_t *r, char *out, size_t size)
{
    size_t n = (size_t)read_le(r, 2);
    if (r->bad || n > r->left || n >= size || memchr(r->at, 0, n)) {
        r->bad = true;
        return;
    }
    memcpy(out, r->at, n);
    out[n] = '\0';
    r->at += n;
    r->left -= n;
}

static void write_le(mu_buf_t *out, uint64_t value, int bytes)
{
    uint8_t raw[8];
    put_le(raw, value, bytes);
    mu_buf_add(out, raw, (size_t)bytes);
}

static void write_f64(mu_buf_t *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    write_le(out, bits, 8);
}

static void write_text(mu_buf_t *out, const char *text, size_t size)
{
    size_t n = strnlen(text, size - 1);
    write_le(out, n, 2);
    mu_buf_add(out, text, n);
}

static void encode(const mu_message_t *message, mu_buf_t *out)
{
    mu_buf_addc(out, (char)message->type);
    switch (message->type) {
#define PUT_I(field, ...)  write_le(out, (uint64_t)m->field, 8);
#define PUT_F(field, ...)  write_f64(out, m->field);
#define PUT_S(field, size) write_text(out, m->field, size);
#define PUT(NAME, name)                                                                                      \
    case MU_MESSAGE_##NAME: {                                                                                \
        const mu_##name##_t *m = &message->name;                                                             \
        MU_MESSAGE_##NAME##_FIELDS(PUT_I, PUT_F, PUT_S) break;                                               \
    }
        MU_MESSAGE_TABLE(PUT)
#undef PUT
#undef PUT_I
#undef PUT_F
#undef PUT_S
    case MU_MESSAGE_NONE:
    case MU_MESSAGE_COUNT:
        break;
    }
}

static bool decode(const uint8_t *bytes, size_t n, mu_message_t *out)
{
    reader_t r = {bytes, n, false};
    memset(out, 0, sizeof *out);
    out->type = (mu_message_type_t)read_le(&r, 1);
    switch (out->type) {
#define GET_I(field, ...)  m->field = (int64_t)read_le(&r, 8);
#define GET_F(field, ...)  m->field = read_f64(&r);
#define GET_S(field, size) read_text(&r, m->field, size);
#define GET(NAME, name)                                                                                      \
    case MU_MESSAGE_##NAME: {                                                                                \
        mu_##name##_t *m = &out->name;                                                                       \
        MU_MESSAGE_##NAME##_FIELDS(GET_I, GET_F, GET_S) break;                                               \
    }
        MU_MESSAGE_TABLE(GET)
#undef GET
#undef GET_I
#undef GET_F
#undef GET_S
    case MU_MESSAGE_NONE:
    case MU_MESSAGE_COUNT:
    default:
        return false;
    }
    return !r.bad && r.left == 0;
}

/* ---- frames ---- */

static void make_nonce(uint64_t counter, uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
    memset(nonce, 0, crypto_aead_chacha20poly1305_ietf_NPUBBYTES);
    put_le(nonce + 4, counter, 8);
}

static int take_frame(mu_control_t *c, mu_message_t *out)
{
    if (c->in.len < LENGTH)
        return 0;
    const uint8_t *raw = (const uint8_t *)c->in.data;
    size_t n = (size_t)get_le(raw, LENGTH);
    if (n > MU_CONTROL_FRAME_MAX || n < SEAL + 1)
        return give_up(c, MU_CONTROL_OVERSIZED);
    if (c->in.len < LENGTH + n)
        return 0;
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    make_nonce(c->received, nonce);
    uint8_t *plain = mu_alloc(n);
    unsigned long long length = 0;
    int r = 1;
    if (crypto_aead_chacha20poly1305_ietf_decrypt(plain, &length, NULL, raw + LENGTH, n, raw, LENGTH, nonce,
                                                  c->receive_key) != 0) {
        r = give_up(c, MU_CONTROL_FORGED);
    } else if (!decode(plain, (size_t)length, out)) {
        r = give_up(c, MU_CONTROL_MALFORMED);
    } else {
        c->received++;
        c->proven = true;
        take(&c->in, LENGTH + n);
    }
    free(plain);
    return r;
}

bool mu_control_send(mu_control_t *c, const mu_message_t *message)
{
    if (!mu_control_open(c) || c->out.len > OUTPUT_MAX)
        return false;
    mu_buf_t plain = MU_BUF_INIT;
    encode(message, &plain);
    size_t n = plain.len + SEAL;
    uint8_t length[LENGTH], nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    put_le(length, n, LENGTH);
    make_nonce(c->sent++, nonce);
    mu_buf_add(&c->out, length, LENGTH);
    mu_buf_reserve(&c->out, n);
    crypto_aead_chacha20poly1305_ietf_encrypt((uint8_t *)c->out.data + c->out.len, NULL,
                                              (const uint8_t *)plain.data, plain.len, length, LENGTH, NULL,
                                              nonce, c->send_key);
    c->out.len += n;
    c->out.data[c->out.len] = '\0';
    mu_buf_release(&plain);
    return true;
}

/* ---- one end ---- */

mu_control_t *mu_control_new(mu_control_role_t role, const uint8_t key[MU_CONTROL_KEY_BYTES])
{
    mu_control_t *c = sodium_init() < 0 ? NULL : sodium_malloc(sizeof *c);
    if (!c)
        abort(); /* no source of random bytes, or no memory: nothing can be secured */
    *c = (mu_control_t){.role = role};
    memcpy(c->key, key, sizeof c->key);
    if (role == MU_CONTROL_GUARD)
        make_hello(c, NULL);
    return c;
}

void mu_control_free(mu_control_t *c)
{
    if (!c)
        return;
    mu_buf_release(&c->in);
    mu_buf_release(&c->out);
    sodium_free(c); /* zeroes too */
}

void mu_control_feed(mu_control_t *c, const void *bytes, size_t n)
{
    if (c->stage == STAGE_DEAD)
        return;
    if (c->in.len + n > INPUT_MAX) {
        give_up(c, MU_CONTROL_OVERSIZED);
        return;
    }
    mu_buf_add(&c->in, bytes, n);
}

int mu_control_next(mu_control_t *c, mu_message_t *out)
{
    if (c->stage == STAGE_HELLO) {
        int r = take_hello(c);
        if (r <= 0)
            return r;
    }
    return c->stage == STAGE_FRAMES ? take_frame(c, out) : -1;
}

void mu_control_eof(mu_control_t *c)
{
    if (c->stage != STAGE_DEAD)
        give_up(c, c->in.len > 0 ? MU_CONTROL_TRUNCATED : MU_CONTROL_NONE);
}

mu_control_fault_t mu_control_fault(const mu_control_t *c)
{
    return c->fault;
}

bool mu_control_open(const mu_control_t *c)
{
    return c->stage == STAGE_FRAMES && (c->role == MU_CONTROL_GUARD || c->proven);
}

const void *mu_control_output(const mu_control_t *c, size_t *n)
{
    *n = c->out.len;
    return c->out.data;
}

void mu_control_wrote(mu_control_t *c, size_t n)
{
    take(&c->out, n);
}

/* ---- keys ---- */

uint8_t *mu_control_key_room(void)
{
    uint8_t *key = sodium_init() < 0 ? NULL : sodium_malloc(MU_CONTROL_KEY_BYTES);
    if (!key)
        abort();
    return key;
}

void mu_control_key_free(uint8_t *key)
{
    sodium_free(key);
}

void mu_control_key_new(uint8_t key[MU_CONTROL_KEY_BYTES])
{
    if (sodium_init() < 0)
        abort();
    randombytes_buf(key, MU_CONTROL_KEY_BYTES);
}

void mu_control_key_hex(const uint8_t key[MU_CONTROL_KEY_BYTES], char out[2 * MU_CONTROL_KEY_BYTES + 1])
{
    sodium_bin2hex(out, 2 * MU_CONTROL_KEY_BYTES + 1, key, MU_CONTROL_KEY_BYTES);
}

bool mu_control_key_parse(const char *hex, uint8_t key[MU_CONTROL_KEY_BYTES])
{
    uint8_t raw[MU_CONTROL_KEY_BYTES];
    size_t n = 0;
    const char *end = NULL;
    if (strlen(hex) != 2 * sizeof raw ||
        sodium_hex2bin(raw, sizeof raw, hex, 2 * sizeof raw, NULL, &n, &end) != 0 || n != sizeof raw)
        return false;
    memcpy(key, raw, sizeof raw);
    sodium_memzero(raw, sizeof raw);
    return true;
}
