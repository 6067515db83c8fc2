#include "dataset/prepare/stream.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { BLOCK = 256 << 10, WINDOW_LOG_MAX = 27, RATIO_MAX = 2048 };
static const uint64_t FREE_OUTPUT = (uint64_t)256 << 20; /* no ratio is looked at below */

typedef enum mu_packing { PLAIN, GZIP, ZSTD } mu_packing_t;

struct mu_stream {
    char *path;
    int fd;
    mu_packing_t packing;
    unsigned char *block; /* what was read and not yet taken: [at, end) */
    size_t at, end;
    bool eof;      /* of the file */
    bool inside;   /* a gzip member or zstd frame has begun and not ended */
    bool finished; /* nothing follows */
    uint64_t consumed, produced;
    z_stream gzip;
    ZSTD_DCtx *zstd;
};

/* Reads on behind what is left in the block. */
static mu_status_t fill(mu_stream_t *s)
{
    if (s->at > 0) {
        memmove(s->block, s->block + s->at, s->end - s->at);
        s->end -= s->at;
        s->at = 0;
    }
    while (!s->eof && s->end < BLOCK) {
        ssize_t n = read(s->fd, s->block + s->end, BLOCK - s->end);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mu_fail(mu_open_status(errno), "%s: cannot read: %s", s->path, strerror(errno));
        s->eof = n == 0;
        s->end += (size_t)n;
        s->consumed += (uint64_t)n;
        if (n > 0)
            break; /* a pipe gives what it has */
    }
    return MU_OK;
}

/* Enough bytes to tell what the file is, or all it has. */
static mu_status_t fill_head(mu_stream_t *s)
{
    while (!s->eof && s->end - s->at < 512)
        MU_TRY(fill(s));
    return MU_OK;
}

static bool begins(const mu_stream_t *s, const char *magic, size_t n)
{
    return s->end - s->at >= n && memcmp(s->block + s->at, magic, n) == 0;
}

static bool is_gzip(const mu_stream_t *s)
{
    return begins(s, "\x1f\x8b\x08", 3);
}

/* A frame, or one of the 16 skippable kinds. */
static bool is_zstd(const mu_stream_t *s)
{
    return begins(s, "\x28\xb5\x2f\xfd", 4) || (s->end - s->at >= 4 && (s->block[s->at] & 0xF0) == 0x50 &&
                                                memcmp(s->block + s->at + 1, "\x2a\x4d\x18", 3) == 0);
}

mu_status_t mu_stream_open(const char *path, mu_stream_t **out)
{
    int fd = STDIN_FILENO;
    if (strcmp(path, "-") != 0)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mu_fail(MU_NOINPUT, "%s: cannot open: %s", path, strerror(errno));
    mu_stream_t *s = mu_calloc(1, sizeof *s);
    s->fd = fd;
    s->path = mu_strdup(path);
    s->block = mu_alloc(BLOCK);
    mu_status_t status = fill_head(s);
    if (status != MU_OK) {
        mu_stream_close(s);
        return status;
    }
    s->packing = is_gzip(s) ? GZIP : is_zstd(s) ? ZSTD : PLAIN;
    bool ready = true;
    if (s->packing == GZIP) {
        ready = inflateInit2(&s->gzip, 15 + 16) == Z_OK; /* 16: a gzip header, and nothing else */
    } else if (s->packing == ZSTD) {
        s->zstd = ZSTD_createDCtx();
        ready =
            s->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX));
    }
    if (!ready) {
        mu_stream_close(s);
        return mu_fail(MU_NOMEM, "%s: no memory to decompress it", path);
    }
    *out = s;
    return MU_OK;
}

void mu_stream_close(mu_stream_t *s)
{
    if (!s)
        return;
    if (s->packing == GZIP)
        inflateEnd(&s->gzip);
    ZSTD_freeDCtx(s->zstd);
    if (s->fd != STDIN_FILENO)
        close(s->fd);
    free(s->block);
    free(s->path);
    free(s);
}

uint64_t mu_stream_consumed(const mu_stream_t *s)
{
    return s->consumed - (s->end - s->at);
}

static mu_status_t cut_short(const mu_stream_t *s, const char *what)
{
    return mu_fail(
        MU_DATA,
        "%s: the %s data ends in the middle, after %llu bytes that unpacked to %llu: the file was cut "
        "short; copy or make it again",
        s->path, what, (unsigned long long)s->consumed, (unsigned long long)s->produced);
}

static mu_status_t damaged(const mu_stream_t *s, const char *what, const char *why)
{
    return mu_fail(MU_DATA, "%s: damaged %s data near byte %llu: %s", s->path, what,
                   (unsigned long long)mu_stream_consumed(s), why);
}

