/* gpt-neox's own files: joined as its converter joins them; a hostile pickle runs nothing and is refused. */
#include "tests/unit/worker/convert/hf_help.h"
#include "common/checkpoint/checkpoint_reader.h"
#include "worker/convert/pickle.h"
#include "worker/convert/pickle_zip.h"

#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <zlib.h>

#define PT HF_DATA "/neox-pt"

static mu_checkpoint_t *newest(const char *path)
{
    mu_checkpoint_t *c;
    assert_int_equal(mu_checkpoint_newest(path, INT64_MAX, &c), MU_OK);
    assert_non_null(c);
    return c;
}

/* The fixture is the model tests/data/hf/neox at tp 2, its row-parallel biases halved. */
static void slices_become_the_whole_model(void **state)
{
    (void)state;
    assert_int_equal(import_dir(HF_DATA "/neox", "hf"), MU_OK);
    assert_int_equal(import_dir(PT, "pt"), MU_OK);
    mu_checkpoint_t *a = newest("hf"), *b = newest("pt");
    const mu_manifest_t *x = mu_checkpoint_manifest(a), *y = mu_checkpoint_manifest(b);
    assert_int_equal(x->tensor_count, y->tensor_count);
    for (int i = 0; i < x->shards[0].count; i++) {
        assert_string_equal(x->tensors[i].name, y->tensors[i].name);
        assert_string_equal(x->shards[0].slices[i].digest, y->shards[0].slices[i].digest);
    }
    mu_checkpoint_close(a);
    mu_checkpoint_close(b);
}

/* tests/data/hf/llama at tp 2: norms are called scale, a slice's query_key_value is [queries][keys][values] and its
 * first product of the MLP [up][gate]. */
static void slices_of_a_llama_become_the_whole_model(void **state)
{
    (void)state;
    assert_int_equal(import_dir(HF_DATA "/llama", "llama"), MU_OK);
    if (import_dir(HF_DATA "/llama-pt", "llama-pt") != MU_OK)
        fail_msg("%s", heard.data);
    mu_checkpoint_t *a = newest("llama"), *b = newest("llama-pt");
    const mu_manifest_t *x = mu_checkpoint_manifest(a), *y = mu_checkpoint_manifest(b);
    assert_int_equal(x->tensor_count, y->tensor_count);
    for (int i = 0; i < x->shards[0].count; i++)
        if (strcmp(x->shards[0].slices[i].digest, y->shards[0].slices[i].digest) != 0)
            fail_msg("%s differs", x->tensors[i].name);
    mu_checkpoint_close(a);
    mu_checkpoint_close(b);
}

/* A run without pipeline stages keeps a slice's layers in one file, among the run's states. */
static void a_file_a_slice_becomes_the_same_model(void **state)
{
    (void)state;
    char *pp0 = "pp0/global_step15";
    assert_int_equal(mu_make_dirs("pp0/global_step15/configs", 0), MU_OK);
    copy_file(HF_DATA "/neox-pp0", pp0, "mp_rank_00_model_states.pt");
    copy_file(HF_DATA "/neox-pp0", pp0, "mp_rank_01_model_states.pt");
    write_text("pp0/global_step15/zero_pp_rank_0_mp_rank_00_optim_states.pt", "not looked at");
    write_text("pp0/latest", "global_step15\n");
    copy_file(PT "/configs", "pp0/global_step15/configs", "model.yml");
    assert_int_equal(import_dir("pp0", "pp0.ckpt"), MU_OK);
    mu_checkpoint_t *a = newest("pt"), *b = newest("pp0.ckpt");
    const mu_manifest_t *x = mu_checkpoint_manifest(a), *y = mu_checkpoint_manifest(b);
    assert_int_equal(x->tensor_count, y->tensor_count);
    for (int i = 0; i < x->shards[0].count; i++)
        assert_string_equal(x->shards[0].slices[i].digest, y->shards[0].slices[i].digest);
    mu_checkpoint_close(a);
    mu_checkpoint_close(b);
    assert_int_equal(unlink("pp0/global_step15/mp_rank_00_model_states.pt"), 0);
    assert_int_equal(import_dir("pp0", "pp0.none"), MU_DATA);
    assert_heard("mp_rank_00_model_states.pt");
}

