/*
 * The progress bar of a verb that takes long: how far it is, how fast, and the time left, in one line on standard
 * error that is redrawn. Nothing is drawn where standard error is no terminal, where TERM is dumb, or where the log is
 * quieter than info.
 *
 *     mu_meter_begin("inspect", MU_METER_BYTES, 0);
 *     ...                              deep in the work: mu_meter_expect(all of a file), mu_meter_add(bytes of a block)
 *     mu_meter_end();
 *
 * A process has one bar, as it has one log: code that reads and writes blocks adds to it without knowing the verb, and
 * does nothing where no verb has begun one. While it is drawn it is the log's sink, so that messages stand above it.
 * Begin, phase and end are for one thread; the others are for any.
 */
#ifndef MU_COMMON_METER_H
#define MU_COMMON_METER_H

#include <stddef.h>
#include <stdint.h>

typedef enum mu_meter_unit { MU_METER_BYTES, MU_METER_COUNT } mu_meter_unit_t;

/* verb: a literal. total: 0 if it is not known yet. */
void mu_meter_begin(const char *verb, mu_meter_unit_t unit, uint64_t total);
/* Another part of the work, counted by itself; nothing without a bar. */
void mu_meter_phase(const char *verb, mu_meter_unit_t unit, uint64_t total);
/* Cheap when called often. */
void mu_meter_expect(uint64_t more); /* the total grows */
void mu_meter_add(uint64_t done);
void mu_meter_set(uint64_t done, uint64_t total);
/* Clears the line. Must follow begin, whatever happens between. */
void mu_meter_end(void);

/* The text of a line that fits `columns` cells: "prepare [#####......] 41 %, 1.20 GiB of 2.90 GiB, 23.1 MB/s, 1:12
 * left". */
void mu_meter_text(const char *verb, mu_meter_unit_t unit, uint64_t done, uint64_t total, double seconds,
                   int columns, char *out, size_t size);
/* The width of the terminal on standard error; 80 where it does not say. */
int mu_meter_columns(void);

#endif
