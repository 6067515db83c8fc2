/* Manifests that lie: every one carries a right digest, as a forger's would, and is refused for what it says.
 */
#include "tests/unit/common/checkpoint/checkpoint_help.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* A whole manifest of one tensor [4, 6] in two files; each %s of a case is put in place of the same words
 * here. */
static const char good[] =
    "{\"format\":\"muster-checkpoint\",\"version\":1,\"written_by\":\"muster 0.1.0\"\n"
    ",\"run_id\":\"run-1\",\"attempt\":1,\"step\":7,\"optimizer_step\":7,\"samples\":1,\"tokens\":1,"
    "\"order_train\":40,\"order_valid\":0,\"parent_step\":-1,"
    "\"seed\":1,\"time\":1.5,\"loss\":2.5,\"valid_loss\":null,\n"
    "\"layout\":{\"tp\":2,\"dp\":1},\n"
    "\"schedule\":{\"style\":\"cosine\",\"lr\":1e-3,\"min_lr\":0,\"warmup\":0.1,\"decay_fraction\":null,"
    "\"decay_iters\":0,\"train_iters\":9},\n"
    "\"environment\":{\"threads\":1,\"device\":\"cpu\",\"instruction_set\":null,\"libraries\":null},\n"
    "\"data\":{\"version\":null,\"tokenizer_digest\":null},\"config\":null,\n"
    "\"states\":1,\n\"tensors\":[{\"name\":\"a.weight\",\"dtype\":\"float32\",\"shape\":[4,6]}],\n"
    "\"files\":[{\"name\":\"one.h5\",\"size\":5000,\"frame\":\"00000000000000000000000000000001\",\"slices\":"
    "[\n"
    "[0,0,0,0,4,3,4096,\"00000000000000000000000000000002\"]]},\n"
    "{\"name\":\"two.h5\",\"size\":5000,\"frame\":\"00000000000000000000000000000003\",\"slices\":[\n"
    "[0,0,0,3,4,3,4096,\"00000000000000000000000000000004\"]]}]";

static bool parses(const char *text, size_t n, mu_buf_t *why)
{
    char digest[MU_DIGEST_HEX];
    mu_buf_t whole = MU_BUF_INIT;
    mu_manifest_t m;
    mu_buf_add(&whole, text, n);
    mu_digest_bytes(whole.data, whole.len, digest);
    mu_buf_addf(&whole, MU_MANIFEST_END, digest);
    mu_buf_clear(why);
    bool ok = mu_manifest_parse(whole.data, whole.len, &m, why);
    mu_buf_release(&whole);
    if (ok)
        mu_manifest_release(&m);
    return ok;
}

/* `good` with the first `from` replaced */
static mu_buf_t with(const char *from, const char *to)
{
    mu_buf_t text = MU_BUF_INIT;
    const char *at = strstr(good, from);
    if (!at)
        fail_msg("the good manifest has no '%s'", from);
    mu_buf_add(&text, good, (size_t)(at - good));
    mu_buf_adds(&text, to);
    mu_buf_adds(&text, at + strlen(from));
    return text;
}

static void the_good_one_is_read(void **state)
{
    (void)state;
    mu_buf_t why = MU_BUF_INIT;
    if (!parses(good, sizeof good - 1, &why))
        fail_msg("%s", why.data);
    mu_buf_release(&why);
}

