/* The ways of products on a GPU: what is timed, taken, refused, and kept in a run directory. On the stand-in one of
 * cuBLASLt's algorithms, or every epilogue, is made slow, and must not be chosen. Label gpu: the same on a card,
 * without what only the stand-in can be made to do. */
#include "common/buf.h"
#include "common/file.h"
#include "kernels/cuda_load.h"
#include "kernels/products.h"
#include "tests/unit/worker/model/golden_model.h"
#include "worker/comm/comm.h"
#include "worker/train/product_record.h"
#include "tests/unit/sanitized.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <unistd.h>

enum { ROWS = 48, IN = 40, OUT = 56 };

static bool stand_in;
static mu_device_t *dev;

static void machine(const char *words)
{
    if (stand_in)
        setenv("STAND_IN_CUDA", words, 1);
}

static mu_device_t *make(void)
{
    mu_device_t *made;
    assert_int_equal(mu_device_cuda_new(0, &made), MU_OK);
    return made;
}

static int every_product(mu_product_t *list)
{
    int n = 0;
    for (mu_dtype_t type = MU_DTYPE_F32; type <= MU_DTYPE_F16; type++)
        for (mu_product_op_t o = 0; o < MU_PRODUCT_OPS; o++)
            if (dev->ops->supports(dev, type))
                list[n++] = (mu_product_t){.op = o, .type = type, .rows = ROWS, .in = IN, .out = OUT};
    return n;
}

/* The number of a way's algorithm. */
static long algorithm(const char *way)
{
    const char *config = strchr(way, ' ');
    return config ? strtol(config, NULL, 10) : -1;
}

static void what_is_slow_is_not_chosen(void **state)
{
    (void)state;
    static const char *const slow[] = {"slow=10", "slow=11", "slow=fused", "slow=gelu"};
    for (size_t s = 0; s < sizeof slow / sizeof *slow; s++) {
        mu_product_t list[MU_PRODUCTS], now;
        dev = make();
        machine(slow[s]);
        int n = every_product(list);
        mu_products_tune(dev, list, n, 60);
        assert_int_equal(dev->ops->sync(dev), MU_OK);
        for (int i = 0; i < n; i++) {
            assert_true(list[i].rate > 0);
            now = list[i];
            dev->ops->way_of(dev, &now);
            assert_string_equal(now.way, list[i].way);
            if (!stand_in)
                continue;
            if (s < 2)
                assert_int_not_equal(algorithm(list[i].way), 10 + (long)s);
            else if (s == 2 ? list[i].op != MU_PRODUCT_GELU_FORWARD /* which keeps the bias's */
                            : list[i].op == MU_PRODUCT_GELU_FORWARD)
                assert_int_equal(strncmp(list[i].way, "alone ", 6), 0);
        }
        machine("");
        assert_int_equal(dev->total.current, dev->memory[MU_MEM_WORKSPACE].current);
        mu_device_close(dev);
    }
}

static void without_time_the_first_is_taken(void **state)
{
    (void)state;
    mu_product_t list[MU_PRODUCTS], first;
    dev = make();
    int n = every_product(list);
    for (int i = 0; i < n; i++) {
        first = list[i];
        dev->ops->way_of(dev, &first);
        mu_products_tune(dev, &list[i], 1, 0);
        assert_true(list[i].rate == 0);
        assert_string_equal(list[i].way, first.way);
        bool plain = list[i].op == MU_PRODUCT_BACKWARD_INPUT ||
                     (list[i].type == MU_DTYPE_F32 && list[i].op != MU_PRODUCT_FORWARD);
        assert_int_equal(strncmp(first.way, plain ? "alone " : "fused ", 6), 0);
    }
    mu_device_close(dev);
}

static void ways_that_do_not_exist_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "", "sideways", "fused", "fused ", "alone 99999.0.1.0.0.0.0.0.0", "rows 384x384"};
    mu_product_t p = {.op = MU_PRODUCT_BACKWARD_INPUT,
                      .type = MU_DTYPE_F16,
                      .rows = ROWS,
                      .in = IN,
                      .out = OUT},
                 now;
    dev = make();
    dev->ops->way_of(dev, &p);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        now = p;
        snprintf(now.way, sizeof now.way, "%s", wrong[i]);
        assert_false(dev->ops->take_way(dev, &now));
    }
    now = p;
    memcpy(now.way, "fused", 5); /* this operation has no epilogue */
    assert_false(dev->ops->take_way(dev, &now));
    assert_true(dev->ops->take_way(dev, &p));
    for (int i = 1; i < MU_PRODUCTS; i++) {
        now = p;
        now.rows = ROWS + 8 * i;
        assert_true(dev->ops->take_way(dev, &now));
    }
    now.rows = 8; /* the list is full; what is in it can change */
    assert_false(dev->ops->take_way(dev, &now));
    assert_true(dev->ops->take_way(dev, &p));
    mu_device_close(dev);
}

/* The bits of y = x w^T + b in a way. */
static void bits_of(const char *way, float *out)
{
    mu_product_t p = {.op = MU_PRODUCT_FORWARD, .type = MU_DTYPE_F32, .rows = ROWS, .in = IN, .out = OUT};
    dev = make();
    snprintf(p.way, sizeof p.way, "%s", way);
    assert_true(dev->ops->take_way(dev, &p));
    mu_array_t x, w, b, y;
    mu_array_t *const all[] = {&x, &w, &b, &y};
    static const int64_t size[] = {ROWS * IN, IN * OUT, OUT, ROWS * OUT};
    for (int i = 0; i < 4; i++) {
        void *memory;
        float *host = malloc((size_t)size[i] * sizeof *host);
        for (int64_t k = 0; k < size[i]; k++)
            host[k] = (float)((k * 7919 + i * 31) % 1009) / 500.0F - 1.0F;
        assert_int_equal(mu_device_alloc(dev, MU_MEM_WORKSPACE, size[i] * 4, &memory), MU_OK);
        dev->ops->put(dev, memory, host, size[i] * 4);
        *all[i] = mu_array_f32(memory);
        free(host);
    }
    dev->ops->linear_forward(dev, y, x, w, b, MU_NO_ARRAY, ROWS, IN, OUT);
    assert_int_equal(dev->ops->get(dev, out, y.data, ROWS * OUT * 4), MU_OK);
    for (int i = 0; i < 4; i++)
        mu_device_free(dev, all[i]->data);
    mu_device_close(dev);
}

