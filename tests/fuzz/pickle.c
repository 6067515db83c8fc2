/* Any pickle, of weights and as the states of a run. */
#include "worker/convert/pickle.h"
#include "tests/fuzz/fuzz.h"

static void read_one(const uint8_t *data, size_t n, const char *member)
{
    mu_pickle_t pickle;
    fuzz_begin();
    if (!fuzz_ok(mu_pickle_read("p", data, n, member, &pickle), MU_DATA, MU_DATA))
        return;
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
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    read_one(data, n, NULL);
    read_one(data, n, "module");
    return 0;
}
