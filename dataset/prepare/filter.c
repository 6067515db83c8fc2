#include "dataset/prepare/filter.h"

#include <string.h>
#include <xxhash.h>

struct mu_filter {
    mu_filter_options_t options;
    mu_filter_counts_t counts;
    mu_buf_t stripped;
    XXH128_hash_t *seen; /* an open hash table; zeros: a free place */
    uint64_t room, used; /* room: a power of two */
};

mu_filter_t *mu_filter_new(const mu_filter_options_t *options)
{
    mu_filter_t *f = mu_calloc(1, sizeof *f);
    f->options = *options;
    return f;
}

void mu_filter_free(mu_filter_t *f)
{
    if (!f)
        return;
    mu_buf_release(&f->stripped);
    free(f->seen);
    free(f);
}

const mu_filter_counts_t *mu_filter_counts(const mu_filter_t *f)
{
    return &f->counts;
}

/* ---- control characters ---- */

/* Bytes of the control character at `p`: 1 (C0 and DEL), 2 (C1), 0 when it is none. */
static size_t control_at(const unsigned char *p, size_t left)
{
    if (*p < 0x20)
        return *p != '\t' && *p != '\n' && *p != '\r';
    if (*p == 0x7F)
        return 1;
    return *p == 0xC2 && left > 1 && p[1] < 0xA0 ? 2 : 0;
}

static void strip(mu_filter_t *f, const char **text, size_t *n)
{
    const unsigned char *p = (const unsigned char *)*text;
    size_t from = 0, at = 0;
    bool changed = false;
    mu_buf_clear(&f->stripped);
    while (at < *n) {
        size_t control = control_at(p + at, *n - at);
        if (control == 0) {
            at++;
            continue;
        }
        changed = true;
        mu_buf_add(&f->stripped, p + from, at - from);
        at += control;
        from = at;
        f->counts.control++;
    }
    if (!changed)
        return;
    mu_buf_add(&f->stripped, p + from, at - from);
    *text = f->stripped.data;
    *n = f->stripped.len;
}

/* ---- length ---- */

static int64_t code_points(const char *text, size_t n)
{
    int64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

static bool fits(mu_filter_t *f, const char *text, size_t n)
{
    const mu_filter_options_t *o = &f->options;
    int64_t chars = o->min_chars > 1 || o->max_chars > 0 ? code_points(text, n) : (int64_t)n;
    if (chars == 0 || chars < o->min_chars) {
        f->counts.too_short++;
        return false;
    }
    if (o->max_chars > 0 && chars > o->max_chars) {
        f->counts.too_long++;
        return false;
    }
    return true;
}

/* ---- duplicates ---- */

/* The place of `hash` in a table that has a free one: where it is, or where it would go. */
static XXH128_hash_t *place_of(XXH128_hash_t *table, uint64_t room, XXH128_hash_t hash)
{
    uint64_t at = hash.high64 & (room - 1);
    while ((table[at].low64 != 0 || table[at].high64 != 0) &&
           (table[at].low64 != hash.low64 || table[at].high64 != hash.high64))
        at = (at + 1) & (room - 1);
    return &table[at];
}

static void enlarge(mu_filter_t *f)
{
    uint64_t room = f->room ? f->room * 2 : 1024;
    XXH128_hash_t *table = mu_calloc(room, sizeof *table);
    for (uint64_t i = 0; i < f->room; i++) {
        if (f->seen[i].low64 != 0 || f->seen[i].high64 != 0)
            *place_of(table, room, f->seen[i]) = f->seen[i];
    }
    free(f->seen);
    f->seen = table;
    f->room = room;
}

/* Whether the document is the first of its digest. */
static bool is_new(mu_filter_t *f, XXH128_hash_t hash)
{
    if (hash.low64 == 0 && hash.high64 == 0)
        hash.low64 = 1; /* zeros mean a free place */
    if (f->used * 3 >= f->room * 2)
        enlarge(f);
    XXH128_hash_t *place = place_of(f->seen, f->room, hash);
    if (place->low64 != 0 || place->high64 != 0) {
        f->counts.duplicates++;
        return false;
    }
    *place = hash;
    f->used++;
    return true;
}

bool mu_filter_keep(mu_filter_t *f, const char **text, size_t *n, uint64_t *digest)
{
    *digest = 0;
    if (f->options.strip_control)
        strip(f, text, n);
    if (!fits(f, *text, *n))
        return false;
    if (!f->options.drop_duplicates && !f->options.digest)
        return true;
    XXH128_hash_t hash = XXH3_128bits(*text, *n);
    *digest = hash.low64;
    return !f->options.drop_duplicates || is_new(f, hash);
}
