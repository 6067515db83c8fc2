/* Any tokenizer.json, a NUL, any text. */
#include "tests/fuzz/tokenizer_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_tokenizer_t *tok = NULL;
    size_t length;
    char *json = fuzz_piece(&data, &n, &length), *path = fuzz_file("tokenizer.json", json, length);
    fuzz_begin();
    if (fuzz_ok(mu_tokenizer_load(path, &tok), MU_DATA, MU_DATA))
        check_tokenizer(tok, (const char *)data, n);
    free(path);
    free(json);
    return 0;
}
