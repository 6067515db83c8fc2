/*
 * Tensors in foreign files: a list of names, types and places that a format's reader fills (safetensors.h,
 * pickle.h), and reading any run of elements as fp32. Bytes are read with pread(2) when asked for; nothing is
 * mapped, so a file that shrinks meanwhile is an error and no signal.
 *
 *     mu_foreign_t list = MU_FOREIGN_INIT;
 *     mu_safetensors_open(path, &list);                 once a file
 *     mu_foreign_sort(&list);                           then look up and read
 *     const mu_foreign_tensor_t *t = mu_foreign_find(&list, "gpt_neox.embed_in.weight");
 *     mu_foreign_read(&list, t, first, n, out);
 *     mu_foreign_release(&list);
 */
#ifndef MU_WORKER_HF_TENSORS_H
#define MU_WORKER_HF_TENSORS_H

#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* OTHER: whole and well-formed, but no weights (masks, indices). */
typedef enum mu_foreign_type {
    MU_FOREIGN_F32,
    MU_FOREIGN_F16,
    MU_FOREIGN_BF16,
    MU_FOREIGN_OTHER
} mu_foreign_type_t;

enum { MU_FOREIGN_DIMS = 8 };

typedef struct mu_foreign_tensor {
    char *name;
    mu_foreign_type_t type;
    int dims;
    int64_t shape[MU_FOREIGN_DIMS];
    int64_t elements; /* the product; fits, and the bytes lie in the file */
    int file;         /* in mu_foreign_t.files */
    uint64_t at;      /* byte in the file */
} mu_foreign_tensor_t;

typedef struct mu_foreign_file {
    char *path;
    int fd;
    uint64_t size;
} mu_foreign_file_t;

typedef struct mu_foreign {
    mu_foreign_file_t *files;
    mu_foreign_tensor_t *tensors;
    int file_count, count, room;
} mu_foreign_t;

#define MU_FOREIGN_INIT                                                                                      \
    {                                                                                                        \
        NULL, NULL, 0, 0, 0                                                                                  \
    }

/* Opens a regular file (links are followed: a download's cache is made of them) and adds it to the list; its
 * index is file_count - 1 afterwards. Errors: MU_NOINPUT, MU_IO, MU_DATA (no regular file). */
mu_status_t mu_foreign_open(mu_foreign_t *list, const char *path);
/* Adds a tensor; takes over its name. */
void mu_foreign_add(mu_foreign_t *list, const mu_foreign_tensor_t *tensor);
/* By name. Errors: MU_DATA, a name that is there twice (both files are named). */
mu_status_t mu_foreign_sort(mu_foreign_t *list);
/* NULL when there is none. The list is sorted. */
const mu_foreign_tensor_t *mu_foreign_find(const mu_foreign_t *list, const char *name);
const char *mu_foreign_path(const mu_foreign_t *list, const mu_foreign_tensor_t *tensor);

/* Elements first up to first + n, exactly as fp32. Errors: MU_DATA (not a floating type that this reads; the
 * file has shrunk), MU_IO. */
mu_status_t mu_foreign_read(const mu_foreign_t *list, const mu_foreign_tensor_t *tensor, int64_t first,
                            int64_t n, float *out);

void mu_foreign_release(mu_foreign_t *list);

/* "[3, 4]" into `out`; returns it. */
const char *mu_foreign_shape(int dims, const int64_t *shape, char *out, size_t size);

#endif
