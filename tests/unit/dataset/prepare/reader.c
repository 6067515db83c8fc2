/* Readers: what a document is, compression by content, damage, JSON Lines, invalid UTF-8. */
#include "dataset/prepare/reader.h"
#include "tests/unit/dataset/data_support.h"
#include "dataset/prepare/jsonl.h"
#include "dataset/tokenizer/utf8.h"

#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

static const mu_reader_options_t defaults = MU_READER_DEFAULTS;

/* All documents with their lines, as "1:text|4:text|", and the status that ended it. */
static mu_status_t read_all(char *const *paths, int n, const mu_reader_options_t *options, mu_buf_t *out,
                            mu_reader_counts_t *counts)
{
    mu_reader_t *reader;
    mu_doc_t doc;
    mu_buf_clear(out);
    MU_TRY(mu_reader_open(paths, n, options, &reader));
    mu_status_t status;
    while ((status = mu_reader_next(reader, &doc)) == MU_OK && doc.text) {
        mu_buf_addf(out, "%lld:", (long long)doc.line);
        mu_buf_add(out, doc.text, doc.bytes);
        mu_buf_addc(out, '|');
        assert_int_equal(mu_utf8_valid(doc.text, doc.bytes), doc.bytes);
    }
    if (counts)
        *counts = *mu_reader_counts(reader);
    uint64_t done, total;
    mu_reader_progress(reader, &done, &total);
    if (status == MU_OK)
        assert_int_equal(done, total);
    mu_reader_close(reader);
    return status;
}

static void expect_file(char *path, const mu_reader_options_t *options, const char *wanted, size_t n)
{
    mu_buf_t got = MU_BUF_INIT;
    assert_int_equal(read_all(&path, 1, options, &got, NULL), MU_OK);
    assert_int_equal(got.len, n);
    assert_memory_equal(got.data, wanted, n);
    mu_buf_release(&got);
}

static void expect(const char *name, const char *bytes, size_t n, const mu_reader_options_t *options,
                   const char *wanted)
{
    expect_file(write_file(name, bytes, n), options, wanted, strlen(wanted));
}

static mu_status_t status_of(const char *name, const char *bytes, size_t n,
                             const mu_reader_options_t *options)
{
    mu_buf_t got = MU_BUF_INIT;
    char *path = write_file(name, bytes, n);
    mu_buf_clear(&said);
    mu_status_t status = read_all(&path, 1, options, &got, NULL);
    mu_buf_release(&got);
    return status;
}

static void text_is_cut_where_the_boundary_says(void **state)
{
    (void)state;
    static const char text[] = "\n\none\ntwo\n \t\n\nthree\r\n\r\nfour\r\nfive\r\n";
    mu_reader_options_t o = defaults;
    expect("a.txt", text, sizeof text - 1, &o, "3:one\ntwo|7:three|9:four\r\nfive|");
    o.boundary = MU_BOUNDARY_LINE;
    expect("a.txt", text, sizeof text - 1, &o, "3:one|4:two|7:three|9:four|10:five|");
    o.boundary = MU_BOUNDARY_FILE;
    expect("a.txt", text, sizeof text - 1, &o, "1:\n\none\ntwo\n \t\n\nthree\r\n\r\nfour\r\nfive\r\n|");
    expect("b.txt", "", 0, &o, "");
    o.boundary = MU_BOUNDARY_BLANK;
    expect("b.txt", "\n \n\n", 4, &o, "");
    expect("b.txt", "no end", 6, &o, "1:no end|");
    expect("b.txt", "\xEF\xBB\xBFmark", 7, &o, "1:mark|");
    expect_file(write_file("b.txt", "a\0b\n\nc", 6), &o, "1:a\0b|3:c|", 10);
}

static void boundaries_have_names(void **state)
{
    (void)state;
    mu_boundary_t b;
    assert_true(mu_boundary_parse("file", &b) && b == MU_BOUNDARY_FILE);
    assert_true(mu_boundary_parse("blank", &b) && b == MU_BOUNDARY_BLANK);
    assert_false(mu_boundary_parse("paragraph", &b));
}

