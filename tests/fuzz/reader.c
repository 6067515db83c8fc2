/* Any file as text or JSON lines, compressed or not. The first byte chooses how it is read. */
#include "dataset/prepare/reader.h"
#include "dataset/tokenizer/utf8.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const size_t most[4] = {64, 4096, 1 << 20, 64 << 20};
    mu_reader_options_t options = MU_READER_DEFAULTS;
    mu_reader_t *reader = NULL;
    mu_doc_t doc;
    uint64_t bytes = 0;
    int64_t documents = 0;
    uint8_t how = fuzz_byte(&data, &n);
    options.boundary = (mu_boundary_t)(how % 3 + MU_BOUNDARY_BLANK);
    options.format = how & 4 ? MU_FORMAT_JSONL : MU_FORMAT_TEXT;
    options.strict = how & 8;
    options.skip_bad = how & 64 ? 3 : 0;
    options.max_record = most[how >> 4 & 3];
    char *path = fuzz_file("input", data, n);
    fuzz_begin();
    FUZZ_CHECK(mu_reader_open(&path, 1, &options, &reader) == MU_OK);
    while (fuzz_ok(mu_reader_next(reader, &doc), MU_DATA, MU_DATA)) {
        if (!doc.text)
            break;
        FUZZ_CHECK(doc.bytes > 0 && doc.line >= 1);
        FUZZ_CHECK(mu_utf8_valid(doc.text, doc.bytes) == doc.bytes);
        documents++;
        bytes += doc.bytes;
        fuzz_begin();
    }
    const mu_reader_counts_t *counts = mu_reader_counts(reader);
    FUZZ_CHECK(counts->documents == documents && counts->bytes == bytes);
    mu_reader_close(reader);
    free(path);
    return 0;
}
