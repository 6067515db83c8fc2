/* What holds for every text: decoding gives it back, cuts and threads change nothing, merging long words and
 * short ones is the same; NFC; words; training. */
#include "dataset/tokenizer/tokenizer_impl.h"
#include "dataset/tokenizer/tokenizer_train.h"
#include "common/log.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>

#define SMALL MU_SOURCE_DIR "/tests/data/tokenizer-small.json"

static mu_tokenizer_t *small;

static int load(void **state)
{
    (void)state;
    mu_log_level_set(MU_LOG_ERROR);
    return mu_tokenizer_load(SMALL, &small) == MU_OK ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    mu_tokenizer_free(small);
    return 0;
}

static void ignore(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)line;
    (void)arg;
}

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* Words, space, code points of all planes, special tokens. */
static void random_text(uint64_t *seed, mu_buf_t *out)
{
    static const char *const pieces[] = {"the",
                                         " License",
                                         "  ",
                                         "    ",
                                         "\n",
                                         "\n\n",
                                         "'s",
                                         "'ll",
                                         "cat",
                                         " cat ",
                                         "<mask>",
                                         " <mask>",
                                         "<|endoftext|>",
                                         "e\xCC\x81",
                                         "\xC3\xA9",
                                         "\xE3\x80\x80",
                                         "12",
                                         "==",
                                         "\t",
                                         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    mu_buf_clear(out);
    for (uint32_t k = next_random(seed) % 40; k > 0; k--) {
        if (next_random(seed) % 3) {
            mu_buf_adds(out, pieces[next_random(seed) % (sizeof pieces / sizeof *pieces)]);
            continue;
        }
        uint32_t c = next_random(seed) % (next_random(seed) % 2 ? 0x500 : 0x110000);
        mu_utf8_add(out, c >= 0xD800 && c < 0xE000 ? 'x' : c);
    }
    mu_buf_reserve(out, 1);
}

static void decoding_gives_the_text_back(void **state)
{
    (void)state;
    mu_buf_t text = MU_BUF_INIT, back = MU_BUF_INIT, nfc = MU_BUF_INIT;
    mu_ids_t ids = MU_IDS_INIT;
    uint64_t seed = 2;
    mu_encoder_t *encoder = mu_encoder_new(small);
    for (int round = 0; round < 5000; round++) {
        size_t replaced = 99;
        random_text(&seed, &text);
        ids.len = 0;
        mu_buf_clear(&back);
        mu_buf_clear(&nfc);
        assert_int_equal(mu_encoder_encode(encoder, text.data, text.len, &ids, &replaced), MU_OK);
        assert_int_equal(replaced, 0);
        assert_int_equal(mu_tokenizer_decode(small, ids.data, ids.len, &back), MU_OK);
        if (strstr(text.data, "<mask>") || memchr(text.data, '\0', text.len))
            continue; /* <mask> takes the space before it */
        bool changed = mu_unicode_nfc(small->unicode, text.data, text.len, &nfc);
        assert_int_equal(back.len, changed ? nfc.len : text.len);
        assert_memory_equal(back.data, changed ? nfc.data : text.data, back.len);
    }
    mu_encoder_free(encoder);
    mu_ids_release(&ids);
    mu_buf_release(&text);
    mu_buf_release(&back);
    mu_buf_release(&nfc);
}

static int count_cuts(const mu_tokenizer_t *tok)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_ids_t whole = MU_IDS_INIT, parts = MU_IDS_INIT;
    uint64_t seed = 3;
    int cuts = 0;
    mu_encoder_t *encoder = mu_encoder_new(tok);
    for (int round = 0; round < 3000; round++) {
        random_text(&seed, &text);
        if (text.len > 0 && round % 4 == 0) /* not UTF-8 */
            text.data[next_random(&seed) % text.len] = (char)next_random(&seed);
        size_t seen = text.len ? next_random(&seed) % (text.len + 1) : 0;
        size_t cut = mu_tokenizer_cut(tok, text.data, seen);
        assert_true(cut <= seen);
        cuts += cut > 0;
        whole.len = parts.len = 0;
        assert_int_equal(mu_encoder_encode(encoder, text.data, text.len, &whole, NULL), MU_OK);
        assert_int_equal(mu_encoder_encode(encoder, text.data, cut, &parts, NULL), MU_OK);
        assert_int_equal(mu_encoder_continue(encoder, text.data + cut, text.len - cut, &parts, NULL), MU_OK);
        assert_int_equal(whole.len, parts.len);
        if (whole.len > 0)
            assert_memory_equal(whole.data, parts.data, whole.len * sizeof *whole.data);
    }
    mu_encoder_free(encoder);
    mu_ids_release(&whole);
    mu_ids_release(&parts);
    mu_buf_release(&text);
    return cuts;
}

