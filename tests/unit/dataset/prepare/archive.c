/* Archives: members as documents, what is left out of them, and damage. */
#include "tests/unit/dataset/data_support.h"
#include "dataset/prepare/reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

typedef struct member {
    const char *name, *text;
    mode_t type; /* 0: a regular file */
    const char *link;
    bool hard;
} member_t;

static void add_member(struct archive *a, const member_t *m)
{
    struct archive_entry *entry = archive_entry_new();
    size_t n = m->text ? strlen(m->text) : 0;
    archive_entry_set_pathname(entry, m->name);
    archive_entry_set_filetype(entry, m->type ? m->type : AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)n);
    if (m->hard)
        archive_entry_set_hardlink(entry, m->link);
    else if (m->link)
        archive_entry_set_symlink(entry, m->link);
    assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
    if (n > 0)
        assert_int_equal(archive_write_data(a, m->text, n), n);
    archive_entry_free(entry);
}

/* The archive's bytes; free() them. */
static char *pack(int (*format)(struct archive *), int filter, const member_t *members, int count, size_t *n)
{
    size_t room = 1 << 20;
    char *bytes = mu_calloc(1, room);
    struct archive *a = archive_write_new();
    assert_int_equal(format(a), ARCHIVE_OK);
    assert_int_equal(archive_write_add_filter(a, filter), ARCHIVE_OK);
    archive_write_set_bytes_in_last_block(a, 1);
    assert_int_equal(archive_write_open_memory(a, bytes, room, n), ARCHIVE_OK);
    for (int i = 0; i < count; i++)
        add_member(a, &members[i]);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    return bytes;
}

static mu_status_t read_path(char *path, const mu_reader_options_t *options, mu_buf_t *out,
                             mu_reader_counts_t *counts)
{
    mu_reader_t *reader;
    mu_doc_t doc;
    mu_status_t status;
    uint64_t done, total;
    mu_buf_clear(out);
    mu_buf_clear(&said);
    mu_buf_adds(out, "");
    assert_int_equal(mu_reader_open(&path, 1, options, &reader), MU_OK);
    while ((status = mu_reader_next(reader, &doc)) == MU_OK && doc.text)
        mu_buf_addf(out, "%.*s|", (int)doc.bytes, doc.text);
    *counts = *mu_reader_counts(reader);
    mu_reader_progress(reader, &done, &total);
    if (status == MU_OK && total > 0)
        assert_int_equal(done, total);
    mu_reader_close(reader);
    return status;
}

static mu_status_t read_bytes(const char *name, const char *bytes, size_t n, mu_buf_t *out,
                              mu_reader_counts_t *counts)
{
    mu_reader_options_t options = MU_READER_DEFAULTS;
    return read_path(write_file(name, bytes, n), &options, out, counts);
}

static char long_name[400];
static const member_t files[] = {
    {"a.txt", "one\n\nstill one\n", 0, NULL, false},
    {long_name, "long", 0, NULL, false},
    {"d/b.jsonl", "{\"text\": \"two\"}\n{\"text\": \"three\"}\n", 0, NULL, false},
    {"empty.txt", "", 0, NULL, false},
    {"d", NULL, AE_IFDIR, NULL, false},
    {"d/link", NULL, AE_IFLNK, "a.txt", false},
    {"d/../../out.txt", "outside", 0, NULL, false},
    {"..hidden-not/x..txt", "dots", 0, NULL, false},
    {"README.md", "not this", 0, NULL, false},
    {".git/config.txt", "nor this", 0, NULL, false},
};
enum { FILES = sizeof files / sizeof *files };
static const char documents[] = "one\n\nstill one\n|long|two|three|dots|";

static const struct {
    const char *what;
    int (*format)(struct archive *);
    int filter;
} forms[] = {
    {"pax", archive_write_set_format_pax, ARCHIVE_FILTER_NONE},
    {"gnu", archive_write_set_format_gnutar, ARCHIVE_FILTER_NONE},
    {"zip", archive_write_set_format_zip, ARCHIVE_FILTER_NONE},
    {"pax.gz", archive_write_set_format_pax, ARCHIVE_FILTER_GZIP},
    {"pax.zst", archive_write_set_format_pax, ARCHIVE_FILTER_ZSTD},
    {"pax.xz", archive_write_set_format_pax, ARCHIVE_FILTER_XZ},
    {"pax.bz2", archive_write_set_format_pax, ARCHIVE_FILTER_BZIP2},
    {"pax.lz4", archive_write_set_format_pax, ARCHIVE_FILTER_LZ4},
};
enum { FORMS = sizeof forms / sizeof *forms };

static int archives_up(void **state)
{
    memset(long_name, 'n', sizeof long_name - 1);
    for (size_t i = 50; i < sizeof long_name - 10; i += 50)
        long_name[i] = '/';
    return support_up(state);
}

