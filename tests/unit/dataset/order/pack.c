/* Samples of whole documents: each once an epoch, marked, and no more padding than first fit leaves. Label masks on the
 * way from a shard, and from gpt-neox's label files, to a sample. */
#include "tests/unit/dataset/data_support.h"
#include "common/token_marks.h"
#include "dataset/order/mixture.h"
#include "dataset/prepare/shards.h"
#include "dataset/store/shard_file.h"

static const mu_dataset_options_t any = {0};
enum { DOCUMENTS = 300 };

static int64_t length_of(int64_t d)
{
    return d * d % 23 + 1;
}

/* Token i of document d; every other one counts. */
static mu_dataset_t *write_set(const char *name, bool chat)
{
    mu_shards_t *shards;
    mu_shards_summary_t sum;
    mu_dataset_t *ds;
    mu_shards_options_t o = {.vocab = 1000, .split = "1,0,0", .labels = chat, .tokens_a_shard = 900};
    assert_int_equal(mu_shards_create(in_folder(name), &o, &shards), MU_OK);
    for (int64_t d = 0; d < DOCUMENTS; d++) {
        int32_t ids[23];
        unsigned char labels[23];
        for (int64_t i = 0; i < length_of(d); i++) {
            ids[i] = (int32_t)(d + i + 1);
            labels[i] = i % 2 == 1;
        }
        assert_int_equal(mu_shards_add(shards, ids, chat ? labels : NULL, (size_t)length_of(d), 1, 0), MU_OK);
    }
    if (chat)
        mu_shards_chat(shards, json_pack("{s:s}", "template", "chatml"));
    assert_int_equal(mu_shards_finish(shards, &sum), MU_OK);
    assert_true(sum.shards > 2);
    mu_shards_free(shards);
    assert_int_equal(mu_dataset_open(in_folder(name), &any, &ds), MU_OK);
    return ds;
}

/* Walks over a sample: how often each document is in it (by its first token), checked token by token. */
static int check_sample(const int32_t *tokens, int64_t room, int *seen, bool labelled)
{
    int documents = 0;
    for (int64_t at = 0; at < room;) {
        assert_true(tokens[at] & MU_TOKEN_BEGINS);
        assert_true(tokens[at] & MU_TOKEN_UNCOUNTED);
        if (tokens[at] == MU_TOKEN_PADDING) {
            for (; at < room; at++)
                assert_int_equal(tokens[at], MU_TOKEN_PADDING);
            break;
        }
        int64_t d = mu_token_id(tokens[at]) - 1, n = length_of(d) < room ? length_of(d) : room;
        for (int64_t i = 1; i < n; i++)
            assert_int_equal(tokens[at + i], (d + i + 1) | (labelled && i % 2 == 0 ? MU_TOKEN_UNCOUNTED : 0));
        seen[d]++;
        documents++;
        at += n;
    }
    return documents;
}

static void each_document_once(mu_dataset_t *ds, mu_packing_t packing, int64_t seq, double most_waste)
{
    int32_t tokens[64];
    mu_pack_t *pack;
    mu_cutting_t how = {.packing = packing};
    int64_t epoch = mu_cutting_epoch_samples(ds, MU_TRAIN, seq, &how, 7, 1), all;
    assert_int_equal(mu_pack_open(ds, MU_TRAIN, seq, &how, false, 7, epoch + 1, &pack), MU_OK);
    all = mu_pack_samples(pack); /* two epochs */
    assert_int_equal(all, mu_cutting_epoch_samples(ds, MU_TRAIN, seq, &how, 7, 2));
    assert_true(mu_pack_waste(pack) <= most_waste);
    for (int64_t from = 0; from < all; from = from == 0 ? epoch : all) {
        int seen[DOCUMENTS] = {0};
        int64_t to = from == 0 ? epoch : all;
        for (int64_t j = from; j < to; j++) {
            assert_int_equal(mu_pack_sample(pack, j, tokens), MU_OK);
            int n = check_sample(tokens, seq + 1, seen, mu_dataset_labelled(ds));
            assert_true(n >= 1 && (packing != MU_PACK_UNPACKED || n == 1));
        }
        for (int d = 0; d < DOCUMENTS; d++) /* one of a single padding-like token looks like padding */
            assert_true(seen[d] == 1 || d == 0);
    }
    mu_pack_close(pack);
}

