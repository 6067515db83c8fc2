/* What the writer and the reader of a prepared data set share. docs/format-dataset.md describes the bytes. */
#ifndef MU_DATASET_SHARD_FILE_H
#define MU_DATASET_SHARD_FILE_H

#include "common/buf.h"
#include "common/digest.h"
#include "common/status.h"
#include "dataset/store/dataset.h"
#include <jansson.h>
#include <stdint.h>

#define MU_DATASET_FORMAT   "muster-dataset"
#define MU_DATASET_MANIFEST "manifest.json"
/* Version 2 has label masks; without them data sets are of version 1. */
enum { MU_DATASET_FORMAT_VERSION = 1, MU_DATASET_FORMAT_LABELS = 2, MU_BLOCK_TOKENS = 65536 };

/* One shard as the manifest lists it. Offsets and sizes in bytes of the file; tables are the datasets
 * `documents`, `blocks` and, of version 2, `label_blocks`, one after the other in the digest. */
typedef struct mu_data_shard {
    mu_data_split_t split;
    int number; /* within the split */
    int64_t documents, tokens;
    uint64_t text_bytes;
    int64_t bytes;                              /* of the file */
    int64_t tokens_at, documents_at, blocks_at; /* where the datasets lie */
    int64_t labels_at, label_blocks_at;         /* with label masks */
    int64_t counted;                            /* labels that are 1 */
    char tables[MU_DIGEST_HEX];                 /* digest of the tables */
    char digest[MU_DIGEST_HEX];                 /* digest of the file */
} mu_data_shard_t;

typedef struct mu_data_manifest {
    int64_t vocab;
    int token_bytes; /* 2 or 4 */
    bool labels;     /* with label masks */
    json_t *
        chat; /* how conversations became text, an object that is not part of the version; NULL: they are none */
    char *split;
    char *tokenizer_file; /* NULL: none */
    char tokenizer_digest[MU_DIGEST_HEX], tokenizer_file_digest[MU_DIGEST_HEX];
    mu_data_shard_t *shards; /* train, valid, test; each in order */
    int count;
    char version[MU_DIGEST_HEX];
    json_t *
        made; /* what it was made of (docs/format-dataset.md), an object that is not part of the version; NULL: not
                   * known */
} mu_data_manifest_t;

static inline int mu_token_bytes(int64_t vocab)
{
    return vocab <= 65536 ? 2 : 4;
}

static inline int64_t mu_data_shard_blocks(int64_t tokens)
{
    return tokens / MU_BLOCK_TOKENS + (tokens % MU_BLOCK_TOKENS != 0);
}

/* "train-00000.h5" */
void mu_data_shard_name(mu_data_split_t split, int number, char out[32]);

/* Has libhdf5 make the file with its datasets, three or (labels) five, contiguous, allocated and unwritten, and fills
 * in where they lie and the size. Needs documents, tokens. Errors: MU_IO. */
mu_status_t mu_data_shard_lay_out(const char *path, int token_bytes, bool labels, mu_data_shard_t *shard);

/* Sets manifest->version from everything that decides what is trained on. */
void mu_data_manifest_version(mu_data_manifest_t *manifest);
/* The JSON text, its own digest included. */
void mu_data_manifest_write(const mu_data_manifest_t *manifest, mu_buf_t *out);
/* `path` names the file in messages. Errors: MU_DATA (not JSON, another format, its digest or a number
 * wrong). The sizes are checked against each other, not against the files. mu_data_manifest_free() it. */
mu_status_t mu_data_manifest_parse(const char *path, const char *text, size_t n, mu_data_manifest_t *out);
void mu_data_manifest_free(mu_data_manifest_t *manifest);
/* That of a prepared directory. Errors: MU_NOINPUT, MU_DATA, MU_IO. */
mu_status_t mu_data_manifest_read(const char *dir, mu_data_manifest_t *out);

#endif
