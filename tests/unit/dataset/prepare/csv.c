/* Tables, templates and filters: what becomes a field, a text, a document. */
#include "dataset/prepare/csv.h"
#include "tests/unit/dataset/data_support.h"
#include "dataset/prepare/filter.h"
#include "dataset/prepare/reader.h"
#include "dataset/prepare/template.h"

/* The fields of a whole text as "a|b;c|d;", or as far as it is right, then "!" and what is wrong. */
static const char *fields_of(const char *text, char delimiter, mu_buf_t *out)
{
    mu_csv_t csv = {.delimiter = delimiter};
    int64_t line = 0;
    mu_buf_clear(out);
    mu_csv_begin(&csv);
    while (*text) {
        size_t n = strcspn(text, "\n");
        mu_csv_state_t state = mu_csv_line(&csv, text, n);
        text += n + (text[n] == '\n');
        line++;
        if (state == MU_CSV_WRONG) {
            mu_buf_addf(out, "!%lld:%zu:%s", (long long)line, csv.column + 1, csv.why);
            break;
        }
        if (state == MU_CSV_MORE && *text)
            continue;
        if (state == MU_CSV_MORE) {
            mu_buf_addf(out, "!open:%lld:%zu", (long long)csv.opened_line + 1, csv.opened_column + 1);
            break;
        }
        for (int i = 0; i < csv.count; i++) {
            size_t length;
            const char *field = mu_csv_field(&csv, i, &length);
            mu_buf_addf(out, "%s%.*s", i > 0 ? "|" : "", (int)length, field);
        }
        mu_buf_addc(out, ';');
        mu_csv_begin(&csv);
    }
    mu_csv_release(&csv);
    return out->data;
}

static void fields_are_as_rfc_4180_says(void **state)
{
    (void)state;
    static const struct {
        const char *text, *wanted;
        char delimiter;
    } row[] = {
        {"aaa,bbb,ccc\r\nzzz,yyy,xxx\r\n", "aaa|bbb|ccc;zzz|yyy|xxx;", ','},
        {"a,b", "a|b;", ','},
        {"a,", "a|;", ','},
        {",", "|;", ','},
        {"\"\",\"\"\n", "|;", ','},
        {"\"aaa\",\"b \r\nbb\",\"ccc\"\r\nzzz,yyy,xxx", "aaa|b \r\nbb|ccc;zzz|yyy|xxx;", ','},
        {"\"aaa\",\"b\"\"bb\",\"ccc\"", "aaa|b\"bb|ccc;", ','},
        {"\"\"\"a\"\"\"\n", "\"a\";", ','},
        {"\"a,b\",\"c\n\nd\"\n", "a,b|c\n\nd;", ','},
        {"say \"hi\",5\"\n", "say \"hi\"|5\";", ','}, /* as Python's csv reads it */
        {" a , b \n", " a | b ;", ','},
        {"1\ta,b\t\"x\ty\"\n", "1|a,b|x\ty;", '\t'},
        {"\"a\"b,c\n",
         "!1:4:after a closing quote a delimiter or the line's end is wanted; a quote inside quotes is "
         "written twice",
         ','},
        {"a,\"b\nc", "!open:1:3", ','},
        {"a,b\nc,\"d\"\"\n", "a|b;!open:1:3", ','},
        {"a\rb,c\n", "!1:2:a carriage return inside a field must be in quotes", ','},
    };
    mu_buf_t out = MU_BUF_INIT;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        assert_string_equal(fields_of(row[i].text, row[i].delimiter, &out), row[i].wanted);
    mu_buf_clear(&out);
    for (int i = 0; i < 70000; i++)
        mu_buf_addc(&out, ',');
    mu_buf_t many = MU_BUF_INIT;
    assert_non_null(strstr(fields_of(out.data, ',', &many), "65536"));
    mu_buf_release(&many);
    mu_buf_release(&out);
}

/* ---- templates ---- */