static void every_packing(void **state)
{
    mu_dataset_t *plain = write_set("plain", false), *chat = write_set("chat", true);
    mu_cutting_t automatic = {.packing = MU_PACK_AUTO};
    (void)state;
    assert_int_equal(mu_packing_of(&automatic, plain), MU_PACK_STREAM);
    assert_int_equal(mu_packing_of(&automatic, chat), MU_PACK_FIRST_FIT);
    each_document_once(plain, MU_PACK_FIRST_FIT, 40, 0.03);
    each_document_once(chat, MU_PACK_FIRST_FIT, 40, 0.03);
    each_document_once(chat, MU_PACK_OVERFLOW, 40, 0.3);
    each_document_once(chat, MU_PACK_UNPACKED, 40, 0.9);
    mu_dataset_close(plain);
    mu_dataset_close(chat);
}

static void the_same_seed_the_same_samples(void **state)
{
    mu_dataset_t *ds = write_set("chat", true);
    mu_cutting_t how = {.packing = MU_PACK_FIRST_FIT};
    mu_pack_t *pack[4];
    int differ = 0;
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(mu_pack_open(ds, MU_TRAIN, 40, &how, i == 3, i == 2 ? 8 : 7, 1, &pack[i]), MU_OK);
    for (int64_t j = 0; j < mu_pack_samples(pack[0]); j++) {
        int32_t a[64], b[64], c[64];
        assert_int_equal(mu_pack_sample(pack[0], j, a), MU_OK);
        assert_int_equal(mu_pack_sample(pack[1], j + mu_pack_samples(pack[1]), b), MU_OK);
        assert_int_equal(mu_pack_sample(pack[2], j, c), MU_OK);
        assert_memory_equal(a, b, 41 * sizeof *a);
        differ += memcmp(a, c, 41 * sizeof *a) != 0;
    }
    assert_true(differ > 0);
    int32_t first[64]; /* in the order of the data */
    assert_int_equal(mu_pack_sample(pack[3], 0, first), MU_OK);
    assert_int_equal(mu_token_id(first[0]), 1);
    assert_int_equal(mu_token_id(first[1]), 2);
    for (int i = 0; i < 4; i++)
        mu_pack_close(pack[i]);
    mu_dataset_close(ds);
}

static void longer_than_a_sample(void **state)
{
    mu_dataset_t *ds = write_set("chat", true);
    mu_cutting_t chop = {.packing = MU_PACK_FIRST_FIT},
                 drop = {.packing = MU_PACK_FIRST_FIT, .drop_long = true};
    mu_pack_t *pack;
    int seen[DOCUMENTS] = {0};
    int32_t tokens[64];
    (void)state;
    assert_int_equal(mu_pack_open(ds, MU_TRAIN, 9, &drop, false, 1, 1, &pack), MU_OK);
    assert_said("are left out");
    for (int64_t j = 0; j < mu_pack_samples(pack); j++) {
        assert_int_equal(mu_pack_sample(pack, j, tokens), MU_OK);
        check_sample(tokens, 10, seen, true);
    }
    for (int d = 0; d < DOCUMENTS; d++)
        assert_int_equal(seen[d], length_of(d) <= 10);
    mu_pack_close(pack);
    assert_int_equal(mu_pack_open(ds, MU_TRAIN, 9, &chop, false, 1, 1, &pack), MU_OK);
    assert_said("are chopped");
    mu_pack_close(pack);
    mu_dataset_close(ds);
}

/* A flipped label is found, as a flipped token is. */
static void damaged_labels(void **state)
{
    mu_dataset_t *ds = write_set("chat", true);
    mu_data_manifest_t m;
    unsigned char byte = 0;
    int32_t tokens[23];
    (void)state;
    assert_int_equal(mu_dataset_counted(ds, MU_TRAIN) > 0, 1);
    assert_string_equal(json_string_value(json_object_get(mu_dataset_chat(ds), "template")), "chatml");
    mu_dataset_close(ds);
    assert_int_equal(mu_data_manifest_read(in_folder("chat"), &m), MU_OK);
    int fd = open(in_folder("chat/train-00000.h5"), O_RDWR);
    assert_true(fd >= 0 && pread(fd, &byte, 1, (off_t)m.shards[0].labels_at + 1) == 1);
    byte ^= 1;
    assert_true(pwrite(fd, &byte, 1, (off_t)m.shards[0].labels_at + 1) == 1);
    close(fd);
    mu_data_manifest_free(&m);
    assert_int_equal(mu_dataset_open(in_folder("chat"), &any, &ds), MU_OK);
    assert_int_equal(mu_dataset_read(ds, MU_TRAIN, 1, 0, 1, tokens), MU_OK);
    assert_int_equal(mu_dataset_read_marked(ds, MU_TRAIN, 1, 0, 1, tokens), MU_DATA);
    assert_said("train-00000.h5: damaged");
    assert_int_equal(mu_dataset_verify(ds), MU_DATA);
    mu_dataset_close(ds);
}

