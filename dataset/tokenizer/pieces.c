/* Ids, and the pieces that they stand for: a growing list of ids, the bytes of a piece, the text of it in a file. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include <stdlib.h>

void mu_ids_reserve(mu_ids_t *ids, size_t more)
{
    if (more <= ids->cap - ids->len)
        return;
    size_t cap = ids->cap * 2 > ids->len + more ? ids->cap * 2 : ids->len + more;
    ids->cap = cap < 64 ? 64 : cap;
    ids->data = mu_realloc(ids->data, ids->cap * sizeof *ids->data);
}

void mu_ids_add(mu_ids_t *ids, int32_t id)
{
    mu_ids_reserve(ids, 1);
    ids->data[ids->len++] = id;
}

void mu_ids_release(mu_ids_t *ids)
{
    free(ids->data);
    *ids = (mu_ids_t)MU_IDS_INIT;
}

/* Printable Latin-1 stands for itself, the other bytes for U+0100, U+0101, ... in order. */
uint32_t mu_symbol_of_byte(unsigned char byte)
{
    if (byte <= 32)
        return 256u + byte;
    if (byte >= 127 && byte <= 160)
        return 256u + 33 + byte - 127;
    return byte == 173 ? 256 + 67 : byte;
}

int mu_byte_of_symbol(uint32_t c)
{
    if (c >= 256 && c <= 256 + 32)
        return (int)c - 256;
    if (c >= 256 + 33 && c <= 256 + 66)
        return (int)c - 256 - 33 + 127;
    if (c == 256 + 67)
        return 173;
    return c < 256 && mu_symbol_of_byte((unsigned char)c) == c ? (int)c : -1;
}

void mu_tokenizer_name(const mu_tokenizer_t *tok, int32_t id, mu_buf_t *out)
{
    const mu_piece_t *p = &tok->pieces[id];
    const char *bytes = mu_piece_bytes(tok, id);
    if (p->raw)
        mu_buf_add(out, bytes, p->len);
    else
        for (uint32_t i = 0; i < p->len; i++)
            mu_utf8_add(out, mu_symbol_of_byte((unsigned char)bytes[i]));
}
