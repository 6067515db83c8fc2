/*
 * Safetensors files (https://github.com/huggingface/safetensors, "Format"): 8 bytes of header length, little
 * endian; a JSON header; values.
 *
 * Reading refuses what the reference implementation refuses, and a name that is there twice: a header longer
 * than 100 MB or than the file, that does not begin with '{' or is no JSON in UTF-8; an unknown type; values
 * that do not begin where the last ended, overlap, leave a hole or bytes after, or are more or fewer than
 * the shape says; a product that overflows; metadata that is no map of texts.
 */
#ifndef MU_WORKER_SAFETENSORS_H
#define MU_WORKER_SAFETENSORS_H

#include "common/buf.h"
#include "worker/convert/hf_tensors.h"

#define MU_SAFETENSORS_HEADER_MAX 100000000 /* bytes */

/* Opens a file and adds all its tensors to `list`, which stays unsorted. Errors: MU_NOINPUT, MU_DATA (what is
 * wrong and where), MU_IO. A name that the metadata gives to a
 * stored tensor (shared weights) is added as a tensor of the same place. On an error the list holds a part and is only
 * good for release. */
mu_status_t mu_safetensors_open(const char *path, mu_foreign_t *list);

/* A fp32 tensor to write. */
typedef struct mu_safetensors_entry {
    char *name;
    int dims;
    int64_t shape[2];
} mu_safetensors_entry_t;

/* The header of a file that holds `entries` one after the other, its length in front, padded to a multiple
 * of 8 bytes: the values of the first begin after it. */
void mu_safetensors_header(const mu_safetensors_entry_t *entries, int count, mu_buf_t *out);

#endif
