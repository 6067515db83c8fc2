/*
 * Digests of files and tensors: XXH3 with 128 bits, written as 32 lower-case hex digits (high half first, as
 * `xxhsum -H2` prints them). They find every accident; they are no defence against a forger.
 */
#ifndef MU_COMMON_DIGEST_H
#define MU_COMMON_DIGEST_H

#include "common/status.h"
#include <stddef.h>

#define MU_DIGEST_HEX 33 /* with the NUL */

typedef struct mu_digest mu_digest_t; /* a stream of bytes being digested */

mu_digest_t *mu_digest_new(void);
void mu_digest_add(mu_digest_t *digest, const void *bytes, size_t n);
/* Writes the digest so far; more may be added afterwards. */
void mu_digest_hex(const mu_digest_t *digest, char out[MU_DIGEST_HEX]);
void mu_digest_free(mu_digest_t *digest);

void mu_digest_bytes(const void *bytes, size_t n, char out[MU_DIGEST_HEX]);
/* A whole file. Errors: MU_NOINPUT when it does not exist, MU_IO when it cannot be read. */
mu_status_t mu_digest_file(const char *path, char out[MU_DIGEST_HEX]);
/* The same, and its bytes count for the progress bar (common/meter.h). */
mu_status_t mu_digest_file_metered(const char *path, char out[MU_DIGEST_HEX]);

#endif
