/* Families of tokenizers: ids as the tokenizers library gives them (tests/parity/families.py writes
 * tests/data/tokenizers), hand-written words beside regular expressions, cuts, saving, expressions that are refused or
 * that do not end. */
#include "dataset/tokenizer/onig.h"
#include "dataset/tokenizer/tokenizer_impl.h"
#include "tests/unit/dataset/data_support.h"

#define DATA MU_SOURCE_DIR "/tests/data/tokenizers"

static const char *const families[] = {
    "gpt2",  "neox",    "pythia-saved-again", "olmo",     "llama3", "qwen2",
    "qwen3", "smollm2", "smollm2-gguf",       "llama2",   "gemma",  "deepseek",
    "bloom", "o200k",   "mistral-v3",         "tiktoken", "roberta"};
enum { FAMILIES = sizeof families / sizeof *families };

static mu_tokenizer_t *load(const char *family)
{
    mu_tokenizer_t *tok;
    char *path = mu_format(DATA "/%s.json", family);
    mu_buf_clear(&said);
    if (mu_tokenizer_load(path, &tok) != MU_OK)
        fail_msg("%s: %s", family, said.data);
    free(path);
    return tok;
}

static void check_list(const char *what, const char *text, const json_t *want, const int32_t *got, size_t n)
{
    for (size_t i = 0; i < n || i < json_array_size(want); i++)
        if (i >= n || i >= json_array_size(want) || json_integer_value(json_array_get(want, i)) != got[i])
            fail_msg("%s: '%s': id %zu is %d, wanted %d", what, text, i, i < n ? got[i] : -1,
                     (int)json_integer_value(json_array_get(want, i)));
}

static void check_case(const char *family, const mu_tokenizer_t *tok, const json_t *row)
{
    const char *text = json_string_value(json_object_get(row, "text"));
    const char *back = json_string_value(json_object_get(row, "back"));
    mu_ids_t ids = MU_IDS_INIT, whole = MU_IDS_INIT;
    mu_buf_t decoded = MU_BUF_INIT;
    assert_int_equal(mu_tokenizer_encode(tok, text, strlen(text), &ids), MU_OK);
    check_list(family, text, json_object_get(row, "ids"), ids.data, ids.len);
    assert_int_equal(mu_tokenizer_decode(tok, ids.data, ids.len, &decoded), MU_OK);
    assert_string_equal(decoded.data ? decoded.data : "", back);
    /* with what the template puts around it */
    const mu_post_processor_t *template = &tok->post;
    for (size_t i = 0; i < template->before.len; i++)
        mu_ids_add(&whole, template->before.data[i]);
    for (size_t i = 0; i < ids.len; i++)
        mu_ids_add(&whole, ids.data[i]);
    for (size_t i = 0; i < template->after.len; i++)
        mu_ids_add(&whole, template->after.data[i]);
    check_list(family, text, json_object_get(row, "whole"), whole.data, whole.len);
    mu_ids_release(&whole);
    mu_ids_release(&ids);
    mu_buf_release(&decoded);
}

static void check_family(const char *family, const mu_tokenizer_t *tok)
{
    char *path = mu_format(DATA "/%s.jsonl", family);
    mu_buf_t lines = MU_BUF_INIT;
    int cases = 0;
    assert_int_equal(mu_file_read(path, 1 << 20, &lines), MU_OK);
    for (char *line = lines.data, *next; *line; line = next, cases++) {
        next = strchr(line, '\n');
        *next++ = '\0';
        json_t *row = json_loads(line, 0, NULL);
        assert_non_null(row);
        check_case(family, tok, row);
        json_decref(row);
    }
    assert_true(cases >= 9);
    mu_buf_release(&lines);
    free(path);
}

static void ids_and_text(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        mu_tokenizer_t *tok = load(families[i]);
        check_family(families[i], tok);
        mu_tokenizer_free(tok);
    }
}

