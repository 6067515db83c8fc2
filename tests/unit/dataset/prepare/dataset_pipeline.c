/* Tokenizing on threads: the same ids in the same order as one call a document, long documents cut, errors in
 * order; the line that says how far it is. */
#include "tests/unit/dataset/data_support.h"
#include "dataset/prepare/pipeline.h"
#include "dataset/prepare/spool.h"
#include "dataset/tokenizer/tokenizer_train.h"

static mu_tokenizer_t *tok;
static mu_buf_t text =
    MU_BUF_INIT; /* documents with blank lines between; one is longer than several pieces */

static mu_status_t whole_text(void *arg, const char **out, size_t *n)
{
    bool *given = arg;
    *out = *given ? NULL : text.data;
    *n = *given ? 0 : text.len;
    *given = true;
    return MU_OK;
}

static void add_words(uint64_t *random, size_t bytes)
{
    static const char *const word[] = {"the",     "order",       "of", "samples",      "is",
                                       "decided", "caf\xC3\xA9", "42", "\xE6\x97\xA5", "x_y"};
    for (size_t end = text.len + bytes; text.len < end;) {
        mu_buf_adds(&text, word[draw(random) % 10]);
        mu_buf_adds(&text, draw(random) % 12 ? " " : ".\n");
    }
    mu_buf_adds(&text, ".\n\n");
}

static int up(void **state)
{
    bool given = false;
    uint64_t random = 12345;
    mu_tokenizer_train_options_t options = MU_TOKENIZER_TRAIN_DEFAULTS;
    options.vocab = 300;
    if (support_up(state) != 0)
        return -1;
    for (int i = 0; i < 300; i++)
        add_words(&random, i == 150 ? 5 << 20 : draw(&random) % 3000);
    return mu_tokenizer_train(whole_text, &given, &options, &tok, NULL) == MU_OK ? 0 : -1;
}

static int down(void **state)
{
    mu_tokenizer_free(tok);
    mu_buf_release(&text);
    return support_down(state);
}

typedef struct collected {
    mu_ids_t ids;
    int documents, fail_at;
    uint64_t digests;
    uint64_t bytes;
} collected_t;

static mu_status_t collect(void *arg, const mu_encoded_t *doc)
{
    collected_t *c = arg;
    if (c->documents == c->fail_at)
        return MU_IO;
    for (size_t i = 0; i < doc->n; i++)
        mu_ids_add(&c->ids, doc->ids[i]);
    mu_ids_add(&c->ids, -1);
    c->bytes += doc->text_bytes;
    c->digests ^= doc->digest;
    c->documents++;
    return MU_OK;
}

static mu_reader_t *open_text(void)
{
    mu_reader_options_t options = MU_READER_DEFAULTS;
    mu_reader_t *reader;
    char *path = write_file("text", text.data, text.len);
    options.filter.digest = true;
    assert_int_equal(mu_reader_open(&path, 1, &options, &reader), MU_OK);
    return reader;
}

static mu_status_t run(int threads, int fail_at, collected_t *out)
{
    mu_reader_t *reader = open_text();
    *out = (collected_t){.fail_at = fail_at};
    mu_pipeline_sink_t sink = {collect, NULL, out};
    mu_status_t status = mu_pipeline_run(reader, tok, threads, NULL, &sink);
    mu_reader_close(reader);
    return status;
}

static void ids_do_not_depend_on_threads(void **state)
{
    (void)state;
    collected_t want = {.fail_at = -1};
    mu_reader_t *reader = open_text();
    mu_doc_t doc;
    while (mu_reader_next(reader, &doc) == MU_OK && doc.text) {
        mu_ids_t ids = MU_IDS_INIT;
        assert_int_equal(mu_tokenizer_encode(tok, doc.text, doc.bytes, &ids), MU_OK);
        mu_encoded_t encoded = {ids.data, ids.len, doc.bytes, doc.digest, doc.origin, NULL, doc.bytes};
        assert_int_equal(collect(&want, &encoded), MU_OK);
        mu_ids_release(&ids);
    }
    mu_reader_close(reader);
    assert_true(want.documents > 250);
    for (int threads = 1; threads <= 7; threads += 3) {
        collected_t got;
        assert_int_equal(run(threads, -1, &got), MU_OK);
        assert_int_equal(got.documents, want.documents);
        assert_int_equal(got.bytes, want.bytes);
        assert_true(got.digests == want.digests && got.digests != 0);
        assert_int_equal(got.ids.len, want.ids.len);
        assert_memory_equal(got.ids.data, want.ids.data, want.ids.len * sizeof *want.ids.data);
        mu_ids_release(&got.ids);
    }
    mu_ids_release(&want.ids);
}

static void an_error_of_the_sink_ends_it(void **state)
{
    (void)state;
    for (int at = 0; at < 200; at += 37) {
        collected_t got;
        assert_int_equal(run(3, at, &got), MU_IO);
        assert_int_equal(got.documents, at);
        mu_ids_release(&got.ids);
    }
}

static void what_stands_before_an_error_is_given_on(void **state)
{
    (void)state;
    static const char lines[] =
        "{\"text\": \"one\"}\n{\"text\": \"two\"}\n{\"text\": 3}\n{\"text\": \"four\"}\n";
    mu_reader_options_t options = MU_READER_DEFAULTS;
    mu_reader_t *reader;
    collected_t got = {.fail_at = -1};
    mu_pipeline_sink_t sink = {collect, NULL, &got};
    char *path = write_file("bad.jsonl", lines, sizeof lines - 1);
    assert_int_equal(mu_reader_open(&path, 1, &options, &reader), MU_OK);
    assert_int_equal(mu_pipeline_run(reader, tok, 2, NULL, &sink), MU_DATA);
    assert_int_equal(got.documents, 2);
    assert_said("bad.jsonl:3:10");
    mu_reader_close(reader);
    mu_ids_release(&got.ids);
}

static void a_file_that_was_there_stays(void **state)
{
    (void)state;
    static const char *const there[] = {"s.tokens", "s.documents"};
    for (int i = 0; i < 2; i++) {
        char *path = write_file(there[i], "mine", 4), *dir = mu_strdup(path);
        mu_spool_t spool;
        *strrchr(dir, '/') = '\0';
        assert_int_equal(mu_spool_create(&spool, dir, "s", 2, false), MU_IO);
        mu_spool_remove(&spool);
        assert_true(mu_is_file(path));
        char *other = mu_path_join(dir, there[1 - i]);
        assert_false(mu_is_file(other)); /* and what was made is removed */
        assert_int_equal(unlink(path), 0);
        free(other);
        free(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_do_not_depend_on_threads),
        cmocka_unit_test(an_error_of_the_sink_ends_it),
        cmocka_unit_test(what_stands_before_an_error_is_given_on),
        cmocka_unit_test(a_file_that_was_there_stays),
    };
    return cmocka_run_group_tests(tests, up, down);
}
