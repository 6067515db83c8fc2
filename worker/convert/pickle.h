/*
 * Tensors out of a file that torch.save() wrote, without Python and without running anything: a pickle is a
 * program, and this reads the few instructions that a dictionary of tensors needs. Everything else in one -
 * an instruction, the name of a function or class - is refused.
 *
 *   instructions  PROTO 2, STOP, MARK, None, True, False, integers, floats, texts, tuples, lists,
 *                 dictionaries, PUT and GET of the memo, GLOBAL, REDUCE, BUILD, BINPERSID
 *   names         collections.OrderedDict; torch._utils._rebuild_tensor_v2 and _rebuild_parameter;
 *                 torch.FloatStorage and its kin
 *
 * (Python's pickletools.py describes the instructions.)
 */
#ifndef MU_WORKER_PICKLE_H
#define MU_WORKER_PICKLE_H

#include "worker/convert/hf_tensors.h"

/* Opens PATH and adds its tensors to `list`, each named PREFIX and its key in the dictionary. With `member`, the file
 * holds a dictionary of anything, and its member of that name is the dictionary of tensors: everything else in it is
 * passed over, whatever it asks for, and nothing of it is run either. The CRC of every storage is checked. Errors:
 * MU_NOINPUT, MU_DATA (damaged, or a pickle that asks for more than tensors), MU_IO. On an error the list is only good
 * for release. */
mu_status_t mu_torch_open(const char *path, const char *member, const char *prefix, mu_foreign_t *list);

/* The inner part: a tensor as the pickle describes it. */
typedef struct mu_pickle_tensor {
    char *name, *storage; /* key of the dictionary; name of the entry that holds the values */
    mu_foreign_type_t type;
    int element;            /* bytes */
    int64_t values, offset; /* of the storage; of the tensor in it; in elements */
    int dims;
    int64_t shape[MU_FOREIGN_DIMS], elements;
} mu_pickle_tensor_t;

typedef struct mu_pickle {
    mu_pickle_tensor_t *tensors;
    int count;
} mu_pickle_t;

#define MU_PICKLE_MAX ((size_t)4 << 20) /* bytes of a pickle; a layer's has some thousands */

/* Reads a pickle of n <= MU_PICKLE_MAX bytes; `subject` stands for it in messages, `member` is as above, or NULL.
 * Errors: MU_DATA. */
mu_status_t mu_pickle_read(const char *subject, const unsigned char *bytes, size_t n, const char *member,
                           mu_pickle_t *out);
void mu_pickle_release(mu_pickle_t *pickle);

#endif
