/* What must hold for a list of foreign tensors that was opened. */
#ifndef MU_TESTS_FUZZ_FOREIGN_CHECK_H
#define MU_TESTS_FUZZ_FOREIGN_CHECK_H

#include "tests/fuzz/fuzz.h"
#include "worker/convert/hf_tensors.h"

/* Every tensor lies in its file; its ends can be read. */
static inline void check_foreign(mu_foreign_t *list)
{
    float values[16];
    fuzz_begin();
    if (!fuzz_ok(mu_foreign_sort(list), MU_DATA, MU_DATA))
        return;
    for (int i = 0; i < list->count; i++) {
        const mu_foreign_tensor_t *t = &list->tensors[i];
        int64_t product = 1;
        FUZZ_CHECK(mu_foreign_find(list, t->name) == t);
        FUZZ_CHECK(t->dims >= 0 && t->dims <= MU_FOREIGN_DIMS);
        for (int d = 0; d < t->dims; d++)
            product *= t->shape[d];
        FUZZ_CHECK(product == t->elements && t->elements >= 0);
        FUZZ_CHECK(t->at <= list->files[t->file].size);
        if (t->type == MU_FOREIGN_OTHER)
            continue;
        int64_t n = t->elements < 16 ? t->elements : 16;
        FUZZ_CHECK(mu_foreign_read(list, t, 0, n, values) == MU_OK);
        FUZZ_CHECK(mu_foreign_read(list, t, t->elements - n, n, values) == MU_OK);
    }
}

#endif
