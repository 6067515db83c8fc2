#include "dataset/tokenizer/utf8.h"

#include <stdbool.h>

/* Looks at the sequence that begins at p (n > 0 bytes are left). Returns true and its length when it is well
 * formed, else false and the length of the maximal ill-formed subpart (Unicode 15, table 3-7). */
static bool sequence(const unsigned char *p, size_t n, size_t *length)
{
    unsigned char lead = p[0], low = 0x80, high = 0xBF;
    size_t want;
    *length = 1;
    if (lead < 0x80)
        return true;
    if (lead < 0xC2 || lead > 0xF4)
        return false;
    want = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead == 0xE0)
        low = 0xA0;
    else if (lead == 0xED)
        high = 0x9F;
    else if (lead == 0xF0)
        low = 0x90;
    else if (lead == 0xF4)
        high = 0x8F;
    for (; *length < want; ++*length) {
        if (*length >= n || p[*length] < low || p[*length] > high)
            return false;
        low = 0x80;
        high = 0xBF;
    }
    return true;
}

size_t mu_utf8_valid(const char *bytes, size_t n)
{
    const unsigned char *p = (const unsigned char *)bytes;
    size_t i = 0, length;
    while (i < n) {
        uint64_t word;
        if (n - i >= sizeof word) { /* text is mostly ASCII: eight bytes at a time */
            memcpy(&word, p + i, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                i += sizeof word;
                continue;
            }
        }
        if (!sequence(p + i, n - i, &length))
            break;
        i += length;
    }
    return i;
}

int64_t mu_utf8_repair(const char *bytes, size_t n, mu_buf_t *out)
{
    int64_t replaced = 0;
    for (;;) {
        size_t good = mu_utf8_valid(bytes, n), bad;
        mu_buf_add(out, bytes, good);
        if (good == n)
            return replaced;
        sequence((const unsigned char *)bytes + good, n - good, &bad);
        mu_utf8_add(out, 0xFFFD);
        replaced++;
        bytes += good + bad;
        n -= good + bad;
    }
}

void mu_utf8_add(mu_buf_t *out, uint32_t code)
{
    if (code < 0x80) {
        mu_buf_addc(out, (char)code);
        return;
    }
    char c[4];
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, code >>= 6)
        c[i] = (char)(0x80 | (code & 0x3F));
    c[0] = (char)((0xF00u >> n & 0xFF) | code); /* 0xC0, 0xE0, 0xF0 */
    mu_buf_add(out, c, n);
}
