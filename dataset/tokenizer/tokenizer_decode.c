/* Ids to text, and where in it they end. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include "common/log.h"

struct mu_decoder {
    const mu_tokenizer_t *tok;
    mu_undoing_t undoing;
    mu_buf_t name;
    size_t seen;
};

mu_decoder_t *mu_decoder_new(const mu_tokenizer_t *tok, bool continues)
{
    mu_decoder_t *d = mu_calloc(1, sizeof *d);
    d->tok = tok;
    mu_undoing_init(&tok->decoding, continues, &d->undoing);
    return d;
}

void mu_decoder_free(mu_decoder_t *d)
{
    if (!d)
        return;
    mu_undoing_release(&d->undoing);
    mu_buf_release(&d->name);
    free(d);
}

static mu_status_t check_id(mu_decoder_t *d, int32_t id)
{
    const mu_tokenizer_t *tok = d->tok;
    d->seen++;
    if (id >= 0 && id < tok->vocab && (tok->pieces[id].model || tok->pieces[id].added))
        return MU_OK;
    return mu_fail(MU_DATA,
                   "token id %d (number %zu of the list) has no token: the tokenizer has ids 0 to %d", id,
                   d->seen, tok->vocab - 1);
}

mu_status_t mu_decoder_add(mu_decoder_t *d, const int32_t *ids, size_t n, mu_buf_t *out)
{
    const mu_tokenizer_t *tok = d->tok;
    for (size_t i = 0; i < n; i++) {
        MU_TRY(check_id(d, ids[i]));
        const char *bytes = mu_piece_bytes(tok, ids[i]);
        if (tok->decoding.byte_level)
            mu_buf_add(out, bytes, tok->pieces[ids[i]].len);
        else
            mu_undoing_add(&d->undoing, bytes, tok->pieces[ids[i]].len, out);
    }
    return MU_OK;
}

void mu_decoder_end(mu_decoder_t *d, mu_buf_t *out)
{
    if (!d->tok->decoding.byte_level)
        mu_undoing_end(&d->undoing, out);
}

mu_status_t mu_tokenizer_decode(const mu_tokenizer_t *tok, const int32_t *ids, size_t n, mu_buf_t *out)
{
    size_t before = out->len;
    mu_decoder_t *d = mu_decoder_new(tok, false);
    mu_status_t status = mu_decoder_add(d, ids, n, out);
    if (status == MU_OK)
        mu_decoder_end(d, out);
    else
        out->len = before;
    mu_decoder_free(d);
    return status;
}

/* The bytes that token `id` stands for; without byte level, \u2581 is a space and <0xHH> a byte. */
static void add_bytes(const mu_tokenizer_t *tok, int32_t id, mu_buf_t *out)
{
    const char *p = mu_piece_bytes(tok, id), *end = p + tok->pieces[id].len;
    unsigned byte;
    int used = 0;
    mu_buf_clear(out);
    if (tok->pre.byte_level || tok->pieces[id].added) {
        mu_buf_add(out, p, (size_t)(end - p));
        return;
    }
    if (end - p == 6 && sscanf(p, "<0x%2X>%n", &byte, &used) == 1 && used == 6) {
        mu_buf_addc(out, (char)byte);
        return;
    }
    while (p < end) {
        if (end - p >= 3 && memcmp(p, "\xE2\x96\x81", 3) == 0) {
            mu_buf_addc(out, ' ');
            p += 3;
        } else {
            mu_buf_addc(out, *p++);
        }
    }
}

static bool stands(const mu_buf_t *bytes, size_t from, const char *text, size_t n)
{
    return bytes->len - from <= n && memcmp(bytes->data + from, text, bytes->len - from) == 0;
}

bool mu_tokenizer_ends(const mu_tokenizer_t *tok, const char *text, size_t n, const int32_t *ids,
                       size_t count, size_t *ends)
{
    mu_buf_t bytes = MU_BUF_INIT;
    size_t at = 0, i = 0;
    mu_buf_reserve(&bytes, 0);
    for (; i < count; i++) {
        add_bytes(tok, ids[i], &bytes);
        if (stands(&bytes, 0, text + at, n - at))
            at += bytes.len;
        else if (bytes.len > 0 && bytes.data[0] == ' ' && stands(&bytes, 1, text + at, n - at))
            at += bytes.len - 1; /* the tokenizer put the space there */
        else
            break;
        ends[i] = at;
    }
    mu_buf_release(&bytes);
    return i == count && at == n;
}
