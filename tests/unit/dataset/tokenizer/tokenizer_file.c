/* Files of tokenizers: what is read, what is refused and how, what survives saving. */
#include "dataset/tokenizer/tokenizer.h"
#include "tests/unit/dataset/data_support.h"

#define SMALL MU_SOURCE_DIR "/tests/data/tokenizer-small.json"

static void check_ids(const mu_tokenizer_t *tok, const char *text, const int32_t *want, size_t n)
{
    mu_ids_t ids = MU_IDS_INIT;
    assert_int_equal(mu_tokenizer_encode(tok, text, strlen(text), &ids), MU_OK);
    assert_int_equal(ids.len, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids.data[i], want[i]);
    mu_ids_release(&ids);
}

#define CHECK_IDS(tok, text, ...)                                                                            \
    check_ids(tok, text, (const int32_t[]){__VA_ARGS__}, sizeof(int32_t[]){__VA_ARGS__} / sizeof(int32_t))

/* ids as the tokenizers library gives them for the same file */
static void small_file(void **state)
{
    (void)state;
    mu_tokenizer_t *tok;
    assert_int_equal(mu_tokenizer_load(SMALL, &tok), MU_OK);
    assert_int_equal(mu_tokenizer_vocab(tok), 345);
    assert_int_equal(mu_tokenizer_eod(tok), 0);
    CHECK_IDS(tok, "the License", 334, 70, 326);
    CHECK_IDS(tok, "shall  be   in    a cat concat cat's", 84, 73, 290, 77, 342, 67, 70, 341, 266, 340, 66,
              222, 344, 329, 68, 295, 222, 344, 8, 84);
    CHECK_IDS(tok, "x  <mask> y<|endoftext|>\n", 89, 343, 222, 90, 0, 200);
    CHECK_IDS(tok, "caf\xC3\xA9 cafe\xCC\x81 \xE4\xBD\xA0\xE5\xA5\xBD", 68, 66, 71, 129, 104, 277, 66, 71,
              129, 104, 222, 162, 123, 256, 163, 100, 123);
    mu_tokenizer_free(tok);
}

static void saving_keeps_everything(void **state)
{
    (void)state;
    mu_tokenizer_t *tok, *again;
    char path[256];
    snprintf(path, sizeof path, "%s/saved.json", folder);
    assert_int_equal(mu_tokenizer_load(SMALL, &tok), MU_OK);
    assert_int_equal(mu_tokenizer_save(tok, path), MU_OK);
    assert_int_equal(mu_tokenizer_load(path, &again), MU_OK);
    assert_string_equal(mu_tokenizer_digest(tok), mu_tokenizer_digest(again));
    CHECK_IDS(again, "x  <mask> y<|endoftext|>\n", 89, 343, 222, 90, 0, 200);
    mu_tokenizer_free(again);
    mu_tokenizer_free(tok);
}

/* A file in the smallest form; %s: settings after the model, tokens, merges. */
static char *make_file(const char *settings, const char *vocab, const char *merges)
{
    return mu_format(
        "{\"decoder\":{\"type\":\"ByteLevel\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":false},%s\"model\":{\"type\":\"BPE\",\"vocab\":{%s},\"merges\":[%s]}}",
        settings, vocab, merges);
}

static void both_forms_of_merges(void **state)
{
    (void)state;
    static const char *const merges[] = {"\"a b\",\"ab c\"", "[\"a\",\"b\"],[\"ab\",\"c\"]",
                                         "\"#version: 0.2\",\"a b\",[\"ab\",\"c\"]"};
    for (size_t i = 0; i < 3; i++) {
        mu_tokenizer_t *tok;
        char *text = make_file("", "\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4", merges[i]);
        assert_int_equal(mu_tokenizer_load(write_file("merges.json", text, strlen(text)), &tok), MU_OK);
        CHECK_IDS(tok, "abcab", 4, 3);
        CHECK_IDS(tok, "azb", 3); /* a byte without a symbol is left out before merging */
        mu_tokenizer_free(tok);
        free(text);
    }
}