static void copy_fixture(const char *to, const char *config)
{
    static const int layers[] = {0, 2, 3, 5, 6};
    for (int i = 0; i < 10; i++) {
        char *name = mu_format("layer_%02d-model_%02d-model_states.pt", layers[i / 2], i % 2);
        copy_file(PT, to, name);
        free(name);
    }
    char *configs = mu_path_join(to, "configs"), *yml = mu_path_join(configs, "model.yml");
    assert_int_equal(mu_make_dirs(configs, 0), MU_OK);
    if (config)
        write_text(yml, config);
    else
        copy_file(PT "/configs", configs, "model.yml");
    free(configs);
    free(yml);
}

static const char sequential[] =
    "num_layers: 2\nhidden_size: 8\nnum_attention_heads: 2\nintermediate_size: 16\nseq_length: 12\n"
    "max_position_embeddings: 12\npos_emb: rotary\nrotary_pct: 0.5\nno_weight_tying: true\n"
    "gpt_j_residual: false\n";

/* Of the same files: a sequential block's biases are copies, and one of them counts. */
static void a_sequential_block_has_its_biases_once(void **state)
{
    (void)state;
    static const char *const partial[] = {"layers.1.attention.dense.bias", "layers.0.mlp.dense_4h_to_h.bias"};
    const int64_t zero[2] = {0, 0}, all[2] = {8, 1};
    copy_fixture("seq", sequential);
    assert_int_equal(import_dir("seq", "seq.ckpt"), MU_OK);
    mu_checkpoint_t *a = newest("pt"), *b = newest("seq.ckpt");
    for (int i = 0; i < 2; i++) {
        float sum[8], one[8];
        assert_int_equal(mu_checkpoint_read(a, partial[i], MU_STATE_WEIGHT, zero, all, sum), MU_OK);
        assert_int_equal(mu_checkpoint_read(b, partial[i], MU_STATE_WEIGHT, zero, all, one), MU_OK);
        for (int k = 0; k < 8; k++)
            assert_true(sum[k] != 0 && sum[k] == 2 * one[k]);
    }
    mu_checkpoint_close(a);
    mu_checkpoint_close(b);
}

static void a_save_directory_is_followed_through_latest(void **state)
{
    (void)state;
    copy_fixture("run/global_step7", NULL);
    write_text("run/latest", "global_step7");
    assert_int_equal(import_dir("run", "run.ckpt"), MU_OK);
    write_text("run/latest", "../run/global_step7");
    assert_int_equal(import_dir("run", "run.ckpt2"), MU_NOINPUT); /* no layers: looked at as Hugging Face's */
}

static void what_does_not_fit_is_named(void **state)
{
    (void)state;
    mu_buf_t yaml = MU_BUF_INIT;
    copy_fixture("odd", NULL);
    assert_int_equal(unlink("odd/layer_03-model_01-model_states.pt"), 0);
    assert_int_equal(import_dir("odd", "odd.ckpt"), MU_DATA);
    assert_heard("layer_03-model_01-model_states.pt");
    assert_false(mu_is_dir("odd.ckpt"));

    mu_buf_adds(&yaml, sequential);
    memcpy(strstr(yaml.data, "num_layers: 2") + 12, "1", 1);
    copy_fixture("short", yaml.data);
    assert_int_equal(import_dir("short", "odd.ckpt"), MU_DATA);

    mu_buf_clear(&yaml);
    mu_buf_adds(&yaml, sequential);
    memcpy(strstr(yaml.data, "intermediate_size: 16") + 19, "32", 2);
    copy_fixture("wide", yaml.data);
    assert_int_equal(import_dir("wide", "odd.ckpt"), MU_DATA);
    assert_heard("is [8, 8], the configuration makes it [16, 8]");

    copy_fixture("unnamed", NULL);
    assert_int_equal(unlink("unnamed/configs/model.yml"), 0);
    assert_int_equal(import_dir("unnamed", "odd.ckpt"), MU_NOINPUT);
    assert_heard("--config");
    mu_buf_release(&yaml);
}

/* ---- pickles ---- */

#define START "\x80\x02"
#define DICT  "ccollections\nOrderedDict\n)R"
#define STORAGE                                                                                              \
    "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"                                                   \
    "0X\x03\0\0\0cpuK\x06tQ"
#define REBUILD  "ctorch._utils\n_rebuild_tensor_v2\n"
#define NO_HOOKS "\x89" DICT "tR"
#define TENSOR   REBUILD "(" STORAGE "K\0K\x02K\x03\x86K\x03K\x01\x86" NO_HOOKS
#define NAME     "X\x01\0\0\0w"

