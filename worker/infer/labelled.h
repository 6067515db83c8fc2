/*
 * Labelled examples: `muster eval --labelled FILE`. FILE is JSONL, one example a line:
 *
 *     {"prompt": "Great food. Sentiment:", "choices": ["negative", "positive"], "answer": 1}
 *
 * answer: the index of the right choice from 0, or its text. The text that is scored is prompt, delimiter (default: one
 * space) and choice. Other members are ignored; blank lines too.
 *
 *     mu_labelled_read(path, delimiter, &labelled);
 *     mu_labelled_encode(&labelled, tokenizer, positions);
 *     mu_likelihood_score(&labelled, ...);                        worker/infer/likelihood.h
 *     mu_labelled_release(&labelled);
 *
 * Texts become tokens as lm-evaluation-harness makes them: white space at the end of the prompt belongs to the
 * continuation; the continuation's tokens are those of the whole text after as many as the prompt alone has; an empty
 * prompt is <|endoftext|>; what exceeds the model's positions is cut off at the front.
 */
#ifndef MU_WORKER_LABELLED_H
#define MU_WORKER_LABELLED_H

#include "common/digest.h"
#include "dataset/tokenizer/tokenizer.h"

typedef struct mu_labelled_choice {
    char *text;
    int64_t characters; /* of the text, as Unicode counts them; > 0 */
    mu_ids_t ids;       /* of the continuation; mu_labelled_encode() */
} mu_labelled_choice_t;

typedef struct mu_labelled_example {
    int line; /* in the file, from 1 */
    char *prompt;
    mu_labelled_choice_t *choices;
    int count, answer;
    mu_ids_t context; /* of the prompt; mu_labelled_encode() */
} mu_labelled_example_t;

typedef struct mu_labelled {
    const char *path; /* the caller's */
    char *delimiter;
    mu_labelled_example_t *examples;
    int64_t count;
    int64_t longest;            /* tokens of the longest prompt with its continuation; mu_labelled_encode() */
    char digest[MU_DIGEST_HEX]; /* of the file */
} mu_labelled_t;

/* Errors: MU_NOINPUT, MU_IO; MU_DATA, with the line: no JSON, a member that is missing or of another type, an answer
 * that is no choice; or the file holds no example. */
mu_status_t mu_labelled_read(const char *path, const char *delimiter, mu_labelled_t *out);
/* positions: of the model. Errors: MU_USAGE (an empty prompt, and no <|endoftext|>), MU_DATA (a choice without a token
 * of its own, or longer than the model's positions; the line is logged). */
mu_status_t mu_labelled_encode(mu_labelled_t *labelled, const mu_tokenizer_t *tokenizer, int64_t positions);
void mu_labelled_release(mu_labelled_t *labelled); /* one filled with zeros is nothing */

#endif