/* A copy, with one special token more, has the same ids, the same digest but for that token, and all its parts. */
static void saving_keeps_every_part(void **state)
{
    (void)state;
    static char name[] = "<|one more|>";
    char *names[] = {name}, *path = mu_path_join(folder, "saved.json");
    for (int i = 0; i < FAMILIES; i++) {
        mu_tokenizer_t *tok = load(families[i]), *again, *more;
        assert_int_equal(mu_tokenizer_save(tok, path), MU_OK);
        assert_int_equal(mu_tokenizer_load(path, &again), MU_OK);
        assert_string_equal(mu_tokenizer_digest(tok), mu_tokenizer_digest(again));
        check_family(families[i], again);
        assert_int_equal(mu_tokenizer_add_specials(again, names, 1), MU_OK);
        assert_int_equal(mu_tokenizer_save(again, path), MU_OK);
        assert_int_equal(mu_tokenizer_load(path, &more), MU_OK);
        assert_string_equal(mu_tokenizer_digest(more), mu_tokenizer_digest(again));
        assert_true(mu_tokenizer_extends(more, tok) && !mu_tokenizer_extends(tok, more));
        check_family(families[i], more);
        mu_tokenizer_free(more);
        mu_tokenizer_free(again);
        mu_tokenizer_free(tok);
    }
    free(path);
}

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static void random_text(uint64_t *seed, mu_buf_t *out)
{
    static const char *const pieces[] = {"the",
                                         " time",
                                         "  ",
                                         "    ",
                                         "\n",
                                         "\n\n",
                                         "\r\n",
                                         "\t",
                                         "'s",
                                         "'LL",
                                         "'\xC5\xBF",
                                         "12345",
                                         "\xD9\xA3",
                                         "==",
                                         ";\n",
                                         "e\xCC\x81",
                                         "<s>",
                                         " </s>",
                                         "<mask>",
                                         " <mask>",
                                         "<|endoftext|>",
                                         "\xE4\xBD\xA0\xE5\xA5\xBD",
                                         "\xE2\x96\x81",
                                         "\xC2\xA0",
                                         "\xE3\x80\x80",
                                         "\xE2\x80\xA8",
                                         "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7",
                                         "<|eot_id|>",
                                         "[INST]",
                                         ".",
                                         "_",
                                         "-x"};
    mu_buf_clear(out);
    for (uint32_t k = next_random(seed) % 40; k > 0; k--) {
        if (next_random(seed) % 4) {
            mu_buf_adds(out, pieces[next_random(seed) % (sizeof pieces / sizeof *pieces)]);
            continue;
        }
        uint32_t c = next_random(seed) % (next_random(seed) % 2 ? 0x500 : 0x3000);
        mu_utf8_add(out, c); /* low ones, which every version of Unicode knows */
    }
    mu_buf_reserve(out, 1);
}

static void cuts_change_nothing(void **state)
{
    (void)state;
    static const char none[] =
        "bloom o200k deepseek tiktoken gemma"; /* expressions that muster does not know */
    mu_buf_t text = MU_BUF_INIT;
    mu_ids_t whole = MU_IDS_INIT, parts = MU_IDS_INIT;
    for (int i = 0; i < FAMILIES; i++) {
        mu_tokenizer_t *tok = load(families[i]);
        mu_encoder_t *encoder = mu_encoder_new(tok);
        uint64_t seed = 3;
        int cuts = 0;
        for (int round = 0; round < 1500; round++) {
            random_text(&seed, &text);
            if (text.len > 0 && round % 4 == 0) /* not UTF-8 */
                text.data[next_random(&seed) % text.len] = (char)next_random(&seed);
            size_t seen = text.len ? next_random(&seed) % (text.len + 1) : 0;
            size_t cut = mu_tokenizer_cut(tok, text.data, seen);
            cuts += cut > 0;
            whole.len = parts.len = 0;
            assert_int_equal(mu_encoder_encode(encoder, text.data, text.len, &whole, NULL), MU_OK);
            if (cut > 0)
                assert_int_equal(mu_encoder_encode(encoder, text.data, cut, &parts, NULL), MU_OK);
            assert_int_equal((cut > 0 ? mu_encoder_continue : mu_encoder_encode)(
                                 encoder, text.data + cut, text.len - cut, &parts, NULL),
                             MU_OK);
            if (whole.len != parts.len ||
                (whole.len > 0 && memcmp(whole.data, parts.data, whole.len * sizeof *whole.data)))
                fail_msg("%s: round %d: a cut at %zu of '%s' changes ids", families[i], round, cut,
                         text.data);
        }
        if (strstr(none, families[i]) ? cuts > 0 : cuts < 300)
            fail_msg("%s: %d cuts", families[i], cuts);
        mu_encoder_free(encoder);
        mu_tokenizer_free(tok);
    }
    mu_ids_release(&whole);
    mu_ids_release(&parts);
    mu_buf_release(&text);
}

