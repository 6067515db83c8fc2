/*
 * What the fuzz targets share. A target is tests/fuzz/NAME.c and defines LLVMFuzzerTestOneInput(); it is
 * linked with libFuzzer where the build asks for it (preset `fuzz`), and with replay.c everywhere else. Its
 * seeds, and every input that once broke something, lie in tests/fuzz/corpus/NAME. docs/fuzzing.md says how
 * to run one.
 *
 * A target takes any bytes, ends in the same state as it began, and stops the program only for a finding.
 */
#ifndef MU_TESTS_FUZZ_H
#define MU_TESTS_FUZZ_H

#include "common/buf.h"
#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Something that must hold for every input. */
#define FUZZ_CHECK(condition)                                                                                \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            fuzz_broken(__FILE__, __LINE__, #condition);                                                     \
    } while (0)
_Noreturn void fuzz_broken(const char *file, int line, const char *what);

/* Calls that belong to one answer: the log is taken away and its errors counted from here. */
void fuzz_begin(void);
/* True when `status` is MU_OK; else it must be one of the two, and an error must have been logged for it. */
bool fuzz_ok(mu_status_t status, mu_status_t one, mu_status_t other);
/* The last line that was logged since fuzz_begin(). */
const char *fuzz_said(void);

/* Cuts the piece before the next NUL off the input; what is left begins after it. Without a NUL: all of it.
 * The piece is a copy with a NUL after; free() it. */
char *fuzz_piece(const uint8_t **data, size_t *n, size_t *piece);
/* One byte off the input; 0 at its end. */
uint8_t fuzz_byte(const uint8_t **data, size_t *n);
/* A little-endian number of two bytes off the input. */
unsigned fuzz_short(const uint8_t **data, size_t *n);

/* (Re)writes a file in a directory of this process, which goes when the process ends. free() the path. */
char *fuzz_file(const char *name, const void *bytes, size_t n);
const char *fuzz_dir(void);

#endif
