/* Making a tokenizer from its parts, and decoding. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include "common/log.h"

void mu_ids_release(mu_ids_t *ids)
{
    free(ids->data);
    *ids = (mu_ids_t)MU_IDS_INIT;
}

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

mu_tokenizer_t *mu_tokenizer_new(void)
{
    mu_tokenizer_t *tok = mu_calloc(1, sizeof *tok);
    tok->unicode = mu_unicode_new();
    tok->words = true;
    tok->eod = -1;
    mu_matcher_init(&tok->raw);
    mu_matcher_init(&tok->normalized);
    return tok;
}

void mu_tokenizer_free(mu_tokenizer_t *tok)
{
    if (!tok)
        return;
    mu_unicode_free(tok->unicode);
    free(tok->pieces);
    mu_buf_release(&tok->bytes);
    free(tok->merges);
    free(tok->added);
    mu_bpe_release(&tok->bpe);
    mu_matcher_release(&tok->raw);
    mu_matcher_release(&tok->normalized);
    free(tok);
}

static mu_piece_t *piece(mu_tokenizer_t *tok, int32_t id)
{
    if (id >= tok->pieces_cap) {
        int32_t cap = tok->pieces_cap * 2 > id + 1 ? tok->pieces_cap * 2 : id + 1;
        tok->pieces = mu_realloc(tok->pieces, (size_t)cap * sizeof *tok->pieces);
        memset(tok->pieces + tok->pieces_cap, 0, (size_t)(cap - tok->pieces_cap) * sizeof *tok->pieces);
        tok->pieces_cap = cap;
    }
    if (id >= tok->vocab)
        tok->vocab = id + 1;
    return &tok->pieces[id];
}

void mu_tokenizer_add_model(mu_tokenizer_t *tok, int32_t id, const char *name)
{
    mu_piece_t *p = piece(tok, id);
    size_t n = strlen(name);
    p->model = true;
    p->at = (uint32_t)tok->bytes.len;
    const unsigned char *s = (const unsigned char *)name, *end = s + n;
    while (s < end && !p->raw) {
        int byte = mu_byte_of_symbol(mu_utf8_next(&s));
        if (byte >= 0)
            mu_buf_addc(&tok->bytes, (char)byte);
        else
            p->raw = true;
    }
    if (p->raw) {
        tok->bytes.len = p->at;
        mu_buf_add(&tok->bytes, name, n);
    }
    p->len = (uint32_t)(tok->bytes.len - p->at);
}

void mu_tokenizer_add_added(mu_tokenizer_t *tok, const mu_added_t *added, const char *content)
{
    mu_piece_t *p = piece(tok, added->id);
    p->added = true;
    if (!p->model) { /* stands for its own text, even where it reads like byte symbols */
        p->raw = true;
        p->at = (uint32_t)tok->bytes.len;
        p->len = (uint32_t)strlen(content);
        mu_buf_add(&tok->bytes, content, p->len);
    }
    tok->added = mu_realloc(tok->added, (tok->added_count + 1) * sizeof *tok->added);
    tok->added[tok->added_count++] = *added;
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

/* Whether a cut before `gap` could divide the token, or hide from it what it looks at. */
static bool forbids_cut(const mu_added_t *added, const mu_buf_t *content, char gap)
{
    for (size_t i = 1; i < content->len; i++)
        if (content->data[i] == gap && !space_before(content->data, i))
            return true;
    return added->rstrip || (added->single_word && content->data[0] == gap);
}

static void add_matchers(mu_tokenizer_t *tok)
{
    tok->cut_space = tok->words;
    tok->cut_line = tok->words && !tok->prefix_space;
    for (size_t i = 0; i < tok->added_count; i++) {
        const mu_added_t *added = &tok->added[i];
        mu_buf_t content = MU_BUF_INIT, nfc = MU_BUF_INIT;
        mu_tokenizer_name(tok, added->id, &content);
        if (added->normalized && tok->nfc && mu_unicode_nfc(tok->unicode, content.data, content.len, &nfc)) {
            mu_buf_release(&content);
            content = nfc;
        }
        mu_matcher_add(added->normalized ? &tok->normalized : &tok->raw, content.data, content.len,
                       (int32_t)i);
        tok->cut_space = tok->cut_space && !forbids_cut(added, &content, ' ');
        tok->cut_line = tok->cut_line && !forbids_cut(added, &content, '\n');
        mu_buf_release(&content);
    }
}

