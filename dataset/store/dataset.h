/*
 * A tokenized data set, opened for reading: a directory that `muster prepare` wrote (manifest.json and HDF5
 * shards), or the prefix of a GPT-NeoX / Megatron pair PREFIX.bin and PREFIX.idx.
 *
 * Documents of a split are numbered from 0. Of a .bin/.idx a document is one sequence of the index, as in
 * NeoX. Memory: 8 bytes a document (16 for an .idx whose sequences are not back to back). Tokens are read
 * with pread(2), so a disk error is a status and not a signal. One thread at a time.
 *
 * What is checked when: opening checks every size, the manifest's digest, the tokenizer's, and the tables of
 * all shards. Reading checks each block of tokens against its digest the first time it is touched, and every
 * id against the vocabulary. mu_dataset_verify reads everything. A .bin/.idx has no digests; there the
 * structure and the ids are checked.
 */
#ifndef MU_DATASET_DATASET_H
#define MU_DATASET_DATASET_H

#include "common/digest.h"
#include "common/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>
#include <stdint.h>

typedef enum mu_data_split { MU_TRAIN, MU_VALID, MU_TEST, MU_DATA_SPLITS } mu_data_split_t;
/* "train", "valid", "test". */
const char *mu_data_split_name(mu_data_split_t split);
/* The value of --split. Errors: MU_USAGE. */
mu_status_t mu_data_split_parse(const char *name, mu_data_split_t *out);

#define MU_SPLIT_DEFAULT "969, 30, 1" /* gpt-neox's */

typedef struct mu_dataset_options {
    const char *split; /* "969, 30, 1": cuts a .bin/.idx. A prepared directory is cut already; there another
                        * split than its own is warned of. NULL: "969, 30, 1" */
    bool labels;       /* it is to be the labels of another one: numbers below 0 are fine */
    int64_t vocab; /* ids must be below; for a prepared directory the smaller of this and its own. 0: its own,
                    * and for a .bin/.idx no bound but int32's */
} mu_dataset_options_t;

typedef struct mu_dataset mu_dataset_t;

/* Errors: MU_NOINPUT (nothing there, or a shard is missing), MU_DATA (damaged: file, what, where), MU_IO,
 * MU_CONFIG (the split string). */
mu_status_t mu_dataset_open(const char *path, const mu_dataset_options_t *options, mu_dataset_t **out);
void mu_dataset_close(mu_dataset_t *ds);

int64_t mu_dataset_documents(const mu_dataset_t *ds, mu_data_split_t split);
int64_t mu_dataset_tokens(const mu_dataset_t *ds, mu_data_split_t split);
/* Whether the split's ratio is above 0: one whose ratio is 0 is empty because nobody wants it. */
bool mu_dataset_wants(const mu_dataset_t *ds, mu_data_split_t split);
/* UTF-8 bytes of the text that the split's tokens stand for; 0: not known (.bin/.idx). */
uint64_t mu_dataset_text_bytes(const mu_dataset_t *ds, mu_data_split_t split);
/* Tokens of one document. */
int64_t mu_dataset_length(const mu_dataset_t *ds, mu_data_split_t split, int64_t doc);

/* `n` tokens of a document from `offset` on; the range must lie inside it. Errors: MU_DATA, MU_IO. */
mu_status_t mu_dataset_read(mu_dataset_t *ds, mu_data_split_t split, int64_t doc, int64_t offset, int64_t n,
                            int32_t *out);
/* The same with all documents of the split in a row; `position` counts tokens from the split's first. */
mu_status_t mu_dataset_read_at(mu_dataset_t *ds, mu_data_split_t split, int64_t position, int64_t n,
                               int32_t *out);

/* For `muster eval`: sequence k of a split holds tokens k * seq_length to (k + 1) * seq_length, both included
 * (inputs and, one later, targets), so sequences do not overlap in their targets; the incomplete last one is
 * left out. out: seq_length + 1 tokens. */
int64_t mu_dataset_sequences(const mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length);
mu_status_t mu_dataset_sequence(mu_dataset_t *ds, mu_data_split_t split, int64_t seq_length, int64_t k,
                                int32_t *out);

/* Whether tokens have label masks. */
bool mu_dataset_labelled(const mu_dataset_t *ds);
/* Of a labelled one: how many tokens of the split count for the loss; -1: not known. */
int64_t mu_dataset_counted(const mu_dataset_t *ds, mu_data_split_t split);
/* mu_dataset_read() with marks (common/token_marks.h): MU_TOKEN_UNCOUNTED where the label says so. Errors: as there. */
mu_status_t mu_dataset_read_marked(mu_dataset_t *ds, mu_data_split_t split, int64_t doc, int64_t offset,
                                   int64_t n, int32_t *out);
/* The member `chat` of a prepared directory's manifest: how conversations became text (docs/format-dataset.md). NULL:
 * they are none. The data set's. */
const json_t *mu_dataset_chat(const mu_dataset_t *ds);
/* Another data set that holds the labels of this one: gpt-neox's label_data, of the same documents and lengths; a label
 * below 0 is not counted, another one must be the token itself. It becomes a part of `ds`, whose version it changes; on
 * an error it stays the caller's. Errors: MU_CONFIG (other documents). */
mu_status_t mu_dataset_take_labels(mu_dataset_t *ds, mu_dataset_t *labels);

/* The data version: 32 hex digits that name tokens, documents and split, wherever the data lies. Of a
 * .bin/.idx: its index, the size of the .bin with its first and last MiB, and the split. */
const char *mu_dataset_version(const mu_dataset_t *ds);
/* Ids are below this; 0: not known. */
int64_t mu_dataset_vocab(const mu_dataset_t *ds);
/* Ids are to be below `vocab` as well from here on, as if mu_dataset_open() had been given it. */
void mu_dataset_limit(mu_dataset_t *ds, int64_t vocab);
/* The tokenizer's copy inside a prepared directory and its digest; NULL for a .bin/.idx. */
const char *mu_dataset_tokenizer_path(const mu_dataset_t *ds);
const char *mu_dataset_tokenizer_digest(const mu_dataset_t *ds);
/* The path it was opened with. */
const char *mu_dataset_path(const mu_dataset_t *ds);

/* Reads every byte: whole-file digests of a prepared directory, every id of a .bin. Errors: MU_DATA, MU_IO.
 */
mu_status_t mu_dataset_verify(mu_dataset_t *ds);

/* Whether `path` is a prepared directory or a .bin/.idx prefix, or so like one that opening it says what is wrong: a
 * file of such a pair, or a .bin without an .idx. Logs nothing. */
bool mu_dataset_exists(const char *path);

/* gpt-neox's cut of n documents by a split string (megatron/data/data_utils.py: get_train_valid_test_split_):
 * numbers separated by ',' or '/', missing ones 0, normalised by their sum; ends are rounded half to even,
 * and the rounding's surplus is taken from all three. Split k is [bounds[k], bounds[k + 1]). Errors:
 * MU_CONFIG. */
mu_status_t mu_split_bounds(const char *split, int64_t n, int64_t bounds[4]);
/* The three ratios, normalised. Errors: MU_CONFIG. */
mu_status_t mu_split_parse(const char *split, double ratio[3]);
/* The part of a document whose digest is that: the digest as a fraction of 2^64, against the ratios in a row. It
 * depends on nothing else, so a document keeps its part when others are added. */
mu_data_split_t mu_split_part(const double ratio[3], uint64_t digest);

#endif
