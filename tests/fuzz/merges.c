/* Any vocab.json, a NUL, any merges.txt, a NUL, any text. */
#include "tests/fuzz/tokenizer_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_tokenizer_t *tok = NULL;
    size_t vocab_length, merges_length;
    char *vocab = fuzz_piece(&data, &n, &vocab_length), *merges = fuzz_piece(&data, &n, &merges_length);
    char *vocab_path = fuzz_file("vocab.json", vocab, vocab_length);
    char *merges_path = fuzz_file("merges.txt", merges, merges_length);
    fuzz_begin();
    if (fuzz_ok(mu_tokenizer_load_files(vocab_path, merges_path, &tok), MU_DATA, MU_DATA))
        check_tokenizer(tok, (const char *)data, n);
    free(vocab_path);
    free(merges_path);
    free(vocab);
    free(merges);
    return 0;
}