static void members_are_documents(void **state)
{
    (void)state;
    mu_buf_t out = MU_BUF_INIT;
    mu_reader_counts_t counts;
    for (size_t i = 0; i < FORMS; i++) {
        size_t n;
        char *bytes = pack(forms[i].format, forms[i].filter, files, FILES, &n);
        assert_int_equal(read_bytes("any name", bytes, n, &out, &counts), MU_OK);
        assert_string_equal(out.data, documents);
        assert_int_equal(counts.archive.members, 5);
        assert_int_equal(counts.archive.links, 1);
        assert_int_equal(counts.archive.outside, 1);
        assert_int_equal(counts.archive.left_out, 2);
        assert_said("any name: README.md: left out");
        free(bytes);
    }
    mu_buf_release(&out);
}

static void links_and_devices_are_counted(void **state)
{
    (void)state;
    static const member_t special[] = {
        {"a", "text", 0, NULL, false},         {"hard", NULL, 0, "a", true},
        {"soft", NULL, AE_IFLNK, "a", false},  {"null", NULL, AE_IFCHR, NULL, false},
        {"disk", NULL, AE_IFBLK, NULL, false}, {"pipe", NULL, AE_IFIFO, NULL, false},
    };
    mu_buf_t out = MU_BUF_INIT;
    mu_reader_counts_t counts;
    size_t n;
    char *bytes = pack(archive_write_set_format_pax, ARCHIVE_FILTER_NONE, special, 6, &n);
    assert_int_equal(read_bytes("s.tar", bytes, n, &out, &counts), MU_OK);
    assert_string_equal(out.data, "text|");
    assert_int_equal(counts.archive.links, 2);
    assert_int_equal(counts.archive.devices, 3);
    free(bytes);
    mu_buf_release(&out);
}

static void text_in_an_archive_is_cut_when_asked(void **state)
{
    (void)state;
    mu_reader_options_t options = MU_READER_DEFAULTS;
    mu_reader_counts_t counts;
    mu_buf_t out = MU_BUF_INIT;
    size_t n;
    char *bytes = pack(archive_write_set_format_zip, ARCHIVE_FILTER_NONE, files, 1, &n);
    options.boundary = MU_BOUNDARY_BLANK;
    assert_int_equal(read_path(write_file("a.zip", bytes, n), &options, &out, &counts), MU_OK);
    assert_string_equal(out.data, "one|still one|");
    free(bytes);
    mu_buf_release(&out);
}

/* A pipe cannot seek; a joined tar has an end in its middle. */
static void pipes_and_joined_archives_are_read(void **state)
{
    (void)state;
    mu_reader_options_t options = MU_READER_DEFAULTS;
    mu_reader_counts_t counts;
    mu_buf_t out = MU_BUF_INIT;
    for (size_t i = 0; i < 3; i++) {
        size_t n;
        char *bytes = pack(forms[i].format, forms[i].filter, files, FILES, &n), *path = in_folder("pipe");
        assert_int_equal(mkfifo(path, 0600), 0);
        pid_t child = fork();
        if (child == 0) {
            int fd = open(path, O_WRONLY);
            _exit(fd < 0 || !mu_write_all(fd, bytes, n));
        }
        assert_int_equal(read_path(path, &options, &out, &counts), MU_OK);
        /* what is a link stands at a zip's end */
        assert_string_equal(out.data, i < 2 ? documents : "one\n\nstill one\n|long|two|three|a.txt|dots|");
        assert_int_equal(unlink(path), 0);
        char *twice = mu_alloc(2 * n);
        memcpy(twice, bytes, n);
        memcpy(twice + n, bytes, n);
        if (i < 2) {
            assert_int_equal(read_bytes("two.tar", twice, 2 * n, &out, &counts), MU_OK);
            assert_int_equal(out.len, 2 * (sizeof documents - 1));
        }
        free(twice);
        free(bytes);
    }
    mu_buf_release(&out);
}

/* Every cut is an error that names the archive, or a tar whose missing end is warned of. */
static void cut_archives_are_not_read_in_silence(void **state)
{
    (void)state;
    mu_buf_t out = MU_BUF_INIT;
    mu_reader_counts_t counts;
    for (size_t i = 0; i < FORMS; i++) {
        size_t n;
        char *bytes = pack(forms[i].format, forms[i].filter, files, 4, &n);
        size_t step = n > 4000 ? 97 : 7;
        for (size_t cut = 513; cut + 1024 < n; cut += step) {
            mu_status_t status = read_bytes("cut", bytes, cut, &out, &counts);
            assert_true(status == MU_DATA || status == MU_OK);
            if (status == MU_DATA)
                assert_said("cut");
            else
                assert_said("no end mark");
        }
        free(bytes);
    }
    mu_buf_release(&out);
}