static void a_document_that_is_too_long_is_refused(void **state)
{
    (void)state;
    mu_reader_options_t o = defaults;
    o.max_record = 16;
    expect("a.txt", "0123456789abcdef\n\nx", 19, &o, "1:0123456789abcdef|3:x|");
    assert_int_equal(status_of("a.txt", "x\n\n0123456789abcdefg", 20, &o), MU_DATA);
    assert_said("a.txt:3: a document longer than 16 bytes");
    o.boundary = MU_BOUNDARY_FILE;
    assert_int_equal(status_of("a.txt", "x\n\n0123456789abcdefg", 20, &o), MU_DATA);
    assert_int_equal(status_of("a.jsonl", "{\"text\": \"0123456789abcdefg\"}", 29, &o), MU_DATA);
    assert_said("a line longer than 16 bytes");
}

/* ---- compression ---- */

static size_t gzip_bytes(const char *text, size_t n, bool extra, char *out, size_t room)
{
    z_stream z = {0};
    unsigned char field[] = {'R', 'A', 4, 0, 1, 0, 0, 0}; /* dictzip's subfield */
    gz_header head = {.extra = field, .extra_len = sizeof field, .os = 3};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    if (extra)
        assert_int_equal(deflateSetHeader(&z, &head), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)text;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)room;
    if (extra) { /* dictzip flushes after each chunk, so that each can be read alone */
        z.avail_in = (uInt)(n / 2);
        assert_int_equal(deflate(&z, Z_FULL_FLUSH), Z_OK);
        z.avail_in = (uInt)(n - n / 2);
    } else {
        z.avail_in = (uInt)n;
    }
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t length = room - z.avail_out;
    deflateEnd(&z);
    return length;
}

static const char sample[] = "alpha\nbeta\n\ngamma\n\ndelta delta delta delta delta delta delta\n";
static const char sample_docs[] = "1:alpha\nbeta|4:gamma|6:delta delta delta delta delta delta delta|";

static void gzip_is_known_by_content(void **state)
{
    (void)state;
    char z[1024];
    size_t n = gzip_bytes(sample, sizeof sample - 1, false, z, sizeof z);
    expect("a.txt", z, n, &defaults, sample_docs); /* whatever the name says */
    n = gzip_bytes(sample, sizeof sample - 1, true, z, sizeof z);
    expect("a.dict.dz", z, n, &defaults, sample_docs);
    size_t first =
        gzip_bytes(sample, 12, false, z, sizeof z); /* two members, cut inside the text; then padding */
    n = first + gzip_bytes(sample + 12, sizeof sample - 13, false, z + first, sizeof z - first);
    memset(z + n, 0, 100);
    expect("a.gz", z, n + 100, &defaults, sample_docs);
    n = gzip_bytes("", 0, false, z, sizeof z);
    expect("a.gz", z, n, &defaults, "");
    expect("plain.gz", sample, sizeof sample - 1, &defaults, sample_docs); /* a suffix that lies */
}

static void zstd_is_known_by_content(void **state)
{
    (void)state;
    char z[1024];
    size_t n = ZSTD_compress(z, sizeof z, sample, sizeof sample - 1, 3);
    expect("a.txt", z, n, &defaults, sample_docs);
    static const char skippable[] = "\x53\x2a\x4d\x18\x03\0\0\0abc";
    memcpy(z, skippable, 11);
    n = 11 + ZSTD_compress(z + 11, sizeof z - 11, sample, 12, 3);
    n += ZSTD_compress(z + n, sizeof z - n, sample + 12, sizeof sample - 13, 3);
    expect("a.zst", z, n, &defaults, sample_docs);
}

