/* muster tokenizer: what the verbs write, and that decode undoes encode. */
#include "launcher/cmd/cmd.h"
#include "dataset/tokenizer/tokenizer.h"
#include "tests/unit/dataset/data_support.h"

#define SMALL MU_SOURCE_DIR "/tests/data/tokenizer-small.json"

/* Runs a verb with stdout in folder/out, and reads that back. */
static mu_status_t run(mu_buf_t *out, int argc, char **argv)
{
    fflush(stdout);
    char path[256];
    snprintf(path, sizeof path, "%s/out", folder);
    int keep = dup(STDOUT_FILENO);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(keep >= 0 && fd >= 0);
    dup2(fd, STDOUT_FILENO);
    mu_buf_clear(&said);
    mu_status_t status = mu_cmd_tokenizer(argc, argv);
    fflush(stdout);
    dup2(keep, STDOUT_FILENO);
    close(keep);
    close(fd);
    mu_buf_clear(out);
    assert_int_equal(mu_file_read(path, 1 << 26, out), MU_OK);
    return status;
}

#define RUN(out, ...)                                                                                        \
    run(out, sizeof((char *[]){"tokenizer", __VA_ARGS__}) / sizeof(char *),                                  \
        (char *[]){"tokenizer", __VA_ARGS__, NULL})

static void ids_as_lines_and_as_json(void **state)
{
    (void)state;
    mu_buf_t out = MU_BUF_INIT;
    char *text = write_file("text", "the License", 11), *none = write_file("none", "", 0);
    assert_int_equal(RUN(&out, "encode", "--tokenizer", SMALL, "--input", text), MU_OK);
    assert_string_equal(out.data, "334\n70\n326\n");
    assert_int_equal(RUN(&out, "encode", "--tokenizer=" SMALL, "--json", "--input", text), MU_OK);
    assert_string_equal(out.data, "[334,70,326]\n");
    assert_int_equal(RUN(&out, "encode", "--tokenizer", SMALL, "--input", none, "--json"), MU_OK);
    assert_string_equal(out.data, "[]\n");
    assert_int_equal(RUN(&out, "encode", "--tokenizer", SMALL, "--input", none), MU_OK);
    assert_int_equal(out.len, 0);
    text = write_file("documents", "the\n\nLicense\ncat\n", 17);
    assert_int_equal(RUN(&out, "encode", "--tokenizer", SMALL, "--input", text, "--documents"), MU_OK);
    assert_string_equal(out.data, "334 70\n45 309 200 344\n");
    mu_buf_release(&out);
}

static void decode_undoes_encode(void **state)
{
    (void)state;
    static const char line[] = "  the cat\tsat caf\xC3\xA9 \xE4\xBD\xA0\xE5\xA5\xBD <|endoftext|>\n\n";
    mu_buf_t text = MU_BUF_INIT, ids = MU_BUF_INIT, back = MU_BUF_INIT;
    while (text.len < (5u << 20)) /* more than one block */
        mu_buf_addf(&text, "%zu%s", text.len, line);
    char *path = write_file("long", text.data, text.len);
    for (int json = 0; json < 2; json++) {
        assert_int_equal(RUN(&ids, "encode", "--tokenizer", SMALL, "--input", path,
                             json ? "--json" : "--tokenizer", json ? "--tokenizer=" SMALL : SMALL),
                         MU_OK);
        char *ids_path = write_file("ids", ids.data, ids.len);
        assert_int_equal(RUN(&back, "decode", "--tokenizer", SMALL, "--input", ids_path), MU_OK);
        assert_int_equal(back.len, text.len);
        assert_memory_equal(back.data, text.data, text.len);
    }
    /* the same ids as of the whole text at once */
    mu_tokenizer_t *tok;
    mu_ids_t whole = MU_IDS_INIT;
    assert_int_equal(mu_tokenizer_load(SMALL, &tok), MU_OK);
    assert_int_equal(mu_tokenizer_encode(tok, text.data, text.len, &whole), MU_OK);
    const char *p = ids.data + 1;
    for (size_t i = 0; i < whole.len; i++) {
        char *end;
        assert_int_equal(strtol(p, &end, 10), whole.data[i]);
        p = end + 1;
    }
    assert_string_equal(p, "\n");
    mu_ids_release(&whole);
    mu_tokenizer_free(tok);
    mu_buf_release(&text);
    mu_buf_release(&ids);
    mu_buf_release(&back);
}

