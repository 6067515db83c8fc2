/*
 * BPE tokenizers, of bytes or of characters, as Hugging Face's tokenizer.json and GPT-2's vocab.json + merges.txt
 * describe them.
 *
 *     mu_tokenizer_t *tok;
 *     MU_TRY(mu_tokenizer_load("20B_tokenizer.json", &tok));
 *     mu_encoder_t *encoder = mu_encoder_new(tok);          one a thread; the tokenizer itself is shared
 *     mu_ids_t ids = MU_IDS_INIT;
 *     MU_TRY_GOTO(status, mu_encoder_encode(encoder, text, n, &ids, &replaced), out);
 *     ...
 *     mu_ids_release(&ids); mu_encoder_free(encoder); mu_tokenizer_free(tok);
 *
 * Ids are the ones that the `tokenizers` library gives for the same file and text, without those that a template puts
 * around it. The order of operations: the text is split at the added tokens that are not "normalized"; each piece is
 * normalized; that is split at the other added tokens (leftmost, then longest); the rest is cut into words by the
 * pre-tokenizer; each word's bytes or characters are merged by rank. docs/tokenizer.md says what a file may contain.
 *
 * A tokenizer does not change once made and may be used by many threads. An encoder belongs to one thread.
 */
#ifndef MU_DATASET_TOKENIZER_H
#define MU_DATASET_TOKENIZER_H

#include "common/buf.h"
#include "common/digest.h"
#include "common/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct mu_tokenizer mu_tokenizer_t;
typedef struct mu_encoder mu_encoder_t;
typedef struct mu_decoder mu_decoder_t;

/* A growing array of token ids; grows like mu_buf_t. */
typedef struct mu_ids {
    int32_t *data;
    size_t len, cap;
} mu_ids_t;

#define MU_IDS_INIT                                                                                          \
    {                                                                                                        \
        NULL, 0, 0                                                                                           \
    }

void mu_ids_release(mu_ids_t *ids);
void mu_ids_reserve(mu_ids_t *ids, size_t more);
void mu_ids_add(mu_ids_t *ids, int32_t id);

/* `path` is a tokenizer.json; or a vocab.json with merges.txt beside it; or a directory that holds one of
 * them. free with mu_tokenizer_free(). Errors: MU_NOINPUT (absent), MU_DATA (damaged, or asks for what is not
 * supported here; the message names the file and the thing), MU_IO. */
mu_status_t mu_tokenizer_load(const char *path, mu_tokenizer_t **out);
/* As a configuration names it: `merges` is GPT-2's second file under any name, or NULL, and `path` as above;
 * <|endoftext|> is a special token then, as in GPT-2. Where `path` is a whole tokenizer all the same, `merges` is left
 * out with a warning. Errors: as above. */
mu_status_t mu_tokenizer_load_files(const char *path, const char *merges, mu_tokenizer_t **out);
/* The same, and *whole is the tokenizer.json that `path` is or, as a directory, holds: NULL when it is GPT-2's pair.
 * free() it. */
mu_status_t mu_tokenizer_load_whole(const char *path, const char *merges, mu_tokenizer_t **out, char **whole);
/* Writes a tokenizer.json with the same ids for every text and the same digest. Errors: MU_IO. */
mu_status_t mu_tokenizer_save(const mu_tokenizer_t *tok, const char *path);
/* Adds special tokens after the last id, in this order; a name that is an added token already stays what it
 * is. Not while an encoder of it or another thread uses it. Errors: MU_USAGE (a name that is empty, too long,
 * no UTF-8, or the text of a plain token), MU_DATA (ids are missing below the last). */
mu_status_t mu_tokenizer_add_specials(mu_tokenizer_t *tok, char *const *names, int n);
/* Whether `tok` is `base`, with perhaps some added tokens after its ids: then a text without those has the
 * same ids in both. */
bool mu_tokenizer_extends(const mu_tokenizer_t *tok, const mu_tokenizer_t *base);
/* NULL is fine. Encoders of it must be freed first. */
void mu_tokenizer_free(mu_tokenizer_t *tok);

/* The number of ids, added tokens included: the highest id + 1. */
int32_t mu_tokenizer_vocab(const mu_tokenizer_t *tok);
/* The id of the token that ends a document: `eos_token` of tokenizer_config.json or special_tokens_map.json beside the
 * file, as Transformers takes it; else <|endoftext|>; -1 when there is none. */
