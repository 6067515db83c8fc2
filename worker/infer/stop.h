/*
 * Texts that end what a model writes: the text goes up to the first of them. What may be the beginning of one is held
 * back until it is known.
 */
#ifndef MU_WORKER_STOP_H
#define MU_WORKER_STOP_H

#include "common/buf.h"
#include "common/options.h"
#include <stdbool.h>

/* How much of text[0, n) may be shown: all before the first stop, when *hit; else all but what may begin one, or with
 * `end` (nothing follows) all. */
size_t mu_stop_visible(const mu_words_t *stops, const char *text, size_t n, bool end, bool *hit);

#endif
