#include "dataset/prepare/stream.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"

#include <archive.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { BLOCK = 256 << 10, WINDOW_LOG_MAX = 27, RATIO_MAX = MU_STREAM_RATIO_MAX };
static const uint64_t FREE_OUTPUT = MU_STREAM_FREE_OUTPUT;

/* OTHER: what libarchive unpacks. */
typedef enum mu_packing { PLAIN, GZIP, ZSTD, OTHER } mu_packing_t;

struct mu_stream {
    char *path;
    int fd; /* -1: `source` gives the bytes */
    mu_bytes_t source;
    mu_packing_t packing;
    const char *what;     /* OTHER: the name of the compression */
    unsigned char *block; /* what was read and not yet taken: [at, end) */
    size_t at, end;
    bool eof;      /* of the file */
    bool inside;   /* a gzip member or zstd frame has begun and not ended */
    bool finished; /* nothing follows */
    uint64_t consumed, produced;
    mu_digest_t *digest; /* of what was read; NULL: nobody wants it */
    bool seeked;         /* then it is no digest of the file */
    z_stream gzip;
    ZSTD_DCtx *zstd;
    struct archive *other;
    mu_status_t failed;        /* of a read inside libarchive, logged */
    char head[MU_STREAM_HEAD]; /* peeked at and not yet taken: [head_at, head_end) */
    size_t head_at, head_end;
};

static mu_status_t read_some(mu_stream_t *s, void *out, size_t n, size_t *got)
{
    ssize_t m;
    if (s->fd < 0)
        return s->source.read(s->source.arg, out, n, got);
    do
        m = read(s->fd, out, n);
    while (m < 0 && errno == EINTR);
    if (m < 0)
        return mu_fail(mu_open_status(errno), "%s: cannot read: %s", s->path, strerror(errno));
    *got = (size_t)m;
    return MU_OK;
}

