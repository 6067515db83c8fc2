#include "common/config/yaml.h"
#include "common/buf.h"
#include "common/file.h"
#include "common/log.h"

#include <yaml.h>

typedef struct reader {
    const char *name;
    const char *text;
    size_t size;
    yaml_parser_t parser;
    int nodes;
    mu_yaml_t *root;
    mu_yaml_t *open[MU_YAML_DEPTH]; /* the maps and lists that enclose what comes next */
    mu_yaml_t *tail[MU_YAML_DEPTH]; /* the last child of each */
    int depth;
    char *key; /* of a map, waiting for its value */
    int key_line, key_column;
} reader_t;

void mu_yaml_free(mu_yaml_t *node)
{
    while (node) {
        mu_yaml_t *next = node->next;
        mu_yaml_free(node->first);
        free(node->key);
        free(node->text);
        free(node);
        node = next;
    }
}

static char folded(char c)
{
    return c == '-' ? '_' : c;
}

bool mu_yaml_same_key(const char *a, const char *b)
{
    while (*a && folded(*a) == folded(*b)) {
        a++;
        b++;
    }
    return folded(*a) == folded(*b);
}

/* ---- bytes ---- */

/* Length of the UTF-8 sequence at p (1..4) and its code point; 0 when it is none. */
static int decode_utf8(const unsigned char *p, size_t left, uint32_t *out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    int n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (n == 0 || (size_t)n > left)
        return 0;
    uint32_t c = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (int i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *out = c;
    return n;
}

/* The characters that YAML 1.1 takes unescaped. */
static bool is_text(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0x7e) || c == 0x85 ||
           (c >= 0xa0 && c != 0xfeff && c != 0xfffe && c != 0xffff);
}

mu_status_t mu_yaml_check_text(const char *name, const char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)text;
    int line = 1, column = 1;
    size_t i = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* a byte order mark is harmless */
    while (i < size) {
        uint32_t c;
        int n = decode_utf8(p + i, size - i, &c);
        if (n == 0)
            return mu_fail(MU_DATA, "%s:%d:%d: byte 0x%02x is not UTF-8: save the file as UTF-8", name, line,
                           column, p[i]);
        if (!is_text(c))
            return mu_fail(MU_DATA,
                           "%s:%d:%d: control character U+%04X: this is not a text file, or it is damaged",
                           name, line, column, (unsigned)c);
        column++;
        if (c == '\n') {
            line++;
            column = 1;
        }
        i += (size_t)n;
    }
    return MU_OK;
}

/* ---- errors of libyaml, in words that help ---- */