typedef struct text {
    const char *bytes;
    size_t n;
    const char *said;
} text_t;
#define P(bytes, said)                                                                                       \
    {                                                                                                        \
        bytes, sizeof(bytes) - 1, said                                                                       \
    }

static mu_status_t read_pickle(const text_t *t, mu_pickle_t *out)
{
    quiet();
    return mu_pickle_read("p", (const unsigned char *)t->bytes, t->n, NULL, out);
}

static void dictionaries_of_tensors_are_read(void **state)
{
    (void)state;
    static const text_t row[] = {
        P(START DICT NAME TENSOR "s.", ""),
        P(START "}" NAME TENSOR "s.", ""),
        P(START DICT "(" NAME TENSOR "u.", ""),
        P(START DICT "(" NAME TENSOR "u}X\x09\0\0\0_metadata" DICT "sb.", ""),
        P(START DICT NAME "ctorch._utils\n_rebuild_parameter\n(" TENSOR "\x88" DICT "tRs.", ""),
        P(START DICT "q\0" NAME "q\x01" TENSOR "r\x02\x01\0\0s.", ""),
        P(START DICT NAME REBUILD "(" STORAGE "\x8a\0\x8a\x01\x02J\x03\0\0\0\x86M\x03\0K\x01\x86" NO_HOOKS
                                  "s.",
          ""),
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_pickle_t got;
        if (read_pickle(&row[i], &got) != MU_OK)
            fail_msg("row %zu: %s", i, heard.data);
        assert_int_equal(got.count, 1);
        assert_string_equal(got.tensors[0].name, "w");
        assert_string_equal(got.tensors[0].storage, "0");
        assert_int_equal(got.tensors[0].type, MU_FOREIGN_F32);
        assert_int_equal(got.tensors[0].shape[1], 3);
        assert_int_equal(got.tensors[0].elements, 6);
        mu_pickle_release(&got);
    }
}

/* A run's states hold objects of many classes beside the weights: they are passed over, and nothing is called. */
static void states_give_their_weights(void **state)
{
    (void)state;
#define MODULE "X\x06\0\0\0module" DICT NAME TENSOR "s"
    static const text_t row[] = {
        P(START "}(" MODULE "u.", ""),
        P(START "}(X\x01\0\0\0acos\nsystem\nX\x05\0\0\0touch\x85R" MODULE "u.", ""),
        P(START "}(X\x01\0\0\0acargparse\nNamespace\n)\x81}X\x01\0\0\0xK\x01sb" MODULE "u.", ""),
        P(START "}(X\x01\0\0\0ac__builtin__\nset\n](K\x01"
                "e\x85R" MODULE "u.",
          ""),
        P(START "}(X\x01\0\0\0accollections\nOrderedDict\n]\x85RX\x01\0\0\0wK\x01s" MODULE "u.", ""),
        P(START "}(X\x01\0\0\0a\x8a\x09\1\2\3\4\5\6\7\x08\x09" MODULE "u.", ""),
        P(START "}(K\x07N" MODULE "u.", ""),
    };
    static const text_t bad[] = {
        P(START "}(X\x01\0\0\0aNu.", "no dictionary of tensors"),
        P(START "}(X\x06\0\0\0moduleNu.", "no dictionary of tensors"),
        P(START "}(X\x06\0\0\0module" DICT NAME "Nsu.", "no tensor"),
        P(START "\x81.", "too little"),
        P(START "R.", "no function"),
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_pickle_t got;
        quiet();
        if (mu_pickle_read("p", (const unsigned char *)row[i].bytes, row[i].n, "module", &got) != MU_OK)
            fail_msg("row %zu: %s", i, heard.data);
        assert_int_equal(got.count, 1);
        assert_string_equal(got.tensors[0].name, "w");
        assert_int_equal(got.tensors[0].elements, 6);
        mu_pickle_release(&got);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        mu_pickle_t got;
        quiet();
        assert_int_equal(mu_pickle_read("p", (const unsigned char *)bad[i].bytes, bad[i].n, "module", &got),
                         MU_DATA);
        assert_heard(bad[i].said);
    }
}

