/* The table of a verb: what it takes, what it refuses and how it names it, and what is printed from it. */
#include "common/log.h"
#include "common/options.h"
#include "common/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

typedef struct args {
    mu_words_t files, keys, inputs, gates;
    const char *hosts, *order;
    int64_t workers;
    uint64_t size;
    double part;
    bool json, check;
} args_t;

static bool is_key(const char *word)
{
    return strchr(word, '=') != NULL;
}

static bool is_file(const char *word)
{
    return strstr(word, ".yml") != NULL;
}

static const mu_option_t options[] = {
    MU_OPT("CONFIG", NULL, MU_OPTION_OPERANDS, offsetof(args_t, files), "files", .required = true, .most = 2),
    MU_OPT("key=value", NULL, MU_OPTION_OVERRIDES, offsetof(args_t, keys), "keys", ),
    MU_OPT("--input", "PATH", MU_OPTION_MANY, offsetof(args_t, inputs), "inputs", ),
    MU_OPT("--gate", "EXPR", MU_OPTION_WORDS, offsetof(args_t, gates), "gates", ),
    MU_OPT("--hosts", "H", MU_OPTION_TEXT, offsetof(args_t, hosts), "hosts", .launcher = true),
    MU_OPT("--order", "O", MU_OPTION_TEXT, offsetof(args_t, order), "an order", .choices = "up|down"),
    MU_OPT("--workers", "N", MU_OPTION_INT, offsetof(args_t, workers), "how many", .min = 1, .max = 8),
    MU_OPT("--size", "SIZE", MU_OPTION_SIZE, offsetof(args_t, size), "a size", .min = 1, .max = 1 << 30),
    MU_OPT("--part", "P", MU_OPTION_F64, offsetof(args_t, part), "a part", .min = 0, .max = 1),
    MU_OPT("--json", NULL, MU_OPTION_FLAG, offsetof(args_t, json), "as JSON", ),
    MU_OPT("--check", NULL, MU_OPTION_FLAG, offsetof(args_t, check), NULL, ),
    MU_OPT_END};

static const mu_command_t command = {.name = "try",
                                     .summary = "a verb",
                                     .about = "Tries.\n\n.dot and 'quote'",
                                     .options = options,
                                     .exits = "0",
                                     .is_override = is_key,
                                     .is_operand = is_file};

enum { WORDS = 24 };

/* Parses a line of words with one blank between; what they point to lives until the next call. */
static mu_status_t parse(const char *line, args_t *a, mu_args_t *forward)
{
    static char text[512];
    char *argv[WORDS] = {"try"};
    int argc = 1;
    char *rest;
    bool help;
    snprintf(text, sizeof text, "%s", line);
    for (char *word = strtok_r(text, " ", &rest); word && argc < WORDS; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    *a = (args_t){0};
    return mu_options_parse(&command, argc, argv, a, forward, &help);
}

static char logged[1024];

static void keep_line(mu_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    snprintf(logged, sizeof logged, "%s", line);
}

static void every_kind_is_taken(void **state)
{
    (void)state;
    args_t a;
    mu_args_t forward = {0};
    assert_int_equal(
        parse("a.yml --input x y b.yml k=v z --gate g1 --gate=g2 --hosts h --order up --workers=3 --size 2K "
              "--part 0.5 --json --check -- --not-an-option=1",
              &a, &forward),
        MU_OK);
    assert_int_equal(a.files.count, 2);
    assert_string_equal(a.files.item[1], "b.yml");
    assert_int_equal(a.inputs.count, 3); /* x y z: what is neither a key nor a file */
    assert_int_equal(a.keys.count, 2);
    assert_string_equal(a.keys.item[1], "--not-an-option=1");
    assert_int_equal(a.gates.count, 2);
    assert_string_equal(a.hosts, "h");
    assert_true(a.workers == 3 && a.size == 2048 && a.part == 0.5 && a.json && a.check);
    mu_buf_t line = MU_BUF_INIT;
    mu_args_quote(&forward, &line);
    assert_non_null(strstr(line.data, "--workers=3"));
    assert_non_null(strstr(line.data, "--json"));
    assert_null(strstr(line.data, "--hosts")); /* the launcher's own */
    mu_buf_release(&line);
    mu_args_free(&forward);
    mu_options_release(&command, &a);
}

/* In muster-worker the launcher's own options are not there; what it forwards is. */
static void the_worker_takes_what_is_forwarded(void **state)
{
    (void)state;
    char *good[] = {"try", "--workers=3", "--json", "--", "a.yml"},
         *bad[] = {"try", "--hosts=h", "--", "a.yml"};
    args_t a = {0};
    bool help;
    assert_int_equal(mu_options_parse_worker(&command, 5, good, &a, &help), MU_OK);
    assert_true(a.workers == 3 && a.json && a.files.count == 1 && !help);
    mu_options_release(&command, &a);
    assert_int_equal(mu_options_parse_worker(&command, 4, bad, &a, &help), MU_USAGE);
    assert_non_null(strstr(logged, "no option '--hosts=h'"));
    mu_options_release(&command, &a);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *line, *named;
    } bad[] = {
        {"", "CONFIG"},
        {"a.yml b.yml c.yml", "c.yml"},
        {"a.yml --workers", "--workers needs a value"},
        {"a.yml --workers 9", "'9'"},
        {"a.yml --workers 0x2", "'0x2'"},
        {"a.yml --size 2Q", "'2Q'"},
        {"a.yml --part 1.5", "1.5"},
        {"a.yml --part nan", "nan"},
        {"a.yml --order sideways", "up|down"},
        {"a.yml --json=1", "--json takes no value"},
        {"a.yml --wrokers 2", "did you mean --workers"},
        {"a.yml -np 2", "--workers N"},
        {"a.yml --nnodes=2", "--hosts HOST:SLOTS"},
        {"a.yml --nothing-like-it", "--nothing-like-it"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        args_t a;
        *logged = '\0';
        assert_int_equal(parse(bad[i].line, &a, NULL), MU_USAGE);
        if (!strstr(logged, bad[i].named))
            fail_msg("'%s' says: %s", bad[i].line, logged);
        mu_options_release(&command, &a);
    }
}

static void what_is_printed_has_every_option(void **state)
{
    (void)state;
    const mu_command_t *const commands[] = {&command, NULL};
    void (*const print[])(const mu_command_t *, mu_buf_t *) = {mu_options_help, mu_options_man};
    for (int k = 0; k < 4; k++) {
        mu_buf_t out = MU_BUF_INIT;
        if (k < 2)
            print[k](&command, &out);
        else
            (k == 2 ? mu_options_bash : mu_options_zsh)(commands, &out);
        for (const mu_option_t *o = options; o->name; o++) {
            char name[64];
            snprintf(name, sizeof name, k == 1 ? "\\-\\-%s" : "--%s", o->name + 2);
            if (o->name[0] == '-')
                assert_true((strstr(out.data, name) != NULL) == (o->help != NULL));
        }
        if (k == 1)
            assert_non_null(strstr(out.data, "\n\\&.dot"));
        mu_buf_release(&out);
    }
}

static void near_words(void **state)
{
    (void)state;
    static const char *const known[] = {"run", "render", "status", NULL};
    assert_string_equal(mu_nearest_word("stauts", known), "status");
    assert_null(mu_nearest_word("xyzzyx", known));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_taken),
        cmocka_unit_test(the_worker_takes_what_is_forwarded),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(what_is_printed_has_every_option),
        cmocka_unit_test(near_words),
    };
    mu_log_sink_set(keep_line, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