/* A tokenizer of bytes with one added token. */
static mu_tokenizer_t *with_added(const char *content, mu_added_t added, bool prefix_space)
{
    mu_tokenizer_t *tok = mu_tokenizer_new();
    for (int b = 0; b < 256; b++) {
        mu_buf_t name = MU_BUF_INIT;
        mu_utf8_add(&name, mu_symbol_of_byte((unsigned char)b));
        mu_tokenizer_add_model(tok, b, name.data);
        mu_buf_release(&name);
    }
    tok->pre.stage[0].prefix_space = prefix_space;
    added.id = 256;
    mu_tokenizer_add_added(tok, &added, content);
    assert_int_equal(mu_tokenizer_finish(tok), MU_OK);
    return tok;
}

static void cuts_change_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        mu_added_t added;
        bool prefix_space;
    } row[] = {{"cat the", {.normalized = true}, false},
               {"=\n", {.special = true}, false},
               {"cat", {.rstrip = true}, false},
               {"cat", {.lstrip = true}, true},
               {" cat", {.single_word = true}, false},
               {"\n\n", {.single_word = true}, true},
               {"e\xCC\x81 the", {.normalized = true}, false}};
    assert_true(count_cuts(small) > 1000);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_tokenizer_t *tok = with_added(row[i].content, row[i].added, row[i].prefix_space);
        int cuts = count_cuts(tok);
        assert_true(row[i].added.rstrip ? cuts == 0 : cuts > 300);
        mu_tokenizer_free(tok);
    }
}

static void *encode_many(void *arg)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_ids_t *ids = arg;
    uint64_t seed = 4;
    mu_encoder_t *encoder = mu_encoder_new(small);
    for (int round = 0; round < 500; round++) {
        random_text(&seed, &text);
        mu_encoder_encode(encoder, text.data, text.len, ids, NULL);
    }
    mu_encoder_free(encoder);
    mu_buf_release(&text);
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    pthread_t thread[3];
    mu_ids_t ids[3] = {MU_IDS_INIT, MU_IDS_INIT, MU_IDS_INIT};
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, encode_many, &ids[i]), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(ids[i].len, ids[0].len);
        assert_memory_equal(ids[i].data, ids[0].data, ids[0].len * sizeof(int32_t));
    }
    for (int i = 0; i < 3; i++)
        mu_ids_release(&ids[i]);
}

static void what_is_not_utf8_is_counted(void **state)
{
    (void)state;
    static const char bad[] = "a\xFF\xE2\x82z\xC0\xAF",
                      good[] = "a\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD";
    mu_ids_t a = MU_IDS_INIT, b = MU_IDS_INIT;
    size_t replaced = 0;
    mu_encoder_t *encoder = mu_encoder_new(small);
    assert_int_equal(mu_encoder_encode(encoder, bad, sizeof bad - 1, &a, &replaced), MU_OK);
    assert_int_equal(replaced, 4);
    assert_int_equal(mu_encoder_encode(encoder, good, sizeof good - 1, &b, &replaced), MU_OK);
    assert_int_equal(replaced, 0);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
    mu_encoder_free(encoder);
    mu_ids_release(&a);
    mu_ids_release(&b);
}

static void ids_without_a_token_are_refused(void **state)
{
    (void)state;
    static const int32_t ids[] = {89, 345}, negative[] = {-1};
    mu_buf_t out = MU_BUF_INIT;
    mu_buf_adds(&out, "kept");
    mu_log_sink_set(ignore, NULL);
    assert_int_equal(mu_tokenizer_decode(small, ids, 2, &out), MU_DATA);
    assert_int_equal(mu_tokenizer_decode(small, negative, 1, &out), MU_DATA);
    mu_log_sink_set(NULL, NULL);
    assert_int_equal(out.len, 4);
    mu_buf_release(&out);
}