static void templates_are_filled(void **state)
{
    (void)state;
    static const struct {
        const char *template, *wanted;
    } row[] = {
        {"{a}", "A"},
        {"{a}\\n{b}", "A\nB"},
        {"<{b}>{a}{a}\\t\\\\", "<B>AA\t\\"},
        {"{{{a}}}", "{A}"},
        {"Q: {a} A: {b}.", "Q: A A: B."},
    };
    mu_buf_t out = MU_BUF_INIT;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_template_t t;
        const char *why;
        size_t at;
        assert_true(mu_template_parse(row[i].template, &t, &why, &at));
        mu_template_value_t values[2];
        for (int k = 0; k < t.name_count; k++)
            values[k] = (mu_template_value_t){t.names[k][0] == 'a' ? "A" : "B", 1};
        mu_buf_clear(&out);
        mu_template_fill(&t, values, &out);
        assert_string_equal(out.data, row[i].wanted);
        mu_template_release(&t);
    }
    mu_buf_release(&out);
}

static void wrong_templates_are_refused_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *template;
        size_t at;
        const char *why;
    } row[] = {
        {"", 0, "names no member"},       {"text", 4, "names no member"}, {"{a", 0, "not closed"},
        {"a}b", 1, "without an opening"}, {"x{}", 1, "name is missing"},  {"{a}\\x", 3, "escape"},
        {"{a}\\", 3, "escape"},           {"{a{b}}", 0, "not closed"},    {"{a}\xFF", 0, "UTF-8"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_template_t t;
        const char *why;
        size_t at;
        assert_false(mu_template_parse(row[i].template, &t, &why, &at));
        assert_int_equal(at, row[i].at);
        assert_non_null(strstr(why, row[i].why));
        mu_template_release(&t);
    }
}

/* ---- filters ---- */

static void expect_kept(mu_filter_t *filter, const char *text, const char *wanted)
{
    size_t n = strlen(text);
    uint64_t digest;
    bool kept = mu_filter_keep(filter, &text, &n, &digest);
    assert_int_equal(kept, wanted != NULL);
    if (!kept)
        return;
    assert_int_equal(n, strlen(wanted));
    assert_memory_equal(text, wanted, n);
}

static void filters_count_what_they_do(void **state)
{
    (void)state;
    mu_filter_options_t o = {.strip_control = true, .drop_duplicates = true, .min_chars = 3, .max_chars = 6};
    mu_filter_t *filter = mu_filter_new(&o);
    expect_kept(filter, "a\001b\tc\n\x7F\xC2\x85", "ab\tc\n");
    expect_kept(filter, "ab\tc\n", NULL); /* a duplicate of what was left of it */
    expect_kept(filter, "\xC3\xA9\xC3\xA9\xC3\xA9", "\xC3\xA9\xC3\xA9\xC3\xA9");
    expect_kept(filter, "\xC3\xA9\xC3\xA9", NULL);
    expect_kept(filter, "1234567", NULL);
    expect_kept(filter, "123456", "123456");
    expect_kept(filter, "\xC2\xA0 \xE2\x82\xAC", "\xC2\xA0 \xE2\x82\xAC"); /* a no-break space is none */
    const mu_filter_counts_t *counts = mu_filter_counts(filter);
    assert_int_equal(counts->control, 3);
    assert_int_equal(counts->duplicates, 1);
    assert_int_equal(counts->too_short, 1);
    assert_int_equal(counts->too_long, 1);
    mu_filter_free(filter);
    o = (mu_filter_options_t){.strip_control = true};
    filter = mu_filter_new(&o);
    expect_kept(filter, "\001\002", NULL); /* nothing is left */
    expect_kept(filter, "a", "a");
    expect_kept(filter, "a", "a");
    mu_filter_free(filter);
}

static void duplicates_are_found_among_many(void **state)
{
    (void)state;
    mu_filter_options_t o = {.drop_duplicates = true};
    mu_filter_t *filter = mu_filter_new(&o);
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 20000; i++) {
            char word[16];
            snprintf(word, sizeof word, "%d", i);
            expect_kept(filter, word, turn == 0 ? word : NULL);
        }
    }
    assert_int_equal(mu_filter_counts(filter)->duplicates, 20000);
    mu_filter_free(filter);
}

