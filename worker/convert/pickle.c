#include "worker/convert/pickle.h"
#include "common/buf.h"
#include "common/log.h"
#include "common/num.h"

typedef enum kind {
    K_NONE, /* None, and what is read and of no use: booleans, floats; of a file of states every other object */
    K_INT,
    K_TEXT,
    K_TUPLE,
    K_LIST,
    K_DICT,
    K_GLOBAL,
    K_STORAGE,
    K_TENSOR
} kind_t;

/* Places in machine.values refer to each other by index; nothing is ever freed before the end. */
typedef struct value {
    kind_t kind;
    int64_t number;      /* INT; GLOBAL: index in `globals`; STORAGE: count of values */
    const char *text;    /* TEXT: in the pickle, `number` bytes */
    int *items;          /* TUPLE, LIST, DICT (key, value, key, ...) */
    int count, room;     /* of items */
    int storage, global; /* TENSOR: its storage; STORAGE: its type, and its key in `key` */
    int key;
    int64_t offset; /* TENSOR */
    int dims;
    int64_t shape[MU_FOREIGN_DIMS];
} value_t;

typedef struct machine {
    const char *subject;
    const char *member; /* of the outermost dictionary that is wanted; then other objects are passed over */
    const unsigned char *p, *begin, *end;
    value_t *values;
    int count, room;
    int *stack, depth, stack_room;
    int *marks, mark_count, mark_room;
    int *memo, memo_room; /* -1: nothing there */
} machine_t;

typedef enum global { G_DICT, G_TENSOR, G_PARAMETER, G_STORAGE } global_t;

static const struct {
    const char *module, *name;
    global_t what;
    mu_foreign_type_t type;
    int element;
} globals[] = {
    {"collections", "OrderedDict", G_DICT, MU_FOREIGN_OTHER, 0},
    {"torch._utils", "_rebuild_tensor_v2", G_TENSOR, MU_FOREIGN_OTHER, 0},
    {"torch._utils", "_rebuild_parameter", G_PARAMETER, MU_FOREIGN_OTHER, 0},
    {"torch", "FloatStorage", G_STORAGE, MU_FOREIGN_F32, 4},
    {"torch", "HalfStorage", G_STORAGE, MU_FOREIGN_F16, 2},
    {"torch", "BFloat16Storage", G_STORAGE, MU_FOREIGN_BF16, 2},
    {"torch", "DoubleStorage", G_STORAGE, MU_FOREIGN_OTHER, 8},
    {"torch", "LongStorage", G_STORAGE, MU_FOREIGN_OTHER, 8},
    {"torch", "IntStorage", G_STORAGE, MU_FOREIGN_OTHER, 4},
    {"torch", "ShortStorage", G_STORAGE, MU_FOREIGN_OTHER, 2},
    {"torch", "CharStorage", G_STORAGE, MU_FOREIGN_OTHER, 1},
    {"torch", "ByteStorage", G_STORAGE, MU_FOREIGN_OTHER, 1},
    {"torch", "BoolStorage", G_STORAGE, MU_FOREIGN_OTHER, 1},
};

static mu_status_t damaged(const machine_t *m, const char *what)
{
    return mu_fail(MU_DATA, "%s: byte %td of its pickle: %s", m->subject, m->p - m->begin, what);
}

/* ---- values and the stack ---- */

static void grow(int **array, int *room, int need)
{
    if (need < *room)
        return;
    *room = need < 8 ? 16 : 2 * need;
    *array = mu_realloc(*array, (size_t)*room * sizeof **array);
}

/* A new value, on the stack. The pointer is good until the next call. */
static value_t *push_new(machine_t *m, kind_t kind)
{
    if (m->count == m->room) {
        m->room = m->room ? 2 * m->room : 64;
        m->values = mu_realloc(m->values, (size_t)m->room * sizeof *m->values);
    }
    m->values[m->count] = (value_t){.kind = kind};
    grow(&m->stack, &m->stack_room, m->depth);
    m->stack[m->depth++] = m->count;
    return &m->values[m->count++];
}

static void push(machine_t *m, int value)
{
    grow(&m->stack, &m->stack_room, m->depth);
    m->stack[m->depth++] = value;
}

/* The lowest place that may be popped: what lies under a mark is out of reach. */
static int ground(const machine_t *m)
{
    return m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;
}

static bool pop(machine_t *m, int *out)
{
    if (m->depth <= ground(m))
        return false;
    *out = m->stack[--m->depth];
    return true;
}