/* Every cut and every flipped bit of a compressed file is an error that names the file; none is silent. */
static void damaged_compressed_files_are_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        char z[1024], bad[1024];
        ZSTD_CCtx *c = ZSTD_createCCtx();
        ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
        size_t n = kind ? ZSTD_compress2(c, z, sizeof z, sample, sizeof sample - 1)
                        : gzip_bytes(sample, sizeof sample - 1, false, z, sizeof z);
        ZSTD_freeCCtx(c);
        for (size_t cut = 4; cut < n; cut++) {
            assert_int_equal(status_of("cut.gz", z, cut, &defaults), MU_DATA);
            assert_said("cut.gz");
        }
        assert_said("cut short");
        for (size_t at = 10; at < n; at++) { /* the header's time, name and kind may change freely */
            memcpy(bad, z, n);
            bad[at] = (char)(bad[at] ^ 0x10);
            assert_int_equal(status_of("bad.gz", bad, n, &defaults), MU_DATA);
            assert_said("bad.gz");
        }
        memcpy(z + n, "garbage", 7);
        assert_int_equal(status_of("tail.gz", z, n + 7, &defaults), MU_DATA);
        assert_said("follows a complete");
    }
}

static void bombs_are_refused(void **state)
{
    (void)state;
    /* a window of 2^31 bytes: frame header descriptor without single segment, window byte 0xA8 */
    static const char window[] = "\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00";
    assert_int_equal(status_of("w.zst", window, sizeof window - 1, &defaults), MU_DATA);
    assert_said("128 MiB");
    /* 65 MiB of one letter in one line */
    ZSTD_CCtx *c = ZSTD_createCCtx();
    size_t room = 1 << 20, each = 1 << 20;
    char *same = mu_alloc(each), *z = mu_alloc(room);
    memset(same, 'a', each);
    ZSTD_outBuffer out = {z, room, 0};
    for (int i = 0; i <= 65; i++) {
        ZSTD_inBuffer in = {same, i < 65 ? each : 0, 0};
        ZSTD_compressStream2(c, &out, &in, i < 65 ? ZSTD_e_continue : ZSTD_e_end);
    }
    ZSTD_freeCCtx(c);
    assert_int_equal(status_of("bomb.zst", z, out.pos, &defaults), MU_DATA);
    assert_said("bomb.zst:1: a document longer than 67108864 bytes");
    /* 300 MiB of line feeds, which make no document at all */
    memset(same, '\n', each);
    c = ZSTD_createCCtx();
    out.pos = 0;
    for (int i = 0; i <= 300; i++) {
        ZSTD_inBuffer in = {same, i < 300 ? each : 0, 0};
        ZSTD_compressStream2(c, &out, &in, i < 300 ? ZSTD_e_continue : ZSTD_e_end);
    }
    ZSTD_freeCCtx(c);
    assert_int_equal(status_of("feeds.zst", z, out.pos, &defaults), MU_DATA);
    assert_said("bomb");
    free(same);
    free(z);
}

static void what_is_not_text_is_refused(void **state)
{
    (void)state;
    assert_int_equal(status_of("a.txt", "7z\xBC\xAF\x27\x1C", 6, &defaults), MU_DATA);
    assert_said("7z archive");
    assert_int_equal(status_of("a.txt", "\xFF\xFEh\0i\0", 6, &defaults), MU_DATA);
    assert_said("UTF-16");
    unsigned char tokens[600]; /* two bytes each, as nanoGPT's train.bin holds them */
    for (size_t i = 0; i < sizeof tokens; i++)
        tokens[i] = (unsigned char)(i * 7919 % 251 % (i % 2 ? 196 : 256));
    assert_int_equal(status_of("train.bin", (const char *)tokens, sizeof tokens, &defaults), MU_DATA);
    assert_said("nanoGPT");
    char z[64], twice[128];
    size_t n = gzip_bytes("hello", 5, false, z, sizeof z);
    n = gzip_bytes(z, n, false, twice, sizeof twice);
    assert_int_equal(status_of("a.gz", twice, n, &defaults), MU_DATA);
    assert_said("gzip data inside");
}

/* ---- places ---- */

