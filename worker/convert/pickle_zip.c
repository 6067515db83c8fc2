#include "worker/convert/pickle_zip.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"
#include "common/num.h"

#include <errno.h>
#include <zlib.h>

enum {
    END_SIZE = 22, /* end of central directory, without its comment */
    COMMENT_MAX = 65535,
    LOCATOR_SIZE = 20, /* of the ZIP64 end */
    END64_SIZE = 56,
    CENTRAL_SIZE = 46, /* of an entry, without name, extra and comment */
    LOCAL_SIZE = 30,
    DIRECTORY_MAX = 64 << 20,
    ENTRIES_MAX = 1 << 20
};

typedef struct directory {
    uint64_t at, size, entries;
} directory_t;

static uint64_t number(const unsigned char *p, int bytes)
{
    uint64_t n = 0;
    for (int i = bytes - 1; i >= 0; i--)
        n = n << 8 | p[i];
    return n;
}

static bool is_mark(const unsigned char *p, const char *mark)
{
    return memcmp(p, mark, 4) == 0;
}

static mu_status_t get(const mu_foreign_file_t *file, uint64_t at, void *out, size_t n)
{
    if (n > file->size || at > file->size - n)
        return mu_fail(MU_DATA, "%s: ends before byte %llu, which its index names: it is cut", file->path,
                       (unsigned long long)at + n);
    if (!mu_pread_all(file->fd, out, n, (off_t)at))
        return mu_fail(errno == EPROTO ? MU_DATA : MU_IO, "%s: cannot read: %s", file->path, strerror(errno));
    return MU_OK;
}

/* Where the end of the central directory begins: the last place with its mark whose comment fits. */
static mu_status_t find_end(const mu_foreign_file_t *file, uint64_t *at, unsigned char end[END_SIZE])
{
    uint64_t n = file->size < END_SIZE + COMMENT_MAX ? file->size : END_SIZE + COMMENT_MAX;
    unsigned char *tail = mu_alloc(n + 1);
    mu_status_t status = get(file, file->size - n, tail, n);
    uint64_t i = n;
    bool found = false;
    while (status == MU_OK && !found && i >= END_SIZE) {
        found = is_mark(tail + i - END_SIZE, "PK\5\6") && number(tail + i - 2, 2) == n - i;
        i -= found ? 0 : 1;
    }
    if (status == MU_OK && !found)
        status = mu_fail(
            MU_DATA, "%s: is no ZIP file as torch.save() has written them since PyTorch 1.6, or it is cut",
            file->path);
    if (status == MU_OK) {
        memcpy(end, tail + i - END_SIZE, END_SIZE);
        *at = file->size - n + i - END_SIZE;
    }
    free(tail);
    return status;
}

static mu_status_t find_directory(const mu_foreign_file_t *file, directory_t *out)
{
    unsigned char end[END_SIZE], locator[LOCATOR_SIZE], end64[END64_SIZE];
    uint64_t at = 0;
    MU_TRY(find_end(file, &at, end));
    *out =
        (directory_t){.entries = number(end + 10, 2), .size = number(end + 12, 4), .at = number(end + 16, 4)};
    if (at >= LOCATOR_SIZE) {
        MU_TRY(get(file, at - LOCATOR_SIZE, locator, LOCATOR_SIZE));
        if (is_mark(locator, "PK\6\7")) {
            MU_TRY(get(file, number(locator + 8, 8), end64, END64_SIZE));
            if (!is_mark(end64, "PK\6\6"))
                return mu_fail(MU_DATA, "%s: its ZIP64 end is not where it says", file->path);
            *out = (directory_t){
                .entries = number(end64 + 32, 8), .size = number(end64 + 40, 8), .at = number(end64 + 48, 8)};
        }
    }
    if (out->size > DIRECTORY_MAX || out->entries > ENTRIES_MAX || out->size / CENTRAL_SIZE < out->entries)
        return mu_fail(MU_DATA, "%s: a directory of %llu entries in %llu bytes", file->path,
                       (unsigned long long)out->entries, (unsigned long long)out->size);
    return MU_OK;
}

/* Takes sizes and offset from the ZIP64 extra field where the plain ones are all ones. */
static bool widen(const unsigned char *extra, size_t n, uint64_t value[3])
{
    static const uint64_t full = 0xffffffff;
    bool needed = value[0] == full || value[1] == full || value[2] == full;
    while (n >= 4) {
        size_t id = (size_t)number(extra, 2), size = (size_t)number(extra + 2, 2);
        if (size > n - 4)
            return !needed;
        const unsigned char *p = extra + 4, *end = p + size;
        for (int i = 0; id == 1 && i < 3; i++) {
            if (value[i] != full)
                continue;
            if (end - p < 8)
                return false;
            value[i] = number(p, 8);
            p += 8;
        }
        if (id == 1)
            return true;
        extra += 4 + size;
        n -= 4 + size;
    }
    return !needed;
}