/* The top of the stack, if it is of that kind. */
static value_t *top(machine_t *m, kind_t kind)
{
    value_t *v = m->depth > ground(m) ? &m->values[m->stack[m->depth - 1]] : NULL;
    return v && v->kind == kind ? v : NULL;
}

static void add_item(value_t *v, int item)
{
    grow(&v->items, &v->room, v->count);
    v->items[v->count++] = item;
}

static const value_t *item(const machine_t *m, const value_t *v, int i)
{
    return &m->values[v->items[i]];
}

/* ---- operands ---- */

static bool take(machine_t *m, size_t n, const unsigned char **out)
{
    if ((size_t)(m->end - m->p) < n)
        return false;
    *out = m->p;
    m->p += n;
    return true;
}

static bool take_number(machine_t *m, int bytes, uint64_t *out)
{
    const unsigned char *p;
    if (!take(m, (size_t)bytes, &p))
        return false;
    *out = 0;
    for (int i = bytes - 1; i >= 0; i--)
        *out = *out << 8 | p[i];
    return true;
}

/* A line of text without its end. */
static bool take_line(machine_t *m, const char **out, size_t *n)
{
    const unsigned char *end = memchr(m->p, '\n', (size_t)(m->end - m->p));
    if (!end)
        return false;
    *out = (const char *)m->p;
    *n = (size_t)(end - m->p);
    m->p = end + 1;
    return true;
}

/* ---- instructions ---- */

static mu_status_t do_global(machine_t *m)
{
    const char *module = "", *name = "";
    size_t nm = 0, nn = 0;
    if (!take_line(m, &module, &nm) || !take_line(m, &name, &nn))
        return damaged(m, "ends inside an instruction");
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        if (nm == strlen(globals[i].module) && memcmp(module, globals[i].module, nm) == 0 &&
            nn == strlen(globals[i].name) && memcmp(name, globals[i].name, nn) == 0) {
            push_new(m, K_GLOBAL)->number = (int64_t)i;
            return MU_OK;
        }
    }
    if (m->member) { /* a class or function of something else, which is never called */
        push_new(m, K_NONE);
        return MU_OK;
    }
    return mu_fail(
        MU_DATA,
        "%s: its pickle asks for '%.*s.%.*s', which a file of weights has no use for: refused, and "
        "nothing was run",
        m->subject, (int)(nm < 100 ? nm : 100), module, (int)(nn < 100 ? nn : 100), name);
}

static mu_status_t do_text(machine_t *m)
{
    uint64_t n = 0;
    const unsigned char *p = NULL;
    if (!take_number(m, 4, &n) || !take(m, n, &p))
        return damaged(m, "ends inside a text");
    value_t *v = push_new(m, K_TEXT);
    v->text = (const char *)p;
    v->number = (int64_t)n;
    return MU_OK;
}

static mu_status_t do_int(machine_t *m, int bytes)
{
    uint64_t n = 0;
    if (!take_number(m, bytes, &n))
        return damaged(m, "ends inside a number");
    push_new(m, K_INT)->number = bytes == 4 ? (int64_t)(int32_t)(uint32_t)n : (int64_t)n;
    return MU_OK;
}

/* LONG1: a length, then two's complement */
static mu_status_t do_long(machine_t *m)
{
    uint64_t n = 0, v = 0;
    const unsigned char *p;
    if (!take_number(m, 1, &n) || (n > 8 && !m->member))
        return damaged(m, "a number of more than 8 bytes");
    if (n > 8 && take(m, n, &p)) { /* no size of a tensor */
        push_new(m, K_NONE);
        return MU_OK;
    }
    if (n > 8 || !take_number(m, (int)n, &v))
        return damaged(m, "ends inside a number");
    if (n > 0 && n < 8 && v >> (8 * n - 1))
        v |= UINT64_MAX << 8 * n;
    push_new(m, K_INT)->number = (int64_t)v;
    return MU_OK;
}

static mu_status_t do_put(machine_t *m, int bytes)
{
    uint64_t n = 0;
    /* Python numbers the memo from 0 upwards */
    if (!take_number(m, bytes, &n) || m->depth <= ground(m) || n > MU_PICKLE_MAX)
        return damaged(m, "a PUT that cannot be");
    if ((int)n >= m->memo_room) {
        int old = m->memo_room;
        grow(&m->memo, &m->memo_room, (int)n);
        for (int i = old; i < m->memo_room; i++)
            m->memo[i] = -1;
    }
    m->memo[n] = m->stack[m->depth - 1];
    return MU_OK;
}

