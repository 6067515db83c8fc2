#include "dataset/tokenizer/decoding.h"
#include "dataset/tokenizer/byte_symbols.h"
#include "dataset/tokenizer/utf8.h"
#include "common/log.h"

/* ---- reading ---- */

static mu_status_t read_replace(const mu_part_t *part, mu_undo_t *step)
{
    const char *content;
    mu_part_t pattern;
    step->kind = MU_UNDO_REPLACE;
    MU_TRY(mu_part_keys(part, (const char *const[]){"pattern", "content", NULL}));
    MU_TRY(mu_part_text(part, "content", &content));
    step->content = mu_strdup(content);
    if (!mu_part_member(part, "pattern", &pattern))
        return mu_fail(MU_DATA, "%s: %s: without 'pattern'", part->file, part->where);
    MU_TRY(mu_pattern_read(&pattern, &step->pattern));
    return mu_pattern_is_regex(step->pattern) ? mu_part_refuse(&pattern, "Regex", "String in a decoder")
                                              : MU_OK;
}

static mu_status_t read_strip(const mu_part_t *part, bool fused, mu_undo_t *step)
{
    const char *content;
    step->kind = MU_UNDO_STRIP;
    step->fused = fused;
    MU_TRY(mu_part_keys(part, (const char *const[]){"content", "start", "stop", NULL}));
    MU_TRY(mu_part_text(part, "content", &content));
    MU_TRY(mu_part_count(part, "start", 1000, &step->start));
    MU_TRY(mu_part_count(part, "stop", 1000, &step->stop));
    step->content = mu_strdup(content);
    const unsigned char *p = (const unsigned char *)content;
    if (content[0] == '\0' || (mu_utf8_next(&p), *p != '\0'))
        return mu_fail(MU_DATA, "%s: %s.content: wanted one character", part->file, part->where);
    return fused && step->stop > 0 ? mu_fail(MU_DATA, "%s: %s.stop: found %d, supported after Fuse is 0",
                                             part->file, part->where, step->stop)
                                   : MU_OK;
}

static mu_status_t read_metaspace(const mu_part_t *part, mu_undo_t *step)
{
    bool split;
    step->kind = MU_UNDO_METASPACE;
    MU_TRY(mu_part_keys(part, (const char *const[]){"replacement", "str_rep", "add_prefix_space",
                                                    "prepend_scheme", "split", NULL}));
    MU_TRY(mu_part_bool(part, "split", &split));
    return mu_metaspace_read(part, step->replacement, &step->prepend);
}

static bool has(const mu_decoding_t *decoding, mu_undo_kind_t kind)
{
    for (int i = 0; i < decoding->count; i++)
        if (decoding->step[i].kind == kind)
            return true;
    return false;
}

static mu_status_t read_step(void *arg, const mu_part_t *part)
{
    static const char byte_level[] = "ByteLevel";
    mu_decoding_t *decoding = arg;
    const char *type = mu_part_type(part);
    if (decoding->byte_level)
        return mu_part_refuse(part, type, "nothing after ByteLevel");
    if (strcmp(type, byte_level) == 0) {
        decoding->byte_level = true;
        return mu_part_keys(part,
                            (const char *const[]){"add_prefix_space", "trim_offsets", "use_regex", NULL});
    }
    if (decoding->count == MU_DECODING_STEPS)
        return mu_fail(MU_DATA, "%s: %s: more than %d decoders", part->file, part->where, MU_DECODING_STEPS);
    bool fused = has(decoding, MU_UNDO_FUSE);
    mu_undo_t *step = &decoding->step[decoding->count++];
    if (strcmp(type, "Strip") == 0)
        return read_strip(part, fused, step);
    if (strcmp(type, "Replace") == 0)
        return read_replace(part, step);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(part, step);
    step->kind = strcmp(type, "Fuse") == 0 ? MU_UNDO_FUSE : MU_UNDO_BYTE_FALLBACK;
    if (step->kind == MU_UNDO_FUSE || strcmp(type, "ByteFallback") == 0)
        return mu_part_keys(part, (const char *const[]){NULL});
    return mu_part_refuse(part, type, "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace");
}

