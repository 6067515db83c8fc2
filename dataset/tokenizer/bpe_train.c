#include "dataset/tokenizer/bpe_train.h"
#include "common/meter.h"
#include "common/buf.h"

#include <stdbool.h>
#include <xxhash.h>

typedef struct pair {
    int32_t left, right;
    int64_t count;   /* occurrences, each word counted as often as it was seen */
    uint32_t *words; /* that hold it, or held it */
    uint32_t len, cap;
    bool touched; /* grew during the merge at hand */
} pair_t;

typedef struct candidate {
    int64_t count;
    uint64_t key; /* left, right */
    uint32_t pair;
} candidate_t;

/* What a token is made of, to know when two merges make the same one. */
typedef struct token {
    uint32_t at, len; /* in learner_t.text */
} token_t;

typedef struct learner {
    const mu_counted_word_t *words;
    int32_t *symbols;  /* of all words, each from where its bytes are */
    uint32_t *lengths; /* symbols of each word */
    pair_t *pairs;
    uint32_t pair_count, pair_cap;
    uint32_t *slots; /* open addressing over pairs: index + 1, 0 is empty */
    size_t mask;
    candidate_t *heap;
    size_t heap_len, heap_cap;
    uint32_t *touched;
    size_t touched_len, touched_cap;
    token_t *tokens; /* by id */
    mu_buf_t text;
    int32_t *by_text; /* open addressing over tokens: id + 1 */
    size_t text_mask;
} learner_t;

static uint64_t key_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static size_t slot_of(const learner_t *l, uint64_t key)
{
    key *= 0x9E3779B97F4A7C15u;
    return (size_t)(key >> 32 ^ key >> 15) & l->mask;
}

static void grow_slots(learner_t *l)
{
    size_t size = l->mask ? (l->mask + 1) * 2 : 65536;
    free(l->slots);
    l->slots = mu_calloc(size, sizeof *l->slots);
    l->mask = size - 1;
    for (uint32_t p = 0; p < l->pair_count; p++) {
        size_t i = slot_of(l, key_of(l->pairs[p].left, l->pairs[p].right));
        while (l->slots[i])
            i = (i + 1) & l->mask;
        l->slots[i] = p + 1;
    }
}

/* The index of a pair, made when it is new. */
static uint32_t pair_of(learner_t *l, int32_t left, int32_t right)
{
    if ((size_t)l->pair_count * 2 >= l->mask)
        grow_slots(l);
    size_t i = slot_of(l, key_of(left, right));
    for (; l->slots[i]; i = (i + 1) & l->mask) {
        const pair_t *p = &l->pairs[l->slots[i] - 1];
        if (p->left == left && p->right == right)
            return l->slots[i] - 1;
    }
    if (l->pair_count == l->pair_cap) {
        l->pair_cap = l->pair_cap ? l->pair_cap * 2 : 65536;
        l->pairs = mu_realloc(l->pairs, l->pair_cap * sizeof *l->pairs);
    }
    l->pairs[l->pair_count] = (pair_t){.left = left, .right = right};
    l->slots[i] = ++l->pair_count;
    return l->pair_count - 1;
}

static void remember_word(pair_t *p, uint32_t word)
{
    if (p->len > 0 && p->words[p->len - 1] == word)
        return;
    if (p->len == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 4;
        p->words = mu_realloc(p->words, p->cap * sizeof *p->words);
    }
    p->words[p->len++] = word;
}

static bool comes_before(const candidate_t *a, const candidate_t *b)
{
    return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static void heap_push(learner_t *l, uint32_t pair)
{
    const pair_t *p = &l->pairs[pair];
    candidate_t c = {p->count, key_of(p->left, p->right), pair};
    if (l->heap_len == l->heap_cap) {
        l->heap_cap = l->heap_cap ? l->heap_cap * 2 : 65536;
        l->heap = mu_realloc(l->heap, l->heap_cap * sizeof *l->heap);
    }
    size_t i = l->heap_len++;
    for (; i > 0 && comes_before(&c, &l->heap[(i - 1) / 2]); i = (i - 1) / 2)
        l->heap[i] = l->heap[(i - 1) / 2];
    l->heap[i] = c;
}

static candidate_t heap_pop(learner_t *l)
{
    candidate_t top = l->heap[0], last = l->heap[--l->heap_len];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < l->heap_len; i = child) {
        if (child + 1 < l->heap_len && comes_before(&l->heap[child + 1], &l->heap[child]))
            child++;
        if (!comes_before(&l->heap[child], &last))
            break;
        l->heap[i] = l->heap[child];
    }
    l->heap[i] = last;
    return top;
}

/* Finds the token with this text, or adds it as `id`; returns its id. */
static int32_t token_of(learner_t *l, const char *text, size_t n, int32_t id)
{
    size_t i = (size_t)XXH3_64bits(text, n) & l->text_mask;
    for (; l->by_text[i]; i = (i + 1) & l->text_mask) {
        const token_t *t = &l->tokens[l->by_text[i] - 1];
        if (t->len == n && memcmp(l->text.data + t->at, text, n) == 0)
            return l->by_text[i] - 1;
    }
    l->by_text[i] = id + 1;
    l->tokens[id] = (token_t){(uint32_t)l->text.len, (uint32_t)n};
    mu_buf_add(&l->text, text, n);
    return id;
}

static int32_t join_text(learner_t *l, int32_t left, int32_t right, int32_t id)
{
    mu_buf_t both = MU_BUF_INIT;
    mu_buf_add(&both, l->text.data + l->tokens[left].at, l->tokens[left].len);
    mu_buf_add(&both, l->text.data + l->tokens[right].at, l->tokens[right].len);
    id = token_of(l, both.data, both.len, id);
    mu_buf_release(&both);
    return id;
}

