/* Token ids of any width as int32. */
#include "dataset/store/dataset_impl.h"

#include <string.h>

int64_t mu_tokens_widen(const void *from, int bytes, bool is_signed, int64_t n, int64_t limit, int32_t *out,
                        int64_t *bad)
{
    const unsigned char *p = from;
    uint64_t all = ~(uint64_t)0, sign = is_signed ? (uint64_t)1 << (8 * bytes - 1) : 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t id = 0;
        memcpy(&id, p + i * bytes, (size_t)bytes);
        if (bytes < 8 && (id & sign))
            id |= all << (8 * bytes); /* negative, hence too large below */
        if (id >= (uint64_t)limit) {
            *bad = (int64_t)id;
            return i;
        }
        out[i] = (int32_t)id;
    }
    return n;
}