/* Loads a family with each "(?i:'s" or "'s|" of its expression put in a group, which means the same, but is none of the
 * expressions that words.h knows: PCRE2 does the work. */
static mu_tokenizer_t *with_pcre2(const char *family)
{
    char *path = mu_format(DATA "/%s.json", family), *other = mu_path_join(folder, "other.json");
    mu_buf_t text = MU_BUF_INIT;
    mu_tokenizer_t *tok;
    json_error_t error;
    assert_int_equal(mu_file_read(path, 1 << 20, &text), MU_OK);
    json_t *root = json_loadb(text.data, text.len, 0, &error);
    json_t *split =
        json_array_get(json_object_get(json_object_get(root, "pre_tokenizer"), "pretokenizers"), 0);
    json_t *pattern = json_object_get(split, "pattern");
    char *regex = mu_format("(?:%s)", json_string_value(json_object_get(pattern, "Regex")));
    json_object_set_new(pattern, "Regex", json_string(regex));
    assert_int_equal(json_dump_file(root, other, 0), 0);
    assert_int_equal(mu_tokenizer_load(other, &tok), MU_OK);
    assert_int_equal(tok->pre.stage[0].kind, MU_STAGE_SPLIT);
    json_decref(root);
    mu_buf_release(&text);
    free(regex);
    free(other);
    free(path);
    return tok;
}

static void words_are_those_of_the_expression(void **state)
{
    (void)state;
    static const char *const names[] = {"llama3", "qwen2"};
    mu_buf_t text = MU_BUF_INIT;
    mu_ids_t a = MU_IDS_INIT, b = MU_IDS_INIT;
    for (int i = 0; i < 2; i++) {
        mu_tokenizer_t *tok = load(names[i]), *other = with_pcre2(names[i]);
        mu_encoder_t *fast = mu_encoder_new(tok), *slow = mu_encoder_new(other);
        uint64_t seed = 5;
        assert_true(tok->direct && !other->direct);
        for (int round = 0; round < 6000; round++) {
            random_text(&seed, &text);
            a.len = b.len = 0;
            assert_int_equal(mu_encoder_encode(fast, text.data, text.len, &a, NULL), MU_OK);
            assert_int_equal(mu_encoder_encode(slow, text.data, text.len, &b, NULL), MU_OK);
            if (a.len != b.len || (a.len > 0 && memcmp(a.data, b.data, a.len * sizeof *a.data) != 0))
                fail_msg("%s: round %d: other words of '%s'", names[i], round, text.data);
        }
        mu_encoder_free(fast);
        mu_encoder_free(slow);
        mu_tokenizer_free(tok);
        mu_tokenizer_free(other);
    }
    mu_ids_release(&a);
    mu_ids_release(&b);
    mu_buf_release(&text);
}

/* The matches of an expression in a text, each in brackets. */
static void check_matches(const char *regex, const char *text, const char *want)
{
    mu_pattern_t *pattern;
    mu_buf_t got = MU_BUF_INIT;
    mu_found_t found = {0};
    mu_status_t status = MU_OK;
    mu_buf_clear(&said);
    if (mu_pattern_new("x", regex, true, &pattern) != MU_OK)
        fail_msg("'%s': %s", regex, said.data);
    mu_finder_t *finder = mu_finder_new(pattern);
    while (mu_finder_next(finder, text, strlen(text), &found, &status))
        mu_buf_addf(&got, "[%.*s]", (int)(found.end - found.start), text + found.start);
    assert_int_equal(status, MU_OK);
    assert_string_equal(got.data ? got.data : "", want);
    mu_finder_free(finder);
    mu_pattern_free(pattern);
    mu_buf_release(&got);
}