static mu_status_t fail_at(const reader_t *r, yaml_mark_t mark, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static mu_status_t fail_at(const reader_t *r, yaml_mark_t mark, const char *format, ...)
{
    mu_buf_t text = MU_BUF_INIT;
    va_list args;
    va_start(args, format);
    mu_buf_vaddf(&text, format, args);
    va_end(args);
    mu_status_t status =
        mu_fail(MU_CONFIG, "%s:%zu:%zu: %s", r->name, mark.line + 1, mark.column + 1, text.data);
    mu_buf_release(&text);
    return status;
}

/* The line that `mark` is in, and its length without the newline. */
static const char *line_of(const reader_t *r, yaml_mark_t mark, size_t *length)
{
    const char *p = r->text, *end = r->text + r->size;
    for (size_t line = 0; line < mark.line; line++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        if (!newline)
            break;
        p = newline + 1;
    }
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    *length = (size_t)((newline ? newline : end) - p);
    return p;
}

static bool indented_with_tab(const reader_t *r, yaml_mark_t mark)
{
    size_t length;
    const char *line = line_of(r, mark, &length);
    for (size_t i = 0; i < length && (line[i] == ' ' || line[i] == '\t'); i++)
        if (line[i] == '\t')
            return true;
    return false;
}

static mu_status_t syntax_error(const reader_t *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem ? p->problem : "unknown problem";
    yaml_mark_t mark = p->problem_mark;
    size_t length;
    const char *line = line_of(r, mark, &length);

    if (p->error == YAML_MEMORY_ERROR)
        return mu_fail(MU_NOMEM, "%s: out of memory", r->name);
    if (strstr(problem, "',' or '") && mark.line + 1 > 1 && p->context)
        return fail_at(r, mark,
                       "a ',' is missing before this, or the bracket of line %zu is not closed "
                       "(entries inside {} and [] are separated by commas)",
                       p->context_mark.line + 1);
    if (strstr(problem, "',' or '"))
        return fail_at(r, mark, "a ',' is missing before this, or a bracket is not closed");
    if (indented_with_tab(r, mark))
        return fail_at(r, mark, "this line is indented with a tab: indent with spaces");
    if (strstr(problem, "mapping values are not allowed"))
        return fail_at(r, mark,
                       "this ':' cannot stand here: a ',' is missing before it, the indentation is wrong, or "
                       "the text needs quotes");
    if (strstr(problem, "expected ':'"))
        return fail_at(r, p->context ? p->context_mark : mark,
                       "no ':' follows this key: a ',' is missing, the indentation is wrong, or the text "
                       "needs quotes");
    if (strstr(problem, "<document start>"))
        return fail_at(r, mark,
                       "something stands after the end: a bracket closes too early, or is one too many");
    if (strstr(problem, "expected node content"))
        return fail_at(r, mark, "a key or a value is missing here");
    if (strstr(problem, "cannot start any token") && mark.column < length)
        return fail_at(r, mark, "text cannot begin with '%c': put it in quotes", line[mark.column]);
    if (strstr(problem, "expected key") || strstr(problem, "block end") || strstr(problem, "'-' indicator"))
        return fail_at(r, mark, "the indentation does not match the lines above, or a bracket is unbalanced");
    if (p->context)
        return fail_at(r, mark, "not YAML: %s, %s (line %zu)", problem, p->context, p->context_mark.line + 1);
    return fail_at(r, mark, "not YAML: %s", problem);
}

/* ---- the tree ---- */

static mu_status_t take_key(reader_t *r, const yaml_event_t *e)
{
    const mu_yaml_t *map = r->open[r->depth - 1];
    const char *text = (const char *)e->data.scalar.value;
    if (map->count >= MU_YAML_KEYS)
        return fail_at(r, e->start_mark, "more than %d keys in one map", MU_YAML_KEYS);
    if (strcmp(text, "<<") == 0 && e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        return fail_at(r, e->start_mark, "merge keys (<<) are not supported: write the keys out");
    if (text[0] == '\0')
        return fail_at(r, e->start_mark, "a key is missing before the ':'");
    for (const mu_yaml_t *c = map->first; c; c = c->next)
        if (mu_yaml_same_key(c->key, text))
            return fail_at(r, e->start_mark, "'%s' was given already at %s:%d:%d%s%s%s: remove one of them",
                           text, r->name, c->line, c->column, strcmp(c->key, text) ? " (as '" : "",
                           strcmp(c->key, text) ? c->key : "", strcmp(c->key, text) ? "')" : "");
    r->key = mu_strdup(text);
    r->key_line = (int)e->start_mark.line + 1;
    r->key_column = (int)e->start_mark.column + 1;
    return MU_OK;
}

static mu_status_t add_node(reader_t *r, const yaml_event_t *e, mu_yaml_kind_t kind, mu_yaml_t **out)
{
    if (++r->nodes > MU_YAML_NODES)
        return fail_at(r, e->start_mark, "more than %d values in one file", MU_YAML_NODES);
    mu_yaml_t *node = mu_calloc(1, sizeof *node);
    node->kind = kind;
    node->line = r->key ? r->key_line : (int)e->start_mark.line + 1;
    node->column = r->key ? r->key_column : (int)e->start_mark.column + 1;
    node->key = r->key;
    r->key = NULL;
    if (r->depth == 0) {
        r->root = node;
    } else {
        int top = r->depth - 1;
        if (r->tail[top])
            r->tail[top]->next = node;
        else
            r->open[top]->first = node;
        r->tail[top] = node;
        r->open[top]->count++;
    }
    *out = node;
    return MU_OK;
}

static bool wants_key(const reader_t *r)
{
    return r->depth > 0 && r->open[r->depth - 1]->kind == MU_YAML_MAP && !r->key;
}

static mu_status_t take_scalar(reader_t *r, const yaml_event_t *e)
{
    if (e->data.scalar.anchor)
        return fail_at(r, e->start_mark, "anchors (&) are not supported: write the value out");
    if (e->data.scalar.tag)
        return fail_at(r, e->start_mark, "tags (!) are not supported: remove '%.80s'", e->data.scalar.tag);
    if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && e->end_mark.line != e->start_mark.line)
        return fail_at(
            r, e->start_mark,
            "this runs on into line %zu: a ',' or ':' is missing here, or line %zu is indented too far "
            "(text over several lines needs quotes)",
            e->end_mark.line + 1, e->end_mark.line + 1);
    if (strlen((const char *)e->data.scalar.value) != e->data.scalar.length)
        return fail_at(r, e->start_mark, "this text holds a NUL character (\\0): remove it");
    if (wants_key(r))
        return take_key(r, e);
    mu_yaml_t *node;
    MU_TRY(add_node(r, e, MU_YAML_SCALAR, &node));
    node->text = mu_strdup((const char *)e->data.scalar.value);
    node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return MU_OK;
}

static mu_status_t open_node(reader_t *r, const yaml_event_t *e)
{
    bool map = e->type == YAML_MAPPING_START_EVENT;
    const void *anchor = map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    const void *tag = map ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    if (anchor)
        return fail_at(r, e->start_mark, "anchors (&) are not supported: write the value out");
    if (tag)
        return fail_at(r, e->start_mark, "tags (!) are not supported: remove '%.80s'", (const char *)tag);
    if (wants_key(r))
        return fail_at(r, e->start_mark, "a key must be text, not a %s", map ? "map" : "list");
    if (r->depth == MU_YAML_DEPTH)
        return fail_at(r, e->start_mark, "nested more than %d levels deep", MU_YAML_DEPTH);
    mu_yaml_t *node;
    MU_TRY(add_node(r, e, map ? MU_YAML_MAP : MU_YAML_LIST, &node));
    r->open[r->depth] = node;
    r->tail[r->depth] = NULL;
    r->depth++;
    return MU_OK;
}

static mu_status_t take_event(reader_t *r, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        return fail_at(r, e->start_mark, "aliases (*%.80s) are not supported: write the value out",
                       e->data.alias.anchor);
    case YAML_SCALAR_EVENT:
        return take_scalar(r, e);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return open_node(r, e);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->depth--;
        return MU_OK;
    case YAML_DOCUMENT_START_EVENT:
        if (r->root)
            return fail_at(r, e->start_mark, "a second document begins here: one file is one document");
        return MU_OK;
    default:
        return MU_OK;
    }
}

