/*
 * Numbers from text, and arithmetic on sizes that the outside chose. Nothing here logs: the caller knows the
 * subject.
 */
#ifndef MU_COMMON_NUM_H
#define MU_COMMON_NUM_H

#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

/* The whole of `text` as a number; false when it is empty, has anything after it, or does not fit. */
bool mu_parse_i64(const char *text, int64_t *out);
bool mu_parse_f64(const char *text, double *out); /* finite values only */
/* Bytes: "1024", "64K", "2M", "24GiB", "1.5TB" (all units are powers of 1024). */
bool mu_parse_size(const char *text, uint64_t *out);

/* a * b and a + b; false on overflow. */
static inline bool mu_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool mu_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline int64_t mu_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t mu_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* "1.5 GiB" style text for people, into a buffer of the caller; returns it. */
const char *mu_human_bytes(uint64_t bytes, char *out, size_t size);

/* Shares of training, validation and test data, as gpt-neox reads its `split`: up to three numbers between commas or
 * slashes, further ones are ignored; ratio: divided by their sum. */
bool mu_parse_split(const char *text, double ratio[3]);
#define MU_SPLIT_WORDS "up to three numbers, none negative, that add up to more than 0, as \"969, 30, 1\""

#endif
