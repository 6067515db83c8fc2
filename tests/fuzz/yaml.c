/* Any text as YAML, as a file and as one value; every scalar as everything that it may mean. */
#include "common/config/yaml.h"
#include "tests/fuzz/fuzz.h"

static int walk(const mu_yaml_t *node)
{
    int nodes = 1, children = 0;
    int64_t i;
    double f;
    bool b, loose;
    FUZZ_CHECK(node->line >= 1 && node->column >= 1);
    FUZZ_CHECK((node->kind == MU_YAML_SCALAR) == (node->text != NULL));
    if (node->kind == MU_YAML_SCALAR) {
        bool none = mu_yaml_is_null(node), truth = mu_yaml_bool(node, &b);
        bool whole = mu_yaml_i64(node, &i), real = mu_yaml_f64(node, &f, &loose);
        FUZZ_CHECK(none + truth + (whole || real) <= 1);
        FUZZ_CHECK(!real || (f - f == 0));
    }
    for (const mu_yaml_t *e = node->first; e; e = e->next, children++) {
        FUZZ_CHECK((node->kind == MU_YAML_MAP) == (e->key != NULL));
        for (const mu_yaml_t *other = node->first; e->key && other != e; other = other->next)
            FUZZ_CHECK(!mu_yaml_same_key(e->key, other->key));
        nodes += walk(e);
    }
    FUZZ_CHECK(children == node->count);
    return nodes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_yaml_t *top = NULL;
    fuzz_begin();
    if (fuzz_ok(mu_yaml_parse("f", (const char *)data, n, &top), MU_CONFIG, MU_DATA)) {
        FUZZ_CHECK(top->kind == MU_YAML_MAP && walk(top) <= MU_YAML_NODES);
        mu_yaml_free(top);
    }
    fuzz_begin();
    if (fuzz_ok(mu_yaml_parse_value("f", (const char *)data, n, &top), MU_CONFIG, MU_DATA)) {
        walk(top);
        mu_yaml_free(top);
    }
    return 0;
}