static mu_status_t do_get(machine_t *m, int bytes)
{
    uint64_t n = 0;
    if (!take_number(m, bytes, &n) || n >= (uint64_t)m->memo_room || m->memo[n] < 0)
        return damaged(m, "a GET of what was not PUT");
    push(m, m->memo[n]);
    return MU_OK;
}

static mu_status_t do_mark(machine_t *m)
{
    grow(&m->marks, &m->mark_room, m->mark_count);
    m->marks[m->mark_count++] = m->depth;
    return MU_OK;
}

/* Takes everything above `from` off the stack into a new tuple. */
static void make_tuple(machine_t *m, int from)
{
    int n = m->depth - from;
    int *items = mu_alloc((size_t)(n + 1) * sizeof *items);
    if (n > 0) /* an empty stack has no address */
        memcpy(items, m->stack + from, (size_t)n * sizeof *items);
    m->depth = from;
    value_t *v = push_new(m, K_TUPLE);
    v->items = items;
    v->count = n;
    v->room = n + 1;
}

static mu_status_t do_tuple(machine_t *m, int n)
{
    if (m->depth - ground(m) < n)
        return damaged(m, "too little on the stack for a tuple");
    make_tuple(m, m->depth - n);
    return MU_OK;
}

static mu_status_t do_tuple_from_mark(machine_t *m)
{
    if (m->mark_count == 0)
        return damaged(m, "a tuple without its mark");
    make_tuple(m, m->marks[--m->mark_count]);
    return MU_OK;
}

/* Moves all above `from` into the container under it. Pairs for a dictionary. */
static mu_status_t fill(machine_t *m, kind_t kind, int from)
{
    int n = m->depth - from;
    int under = from - 1;
    if (m->member && under >= ground(m) && m->values[m->stack[under]].kind == K_NONE) {
        m->depth = from; /* what another object holds */
        return MU_OK;
    }
    if (under < ground(m) || m->values[m->stack[under]].kind != kind || (kind == K_DICT && n % 2 != 0))
        return damaged(m, "items for no list and no dictionary");
    for (int i = 0; i < n; i++)
        add_item(&m->values[m->stack[under]], m->stack[from + i]);
    m->depth = from;
    return MU_OK;
}

static mu_status_t do_items(machine_t *m, kind_t kind, int n)
{
    if (m->depth - ground(m) < n + 1)
        return damaged(m, "too little on the stack");
    return fill(m, kind, m->depth - n);
}

static mu_status_t do_items_from_mark(machine_t *m, kind_t kind)
{
    if (m->mark_count == 0)
        return damaged(m, "items without their mark");
    int from = m->marks[--m->mark_count];
    return fill(m, kind, from);
}

/* ('storage', type, key, location, count) */
static mu_status_t do_storage(machine_t *m)
{
    const value_t *id = top(m, K_TUPLE);
    if (m->member && id && id->count == 5 && item(m, id, 1)->kind == K_NONE) {
        m->depth--; /* of a type that no weights have */
        push_new(m, K_NONE);
        return MU_OK;
    }
    if (!id || id->count != 5 || item(m, id, 0)->kind != K_TEXT || item(m, id, 1)->kind != K_GLOBAL ||
        item(m, id, 2)->kind != K_TEXT || item(m, id, 4)->kind != K_INT ||
        globals[item(m, id, 1)->number].what != G_STORAGE || item(m, id, 4)->number < 0)
        return damaged(m, "something persistent that is no storage of a tensor");
    value_t storage = {.kind = K_STORAGE,
                       .global = (int)item(m, id, 1)->number,
                       .key = id->items[2],
                       .number = item(m, id, 4)->number};
    m->depth--;
    *push_new(m, K_STORAGE) = storage;
    return MU_OK;
}

/* (storage, offset, sizes, strides, requires_grad, hooks) */
static mu_status_t rebuild_tensor(machine_t *m, const value_t *args, value_t *out)
{
    if (args->count < 6 || item(m, args, 0)->kind != K_STORAGE || item(m, args, 1)->kind != K_INT ||
        item(m, args, 2)->kind != K_TUPLE || item(m, args, 3)->kind != K_TUPLE)
        return damaged(m, "arguments that make no tensor");
    const value_t *sizes = item(m, args, 2), *strides = item(m, args, 3);
    *out = (value_t){.kind = K_TENSOR,
                     .storage = args->items[0],
                     .offset = item(m, args, 1)->number,
                     .dims = sizes->count,
                     .number = 1};
    if (sizes->count > MU_FOREIGN_DIMS || strides->count != sizes->count || out->offset < 0)
        return damaged(m, "a tensor of impossible shape");
    for (int i = sizes->count - 1; i >= 0; i--) {
        const value_t *size = item(m, sizes, i), *stride = item(m, strides, i);
        if (size->kind != K_INT || stride->kind != K_INT || size->number < 0)
            return damaged(m, "a tensor of impossible shape");
        if (size->number > 1 && stride->number != out->number)
            return damaged(m, "a tensor whose rows do not follow each other: save it with .contiguous()");
        out->shape[i] = size->number;
        if (__builtin_mul_overflow(out->number, size->number, &out->number) || out->number > INT64_MAX / 8)
            return damaged(m, "a tensor whose size overflows");
    }
    int64_t values = m->values[out->storage].number;
    if (out->offset > values || out->number > values - out->offset)
        return damaged(m, "a tensor that ends after its storage");
    return MU_OK;
}

