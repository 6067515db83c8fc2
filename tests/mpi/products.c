/* ranks: 3 */
/* RUN/products.tsv among workers of two kinds: each kind's first worker measures, all have one file, and a second start
 * takes what it says and measures nothing. */
#include "tests/mpi/golden_worker.h"
#include "common/file.h"
#include "worker/train/product_record.h"

#include <unistd.h>

static char dir[64];

/* The file's text, and how many lines it has of this worker's device. */
static int lines(const mu_device_t *dev, mu_buf_t *text)
{
    char *path = mu_path_join(dir, MU_PRODUCT_RECORD);
    assert_int_equal(mu_file_read(path, 1 << 20, text), MU_OK);
    free(path);
    int n = 0;
    for (const char *at = text->data; (at = strstr(at, dev->description)); at++)
        n++;
    return n;
}

static void start(mu_buf_t *text, mu_product_t *list, int *n, int *own)
{
    mu_model_t model = golden_model(&golden_variants[0]);
    mu_net_options_t options = {.micro_batch = 1, .training = true, .eod = -1};
    worker_t worker, *w = &worker;
    MPI_Comm all;
    setenv("MUSTER_CPU_ISA", world_rank == 1 ? "base" : "avx2",
           1); /* the others' is "base", too, where there is no other */
    set_up(w, 1, 0, &model, &options);
    MPI_Comm_dup(MPI_COMM_WORLD, &all);
    mu_comm_t *workers = mu_comm_mpi(all, "workers", NULL);
    assert_int_equal(mu_product_record_follow(workers, dir, w->net), MU_OK);
    *n = mu_net_products(w->net, list);
    for (int i = 0; i < *n; i++)
        w->dev->ops->way_of(w->dev, &list[i]);
    *own = lines(w->dev, text);
    mu_comm_free(workers);
    tear_down(w);
}

static void each_kind_measures_once(void **state)
{
    (void)state;
    static mu_product_t first[MU_PRODUCTS], again[MU_PRODUCTS];
    mu_buf_t before = MU_BUF_INIT, after = MU_BUF_INIT;
    int n, own, m, owned;
    start(&before, first, &n, &own);
    assert_true(n > 8);
    assert_int_equal(own, n);
    MPI_Barrier(MPI_COMM_WORLD);
    start(&after, again, &m, &owned);
    assert_string_equal(before.data, after.data);
    assert_int_equal(m, n);
    for (int i = 0; i < n; i++)
        assert_string_equal(first[i].way, again[i].way);
    /* without its first line: that product alone is measured again */
    MPI_Barrier(MPI_COMM_WORLD);
    char *path = mu_path_join(dir, MU_PRODUCT_RECORD), *end = strchr(before.data, '\n');
    if (world_rank == 0)
        assert_int_equal(mu_file_replace(path, end, before.len - (size_t)(end - before.data), 0600), MU_OK);
    free(path);
    MPI_Barrier(MPI_COMM_WORLD);
    mu_buf_clear(&after);
    start(&after, again, &m, &owned);
    assert_int_equal(owned, n);
    mu_buf_release(&before);
    mu_buf_release(&after);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world_size);
    snprintf(dir, sizeof dir, "/tmp/muster-products-XXXXXX");
    int failed = world_rank == 0 && !mkdtemp(dir);
    MPI_Bcast(dir, sizeof dir, MPI_BYTE, 0, MPI_COMM_WORLD);
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_kind_measures_once)};
    failed = failed || cmocka_run_group_tests(tests, NULL, NULL);
    if (failed)
        MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Barrier(MPI_COMM_WORLD); /* all have read the file */
    if (world_rank == 0)
        mu_remove_tree(dir);
    MPI_Finalize();
    return 0;
}