/* The definition: again and again the lowest rank, the leftmost of equals. */
static size_t merge_slowly(const mu_merge_t *merges, size_t count, int32_t *ids, size_t n)
{
    for (;;) {
        size_t best = count, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t r = 0; r < best; r++)
                if (merges[r].left == ids[i] && merges[r].right == ids[i + 1]) {
                    best = r;
                    at = i;
                }
        if (best == count)
            return n;
        ids[at] = merges[best].joined;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void merging_follows_its_definition(void **state)
{
    (void)state;
    uint64_t seed = 5;
    mu_bpe_work_t work = {NULL, 0};
    for (int round = 0; round < 300; round++) {
        mu_merge_t merges[40];
        int32_t fast[200], slow[200];
        size_t count = 0;
        while (count < 40) {
            mu_merge_t m = {(int32_t)(next_random(&seed) % (3 + count)),
                            (int32_t)(next_random(&seed) % (3 + count)), (int32_t)(3 + count)};
            bool known = false;
            for (size_t r = 0; r < count; r++)
                known = known || (merges[r].left == m.left && merges[r].right == m.right);
            if (!known)
                merges[count++] = m;
        }
        mu_bpe_t bpe;
        mu_bpe_init(&bpe, merges, count);
        size_t n = (size_t)round % 200 + 1;
        for (size_t i = 0; i < n; i++)
            fast[i] = slow[i] = (int32_t)(next_random(&seed) % 3);
        size_t left = merge_slowly(merges, count, slow, n);
        assert_int_equal(mu_bpe_merge(&bpe, &work, fast, n), left);
        assert_memory_equal(fast, slow, left * sizeof *fast);
        mu_bpe_release(&bpe);
    }
    mu_bpe_work_release(&work);
}

static void nfc_is_unicode_9(void **state)
{
    (void)state;
    static const struct {
        const char *text, *nfc; /* NULL: the text is its own form */
    } row[] = {
        {"plain \xC3\xA9 \xE4\xBD\xA0", NULL},
        {"e\xCC\x81", "\xC3\xA9"},
        {"xe\xCC\x81y", "x\xC3\xA9y"},
        {"\xE2\x84\xAB", "\xC3\x85"},                             /* singleton */
        {"e\xCC\x81\xCC\xA7", "\xC8\xA9\xCC\x81"},                /* order, then join */
        {"\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C"}, /* Hangul */
        {"\xE0\xA5\x98", "\xE0\xA4\x95\xE0\xA4\xBC"},             /* excluded */
        {"\xCC\xA7\xCC\x81", NULL},                               /* in order already */
        {"\xCC\x81\xCC\xA7", "\xCC\xA7\xCC\x81"},                 /* without a base */
        {"\xF0\x91\x8D\xAC\xF0\x91\xA9\x87", NULL},               /* U+11A47: Unicode 10 */
        {"\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0", NULL},               /* U+11938: Unicode 13 */
        {"\xE1\xB7\xBA\xCC\xB4\xCC\x81\xCC\xA7", "\xE1\xB7\xBA\xCC\xB4\xCC\xA7\xCC\x81"}}; /* U+1DFA: 14 */
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_buf_t out = MU_BUF_INIT;
        bool changed = mu_unicode_nfc(small->unicode, row[i].text, strlen(row[i].text), &out);
        const char *got = changed ? out.data : row[i].text;
        assert_string_equal(got, row[i].nfc ? row[i].nfc : row[i].text);
        mu_buf_release(&out);
    }
}

/* Words, each with | after it. */
static void words_follow_the_pattern(void **state)
{
    (void)state;
    static const char *const row[] = {"Hello|,| world|!|",
                                      "it|'s| we|'ll|'re| I|'m| he|'d|'ve|'t|",
                                      "a| '|s|",
                                      "''|s|",
                                      "I|'|M|",
                                      "a|  | b|",
                                      "a|\n\n|\n|b|",
                                      "x|  \n | y|",
                                      "a|\t|\t|b|",
                                      "x|  |",
                                      "  |",
                                      " |",
                                      "'|",
                                      "abc|123\xC2\xB2\xC2\xBD|_|x|",
                                      "a|==|1|.|5|",
                                      " |\n|a|",
                                      "na\xC3\xAFve| \xE4\xBD\xA0\xE5\xA5\xBD|\xE3\x80\x80|x|\xC2\xA0| y|"};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_buf_t text = MU_BUF_INIT, words = MU_BUF_INIT;
        for (const char *p = row[i]; *p; p++)
            if (*p != '|')
                mu_buf_addc(&text, *p);
        const unsigned char *p = (const unsigned char *)text.data, *end = p + text.len;
        while (p < end) {
            const unsigned char *stop = mu_word_end(small->unicode, p, end);
            assert_true(stop > p && stop <= end);
            mu_buf_add(&words, p, (size_t)(stop - p));
            mu_buf_addc(&words, '|');
            p = stop;
        }
        assert_string_equal(words.data, row[i]);
        mu_buf_release(&text);
        mu_buf_release(&words);
    }
}

typedef struct texts {
    const char *const *list;
    int next, count, step;
} texts_t;

