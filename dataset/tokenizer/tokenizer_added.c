/* Added tokens: found leftmost, then longest; the flags decide what else belongs to a match. */
#include "dataset/tokenizer/tokenizer_impl.h"

void mu_matcher_init(mu_matcher_t *matcher)
{
    *matcher = (mu_matcher_t){0};
    for (size_t i = 0; i < 256; i++)
        matcher->root[i] = -1;
}

void mu_matcher_release(mu_matcher_t *matcher)
{
    free(matcher->nodes);
    mu_matcher_init(matcher);
}

static int32_t new_node(mu_matcher_t *matcher, unsigned char byte)
{
    if (matcher->count == matcher->cap) {
        matcher->cap = matcher->cap ? matcher->cap * 2 : 64;
        matcher->nodes = mu_realloc(matcher->nodes, matcher->cap * sizeof *matcher->nodes);
    }
    matcher->nodes[matcher->count] = (mu_trie_node_t){-1, -1, -1, byte};
    return (int32_t)matcher->count++;
}

static int32_t child_of(const mu_matcher_t *matcher, int32_t node, unsigned char byte)
{
    int32_t child = matcher->nodes[node].child;
    while (child >= 0 && matcher->nodes[child].byte != byte)
        child = matcher->nodes[child].sibling;
    return child;
}

void mu_matcher_add(mu_matcher_t *matcher, const char *content, size_t n, int32_t added)
{
    const unsigned char *s = (const unsigned char *)content;
    if (n == 0)
        return;
    if (matcher->root[s[0]] < 0)
        matcher->root[s[0]] = new_node(matcher, s[0]);
    int32_t node = matcher->root[s[0]];
    for (size_t i = 1; i < n; i++) {
        int32_t child = child_of(matcher, node, s[i]);
        if (child < 0) {
            child = new_node(matcher, s[i]);
            matcher->nodes[child].sibling = matcher->nodes[node].child;
            matcher->nodes[node].child = child;
        }
        node = child;
    }
    if (n > 1)
        matcher->second[s[0]][s[1] >> 3] |= (uint8_t)(1U << (s[1] & 7));
    if (matcher->nodes[node].added < 0)
        matcher->nodes[node].added = added;
}

/* Most texts have many bytes that start a token, as a space where runs of spaces are tokens, and few tokens. */
static inline bool may_start(const mu_matcher_t *matcher, const unsigned char *text, size_t at, size_t n)
{
    int32_t root = matcher->root[text[at]];
    if (root < 0)
        return false;
    return (at + 1 < n && matcher->second[text[at]][text[at + 1] >> 3] >> (text[at + 1] & 7) & 1) ||
           matcher->nodes[root].added >= 0;
}

/* The longest token at text[at]; -1 when there is none. */
static int32_t longest(const mu_matcher_t *matcher, const unsigned char *text, size_t at, size_t n,
                       size_t *stop)
{
    int32_t found = -1;
    for (int32_t node = matcher->root[text[at]]; node >= 0;) {
        at++;
        if (matcher->nodes[node].added >= 0) {
            found = matcher->nodes[node].added;
            *stop = at;
        }
        node = at < n ? child_of(matcher, node, text[at]) : -1;
    }
    return found;
}

static uint8_t flags_before(const mu_tokenizer_t *tok, const unsigned char *text, size_t at, size_t *start)
{
    do
        at--;
    while ((text[at] & 0xC0) == 0x80);
    *start = at;
    const unsigned char *p = text + at;
    return mu_unicode_flags(tok->unicode, mu_utf8_next(&p));
}

static uint8_t flags_at(const mu_tokenizer_t *tok, const unsigned char *text, size_t at, size_t *stop)
{
    const unsigned char *p = text + at;
    uint8_t flags = mu_unicode_flags(tok->unicode, mu_utf8_next(&p));
    *stop = (size_t)(p - text);
    return flags;
}

static bool stands_alone(const mu_tokenizer_t *tok, const unsigned char *text, size_t start, size_t stop,
                         size_t n)
{
    size_t other;
    return (start == 0 || !(flags_before(tok, text, start, &other) & MU_CHAR_WORD)) &&
           (stop == n || !(flags_at(tok, text, stop, &other) & MU_CHAR_WORD));
}

bool mu_matcher_next(const mu_tokenizer_t *tok, const mu_matcher_t *matcher, const char *bytes, size_t n,
                     mu_match_t *match)
{
    const unsigned char *text = (const unsigned char *)bytes;
    size_t at = match->scan, stop = 0, other;
    if (matcher->count == 0)
        return false;
    for (;; at++) {
        while (at < n && !may_start(matcher, text, at, n))
            at++;
        if (at >= n) {
            match->scan = n;
            return false;
        }
        int32_t found = longest(matcher, text, at, n, &stop);
        if (found < 0)
            continue;
        match->scan = stop;
        const mu_added_t *added = &tok->added[found];
        if (added->single_word && !stands_alone(tok, text, at, stop, n)) {
            at = stop - 1;
            continue;
        }
        if (added->lstrip)
            while (at > match->done && (flags_before(tok, text, at, &other) & MU_CHAR_CLASS) == MU_CHAR_SPACE)
                at = other;
        if (added->rstrip)
            while (stop < n && (flags_at(tok, text, stop, &other) & MU_CHAR_CLASS) == MU_CHAR_SPACE)
                stop = other;
        match->gap = match->done;
        match->start = at;
        match->done = stop;
        match->id = added->id;
        return true;
    }
}
