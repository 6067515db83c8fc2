/*
 * The ZIP files that torch.save() writes: stored entries only, ZIP64 or not. Every size and offset is checked
 * against the file before it is used.
 */
#ifndef MU_WORKER_PICKLE_ZIP_H
#define MU_WORKER_PICKLE_ZIP_H

#include "worker/convert/hf_tensors.h"

typedef struct mu_zip_entry {
    char *name;
    uint64_t at, size; /* of the content, in bytes of the file */
    uint32_t crc;
} mu_zip_entry_t;

typedef struct mu_zip {
    mu_zip_entry_t *entries; /* by name */
    int count;
} mu_zip_t;

/* Errors: MU_DATA (no ZIP, compressed or encrypted entries, sizes that do not fit, a name twice), MU_IO. */
mu_status_t mu_zip_open(const mu_foreign_file_t *file, mu_zip_t *out);
/* NULL when there is none. */
const mu_zip_entry_t *mu_zip_find(const mu_zip_t *zip, const char *name);
/* Reads an entry and compares its CRC. Errors: MU_DATA, MU_IO. */
mu_status_t mu_zip_check(const mu_foreign_file_t *file, const mu_zip_entry_t *entry);
void mu_zip_release(mu_zip_t *zip);

#endif
