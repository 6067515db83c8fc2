/* Generation: products in which a row's bits depend on that row alone, attention against caches, and graphs. */
#include "kernels/products.h"
#include "tests/unit/kernels/cases/support.h"

enum { MOST = 37 }; /* rows */

typedef struct product {
    int64_t in, out;
    float *x, *w, *b, *plus;
    mu_array_t y, weight, bias;
} product_t;

static void rows_from(const product_t *p, int64_t first, int64_t rows)
{
    op->linear_rows(dev, p->y, put(p->x + first * p->in, rows * p->in), p->weight, p->bias,
                    p->plus ? put(p->plus + first * p->out, rows * p->out) : MU_NO_ARRAY, rows, p->in,
                    p->out);
}

/* What the formula says, of all rows; then rows from each on, alone and with others, have the same bits. */
static void rows_at(int64_t in, int64_t out, bool more)
{
    static const int64_t count[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31};
    product_t p = {.in = in,
                   .out = out,
                   .x = noisy(MOST * in, 1),
                   .w = noisy(out * in, 0.3),
                   .b = noisy(out, 1),
                   .plus = more ? noisy(MOST * out, 1) : NULL,
                   .y = room(MOST * out)};
    double *want = doubles(MOST * out);
    for (int64_t r = 0; r < MOST; r++)
        for (int64_t o = 0; o < out; o++) {
            double sum = more ? (double)p.b[o] + (double)p.plus[r * out + o] : 0;
            for (int64_t i = 0; i < in; i++)
                sum += (double)p.x[r * in + i] * (double)p.w[o * in + i];
            want[r * out + o] = sum;
        }
    p.weight = put(p.w, out * in);
    p.bias = more ? put(p.b, out) : MU_NO_ARRAY;
    rows_from(&p, 0, MOST);
    float *all = get(p.y, MOST * out);
    assert_near(all, want, MOST * out, 1e-6, 1);
    for (size_t c = 0; c < sizeof count / sizeof *count; c++)
        for (int64_t first = 0; first + count[c] <= MOST; first += count[c] + 5) {
            rows_from(&p, first, count[c]);
            if (memcmp(get(p.y, count[c] * out), all + first * out, (size_t)(count[c] * out) * sizeof *all) !=
                0)
                fail_msg("%s: rows %d of %d by %d from %d on differ from the same among %d", dev->description,
                         (int)count[c], (int)in, (int)out, (int)first, MOST);
        }
}

void rows_test(void)
{
    static const int64_t size[][2] = {{1, 1},    {5, 3},   {16, 64},  {31, 15},  {32, 16},  {33, 17},
                                      {64, 130}, {65, 63}, {96, 128}, {130, 65}, {257, 81}, {512, 32}};
    for (size_t i = 0; op->linear_rows && i < sizeof size / sizeof *size; i++)
        rows_at(size[i][0], size[i][1], i % 2);
}

/* --- attention --- */

/* A row of each of some sequences, in slots in any order, gets the bits that attention_cached gives it, and leaves the
 * cache as that does. */
void slots_test(void)
{
    enum { SLOTS = 6, CAPACITY = 40, ROWS = 4, HEADS = 4, KV = 2, D = 20 };
    enum {
        WIDE = (HEADS + 2 * KV) * D,
        WIDTH = HEADS * D,
        TOKEN = KV * 2 * D,
        CACHE = SLOTS * CAPACITY * TOKEN
    };
    static const int32_t slot[ROWS] = {4, 0, 5, 2}, position[ROWS] = {12, 0, CAPACITY - 1, 33};
    int32_t start[ROWS];
    if (!op->attention_rows)
        return;
    float *host = noisy(CACHE, 2), *rows = noisy(ROWS * WIDE, 2);
    mu_array_t cache = put(host, CACHE), own = put(host, CACHE), qkv = put(rows, ROWS * WIDE),
               out = room(ROWS * WIDTH), own_out = room(ROWS * WIDTH);
    mu_attention_t shape = {ROWS, 1, HEADS, D, 1 / sqrt(D), KV, NULL, NULL}, one = shape;
    one.batch = 1;
    for (int r = 0; r < ROWS; r++) {
        start[r] = -position[r];
        op->attention_cached(dev, mu_array_at(own_out, r * WIDTH),
                             mu_array_at(own, (int64_t)slot[r] * CAPACITY * TOKEN),
                             mu_array_at(qkv, r * WIDE), position[r], &one);
    }
    op->attention_rows(dev, out, cache, qkv, put_ints(slot, ROWS), put_ints(start, ROWS), CAPACITY, &shape);
    assert_memory_equal(get(out, ROWS * WIDTH), get(own_out, ROWS * WIDTH), ROWS * WIDTH * sizeof(float));
    assert_memory_equal(get(cache, CACHE), get(own, CACHE), CACHE * sizeof(float));
}

