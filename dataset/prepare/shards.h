/*
 * Writes a prepared data set (docs/format-dataset.md).
 *
 * Documents arrive in order, once; how many there are is known only at the end, and the split needs that
 * number. So their tokens are spooled to a file in DIR.partial, then cut into shards, and DIR.partial is
 * renamed to DIR when all of it is on disk: DIR is whole or absent. What a killed writer left in DIR.partial
 * is removed by the next one. The disk needs room for the tokens once, plus one shard (the spool is given
 * back as it is cut, where the file system can do that; else twice). libhdf5 lays the shards out, empty; the
 * bytes are written and synced here.
 *
 * Calling sequence: mu_shards_create, mu_shards_add for each document, mu_shards_finish, mu_shards_free
 * (without finish: nothing is left). One thread at a time. The same documents give the same bytes.
 */
#ifndef MU_DATASET_SHARDS_H
#define MU_DATASET_SHARDS_H

#include "common/digest.h"
#include "common/status.h"
#include "dataset/store/shard_file.h"
#include "dataset/tokenizer/tokenizer.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mu_shards_options {
    int64_t vocab;                   /* ids are below; up to 65,536 they take 2 bytes, else 4 */
    const mu_tokenizer_t *tokenizer; /* saved as DIR/tokenizer.json; NULL: none */
    const char *split;               /* "969, 30, 1" */
    int64_t tokens_a_shard;          /* 0: 128 Mi. A longer document has a shard of its own */
    bool labels;                     /* documents have label masks */
    bool by_digest;                  /* a document's digest decides its part, not its position */
    bool replace; /* a data set that DIR holds is replaced at the end; otherwise that is an error */
} mu_shards_options_t;

typedef struct mu_shards_summary {
    int64_t documents[MU_DATA_SPLITS], tokens[MU_DATA_SPLITS], counted[MU_DATA_SPLITS];
    uint64_t text_bytes[MU_DATA_SPLITS];
    int shards;
    char version[MU_DIGEST_HEX];
} mu_shards_summary_t;

typedef struct mu_shards mu_shards_t;

/* Errors: MU_RUNDIR (DIR exists and is not ours to replace, or cannot be made; another writer is at work),
 * MU_IO, MU_CONFIG (the split string). */
mu_status_t mu_shards_create(const char *dir, const mu_shards_options_t *options, mu_shards_t **out);
/* One document: n > 0 ids, which stand for text_bytes bytes of text with this digest; labels: with options.labels a
 * byte each, 1 where the token counts. Errors: MU_IO; MU_BUG (an id outside the vocabulary). */
mu_status_t mu_shards_add(mu_shards_t *shards, const int32_t *ids, const unsigned char *labels, size_t n,
                          uint64_t text_bytes, uint64_t digest);
/* How conversations became text, for the manifest; takes the object over. Before mu_shards_finish. */
void mu_shards_chat(mu_shards_t *shards, json_t *chat);
/* What the data set is made of, for its manifest; takes the object over. Before mu_shards_finish. */
void mu_shards_made(mu_shards_t *shards, json_t *made);
/* Errors: MU_IO; MU_DATA (a split comes out empty although its ratio is not 0). */
mu_status_t mu_shards_finish(mu_shards_t *shards, mu_shards_summary_t *summary);
void mu_shards_free(mu_shards_t *shards);
/* The sums of a manifest. */
void mu_shards_sum(const mu_data_manifest_t *manifest, mu_shards_summary_t *summary);

#endif