static void directories_are_read_in_order(void **state)
{
    (void)state;
    assert_int_equal(mu_make_dirs(in_folder("d/sub"), 0700), MU_OK);
    write_file("d/b.txt", "bee", 3);
    write_file("d/a.txt", "ay", 2);
    write_file("d/B.txt", "Bee", 3);
    write_file("d/.hidden", "no", 2);
    write_file("d/sub/z.jsonl", "{\"text\": \"zed\"}", 15);
    char *paths[] = {in_folder("d"), in_folder("d/a.txt")};
    mu_buf_t got = MU_BUF_INIT;
    assert_int_equal(read_all(paths, 2, &defaults, &got, NULL), MU_OK);
    assert_string_equal(got.data, "1:Bee|1:ay|1:bee|1:zed|1:ay|");
    mu_buf_release(&got);
    assert_int_equal(mu_make_dirs(in_folder("ring"), 0700), MU_OK);
    assert_int_equal(symlink(in_folder("ring"), in_folder("ring/again")), 0);
    char *ring[] = {in_folder("ring")};
    assert_int_equal(read_all(ring, 1, &defaults, &got, NULL), MU_NOINPUT);
    assert_said("ring?");
    char *gone[] = {in_folder("gone")};
    assert_int_equal(read_all(gone, 1, &defaults, &got, NULL), MU_NOINPUT);
    assert_said("gone: cannot find it");
    assert_int_equal(mu_make_dirs(in_folder("none"), 0700), MU_OK);
    char *none[] = {in_folder("none")};
    assert_int_equal(read_all(none, 1, &defaults, &got, NULL), MU_NOINPUT);
    assert_said("holds no file");
    mu_buf_release(&got);
}

static void pipes_are_read(void **state)
{
    (void)state;
    char *path = in_folder("pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    pid_t child = fork();
    if (child == 0) {
        FILE *f = fopen(path, "w");
        for (int i = 0; f && i < 200000; i++)
            fprintf(f, "line %d\n\n", i);
        _exit(!f || fclose(f) != 0);
    }
    mu_reader_t *reader;
    mu_doc_t doc;
    int64_t n = 0;
    uint64_t done, total;
    assert_int_equal(mu_reader_open(&path, 1, &defaults, &reader), MU_OK);
    while (mu_reader_next(reader, &doc) == MU_OK && doc.text)
        n++;
    mu_reader_progress(reader, &done, &total);
    assert_int_equal(total, 0);
    assert_true(done > 200000 * 8);
    assert_int_equal(n, 200000);
    mu_reader_close(reader);
}

/* ---- UTF-8 ---- */

static void ill_formed_sequences_become_replacement_characters(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        int64_t count;
    } row[] = {
        {"caf\xC3\xA9", "caf\xC3\xA9", 0},
        {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80", 0},
        {"a\x92z", "a\xEF\xBF\xBDz", 1},
        {"\xC3", "\xEF\xBF\xBD", 1},
        {"\xE2\x82 x", "\xEF\xBF\xBD x", 1},                                         /* one cut character */
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 3},                 /* a surrogate */
        {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD", 2},                                 /* overlong */
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 4}, /* above U+10FFFF */
        /* Unicode 15, table 3-8 */
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\x41", 4},
    };
    mu_buf_t out = MU_BUF_INIT;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_buf_clear(&out);
        assert_int_equal(mu_utf8_repair(row[i].from, strlen(row[i].from), &out), row[i].count);
        assert_string_equal(out.data, row[i].to);
    }
    mu_buf_clear(&out);
    for (uint32_t c = 1; c < 0x110000; c += 0x101)
        if (c < 0xD800 || c > 0xDFFF)
            mu_utf8_add(&out, c);
    assert_int_equal(mu_utf8_valid(out.data, out.len), out.len);
    mu_buf_release(&out);
}

static void invalid_text_is_counted_or_refused(void **state)
{
    (void)state;
    static const char text[] = "good\n\nfirst\nsecond \x92 and \xC3 here\n\nlast";
    mu_buf_t got = MU_BUF_INIT;
    mu_reader_counts_t counts;
    char *path = write_file("a.txt", text, sizeof text - 1);
    assert_int_equal(read_all(&path, 1, &defaults, &got, &counts), MU_OK);
    assert_string_equal(got.data, "1:good|3:first\nsecond \xEF\xBF\xBD and \xEF\xBF\xBD here|6:last|");
    assert_int_equal(counts.invalid, 2);
    assert_int_equal(counts.documents, 3);
    assert_said("a.txt:4: invalid UTF-8, 0x92 at byte 19");
    mu_buf_release(&got);
    mu_reader_options_t o = defaults;
    o.strict = true;
    assert_int_equal(status_of("a.txt", text, sizeof text - 1, &o), MU_DATA);
    assert_said("a.txt:4: invalid UTF-8, 0x92 at byte 19");
}