/* Before ByteLevel: steps that Transformers writes when it makes a tokenizer of a GGUF file. They are for other
 * models, and mu_decoding_minds() sees that they change nothing here. Else, after Fuse: what can be done as text
 * comes. */
static mu_status_t check_order(const mu_part_t *root, const mu_decoding_t *decoding)
{
    bool fused = false;
    for (int i = 0; i < decoding->count; i++) {
        mu_undo_kind_t kind = decoding->step[i].kind;
        if (decoding->byte_level && (kind == MU_UNDO_STRIP || kind == MU_UNDO_METASPACE))
            return mu_fail(MU_DATA, "%s: decoder: a Strip or Metaspace before ByteLevel is not supported",
                           root->file);
        if (!decoding->byte_level && fused && kind != MU_UNDO_STRIP)
            return mu_fail(MU_DATA, "%s: decoder: supported after Fuse is Strip", root->file);
        fused = fused || kind == MU_UNDO_FUSE;
    }
    return decoding->byte_level || decoding->count > 0
               ? MU_OK
               : mu_fail(MU_DATA, "%s: decoder: found none: how ids become text is not known", root->file);
}

mu_status_t mu_decoding_read(const mu_part_t *root, mu_decoding_t *out)
{
    MU_TRY(mu_part_each(root, "decoder", "decoders", read_step, out));
    return check_order(root, out);
}

void mu_decoding_release(mu_decoding_t *decoding)
{
    for (int i = 0; i < decoding->count; i++) {
        mu_pattern_free(decoding->step[i].pattern);
        free(decoding->step[i].content);
    }
    *decoding = (mu_decoding_t){.count = 0};
}

/* ---- doing ---- */

void mu_undoing_init(const mu_decoding_t *decoding, bool continues, mu_undoing_t *out)
{
    *out = (mu_undoing_t){.decoding = decoding};
    for (int i = 0; continues && i < decoding->count; i++)
        out->seen[i] = decoding->step[i].kind == MU_UNDO_STRIP ? (size_t)decoding->step[i].start : 1;
}

void mu_undoing_release(mu_undoing_t *undoing)
{
    mu_buf_release(&undoing->bytes);
    for (int i = 0; i < MU_DECODING_STEPS; i++)
        mu_buf_release(&undoing->text[i]);
}

static void run(mu_undoing_t *u, int i, const char *text, size_t n);

static void replace(mu_undoing_t *u, int i, const char *text, size_t n)
{
    const mu_undo_t *step = &u->decoding->step[i];
    const char *looked = mu_pattern_text(step->pattern), *found;
    size_t length = strlen(looked);
    mu_buf_t *out = &u->text[i];
    mu_buf_clear(out);
    while ((found = memmem(text, n, looked, length))) {
        mu_buf_add(out, text, (size_t)(found - text));
        mu_buf_adds(out, step->content);
        n -= (size_t)(found - text) + length;
        text = found + length;
    }
    mu_buf_add(out, text, n);
    run(u, i + 1, out->data ? out->data : "", out->len);
}

/* A run of bytes that is UTF-8 is that text, else each of its bytes is U+FFFD. */
static void end_bytes(mu_undoing_t *u, int i)
{
    mu_buf_t *bytes = &u->bytes;
    if (bytes->len == 0)
        return;
    if (mu_utf8_valid(bytes->data, bytes->len) == bytes->len)
        run(u, i + 1, bytes->data, bytes->len);
    else
        for (size_t k = 0; k < bytes->len; k++)
            run(u, i + 1, "\xEF\xBF\xBD", 3);
    mu_buf_clear(bytes);
}

/* "<0x0A>": the byte; -1: another token. */
static int byte_of_name(const char *name, size_t n)
{
    int value = 0;
    if (n != 6 || memcmp(name, "<0x", 3) != 0 || name[5] != '>')
        return -1;
    for (int k = 3; k < 5; k++) {
        const char *digits = "0123456789abcdef", *found = strchr(digits, name[k] | 0x20);
        if (name[k] == '\0' || !found || !*found)
            return -1;
        value = value * 16 + (int)(found - digits);
    }
    return value;
}

