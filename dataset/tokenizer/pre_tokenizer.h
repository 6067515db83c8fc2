/*
 * Pre-tokenizers of tokenizer.json: stages that cut a text into words, each stage the pieces of the one before.
 *
 * Supported: ByteLevel (as the last stage), Split, Digits, Whitespace, WhitespaceSplit, Punctuation, Metaspace, and a
 * Sequence of them. A pre-tokenizer does not change once made; a cutter belongs to one thread.
 */
#ifndef MU_DATASET_PRE_TOKENIZER_H
#define MU_DATASET_PRE_TOKENIZER_H

#include "dataset/tokenizer/pattern.h"
#include "dataset/tokenizer/words.h"

enum { MU_PRE_TOKENIZER_STAGES = 16, MU_REPLACEMENT_BYTES = 5 };

typedef enum mu_stage_kind {
    MU_STAGE_BYTE_LEVEL,
    MU_STAGE_SPLIT, /* by a pattern */
    MU_STAGE_WORDS, /* by a pattern that words.h knows */
    MU_STAGE_DIGITS,
    MU_STAGE_PUNCTUATION,
    MU_STAGE_SPACES,    /* WhitespaceSplit */
    MU_STAGE_WORD_RUNS, /* Whitespace: runs of word characters, runs of others, no space */
    MU_STAGE_METASPACE
} mu_stage_kind_t;

/* What becomes of a match and of the text between matches. */
typedef enum mu_behavior {
    MU_REMOVED,
    MU_ISOLATED,
    MU_MERGED_WITH_PREVIOUS,
    MU_MERGED_WITH_NEXT,
    MU_CONTIGUOUS
} mu_behavior_t;

typedef enum mu_prepend { MU_PREPEND_ALWAYS, MU_PREPEND_FIRST, MU_PREPEND_NEVER } mu_prepend_t;

typedef struct mu_stage {
    mu_stage_kind_t kind;
    mu_behavior_t behavior;
    bool invert;           /* matches are between the matches */
    mu_pattern_t *pattern; /* SPLIT; WORDS keeps it for messages and digests */
    mu_words_t words;      /* WORDS, BYTE_LEVEL with use_regex */
    bool prefix_space;     /* BYTE_LEVEL */
    mu_prepend_t prepend;  /* METASPACE */
    bool split;            /* METASPACE */
    char replacement[MU_REPLACEMENT_BYTES];
} mu_stage_t;

typedef struct mu_pre_tokenizer {
    mu_stage_t stage[MU_PRE_TOKENIZER_STAGES];
    int count;
    bool byte_level; /* the last stage is */
} mu_pre_tokenizer_t;

/* Reads the member "pre_tokenizer" of `root` into zeros. mu_pre_tokenizer_release() even after an error. Errors:
 * MU_DATA. */
mu_status_t mu_pre_tokenizer_read(const mu_part_t *root, mu_pre_tokenizer_t *out);
void mu_pre_tokenizer_release(mu_pre_tokenizer_t *pre);
/* Appends what decides its results, the same for each spelling of a file. */
void mu_pre_tokenizer_describe(const mu_pre_tokenizer_t *pre, mu_buf_t *out);

/* Reads "replacement", "prepend_scheme" and "add_prefix_space" of a Metaspace, as pre-tokenizer or decoder. */
mu_status_t mu_metaspace_read(const mu_part_t *part, char replacement[MU_REPLACEMENT_BYTES],
                              mu_prepend_t *prepend);

typedef void (*mu_word_fn)(void *arg, const unsigned char *word, size_t n);

typedef struct mu_cutter {
    const mu_pre_tokenizer_t *pre;
    const mu_unicode_t *unicode;
    mu_word_fn word;
    void *arg;
    mu_finder_t *finder[MU_PRE_TOKENIZER_STAGES];
    mu_buf_t text[MU_PRE_TOKENIZER_STAGES]; /* of a stage that changes the text */
    mu_status_t status;
} mu_cutter_t;

/* `word` is called with `arg` for each word, none of them empty. */
void mu_cutter_init(const mu_pre_tokenizer_t *pre, const mu_unicode_t *unicode, mu_word_fn word, void *arg,
                    mu_cutter_t *out);
void mu_cutter_release(mu_cutter_t *cutter);
/* Cuts valid UTF-8. `first`: it is the beginning of a document. Errors: MU_DATA, of an expression. */
mu_status_t mu_cutter_cut(mu_cutter_t *cutter, const char *text, size_t n, bool first);

#endif