/* Reads on after what is left in the block. */
static mu_status_t fill(mu_stream_t *s)
{
    if (s->at > 0) {
        memmove(s->block, s->block + s->at, s->end - s->at);
        s->end -= s->at;
        s->at = 0;
    }
    while (!s->eof && s->end < BLOCK) {
        size_t n = 0;
        MU_TRY(read_some(s, s->block + s->end, BLOCK - s->end, &n));
        if (s->digest && n > 0)
            mu_digest_add(s->digest, s->block + s->end, n);
        s->eof = n == 0;
        s->end += n;
        s->consumed += n;
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

/* A compression that libarchive unpacks, by its first bytes; 0: none. */
static int other_filter(const mu_stream_t *s, const char **what)
{
    static const struct {
        const char *magic;
        size_t n;
        int filter;
        const char *what;
    } known[] = {
        {"\xFD\x37zXZ\0", 6, ARCHIVE_FILTER_XZ, "xz"},
        {"\x04\x22\x4D\x18", 4, ARCHIVE_FILTER_LZ4, "lz4"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        *what = known[i].what;
        if (begins(s, known[i].magic, known[i].n))
            return known[i].filter;
    }
    *what = "bzip2";
    return begins(s, "BZh", 3) && s->end - s->at >= 10 && memcmp(s->block + s->at + 4, "1AY&SY", 6) == 0
               ? ARCHIVE_FILTER_BZIP2
               : 0;
}

/* libarchive takes what is in the block, which stays as it is until the next call. */
static la_ssize_t give_block(struct archive *a, void *arg, const void **out)
{
    mu_stream_t *s = arg;
    if (s->at == s->end && !s->eof)
        s->failed = fill(s);
    if (s->failed != MU_OK) {
        archive_set_error(a, EIO, "see above");
        return -1;
    }
    size_t n = s->end - s->at;
    *out = s->block + s->at;
    s->at = s->end;
    return (la_ssize_t)n;
}

static mu_status_t other_failed(const mu_stream_t *s)
{
    if (s->failed != MU_OK)
        return s->failed;
    const char *why = archive_error_string(s->other);
    if (s->eof && s->at == s->end)
        return cut_short(s, s->what);
    return damaged(s, s->what, why ? why : "it cannot be unpacked");
}

static mu_status_t open_other(mu_stream_t *s, int filter)
{
    struct archive_entry *entry;
    s->other = archive_read_new();
    if (!s->other)
        return mu_fail(MU_NOMEM, "%s: no memory to decompress it", s->path);
    if (archive_read_append_filter(s->other, filter) != ARCHIVE_OK)
        return mu_fail(MU_DATA, "%s: is %s data, and this system's libarchive cannot unpack it: %s", s->path,
                       s->what, archive_error_string(s->other));
    archive_read_support_format_raw(s->other);
    archive_read_support_format_empty(s->other);
    if (archive_read_open(s->other, s, NULL, give_block, NULL) != ARCHIVE_OK)
        return other_failed(s);
    int rc = archive_read_next_header(s->other, &entry);
    s->finished = rc == ARCHIVE_EOF;
    return rc == ARCHIVE_OK || rc == ARCHIVE_EOF ? MU_OK : other_failed(s);
}

static mu_status_t begin(mu_stream_t *s)
{
    MU_TRY(fill_head(s));
    int filter = other_filter(s, &s->what);
    s->packing = is_gzip(s) ? GZIP : is_zstd(s) ? ZSTD : filter != 0 ? OTHER : PLAIN;
    if (s->packing == OTHER)
        return open_other(s, filter);
    bool ready = true;
    if (s->packing == GZIP) {
        ready = inflateInit2(&s->gzip, 15 + 16) == Z_OK; /* 16: a gzip header, and nothing else */
    } else if (s->packing == ZSTD) {
        s->zstd = ZSTD_createDCtx();
        ready =
            s->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX));
    }
    return ready ? MU_OK : mu_fail(MU_NOMEM, "%s: no memory to decompress it", s->path);
}

static mu_status_t open_with(mu_stream_t *s, mu_stream_t **out)
{
    s->block = mu_alloc(BLOCK);
    mu_status_t status = begin(s);
    if (status == MU_OK)
        *out = s;
    else
        mu_stream_close(s);
    return status;
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
    s->digest = mu_digest_new();
    return open_with(s, out);
}

mu_status_t mu_stream_open_over(const char *name, mu_bytes_t source, mu_stream_t **out)
{
    mu_stream_t *s = mu_calloc(1, sizeof *s);
    s->fd = -1;
    s->source = source;
    s->path = mu_strdup(name);
    return open_with(s, out);
}

void mu_stream_close(mu_stream_t *s)
{
    if (!s)
        return;
    if (s->packing == GZIP)
        inflateEnd(&s->gzip);
    ZSTD_freeDCtx(s->zstd);
    if (s->other)
        archive_read_free(s->other);
    if (s->fd > STDIN_FILENO)
        close(s->fd);
    mu_digest_free(s->digest);
    free(s->block);
    free(s->path);
    free(s);
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

static mu_status_t other_step(mu_stream_t *s, void *out, size_t n, size_t *got)
{
    la_ssize_t m = archive_read_data(s->other, out, n);
    if (m < 0)
        return other_failed(s);
    *got = (size_t)m;
    s->finished = m == 0;
    return MU_OK;
}

static mu_status_t step(mu_stream_t *s, void *out, size_t n, size_t *got)
{
    *got = 0;
    if (s->packing == PLAIN)
        return plain_step(s, out, n, got);
    if (s->packing == OTHER)
        return other_step(s, out, n, got);
    if (!s->inside)
        return s->packing == GZIP ? gzip_between(s) : zstd_between(s);
    return s->packing == GZIP ? gzip_step(s, out, n, got) : zstd_step(s, out, n, got);
}

/* Past the head. */
static mu_status_t read_on(mu_stream_t *s, void *out, size_t n, size_t *got)
{
    size_t m = 0;
    n = n < (size_t)1 << 30 ? n : (size_t)1 << 30; /* zlib counts in 32 bits */
    while (m == 0 && !s->finished && n > 0)
        MU_TRY(step(s, out, n, &m));
    s->produced += m;
    if (s->packing != PLAIN && s->produced > FREE_OUTPUT && s->produced / RATIO_MAX > mu_stream_consumed(s))
        return mu_fail(MU_DATA,
                       "%s: %llu bytes unpack to more than %d times as many: a decompression bomb, not text",
                       s->path, (unsigned long long)mu_stream_consumed(s), RATIO_MAX);
    *got = m;
    return MU_OK;
}

mu_status_t mu_stream_read(mu_stream_t *s, void *out, size_t n, size_t *got)
{
    size_t left = s->head_end - s->head_at;
    if (left == 0)
        return read_on(s, out, n, got);
    *got = n < left ? n : left;
    memcpy(out, s->head + s->head_at, *got);
    s->head_at += *got;
    return MU_OK;
}

mu_status_t mu_stream_peek(mu_stream_t *s, const char **bytes, size_t *n)
{
    while (s->head_end < MU_STREAM_HEAD) {
        size_t m;
        MU_TRY(read_on(s, s->head + s->head_end, MU_STREAM_HEAD - s->head_end, &m));
        s->head_end += m;
        if (m == 0)
            break;
    }
    *bytes = s->head + s->head_at;
    *n = s->head_end - s->head_at;
    return MU_OK;
}

bool mu_stream_seekable(const mu_stream_t *s)
{
    struct stat st;
    return s->packing == PLAIN && s->fd > STDIN_FILENO && fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode);
}

int64_t mu_stream_seek(mu_stream_t *s, int64_t offset, int whence)
{
    off_t at = whence == SEEK_CUR ? (off_t)(s->produced - (s->head_end - s->head_at)) : 0;
    at = lseek(s->fd, at + offset, whence == SEEK_END ? SEEK_END : SEEK_SET);
    if (at < 0)
        return -1;
    s->at = s->end = s->head_at = s->head_end = 0;
    s->eof = s->finished = false;
    s->seeked = true;
    s->produced = s->consumed = (uint64_t)at;
    return at;
}

mu_status_t mu_stream_digest(mu_stream_t *s, char digest[MU_DIGEST_HEX], uint64_t *bytes)
{
    if (s->seeked) { /* by reading it again, from the start */
        s->seeked = false;
        mu_digest_free(s->digest);
        s->digest = mu_digest_new();
        if (mu_stream_seek(s, 0, SEEK_SET) < 0)
            return mu_fail(MU_IO, "%s: cannot seek: %s", s->path, strerror(errno));
        s->seeked = false;
    }
    while (!s->eof) {
        s->at = s->end; /* nobody wants the bytes themselves */
        MU_TRY(fill(s));
    }
    *bytes = s->consumed;
    mu_digest_hex(s->digest, digest);
    return MU_OK;
}