static void change(learner_t *l, int32_t left, int32_t right, uint32_t word, int sign)
{
    uint32_t index = pair_of(l, left, right);
    pair_t *p = &l->pairs[index];
    p->count += sign * (int64_t)l->words[word].count;
    if (sign < 0)
        return;
    remember_word(p, word);
    if (p->touched)
        return;
    p->touched = true;
    if (l->touched_len == l->touched_cap) {
        l->touched_cap = l->touched_cap ? l->touched_cap * 2 : 1024;
        l->touched = mu_realloc(l->touched, l->touched_cap * sizeof *l->touched);
    }
    l->touched[l->touched_len++] = index;
}

/* Pairs that grew go onto the heap; entries made before are recognised by their old count. */
static void push_touched(learner_t *l)
{
    for (size_t i = 0; i < l->touched_len; i++) {
        l->pairs[l->touched[i]].touched = false;
        if (l->pairs[l->touched[i]].count > 0)
            heap_push(l, l->touched[i]);
    }
    l->touched_len = 0;
}

/* Joins the pair everywhere in a word, from left to right. */
static void join(learner_t *l, uint32_t word, int32_t left, int32_t right, int32_t joined)
{
    int32_t *s = l->symbols + l->words[word].at;
    uint32_t n = l->lengths[word], kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (s[i] != left || i + 1 >= n || s[i + 1] != right) {
            s[kept++] = s[i];
            continue;
        }
        if (kept > 0) {
            change(l, s[kept - 1], left, word, -1);
            change(l, s[kept - 1], joined, word, 1);
        }
        if (i + 2 < n) {
            change(l, right, s[i + 2], word, -1);
            change(l, joined, s[i + 2], word, 1);
        }
        s[kept++] = joined;
        i++;
    }
    l->lengths[word] = kept;
}

static void count_pairs(learner_t *l, size_t word_count, const char *bytes, const int32_t byte_id[256])
{
    for (uint32_t w = 0; w < word_count; w++) {
        size_t at = l->words[w].at;
        l->lengths[w] = l->words[w].len;
        for (uint32_t i = 0; i < l->lengths[w]; i++)
            l->symbols[at + i] = byte_id[(unsigned char)bytes[at + i]];
        for (uint32_t i = 0; i + 1 < l->lengths[w]; i++)
            change(l, l->symbols[at + i], l->symbols[at + i + 1], w, 1);
    }
    push_touched(l);
}

static void learn(learner_t *l, int32_t id, int32_t vocab, uint64_t min_count, mu_merge_t **merges,
                  size_t *count)
{
    size_t cap = 0;
    while (id < vocab && l->heap_len > 0) {
        candidate_t top = heap_pop(l);
        if (top.count != l->pairs[top.pair].count) {
            if (l->pairs[top.pair].count > 0)
                heap_push(l, top.pair);
            continue;
        }
        if ((uint64_t)top.count < min_count)
            break;
        int32_t left = l->pairs[top.pair].left, right = l->pairs[top.pair].right;
        int32_t joined = join_text(l, left, right, id);
        mu_meter_add(joined == id);
        id += joined == id;
        if (*count == cap) {
            cap = cap ? cap * 2 : 1024;
            *merges = mu_realloc(*merges, cap * sizeof **merges);
        }
        (*merges)[(*count)++] = (mu_merge_t){left, right, joined};

        /* the list leaves the pair first: pairs may move while words change */
        uint32_t *words = l->pairs[top.pair].words, n = l->pairs[top.pair].len;
        l->pairs[top.pair].words = NULL;
        l->pairs[top.pair].len = l->pairs[top.pair].cap = 0;
        for (uint32_t i = 0; i < n; i++)
            join(l, words[i], left, right, joined);
        free(words);
        l->pairs[top.pair].count = 0;
        push_touched(l);
    }
}

void mu_bpe_learn(const mu_counted_word_t *words, size_t word_count, const char *bytes,
                  const int32_t byte_id[256], int32_t first_id, int32_t vocab, uint64_t min_count,
                  mu_merge_t **merges, size_t *merge_count)
{
    learner_t l = {.words = words};
    size_t total = 0, size = 1024;
    for (size_t w = 0; w < word_count; w++)
        if (words[w].at + words[w].len > total)
            total = words[w].at + words[w].len;
    while (size < (size_t)vocab * 2)
        size *= 2;
    l.symbols = mu_alloc(total * sizeof *l.symbols);
    l.lengths = mu_alloc(word_count * sizeof *l.lengths);
    l.tokens = mu_calloc((size_t)vocab + 256, sizeof *l.tokens);
    l.by_text = mu_calloc(size, sizeof *l.by_text);
    l.text_mask = size - 1;
    for (int b = 0; b < 256; b++)
        token_of(&l, &(char){(char)b}, 1, byte_id[b]);
    *merges = NULL;
    *merge_count = 0;
    count_pairs(&l, word_count, bytes, byte_id);
    learn(&l, first_id, vocab, min_count > 0 ? min_count : 1, merges, merge_count);

    for (uint32_t p = 0; p < l.pair_count; p++)
        free(l.pairs[p].words);
    free(l.pairs);
    free(l.slots);
    free(l.heap);
    free(l.touched);
    free(l.symbols);
    free(l.lengths);
    free(l.tokens);
    mu_buf_release(&l.text);
    free(l.by_text);
}
