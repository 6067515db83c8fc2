/*
 * Documents to ids on several threads, given on in the order in which they were read: the result does not
 * depend on the number of threads. A long document is cut where that changes no id (mu_tokenizer_cut) and
 * shared by the threads. Memory: some megabytes a thread, and about ten times the longest document.
 */
#ifndef MU_DATASET_PIPELINE_H
#define MU_DATASET_PIPELINE_H

#include "common/status.h"
#include "dataset/chat/chat_ids.h"
#include "dataset/prepare/reader.h"
#include "dataset/tokenizer/tokenizer.h"

/* A document as ids. */
typedef struct mu_encoded {
    const int32_t *ids; /* the pipeline's, until the sink returns */
    size_t n;
    uint64_t text_bytes; /* of its text */
    uint64_t digest;     /* the reader's, as `origin` is */
    int origin;
    const unsigned char *labels; /* of a conversation: a byte an id, 1 where it counts; else NULL */
    size_t whole; /* bytes of the text before it was cut; text_bytes is less then, and 0 with n where it
                                  * could not be cut */
} mu_encoded_t;

/* How conversations are encoded (mu_chat_encode). */
typedef struct mu_pipeline_chat {
    mu_loss_on_t on;
    int64_t most; /* ids of one; 0: any number */
} mu_pipeline_chat_t;

typedef struct mu_pipeline_sink {
    mu_status_t (*document)(void *arg,
                            const mu_encoded_t *doc); /* an error ends the run and becomes its status */
    void (*tick)(void *arg);                          /* called now and then while it runs; NULL: never */
    void *arg;
} mu_pipeline_sink_t;

/* Reads to the end; chat: for a reader of conversations, else not looked at. Both functions of the sink are called on
 * this thread. Errors: those of the reader, the encoder and the sink, whichever comes first in the order of documents;
 * MU_BUG (no thread can be started).
 */
mu_status_t mu_pipeline_run(mu_reader_t *reader, const mu_tokenizer_t *tok, int threads,
                            const mu_pipeline_chat_t *chat, const mu_pipeline_sink_t *sink);

#endif