static void everything_else_is_refused(void **state)
{
    (void)state;
    static const text_t row[] = {
        P("", "protocol 2"),
        P("\x80\x04}.", "protocol 2"),
        P(START, "no dictionary"),
        P(START ".", "no dictionary"),
        P(START "}", "no dictionary"),
        P(START "}}.", "no dictionary"),
        P(START "(}.", "no dictionary"),
        P(START "}.N", "no dictionary"),
        /* programs */
        P(START "cos\nsystem\nX\x05\0\0\0touch\x85R.", "'os.system'"),
        P(START "cposix\nsystem\n.", "'posix.system'"),
        P(START "cbuiltins\neval\n.", "'builtins.eval'"),
        P(START "ctorch\nload\n.", "'torch.load'"),
        P(START "ctorch._utils\n_rebuild_tensor_v3\n.", "_rebuild_tensor_v3"),
        P(START "ccollections\nOrderedDict", "ends inside"),
        P(START "ccollections\nOrderedDictX\n.", "OrderedDictX"),
        P(START "(S'a'\ni__builtin__\neval\n.", "no use for"),
        P(START "\x93.", "no use for"),
        P(START "\x81.", "no use for"),
        P(START "\x82\x01.", "no use for"),
        P(START "o.", "no use for"),
        P(START "P0\n.", "no use for"),
        P(START "F1.0\n.", "no use for"),
        P(START "V\n.", "no use for"),
        P(START "2.", "no use for"),
        P(START "0.", "no use for"),
        P(START "1.", "no use for"),
        /* the stack */
        P(START "R.", "no function"),
        P(START "}R.", "no function"),
        P(START "))R.", "no function"),
        P(START "t.", "without its mark"),
        P(START "u.", "without their mark"),
        P(START "}(K\x01u.", "no list"),
        P(START "}K\x01s.", "too little"),
        P(START "]K\x01K\x02s.", "no list"),
        P(START "K\x01(K\x02\x86.", "too little"),
        P(START "b.", "attributes"),
        P(START "}b.", "attributes"),
        P(START "q\0.", "PUT"),
        P(START "h\0.", "GET"),
        P(START "}r\xff\xff\xff\xff.", "PUT"),
        P(START "}q\0j\x01\0\0\0.", "GET"),
        P(START "X\xff\xff\xff\xff.", "inside a text"),
        P(START "K", "inside a number"),
        P(START "\x8a\x09\0\0\0\0\0\0\0\0\0.", "8 bytes"),
        P(START "G\0.", "ends inside"),
        P(START "Q.", "persistent"),
        P(START "NQ.", "persistent"),
        P(START "(NNNNNtQ.", "persistent"),
        /* tensors */
        P(START DICT NAME "K\x01s.", "no tensor with a name"),
        P(START DICT "K\x01" TENSOR "s.", "no tensor with a name"),
        P(START DICT "X\x02\0\0\0w\0" TENSOR "s.", "no tensor with a name"),
        P(START DICT NAME REBUILD "(" STORAGE "K\x01K\x02K\x03\x86K\x03K\x01\x86" NO_HOOKS "s.",
          "after its storage"),
        P(START DICT NAME REBUILD "(" STORAGE "K\0K\x03K\x03\x86K\x03K\x01\x86" NO_HOOKS "s.",
          "after its storage"),
        P(START DICT NAME REBUILD "(" STORAGE "K\0K\x03K\x02\x86K\x01K\x03\x86" NO_HOOKS "s.", "contiguous"),
        P(START DICT NAME REBUILD "(" STORAGE "K\0K\x02K\x03\x86K\x03\x85" NO_HOOKS "s.", "impossible shape"),
        P(START DICT NAME REBUILD "(" STORAGE "J\xff\xff\xff\xffK\x02K\x03\x86K\x03K\x01\x86" NO_HOOKS "s.",
          "impossible shape"),
        P(START DICT NAME REBUILD "(" STORAGE "K\0\x8a\x08\0\0\0\0\0\0\0\x40\x85K\x01\x85" NO_HOOKS "s.",
          "overflows"),
        P(START DICT NAME REBUILD "(NK\0K\x02K\x03\x86K\x03K\x01\x86" NO_HOOKS "s.", "make no tensor"),
        P(START DICT NAME REBUILD ")Rs.", "make no tensor"),
        P(START "ccollections\nOrderedDict\nK\x01\x85R.", "other arguments"),
        P(START "ctorch\nFloatStorage\n)R.", "other arguments"),
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mu_pickle_t got;
        if (read_pickle(&row[i], &got) != MU_DATA)
            fail_msg("row %zu was read", i);
        assert_heard(row[i].said);
    }
    mu_pickle_t got;
    char *large = mu_calloc(MU_PICKLE_MAX + 1, 1);
    quiet();
    assert_int_equal(mu_pickle_read("p", (unsigned char *)large, MU_PICKLE_MAX + 1, NULL, &got), MU_DATA);
    free(large);
}

