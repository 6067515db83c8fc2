/* The count of values before a foreign JSON text is parsed. */
#include "common/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static json_t *parse(const char *text, size_t most, json_error_t *error)
{
    return mu_json_parse(text, strlen(text), most, error);
}

static void values_are_counted_outside_of_strings(void **state)
{
    (void)state;
    json_error_t error;
    json_t *json = parse("{\"a,[:\\\"{\": [1, 2], \"b\": {}}", 9, &error);
    assert_non_null(json);
    assert_int_equal(json_array_size(json_object_get(json, "a,[:\"{")), 2);
    json_decref(json);
    assert_null(parse("[[],[],[]]", 4, &error));
    assert_non_null(strstr(error.text, "more than 4 values"));
    json = parse("[[],[],[]]", 7, &error);
    assert_int_equal(json_array_size(json), 3);
    json_decref(json);
}

static void what_jansson_refuses_stays_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "[", "{\"a\": 1, \"a\": 2}", "\"\\", "[1,]"};
    json_error_t error;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_null(parse(bad[i], 100, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_counted_outside_of_strings),
        cmocka_unit_test(what_jansson_refuses_stays_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