static bool is_symbols(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end)
        if (mu_byte_of_symbol(mu_utf8_next(&p)) < 0)
            return false;
    return true;
}

bool mu_decoding_minds(const mu_decoding_t *decoding, const char *name, size_t n)
{
    bool minds = decoding->byte_level && decoding->count > 0 && !is_symbols(name, n);
    for (int i = 0; i < decoding->count && decoding->byte_level; i++) {
        const mu_undo_t *step = &decoding->step[i];
        if (step->kind == MU_UNDO_BYTE_FALLBACK)
            minds = minds || byte_of_name(name, n) >= 0;
        if (step->kind == MU_UNDO_REPLACE)
            minds =
                minds || is_symbols(mu_pattern_text(step->pattern), strlen(mu_pattern_text(step->pattern)));
    }
    return minds;
}

static void strip_whole(mu_undoing_t *u, int i, const char *text, size_t n)
{
    const mu_undo_t *step = &u->decoding->step[i];
    size_t length = strlen(step->content);
    while (u->seen[i] < (size_t)step->start && n >= length && memcmp(text, step->content, length) == 0) {
        u->seen[i]++;
        text += length;
        n -= length;
    }
    if (n > 0)
        u->seen[i] = (size_t)step->start;
    run(u, i + 1, text, n);
}

static void strip_each(mu_undoing_t *u, int i, const char *text, size_t n)
{
    const mu_undo_t *step = &u->decoding->step[i];
    size_t length = strlen(step->content);
    for (int k = 0; k < step->start && n >= length && memcmp(text, step->content, length) == 0; k++) {
        text += length;
        n -= length;
    }
    for (int k = 0; k < step->stop && n >= length && memcmp(text + n - length, step->content, length) == 0;
         k++)
        n -= length;
    run(u, i + 1, text, n);
}

/* The replacement is a space, and nothing in the first token. */
static void undo_metaspace(mu_undoing_t *u, int i, const char *text, size_t n)
{
    const mu_undo_t *step = &u->decoding->step[i];
    bool dropped = u->seen[i]++ == 0 && step->prepend != MU_PREPEND_NEVER;
    size_t length = strlen(step->replacement);
    mu_buf_t *out = &u->text[i];
    mu_buf_clear(out);
    for (size_t at = 0; at < n;) {
        if (n - at >= length && memcmp(text + at, step->replacement, length) == 0) {
            if (!dropped)
                mu_buf_addc(out, ' ');
            at += length;
        } else {
            mu_buf_addc(out, text[at++]);
        }
    }
    run(u, i + 1, out->data ? out->data : "", out->len);
}

static void run(mu_undoing_t *u, int i, const char *text, size_t n)
{
    if (i == u->decoding->count) {
        mu_buf_add(u->out, text, n);
        return;
    }
    const mu_undo_t *step = &u->decoding->step[i];
    int byte;
    switch (step->kind) {
    case MU_UNDO_REPLACE:
        replace(u, i, text, n);
        break;
    case MU_UNDO_BYTE_FALLBACK:
        byte = byte_of_name(text, n);
        if (byte >= 0) {
            mu_buf_addc(&u->bytes, (char)byte);
            break;
        }
        end_bytes(u, i);
        run(u, i + 1, text, n);
        break;
    case MU_UNDO_FUSE:
        run(u, i + 1, text, n);
        break;
    case MU_UNDO_STRIP:
        (step->fused ? strip_whole : strip_each)(u, i, text, n);
        break;
    case MU_UNDO_METASPACE:
        undo_metaspace(u, i, text, n);
        break;
    }
}

void mu_undoing_add(mu_undoing_t *undoing, const char *name, size_t n, mu_buf_t *out)
{
    undoing->out = out;
    run(undoing, 0, name, n);
}

void mu_undoing_end(mu_undoing_t *undoing, mu_buf_t *out)
{
    undoing->out = out;
    for (int i = 0; i < undoing->decoding->count; i++)
        if (undoing->decoding->step[i].kind == MU_UNDO_BYTE_FALLBACK)
            end_bytes(undoing, i);
}