/* What it comes from is kept as it is: of the manifest's own members, and of the data set's. */
static void the_lineage_is_kept(void **state)
{
    static const char data[] = "\"path\":\"/d\",\"inputs\":[{\"path\":\"/t\",\"digest\":\"1\"}]",
                      own[] = "\"source\":{\"build\":{\"version\":\"1\"}},\"image\":\"sha256:1\","
                              "\"parent\":{\"run_id\":\"r\",\"step\":3,\"digest\":\"2\",\"parent\":null}";
    mu_buf_t text = MU_BUF_INIT, again = MU_BUF_INIT, why = MU_BUF_INIT;
    char digest[MU_DIGEST_HEX];
    mu_manifest_t m;
    (void)state;
    mu_buf_add(&text, good, (size_t)(strstr(good, "\"version\":null") - good));
    mu_buf_addf(&text, "%s,%s", data, strstr(good, "\"version\":null"));
    mu_buf_addf(&text, ",%s", own);
    mu_digest_bytes(text.data, text.len, digest);
    mu_buf_addf(&text, MU_MANIFEST_END, digest);
    assert_true(mu_manifest_parse(text.data, text.len, &m, &why));
    assert_non_null(strstr(m.info.lineage, own));
    assert_non_null(strstr(m.info.lineage, data));
    assert_int_equal(mu_manifest_write(&m, &again), MU_OK);
    assert_non_null(strstr(again.data, "\"path\":\"/d\""));
    assert_non_null(
        strstr(again.data, "\"parent\":{\"run_id\":\"r\",\"step\":3,\"digest\":\"2\",\"parent\":null}"));
    mu_manifest_release(&m);
    assert_true(parses(good, sizeof good - 1, &why)); /* an older one has none */
    mu_buf_release(&text);
    mu_buf_release(&again);
    mu_buf_release(&why);
}