/* A .bin/.idx of int32 documents of 3 tokens each. */
static void write_pair(const char *name, const int32_t *tokens, int64_t n)
{
    mu_buf_t idx = MU_BUF_INIT;
    char *file = mu_format("%s.idx", name);
    uint64_t version = 1, sequences = (uint64_t)n / 3, entries = sequences + 1;
    int32_t size = 3;
    mu_buf_add(&idx, "MMIDIDX\0\0", 9);
    mu_buf_add(&idx, &version, 8);
    mu_buf_addc(&idx, 4);
    mu_buf_add(&idx, &sequences, 8);
    mu_buf_add(&idx, &entries, 8);
    for (int64_t i = 0; i < n / 3; i++)
        mu_buf_add(&idx, &size, 4);
    for (int64_t i = 0; i < n / 3; i++)
        mu_buf_add(&idx, &(int64_t){12 * i}, 8);
    for (int64_t i = 0; i <= n / 3; i++)
        mu_buf_add(&idx, &i, 8);
    write_file(file, idx.data, idx.len);
    free(file);
    file = mu_format("%s.bin", name);
    write_file(file, tokens, (size_t)n * 4);
    free(file);
    mu_buf_release(&idx);
}

static void label_files_of_neox(void **state)
{
    static const int32_t text[] = {1, 2, 3, 4, 5, 6, 7, 8, 9},
                         labels[] = {-100, 2, 3, -100, -100, 6, 7, 8, 9},
                         other[] = {-100, 2, 3, -100, -100, 6, 7, 9, 9};
    mu_mixture_t *m;
    mu_blend_t *blend;
    int32_t tokens[9];
    (void)state;
    write_pair("text", text, 9);
    write_pair("labels", labels, 9);
    write_pair("other", other, 9);
    write_pair("short", labels, 6);
    char *paths[] = {mu_strdup(in_folder("text")), NULL}, *good[] = {mu_strdup(in_folder("labels")), NULL},
         *wrong[] = {mu_strdup(in_folder("other")), NULL}, *few[] = {mu_strdup(in_folder("short")), NULL};
    mu_mixture_options_t o = {.train = {paths, NULL, good}, .how.borders = true};
    assert_int_equal(mu_mixture_open(&o, &m), MU_OK);
    assert_false(mu_mixture_packs(m));
    assert_int_equal(mu_mixture_order(m, MU_TRAIN, 8, 1, 1, NULL, &blend), MU_OK);
    assert_int_equal(mu_blend_sample(blend, 0, tokens), MU_OK);
    for (int i = 0; i < 9; i++) {
        int32_t id = mu_token_id(tokens[i]);
        assert_int_equal((tokens[i] & MU_TOKEN_UNCOUNTED) != 0, labels[id - 1] < 0);
        assert_int_equal((tokens[i] & MU_TOKEN_BEGINS) != 0, id % 3 == 1);
    }
    mu_blend_close(blend);
    mu_mixture_close(m);
    o.train.labels = wrong;
    assert_int_equal(mu_mixture_open(&o, &m), MU_OK);
    assert_int_equal(mu_mixture_order(m, MU_TRAIN, 8, 1, 1, NULL, &blend), MU_OK);
    assert_int_equal(mu_blend_sample(blend, 0, tokens), MU_DATA);
    assert_said("label 1 is id 9");
    mu_blend_close(blend);
    mu_mixture_close(m);
    o.train.labels = few;
    assert_int_equal(mu_mixture_open(&o, &m), MU_CONFIG);
    assert_said("its documents are not those of");
    free(paths[0]);
    free(good[0]);
    free(wrong[0]);
    free(few[0]);
}

static void what_counts_in_a_sample(void **state)
{
    static const int32_t tokens[] = {5, 6 | MU_TOKEN_UNCOUNTED, 7, 8, MU_TOKEN_PADDING};
    (void)state;
    assert_int_equal(mu_tokens_counted(tokens, 5, -1), 2);
    assert_int_equal(mu_tokens_counted(tokens, 5, 7), 1);
    assert_int_equal(mu_tokens_counted(tokens, 1, -1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_packing, support_up, support_down),
        cmocka_unit_test_setup_teardown(the_same_seed_the_same_samples, support_up, support_down),
        cmocka_unit_test_setup_teardown(longer_than_a_sample, support_up, support_down),
        cmocka_unit_test_setup_teardown(damaged_labels, support_up, support_down),
        cmocka_unit_test_setup_teardown(label_files_of_neox, support_up, support_down),
        cmocka_unit_test(what_counts_in_a_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
