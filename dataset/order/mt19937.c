/* numpy's legacy generator: MT19937 (Matsumoto and Nishimura, 1998), and RandomState's shuffle. */
#include "dataset/order/order.h"

enum { N = 624, M = 397 };

void mu_mt19937_seed(mu_mt19937_t *rng, uint32_t seed)
{
    rng->state[0] = seed;
    for (uint32_t i = 1; i < N; i++)
        rng->state[i] = 1812433253u * (rng->state[i - 1] ^ rng->state[i - 1] >> 30) + i;
    rng->next = N;
}

static void twist(mu_mt19937_t *rng)
{
    uint32_t *s = rng->state;
    for (int i = 0; i < N; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % N] & 0x7FFFFFFFu);
        s[i] = s[(i + M) % N] ^ y >> 1 ^ (y & 1 ? 0x9908B0DFu : 0);
    }
    rng->next = 0;
}

uint32_t mu_mt19937_next(mu_mt19937_t *rng)
{
    if (rng->next == N)
        twist(rng);
    uint32_t y = rng->state[rng->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9D2C5680u;
    y ^= y << 15 & 0xEFC60000u;
    return y ^ y >> 18;
}

/* A number from 0 to max, by rejection; nothing is drawn for max 0. */
static uint32_t interval(mu_mt19937_t *rng, uint32_t max)
{
    if (max == 0)
        return 0;
    uint32_t mask = UINT32_MAX >> __builtin_clz(max), value;
    do {
        value = mu_mt19937_next(rng) & mask;
    } while (value > max);
    return value;
}

void mu_mt19937_shuffle(mu_mt19937_t *rng, uint32_t *values, size_t n)
{
    for (size_t i = n; i-- > 1;) {
        uint32_t j = interval(rng, (uint32_t)i), keep = values[i];
        values[i] = values[j];
        values[j] = keep;
    }
}