/* A template that holds only the text is nothing; one with tokens is read and its tokens are named. */
static void templates(void **state)
{
    (void)state;
    static const struct {
        const char *parts, *said;
    } row[] = {
        {"{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}", NULL},
        {"{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}",
         "puts '<s>' before each text"}};
    for (size_t i = 0; i < 2; i++) {
        mu_tokenizer_t *tok;
        char *settings =
            mu_format("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[%s],"
                      "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[1],\"tokens\":[\"<s>\"]}}},",
                      row[i].parts);
        char *text = make_file(settings, "\"a\":0,\"b\":1,\"ab\":2", "\"a b\"");
        mu_buf_clear(&said);
        assert_int_equal(mu_tokenizer_load(write_file("template.json", text, strlen(text)), &tok), MU_OK);
        CHECK_IDS(tok, "aba", 2, 0);
        assert_true(row[i].said ? strstr(said.data, row[i].said) != NULL
                                : !said.data || !strstr(said.data, "puts"));
        mu_tokenizer_free(tok);
        free(settings);
        free(text);
    }
}

static void what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *settings, *vocab, *merges, *message;
    } row[] = {
        {"\"normalizer\":{\"type\":\"Nmt\"},", "\"a\":0", "", "normalizer: found 'Nmt'"},
        {"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Nmt\"}]},",
         "\"a\":0", "", "normalizer.normalizers[1]: found 'Nmt'"},
        {"\"normalizer\":{\"type\":\"NFC\",\"version\":9},", "\"a\":0", "",
         "normalizer.version: this setting"},
        {"\"new\":1,", "\"a\":0", "", "new: this setting is unknown"},
        {"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}},{"
         "\"Sequence\":{\"id\":\"A\"}}]},",
         "\"a\":0", "", "post_processor.special_tokens: without the ids of 'x'"},
        {"\"post_processor\":{\"type\":\"RobertaProcessing\",\"cls\":[\"x\",7],\"sep\":[\"x\",0]},",
         "\"a\":0", "", "post_processor: id 7 has no token"},
        {"\"normalizer\":{\"type\":\"Sequence\"},", "\"a\":0", "", "without the array 'normalizers'"},
        {"\"post_processor\":{\"type\":\"Other\"},", "\"a\":0", "", "post_processor: found 'Other'"},
        {"\"post_processor\":{\"type\":\"BertProcessing\"},", "\"a\":0", "",
         "post_processor.cls: wanted a token"},
        {"\"post_processor\":{\"type\":\"TemplateProcessing\"},", "\"a\":0", "",
         "without the array 'single'"},
        {"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]},", "\"a\":0", "",
         "post_processor.single: holds the text 0 times"},
        {"\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},7]},",
         "\"a\":0", "", "post_processor.single[1]"},
        {"\"added_tokens\":{},", "\"a\":0", "", "added_tokens is not an array"},
        {"\"added_tokens\":[{\"id\":1}],", "\"a\":0", "", "without 'id' or 'content'"},
        {"\"added_tokens\":[{\"id\":1,\"content\":\"\"}],", "\"a\":0", "", "without 'id' or 'content'"},
        {"\"added_tokens\":[{\"id\":-1,\"content\":\"x\"}],", "\"a\":0", "", "the id of 'x' is not from 0"},
        {"\"added_tokens\":[{\"id\":99999999999,\"content\":\"x\"}],", "\"a\":0", "",
         "the id of 'x' is not from 0"},
        {"\"added_tokens\":[{\"id\":0,\"content\":\"x\"}],", "\"a\":0", "", "its id 0 is another token's"},
        {"\"added_tokens\":[{\"id\":7,\"content\":\"a\"}],", "\"a\":0", "", "'a' has id 7, and id 0"},
        {"\"added_tokens\":[{\"id\":1,\"content\":\"x\"},{\"id\":2,\"content\":\"x\"}],", "\"a\":0", "",
         "'x' comes twice"},
        {"\"added_tokens\":[{\"id\":1,\"content\":\"x\",\"lstrip\":3}],", "\"a\":0", "",
         "neither true nor false"},
        {"", "", "", "the vocabulary is not an object"},
        {"", "\"a\":0,\"b\":0", "", "'b' has id 0, which another token has already"},
        {"", "\"a\":0,\"a\":1", "", "not a JSON text"},
        {"", "\"a\":-1", "", "the id of 'a' is not an integer"},
        {"", "\"a\":4194304", "", "the id of 'a' is not an integer"},
        {"", "\"a\":1.5", "", "the id of 'a' is not an integer"},
        {"", "\"\":0", "", "id 0 has an empty name"},
        {"", "\"a\":0,\"b\":1", "\"a b\"", "merge 1 ('a' with 'b'): 'ab' is not in the vocabulary"},
        {"", "\"a\":0,\"ab\":1", "\"a b\"", "'b' is not in the vocabulary"},
        {"", "\"a\":0", "\"aa\"", "merge 1: found 'aa'"},
        {"", "\"a\":0", "\"a a a\"", "merge 1: found 'a a a'"},
        {"", "\"a\":0", "[\"a\"]", "merge 1 is neither"},
        {"", "\"a\":0", "[\"a\",1]", "merge 1 is neither"},
        {"", "\"a\":0", "17", "merge 1 is neither"},
        {"", "\"a\":0},\"dropout\":0.1,\"x\":{", "", "model.dropout"},
        {"", "\"a\":0},\"ignore_merges\":1,\"x\":{", "", "model.ignore_merges: found something"},
        {"", "\"a\":0},\"x\":{", "", "model.x: this setting is unknown"},
        {"", "\"a\":0},\"end_of_word_suffix\":\"</w> \",\"x\":{", "",
         "model.end_of_word_suffix: found '</w> '"},
        {"", "\"a\":0},\"unk_token\":\"b\",\"x\":{", "", "model.unk_token: 'b' is not in the vocabulary"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_tokenizer_t *tok = NULL;
        char *text = make_file(row[i].settings, row[i].vocab, row[i].merges);
        const char *path = write_file("refused.json", text, strlen(text));
        mu_buf_clear(&said);
        assert_int_equal(mu_tokenizer_load(path, &tok), MU_DATA);
        assert_null(tok);
        if (!strstr(said.data, row[i].message) || !strstr(said.data, path))
            fail_msg("row %zu: wanted '%s' and the file, found '%s'", i, row[i].message, said.data);
        free(text);
    }
}