/* ---- the file around it ---- */

typedef struct zipped {
    const char *name, *bytes;
    size_t n;
} zipped_t;

static void add_number(mu_buf_t *out, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++)
        mu_buf_addc(out, (char)(i < 8 ? n >> 8 * i & 0xff : 0));
}

/* A plain ZIP of stored entries, without ZIP64. */
static void make_zip(const char *path, const zipped_t *entries, int count)
{
    mu_buf_t out = MU_BUF_INIT, directory = MU_BUF_INIT;
    for (int i = 0; i < count; i++) {
        const zipped_t *e = &entries[i];
        uint32_t crc = (uint32_t)crc32(crc32(0, NULL, 0), (const Bytef *)e->bytes, (uInt)e->n);
        size_t at = out.len;
        mu_buf_add(&out, "PK\3\4\x14\0\0\0\0\0\0\0\0\0", 14);
        mu_buf_add(&directory, "PK\1\2\x14\0\x14\0\0\0\0\0\0\0\0\0", 16);
        mu_buf_t *both[] = {&out, &directory};
        for (int k = 0; k < 2; k++) {
            add_number(both[k], crc, 4);
            add_number(both[k], e->n, 4);
            add_number(both[k], e->n, 4);
            add_number(both[k], strlen(e->name), 2);
            add_number(both[k], 0, 2);
        }
        add_number(&directory, 0, 2 + 2 + 2 + 4);
        add_number(&directory, at, 4);
        mu_buf_adds(&directory, e->name);
        mu_buf_adds(&out, e->name);
        mu_buf_add(&out, e->bytes, e->n);
    }
    size_t at = out.len;
    mu_buf_add(&out, directory.data, directory.len);
    mu_buf_add(&out, "PK\5\6\0\0\0\0", 8);
    add_number(&out, (uint64_t)count, 2);
    add_number(&out, (uint64_t)count, 2);
    add_number(&out, directory.len, 4);
    add_number(&out, at, 4);
    add_number(&out, 0, 2);
    write_bytes(path, out.data, out.len);
    mu_buf_release(&out);
    mu_buf_release(&directory);
}

static const char pickled[] = START DICT NAME TENSOR "s.";
static const float values[6] = {1, -2, 3, 4.5f, 5, 6};

static mu_status_t open_torch(const char *path, mu_foreign_t *list)
{
    *list = (mu_foreign_t)MU_FOREIGN_INIT;
    quiet();
    mu_status_t status = mu_torch_open(path, NULL, "x/", list);
    return status == MU_OK ? mu_foreign_sort(list) : status;
}

static void a_plain_zip_is_read(void **state)
{
    (void)state;
    zipped_t entries[] = {{"a/data.pkl", pickled, sizeof pickled - 1},
                          {"a/data/0", (const char *)values, sizeof values},
                          {"a/byteorder", "little", 6}};
    mu_foreign_t list;
    float got[6];
    make_zip("plain.pt", entries, 3);
    assert_int_equal(open_torch("plain.pt", &list), MU_OK);
    assert_int_equal(list.count, 1);
    assert_int_equal(mu_foreign_read(&list, mu_foreign_find(&list, "x/w"), 0, 6, got), MU_OK);
    assert_memory_equal(got, values, sizeof values);
    mu_foreign_release(&list);
}

static void files_that_are_not_whole_are_refused(void **state)
{
    (void)state;
    const char *storage = (const char *)values;
    size_t p = sizeof pickled - 1;
    struct {
        zipped_t entries[3];
        int count;
        const char *said;
    } row[] = {
        {{{"a/other", "x", 1}}, 1, "no data.pkl"},
        {{{"a/data.pkl", pickled, p}, {"b/data.pkl", pickled, p}}, 2, "two pickles"},
        {{{"a/data.pkl", pickled, p}, {"a/data.pkl", pickled, p}}, 2, "there twice"},
        {{{"a/data.pkl", pickled, p}}, 1, "'a/data/0' is not there"},
        {{{"a/data.pkl", pickled, p}, {"b/data/0", storage, 24}}, 2, "'a/data/0' is not there"},
        {{{"a/data.pkl", pickled, p}, {"a/data/0", storage, 20}}, 2, "has 20 bytes"},
        {{{"a/data.pkl", pickled, p}, {"a/data/0", storage, 24}, {"a/byteorder", "big", 3}},
         3,
         "little-endian"},
    };
    mu_foreign_t list;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        make_zip("bad.pt", row[i].entries, row[i].count);
        assert_int_equal(open_torch("bad.pt", &list), MU_DATA);
        mu_foreign_release(&list);
        assert_heard(row[i].said);
    }
    write_text("bad.pt", "version https://git-lfs.github.com/spec/v1\n");
    assert_int_equal(open_torch("bad.pt", &list), MU_DATA);
    mu_foreign_release(&list);
    assert_heard("no ZIP");
    assert_int_equal(open_torch("absent.pt", &list), MU_NOINPUT);
    mu_foreign_release(&list);
}

