/* One byte: the vocabulary; two bytes: the length of the .bin, which follows; the rest is the .idx. */
#include "tests/fuzz/walk_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_dataset_t *ds = NULL;
    mu_dataset_options_t options = {.split = "8,1,1", .vocab = fuzz_byte(&data, &n)};
    size_t bin_size = fuzz_short(&data, &n);
    bin_size = bin_size < n ? bin_size : n;
    char *bin = fuzz_file("text.bin", data, bin_size);
    char *idx = fuzz_file("text.idx", data + bin_size, n - bin_size);
    char *prefix = mu_format("%.*s", (int)(strlen(bin) - strlen(".bin")), bin);
    fuzz_begin();
    if (fuzz_ok(mu_dataset_open(prefix, &options, &ds), MU_DATA, MU_DATA)) {
        fuzz_begin();
        fuzz_ok(mu_dataset_verify(ds), MU_DATA, MU_DATA);
        walk_data(ds);
    }
    free(prefix);
    free(bin);
    free(idx);
    return 0;
}