size_t mu_tokenizer_cut(const mu_tokenizer_t *tok, const char *text, size_t n)
{
    /* before a space or line feed that follows no space a word ends, and NFC joins nothing */
    for (size_t k = n; k-- > 1;)
        if (((text[k] == ' ' && tok->cut_space) || (text[k] == '\n' && tok->cut_line)) &&
            !space_before(text, k))
            return k;
    return 0;
}

static void add_digest(mu_tokenizer_t *tok)
{
    mu_digest_t *digest = mu_digest_new();
    mu_buf_t text = MU_BUF_INIT;
    mu_buf_addf(&text, "bpe nfc=%d prefix=%d words=%d\n", tok->nfc, tok->prefix_space, tok->words);
    for (int32_t id = 0; id < tok->vocab; id++) {
        const mu_piece_t *p = &tok->pieces[id];
        if (!p->model && !p->added)
            continue;
        mu_buf_addf(&text, "%d %d%d%d %u ", id, p->model, p->raw, p->added, p->len);
        mu_buf_add(&text, mu_piece_bytes(tok, id), p->len);
        mu_buf_addc(&text, '\n');
    }
    for (size_t r = 0; r < tok->merge_count; r++)
        mu_buf_addf(&text, "%d+%d=%d\n", tok->merges[r].left, tok->merges[r].right, tok->merges[r].joined);
    for (size_t i = 0; i < tok->added_count; i++) {
        const mu_added_t *a = &tok->added[i];
        mu_buf_addf(&text, "%d %d%d%d%d%d\n", a->id, a->special, a->normalized, a->lstrip, a->rstrip,
                    a->single_word);
    }
    mu_digest_add(digest, text.data, text.len);
    mu_digest_hex(digest, tok->digest);
    mu_digest_free(digest);
    mu_buf_release(&text);
}

void mu_tokenizer_finish(mu_tokenizer_t *tok)
{
    static const char eod[] = "<|endoftext|>";
    for (size_t b = 0; b < 256; b++)
        tok->byte_id[b] = -1;
    for (int32_t id = 0; id < tok->vocab; id++) {
        const mu_piece_t *p = &tok->pieces[id];
        const char *bytes = mu_piece_bytes(tok, id);
        if (p->model && !p->raw && p->len == 1)
            tok->byte_id[(unsigned char)bytes[0]] = id;
        if (p->len == sizeof eod - 1 && memcmp(bytes, eod, p->len) == 0)
            tok->eod = id;
    }
    mu_bpe_init(&tok->bpe, tok->merges, tok->merge_count);
    add_matchers(tok);
    add_digest(tok);
}

int32_t mu_tokenizer_vocab(const mu_tokenizer_t *tok)
{
    return tok->vocab;
}

int32_t mu_tokenizer_eod(const mu_tokenizer_t *tok)
{
    return tok->eod;
}

const char *mu_tokenizer_digest(const mu_tokenizer_t *tok)
{
    return tok->digest;
}

mu_status_t mu_tokenizer_decode(const mu_tokenizer_t *tok, const int32_t *ids, size_t n, mu_buf_t *out)
{
    size_t before = out->len;
    for (size_t i = 0; i < n; i++) {
        int32_t id = ids[i];
        if (id < 0 || id >= tok->vocab || (!tok->pieces[id].model && !tok->pieces[id].added)) {
            out->len = before;
            return mu_fail(MU_DATA,
                           "token id %d (number %zu of the list) has no token: the tokenizer has ids 0 to %d",
                           id, i + 1, tok->vocab - 1);
        }
        mu_buf_add(out, mu_piece_bytes(tok, id), tok->pieces[id].len);
    }
    return MU_OK;
}