static void each_lie_is_refused_with_its_reason(void **state)
{
    (void)state;
    static const char slice[] = "[0,0,0,0,4,3,4096,";
    static const struct {
        const char *from, *to, *reason;
    } lie[] = {
        /* names */
        {"one.h5", "../one.h5", "'files[0].name' is not a plain name"},
        {"one.h5", "/etc/passwd", "'files[0].name' is not a plain name"},
        {"one.h5", "..", "plain name"},
        {"one.h5", ".hidden", "plain name"},
        {"one.h5", "", "plain name"},
        {"one.h5", "a b", "plain name"},
        {"one.h5", "a\\u0000b", "NUL"},
        {"one.h5", "a\\nb", "plain name"},
        {"one.h5", "manifest.json", "the name of a shard"},
        {"one.h5", "two.h5", "'two.h5' is there twice"},
        {"\"one.h5\"", "17", "plain name"},
        {"\"name\":\"one.h5\"", "\"name\":\"one.h5\",\"name\":\"x\"", "duplicate"},
        {"a.weight", "a/weight", "'tensors[0].name' is not"},
        {"run-1", "run/1", "'run_id' is not a plain name"},
        {"\"run-1\"", "null", "'run_id' is not a plain name"},
        /* numbers */
        {"\"size\":5000", "\"size\":4095", "'files[0].size' is not a whole number from 4096"},
        {"\"size\":5000", "\"size\":-5000", "'files[0].size'"},
        {"\"size\":5000", "\"size\":5000.5", "'files[0].size'"},
        {"\"size\":5000", "\"size\":\"5000\"", "'files[0].size'"},
        {"\"size\":5000", "\"size\":99999999999999999999", "big"},
        {"\"step\":7", "\"step\":-7", "'step' is not a whole number from 0"},
        {"\"step\":7,", "", "'step' is not"},
        {"\"tp\":2", "\"tp\":0", "'layout.tp' is not a whole number from 1 to"},
        {"\"layout\":{\"tp\":2,\"dp\":1}", "\"layout\":[2,1]", "'layout.tp' is not"},
        {"\"lr\":1e-3", "\"lr\":1e999", "overflow"},
        {"\"layout\"", "\"loss_scale\":{\"clean\":-1},\"layout\"", "'loss_scale.scale' is not a number"},
        {"\"layout\"", "\"loss_scale\":{\"scale\":1,\"clean\":-1},\"layout\"", "'loss_scale.clean' is not"},
        {"\"layout\"",
         "\"loss_scale\":{\"scale\":-8,\"clean\":0,\"skipped\":0,\"hysteresis\":1,\"in_a_row\":0},\"layout\"",
         "'loss_scale.scale' is not a finite number from 0"},
        {"\"loss\":2.5", "\"loss\":\"2.5\"", "'loss' is not a number or null"},
        {"\"states\":1", "\"states\":2", "'states' is not 1"},
        {"\"states\":1", "\"states\":3", "exp_avg/a.weight have 0 bytes"},
        {"\"float32\"", "\"bfloat16\"", "'tensors[0].dtype' is not float32"},
        {"[4,6]", "[4,6,1]", "'tensors[0].shape' is not"},
        {"[4,6]", "[]", "'tensors[0].shape' is not"},
        {"[4,6]", "[0,6]", "'tensors[0].shape' is not"},
        {"[4,6]", "[-4,6]", "'tensors[0].shape' is not"},
        {"[4,6]", "[1099511627776,1099511627776]", "any machine could hold"},
        {"[4,6]", "[9223372036854775807,6]", "'tensors[0].shape' is not"},
        {"[4,6]", "[4,7]", "have 96 bytes, the tensor has 112"},
        {"[4,6]", "[4,5]", "lies in no tensor"},
        {"[4,6]", "[24]", "lies in no tensor"},
        {"00000000000000000000000000000001", "0000000000000000000000000000000G", "'files[0].frame' is not"},
        {"00000000000000000000000000000001", "01", "'files[0].frame' is not"},
        /* slices */
        {slice, "[1,0,0,0,4,3,4096,", "lies in no tensor"},
        {slice, "[-1,0,0,0,4,3,4096,", "is not a slice"},
        {slice, "[0,1,0,0,4,3,4096,", "lies in no tensor"},
        {slice, "[0,3,0,0,4,3,4096,", "is not a slice"},
        {slice, "[0,0,1,0,4,3,4096,", "lies in no tensor"},
        {slice, "[0,0,9223372036854775807,0,4,3,4096,", "is not a slice"},
        {slice, "[0,0,1099511627776,0,4,3,4096,", "lies in no tensor"},
        {slice, "[0,0,0,0,0,3,4096,", "is not a slice"},
        {slice, "[0,0,0,0,4,-3,4096,", "is not a slice"},
        {slice, "[0,0,0,0,1099511627776,1099511627776,4096,", "is not a slice"},
        {slice, "[0,0,0,0,4,3,0,", "is not a slice"},
        {slice, "[0,0,0,0,4,3,4999,", "lies outside the file"},
        {slice, "[0,0,0,0,4,3,1152921504606846976,", "lies outside the file"},
        {slice, "[0,0,0,0,4,3,4096.0,", "is not a slice"},
        {slice, "[0,0,0,0,4,3,", "is not a slice"},
        {slice, "[0,0,0,0,4,4,4096,", "two slices of weight/a.weight overlap"},
        {slice, "[0,0,0,0,4,2,4096,", "have 80 bytes, the tensor has 96"},
        {slice, "[0,0,0,0,2,3,4096,\"00000000000000000000000000000002\"],[0,0,2,0,2,3,4110,",
         "lies outside the file or over another"},
        {"\"slices\":[\n[0,0,0,0", "\"slices\":7,\"x\":[\n[0,0,0,0", "'files[0].slices' is not a list"},
        {"\"files\":[", "\"files\":[7,", "'files[0].' is not an object"},
        {"\"files\":[", "\"files\":[],\"x\":[", "'files' is not a list"},
        {"\"tensors\":[", "\"tensors\":[],\"x\":[", "'tensors' is not a list"},
        {"\"tokenizer_digest\":null", "\"tokenizer_digest\":\"../x\"", "'data.tokenizer_digest' is not 32"},
        /* the whole */
        {"\"version\":1", "\"version\":2", "format version 2, written by 'muster 0.1.0'; this muster"},
        {"\"version\":1", "\"version\":0", "no format version"},
        {"muster-checkpoint", "muster-dataset", "is not the manifest of a muster checkpoint"},
        {"{\"format\"", "[{\"format\"", "is not the manifest"},
        {"\"seed\":1,", "\"seed\":1,,", "line 2"},
    };
    mu_buf_t why = MU_BUF_INIT;
    for (size_t i = 0; i < sizeof lie / sizeof *lie; i++) {
        mu_buf_t text = with(lie[i].from, lie[i].to);
        if (parses(text.data, text.len, &why))
            fail_msg("'%s' for '%s' was believed", lie[i].to, lie[i].from);
        if (!strstr(why.data, lie[i].reason))
            fail_msg("'%s' for '%s': wanted '%s', found '%s'", lie[i].to, lie[i].from, lie[i].reason,
                     why.data);
        mu_buf_release(&text);
    }
    mu_buf_release(&why);
}

