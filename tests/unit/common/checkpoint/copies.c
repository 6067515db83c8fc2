/* Copies in memory: what of them counts as whole, through torn writes, two slots, other runs and other attempts. */
#include "tests/unit/common/checkpoint/checkpoint_help.h"
#include "common/checkpoint/copies.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

enum { WORKERS = 2, HOSTS = 2 };
static char *top;
static char *host_dir[HOSTS]; /* each stands for a host's folder */
static mu_copy_piece_t piece[HOSTS][WORKERS];

static int begin(void **state)
{
    (void)state;
    top = scratch_dir();
    for (int h = 0; h < HOSTS; h++) {
        char *parent = mu_format("%s/host-%d", top, h);
        host_dir[h] = mu_format("%s/1-ab", parent);
        free(parent);
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (int h = 0; h < HOSTS; h++) {
        for (int w = 0; w < WORKERS; w++)
            mu_copy_piece_unmap(&piece[h][w]);
        free(host_dir[h]);
    }
    mu_remove_tree(top);
    free(top);
    return 0;
}

static save_t save_of(int64_t step, int attempt)
{
    return (save_t){
        .model = tiny_model(), .tp = 1, .dp = WORKERS, .step = step, .salt = step, .attempt = attempt};
}

static void map_all(void)
{
    save_t save = save_of(1, 1);
    int64_t salt = 1;
    for (int h = 0; h < HOSTS; h++) {
        assert_int_equal(mu_copies_make(host_dir[h]), MU_OK);
        for (int w = 0; w < WORKERS; w++) {
            mu_shard_plan_t plan = save_plan(&save, host_dir[h], w, &salt);
            uint64_t size;
            char name[MU_SHARD_NAME];
            assert_int_equal(mu_shard_size(&plan, &size, name), MU_OK);
            mu_copy_piece_unmap(&piece[h][w]);
            assert_int_equal(mu_copy_piece_map(host_dir[h], name, size, &piece[h][w]), MU_OK);
            assert_int_equal(mu_copy_piece_there(host_dir[h], name, size), 2 * size);
        }
    }
}

/* Every worker's piece on every host, as both would have it. `torn`: the last piece of host 1 is not ended. */
static void copy_all(int64_t step, int attempt, int slot, bool torn, mu_buf_t *manifest)
{
    save_t save = save_of(step, attempt);
    mu_checkpoint_info_t info = save_info(&save);
    mu_shard_t shards[WORKERS];
    int64_t salt = save.salt;
    for (int w = 0; w < WORKERS; w++) {
        mu_shard_plan_t plan = save_plan(&save, top, w, &salt);
        for (int h = 0; h < HOSTS; h++) {
            mu_copy_piece_t *p = &piece[h][w];
            mu_shard_copy_t *copy;
            assert_int_equal(mu_copy_piece_begin(host_dir[h], p, slot), MU_OK);
            assert_int_equal(mu_shard_copy(&plan, p->bytes[slot], p->size, &copy), MU_OK);
            mu_shard_t shard;
            mu_shard_digest_copy(copy, &shard);
            mu_shard_copy_free(copy);
            if (h == 0)
                shards[w] = shard;
            else
                mu_shard_release(&shard);
            if (!torn || h == 0 || w == 0)
                assert_int_equal(mu_copy_piece_end(host_dir[h], p, slot), MU_OK);
        }
    }
    mu_commit_t commit = {
        .info = &info, .model = &save.model, .optimizer = true, .shards = shards, .shard_count = WORKERS};
    mu_buf_clear(manifest);
    assert_int_equal(mu_commit_manifest(&commit, "test", manifest), MU_OK);
    for (int w = 0; w < WORKERS; w++)
        mu_shard_release(&shards[w]);
    mu_checkpoint_info_release(&info);
}

static void keep(int h, int slot, const mu_buf_t *manifest)
{
    char *path = mu_format("%s/%d/manifest.json", host_dir[h], slot);
    assert_int_equal(mu_file_replace(path, manifest->data, manifest->len, 0600), MU_OK);
    free(path);
}

/* What the hosts in `hosts` ("0", "01") hold together. */
static bool newest(const char *hosts, mu_copy_set_t *set, bool *whole)
{
    mu_copy_entry_t *all = NULL;
    int n = 0;
    for (; *hosts; hosts++) {
        mu_copy_entry_t *some;
        int count;
        mu_copies_list(host_dir[*hosts - '0'], &some, &count);
        all = mu_realloc(all, sizeof *all * (size_t)(n + count + 1));
        for (int i = 0; i < count; i++) {
            some[i].host = *hosts - '0';
            all[n++] = some[i];
        }
        free(some);
    }
    bool any = mu_copies_newest(all, n, set, whole);
    free(all);
    return any;
}

static void the_copy_before_stays_whole(void **state)
{
    (void)state;
    mu_copy_set_t set;
    bool whole;
    mu_buf_t text = MU_BUF_INIT;
    assert_false(newest("01", &set, &whole));
    map_all();
    copy_all(10, 1, 0, false, &text);
    assert_false(newest("01", &set, &whole)); /* pieces without a manifest are nothing */
    keep(0, 0, &text);
    assert_true(newest("01", &set, &whole) && whole && set.id.step == 10 && set.slot == 0 &&
                set.have == WORKERS);
    assert_true(newest("0", &set, &whole) && whole);
    assert_false(newest("1", &set, &whole)); /* it has the pieces, but nobody says that they are all */
    keep(1, 0, &text);
    /* the next one, killed before its end: the one before counts */
    copy_all(20, 1, 1, true, &text);
    assert_true(newest("01", &set, &whole) && whole && set.id.step == 10);
    copy_all(20, 1, 1, false, &text);
    keep(1, 1, &text);
    assert_true(newest("01", &set, &whole) && whole && set.id.step == 20 && set.slot == 1);
    assert_true(newest("0", &set, &whole) && whole && set.id.step == 10);
    /* slot 0 again: torn, its manifest is of pieces that are gone, slot 1 counts */
    copy_all(30, 1, 0, true, &text);
    assert_true(newest("01", &set, &whole) && whole && set.id.step == 20);
    /* the memory is the same, not new */
    map_all();
    assert_true(newest("01", &set, &whole) && whole && set.id.step == 20);
    mu_buf_release(&text);
}

static void lost_pieces_are_counted(void **state)
{
    (void)state;
    mu_copy_set_t set;
    bool whole;
    mu_buf_t text = MU_BUF_INIT;
    map_all();
    copy_all(40, 2, 0, false, &text);
    keep(0, 0, &text);
    copy_all(50, 2, 1, false, &text);
    keep(0, 1, &text);
    char(*names)[MU_SHARD_NAME] = mu_calloc(1, sizeof *names);
    memcpy(names[0], piece[0][0].name, sizeof *names);
    mu_copies_sweep(host_dir[0], names, 1);
    assert_true(newest("0", &set, &whole) && !whole && set.id.step == 50 && set.have == 1 &&
                set.workers == WORKERS);
    assert_true(newest("01", &set, &whole) && whole && set.id.step == 50); /* the other host has it */
    mu_copies_sweep(host_dir[0], names, 0);
    assert_true(newest("0", &set, &whole) && !whole && set.have == 0);
    free(names);
    mu_buf_release(&text);
}

static void what_is_foreign_or_damaged_does_not_count(void **state)
{
    (void)state;
    mu_copy_set_t set;
    bool whole;
    mu_buf_t text = MU_BUF_INIT;
    map_all();
    copy_all(60, 3, 0, false, &text);
    keep(0, 0, &text);
    keep(1, 0, &text);
    /* another attempt comes by the same step, and dies before all have it */
    mu_buf_t later = MU_BUF_INIT;
    copy_all(60, 4, 1, false, &later);
    assert_true(newest("01", &set, &whole) && whole && set.id.attempt == 3);
    /* a flipped bit in a header: that piece is nobody's */
    piece[0][1].bytes[0][40] ^= 1;
    assert_true(newest("0", &set, &whole) && !whole && set.have == 1);
    piece[0][1].bytes[0][40] ^= 1;
    assert_true(newest("0", &set, &whole) && whole);
    /* one under another's name */
    char *a = mu_format("%s/0/%s", host_dir[0], piece[0][0].name),
         *b = mu_format("%s/0/%s", host_dir[0], piece[0][1].name);
    assert_int_equal(rename(a, b), 0);
    assert_true(newest("0", &set, &whole) && !whole && set.have == 0);
    free(a);
    free(b);
    /* a cut manifest */
    keep(0, 0, &(mu_buf_t){.data = text.data, .len = text.len / 2});
    assert_false(newest("0", &set, &whole) && whole && set.slot == 0);
    mu_buf_release(&text);
    mu_buf_release(&later);
}

/* One host has one piece, the other the other: together they are a checkpoint, bit for bit. */
static void a_whole_is_read_as_a_checkpoint_is(void **state)
{
    (void)state;
    mu_copy_set_t set;
    bool whole;
    mu_buf_t text = MU_BUF_INIT;
    mu_checkpoint_t *checkpoint;
    mu_model_t model = tiny_model();
    map_all();
    copy_all(70, 5, 0, false, &text);
    keep(0, 0, &text);
    assert_true(newest("0", &set, &whole) && whole && set.id.step == 70);
    assert_int_equal(mu_copies_whole_begin(host_dir[0]), MU_OK);
    char *dir = mu_copies_whole(host_dir[0]), *manifest = mu_path_join(dir, MU_MANIFEST_NAME), *bytes;
    assert_int_equal(mu_file_replace(manifest, text.data, text.len, 0600), MU_OK);
    mu_copy_entry_t entry = {.slot = 0};
    snprintf(entry.name, sizeof entry.name, "%s", piece[0][0].name);
    assert_int_equal(mu_copies_whole_link(host_dir[0], &entry), MU_OK);
    assert_int_equal(mu_copies_whole_map(host_dir[0], piece[1][1].name, piece[1][1].size, &bytes), MU_OK);
    memcpy(bytes, piece[1][1].bytes[0], piece[1][1].size);
    mu_copies_whole_unmap(bytes, piece[1][1].size);
    assert_int_equal(mu_checkpoint_open(dir, &checkpoint), MU_OK);
    assert_int_equal(compare_rank(checkpoint, &model, 70, 1, 0, true), MU_OK);
    assert_int_equal(mu_checkpoint_verify(checkpoint, 0, 1), MU_OK);
    mu_checkpoint_close(checkpoint);
    /* what the controller has of it */
    assert_int_equal(mu_checkpoint_open_manifest("copies", text.data, text.len, &checkpoint), MU_OK);
    assert_int_equal(mu_checkpoint_manifest(checkpoint)->info.step, 70);
    mu_checkpoint_close(checkpoint);
    assert_int_equal(mu_checkpoint_open_manifest("copies", text.data, text.len - 3, &checkpoint), MU_DATA);
    mu_copies_whole_end(host_dir[0]);
    assert_false(mu_is_dir(dir));
    free(dir);
    free(manifest);
    mu_buf_release(&text);
}

/* A folder that others can enter is not used. */
static void a_folder_of_another_is_refused(void **state)
{
    (void)state;
    char *parent = mu_format("%s/open", top), *dir = mu_format("%s/1-cd", parent);
    assert_int_equal(mkdir(parent, 0755), 0);
    assert_int_equal(chmod(parent, 0755), 0);
    assert_int_equal(mu_copies_make(dir), MU_IO);
    free(parent);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_copy_before_stays_whole),
        cmocka_unit_test(lost_pieces_are_counted),
        cmocka_unit_test(what_is_foreign_or_damaged_does_not_count),
        cmocka_unit_test(a_whole_is_read_as_a_checkpoint_is),
        cmocka_unit_test(a_folder_of_another_is_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
