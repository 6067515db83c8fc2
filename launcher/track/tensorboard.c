#include "launcher/track/tensorboard.h"

#include <string.h>

/* Field numbers of tensorflow/core/util/event.proto and framework/{summary,tensor,tensor_shape}.proto. */
enum { EVENT_TIME = 1, EVENT_STEP = 2, EVENT_VERSION = 3, EVENT_SUMMARY = 5, EVENT_SESSION = 7 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_FLOAT = 2, VALUE_TENSOR = 8, VALUE_METADATA = 9 };
enum { METADATA_PLUGIN = 1, PLUGIN_NAME = 1, SESSION_STATUS = 1, SESSION_START = 1 };
enum { TENSOR_TYPE = 1, TENSOR_SHAPE = 2, TENSOR_STRING = 8, TYPE_STRING = 7, SHAPE_DIM = 2, DIM_SIZE = 1 };
/* How the bytes of a field follow its number. */
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void add_little(uint64_t value, int bytes, mu_buf_t *out)
{
    for (int i = 0; i < bytes; i++)
        mu_buf_addc(out, (char)(value >> (8 * i) & 0xff));
}

static void add_varint(uint64_t value, mu_buf_t *out)
{
    for (; value >= 0x80; value >>= 7)
        mu_buf_addc(out, (char)((value & 0x7f) | 0x80));
    mu_buf_addc(out, (char)value);
}

static void add_key(int field, int wire, mu_buf_t *out)
{
    add_varint((uint64_t)((field << 3) | wire), out);
}

static void add_integer(int field, int64_t value, mu_buf_t *out)
{
    add_key(field, WIRE_VARINT, out);
    add_varint((uint64_t)value, out);
}

static void add_bytes(int field, const void *bytes, size_t n, mu_buf_t *out)
{
    add_key(field, WIRE_BYTES, out);
    add_varint(n, out);
    mu_buf_add(out, bytes, n);
}

/* A message inside another; `inner` is released. */
static void add_message(int field, mu_buf_t *inner, mu_buf_t *out)
{
    add_bytes(field, inner->len > 0 ? inner->data : "", inner->len, out);
    mu_buf_release(inner);
}

/* CRC-32C (Castagnoli), bit by bit: a record has a few hundred bytes and comes once a step. */
static uint32_t masked_crc(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    crc = ~crc;
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8;
}

static void add_record(mu_buf_t *event, mu_buf_t *out)
{
    size_t at = out->len;
    add_little(event->len, 8, out);
    add_little(masked_crc(out->data + at, 8), 4, out);
    mu_buf_add(out, event->data, event->len);
    add_little(masked_crc(event->data, event->len), 4, out);
    mu_buf_release(event);
}

static void begin_event(double time, int64_t step, mu_buf_t *event)
{
    uint64_t bits;
    memcpy(&bits, &time, sizeof bits);
    add_key(EVENT_TIME, WIRE_64, event);
    add_little(bits, 8, event);
    add_integer(EVENT_STEP, step, event);
}

void mu_tb_header(double time, mu_buf_t *out)
{
    static const char version[] = "brain.Event:2";
    mu_buf_t event = MU_BUF_INIT;
    begin_event(time, 0, &event);
    add_bytes(EVENT_VERSION, version, sizeof version - 1, &event);
    add_record(&event, out);
}

void mu_tb_scalars(double time, int64_t step, const mu_scalar_t *scalars, int count, mu_buf_t *out)
{
    mu_buf_t event = MU_BUF_INIT, summary = MU_BUF_INIT;
    if (count <= 0)
        return;
    for (int i = 0; i < count; i++) {
        mu_buf_t value = MU_BUF_INIT;
        float number = (float)scalars[i].value;
        uint32_t bits;
        memcpy(&bits, &number, sizeof bits);
        add_bytes(VALUE_TAG, scalars[i].tag, strlen(scalars[i].tag), &value);
        add_key(VALUE_FLOAT, WIRE_32, &value);
        add_little(bits, 4, &value);
        add_message(SUMMARY_VALUE, &value, &summary);
    }
    begin_event(time, step, &event);
    add_message(EVENT_SUMMARY, &summary, &event);
    add_record(&event, out);
}

void mu_tb_text(double time, const char *tag, const char *text, mu_buf_t *out)
{
    mu_buf_t event = MU_BUF_INIT, summary = MU_BUF_INIT, value = MU_BUF_INIT, metadata = MU_BUF_INIT,
             plugin = MU_BUF_INIT, tensor = MU_BUF_INIT, shape = MU_BUF_INIT, dim = MU_BUF_INIT;
    add_bytes(PLUGIN_NAME, "text", 4, &plugin);
    add_message(METADATA_PLUGIN, &plugin, &metadata);
    add_integer(DIM_SIZE, 1, &dim);
    add_message(SHAPE_DIM, &dim, &shape);
    add_integer(TENSOR_TYPE, TYPE_STRING, &tensor);
    add_message(TENSOR_SHAPE, &shape, &tensor);
    add_bytes(TENSOR_STRING, text, strlen(text), &tensor);
    add_bytes(VALUE_TAG, tag, strlen(tag), &value);
    add_message(VALUE_TENSOR, &tensor, &value);
    add_message(VALUE_METADATA, &metadata, &value);
    add_message(SUMMARY_VALUE, &value, &summary);
    begin_event(time, 0, &event);
    add_message(EVENT_SUMMARY, &summary, &event);
    add_record(&event, out);
}

void mu_tb_restart(double time, int64_t step, mu_buf_t *out)
{
    mu_buf_t event = MU_BUF_INIT, session = MU_BUF_INIT;
    add_integer(SESSION_STATUS, SESSION_START, &session);
    begin_event(time, step, &event);
    add_message(EVENT_SESSION, &session, &event);
    add_record(&event, out);
}