/* Between two members: at the end, in the zeros that tapes pad with, or at the next member? */
static mu_status_t gzip_between(mu_stream_t *s)
{
    MU_TRY(fill_head(s));
    if (is_gzip(s)) {
        s->inside = true;
        return inflateReset(&s->gzip) == Z_OK ? MU_OK : mu_fail(MU_BUG, "%s: inflateReset", s->path);
    }
    for (;;) {
        while (s->at < s->end && s->block[s->at] == 0)
            s->at++;
        if (s->at < s->end)
            return damaged(s, "gzip", "something that is not gzip follows a complete member");
        if (s->eof)
            break;
        MU_TRY(fill(s));
    }
    s->finished = true;
    return MU_OK;
}

static mu_status_t gzip_step(mu_stream_t *s, void *out, size_t n, size_t *got)
{
    if (s->at == s->end && !s->eof)
        MU_TRY(fill(s));
    bool dry = s->at == s->end; /* what is owed from earlier input may still come */
    s->gzip.next_in = s->block + s->at;
    s->gzip.avail_in = (uInt)(s->end - s->at);
    s->gzip.next_out = out;
    s->gzip.avail_out = (uInt)n;
    int rc = inflate(&s->gzip, Z_NO_FLUSH);
    s->at = s->end - s->gzip.avail_in;
    *got = n - s->gzip.avail_out;
    if (rc == Z_STREAM_END)
        s->inside = false;
    else if (rc == Z_MEM_ERROR)
        return mu_fail(MU_NOMEM, "%s: no memory to decompress it", s->path);
    else if (rc != Z_OK && rc != Z_BUF_ERROR)
        return damaged(s, "gzip", s->gzip.msg ? s->gzip.msg : "not a gzip stream");
    else if (dry && *got == 0)
        return cut_short(s, "gzip");
    return MU_OK;
}

static mu_status_t zstd_between(mu_stream_t *s)
{
    MU_TRY(fill_head(s));
    if (s->at == s->end)
        s->finished = true;
    else if (!is_zstd(s))
        return damaged(s, "zstd", "something that is not zstd follows a complete frame");
    else
        s->inside = true;
    return MU_OK;
}

static mu_status_t zstd_step(mu_stream_t *s, void *out, size_t n, size_t *got)
{
    if (s->at == s->end && !s->eof)
        MU_TRY(fill(s));
    bool dry = s->at == s->end;
    ZSTD_inBuffer in = {s->block + s->at, s->end - s->at, 0};
    ZSTD_outBuffer to = {out, n, 0};
    size_t rc = ZSTD_decompressStream(s->zstd, &to, &in);
    s->at += in.pos;
    *got = to.pos;
    if (ZSTD_isError(rc) && ZSTD_getErrorCode(rc) == ZSTD_error_frameParameter_windowTooLarge)
        return mu_fail(
            MU_DATA,
            "%s: its zstd window is larger than 128 MiB, more memory than a reader should be made to give; "
            "compress it again without --long above 27",
            s->path);
    if (ZSTD_isError(rc))
        return damaged(s, "zstd", ZSTD_getErrorName(rc));
    if (rc == 0)
        s->inside = false;
    else if (dry && to.pos == 0)
        return cut_short(s, "zstd");
    return MU_OK;
}

static mu_status_t plain_step(mu_stream_t *s, void *out, size_t n, size_t *got)
{
    if (s->at == s->end && !s->eof)
        MU_TRY(fill(s));
    *got = s->end - s->at < n ? s->end - s->at : n;
    memcpy(out, s->block + s->at, *got);
    s->at += *got;
    s->finished = *got == 0;
    return MU_OK;
}

mu_status_t mu_stream_read(mu_stream_t *s, void *out, size_t n, size_t *got)
{
    size_t m = 0;
    n = n < (size_t)1 << 30 ? n : (size_t)1 << 30; /* zlib counts in 32 bits */
    while (m == 0 && !s->finished && n > 0) {
        if (s->packing == PLAIN)
            MU_TRY(plain_step(s, out, n, &m));
        else if (!s->inside)
            MU_TRY(s->packing == GZIP ? gzip_between(s) : zstd_between(s));
        else
            MU_TRY(s->packing == GZIP ? gzip_step(s, out, n, &m) : zstd_step(s, out, n, &m));
    }
    s->produced += m;
    if (s->packing != PLAIN && s->produced > FREE_OUTPUT && s->produced / RATIO_MAX > mu_stream_consumed(s))
        return mu_fail(MU_DATA,
                       "%s: %llu bytes unpack to more than %d times as many: a decompression bomb, not text",
                       s->path, (unsigned long long)mu_stream_consumed(s), RATIO_MAX);
    *got = m;
    return MU_OK;
}
