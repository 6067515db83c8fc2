/* Safetensors files: what is read, and every attack on the format that the reference implementation refuses.
 */
#include "common/half.h"
#include "tests/unit/worker/convert/hf_help.h"
#include "worker/convert/safetensors.h"

#include <math.h>

/* A file of a header and `values` bytes after it; `length` < 0: the header's own. */
static void make_file(const char *path, const char *header, size_t values, int64_t length)
{
    mu_buf_t bytes = MU_BUF_INIT;
    uint64_t n = length < 0 ? strlen(header) : (uint64_t)length;
    for (int i = 0; i < 8; i++)
        mu_buf_addc(&bytes, (char)(n >> 8 * i & 0xff));
    mu_buf_adds(&bytes, header);
    for (size_t i = 0; i < values; i++)
        mu_buf_addc(&bytes, (char)i);
    write_bytes(path, bytes.data, bytes.len);
    mu_buf_release(&bytes);
}

static mu_status_t open_file(const char *path)
{
    mu_foreign_t list = MU_FOREIGN_INIT;
    quiet();
    mu_status_t status = mu_safetensors_open(path, &list);
    if (status == MU_OK)
        status = mu_foreign_sort(&list);
    mu_foreign_release(&list);
    return status;
}

#define T(name, dtype, shape, begin, end)                                                                    \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"

static void what_the_reference_reads_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t values;
    } row[] = {
        {"{}", 0},
        {"{}   ", 0},
        {"{" T("a", "F32", "2", 0, 8) "}", 8},
        {"{" T("b", "F16", "2,3", 8, 20) "," T("a", "F32", "2", 0, 8) "}  ", 20},
        {"{\"__metadata__\":{\"format\":\"pt\"}," T("a", "BF16", "", 0, 2) "}", 2},
        {"{" T("empty", "F32", "0,7", 0, 0) "," T("a", "I64", "1", 0, 8) "}", 8},
        {"{" T("a", "BOOL", "1,1,4,4", 0, 16) "," T("b", "U8", "3", 16, 19) "}", 19},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        make_file("good", row[i].header, row[i].values, -1);
        if (open_file("good") != MU_OK)
            fail_msg("%s: %s", row[i].header, heard.data);
    }
}