/* `value`: content size, size in the file, offset of the local header. */
static mu_status_t add_entry(const mu_foreign_file_t *file, const unsigned char *p, char *name,
                             const uint64_t value[3], mu_zip_t *zip)
{
    unsigned char local[LOCAL_SIZE];
    mu_zip_entry_t *e = &zip->entries[zip->count++];
    uint64_t end = 0;
    *e = (mu_zip_entry_t){.name = name, .size = value[0], .crc = (uint32_t)number(p + 16, 4)};
    if (number(p + 10, 2) != 0 || number(p + 8, 2) & 1 || value[0] != value[1])
        return mu_fail(MU_DATA, "%s: '%s' is compressed or encrypted: torch.save() stores", file->path, name);
    MU_TRY(get(file, value[2], local, LOCAL_SIZE));
    if (!is_mark(local, "PK\3\4"))
        return mu_fail(MU_DATA, "%s: '%s' is not where the directory says", file->path, name);
    e->at = value[2] + LOCAL_SIZE + number(local + 26, 2) + number(local + 28, 2);
    if (!mu_add_u64(e->at, e->size, &end) || end > file->size)
        return mu_fail(MU_DATA, "%s: '%s' of %llu bytes does not fit into the file", file->path, name,
                       (unsigned long long)e->size);
    return MU_OK;
}

static mu_status_t read_entries(const mu_foreign_file_t *file, const directory_t *d,
                                const unsigned char *bytes, mu_zip_t *zip)
{
    const unsigned char *p = bytes, *end = bytes + d->size;
    uint64_t left = file->size; /* entries that share bytes would make days of work of a small file */
    for (uint64_t i = 0; i < d->entries; i++) {
        if (end - p < CENTRAL_SIZE || !is_mark(p, "PK\1\2"))
            return mu_fail(MU_DATA, "%s: entry %llu of the directory is damaged", file->path,
                           (unsigned long long)i);
        size_t name = (size_t)number(p + 28, 2), extra = (size_t)number(p + 30, 2),
               comment = (size_t)number(p + 32, 2);
        uint64_t value[3] = {number(p + 24, 4), number(p + 20, 4), number(p + 42, 4)};
        if ((size_t)(end - p) - CENTRAL_SIZE < name + extra + comment ||
            !widen(p + CENTRAL_SIZE + name, extra, value) || memchr(p + CENTRAL_SIZE, '\0', name))
            return mu_fail(MU_DATA, "%s: entry %llu of the directory is damaged", file->path,
                           (unsigned long long)i);
        MU_TRY(add_entry(file, p, mu_format("%.*s", (int)name, (const char *)p + CENTRAL_SIZE), value, zip));
        if (zip->entries[i].size > left)
            return mu_fail(MU_DATA, "%s: its entries overlap", file->path);
        left -= zip->entries[i].size;
        p += CENTRAL_SIZE + name + extra + comment;
    }
    return MU_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const mu_zip_entry_t *)a)->name, ((const mu_zip_entry_t *)b)->name);
}

static mu_status_t sort(const mu_foreign_file_t *file, mu_zip_t *zip)
{
    if (zip->count > 0)
        qsort(zip->entries, (size_t)zip->count, sizeof *zip->entries, by_name);
    for (int i = 1; i < zip->count; i++)
        if (strcmp(zip->entries[i - 1].name, zip->entries[i].name) == 0)
            return mu_fail(MU_DATA, "%s: '%s' is there twice", file->path, zip->entries[i].name);
    return MU_OK;
}

mu_status_t mu_zip_open(const mu_foreign_file_t *file, mu_zip_t *out)
{
    directory_t d = {0};
    mu_zip_t zip = {NULL, 0};
    MU_TRY(find_directory(file, &d));
    unsigned char *bytes = mu_alloc(d.size + 1);
    mu_status_t status = get(file, d.at, bytes, d.size);
    zip.entries = mu_calloc(d.entries + 1, sizeof *zip.entries);
    if (status == MU_OK)
        status = read_entries(file, &d, bytes, &zip);
    if (status == MU_OK)
        status = sort(file, &zip);
    free(bytes);
    if (status == MU_OK)
        *out = zip;
    else
        mu_zip_release(&zip);
    return status;
}

const mu_zip_entry_t *mu_zip_find(const mu_zip_t *zip, const char *name)
{
    mu_zip_entry_t key = {.name = (char *)(uintptr_t)name};
    return zip->count == 0 ? NULL
                           : bsearch(&key, zip->entries, (size_t)zip->count, sizeof *zip->entries, by_name);
}

mu_status_t mu_zip_check(const mu_foreign_file_t *file, const mu_zip_entry_t *entry)
{
    enum { CHUNK = 1 << 20 };
    unsigned char *bytes = mu_alloc(CHUNK);
    uLong crc = crc32(0, NULL, 0);
    mu_status_t status = MU_OK;
    for (uint64_t done = 0; status == MU_OK && done < entry->size;) {
        size_t n = (size_t)mu_min_i64(CHUNK, (int64_t)(entry->size - done));
        status = get(file, entry->at + done, bytes, n);
        if (status == MU_OK)
            crc = crc32(crc, bytes, (uInt)n);
        done += n;
    }
    free(bytes);
    if (status == MU_OK && crc != entry->crc)
        status = mu_fail(MU_DATA, "%s: '%s' is damaged: its CRC is %08lx, %08lx was written", file->path,
                         entry->name, crc, (unsigned long)entry->crc);
    return status;
}

void mu_zip_release(mu_zip_t *zip)
{
    for (int i = 0; i < zip->count; i++)
        free(zip->entries[i].name);
    free(zip->entries);
    *zip = (mu_zip_t){NULL, 0};
}