/* Where PCRE2 by itself would find something else. */
static void expressions_mean_what_they_mean_in_oniguruma(void **state)
{
    (void)state;
    check_matches("\\d{1,3}+", "12345", "[12345]"); /* not possessive: repeated */
    check_matches("\\d{,2}x", "123x", "[23x]");
    check_matches("\\s", "a\xE1\xA0\x8E \xC2\x85", "[ ][\xC2\x85]");  /* no U+180E */
    check_matches("\\w+", "cafe\xCC\x81_1 x", "[cafe\xCC\x81_1][x]"); /* marks are word characters */
    check_matches("\\h+", "x1aFg \t", "[1aF]");
    check_matches("\\v", "a\x0B\n", "[\x0B]");
    check_matches("[^(\\s|[.,])]+", "a(b.c|d e", "[a][b][c][d][e]"); /* classes nest */
    check_matches("[a-c\\-x]+", "a-xd", "[a-x]");
    check_matches("^a", "a\na", "[a][a]"); /* of each line */
    check_matches("a$", "a\nab\na", "[a][a]");
    check_matches("\\p{Han}+", "\xE3\x80\x81\xE6\xBC\xA2",
                  "[\xE6\xBC\xA2]"); /* Script, not Script_Extensions */
    check_matches("\\p{^L}\\P{Nd}\\u0041\\x{42}", "1aAB", "[1aAB]");
    check_matches("(?i:'s|'ll)", "'S'\xC5\xBF'lL", "['S]['\xC5\xBF]['lL]");
    check_matches("x*", "axb", "[][x][]"); /* empty matches, none right after another match */
    check_matches("(?<=a)b(?=c)|(?>d+)e(?!f)", "abc dde ddef", "[b][dde]");
}

static void expressions_that_are_refused(void **state)
{
    (void)state;
    static const char *const row[][2] = {{"(a)\\1", "character 4"},
                                         {"\\bx", "character 1"},
                                         {"[a&&b]", "intersection"},
                                         {"[[:alpha:]]", "POSIX"},
                                         {"[a[^b]]", "negated class"},
                                         {"(?<n>a)", "group of this kind"},
                                         {"(?m:a)", "group of this kind"},
                                         {"a(?i)b", "group of this kind"},
                                         {"a**", "second repetition"},
                                         {"*a", "nothing to repeat"},
                                         {"a{2}?", "{n}?"},
                                         {"a{x", "write \\{"},
                                         {"a{3,2}", "0 to 1000"},
                                         {"a{9999}", "0 to 1000"},
                                         {"(a", "no end"},
                                         {"a)", "')' without"},
                                         {"[a", "no end"},
                                         {"[]", "empty class"},
                                         {"[b-a]", "not a range"},
                                         {"\\p{Foo}", "property"},
                                         {"\\p{L", "property"},
                                         {"\\R", "escape"},
                                         {"\\xZZ", "number of a character"},
                                         {"\\uD800", "number of a character"},
                                         {"(?i:ss)", "ligature"},
                                         {"(?i:\xC3\xA9)", "beyond ASCII"},
                                         {"(?i:[^a])", "negated class"},
                                         {"(?i:\\p{Lu})", "property"},
                                         {"(?<=a+)b", "lookbehind"},
                                         {"", "1 to"}};
    mu_pattern_t *pattern = NULL;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_buf_clear(&said);
        assert_int_equal(mu_pattern_new("file: where", row[i][0], true, &pattern), MU_DATA);
        if (!strstr(said.data, row[i][1]) || !strstr(said.data, "file: where"))
            fail_msg("'%s': wanted '%s', found '%s'", row[i][0], row[i][1], said.data);
    }
    char deep[200];
    memset(deep, '(', 100);
    deep[100] = '\0';
    assert_int_equal(mu_pattern_new("x", deep, true, &pattern), MU_DATA);
    memset(deep, '[', 100);
    assert_int_equal(mu_pattern_new("x", deep, true, &pattern), MU_DATA);
    assert_null(pattern);
}