/* ---- JSON Lines ---- */

static void json_lines_give_their_text(void **state)
{
    (void)state;
    static const char lines[] =
        "{\"text\": \"one\\ntwo\"}\r\n"
        "\n"
        "{\"meta\": {\"a\": [1, -2.5e+3, true, false, null, \"x\"]}, \"text\": \"t\\u00e9\\u20AC\"}\n"
        " { \"text\" : \"first\" , \"text\" : \"last\" } \n"
        "{\"te\\u0078t\": \"\\ud83d\\ude00 \\\"\\\\\\/\\b\\f\\r\\t\"}\n"
        "{\"text\": \"\"}\n"
        "{\"text\": \"end\"}";
    expect("a.jsonl", lines, sizeof lines - 1, &defaults,
           "1:one\ntwo|3:t\xC3\xA9\xE2\x82\xAC|4:last|5:\xF0\x9F\x98\x80 \"\\/\b\f\r\t|7:end|");
    expect_file(write_file("a.JSON", "{\"text\": \"a\\u0000b\"}", 20), &defaults, "1:a\0b|", 6);
    mu_reader_options_t o = defaults;
    o.text_key = "content";
    expect("a.ndjson", "{\"content\": \"c\", \"text\": 5}", 27, &o, "1:c|");
    o.format = MU_FORMAT_JSONL;
    expect("a.txt", "{\"content\": \"c\"}", 16, &o, "1:c|");
    o.format = MU_FORMAT_TEXT;
    expect("a.jsonl", "{\"content\": \"c\"}", 16, &o, "1:{\"content\": \"c\"}|");
    char z[256];
    size_t n = gzip_bytes("{\"text\": \"packed\"}", 18, false, z, sizeof z);
    expect("a.jsonl.gz", z, n, &defaults, "1:packed|");
}

static void lone_surrogates_become_replacement_characters(void **state)
{
    (void)state;
    static const char line[] = "{\"text\": \"\\ud800 \\udc00 \\ud83d\\ud83d\\ude00 \\ud800\\n\"}";
    expect("a.jsonl", line, sizeof line - 1, &defaults,
           "1:\xEF\xBF\xBD \xEF\xBF\xBD \xEF\xBF\xBD\xF0\x9F\x98\x80 \xEF\xBF\xBD\n|");
    assert_said("lone surrogate");
    mu_reader_options_t o = defaults;
    o.strict = true;
    assert_int_equal(status_of("a.jsonl", line, sizeof line - 1, &o), MU_DATA);
    assert_said("a.jsonl:1: a lone surrogate");
}

static void wrong_json_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        size_t column;
        const char *why;
    } row[] = {
        {"[\"text\"]", 1, "one JSON object"},
        {"plain text", 1, "one JSON object"},
        {"{\"text\": 5}", 10, "must be a string"},
        {"{\"text\": {}}", 10, "must be a string"},
        {"{\"text\": NaN}", 10, "must be a string"},
        {"{\"text\": [\"a\", 1]}", 16, "must be a string"},
        {"{\"text\": [\"a\"", 14, "a comma or ']'"},
        {"{\"a\": Nan, \"text\": \"x\"}", 7, "no JSON value"},
        {"{\"a\": -Inf, \"text\": \"x\"}", 8, "no JSON value"},
        {"{\"other\": \"x\"}", 15, "no member"},
        {"{}", 3, "no member"},
        {"{\"text\": \"x\"", 13, "a comma or '}'"},
        {"{\"text\": \"x", 12, "inside a string"},
        {"{\"text\": \"x\" \"y\"}", 14, "a comma or '}'"},
        {"{\"text\" \"x\"}", 9, "colon"},
        {"{text: \"x\"}", 2, "double quotes"},
        {"{\"text\": \"x\"} {}", 15, "something follows"},
        {"{\"text\": \"\\x\"}", 12, "no such escape"},
        {"{\"text\": \"\\u12g4\"}", 15, "four hex digits"},
        {"{\"text\": \"a\tb\"}", 12, "control character"},
        {"{\"a\": 01, \"text\": \"x\"}", 8, "a comma or '}'"},
        {"{\"a\": 1., \"text\": \"x\"}", 9, "a digit"},
        {"{\"a\": nul, \"text\": \"x\"}", 7, "no JSON value"},
        {"{\"a\": [1,], \"text\": \"x\"}", 10, "no JSON value"},
        {"{\"a\": [1 2], \"text\": \"x\"}", 10, "a comma or ']'"},
        {"{\"text\": \"x\",}", 14, "double quotes"},
    };
    mu_jsonl_member_t member = {.key = "text"};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_jsonl_result_t result;
        assert_false(mu_jsonl_read(row[i].line, strlen(row[i].line), &member, 1, &result));
        assert_int_equal(result.column + 1, row[i].column);
        assert_non_null(strstr(result.why, row[i].why));
    }
    mu_buf_release(&member.text);
    assert_int_equal(status_of("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": 7}\n", 27, &defaults), MU_DATA);
    assert_said("a.jsonl:3:10: the text must be a string");
}

