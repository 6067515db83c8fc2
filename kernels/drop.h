/* What dropout draws (kernels/device.h, mu_dropout_t), on every device. */
#ifndef MU_KERNELS_DROP_H
#define MU_KERNELS_DROP_H

#include "common/philox.h"
#include "kernels/device.h"

/* The words of elements e - e % 4 .. + 3. */
MU_HOST_AND_DEVICE static inline void mu_drop_words(const mu_dropout_t *d, uint64_t e, uint32_t word[4])
{
    uint64_t four = e / 4;
    const uint32_t key[2] = {(uint32_t)d->seed, (uint32_t)(d->seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)four, (uint32_t)(four >> 32), (uint32_t)d->place,
                                 (uint32_t)(d->place >> 32)};
    mu_philox(counter, key, word);
}
/* An element whose word is less becomes 0. */
static inline uint64_t mu_drop_below(const mu_dropout_t *d)
{
    return (uint64_t)(d->rate * 0x1p32);
}

#endif