static void other_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } row[] = {
        {"", "not a JSON text"},
        {"{\"model\":", ":1:9: not a JSON text"},
        {"[1]", "wanted an object"},
        {"{}", "decoder: found none"},
        {"{\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}}", "pre_tokenizer: found 'BertPreTokenizer'"},
        {"{\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"decoder\":{\"type\":\"ByteLevel\"}}",
         "pre_tokenizer and decoder: ByteLevel is in one of them"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[1,2]}}",
         "pre_tokenizer.pretokenizers[0]: found ''"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}", "decoder: found none"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"BPEDecoder\"}}",
         "decoder: found 'BPEDecoder'"},
        {"{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}]}"
         "}",
         "decoder: supported after Fuse is Strip"},
        {"{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},{\"type\":\"Fuse\"}]}}",
         "decoder.decoders[1]: found 'Fuse', supported is nothing after ByteLevel"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{"
         "\"type\":"
         "\"ByteFallback\"},{\"type\":\"ByteLevel\"}]},\"model\":{\"vocab\":{\"a\":0,\"<0x0A>\":1},"
         "\"merges\":[]}}",
         "decoder: the steps before ByteLevel would change the token '<0x0A>'"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"}}",
         "no object 'model'"},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{"
         "\"type\":"
         "\"Unigram\"}}",
         "model: found 'Unigram', supported is BPE"},
    };
    mu_tokenizer_t *tok = NULL;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_buf_clear(&said);
        assert_int_equal(mu_tokenizer_load(write_file("other.json", row[i].text, strlen(row[i].text)), &tok),
                         MU_DATA);
        if (!strstr(said.data, row[i].message))
            fail_msg("row %zu: wanted '%s', found '%s'", i, row[i].message, said.data);
    }
    assert_int_equal(mu_tokenizer_load("/nowhere/tokenizer.json", &tok), MU_NOINPUT);
    mu_buf_clear(&said);
    assert_int_equal(mu_tokenizer_load(MU_SOURCE_DIR "/tests", &tok), MU_NOINPUT);
    assert_non_null(strstr(said.data, "holds neither tokenizer.json nor vocab.json"));
    assert_null(tok);
}