/* ---- as documents ---- */

static mu_status_t read_all(const char *name, const char *bytes, const mu_reader_options_t *options,
                            mu_buf_t *out, mu_reader_counts_t *counts)
{
    char *path = write_file(name, bytes, strlen(bytes));
    mu_reader_t *reader;
    mu_doc_t doc;
    mu_status_t status;
    mu_buf_clear(out);
    mu_buf_clear(&said);
    assert_int_equal(mu_reader_open(&path, 1, options, &reader), MU_OK);
    while ((status = mu_reader_next(reader, &doc)) == MU_OK && doc.text)
        mu_buf_addf(out, "%lld:%.*s|", (long long)doc.line, (int)doc.bytes, doc.text);
    *counts = *mu_reader_counts(reader);
    mu_reader_close(reader);
    return status;
}

static void columns_become_documents(void **state)
{
    (void)state;
    static char content[] = "content", topic[] = "topic", third[] = "#3";
    char *names[] = {topic, content}, *one[] = {content}, *number[] = {third};
    mu_reader_options_t o = MU_READER_DEFAULTS;
    mu_reader_counts_t counts;
    mu_template_t table, two, by_number;
    mu_buf_t out = MU_BUF_INIT;
    mu_template_join(one, 1, &table);
    mu_template_join(names, 2, &two);
    mu_template_join(number, 1, &by_number);
    static const char text[] = "\xEF\xBB\xBFid,topic,content\r\n1,Balmora,\"Well,\r\nwhat is "
                               "it?\"\r\n\r\n2,x,\r\n3,,\"\"\"So\"\"\"\r\n";
    o.table = &table;
    assert_int_equal(read_all("a.csv", text, &o, &out, &counts), MU_OK);
    assert_string_equal(out.data, "2:Well,\r\nwhat is it?|6:\"So\"|");
    assert_int_equal(counts.empty, 1);
    assert_int_equal(counts.tables, 1);
    o.table = &two;
    assert_int_equal(read_all("a.csv", text, &o, &out, &counts), MU_OK);
    assert_string_equal(out.data, "2:Balmora\nWell,\r\nwhat is it?|5:x\n|6:\n\"So\"|");
    o.table = &by_number;
    assert_int_equal(read_all("a.tsv", "1\t2\ta \"b\"\n3\t4\t\"c\td\"\n", &o, &out, &counts), MU_OK);
    assert_string_equal(out.data, "1:a \"b\"|2:c\td|");
    o.delimiter = ';';
    o.format = MU_FORMAT_CSV;
    assert_int_equal(read_all("a.txt", "1;2;a,b\n", &o, &out, &counts), MU_OK);
    assert_string_equal(out.data, "1:a,b|");
    o = (mu_reader_options_t)MU_READER_DEFAULTS;
    assert_int_equal(read_all("a.csv", "x,y\n", &o, &out, &counts), MU_OK);
    assert_string_equal(out.data, "1:x,y|");
    assert_said("a.csv: this table is read as text");
    mu_template_release(&table);
    mu_template_release(&two);
    mu_template_release(&by_number);
    mu_buf_release(&out);
}

