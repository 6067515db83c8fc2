/* Added tokens made ready to be found, and where a text may be cut. */
#include "dataset/tokenizer/tokenizer_impl.h"

/* Whether a white space character ends before text[k]; said of damaged UTF-8 too, where it may err towards
 * yes. */
static bool space_before(const char *text, size_t k)
{
    const unsigned char *p = (const unsigned char *)text + k;
    unsigned last = p[-1], pair = k >= 3 ? (unsigned)p[-3] << 8 | p[-2] : 0;
    if (last < 0x80)
        return last == ' ' || (last >= 9 && last <= 13);
    return (k >= 2 && p[-2] == 0xC2 && (last == 0x85 || last == 0xA0)) || (pair == 0xE19A && last == 0x80) ||
           (pair == 0xE280 && (last <= 0x8A || last == 0xA8 || last == 0xA9 || last == 0xAF)) ||
           (pair == 0xE281 && last == 0x9F) || (pair == 0xE380 && last == 0x80);
}

/* The same of the character that spaces become. */
static bool boundary_before(const mu_tokenizer_t *tok, const char *text, size_t k)
{
    size_t n = strlen(tok->boundary);
    return n > 0 && k >= n && memcmp(text + k - n, tok->boundary, n) == 0;
}

/* Whether a cut before `gap` could divide the token, or hide from it what it looks at. */
static bool forbids_cut(const mu_tokenizer_t *tok, const mu_added_t *added, const char *content, size_t n,
                        const char *gap)
{
    size_t length = strlen(gap);
    for (size_t i = 1; i + length <= n && length > 0; i++)
        if (memcmp(content + i, gap, length) == 0 && !space_before(content, i) &&
            !boundary_before(tok, content, i))
            return true;
    return added->rstrip ||
           (added->single_word && length > 0 && n >= length && memcmp(content, gap, length) == 0);
}

mu_status_t mu_tokenizer_add_matchers(mu_tokenizer_t *tok)
{
    mu_normalizing_t work;
    mu_buf_t content = MU_BUF_INIT, nfc = MU_BUF_INIT;
    mu_status_t status = MU_OK;
    mu_normalizing_init(&tok->normalizer, &work);
    for (size_t i = 0; i < tok->added_count && status == MU_OK; i++) {
        const mu_added_t *added = &tok->added[i];
        mu_buf_clear(&content);
        mu_buf_clear(&nfc);
        mu_tokenizer_name(tok, added->id, &content);
        const char *text = content.data;
        size_t n = content.len;
        if (added->normalized && tok->nfc && mu_unicode_nfc(tok->unicode, text, n, &nfc)) {
            text = nfc.data;
            n = nfc.len;
        } else if (added->normalized && tok->normalizer.count > 0) {
            status = mu_normalize(&tok->normalizer, &work, tok->unicode, false, &text, &n);
        }
        mu_matcher_add(added->normalized ? &tok->normalized : &tok->raw, text, n, (int32_t)i);
        tok->cut_space = tok->cut_space && !forbids_cut(tok, added, text, n, " ") &&
                         !forbids_cut(tok, added, text, n, tok->boundary);
        tok->cut_line = tok->cut_line && !forbids_cut(tok, added, text, n, "\n");
    }
    mu_normalizing_release(&work);
    mu_buf_release(&content);
    mu_buf_release(&nfc);
    return status;
}

size_t mu_tokenizer_cut(const mu_tokenizer_t *tok, const char *text, size_t n)
{
    if (!tok->cut_space && !tok->cut_line)
        return 0;
    /* before a space or line feed that follows no space a word ends, and no normal form joins anything */
    for (size_t k = n; k-- > 1;)
        if (((text[k] == ' ' && tok->cut_space) || (text[k] == '\n' && tok->cut_line)) &&
            !space_before(text, k) && !boundary_before(tok, text, k) &&
            !tok->ends_added[(unsigned char)text[k - 1]])
            return k;
    return 0;
}