/* An expression that would try until tomorrow ends with an error that names it. */
static void expressions_that_do_not_end(void **state)
{
    (void)state;
    mu_pattern_t *pattern;
    mu_found_t found = {0};
    mu_status_t status = MU_OK;
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac";
    assert_int_equal(mu_pattern_new("file: where", "(?:a+a*)+[bd]", true, &pattern), MU_OK);
    mu_finder_t *finder = mu_finder_new(pattern);
    mu_buf_clear(&said);
    assert_false(mu_finder_next(finder, text, sizeof text - 1, &found, &status));
    assert_int_equal(status, MU_DATA);
    assert_non_null(strstr(said.data, "file: where: regular expression '(?:a+a*)+[bd]'"));
    mu_finder_free(finder);
    mu_pattern_free(pattern);
}

/* Text that comes bit by bit: a leading space stays where it continues a prompt, and a character of several byte tokens
 * comes whole. */
static void decoding_bit_by_bit(void **state)
{
    (void)state;
    mu_tokenizer_t *tok = load("llama2");
    mu_ids_t ids = MU_IDS_INIT;
    mu_buf_t out = MU_BUF_INIT;
    static const char text[] = "the\xE2\x82\xAC";
    assert_int_equal(mu_tokenizer_encode(tok, text, sizeof text - 1, &ids), MU_OK);
    for (int continues = 0; continues < 2; continues++) {
        mu_decoder_t *decoder = mu_decoder_new(tok, continues);
        mu_buf_clear(&out);
        for (size_t i = 0; i < ids.len; i++)
            assert_int_equal(mu_decoder_add(decoder, &ids.data[i], 1, &out), MU_OK);
        assert_string_equal(out.data, continues ? " the" : "the");
        mu_decoder_end(decoder, &out);
        assert_string_equal(out.data, continues ? " the\xE2\x82\xAC" : "the\xE2\x82\xAC");
        mu_decoder_free(decoder);
    }
    mu_ids_release(&ids);
    mu_buf_release(&out);
    mu_tokenizer_free(tok);
}

static void write_beside(const char *name, const char *text)
{
    char *path = mu_path_join(folder, name);
    if (text)
        assert_int_equal(mu_file_replace(path, text, strlen(text), 0600), MU_OK);
    else
        assert_int_equal(remove(path), 0);
    free(path);
}

/* The end of a text is what the files beside name, the map before the settings unless these list added tokens. */
static void files_beside_name_the_end(void **state)
{
    (void)state;
    static const struct {
        const char *config, *map, *added, *end, *message;
    } row[] = {
        {NULL, NULL, NULL, "<|endoftext|>", NULL},
        {"{\"eos_token\":\"<|im_end|>\",\"pad_token\":null,\"model_max_length\":"
         "1000000000000000019884624838656}",
         NULL, NULL, "<|im_end|>", NULL},
        {NULL, "{\"eos_token\":{\"content\":\"<|im_start|>\"}}", NULL, "<|im_start|>", NULL},
        {"{\"eos_token\":\"<|im_end|>\"}", "{\"eos_token\":\"<|im_start|>\"}", NULL, "<|im_start|>", NULL},
        {"{\"eos_token\":\"<|im_end|>\",\"added_tokens_decoder\":{\"0\":{\"content\":\"<|endoftext|>\"}}}",
         "{\"eos_token\":\"<|im_start|>\"}", "{\"<|endoftext|>\":0}", "<|im_end|>", NULL},
        {"{\"eos_token\":\"</s>\"}", NULL, NULL, NULL,
         "tokenizer_config.json: eos_token: the tokenizer has no token '</s>'"},
        {NULL, "{\"additional_special_tokens\":[\"<x>\"]}", NULL, NULL,
         "special_tokens_map.json: additional_special_tokens"},
        {"{\"added_tokens_decoder\":{\"7\":{\"content\":\"<|endoftext|>\"}}}", NULL, NULL, NULL,
         "tokenizer_config.json: the added token '<|endoftext|>' of id 7"},
        {NULL, NULL, "{\"<pad>\":900}", NULL, "added_tokens.json: the added token '<pad>' of id 900"},
        {"[1]", NULL, NULL, NULL, "tokenizer_config.json: wanted an object"},
        {"{", NULL, NULL, NULL, "tokenizer_config.json:1:1: not a JSON text"},
    };
    mu_buf_t text = MU_BUF_INIT;
    assert_int_equal(mu_file_read(DATA "/qwen2.json", 1 << 20, &text), MU_OK);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_tokenizer_t *tok = NULL;
        mu_ids_t ids = MU_IDS_INIT;
        write_beside("tokenizer.json", text.data);
        if (row[i].config)
            write_beside("tokenizer_config.json", row[i].config);
        if (row[i].map)
            write_beside("special_tokens_map.json", row[i].map);
        if (row[i].added)
            write_beside("added_tokens.json", row[i].added);
        mu_buf_clear(&said);
        mu_status_t status = mu_tokenizer_load(folder, &tok);
        assert_int_equal(status, row[i].end ? MU_OK : MU_DATA);
        if (row[i].end) {
            assert_int_equal(mu_tokenizer_encode(tok, row[i].end, strlen(row[i].end), &ids), MU_OK);
            assert_int_equal(ids.len, 1);
            assert_int_equal(mu_tokenizer_eod(tok), ids.data[0]);
        } else if (!strstr(said.data, row[i].message)) {
            fail_msg("row %zu: wanted '%s', found '%s'", i, row[i].message, said.data);
        }
        if (row[i].config)
            write_beside("tokenizer_config.json", NULL);
        if (row[i].map)
            write_beside("special_tokens_map.json", NULL);
        if (row[i].added)
            write_beside("added_tokens.json", NULL);
        mu_ids_release(&ids);
        mu_tokenizer_free(tok);
    }
    mu_buf_release(&text);
}