static mu_status_t next_text(void *arg, const char **text, size_t *n)
{
    texts_t *t = arg;
    *text = t->next >= 0 && t->next < t->count ? t->list[t->next] : NULL;
    *n = *text ? strlen(*text) : 0;
    t->next += t->step;
    return MU_OK;
}

static const char *const corpus[] = {
    "low low low low low lower lower newest newest newest newest newest newest", "widest widest widest",
    "cafe\xCC\x81 caf\xC3\xA9", "aaaa aaaa aaaaa"};

static void training_depends_on_the_text_alone(void **state)
{
    (void)state;
    texts_t forward = {corpus, 0, 4, 1}, backward = {corpus, 3, 4, -1};
    mu_tokenizer_train_options_t options = MU_TOKENIZER_TRAIN_DEFAULTS;
    mu_tokenizer_train_counts_t counts;
    mu_tokenizer_t *a, *b;
    options.vocab = 270;
    assert_int_equal(mu_tokenizer_train(next_text, &forward, &options, &a, &counts), MU_OK);
    assert_int_equal(counts.texts, 4);
    assert_int_equal(counts.words, 11);
    assert_int_equal(mu_tokenizer_train(next_text, &backward, &options, &b, NULL), MU_OK);
    assert_string_equal(mu_tokenizer_digest(a), mu_tokenizer_digest(b));
    assert_int_equal(mu_tokenizer_vocab(a), 270);
    assert_int_equal(mu_tokenizer_eod(a), 0);
    mu_tokenizer_free(a);
    mu_tokenizer_free(b);
}

/* es and st are seen nine times each: the lower left id comes first. Then lo and ow, seven times; then pairs
 * seen six times, in the order of the bytes' ids, where the space is after the letters. */
static void training_takes_the_most_frequent_pair(void **state)
{
    (void)state;
    texts_t texts = {corpus, 0, 2, 1};
    mu_tokenizer_train_options_t options = MU_TOKENIZER_TRAIN_DEFAULTS;
    mu_tokenizer_t *tok;
    options.vocab = 300;
    options.min_count = 6;
    assert_int_equal(mu_tokenizer_train(next_text, &texts, &options, &tok, NULL), MU_OK);
    mu_buf_t names = MU_BUF_INIT;
    for (int32_t id = 258; id < mu_tokenizer_vocab(tok); id++) {
        mu_buf_add(&names, mu_piece_bytes(tok, id), tok->pieces[id].len);
        mu_buf_addc(&names, '|');
    }
    assert_string_equal(names.data, "es|est|lo|low|ew|new| low| new| newest|");
    mu_buf_release(&names);
    mu_tokenizer_free(tok);
}

static mu_status_t many_words(void *arg, const char **text, size_t *n)
{
    static char line[64];
    int *i = arg;
    int k = (*i)++;
    *text = k < 20000 ? line : NULL;
    *n = (size_t)snprintf(line, sizeof line, "frequent word%d%s", k, k % 5 ? "" : " other");
    return MU_OK;
}

static void training_is_bounded(void **state)
{
    (void)state;
    mu_tokenizer_train_options_t options = MU_TOKENIZER_TRAIN_DEFAULTS;
    mu_tokenizer_train_counts_t counts;
    mu_tokenizer_t *tok;
    mu_ids_t ids = MU_IDS_INIT;
    int i = 0;
    options.vocab = 290;
    options.max_words = 1024;
    assert_int_equal(mu_tokenizer_train(many_words, &i, &options, &tok, &counts), MU_OK);
    assert_true(counts.words <= 1024 && counts.forgotten > 15000);
    assert_int_equal(mu_tokenizer_encode(tok, "frequent", 8, &ids), MU_OK);
    assert_int_equal(ids.len, 1);
    mu_ids_release(&ids);
    mu_tokenizer_free(tok);

    mu_log_sink_set(ignore, NULL);
    options.vocab = 257;
    assert_int_equal(mu_tokenizer_train(many_words, &i, &options, &tok, NULL), MU_USAGE);
    options.vocab = 300;
    assert_int_equal(mu_tokenizer_train(many_words, &i, &options, &tok, NULL), MU_DATA);
    mu_log_sink_set(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_gives_the_text_back),
        cmocka_unit_test(cuts_change_nothing),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(what_is_not_utf8_is_counted),
        cmocka_unit_test(ids_without_a_token_are_refused),
        cmocka_unit_test(merging_follows_its_definition),
        cmocka_unit_test(nfc_is_unicode_9),
        cmocka_unit_test(words_follow_the_pattern),
        cmocka_unit_test(training_depends_on_the_text_alone),
        cmocka_unit_test(training_takes_the_most_frequent_pair),
        cmocka_unit_test(training_is_bounded),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
