/* A rendered conversation as tokens, with the tokens that are answers. */
#ifndef MU_DATASET_CHAT_IDS_H
#define MU_DATASET_CHAT_IDS_H

#include "dataset/chat/chat_template.h"

/* Which tokens count for the loss. */
typedef enum mu_loss_on {
    MU_LOSS_ON_ASSISTANT,  /* those of all answers, with the token that ends each */
    MU_LOSS_ON_COMPLETION, /* those of the last answer */
    MU_LOSS_ON_ALL
} mu_loss_on_t;

/* What the encoder needs of a conversation; the arrays are the caller's. */
typedef struct mu_chat_marks {
    const mu_chat_span_t *answers, *turns;
    const bool *trained;
    int count;
} mu_chat_marks_t;

/* Appends the ids of text[0, n) to `ids`, and for each a byte to `labels`: 1 where it counts. A token counts when it
 * holds a character of an answer, as Transformers' return_assistant_tokens_mask has it.
 *
 * most > 0: no more ids than that. A longer conversation is cut after the last turn that fits, where an answer before
 * it counts; else nothing is appended. *bytes: of the text that the ids stand for: n, fewer, or 0.
 * Errors: those of mu_encoder_encode(). */
mu_status_t mu_chat_encode(mu_encoder_t *encoder, const mu_tokenizer_t *tok, const char *text, size_t n,
                           const mu_chat_marks_t *marks, mu_loss_on_t on, int64_t most, mu_ids_t *ids,
                           mu_buf_t *labels, size_t *bytes);

#endif
