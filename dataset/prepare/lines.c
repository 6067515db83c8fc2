#include "dataset/prepare/lines.h"

#include <string.h>

enum { BLOCK = 256 << 10 };

void mu_lines_new(mu_lines_t *l)
{
    *l = (mu_lines_t){.block = mu_alloc(BLOCK)};
}

void mu_lines_free(mu_lines_t *l)
{
    free(l->block);
}

/* Makes [at, end) non-empty unless the stream is at its end. */
static mu_status_t refill(mu_lines_t *l)
{
    if (l->at < l->end || l->eof)
        return MU_OK;
    size_t n;
    MU_TRY(mu_stream_read(l->stream, l->block, BLOCK, &n));
    l->at = 0;
    l->end = n;
    l->eof = n == 0;
    return MU_OK;
}

static void advance(mu_lines_t *l, size_t n)
{
    l->at += n;
    l->offset += n;
}

mu_status_t mu_lines_begin(mu_lines_t *l, mu_stream_t *stream)
{
    *l = (mu_lines_t){.stream = stream, .block = l->block, .line = 1};
    while (l->end < 3) { /* a pipe may give its first bytes one by one */
        size_t n;
        MU_TRY(mu_stream_read(stream, l->block + l->end, BLOCK - l->end, &n));
        l->end += n;
        if (n == 0)
            break;
    }
    if (l->end >= 3 && memcmp(l->block, "\xEF\xBB\xBF", 3) == 0)
        advance(l, 3);
    return MU_OK;
}

mu_status_t mu_lines_add(mu_lines_t *l, size_t most, mu_buf_t *out, bool *more, bool *fits)
{
    *more = false;
    *fits = true;
    for (;;) {
        MU_TRY(refill(l));
        if (l->at == l->end)
            return MU_OK;
        *more = true;
        const char *from = l->block + l->at, *feed = memchr(from, '\n', l->end - l->at);
        size_t n = feed ? (size_t)(feed - from) : l->end - l->at;
        *fits = n <= most && out->len <= most - n;
        if (!*fits)
            return MU_OK;
        mu_buf_add(out, from, n);
        advance(l, feed ? n + 1 : n);
        if (feed) {
            l->line++;
            return MU_OK;
        }
    }
}

mu_status_t mu_lines_add_rest(mu_lines_t *l, size_t most, mu_buf_t *out, bool *more, bool *fits)
{
    *more = false;
    *fits = true;
    for (;;) {
        MU_TRY(refill(l));
        size_t n = l->end - l->at;
        if (n == 0)
            return MU_OK;
        *more = true;
        *fits = n <= most && out->len <= most - n;
        if (!*fits)
            return MU_OK;
        mu_buf_add(out, l->block + l->at, n);
        advance(l, n);
    }
}