int32_t mu_tokenizer_eod(const mu_tokenizer_t *tok);
/* Another one. Not while another thread uses the tokenizer. */
void mu_tokenizer_set_eod(mu_tokenizer_t *tok, int32_t id);
/* Writes special_tokens_map.json into `dir`, so that a tokenizer.json there has this end; nothing for <|endoftext|>.
 * Errors: MU_IO. */
mu_status_t mu_tokenizer_save_beside(const mu_tokenizer_t *tok, const char *dir);
/* Digest of what decides ids: tokens, merges, added tokens, settings; not of spelling or layout of the file.
 */
const char *mu_tokenizer_digest(const mu_tokenizer_t *tok);

/* An encoder keeps the ids of recent words in 4 MiB. free with mu_encoder_free(); NULL is fine there. */
mu_encoder_t *mu_encoder_new(const mu_tokenizer_t *tok);
void mu_encoder_free(mu_encoder_t *encoder);
/* Appends the ids of a whole text (a document) to `out`; no token is put before or after. What is not UTF-8
 * becomes U+FFFD; `replaced`, unless NULL, receives how often. Errors: MU_DATA for more than 2^29 bytes. */
mu_status_t mu_encoder_encode(mu_encoder_t *encoder, const char *text, size_t n, mu_ids_t *out,
                              size_t *replaced);
/* As mu_encoder_encode(), for the part of a text that follows a place where mu_tokenizer_cut() cut it. */
mu_status_t mu_encoder_continue(mu_encoder_t *encoder, const char *text, size_t n, mu_ids_t *out,
                                size_t *replaced);
/* The largest k <= n such that the ids of text[0, k), followed by those that mu_encoder_continue() gives for
 * text[k, end), are the ids of the whole text, whatever follows text[0, n); 0 when there is none. For texts too long
 * for memory, or for many threads. A tokenizer whose words are cut by a regular expression that muster does not know
 * has no such places. */
size_t mu_tokenizer_cut(const mu_tokenizer_t *tok, const char *text, size_t n);
/* mu_encoder_encode() with an encoder of its own: for a few short texts. */
mu_status_t mu_tokenizer_encode(const mu_tokenizer_t *tok, const char *text, size_t n, mu_ids_t *out);
/* The ids of a prompt: what the file's template puts before a text (<s>), unless the text begins with that, then the
 * text's. What it puts after a text is left out, since the prompt goes on. */
mu_status_t mu_tokenizer_encode_prompt(const mu_tokenizer_t *tok, const char *text, size_t n, mu_ids_t *out);
/* Where each token of a text ends: ends[i] is the byte after token i; a token that ends inside a character ends inside
 * it here too. ids: those of the text, by mu_encoder_encode(). False where they do not spell the text: a normalizer
 * changed it, an added token took the white space beside it, or a part of it has no token; then ends[] holds nothing
 * of use. */
bool mu_tokenizer_ends(const mu_tokenizer_t *tok, const char *text, size_t n, const int32_t *ids,
                       size_t count, size_t *ends);
/* Appends the text that ids stand for, special tokens included: the inverse of encode (up to normalizers and U+FFFD,
 * and the space that an `add_prefix_space` file puts in front). The end of a list may cut a character in two.
 * Errors: MU_DATA for an id without a token. */
mu_status_t mu_tokenizer_decode(const mu_tokenizer_t *tok, const int32_t *ids, size_t n, mu_buf_t *out);

/* The same for ids that come bit by bit. `continues`: they go on where a text ended (a prompt), so that a leading space
 * of theirs stays. free with mu_decoder_free(); NULL is fine there. */
mu_decoder_t *mu_decoder_new(const mu_tokenizer_t *tok, bool continues);
void mu_decoder_free(mu_decoder_t *decoder);
/* Appends what is known of the text. Errors: MU_DATA for an id without a token. */
mu_status_t mu_decoder_add(mu_decoder_t *decoder, const int32_t *ids, size_t n, mu_buf_t *out);
/* Appends the rest, after the last id. */
void mu_decoder_end(mu_decoder_t *decoder, mu_buf_t *out);

#endif
