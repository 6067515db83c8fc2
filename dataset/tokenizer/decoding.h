/*
 * Decoders of tokenizer.json: from the names of tokens to text.
 *
 * Supported: ByteLevel, alone or after steps that change none of its tokens, or a list of Replace (by text),
 * ByteFallback, Fuse, Strip and Metaspace, of which Fuse, if there is one, is followed by nothing but a Strip of the
 * start. So text can be written as tokens come, but for the run of byte tokens that is not yet complete.
 */
#ifndef MU_DATASET_DECODING_H
#define MU_DATASET_DECODING_H

#include "dataset/tokenizer/pre_tokenizer.h"

enum { MU_DECODING_STEPS = 16 };

typedef enum mu_undo_kind {
    MU_UNDO_REPLACE,
    MU_UNDO_BYTE_FALLBACK,
    MU_UNDO_FUSE,
    MU_UNDO_STRIP,
    MU_UNDO_METASPACE
} mu_undo_kind_t;

typedef struct mu_undo {
    mu_undo_kind_t kind;
    mu_pattern_t *pattern; /* REPLACE */
    char *content;         /* REPLACE, STRIP: one character */
    int start, stop;       /* STRIP: how many at most */
    bool fused;            /* STRIP: of the whole text, not of each token */
    char replacement[MU_REPLACEMENT_BYTES];
    mu_prepend_t prepend; /* METASPACE */
} mu_undo_t;

typedef struct mu_decoding {
    mu_undo_t step[MU_DECODING_STEPS];
    int count;
    bool byte_level; /* then the steps, if any, change nothing */
} mu_decoding_t;

/* Reads the member "decoder" of `root` into zeros. mu_decoding_release() even after an error. Errors: MU_DATA. */
mu_status_t mu_decoding_read(const mu_part_t *root, mu_decoding_t *out);
void mu_decoding_release(mu_decoding_t *decoding);

/* Whether a token of this name would become something else than its bytes, by the steps before ByteLevel. */
bool mu_decoding_minds(const mu_decoding_t *decoding, const char *name, size_t n);

/* Text on its way: one for each list of tokens. */
typedef struct mu_undoing {
    const mu_decoding_t *decoding;
    mu_buf_t bytes; /* of the byte tokens that wait for their run's end */
    mu_buf_t text[MU_DECODING_STEPS];
    size_t seen[MU_DECODING_STEPS]; /* tokens, or characters stripped, by each step */
    mu_buf_t *out;
} mu_undoing_t;

/* `continues`: the tokens go on where a text ended, so nothing is stripped from their start. */
void mu_undoing_init(const mu_decoding_t *decoding, bool continues, mu_undoing_t *out);
void mu_undoing_release(mu_undoing_t *undoing);
/* Appends to `out` what is known of the text after one more token. */
void mu_undoing_add(mu_undoing_t *undoing, const char *name, size_t n, mu_buf_t *out);
/* After the last token: the rest. */
void mu_undoing_end(mu_undoing_t *undoing, mu_buf_t *out);

#endif