static void another_end_is_kept(void **state)
{
    (void)state;
    mu_tokenizer_t *tok = load("llama2"), *again;
    char *path = mu_path_join(folder, "tokenizer.json");
    assert_int_equal(mu_tokenizer_eod(tok), -1);
    mu_tokenizer_set_eod(tok, 2);
    assert_int_equal(mu_tokenizer_save(tok, path), MU_OK);
    assert_int_equal(mu_tokenizer_save_beside(tok, folder), MU_OK);
    assert_int_equal(mu_tokenizer_load(path, &again), MU_OK);
    assert_int_equal(mu_tokenizer_eod(again), 2);
    write_beside("special_tokens_map.json", NULL);
    mu_tokenizer_free(again);
    mu_tokenizer_free(tok);
    free(path);
}

/* What the template puts before a text comes once, whether or not the text has it. */
static void prompts_begin_with_the_template(void **state)
{
    (void)state;
    static const char *const texts[] = {"<|begin_of_text|>the", "the"};
    mu_tokenizer_t *tok = load("llama3");
    for (int i = 0; i < 2; i++) {
        mu_ids_t ids = MU_IDS_INIT, plain = MU_IDS_INIT;
        assert_int_equal(mu_tokenizer_encode(tok, texts[0], strlen(texts[0]), &plain), MU_OK);
        assert_int_equal(mu_tokenizer_encode_prompt(tok, texts[i], strlen(texts[i]), &ids), MU_OK);
        assert_int_equal(ids.len, plain.len);
        assert_memory_equal(ids.data, plain.data, plain.len * sizeof *plain.data);
        mu_ids_release(&ids);
        mu_ids_release(&plain);
    }
    mu_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_beside_name_the_end),
        cmocka_unit_test(another_end_is_kept),
        cmocka_unit_test(prompts_begin_with_the_template),
        cmocka_unit_test(ids_and_text),
        cmocka_unit_test(saving_keeps_every_part),
        cmocka_unit_test(cuts_change_nothing),
        cmocka_unit_test(words_are_those_of_the_expression),
        cmocka_unit_test(expressions_mean_what_they_mean_in_oniguruma),
        cmocka_unit_test(expressions_that_are_refused),
        cmocka_unit_test(expressions_that_do_not_end),
        cmocka_unit_test(decoding_bit_by_bit),
    };
    return cmocka_run_group_tests(tests, support_up, support_down);
}