static void gpt2_files(void **state)
{
    (void)state;
    /* as Windows editors write them; the word "model" does not make it a tokenizer.json */
    static const char vocab[] = "\xEF\xBB\xBF{\"a\":0,\"b\":1,\"\xC4\xA0\":2,\"ab\":3,\"\xC4\xA0"
                                "ab\":4,\"<|endoftext|>\":5,\"model\":6}";
    static const char merges[] = "\xEF\xBB\xBF#version: 0.2\r\na b\r\n\xC4\xA0 ab\r\n",
                      bad[] = "#version: 0.2\na b\nb\n";
    char vocab_path[256], merges_path[256];
    mu_tokenizer_t *tok, *named, *same, *none = NULL;
    snprintf(vocab_path, sizeof vocab_path, "%s", write_file("vocab.json", vocab, sizeof vocab - 1));
    snprintf(merges_path, sizeof merges_path, "%s", write_file("merges.txt", merges, sizeof merges - 1));
    assert_int_equal(mu_tokenizer_load_files(vocab_path, merges_path, &tok), MU_OK);
    assert_int_equal(mu_tokenizer_load(vocab_path, &named), MU_OK);
    assert_int_equal(mu_tokenizer_load(folder, &same), MU_OK);
    assert_string_equal(mu_tokenizer_digest(tok), mu_tokenizer_digest(named));
    assert_string_equal(mu_tokenizer_digest(tok), mu_tokenizer_digest(same));
    assert_int_equal(mu_tokenizer_eod(tok), 5);
    CHECK_IDS(tok, "ab ab<|endoftext|>a", 3, 4, 5, 0);
    mu_tokenizer_free(tok);
    mu_tokenizer_free(named);
    mu_tokenizer_free(same);

    write_file("merges.txt", bad, sizeof bad - 1);
    mu_buf_clear(&said);
    assert_int_equal(mu_tokenizer_load_files(vocab_path, merges_path, &none), MU_DATA);
    assert_non_null(strstr(said.data, "merges.txt: merge 3: found 'b'"));
    assert_int_equal(unlink(merges_path), 0);
    assert_int_equal(mu_tokenizer_load(vocab_path, &none), MU_NOINPUT);
    assert_null(none);
}

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* Damaged files are read or refused; neither crashes nor hangs, and what was read works. */
static void mutations(void **state)
{
    (void)state;
    static const char text[] = "the License  <mask> cat caf\xC3\xA9 \xFF\xE2\x82 <|endoftext|>";
    static const char *const words[] = {"\"", "{",    "}",       "[",       "]", "null",
                                        "-1", "1e99", "\\u0000", "\\ud800", ",", ":"};
    mu_buf_t good = MU_BUF_INIT;
    uint64_t seed = 1;
    int loaded = 0, refused = 0;
    assert_int_equal(mu_file_read(SMALL, 1 << 20, &good), MU_OK);
    for (int round = 0; round < 400; round++) {
        mu_buf_t bad = MU_BUF_INIT;
        mu_tokenizer_t *tok = NULL;
        mu_buf_add(&bad, good.data, good.len);
        for (uint32_t k = next_random(&seed) % 3 + 1; k > 0; k--) {
            size_t at = next_random(&seed) % bad.len;
            uint32_t kind = next_random(&seed) % 5;
            if (kind < 2)
                bad.data[at] = (char)next_random(&seed);
            else if (kind == 2)
                bad.data[at] = (char)('0' + next_random(&seed) % 10);
            else if (kind == 3)
                bad.len = round % 7 ? bad.len : at + 1;
            else {
                const char *word = words[next_random(&seed) % 12];
                size_t n = strlen(word) < bad.len - at ? strlen(word) : bad.len - at;
                memcpy(bad.data + at, word, n);
            }
        }
        mu_buf_clear(&said);
        mu_status_t status = mu_tokenizer_load(write_file("mutated.json", bad.data, bad.len), &tok);
        if (status == MU_OK) {
            mu_ids_t ids = MU_IDS_INIT;
            mu_buf_t back = MU_BUF_INIT;
            assert_int_equal(mu_tokenizer_encode(tok, text, sizeof text - 1, &ids), MU_OK);
            assert_int_equal(mu_tokenizer_decode(tok, ids.data, ids.len, &back), MU_OK);
            mu_ids_release(&ids);
            mu_buf_release(&back);
            mu_tokenizer_free(tok);
            loaded++;
        } else {
            assert_int_equal(status, MU_DATA);
            assert_null(tok);
            assert_non_null(strstr(said.data, "mutated.json"));
            refused++;
        }
        mu_buf_release(&bad);
    }
    assert_true(loaded > 20 && refused > 20);
    mu_buf_release(&good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_file),           cmocka_unit_test(saving_keeps_everything),
        cmocka_unit_test(both_forms_of_merges), cmocka_unit_test(templates),
        cmocka_unit_test(what_is_refused),      cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(gpt2_files),           cmocka_unit_test(mutations),
    };
    return cmocka_run_group_tests(tests, support_up, support_down);
}
