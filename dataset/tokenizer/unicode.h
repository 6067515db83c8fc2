/*
 * What the tokenizer needs of Unicode beyond utf8.h: the classes of GPT-2's word pattern, and NFC.
 *
 * The tables come from utf8proc, once per mu_unicode_t (some milliseconds), so that a lookup is two loads.
 * NFC is Unicode 9's, as in the tokenizers library, whatever utf8proc knows: characters that came later stay
 * as they are. By Unicode's stability policy that fixes NFC for good.
 *
 * A mu_unicode_t does not change once made and may be used by many threads.
 */
#ifndef MU_DATASET_UNICODE_H
#define MU_DATASET_UNICODE_H

#include "common/buf.h"
#include <stdbool.h>
#include <stdint.h>

/* Flags of a code point: its class in the low two bits, then single bits. */
enum {
    MU_CHAR_OTHER = 0,
    MU_CHAR_LETTER = 1,   /* General_Category L* */
    MU_CHAR_NUMBER = 2,   /* General_Category N* */
    MU_CHAR_SPACE = 3,    /* White_Space */
    MU_CHAR_CLASS = 3,    /* mask of the class */
    MU_CHAR_UNSTABLE = 4, /* NFC may change it, reorder it or join it to what stands before */
    MU_CHAR_INERT = 16,   /* NFC leaves it alone, and joins nothing to it */
    MU_CHAR_WORD = 8,     /* a word character (letters, marks, decimal digits, connectors) */
    MU_CHAR_PUNCTUATION =
        32 /* General_Category P*, and all of ASCII that is printable and no letter, digit or space */
};

typedef struct mu_unicode {
    uint16_t block[0x110000 >> 8]; /* code point / 256 -> index of 256 flags */
    uint8_t *flags;
} mu_unicode_t;

mu_unicode_t *mu_unicode_new(void);
void mu_unicode_free(mu_unicode_t *unicode);

static inline uint8_t mu_unicode_flags(const mu_unicode_t *unicode, uint32_t c)
{
    return unicode->flags[(size_t)unicode->block[c >> 8] * 256 + (c & 255)];
}

/* The code point at *p, which lies in valid UTF-8; moves *p after it. */
static inline uint32_t mu_utf8_next(const unsigned char **p)
{
    const unsigned char *s = *p;
    uint32_t c = s[0];
    if (c < 0x80) {
        *p = s + 1;
        return c;
    }
    if (c < 0xE0) {
        *p = s + 2;
        return (c & 31) << 6 | (s[1] & 63);
    }
    if (c < 0xF0) {
        *p = s + 3;
        return (c & 15) << 12 | (uint32_t)(s[1] & 63) << 6 | (s[2] & 63);
    }
    *p = s + 4;
    return (c & 7) << 18 | (uint32_t)(s[1] & 63) << 12 | (uint32_t)(s[2] & 63) << 6 | (s[3] & 63);
}

/* Appends the NFC form of valid UTF-8 and returns true; returns false and appends nothing when the text is
 * known to be its own NFC form already. */
bool mu_unicode_nfc(const mu_unicode_t *unicode, const char *text, size_t n, mu_buf_t *out);

#endif