static void deep_and_long_texts_end(void **state)
{
    (void)state;
    mu_buf_t why = MU_BUF_INIT, deep = MU_BUF_INIT, text;
    for (int i = 0; i < 100000; i++)
        mu_buf_addc(&deep, '[');
    text = with("\"config\":null", "\"config\":");
    mu_buf_add(&text, deep.data, deep.len);
    assert_false(parses(text.data, text.len, &why));
    assert_false(parses("", 0, &why));
    assert_false(parses("{}", 2, &why));
    mu_manifest_t m;
    assert_false(mu_manifest_parse("", 0, &m, &why));
    mu_buf_release(&text);
    mu_buf_release(&deep);
    mu_buf_release(&why);
}

/* Random edits under a right digest: anything but a crash, and what is believed can be walked. */
static void random_edits_do_no_harm(void **state)
{
    (void)state;
    static const char *const words[] = {
        "0",  "-1", "9223372036854775807", "1e308", "null", "[]", "{}", "\"\"",
        "[[", "]]", "1152921504606846976", "4096",  ",",    ":",  "\"", "\\u0000"};
    unsigned seed = 20240229;
    mu_buf_t why = MU_BUF_INIT, text = MU_BUF_INIT;
    int believed = 0;
    for (int round = 0; round < 20000; round++) {
        mu_buf_clear(&text);
        mu_buf_adds(&text, good);
        for (int k = rand_r(&seed) % 4; k >= 0; k--) {
            size_t at = (size_t)rand_r(&seed) % text.len, n = (size_t)rand_r(&seed) % 12;
            n = at + n < text.len ? n : text.len - at;
            const char *word = words[(size_t)rand_r(&seed) % (sizeof words / sizeof *words)];
            char *tail = mu_strdup(text.data + at + (rand_r(&seed) % 2 ? n : 0));
            if (rand_r(&seed) % 3 == 0) {
                text.data[at] ^= (char)(1 << rand_r(&seed) % 8);
            } else {
                text.data[at] = '\0';
                text.len = at;
                mu_buf_adds(&text, word);
                mu_buf_adds(&text, tail);
            }
            free(tail);
        }
        believed += parses(text.data, text.len, &why);
    }
    assert_true(believed > 0 && believed < 20000);
    mu_buf_release(&text);
    mu_buf_release(&why);
}

static void a_workers_account_may_be_damaged(void **state)
{
    (void)state;
    mu_log_level_set(MU_LOG_ERROR);
    mu_shard_t shard = {.name = "shard-tp00-dp00.h5", .size = 8192, .count = 1}, back;
    mu_stored_t stored = {.slice = {0, MU_STATE_WEIGHT, {0, 0}, {1, 1}}, .at = 4096};
    mu_buf_t text = MU_BUF_INIT, log = MU_BUF_INIT;
    shard.slices = &stored;
    mu_digest_bytes("x", 1, shard.frame);
    mu_digest_bytes("y", 1, stored.digest);
    mu_shard_pack(&shard, &text);
    mu_log_sink_set(keep_line, &log);
    assert_int_equal(mu_shard_unpack(text.data, text.len, &back), MU_OK);
    assert_string_equal(back.slices[0].digest, stored.digest);
    assert_true(back.size == 8192 && back.slices[0].at == 4096);
    mu_shard_release(&back);
    for (size_t n = 0; n < text.len; n++)
        assert_int_equal(mu_shard_unpack(text.data, n, &back), MU_DATA);
    mu_log_sink_set(NULL, NULL);
    mu_log_level_set(MU_LOG_INFO);
    mu_buf_release(&log);
    mu_buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_good_one_is_read),
        cmocka_unit_test(the_lineage_is_kept),
        cmocka_unit_test(each_lie_is_refused_with_its_reason),
        cmocka_unit_test(deep_and_long_texts_end),
        cmocka_unit_test(random_edits_do_no_harm),
        cmocka_unit_test(a_workers_account_may_be_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
