/*
 * Training a tokenizer on text.
 *
 *     mu_tokenizer_train_options_t options = MU_TOKENIZER_TRAIN_DEFAULTS;
 *     options.vocab = 32000;
 *     MU_TRY(mu_tokenizer_train(next_text, arg, &options, &tok, &counts));
 *     MU_TRY(mu_tokenizer_save(tok, "tokenizer.json"));
 *
 * The result has GPT-NeoX-20B's shape: id 0 is <|endoftext|>, 1 is <|padding|> (special tokens), 2 to 257 are
 * the 256 byte symbols in the order of their code points, then one id a merge; NFC, no prefix space, GPT-2's
 * words. It depends on the text alone (bpe_train.h says how ties fall), not on the order of documents.
 *
 * Memory: the distinct words, their counts and the pairs in them, not the text. When there are more than
 * max_words distinct words, or 32 bytes for each of those, the rarest are forgotten (all that were seen once,
 * then twice, and so on, until half the room is free), and it is said; counts are approximate from then on
 * and the order of documents does matter. Words above 1,024 bytes are no language and are left out.
 */
#ifndef MU_DATASET_TOKENIZER_TRAIN_H
#define MU_DATASET_TOKENIZER_TRAIN_H

#include "dataset/tokenizer/tokenizer.h"

#define MU_TOKENIZER_MIN_VOCAB 258

typedef struct mu_tokenizer_train_options {
    int32_t vocab;      /* ids wanted, all included; from MU_TOKENIZER_MIN_VOCAB on */
    uint64_t min_count; /* a pair seen less often is not merged */
    size_t max_words;
} mu_tokenizer_train_options_t;

#define MU_TOKENIZER_TRAIN_DEFAULTS                                                                          \
    {                                                                                                        \
        32000, 2, (size_t)8 << 20                                                                            \
    }

typedef struct mu_tokenizer_train_counts {
    uint64_t texts, bytes;
    uint64_t words;     /* distinct ones learned from */
    uint64_t forgotten; /* distinct words dropped for room, left-out long ones included */
} mu_tokenizer_train_counts_t;

/* Gives the next text (a document, valid UTF-8); *text is NULL after the last one. The text is the callee's
 * until the next call. */
typedef mu_status_t (*mu_text_source_t)(void *arg, const char **text, size_t *n);

/* *out may have fewer ids than wanted when the text has no more pairs. counts: may be NULL. Errors: MU_USAGE
 * (the size wanted), MU_DATA (no text), the source's. */
mu_status_t mu_tokenizer_train(mu_text_source_t next, void *arg, const mu_tokenizer_train_options_t *options,
                               mu_tokenizer_t **out, mu_tokenizer_train_counts_t *counts);

#endif
