/* The published GPT-NeoX-20B tokenizer: ids of texts as the tokenizers library gives them, and back. */
#include "dataset/tokenizer/tokenizer.h"
#include "common/file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static mu_tokenizer_t *tok;

static int load(void **state)
{
    (void)state;
    const char *shared = getenv("MUSTER_SHARED");
    char *path = mu_format("%s/data/20B_tokenizer.json", shared ? shared : MU_SOURCE_DIR "/../shared");
    if (!mu_is_file(path))
        print_message("%s is not there: set MUSTER_SHARED; tests with it are skipped\n", path);
    else
        assert_int_equal(mu_tokenizer_load(path, &tok), MU_OK);
    free(path);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    mu_tokenizer_free(tok);
    return 0;
}

/* `decoded` NULL: the text itself. ids end with -1. */
static void check(const char *text, size_t n, const char *decoded, const int32_t *want)
{
    mu_ids_t ids = MU_IDS_INIT;
    mu_buf_t back = MU_BUF_INIT;
    size_t count = 0;
    while (want[count] >= 0)
        count++;
    assert_int_equal(mu_tokenizer_encode(tok, text, n, &ids), MU_OK);
    for (size_t i = 0; i < ids.len || i < count; i++)
        if (i >= ids.len || i >= count || ids.data[i] != want[i])
            fail_msg("'%s': id %zu is %d, wanted %d", text, i, i < ids.len ? ids.data[i] : -1,
                     i < count ? want[i] : -1);
    assert_int_equal(mu_tokenizer_decode(tok, ids.data, ids.len, &back), MU_OK);
    assert_int_equal(back.len, decoded ? strlen(decoded) : n);
    assert_memory_equal(back.data, decoded ? decoded : text, back.len);
    mu_ids_release(&ids);
    mu_buf_release(&back);
}

#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})

static void published_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *decoded;
        int32_t ids[20];
    } row[] = {
        {"Hello, world!", NULL, {12092, 13, 1533, 2, -1}},
        {"Hello  world", NULL, {12092, 50276, 10186, -1}},
        {"def f(x):\n    return x\n", NULL, {1545, 269, 9, 89, 2262, 187, 50274, 2309, 1269, 187, -1}},
        {"<|endoftext|>The quick brown fox", NULL, {0, 510, 3158, 8516, 30013, -1}},
        {"I'm 12345 caf\303\251 cafe\314\201",
         "I'm 12345 caf\303\251 caf\303\251",
         {42, 1353, 1249, 16767, 36241, 36241, -1}},
        {"\t\ttab", NULL, {186, 186, 8476, -1}},
        {"                              x", NULL, {50254, 50272, 89, -1}},
        {"\344\275\240\345\245\275", NULL, {24553, 34439, -1}},
        {"a b   c", NULL, {66, 270, 50275, 68, -1}},
        {"  leading", NULL, {50276, 16378, -1}},
        {"trailing  ", NULL, {7604, 4837, 50276, -1}},
        {"a\n\n\nb", NULL, {66, 535, 187, 67, -1}},
        {"x  \n  y", NULL, {89, 50276, 187, 50276, 90, -1}},
        {"I'M DON'T don't we'll they've",
         NULL,
         {42, 8, 46, 24694, 8, 53, 1053, 626, 359, 1833, 597, 1849, -1}},
        {"3.14159 1,000", NULL, {20, 15, 1047, 17220, 337, 13, 933, -1}},
        {"<|padding|> <|endoftext|>", NULL, {1, 209, 0, -1}},
        {"a<|endoftext|>b", NULL, {66, 0, 67, -1}},
        {"\302\240nbsp\342\200\203em", NULL, {575, 6732, 3930, 358, -1}},
        {"\346\227\245\346\234\254\350\252\236\343\203\206\343\202\271\343\203\210",
         NULL,
         {49868, 19119, 241, 28656, 38206, -1}},
        {"\360\237\230\200 emoji", NULL, {14931, 235, 211, 802, 80, 8020, -1}},
        {"\357\254\201 ligature", NULL, {46992, 212, 8405, 1177, -1}},
        {"\342\204\253", "\303\205", {18221, -1}},
        {"\341\272\233\314\243", NULL, {9702, 238, 136, 98, -1}},
        {"e\314\201\314\247", "\310\251\314\201", {132, 104, 136, 212, -1}},
        {"\355\225\234\352\265\255\354\226\264 \341\204\222\341\205\241\341\206\253",
         "\355\225\234\352\265\255\354\226\264 \355\225\234",
         {39742, 166, 115, 244, 39907, 209, 39742, -1}},
        {"\304\260 \303\237", NULL, {128, 110, 1325, 242, -1}},
        {"\357\267\275", NULL, {171, 117, 123, -1}},
        {"\342\200\213\342\200\215zw", NULL, {12882, 325, 224, 40965, -1}},
        {"mixed \343\200\200ideographic\343\200\200space",
         NULL,
         {37340, 209, 19409, 504, 5576, 19409, 5641, -1}},
        {"\302\262 \302\275 \342\205\247 \331\241\331\242\331\243",
         NULL,
         {15818, 24142, 3384, 216, 102, 209, 149, 96, 149, 97, 149, 98, -1}},
        {"\r\nwin", NULL, {190, 187, 6481, -1}},
        {"foo_bar-baz==1", NULL, {12110, 64, 2009, 14, 31953, 381, 18, -1}},
        {"                        ", NULL, {50254, -1}},
        {"                                                            z",
         NULL,
         {50254, 50254, 50266, 91, -1}},
        {"tab\tand  two\n\n   three", NULL, {8476, 186, 395, 50276, 9389, 535, 50275, 13524, -1}},
        {"'s 't 're", NULL, {434, 686, 85, 686, 250, -1}},
        {"''s", NULL, {6267, 84, -1}},
        {"it's\n  's", NULL, {262, 434, 187, 50276, 434, -1}},
        {"na\303\257ve co\303\266perate", NULL, {2072, 30180, 820, 2381, 44640, -1}},
    };
    if (!tok)
        skip();
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        check(row[i].text, strlen(row[i].text), row[i].decoded, row[i].ids);
    check("a\0b", 3, NULL, IDS(66, 177, 67));
    check("", 0, NULL, IDS(-1));
}

static void what_it_says_of_itself(void **state)
{
    (void)state;
    if (!tok)
        skip();
    assert_int_equal(mu_tokenizer_vocab(tok), 50277);
    assert_int_equal(mu_tokenizer_eod(tok), 0);
    assert_int_equal(strlen(mu_tokenizer_digest(tok)), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(what_it_says_of_itself),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