/* What Python and gpt-neox's own tools write. */
static void forms_of_a_text(void **state)
{
    (void)state;
    static const char lines[] = "{\"text\": null}\n{\"text\": [\"one\", \"two\"]}\n{\"text\": []}\n"
                                "{\"a\": [NaN, Infinity, -Infinity], \"text\": \"x\"}\n";
    expect("forms.jsonl", lines, sizeof lines - 1, &defaults, "2:one\n\ntwo|4:x|");
}

static void bad_records_are_left_out_as_often_as_allowed(void **state)
{
    (void)state;
    static const char lines[] =
        "{\"text\": \"a\"}\n{\"text\": \"cut\n{\"other\": 1}\n{\"text\": \"b\"}\n{\"text\": 5}\n";
    char *path = write_file("bad.jsonl", lines, sizeof lines - 1);
    mu_reader_options_t o = defaults;
    mu_reader_counts_t counts;
    mu_buf_t got = MU_BUF_INIT;
    for (o.skip_bad = 0; o.skip_bad < 3; o.skip_bad++) {
        mu_buf_clear(&said);
        assert_int_equal(read_all(&path, 1, &o, &got, &counts), MU_DATA);
        assert_int_equal(counts.bad, o.skip_bad);
        assert_said(o.skip_bad == 0 ? "bad.jsonl:2:" : o.skip_bad == 1 ? "bad.jsonl:3:" : "bad.jsonl:5:");
    }
    mu_buf_clear(&said);
    assert_int_equal(read_all(&path, 1, &o, &got, &counts), MU_OK);
    assert_string_equal(got.data, "1:a|4:b|");
    assert_int_equal(counts.bad, 3);
    assert_int_equal(counts.documents, 2);
    assert_said("bad.jsonl:3:");
    mu_buf_release(&got);
}

static void other_forms_of_json_are_named(void **state)
{
    (void)state;
    static const char array[] = "[{\"text\": \"a\"}]", pretty[] = "{\n  \"text\": \"a\"\n}\n",
                      marked[] = "{\"text\": \"a\"}\n\xEF\xBB\xBF{\"text\": \"b\"}\n";
    assert_int_equal(status_of("a.json", array, sizeof array - 1, &defaults), MU_DATA);
    assert_said("a.json:1:1:");
    assert_said("array");
    assert_int_equal(status_of("b.json", pretty, sizeof pretty - 1, &defaults), MU_DATA);
    assert_said("b.json:1:2:");
    assert_said("jq -c .");
    assert_int_equal(status_of("c.jsonl", marked, sizeof marked - 1, &defaults), MU_DATA);
    assert_said("c.jsonl:2:1:");
    assert_said("byte order mark");
}