static void every_attack_is_refused_with_its_reason(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t values;
        int64_t length;
        const char *said;
    } row[] = {
        {"", 0, 0, "does not begin with '{'"},
        {" {}", 0, -1, "does not begin with '{'"},
        {"[]", 0, -1, "does not begin with '{'"},
        {"{", 0, -1, "byte 9"},
        {"{}x", 0, -1, "header, byte"},
        {"{\"\xff\":1}", 0, -1, "unable to decode"},
        {"{}", 0, 3, "header of 3 bytes"},
        {"{}", 0, 100000001, "header of 100000001 bytes"},
        {"{}", 0, INT64_MAX, "header of 9223372036854775807"},
        {"{}", 1, -1, "1 bytes lie after"},
        {"{\"a\":1}", 0, -1, "object is wanted"},
        {"{\"a\":{}}", 0, -1, "'dtype'"},
        {"{" T("a", "F33", "2", 0, 8) "}", 8, -1, "'dtype'"},
        {"{" T("a", "F32", "-2", 0, 8) "}", 8, -1, "'shape'"},
        {"{" T("a", "F32", "2.0", 0, 8) "}", 8, -1, "'shape'"},
        {"{" T("a", "F32", "\"2\"", 0, 8) "}", 8, -1, "'shape'"},
        {"{" T("a", "F32", "1,1,1,1,1,1,1,1,2", 0, 8) "}", 8, -1, "'shape'"},
        {"{" T("a", "F32", "4294967296,4294967296", 0, 0) "}", 0, -1, "'shape'"},
        {"{" T("a", "F32", "4611686018427387904", 0, 0) "}", 0, -1, "'shape'"},
        {"{" T("a", "F32", "99999999999999999999", 0, 0) "}", 0, -1, "header, byte"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, -1, "'data_offsets'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, -1, "'data_offsets'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8, -1, "'data_offsets'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, -1, "'data_offsets'"},
        {"{" T("a", "F32", "2", 8, 0) "}", 8, -1, "from byte 8 to 0"},
        {"{" T("a", "F32", "2", 0, 8) "}", 7, -1, "7 bytes of values"},
        {"{" T("a", "F32", "3", 0, 8) "}", 8, -1, "takes 12 bytes"},
        {"{" T("a", "F32", "1", 0, 8) "}", 8, -1, "takes 4 bytes"},
        {"{" T("a", "F32", "2", 0, 8) "," T("b", "F32", "2", 4, 12) "}", 12, -1, "inside"},
        {"{" T("a", "F32", "2", 0, 8) "," T("b", "F32", "2", 0, 8) "}", 8, -1, "inside"},
        {"{" T("a", "F32", "2", 0, 8) "," T("b", "F32", "2", 12, 20) "}", 20, -1, "hole"},
        {"{" T("a", "F32", "2", 4, 12) "}", 12, -1, "hole"},
        {"{" T("a", "F32", "2", 0, 8) "," T("a", "F32", "2", 8, 16) "}", 16, -1, "duplicate"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, -1,
         "duplicate"},
        {"{\"__metadata__\":1}", 0, -1, "no object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, -1, "no text"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        make_file("bad", row[i].header, row[i].values, row[i].length);
        if (open_file("bad") != MU_DATA)
            fail_msg("accepted: %s", row[i].header);
        assert_heard(row[i].said);
        assert_heard("bad: ");
    }
    write_bytes("bad", "1234567", 7);
    assert_int_equal(open_file("bad"), MU_DATA);
    assert_heard("too few");
    assert_int_equal(open_file("absent"), MU_NOINPUT);
    assert_int_equal(open_file("."), MU_DATA);
}

static void values_are_read_exactly_from_anywhere(void **state)
{
    (void)state;
    mu_foreign_t list = MU_FOREIGN_INIT;
    mu_buf_t bytes = MU_BUF_INIT, header = MU_BUF_INIT;
    enum { N = 40000 };
    float got[N], full[4] = {1.5f, -0.0f, 3e38f, 1e-40f};
    mu_buf_addf(
        &header,
        "{" T("f", "F32", "4", 0, 16) ",\"h\":{\"dtype\":\"F16\",\"shape\":[4,10000],\"data_offsets\":"
                                      "[16,%d]},\"i\":{\"dtype\":\"I16\",\"shape\":[1],"
                                      "\"data_offsets\":[%d,%d]}}",
        16 + 2 * N, 16 + 2 * N, 18 + 2 * N);
    for (int i = 0; i < 8; i++)
        mu_buf_addc(&bytes, (char)((uint64_t)header.len >> 8 * i & 0xff));
    mu_buf_add(&bytes, header.data, header.len);
    mu_buf_add(&bytes, full, sizeof full);
    for (int i = 0; i <= N; i++)
        mu_buf_add(&bytes, &(uint16_t){(uint16_t)i}, 2);
    write_bytes("values", bytes.data, bytes.len);
    assert_int_equal(mu_safetensors_open("values", &list), MU_OK);
    assert_int_equal(mu_foreign_sort(&list), MU_OK);
    const mu_foreign_tensor_t *f = mu_foreign_find(&list, "f"), *h = mu_foreign_find(&list, "h"),
                              *i16 = mu_foreign_find(&list, "i");
    assert_null(mu_foreign_find(&list, "g"));
    assert_int_equal(mu_foreign_read(&list, f, 1, 3, got), MU_OK);
    assert_memory_equal(got, full + 1, 12);
    assert_int_equal(mu_foreign_read(&list, h, 17, N - 17, got), MU_OK);
    for (int i = 17; i < N; i++) {
        float want = mu_float_of_half((uint16_t)i);
        assert_memory_equal(&got[i - 17], &want, sizeof want);
    }
    quiet();
    assert_int_equal(mu_foreign_read(&list, f, 2, 3, got), MU_BUG);
    assert_int_equal(mu_foreign_read(&list, i16, 0, 1, got), MU_DATA);
    assert_int_equal(truncate("values", (off_t)bytes.len - 100), 0);
    assert_int_equal(mu_foreign_read(&list, h, 0, N, got), MU_DATA);
    assert_heard("ends inside tensor 'h'");
    mu_foreign_release(&list);
    mu_buf_release(&bytes);
    mu_buf_release(&header);
}

/* IEEE 754: (-1)^s 2^(e-15) (1 + f/1024), and f 2^-24 for e 0. */
static void halves_are_what_ieee_says(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        int e = (int)(bits >> 10 & 31), f = (int)(bits & 1023);
        double sign = bits & 0x8000 ? -1 : 1;
        double want = e == 0 ? ldexp(f, -24) : ldexp(1024 + f, e - 25);
        float got = mu_float_of_half((uint16_t)bits);
        if (e == 31)
            assert_true(f ? isnan(got) : isinf(got) && (double)got * sign > 0);
        else
            assert_true((double)got == sign * want && !signbit(got) == (sign > 0));
    }
    assert_true(mu_float_of_bfloat16(0x3fc0) == 1.5f);
    assert_true(mu_float_of_bfloat16(0xc000) == -2.0f);
    assert_true(isnan(mu_float_of_bfloat16(0x7fc0)));
}