/* The stand-in's algorithms 12 and 13 sum in another order. */
static void a_way_decides_about_the_bits(void **state)
{
    (void)state;
    static float a[ROWS * OUT], again[ROWS * OUT], other[ROWS * OUT];
    if (!stand_in)
        return;
    bits_of("fused 12.0.1.0.0.0.0.0.0", a);
    bits_of("fused 12.0.1.0.0.0.0.0.0", again);
    bits_of("fused 13.0.1.0.0.0.0.0.0", other);
    assert_memory_equal(a, again, sizeof a);
    assert_memory_not_equal(a, other, sizeof a);
    for (int i = 0; i < ROWS * OUT; i++)
        assert_true(fabsf(a[i] - other[i]) < 1e-4F);
    bits_of("alone 12.0.1.0.0.0.0.0.0", other); /* the bias in a kernel of its own: rounded once more */
    for (int i = 0; i < ROWS * OUT; i++)
        assert_true(fabsf(a[i] - other[i]) < 1e-4F);
}

/* What a start with this run directory computes with. */
static int start(const char *dir, mu_product_t *list, mu_buf_t *text)
{
    mu_model_t model = golden_model(&golden_variants[0]);
    mu_net_options_t options = {.micro_batch = 1, .training = true, .eod = -1};
    mu_comm_t *alone = mu_comm_self("workers");
    mu_net_t *net;
    dev = make();
    assert_int_equal(mu_net_new(dev, &model, alone, &options, &net), MU_OK);
    assert_int_equal(mu_product_record_follow(alone, dir, net), MU_OK);
    int n = mu_net_products(net, list);
    for (int i = 0; i < n; i++)
        dev->ops->way_of(dev, &list[i]);
    char *path = mu_path_join(dir, MU_PRODUCT_RECORD);
    mu_buf_clear(text);
    assert_int_equal(mu_file_read(path, 1 << 20, text), MU_OK);
    free(path);
    mu_net_free(net);
    mu_device_close(dev);
    mu_comm_free(alone);
    return n;
}

static void a_restart_takes_what_was_kept(void **state)
{
    (void)state;
    static mu_product_t first[MU_PRODUCTS], again[MU_PRODUCTS];
    char dir[] = "/tmp/muster-tune-XXXXXX";
    mu_buf_t before = MU_BUF_INIT, after = MU_BUF_INIT;
    assert_non_null(mkdtemp(dir));
    machine("slow=10");
    int n = start(dir, first, &before);
    assert_true(n > 8);
    machine("slow=11"); /* now the other one would be chosen */
    assert_int_equal(start(dir, again, &after), n);
    assert_string_equal(before.data, after.data);
    int chosen = 0; /* a slow machine has no time for all of them */
    for (int i = 0; i < n; i++) {
        assert_string_equal(first[i].way, again[i].way);
        chosen += algorithm(first[i].way) != 10;
    }
    assert_true(!stand_in || chosen > 0);
    /* lines of another card, and of another library, count for nothing: all is timed anew, beside them */
    static const char *const other[][2] = {{"cuda, ", "cuda, Another "}, {"cuBLASLt ", "cuBLASLt 9"}};
    for (size_t i = 0; i < 2; i++) {
        mu_buf_t changed = MU_BUF_INIT;
        char *path = mu_path_join(dir, MU_PRODUCT_RECORD);
        for (const char *at = before.data, *next; *at; at = next) {
            next = strstr(at, other[i][0]);
            next = next ? next : at + strlen(at);
            mu_buf_addf(&changed, "%.*s", (int)(next - at), at);
            if (*next) {
                mu_buf_adds(&changed, other[i][1]);
                next += strlen(other[i][0]);
            }
        }
        assert_int_equal(mu_file_replace(path, changed.data, changed.len, 0600), MU_OK);
        start(dir, again, &after);
        assert_int_equal(strncmp(after.data, changed.data, changed.len), 0);
        assert_true(after.len > changed.len + before.len / 2);
        chosen = 0;
        for (int k = 0; k < n; k++)
            chosen += algorithm(again[k].way) != 11;
        assert_true(!stand_in || (MU_SANITIZED ? chosen > 0 : chosen == n)); /* slow, as above */
        free(path);
        mu_buf_release(&changed);
    }
    machine("");
    mu_buf_release(&before);
    mu_buf_release(&after);
    mu_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_slow_is_not_chosen),
        cmocka_unit_test(without_time_the_first_is_taken),
        cmocka_unit_test(ways_that_do_not_exist_are_refused),
        cmocka_unit_test(a_way_decides_about_the_bits),
        cmocka_unit_test(a_restart_takes_what_was_kept),
    };
    mu_device_t *any;
    if (mu_device_cuda_new(0, &any) != MU_OK)
        return 77; /* which has been said */
    stand_in = strstr(any->description, "Stand-in") != NULL;
    mu_device_close(any);
    return cmocka_run_group_tests_name("tune", tests, NULL, NULL);
}
