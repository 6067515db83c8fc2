/*
 * The inside of a tokenizer, for the files dataset/tokenizer/tokenizer*.c only.
 *
 * To make one: mu_tokenizer_new(), the settings (normalizer, pre, decoding, rules), mu_tokenizer_add_model() for each
 * token of the model, `merges`, mu_tokenizer_add_added() for each added token, then mu_tokenizer_finish() once.
 */
#ifndef MU_DATASET_TOKENIZER_IMPL_H
#define MU_DATASET_TOKENIZER_IMPL_H

#include "dataset/tokenizer/bpe.h"
#include "dataset/tokenizer/byte_symbols.h"
#include "dataset/tokenizer/decoding.h"
#include "dataset/tokenizer/names.h"
#include "dataset/tokenizer/normalizer.h"
#include "dataset/tokenizer/pre_tokenizer.h"
#include "dataset/tokenizer/post_processor.h"
#include "dataset/tokenizer/tokenizer.h"
#include "dataset/tokenizer/unicode.h"
#include "dataset/tokenizer/utf8.h"

#define MU_TOKENIZER_MAX_ID (1 << 22)

/* What an id stands for. A token may be both of the model and added (<|endoftext|> often is). */
typedef struct mu_piece {
    uint32_t at, len; /* its bytes in mu_tokenizer.bytes */
    bool model;       /* in the model's vocabulary */
    bool raw;         /* in the model under its own text: some character of it is no byte symbol */
    bool added;       /* in added_tokens */
} mu_piece_t;

typedef struct mu_added {
    int32_t id;
    bool special, normalized, lstrip, rstrip, single_word;
} mu_added_t;

/* Finds added tokens in text: a byte trie, entered only where the first two bytes start a token. */
typedef struct mu_trie_node {
    int32_t child, sibling; /* -1: none */
    int32_t added;          /* index of the added token that ends here, -1: none */
    unsigned char byte;
} mu_trie_node_t;

typedef struct mu_matcher {
    mu_trie_node_t *nodes;
    size_t count, cap;
    int32_t root[256];       /* the node of a first byte, -1: none */
    uint8_t second[256][32]; /* bit b of [a]: a token begins with the bytes a, b */
} mu_matcher_t;

/* How words become tokens, beside merges. */
typedef struct mu_model_rules {
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool byte_fallback; /* a character without a token becomes <0xHH> of its bytes */
    bool gaps;     /* byte level: some byte of UTF-8 has no token, and unk_token or byte_fallback counts */
    bool fuse_unk; /* characters without a token that follow each other are one unk_token */
    char *unk_token, *subword_prefix, *word_suffix; /* as the file spells them; NULL: none */
    int32_t unk;
    int32_t fallback[256]; /* the ids of <0xHH>, -1: no such token */
} mu_model_rules_t;

/* The parts of a tokenizer.json that mu_tokenizer_save() writes as they were. */
enum { MU_KEPT_NORMALIZER, MU_KEPT_PRE_TOKENIZER, MU_KEPT_POST_PROCESSOR, MU_KEPT_DECODER, MU_KEPT };

struct mu_tokenizer {
    mu_unicode_t *unicode;
    bool nfc;                   /* the normalizer is NFC; then `normalizer` has no steps */
    mu_normalizer_t normalizer; /* any other */
    mu_pre_tokenizer_t pre;
    mu_model_rules_t rules;
    mu_decoding_t decoding;
    mu_post_processor_t post;
    json_t *kept[MU_KEPT]; /* NULL: null */
    mu_piece_t *pieces;
    int32_t vocab, pieces_cap;
    mu_buf_t bytes;
    mu_merge_t *merges; /* in order of rank */
    size_t merge_count;
    mu_added_t *added; /* in the file's order */
    size_t added_count;
    /* made by mu_tokenizer_finish() */
    mu_bpe_t bpe;
    mu_names_t names;     /* the model's tokens by their bytes */
    int32_t byte_id[256]; /* byte level: -1: no such symbol */
    bool direct;          /* the pre-tokenizer is nothing but bytes and `words` (NONE: no words) */
    mu_words_t words;
    bool prefix_space; /* direct: and puts a space before */
    char boundary
        [MU_REPLACEMENT_BYTES];   /* no merge joins this character to another one before it; "": unknown */
    mu_matcher_t raw, normalized; /* added tokens by their flag */
    bool cut_space, cut_line;     /* mu_tokenizer_cut() may cut before a space, a line feed */
    bool ends_added[256];         /* no cut after these bytes, with which an added token may end */
    mu_buf_t settings;            /* what decides ids beside tokens and merges, as text */
    int32_t eod;
    char digest[MU_DIGEST_HEX];
};

mu_tokenizer_t *mu_tokenizer_new(void);
/* `name` is the token as the model spells it (byte symbols where tok->pre.byte_level), NUL terminated UTF-8. id: [0,
 * MU_TOKENIZER_MAX_ID), not used by another token of the model. */
void mu_tokenizer_add_model(mu_tokenizer_t *tok, int32_t id, const char *name);
void mu_tokenizer_add_added(mu_tokenizer_t *tok, const mu_added_t *added, const char *content);
/* Errors: MU_DATA, of a normalizer's expression on an added token. */
mu_status_t mu_tokenizer_finish(mu_tokenizer_t *tok);
/* Undoes it, so that more can be added. */
void mu_tokenizer_reopen(mu_tokenizer_t *tok);
/* Appends the token as the model spells it. */
void mu_tokenizer_name(const mu_tokenizer_t *tok, int32_t id, mu_buf_t *out);

/* The id of the model's token with these bytes, -1: none. For rules.ignore_merges and for what is not byte level. */
int32_t mu_tokenizer_find(const mu_tokenizer_t *tok, const void *bytes, size_t n);

static inline const char *mu_piece_bytes(const mu_tokenizer_t *tok, int32_t id)
{
    return tok->bytes.data + tok->pieces[id].at;
}

void mu_matcher_init(mu_matcher_t *matcher);
void mu_matcher_add(mu_matcher_t *matcher, const char *content, size_t n, int32_t added);
void mu_matcher_release(mu_matcher_t *matcher);

/* Walks over the added tokens of a text. Start with zeros in `scan` and `done`; each true return is one
 * token: plain text [gap, start), then the token `id`, up to `done`. After false, [done, n) is plain text. */
typedef struct mu_match {
    size_t scan, done;
    size_t gap, start; /* gap > start: no plain text */
    int32_t id;
} mu_match_t;

bool mu_matcher_next(const mu_tokenizer_t *tok, const mu_matcher_t *matcher, const char *text, size_t n,
                     mu_match_t *match);

/* The matchers, and what the added tokens forbid of cuts; of mu_tokenizer_finish(). */
mu_status_t mu_tokenizer_add_matchers(mu_tokenizer_t *tok);
/* tok->settings, tok->words, tok->boundary, tok->cut_space and tok->cut_line from the rest; of
 * mu_tokenizer_finish(). */
void mu_tokenizer_settle(mu_tokenizer_t *tok);

#endif