/* A call of something else, or with other arguments, in a file of states: an object that nobody looks at. */
static bool is_passed_over(const machine_t *m, int callable, int args)
{
    const value_t *c = &m->values[callable], *a = &m->values[args];
    if (!m->member)
        return false;
    if (c->kind != K_GLOBAL || a->kind != K_TUPLE)
        return true;
    switch (globals[c->number].what) {
    case G_DICT:
        return a->count != 0;
    case G_TENSOR:
        return a->count > 0 && item(m, a, 0)->kind == K_NONE;
    case G_PARAMETER:
        return a->count == 0 || item(m, a, 0)->kind != K_TENSOR;
    default:
        return true;
    }
}

static mu_status_t do_reduce(machine_t *m)
{
    int args = 0, callable = 0;
    bool two = pop(m, &args) && pop(m, &callable);
    if (two && is_passed_over(m, callable, args)) {
        push_new(m, K_NONE);
        return MU_OK;
    }
    if (!two || m->values[args].kind != K_TUPLE || m->values[callable].kind != K_GLOBAL)
        return damaged(m, "a call of what is no function");
    const value_t *a = &m->values[args];
    global_t what = globals[m->values[callable].number].what;
    value_t made = {0};
    if (what == G_DICT && a->count == 0) {
        push_new(m, K_DICT);
    } else if (what == G_TENSOR) {
        MU_TRY(rebuild_tensor(m, a, &made));
        *push_new(m, K_TENSOR) = made;
    } else if (what == G_PARAMETER && a->count > 0 && item(m, a, 0)->kind == K_TENSOR) {
        push(m, a->items[0]);
    } else {
        return damaged(m, "a call with other arguments than those that make a tensor");
    }
    return MU_OK;
}

/* An OrderedDict's attributes (_metadata): of no use. */
static mu_status_t do_build(machine_t *m)
{
    if (m->member && m->depth - ground(m) >= 2) {
        m->depth--;
        return MU_OK;
    }
    if (!top(m, K_DICT))
        return damaged(m, "attributes that are no dictionary");
    m->depth--;
    if (!top(m, K_DICT))
        return damaged(m, "attributes of what is no dictionary");
    return MU_OK;
}

static mu_status_t do_skip(machine_t *m, size_t n)
{
    const unsigned char *p;
    if (!take(m, n, &p))
        return damaged(m, "ends inside an instruction");
    push_new(m, K_NONE);
    return MU_OK;
}

/* Of a class, without a call of it: an object that nobody looks at. */
static mu_status_t do_new_object(machine_t *m)
{
    int args = 0, class = 0;
    if (!m->member)
        return damaged(m, "an instruction that a file of weights has no use for");
    if (!pop(m, &args) || !pop(m, &class))
        return damaged(m, "too little on the stack");
    push_new(m, K_NONE);
    return MU_OK;
}

static mu_status_t step(machine_t *m, unsigned char op)
{
    switch (op) {
    case '(':
        return do_mark(m);
    case 'N':
    case 0x88: /* True */
    case 0x89: /* False */
        return do_skip(m, 0);
    case 'G':
        return do_skip(m, 8);
    case 'K':
        return do_int(m, 1);
    case 'M':
        return do_int(m, 2);
    case 'J':
        return do_int(m, 4);
    case 0x8a:
        return do_long(m);
    case 'X':
        return do_text(m);
    case 'c':
        return do_global(m);
    case 'q':
        return do_put(m, 1);
    case 'r':
        return do_put(m, 4);
    case 'h':
        return do_get(m, 1);
    case 'j':
        return do_get(m, 4);
    case ')':
        return do_tuple(m, 0);
    case 0x85:
    case 0x86:
    case 0x87:
        return do_tuple(m, op - 0x84);
    case 't':
        return do_tuple_from_mark(m);
    case ']':
        push_new(m, K_LIST);
        return MU_OK;
    case '}':
        push_new(m, K_DICT);
        return MU_OK;
    case 'a':
        return do_items(m, K_LIST, 1);
    case 's':
        return do_items(m, K_DICT, 2);
    case 'e':
        return do_items_from_mark(m, K_LIST);
    case 'u':
        return do_items_from_mark(m, K_DICT);
    case 'Q':
        return do_storage(m);
    case 'R':
        return do_reduce(m);
    case 'b':
        return do_build(m);
    case 0x81:
        return do_new_object(m);
    default:
        return damaged(m, "an instruction that a file of weights has no use for");
    }
}

