/* A template, a NUL, and the text that each of its names stands for. */
#include "dataset/prepare/template.h"
#include "dataset/tokenizer/utf8.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    size_t piece, at, bytes = 0;
    char *text = fuzz_piece(&data, &n, &piece);
    const char *why = NULL;
    mu_template_t t;
    fuzz_begin();
    bool good = mu_template_parse(text, &t, &why, &at);
    FUZZ_CHECK(at <= strlen(text) && (good || why));
    if (good) {
        mu_template_value_t values[MU_TEMPLATE_NAMES_MAX];
        mu_buf_t out = MU_BUF_INIT;
        FUZZ_CHECK(t.name_count >= 1 && t.name_count <= MU_TEMPLATE_NAMES_MAX);
        for (int i = 0; i < t.name_count; i++)
            values[i] = (mu_template_value_t){(const char *)data, n / (size_t)(i + 1)};
        for (int i = 0; i < t.part_count; i++) {
            FUZZ_CHECK(t.parts[i].name < t.name_count);
            bytes += t.parts[i].n + (t.parts[i].name >= 0 ? values[t.parts[i].name].n : 0);
        }
        mu_template_fill(&t, values, &out);
        FUZZ_CHECK(out.len == bytes);
        FUZZ_CHECK(mu_utf8_valid(t.literals.data, t.literals.len) == t.literals.len);
        mu_buf_release(&out);
    }
    mu_template_release(&t);
    free(text);
    return 0;
}