static void what_lies_beside_data_is_left_out(void **state)
{
    (void)state;
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n";
    assert_int_equal(mu_make_dirs(in_folder("beside"), 0700), MU_OK);
    write_file("beside/part.jsonl", "{\"text\": \"data\"}", 16);
    write_file("beside/README.md", "not this", 8);
    write_file("beside/LICENSE", "nor this", 8);
    write_file("beside/license-plates.txt", "but this", 8);
    char *all[] = {in_folder("beside")}, *one[] = {in_folder("beside/README.md")};
    mu_buf_t got = MU_BUF_INIT;
    mu_buf_clear(&said);
    assert_int_equal(read_all(all, 1, &defaults, &got, NULL), MU_OK);
    assert_string_equal(got.data, "1:but this|1:data|");
    assert_said("beside/README.md: left out");
    assert_said("beside/LICENSE: left out");
    assert_int_equal(read_all(one, 1, &defaults, &got, NULL), MU_OK);
    assert_string_equal(got.data, "1:not this|");
    mu_buf_release(&got);
    assert_int_equal(status_of("pointer.txt", pointer, sizeof pointer - 1, &defaults), MU_DATA);
    assert_said("pointer.txt: this is a Git LFS pointer");
}

static void deep_json_is_refused(void **state)
{
    (void)state;
    mu_buf_t line = MU_BUF_INIT;
    mu_buf_adds(&line, "{\"a\": ");
    for (int i = 0; i < 1000000; i++)
        mu_buf_addc(&line, '[');
    assert_int_equal(status_of("a.jsonl", line.data, line.len, &defaults), MU_DATA);
    assert_said("64 deep");
    mu_buf_clear(&line);
    mu_buf_adds(&line, "{\"a\": ");
    for (int i = 0; i < 63; i++)
        mu_buf_addc(&line, '[');
    for (int i = 0; i < 63; i++)
        mu_buf_addc(&line, ']');
    mu_buf_adds(&line, ", \"text\": \"deep enough\"}");
    expect("a.jsonl", line.data, line.len, &defaults, "1:deep enough|");
    mu_buf_release(&line);
}

/* Whatever the bytes: an answer, and valid UTF-8 in it. The sanitizers watch. */
static void mutated_json_does_no_harm(void **state)
{
    (void)state;
    static const char seed[] = "{\"m\": {\"k\": [1, -2.5e3, null, \"\\u00e9\"]}, \"text\": \"\\ud83d\\ude00 "
                               "a\\\\b\\n\", \"z\": true}";
    char line[sizeof seed + 16];
    uint64_t random = 88172645463325252u;
    mu_jsonl_member_t member = {.key = "text"};
    mu_buf_t whole = MU_BUF_INIT;
    int good = 0;
    for (int i = 0; i < 50000; i++) {
        mu_jsonl_result_t result;
        size_t n = mutate(&random, seed, sizeof seed - 1, line);
        mu_buf_clear(&whole);
        mu_utf8_repair(line, n, &whole);
        char *exact = mu_alloc(whole.len); /* so that one byte too far is seen */
        memcpy(exact, whole.data, whole.len);
        if (mu_jsonl_read(exact, whole.len, &member, 1, &result)) {
            assert_int_equal(mu_utf8_valid(member.text.data, member.text.len), member.text.len);
            good++;
        } else {
            assert_true(result.column <= whole.len);
            assert_non_null(result.why);
        }
        free(exact);
    }
    assert_true(good > 100 && good < 49000);
    mu_buf_release(&member.text);
    mu_buf_release(&whole);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, support_up, support_down)
    const struct CMUnitTest tests[] = {
        TEST(text_is_cut_where_the_boundary_says),
        TEST(boundaries_have_names),
        TEST(a_document_that_is_too_long_is_refused),
        TEST(gzip_is_known_by_content),
        TEST(zstd_is_known_by_content),
        TEST(damaged_compressed_files_are_refused),
        TEST(bombs_are_refused),
        TEST(what_is_not_text_is_refused),
        TEST(directories_are_read_in_order),
        TEST(pipes_are_read),
        TEST(ill_formed_sequences_become_replacement_characters),
        TEST(invalid_text_is_counted_or_refused),
        TEST(json_lines_give_their_text),
        TEST(lone_surrogates_become_replacement_characters),
        TEST(wrong_json_is_refused_with_its_place),
        TEST(forms_of_a_text),
        TEST(bad_records_are_left_out_as_often_as_allowed),
        TEST(other_forms_of_json_are_named),
        TEST(what_lies_beside_data_is_left_out),
        TEST(deep_json_is_refused),
        TEST(mutated_json_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
