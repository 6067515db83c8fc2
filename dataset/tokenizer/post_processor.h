/*
 * Post-processors of tokenizer.json: the tokens that a text is put between, as <s> before it.
 *
 * A corpus is encoded without them: documents follow each other with one end token between, and a token that both the
 * template and the corpus put would come twice. A prompt is encoded with those before it, as Transformers does.
 * Supported: TemplateProcessing of one text, RobertaProcessing, BertProcessing, ByteLevel (which adds nothing), and a
 * Sequence of them.
 */
#ifndef MU_DATASET_POST_PROCESSOR_H
#define MU_DATASET_POST_PROCESSOR_H

#include "dataset/tokenizer/part.h"
#include "dataset/tokenizer/tokenizer.h"

typedef struct mu_post_processor {
    mu_ids_t before, after;
} mu_post_processor_t;

/* Reads the member "post_processor" of `root` into zeros, and logs which tokens it would add.
 * mu_post_processor_release() even after an error. Errors: MU_DATA. */
mu_status_t mu_post_processor_read(const mu_part_t *root, mu_post_processor_t *out);
void mu_post_processor_release(mu_post_processor_t *template);

#endif