static void a_changed_value_is_seen(void **state)
{
    (void)state;
    mu_buf_t bytes = MU_BUF_INIT;
    mu_foreign_t list;
    read_all(PT "/layer_00-model_00-model_states.pt", &bytes);
    char *zip = memmem(bytes.data, bytes.len, "data/0", 6);
    assert_non_null(zip);
    bytes.data[zip - bytes.data + 100] ^= 1; /* after the padding of the name: a weight */
    write_bytes("flipped.pt", bytes.data, bytes.len);
    assert_int_equal(open_torch("flipped.pt", &list), MU_DATA);
    assert_heard("CRC");
    mu_foreign_release(&list);
    mu_buf_release(&bytes);
}

static void damage_is_refused_or_harmless(void **state)
{
    (void)state;
    mu_buf_t good = MU_BUF_INIT, bad = MU_BUF_INIT;
    uint64_t random = 88172645463325252u;
    int refused = 0;
    read_all(PT "/layer_02-model_00-model_states.pt", &good);
    for (int round = 0; round < 2000; round++) {
        mu_foreign_t list;
        mu_buf_clear(&bad);
        mu_buf_add(&bad, good.data, good.len);
        if (round % 2) /* the directory is at the end */
            bad.data[bad.len - 1 - next_random(&random) % 1200] ^= (char)(1 << next_random(&random) % 8);
        for (uint64_t k = next_random(&random) % 2; k > 0 && bad.len > 0; k--)
            damage(&bad, &random);
        write_bytes("fuzz.pt", bad.data, bad.len);
        mu_status_t status = open_torch("fuzz.pt", &list);
        assert_true(status == MU_OK || status == MU_DATA);
        refused += status == MU_DATA;
        for (int i = 0; status == MU_OK && i < list.count; i++) {
            float *out = mu_alloc((size_t)list.tensors[i].elements * sizeof *out + 1);
            mu_foreign_read(&list, &list.tensors[i], 0, list.tensors[i].elements, out);
            free(out);
        }
        mu_foreign_release(&list);
    }
    assert_true(refused > 1000);
    /* the pickle alone, where no CRC stands in front */
    char *pkl = memmem(good.data, good.len, START "c", 3), *end = memmem(good.data, good.len, "sssb.", 5);
    assert_true(pkl && end && end > pkl);
    for (int round = 0; round < 5000; round++) {
        mu_pickle_t got;
        mu_buf_clear(&bad);
        mu_buf_add(&bad, pkl, (size_t)(end + 5 - pkl));
        for (uint64_t k = next_random(&random) % 3 + 1; k > 0 && bad.len > 0; k--)
            damage(&bad, &random);
        quiet();
        if (mu_pickle_read("fuzz", (unsigned char *)bad.data, bad.len, NULL, &got) == MU_OK)
            mu_pickle_release(&got);
    }
    mu_buf_release(&good);
    mu_buf_release(&bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_become_the_whole_model),
        cmocka_unit_test(slices_of_a_llama_become_the_whole_model),
        cmocka_unit_test(a_file_a_slice_becomes_the_same_model),
        cmocka_unit_test(a_sequential_block_has_its_biases_once),
        cmocka_unit_test(a_save_directory_is_followed_through_latest),
        cmocka_unit_test(what_does_not_fit_is_named),
        cmocka_unit_test(dictionaries_of_tensors_are_read),
        cmocka_unit_test(states_give_their_weights),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(a_plain_zip_is_read),
        cmocka_unit_test(files_that_are_not_whole_are_refused),
        cmocka_unit_test(a_changed_value_is_seen),
        cmocka_unit_test(damage_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
