/*
 * Documents to ids on several threads, given on in the order in which they were read: the result does not
 * depend on the number of threads. A long document is cut where that changes no id (mu_tokenizer_cut) and
 * shared by the threads. Memory: some megabytes a thread, and about ten times the longest document.
 */
#ifndef MU_DATASET_PIPELINE_H
#define MU_DATASET_PIPELINE_H

#include "common/status.h"
#include "dataset/prepare/reader.h"
#include "dataset/tokenizer/tokenizer.h"

/* A document as ids. */
typedef struct mu_encoded {
    const int32_t *ids; /* the pipeline's, until the sink returns */
    size_t n;
    uint64_t text_bytes; /* of its text */
    uint64_t digest;     /* the reader's, as `origin` is */
    int origin;
} mu_encoded_t;

typedef struct mu_pipeline_sink {
    mu_status_t (*document)(void *arg,
                            const mu_encoded_t *doc); /* an error ends the run and becomes its status */
    void (*tick)(void *arg);                          /* called now and then while it runs; NULL: never */
    void *arg;
} mu_pipeline_sink_t;

/* Reads to the end. Both functions of the sink are called on this thread. Errors: those of the reader, the
 * encoder and the sink, whichever comes first in the order of documents; MU_BUG (no thread can be started).
 */
mu_status_t mu_pipeline_run(mu_reader_t *reader, const mu_tokenizer_t *tok, int threads,
                            const mu_pipeline_sink_t *sink);

#endif
