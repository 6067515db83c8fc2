/* Special tokens added to a tokenizer: their ids, what else stays as it is, what is refused. */
#include "dataset/tokenizer/tokenizer.h"
#include "tests/unit/dataset/data_support.h"

#define SMALL MU_SOURCE_DIR "/tests/data/tokenizer-small.json"

static mu_tokenizer_t *small(void)
{
    mu_tokenizer_t *tok;
    assert_int_equal(mu_tokenizer_load(SMALL, &tok), MU_OK);
    return tok;
}

/* Writes a tokenizer.json: ids 0 to 2 of the model, then an added token; `more` is put after that. */
static mu_tokenizer_t *tiny(const char *vocab, const char *more)
{
    mu_tokenizer_t *tok;
    char *path = mu_path_join(folder, "tiny.json");
    char *text =
        mu_format("{\"added_tokens\": [{\"id\": 3, \"content\": \"<|endoftext|>\", \"special\": true}%s],"
                  "\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
                  "\"add_prefix_space\": false}, \"decoder\": {\"type\": \"ByteLevel\"},"
                  "\"model\": {\"type\": \"BPE\", \"vocab\": {%s}, \"merges\": [\"a b\"]}}",
                  more, vocab);
    assert_int_equal(mu_file_replace(path, text, strlen(text), 0600), MU_OK);
    assert_int_equal(mu_tokenizer_load(path, &tok), MU_OK);
    free(text);
    free(path);
    return tok;
}

static const char abc[] = "\"a\": 0, \"b\": 1, \"ab\": 2";

static void check_ids(const mu_tokenizer_t *tok, const char *text, const int32_t *want, size_t n)
{
    mu_ids_t ids = MU_IDS_INIT;
    mu_buf_t back = MU_BUF_INIT;
    assert_int_equal(mu_tokenizer_encode(tok, text, strlen(text), &ids), MU_OK);
    assert_int_equal(ids.len, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids.data[i], want[i]);
    assert_int_equal(mu_tokenizer_decode(tok, ids.data, ids.len, &back), MU_OK);
    assert_string_equal(back.data, text);
    mu_buf_release(&back);
    mu_ids_release(&ids);
}

static void ids_are_appended(void **state)
{
    (void)state;
    char *names[] = {"<|quest|>", "<|endoftext|>", "<|quest|>", "<|qu\xc3\xa9|>"};
    mu_tokenizer_t *tok = tiny(abc, "");
    assert_int_equal(mu_tokenizer_add_specials(tok, names, 4), MU_OK); /* two of them are there already */
    assert_int_equal(mu_tokenizer_vocab(tok), 6);
    assert_int_equal(mu_tokenizer_eod(tok), 3);
    check_ids(tok, "<|quest|>ab<|qu\xc3\xa9|><|endoftext|>a<|quest|>", (int32_t[]){4, 2, 5, 3, 0, 4}, 6);
    check_ids(tok, "abba", (int32_t[]){2, 1, 0}, 3);
    mu_tokenizer_free(tok);
}

static void they_are_kept_in_a_file(void **state)
{
    (void)state;
    char *names[] = {"<|quest|>", "<|answer|>"}, *path = mu_path_join(folder, "more.json");
    mu_tokenizer_t *tok = small(), *base = small(), *again;
    int32_t ids = mu_tokenizer_vocab(base);
    assert_int_equal(mu_tokenizer_add_specials(tok, names, 2), MU_OK);
    assert_int_equal(mu_tokenizer_vocab(tok), ids + 2);
    assert_string_not_equal(mu_tokenizer_digest(tok), mu_tokenizer_digest(base));
    assert_int_equal(mu_tokenizer_save(tok, path), MU_OK);
    assert_int_equal(mu_tokenizer_load(path, &again), MU_OK);
    assert_string_equal(mu_tokenizer_digest(again), mu_tokenizer_digest(tok));
    check_ids(again, "<|answer|><|quest|>", (int32_t[]){ids + 1, ids}, 2);
    /* none: nothing changes */
    assert_int_equal(mu_tokenizer_add_specials(tok, NULL, 0), MU_OK);
    assert_string_equal(mu_tokenizer_digest(again), mu_tokenizer_digest(tok));
    mu_tokenizer_free(again);
    mu_tokenizer_free(base);
    mu_tokenizer_free(tok);
    free(path);
}

static void what_extends_what(void **state)
{
    (void)state;
    char *names[] = {"<|quest|>"};
    mu_tokenizer_t *base = tiny(abc, ""), *tok = tiny(abc, ""), *other;
    assert_true(mu_tokenizer_extends(tok, base));
    assert_int_equal(mu_tokenizer_add_specials(tok, names, 1), MU_OK);
    assert_true(mu_tokenizer_extends(tok, base));
    assert_false(mu_tokenizer_extends(base, tok));
    other = tiny(abc, ", {\"id\": 4, \"content\": \" x\", \"special\": false, \"rstrip\": true}");
    assert_true(mu_tokenizer_extends(other, base)); /* any added token, not special ones alone */
    assert_false(mu_tokenizer_extends(other, tok));
    mu_tokenizer_free(other);
    other = tiny("\"a\": 0, \"b\": 1, \"ab\": 2, \"c\": 4", ""); /* the model itself has more */
    assert_false(mu_tokenizer_extends(other, base));
    mu_tokenizer_free(other);
    other = tiny("\"a\": 1, \"b\": 0, \"ab\": 2", ""); /* other ids */
    assert_false(mu_tokenizer_extends(other, base));
    mu_tokenizer_free(other);
    other = small();
    assert_false(mu_tokenizer_extends(other, base));
    mu_tokenizer_free(other);
    mu_tokenizer_free(tok);
    mu_tokenizer_free(base);
}

static void check_refused(mu_tokenizer_t *tok, const char *name, mu_status_t status, const char *words)
{
    char *names[] = {(char *)(uintptr_t)name};
    int32_t ids = mu_tokenizer_vocab(tok);
    mu_buf_clear(&said);
    assert_int_equal(mu_tokenizer_add_specials(tok, names, 1), status);
    assert_non_null(strstr(said.data, words));
    assert_int_equal(mu_tokenizer_vocab(tok), ids);
    check_ids(tok, "ab", (int32_t[]){2}, 1); /* it can still be used */
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    char wide[258];
    mu_tokenizer_t *tok = tiny(abc, "");
    memset(wide, 'x', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    check_refused(tok, "", MU_USAGE, "wanted 1 to 256 bytes");
    check_refused(tok, wide, MU_USAGE, "wanted 1 to 256 bytes");
    check_refused(tok, "<\xff>", MU_USAGE, "of UTF-8");
    check_refused(tok, "ab", MU_USAGE, "a plain token of this text, id 2");
    mu_tokenizer_free(tok);
    tok = tiny("\"a\": 0, \"b\": 1, \"ab\": 2, \"c\": 5", ""); /* no token 4 */
    check_refused(tok, "<|quest|>", MU_DATA, "no token of id 4 though its last is 5");
    mu_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_appended),
        cmocka_unit_test(they_are_kept_in_a_file),
        cmocka_unit_test(what_extends_what),
        cmocka_unit_test(bad_names_are_refused),
    };
    return cmocka_run_group_tests(tests, support_up, support_down);
}