static void damage_is_noticed(void **state)
{
    (void)state;
    mu_buf_t out = MU_BUF_INIT;
    mu_reader_counts_t counts;
    size_t n;
    char *bytes = pack(archive_write_set_format_zip, ARCHIVE_FILTER_NONE, files, 1, &n);
    char *content = memmem(bytes, n, "PK\1\2", 4);
    assert_non_null(content);
    content[-20] = (char)(content[-20] ^ 1); /* in the member's data or its check */
    assert_int_equal(read_bytes("bad.zip", bytes, n, &out, &counts), MU_DATA);
    assert_said("bad.zip");
    free(bytes);
    bytes = pack(archive_write_set_format_pax, ARCHIVE_FILTER_NONE, files, 1, &n);
    bytes[0] = (char)(bytes[0] ^ 1); /* the header's sum is wrong */
    assert_int_equal(read_bytes("bad.tar", bytes, n, &out, &counts), MU_DATA);
    assert_said("bad.tar: damaged tar archive");
    free(bytes);
    mu_buf_release(&out);
}

static void what_no_text_can_be_is_refused(void **state)
{
    (void)state;
    mu_buf_t out = MU_BUF_INIT;
    mu_reader_counts_t counts;
    static const member_t pdf[] = {{"x.txt", "%PDF-1.4", 0, NULL, false}},
                          zip[] = {{"y.txt", "PK\3\4....", 0, NULL, false}};
    size_t n;
    char *bytes = pack(archive_write_set_format_pax, ARCHIVE_FILTER_NONE, pdf, 1, &n);
    assert_int_equal(read_bytes("p.tar", bytes, n, &out, &counts), MU_DATA);
    assert_said("p.tar: x.txt: this is a PDF document");
    free(bytes);
    bytes = pack(archive_write_set_format_pax, ARCHIVE_FILTER_NONE, zip, 1, &n);
    assert_int_equal(read_bytes("q.tar", bytes, n, &out, &counts), MU_DATA);
    assert_said("q.tar: y.txt: this is an archive inside an archive");
    free(bytes);
    bytes = mu_calloc(1, 10240);
    assert_int_equal(read_bytes("none.tar", bytes, 10240, &out, &counts), MU_DATA);
    assert_said("none.tar: this is a file of zero bytes");
    free(bytes);
    bytes = pack(archive_write_set_format_zip, ARCHIVE_FILTER_NONE, NULL, 0, &n);
    assert_int_equal(read_bytes("none.zip", bytes, n, &out, &counts), MU_OK);
    assert_string_equal(out.data, "");
    free(bytes);
    mu_buf_release(&out);
}

/* A member that unpacks to very much is refused while it is read, in little memory. */
static void bombs_are_refused(void **state)
{
    (void)state;
    size_t n, room = 1 << 22, each = 1 << 20;
    char *zeros = mu_calloc(1, each), *bytes = mu_alloc(room);
    memset(zeros, '\n', each);
    struct archive *a = archive_write_new();
    assert_int_equal(archive_write_set_format_zip(a), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(a, bytes, room, &n), ARCHIVE_OK);
    for (int k = 0; k < 2; k++) {
        struct archive_entry *entry = archive_entry_new();
        archive_entry_set_pathname(entry, k ? "bomb.txt" : "a.txt");
        archive_entry_set_filetype(entry, AE_IFREG);
        archive_entry_set_size(entry, (k ? 70 : 1) * (la_int64_t)each);
        assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
        for (int i = 0; i < (k ? 70 : 1); i++)
            assert_int_equal(archive_write_data(a, zeros, each), each);
        archive_entry_free(entry);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
    mu_reader_options_t options = MU_READER_DEFAULTS;
    mu_reader_counts_t counts;
    mu_buf_t out = MU_BUF_INIT;
    char *path = write_file("bomb.zip", bytes, n);
    assert_int_equal(read_path(path, &options, &out, &counts), MU_DATA);
    assert_said("bomb.txt:1: a document longer than 67108864 bytes");
    mu_buf_release(&out);
    free(zeros);
    free(bytes);
}

static void names_hold_no_control_characters(void **state)
{
    (void)state;
    /* U+009B, which begins a command as ESC [ does; U+00A9 is no control character */
    static const member_t member = {"a\xC2\x9B\x1B"
                                    "b\xC2\xA9.jsonl",
                                    "{\n", 0, NULL, false};
    mu_reader_counts_t counts;
    mu_buf_t out = MU_BUF_INIT;
    size_t n;
    char *bytes = pack(archive_write_set_format_gnutar, ARCHIVE_FILTER_NONE, &member, 1, &n);
    assert_int_equal(read_bytes("c.tar", bytes, n, &out, &counts), MU_DATA);
    assert_said("c.tar: a??b\xC2\xA9.jsonl");
    mu_buf_release(&out);
    free(bytes);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, archives_up, support_down)
    const struct CMUnitTest tests[] = {
        TEST(members_are_documents),
        TEST(links_and_devices_are_counted),
        TEST(text_in_an_archive_is_cut_when_asked),
        TEST(pipes_and_joined_archives_are_read),
        TEST(cut_archives_are_not_read_in_silence),
        TEST(damage_is_noticed),
        TEST(what_no_text_can_be_is_refused),
        TEST(bombs_are_refused),
        TEST(names_hold_no_control_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