static void wrong_tables_are_refused_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place, *why;
        int64_t bad; /* with skip_bad */
        const char *rest;
    } row[] = {
        {"id,content\n1,a\n2,b,c\n3,d\n", "t.csv:3:1:", "fields of this record: 3, wanted: 2", 1, "2:a|4:d|"},
        {"id,content\n1,a\n2\n3,d\n", "t.csv:3:1:", "fields of this record: 1, wanted: 2", 1, "2:a|4:d|"},
        {"id,content\n1,\"a\nb\"c\n3,d\n", "t.csv:3:3:", "after a closing quote", 1, "4:d|"},
        {"id,content\n3,d\n1,\"a\n", "t.csv:3:3:", "the quote that opens here is not closed", 1, "2:d|"},
    };
    static char content[] = "content";
    char *one[] = {content};
    mu_reader_counts_t counts;
    mu_template_t table;
    mu_buf_t out = MU_BUF_INIT;
    mu_template_join(one, 1, &table);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_reader_options_t o = MU_READER_DEFAULTS;
        o.table = &table;
        assert_int_equal(read_all("t.csv", row[i].text, &o, &out, &counts), MU_DATA);
        assert_said(row[i].place);
        assert_said(row[i].why);
        o.skip_bad = 2;
        assert_int_equal(read_all("t.csv", row[i].text, &o, &out, &counts), MU_OK);
        assert_said(row[i].place);
        assert_said(row[i].why);
        assert_int_equal(counts.bad, row[i].bad);
        assert_string_equal(out.data, row[i].rest);
    }
    mu_reader_options_t o = MU_READER_DEFAULTS;
    static char first[] = "#1";
    char *number[] = {first};
    mu_template_t by_number;
    mu_template_join(number, 1, &by_number);
    o.table = &by_number;
    o.skip_bad = 9;
    /* a bad first record does not say how many fields there are */
    assert_int_equal(read_all("t.csv", "\"a\"b,c,x\nd,e\n", &o, &out, &counts), MU_OK);
    assert_string_equal(out.data, "2:d|");
    mu_template_release(&by_number);
    o.table = &table;
    assert_int_equal(read_all("t.csv", "id,text\n1,a\n", &o, &out, &counts), MU_DATA);
    assert_said("t.csv:1: has no column 'content': its columns are 'id', 'text'");
    o.max_record = 8;
    assert_int_equal(read_all("t.csv", "content\n\"0123\n56789\"\n", &o, &out, &counts), MU_DATA);
    assert_said("t.csv:2: a record longer than 8 bytes");
    assert_int_equal(read_all("t.csv", "content\n\xFF\n", &o, &out, &counts), MU_OK);
    assert_string_equal(out.data, "2:\xEF\xBF\xBD|");
    assert_int_equal(counts.invalid, 1);
    mu_template_release(&table);
    mu_buf_release(&out);
}

static void members_of_a_json_object_become_one_text(void **state)
{
    (void)state;
    mu_reader_options_t o = MU_READER_DEFAULTS;
    mu_reader_counts_t counts;
    mu_template_t t;
    mu_buf_t out = MU_BUF_INIT;
    const char *why;
    size_t at;
    assert_true(mu_template_parse("{user}\\n{agent}", &t, &why, &at));
    o.json = &t;
    o.skip_bad = 1;
    static const char lines[] =
        "{\"agent\": \"yes\", \"id\": 1, \"user\": \"no?\"}\n{\"user\": \"alone\"}\n"
        "{\"user\": null, \"agent\": \"\"}\n{\"user\": [\"a\", \"b\"], \"agent\": null}\n";
    assert_int_equal(read_all("a.jsonl", lines, &o, &out, &counts), MU_OK);
    assert_string_equal(out.data, "1:no?\nyes|4:a\n\nb\n|");
    assert_said("a.jsonl:2:");
    assert_int_equal(counts.bad, 1);
    assert_int_equal(counts.empty, 1);
    o.skip_bad = 0;
    assert_int_equal(read_all("a.jsonl", lines, &o, &out, &counts), MU_DATA);
    assert_said("\"agent\"");
    mu_template_release(&t);
    mu_buf_release(&out);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, support_up, support_down)
    const struct CMUnitTest tests[] = {
        TEST(fields_are_as_rfc_4180_says),
        TEST(templates_are_filled),
        TEST(wrong_templates_are_refused_with_their_place),
        TEST(filters_count_what_they_do),
        TEST(duplicates_are_found_among_many),
        TEST(columns_become_documents),
        TEST(wrong_tables_are_refused_with_their_place),
        TEST(members_of_a_json_object_become_one_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