static void ids_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *ids, *text, *message; /* text or message */
    } row[] = {{"334 70\n326", "the License", NULL},
               {" [334, 70,326 ] \n", "the License", NULL},
               {"", "", NULL},
               {"[]", "", NULL},
               {"334\n70\nx", NULL, ":3: unexpected 'x'"},
               {"[334,", NULL, "the array has no end"},
               {"[334,]", NULL, "unexpected ']'"},
               {"[334 70]", NULL, "unexpected '7'"},
               {"[334][70]", NULL, "unexpected '['"},
               {"[,1]", NULL, "unexpected ','"},
               {"334,70", NULL, "unexpected ','"},
               {"-1", NULL, "unexpected '-'"},
               {"99999999999999999999", NULL, "a number above 2^31 - 1"},
               {"\x01", NULL, "unexpected byte 0x01"},
               {"345", NULL, "token id 345"}};
    mu_buf_t out = MU_BUF_INIT;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char *path = write_file("ids", row[i].ids, strlen(row[i].ids));
        mu_status_t status = RUN(&out, "decode", "--tokenizer", SMALL, "--input", path);
        assert_int_equal(status, row[i].text ? MU_OK : MU_DATA);
        if (row[i].text)
            assert_string_equal(out.len ? out.data : "", row[i].text);
        else if (!strstr(said.data, row[i].message))
            fail_msg("row %zu: wanted '%s', found '%s'", i, row[i].message, said.data);
    }
    mu_buf_release(&out);
}

static void training_writes_the_same_file_again(void **state)
{
    (void)state;
    mu_buf_t out = MU_BUF_INIT, first = MU_BUF_INIT, second = MU_BUF_INIT;
    char *a = in_folder("a.json"), *b = in_folder("b.json");
    assert_int_equal(
        RUN(&out, "train", "--input", MU_SOURCE_DIR "/LICENSE", "--vocab-size", "400", "--output", a), MU_OK);
    assert_non_null(strstr(said.data, "400 ids from"));
    assert_int_equal(
        RUN(&out, "train", "--vocab-size=400", "--input", MU_SOURCE_DIR "/LICENSE", "--output", b), MU_OK);
    assert_int_equal(mu_file_read(a, 1 << 20, &first), MU_OK);
    assert_int_equal(mu_file_read(b, 1 << 20, &second), MU_OK);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    mu_tokenizer_t *tok;
    assert_int_equal(mu_tokenizer_load(a, &tok), MU_OK);
    assert_int_equal(mu_tokenizer_vocab(tok), 400);
    mu_tokenizer_free(tok);
    mu_buf_release(&out);
    mu_buf_release(&first);
    mu_buf_release(&second);
}

static void wrong_command_lines(void **state)
{
    (void)state;
    mu_buf_t out = MU_BUF_INIT;
    assert_int_equal(RUN(&out, "--help"), MU_OK);
    assert_non_null(strstr(out.data, "muster tokenizer train"));
    assert_int_equal(RUN(&out, "train", "--help"), MU_OK);
    assert_non_null(strstr(out.data, "--vocab-size N"));
    assert_int_equal(RUN(&out, "encode", "--help"), MU_OK);
    assert_int_equal(RUN(&out, "decode", "-h"), MU_OK);
    assert_int_equal(run(&out, 1, (char *[]){"tokenizer", NULL}), MU_USAGE);
    assert_int_equal(RUN(&out, "frobnicate"), MU_USAGE);
    assert_int_equal(RUN(&out, "encode"), MU_USAGE);
    assert_int_equal(RUN(&out, "encode", "--tokenizer"), MU_USAGE);
    assert_int_equal(RUN(&out, "encode", "--tokenizer", SMALL, "--input", "a", "b"), MU_USAGE);
    assert_int_equal(RUN(&out, "encode", "--tokenizer", SMALL, "--input", "a", "--json", "--documents"),
                     MU_USAGE);
    assert_int_equal(RUN(&out, "encode", "--vocab-size", "3"), MU_USAGE);
    assert_non_null(strstr(said.data, "no option '--vocab-size'"));
    assert_int_equal(RUN(&out, "encode", "--bogus"), MU_USAGE);
    assert_non_null(strstr(said.data, "no option '--bogus'"));
    assert_int_equal(RUN(&out, "encode", "before", "--input", "x"), MU_USAGE);
    assert_int_equal(RUN(&out, "encode", "--json=1"), MU_USAGE);
    assert_int_equal(RUN(&out, "decode", "--tokenizer", SMALL), MU_USAGE);
    assert_int_equal(RUN(&out, "train", "--input", "x", "--vocab-size", "many", "--output", "y"), MU_USAGE);
    assert_int_equal(RUN(&out, "train", "--input", MU_SOURCE_DIR "/LICENSE", "--vocab-size", "10", "--output",
                         in_folder("few.json")),
                     MU_USAGE);
    assert_false(mu_is_file(in_folder("few.json")));
    assert_int_equal(RUN(&out, "encode", "--tokenizer", SMALL, "--input", "/nowhere"), MU_NOINPUT);
    assert_int_equal(RUN(&out, "decode", "--tokenizer", "/nowhere", "--input", "-"), MU_NOINPUT);
    mu_buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_as_lines_and_as_json), cmocka_unit_test(decode_undoes_encode),
        cmocka_unit_test(ids_are_read_strictly),    cmocka_unit_test(training_writes_the_same_file_again),
        cmocka_unit_test(wrong_command_lines),
    };
    return cmocka_run_group_tests(tests, support_up, support_down);
}
