/*
 * How far the reading of inputs is: one line that redraws itself on a terminal, else a line every ten
 * seconds. While it draws on a terminal it is the log's sink, so that messages do not run into the line.
 */
#ifndef MU_DATASET_METER_H
#define MU_DATASET_METER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mu_meter {
    const char *verb; /* the caller's */
    bool terminal;
    int64_t begun, shown; /* ns */
} mu_meter_t;

void mu_meter_begin(mu_meter_t *meter, const char *verb);
/* Bytes done and in all (0: not known). Cheap when called often. */
void mu_meter_show(mu_meter_t *meter, uint64_t done, uint64_t total);
/* Clears the line. Must follow begin, whatever happens between. */
void mu_meter_end(mu_meter_t *meter);

/* The text of a line: "prepare: 41 %, 1.20 GiB of 2.90 GiB, 23.1 MB/s, 1:12 left". */
void mu_meter_text(const char *verb, uint64_t done, uint64_t total, double seconds, char *out,
                   unsigned long size);

#endif