static mu_status_t read_tree(const char *name, const char *text, size_t n, mu_yaml_t **out)
{
    reader_t r = {.name = name, .text = text, .size = n};
    mu_status_t status = mu_yaml_check_text(name, text, n);
    if (status != MU_OK)
        return status;
    if (!yaml_parser_initialize(&r.parser))
        return mu_fail(MU_NOMEM, "%s: out of memory", name);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
    for (bool more = true; more && status == MU_OK;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r.parser, &event)) {
            status = syntax_error(&r);
            break;
        }
        more = event.type != YAML_STREAM_END_EVENT;
        status = take_event(&r, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&r.parser);
    free(r.key);
    if (status != MU_OK) {
        mu_yaml_free(r.root);
        return status;
    }
    *out = r.root;
    return MU_OK;
}

mu_status_t mu_yaml_parse(const char *name, const char *text, size_t n, mu_yaml_t **out)
{
    mu_yaml_t *root = NULL;
    if (n > MU_YAML_BYTES)
        return mu_fail(MU_DATA, "%s: larger than the %d bytes that such a file may have", name,
                       MU_YAML_BYTES);
    MU_TRY(read_tree(name, text, n, &root));
    if (!root || mu_yaml_is_null(root)) {
        mu_yaml_free(root);
        return mu_fail(MU_CONFIG, "%s:1:1: holds no keys: write 'key: value' lines", name);
    }
    if (root->kind != MU_YAML_MAP) {
        mu_status_t status = mu_fail(MU_CONFIG, "%s:%d:%d: a %s where 'key: value' lines are wanted", name,
                                     root->line, root->column, root->kind == MU_YAML_LIST ? "list" : "text");
        mu_yaml_free(root);
        return status;
    }
    *out = root;
    return MU_OK;
}

mu_status_t mu_yaml_parse_value(const char *name, const char *text, size_t n, mu_yaml_t **out)
{
    mu_yaml_t *root = NULL;
    if (n > MU_YAML_BYTES)
        return mu_fail(MU_DATA, "%s: longer than %d bytes", name, MU_YAML_BYTES);
    MU_TRY(read_tree(name, text, n, &root));
    if (!root) {
        root = mu_calloc(1, sizeof *root);
        root->line = root->column = 1;
        root->text = mu_strdup("");
        root->plain = true;
    }
    *out = root;
    return MU_OK;
}

mu_status_t mu_yaml_read_file(const char *path, mu_yaml_t **out)
{
    mu_buf_t text = MU_BUF_INIT;
    mu_status_t status = mu_file_read_text(path, MU_YAML_BYTES, &text);
    if (status == MU_OK)
        status = mu_yaml_parse(path, text.data ? text.data : "", text.len, out);
    mu_buf_release(&text);
    return status;
}