/* More keys than a block of the CUDA device holds scores at a time, those after with the largest. */
void many_keys_test(void)
{
    enum { KEYS = 8192 + 700, LATE = 8192, D = 8 };
    if (MU_SANITIZED && type != MU_DTYPE_F32)
        return; /* minutes of fibres */
    float *host = noisy(KEYS * 2 * D, 1), *row = noisy(3 * D, 2);
    double *score = doubles(KEYS), *want = doubles(D), top = -INFINITY, sum = 0;
    for (int64_t i = LATE * 2 * D; i < KEYS * 2 * D; i++)
        host[i] = as_stored(3 * (double)host[i]);
    mu_array_t cache = put(host, KEYS * 2 * D), out = room(D);
    memcpy(host + (KEYS - 1) * 2 * D, row + D, 2 * D * sizeof *host); /* which the row itself appends */
    for (int64_t j = 0; j < KEYS; j++) {
        for (int64_t c = 0; c < D; c++)
            score[j] += (double)row[c] * (double)host[j * 2 * D + c];
        top = fmax(top, score[j]);
    }
    for (int64_t j = 0; j < KEYS; j++) {
        score[j] = exp(score[j] - top);
        sum += score[j];
    }
    for (int64_t j = 0; j < KEYS; j++)
        for (int64_t c = 0; c < D; c++)
            want[c] += score[j] / sum * (double)host[j * 2 * D + D + c];
    mu_attention_t shape = {1, 1, 1, D, 1, 0, NULL, NULL};
    op->attention_cached(dev, out, cache, put(row, 3 * D), KEYS - 1, &shape);
    assert_near(get(out, D), want, D, 1e-5, 1 + slack);
}

/* --- graphs --- */

enum { G_ROWS = 5, G_IN = 24, G_OUT = 40, G_VOCAB = 9 };

typedef struct recorded {
    mu_array_t table, w, b, x, y;
    int32_t *ids;
    void (*also)(struct recorded *r); /* what does not belong into a graph; NULL: nothing */
} recorded_t;

/* Rows that ids in memory name, through a product. */
static void enqueue(void *arg)
{
    recorded_t *r = arg;
    op->embedding_forward(dev, r->x, r->table, r->ids, G_ROWS, G_IN, 0, G_VOCAB);
    if (r->also)
        r->also(r);
    op->linear_forward(dev, r->y, r->x, r->w, r->b, MU_NO_ARRAY, G_ROWS, G_IN, G_OUT);
}

static void put_ids(const recorded_t *r, int seed)
{
    int32_t ids[G_ROWS];
    for (int i = 0; i < G_ROWS; i++)
        ids[i] = (i * i + seed) % G_VOCAB;
    op->put(dev, r->ids, ids, sizeof ids);
}

static void waits(recorded_t *r)
{
    (void)r;
    assert_int_not_equal(op->sync(dev), MU_OK);
}

static void reads(recorded_t *r)
{
    int32_t ids[G_ROWS];
    assert_int_not_equal(op->get(dev, ids, r->ids, sizeof ids), MU_OK);
}

static void writes(recorded_t *r)
{
    put_ids(r, 3);
}

/* More scratch than there is, so that a kernel's work is missing, of which CUDA says nothing. */
static void grows(recorded_t *r)
{
    op->embedding_backward(dev, r->table.data, r->x, r->ids, 0, G_IN, 0, 1 << 20);
}

static void each_run_is_the_launches(recorded_t *r, const mu_graph_t *graph)
{
    for (int seed = 1; seed < 4; seed++) {
        put_ids(r, seed);
        enqueue(r);
        float *want = get(r->y, G_ROWS * G_OUT);
        op->zero(dev, r->x.data, G_ROWS * G_IN * mu_dtype_size(type));
        op->zero(dev, r->y.data, G_ROWS * G_OUT * mu_dtype_size(type));
        assert_true(op->graph_run(dev, graph));
        assert_memory_equal(get(r->y, G_ROWS * G_OUT), want, G_ROWS * G_OUT * sizeof *want);
    }
}

void graphs_test(void)
{
    static void (*const unfit[])(recorded_t *) = {waits, reads, writes, grows};
    char why[128];
    if (!op->graph_record)
        return;
    recorded_t r = {.table = put(noisy(G_VOCAB * G_IN, 1), G_VOCAB * G_IN),
                    .w = put(noisy(G_OUT * G_IN, 1), G_OUT * G_IN),
                    .b = put(noisy(G_OUT, 1), G_OUT),
                    .x = room(G_ROWS * G_IN),
                    .y = room(G_ROWS * G_OUT),
                    .ids = put_ints((int32_t[G_ROWS]){0}, G_ROWS)};
    enqueue(&r); /* chooses the product */
    float *before = get(r.y, G_ROWS * G_OUT);
    put_ids(&r, 2);
    for (size_t i = 0; i < sizeof unfit / sizeof *unfit; i++) {
        r.also = unfit[i];
        why[0] = '\0';
        if (op->graph_record(dev, enqueue, &r, why, sizeof why))
            fail_msg("number %zu was recorded", i);
        assert_int_not_equal(why[0], '\0');
        assert_int_equal(op->sync(dev), MU_OK);
    }
    r.also = NULL;
    int64_t held = dev->total.current;
    mu_graph_t *graph = op->graph_record(dev, enqueue, &r, why, sizeof why);
    if (!graph)
        fail_msg("not recorded: %s", why);
    assert_true(graph->operations >= 2 && graph->bytes >= 0);
    assert_true(dev->total.current == held + graph->bytes);
    assert_memory_equal(get(r.y, G_ROWS * G_OUT), before,
                        G_ROWS * G_OUT * sizeof *before); /* nothing was done */
    each_run_is_the_launches(&r, graph);

    /* what it may name is no more */
    void *other;
    assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, 256, &other), MU_OK);
    assert_true(op->graph_run(dev, graph));
    mu_device_free(dev, other);
    assert_false(op->graph_run(dev, graph));
    op->graph_free(dev, graph);
    assert_true(dev->total.current == held);
    graph = op->graph_record(dev, enqueue, &r, why, sizeof why);
    assert_non_null(graph);
    mu_product_t p = {.op = MU_PRODUCT_FORWARD, .type = type, .rows = G_ROWS, .in = G_IN, .out = G_OUT};
    op->way_of(dev, &p);
    assert_true(op->take_way(dev, &p));
    assert_false(op->graph_run(dev, graph));
    op->graph_free(dev, graph);
}
