/* Ids to text. */
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