static void a_header_that_is_written_is_read(void **state)
{
    (void)state;
    char a[] = "a.weight", b[] = "b";
    mu_safetensors_entry_t entries[] = {{a, 2, {3, 5}}, {b, 1, {7, 1}}};
    mu_buf_t bytes = MU_BUF_INIT;
    mu_foreign_t list = MU_FOREIGN_INIT;
    float values[22], got[7];
    mu_safetensors_header(entries, 2, &bytes);
    assert_int_equal(bytes.len % 8, 0);
    for (int i = 0; i < 22; i++)
        values[i] = (float)i;
    mu_buf_add(&bytes, values, sizeof values);
    write_bytes("written", bytes.data, bytes.len);
    assert_int_equal(mu_safetensors_open("written", &list), MU_OK);
    assert_int_equal(mu_foreign_sort(&list), MU_OK);
    const mu_foreign_tensor_t *t = mu_foreign_find(&list, "b");
    assert_int_equal(t->dims, 1);
    assert_int_equal(mu_foreign_find(&list, "a.weight")->shape[1], 5);
    assert_int_equal(mu_foreign_read(&list, t, 0, 7, got), MU_OK);
    assert_memory_equal(got, values + 15, sizeof got);
    mu_foreign_release(&list);
    mu_buf_release(&bytes);
}

/* Whatever is accepted can be read to its end; nothing crashes. */
static void damage_is_refused_or_harmless(void **state)
{
    (void)state;
    mu_buf_t good = MU_BUF_INIT, bad = MU_BUF_INIT;
    uint64_t random = 88172645463325252u;
    int refused = 0, accepted = 0;
    read_all(HF_DATA "/gpt2/model.safetensors", &good);
    for (int round = 0; round < 3000; round++) {
        mu_foreign_t list = MU_FOREIGN_INIT;
        mu_buf_clear(&bad);
        mu_buf_add(&bad, good.data, round % 3 ? good.len : 1500);
        for (uint64_t k = next_random(&random) % 3 + 1; k > 0 && bad.len > 0; k--)
            damage(&bad, &random);
        write_bytes("fuzz", bad.data, bad.len);
        quiet();
        mu_status_t status = mu_safetensors_open("fuzz", &list);
        assert_true(status == MU_OK || status == MU_DATA);
        refused += status == MU_DATA;
        accepted += status == MU_OK;
        for (int i = 0; status == MU_OK && i < list.count; i++) {
            const mu_foreign_tensor_t *t = &list.tensors[i];
            float *out = mu_alloc((size_t)t->elements * sizeof *out + 1);
            mu_status_t read = mu_foreign_read(&list, t, 0, t->elements, out);
            assert_int_equal(read, t->type == MU_FOREIGN_OTHER ? MU_DATA : MU_OK);
            free(out);
        }
        mu_foreign_release(&list);
    }
    assert_true(refused > 100 && accepted > 100);
    mu_buf_release(&good);
    mu_buf_release(&bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_reference_reads_is_read),
        cmocka_unit_test(every_attack_is_refused_with_its_reason),
        cmocka_unit_test(values_are_read_exactly_from_anywhere),
        cmocka_unit_test(halves_are_what_ieee_says),
        cmocka_unit_test(a_header_that_is_written_is_read),
        cmocka_unit_test(damage_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
