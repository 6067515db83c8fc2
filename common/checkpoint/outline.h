/*
 * A shard file before it is written: which byte is what. Any range of the file's bytes can be made from its layout
 * (layout.h) and from the values, and digested.
 */
#ifndef MU_COMMON_OUTLINE_H
#define MU_COMMON_OUTLINE_H

#include "common/checkpoint/shard.h"

typedef struct mu_outline {
    mu_shard_t shard;  /* digests are empty until mu_outline_digest() has seen every byte */
    int *order;        /* as in the layout, */
    uint64_t *skipped; /* of which it keeps nothing else */
    char *frame;       /* this file's */
    /* of the bytes digested so far */
    int next; /* in order */
    mu_digest_t *around, *slice;
} mu_outline_t;

/* From the plan's layout, or from one made for this file: then it calls libhdf5, one thread of a process at a time.
 * Errors: MU_IO, MU_BUG (a layout of another worker or run). */
mu_status_t mu_outline_make(const mu_shard_plan_t *plan, mu_outline_t *out);
void mu_outline_release(mu_outline_t *outline); /* one filled with zeros is nothing */

/* The file's bytes from `from` up to `to`, both multiples of 4 or the end, into `out`. Errors: the source's. */
mu_status_t mu_outline_fill(const mu_outline_t *outline, const mu_shard_plan_t *plan, uint64_t from,
                            uint64_t to, char *out);
/* Digests those bytes. Ranges follow each other from byte 0 on; with the last, all digests of the shard are set. */
void mu_outline_digest(mu_outline_t *outline, uint64_t from, uint64_t to, const char *bytes);

#endif