static mu_status_t run(machine_t *m)
{
    if (m->end - m->p < 2 || m->p[0] != 0x80 || m->p[1] != 2)
        return damaged(m, "protocol 2 is wanted, as torch.save() writes it");
    m->p += 2;
    while (m->p < m->end && *m->p != '.')
        MU_TRY(step(m, *m->p++));
    if (m->p + 1 != m->end || m->depth != 1 || m->mark_count != 0 || !top(m, K_DICT))
        return damaged(m, "is no dictionary of tensors");
    return MU_OK;
}

/* ---- the result ---- */

static char *copy_text(const value_t *v)
{
    return mu_format("%.*s", (int)v->number, v->text);
}

/* The dictionary of tensors: the outermost one, or its member that is wanted. */
static mu_status_t find_tensors(machine_t *m, const value_t **out)
{
    const value_t *root = &m->values[m->stack[0]];
    *out = m->member ? NULL : root;
    for (int i = 0; i < root->count && m->member; i += 2) {
        const value_t *key = item(m, root, i);
        if (key->kind == K_TEXT && key->number == (int64_t)strlen(m->member) &&
            memcmp(key->text, m->member, strlen(m->member)) == 0)
            *out = item(m, root, i + 1);
    }
    return *out && (*out)->kind == K_DICT
               ? MU_OK
               : mu_fail(MU_DATA, "%s: its '%s' is no dictionary of tensors: it holds no weights", m->subject,
                         m->member);
}

static mu_status_t collect(machine_t *m, mu_pickle_t *out)
{
    const value_t *root;
    MU_TRY(find_tensors(m, &root));
    out->tensors = mu_calloc((size_t)root->count + 1, sizeof *out->tensors);
    for (int i = 0; i < root->count; i += 2) {
        const value_t *key = item(m, root, i), *t = item(m, root, i + 1);
        if (key->kind != K_TEXT || t->kind != K_TENSOR || memchr(key->text, '\0', (size_t)key->number))
            return damaged(m, "the dictionary holds something that is no tensor with a name");
        const value_t *storage = &m->values[t->storage];
        mu_pickle_tensor_t *to = &out->tensors[out->count++];
        *to = (mu_pickle_tensor_t){.name = copy_text(key),
                                   .storage = copy_text(&m->values[storage->key]),
                                   .type = globals[storage->global].type,
                                   .element = globals[storage->global].element,
                                   .values = storage->number,
                                   .offset = t->offset,
                                   .dims = t->dims,
                                   .elements = t->number};
        memcpy(to->shape, t->shape, sizeof to->shape);
    }
    return MU_OK;
}

mu_status_t mu_pickle_read(const char *subject, const unsigned char *bytes, size_t n, const char *member,
                           mu_pickle_t *out)
{
    machine_t m = {.subject = subject, .member = member, .p = bytes, .begin = bytes, .end = bytes + n};
    mu_pickle_t pickle = {NULL, 0};
    mu_status_t status = n <= MU_PICKLE_MAX ? run(&m)
                                            : mu_fail(MU_DATA, "%s: a pickle of %zu bytes, %zu are allowed",
                                                      subject, n, MU_PICKLE_MAX);
    if (status == MU_OK)
        status = collect(&m, &pickle);
    for (int i = 0; i < m.count; i++)
        free(m.values[i].items);
    free(m.values);
    free(m.stack);
    free(m.marks);
    free(m.memo);
    if (status == MU_OK)
        *out = pickle;
    else
        mu_pickle_release(&pickle);
    return status;
}

void mu_pickle_release(mu_pickle_t *pickle)
{
    for (int i = 0; i < pickle->count; i++) {
        free(pickle->tensors[i].name);
        free(pickle->tensors[i].storage);
    }
    free(pickle->tensors);
    *pickle = (mu_pickle_t){NULL, 0};
}
