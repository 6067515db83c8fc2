/* Words that are nearly another one: "did you mean". */
#ifndef MU_COMMON_WORDS_H
#define MU_COMMON_WORDS_H

/* Edits (insert, remove, replace, swap neighbours) from a to b; `limit` or more means: not fewer than that. - and _ are
 * one letter. */
int mu_edits(const char *a, const char *b, int limit);

/* Of a list that ends with NULL, the word most like `word`; NULL: none is near. */
const char *mu_nearest_word(const char *word, const char *const *known);

#endif
