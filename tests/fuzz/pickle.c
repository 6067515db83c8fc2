/* Any pickle. */
#include "worker/convert/pickle.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_pickle_t pickle;
    fuzz_begin();
    if (!fuzz_ok(mu_pickle_read("p", data, n, &pickle), MU_DATA, MU_DATA))
        return 0;
    for (int i = 0; i < pickle.count; i++) {
        const mu_pickle_tensor_t *t = &pickle.tensors[i];
        int64_t product = 1;
        FUZZ_CHECK(t->name && t->storage && t->dims >= 0 && t->dims <= MU_FOREIGN_DIMS);
        for (int d = 0; d < t->dims; d++)
            product *= t->shape[d];
        FUZZ_CHECK(product == t->elements && t->elements >= 0);
        FUZZ_CHECK(t->offset >= 0 && t->offset <= t->values && t->elements <= t->values - t->offset);
    }
    mu_pickle_release(&pickle);
    return 0;
}
