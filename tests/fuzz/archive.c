/*
 * Any bytes as a tar or zip archive, from a file, which can seek, and from a pipe, which cannot. A block that says it
 * is a tar header gets its right sum first, as someone who means harm would write it.
 */
#include "dataset/prepare/reader.h"
#include "dataset/tokenizer/utf8.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>

enum { TAR_BLOCK = 512 };

static void sign(uint8_t *block)
{
    unsigned sum = 0;
    char digits[8];
    memset(block + 148, ' ', 8);
    for (int i = 0; i < TAR_BLOCK; i++)
        sum += block[i];
    snprintf(digits, sizeof digits, "%06o", sum);
    memcpy(block + 148, digits, 7);
}

typedef struct bytes {
    const uint8_t *at;
    size_t left;
} bytes_t;

static mu_status_t take(void *arg, void *out, size_t n, size_t *got)
{
    bytes_t *b = arg;
    *got = n < b->left ? n : b->left;
    if (*got > 100)
        *got = 100; /* a pipe gives what it has */
    if (*got > 0)
        memcpy(out, b->at, *got);
    b->at += *got;
    b->left -= *got;
    return MU_OK;
}

static void as_pipe(const uint8_t *bytes, size_t n)
{
    bytes_t source = {bytes, n};
    mu_stream_t *stream = NULL;
    mu_archive_t *archive = NULL;
    mu_archive_counts_t counts = {0};
    const char *head, *name;
    size_t have;
    fuzz_begin();
    if (!fuzz_ok(mu_stream_open_over("pipe", (mu_bytes_t){take, &source}, &stream), MU_DATA, MU_DATA))
        return;
    bool good = fuzz_ok(mu_stream_peek(stream, &head, &have), MU_DATA, MU_DATA);
    mu_archive_kind_t kind = good ? mu_archive_kind(head, have) : MU_ARCHIVE_NONE;
    good = kind != MU_ARCHIVE_NONE &&
           fuzz_ok(mu_archive_open(stream, "pipe", kind, &counts, &archive), MU_DATA, MU_DATA);
    while (good && fuzz_ok(mu_archive_next(archive, &name), MU_DATA, MU_DATA) && name) {
        char block[4096];
        size_t got = 1, total = 0;
        FUZZ_CHECK(strncmp(name, "pipe: ", 6) == 0);
        while (good && got > 0 && total < 1 << 20) {
            good = fuzz_ok(mu_archive_read(archive, block, sizeof block, &got), MU_DATA, MU_DATA);
            total += got;
        }
        fuzz_begin();
    }
    mu_archive_close(archive);
    mu_stream_close(stream);
}

static void as_file(const uint8_t *bytes, size_t n, uint8_t how)
{
    mu_reader_options_t options = MU_READER_DEFAULTS;
    mu_reader_t *reader = NULL;
    mu_doc_t doc;
    options.boundary = (mu_boundary_t)(how % 4);
    options.max_record = 1 << 16;
    options.skip_bad = 3;
    char *path = fuzz_file("input", bytes, n);
    fuzz_begin();
    FUZZ_CHECK(mu_reader_open(&path, 1, &options, &reader) == MU_OK);
    while (fuzz_ok(mu_reader_next(reader, &doc), MU_DATA, MU_DATA) && doc.text) {
        FUZZ_CHECK(doc.bytes > 0 && mu_utf8_valid(doc.text, doc.bytes) == doc.bytes);
        fuzz_begin();
    }
    const mu_archive_counts_t *counts = &mu_reader_counts(reader)->archive;
    FUZZ_CHECK(counts->members >= 0 && counts->links >= 0 && counts->outside >= 0);
    mu_reader_close(reader);
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t how = fuzz_byte(&data, &n);
    uint8_t *bytes = mu_alloc(n + 1);
    if (n > 0)
        memcpy(bytes, data, n);
    for (size_t at = 0; at + TAR_BLOCK <= n && !(how & 128); at += TAR_BLOCK) {
        if (memcmp(bytes + at + 257, "ustar", 5) == 0)
            sign(bytes + at);
    }
    as_file(bytes, n, how);
    as_pipe(bytes, n);
    free(bytes);
    return 0;
}
