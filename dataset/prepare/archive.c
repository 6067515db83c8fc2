#include "dataset/prepare/archive.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/ready_text.h"
#include "dataset/prepare/inputs.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <string.h>

enum { BLOCK = 64 << 10, TAR_BLOCK = 512, NAME_SHOWN = 300, LEFT_OUT_SHOWN = 20 };

struct mu_archive {
    mu_stream_t *stream;
    const char *path;
    mu_archive_kind_t kind;
    mu_archive_counts_t *counts;
    struct archive *reader;
    locale_t
        utf8; /* libarchive turns names into the thread's locale, and loses those that it does not have */
    mu_buf_t name;        /* of the current member, for messages */
    char *block;          /* what libarchive was given last */
    char tail[TAR_BLOCK]; /* the last bytes of the stream that were given */
    size_t tail_n;
    bool at_end;        /* the stream has no more */
    mu_status_t failed; /* of the stream, logged */
    uint64_t produced;  /* bytes of all members */
};

/* ---- what it is ---- */

/* A tar header holds the sum of its bytes, its own place counted as spaces. */
static bool is_tar_header(const unsigned char *h)
{
    int64_t sum = 0, wanted = 0;
    int digits = 0;
    for (int i = 0; i < TAR_BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : h[i];
    for (int i = 148; i < 156; i++) {
        if (h[i] >= '0' && h[i] <= '7') {
            wanted = wanted * 8 + (h[i] - '0');
            digits++;
        } else if (digits > 0) {
            break;
        }
    }
    return digits > 0 && sum == wanted;
}

static bool all_zero(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

mu_archive_kind_t mu_archive_kind(const char *head, size_t n)
{
    if (n >= 4 && (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0))
        return MU_ARCHIVE_ZIP;
    if (n >= TAR_BLOCK && (memcmp(head + 257, "ustar", 5) == 0 || is_tar_header((const unsigned char *)head)))
        return MU_ARCHIVE_TAR;
    return MU_ARCHIVE_NONE;
}

/* ---- between the stream and libarchive ---- */

static void keep_tail(mu_archive_t *a, const char *bytes, size_t n)
{
    size_t m = n < TAR_BLOCK ? n : TAR_BLOCK, kept = a->tail_n + m <= TAR_BLOCK ? a->tail_n : TAR_BLOCK - m;
    memmove(a->tail, a->tail + a->tail_n - kept, kept);
    memcpy(a->tail + kept, bytes + n - m, m);
    a->tail_n = kept + m;
}

static la_ssize_t give_block(struct archive *reader, void *arg, const void **out)
{
    mu_archive_t *a = arg;
    size_t n = 0;
    a->failed = mu_stream_read(a->stream, a->block, BLOCK, &n);
    if (a->failed != MU_OK) {
        archive_set_error(reader, EIO, "see above");
        return -1;
    }
    *out = a->block;
    a->at_end = n == 0;
    keep_tail(a, a->block, n);
    return (la_ssize_t)n;
}

static la_int64_t seek_to(struct archive *reader, void *arg, la_int64_t offset, int whence)
{
    mu_archive_t *a = arg;
    (void)reader;
    a->tail_n = 0;
    int64_t at = mu_stream_seek(a->stream, offset, whence);
    return at < 0 ? ARCHIVE_FATAL : at;
}

static const char *subject(const mu_archive_t *a)
{
    return a->name.len > 0 ? a->name.data : a->path;
}

static const char *kind_name(const mu_archive_t *a)
{
    return a->kind == MU_ARCHIVE_ZIP ? "zip" : "tar";
}

static mu_status_t damaged(const mu_archive_t *a)
{
    const char *why = archive_error_string(a->reader);
    if (a->failed != MU_OK)
        return a->failed;
    return mu_fail(MU_DATA, "%s: damaged %s archive: %s", subject(a), kind_name(a),
                   why ? why : "it cannot be read");
}

mu_status_t mu_archive_open(mu_stream_t *stream, const char *path, mu_archive_kind_t kind,
                            mu_archive_counts_t *counts, mu_archive_t **out)
{
    mu_archive_t *a = mu_calloc(1, sizeof *a);
    *a = (mu_archive_t){.stream = stream, .path = path, .kind = kind, .counts = counts};
    a->block = mu_alloc(BLOCK);
    a->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    a->reader = archive_read_new();
    if (!a->reader) {
        mu_archive_close(a);
        return mu_fail(MU_NOMEM, "%s: no memory to read the archive", path);
    }
    if (kind == MU_ARCHIVE_ZIP) {
        archive_read_support_format_zip(a->reader);
        if (mu_stream_seekable(stream))
            archive_read_set_seek_callback(a->reader, seek_to);
    } else {
        archive_read_support_format_tar(a->reader);
        archive_read_set_option(a->reader, "tar", "read_concatenated_archives", "1");
    }
    archive_read_set_callback_data(a->reader, a);
    archive_read_set_read_callback(a->reader, give_block);
    if (archive_read_open1(a->reader) != ARCHIVE_OK) {
        mu_status_t status = damaged(a);
        mu_archive_close(a);
        return status;
    }
    *out = a;
    return MU_OK;
}

void mu_archive_close(mu_archive_t *a)
{
    if (!a)
        return;
    if (a->reader)
        archive_read_free(a->reader);
    if (a->utf8)
        freelocale(a->utf8);
    mu_buf_release(&a->name);
    free(a->block);
    free(a);
}

/* ---- members ---- */

/* The name as the archive has it: bytes, or UTF-8 where the format says so. */
static const char *raw_name(struct archive_entry *entry)
{
    const char *name = archive_entry_pathname(entry);
    if (!name)
        name = archive_entry_pathname_utf8(entry);
    return name ? name : "";
}

/* A long one is shown by its end, which says what the member is. Control characters become '?': those below 32, DEL,
 * and U+0080 to U+009F, which some terminals obey as well. */
static void set_name(mu_archive_t *a, const char *name)
{
    size_t n = strlen(name), cut = n > NAME_SHOWN ? n - NAME_SHOWN : 0;
    while (cut > 0 && ((unsigned char)name[cut] & 0xC0) == 0x80) /* not within a character */
        cut++;
    mu_buf_clear(&a->name);
    mu_buf_addf(&a->name, "%s: %s", a->path, cut > 0 ? "..." : "");
    for (const unsigned char *p = (const unsigned char *)name + cut; *p; p++) {
        bool c1 = *p == 0xC2 && p[1] >= 0x80 && p[1] <= 0x9F;
        mu_buf_addc(&a->name, c1 || *p < 0x20 || *p == 0x7F ? '?' : (char)*p);
        p += c1;
    }
}

static bool leads_outside(const char *name)
{
    while (*name) {
        size_t part = strcspn(name, "/");
        if (part == 2 && memcmp(name, "..", 2) == 0)
            return true;
        name += part + (name[part] == '/');
    }
    return false;
}

/* Whether the member is data; if not, it is counted. */
static bool is_wanted(mu_archive_t *a, struct archive_entry *entry)
{
    const char *name = raw_name(entry);
    mode_t type = archive_entry_filetype(entry);
    size_t n = strlen(name);
    if (archive_entry_hardlink(entry) || type == AE_IFLNK) {
        a->counts->links++;
    } else if (type == AE_IFDIR || (type == 0 && n > 0 && name[n - 1] == '/')) {
        return false;
    } else if (type != AE_IFREG && type != 0) {
        a->counts->devices++;
    } else if (leads_outside(name)) {
        a->counts->outside++;
    } else if (!mu_inputs_is_data(name)) {
        if (a->counts->left_out++ < LEFT_OUT_SHOWN)
            mu_info("%s: left out: by its name it is not data", a->name.data);
    } else {
        return true;
    }
    return false;
}

/* After the last member: what follows it in the stream is read too, so that its checksums count. */
static mu_status_t finish(mu_archive_t *a)
{
    mu_buf_clear(&a->name);
    if (a->kind == MU_ARCHIVE_TAR && a->at_end && !(a->tail_n == TAR_BLOCK && all_zero(a->tail, TAR_BLOCK)))
        mu_warn("%s: the tar archive has no end mark; if it was cut short there, members are missing",
                a->path);
    for (size_t n = 1; n > 0 && !a->at_end && !mu_stream_seekable(a->stream);)
        MU_TRY(mu_stream_read(a->stream, a->block, BLOCK, &n));
    return MU_OK;
}

static mu_status_t next_member(mu_archive_t *a, const char **name)
{
    struct archive_entry *entry;
    for (;;) {
        int rc = archive_read_next_header(a->reader, &entry);
        if (rc == ARCHIVE_EOF)
            return finish(a);
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) /* a warning: a name or a time that cannot be kept */
            return damaged(a);
        set_name(a, raw_name(entry));
        if (!is_wanted(a, entry))
            continue;
        if (archive_entry_is_data_encrypted(entry))
            return mu_fail(MU_DATA, "%s: is encrypted: unpack it with its password first", a->name.data);
        a->counts->members++;
        *name = a->name.data;
        return MU_OK;
    }
}

mu_status_t mu_archive_next(mu_archive_t *a, const char **name)
{
    locale_t before = a->utf8 ? uselocale(a->utf8) : (locale_t)0;
    *name = NULL;
    mu_status_t status = next_member(a, name);
    if (a->utf8)
        uselocale(before);
    return status;
}

mu_status_t mu_archive_read(void *arg, void *out, size_t n, size_t *got)
{
    mu_archive_t *a = arg;
    la_ssize_t m = archive_read_data(a->reader, out, n);
    if (m < 0)
        return damaged(a);
    *got = (size_t)m;
    a->produced += *got;
    if (a->produced > MU_STREAM_FREE_OUTPUT &&
        a->produced / MU_STREAM_RATIO_MAX > mu_stream_consumed(a->stream))
        return mu_fail(
            MU_DATA, "%s: the archive unpacks to more than %d times its size: a decompression bomb, not text",
            a->name.data, MU_STREAM_RATIO_MAX);
    return MU_OK;
}
