/*
 * A prepared data set of one shard by someone who knows every digest: the manifest says of the shard's places
 * what the input says, and all digests are those of the bytes that lie there.
 *
 *     1 byte   what: bit 0: tokens of 4 bytes; bit 1: a smaller vocabulary; bit 2: a wrong digest of the
 * tables 10 bytes documents, tokens, and where tokens, documents and blocks begin the rest the shard's file
 */
#include "dataset/store/shard_file.h"
#include "tests/fuzz/walk_data.h"

#include <xxhash.h>

/* The digests of the blocks go to where the file says that they lie. */
static void sign_blocks(const mu_data_shard_t *s, int width, uint8_t *file, size_t n)
{
    int64_t left = s->tokens * width, at = s->tokens_at;
    for (int64_t b = 0; left > 0; b++) {
        int64_t size = left < MU_BLOCK_TOKENS * width ? left : MU_BLOCK_TOKENS * width;
        if (at + size > (int64_t)n || s->blocks_at + 8 * b + 8 > (int64_t)n)
            return;
        uint64_t digest = XXH3_64bits(file + at, (size_t)size);
        memcpy(file + s->blocks_at + 8 * b, &digest, 8);
        at += size;
        left -= size;
    }
}

static void sign_tables(mu_data_shard_t *s, const uint8_t *file, size_t n)
{
    size_t documents = (size_t)(s->documents + 1) * 8, blocks = (size_t)mu_data_shard_blocks(s->tokens) * 8;
    mu_digest_t *digest = mu_digest_new();
    if ((size_t)s->documents_at + documents <= n)
        mu_digest_add(digest, file + s->documents_at, documents);
    if ((size_t)s->blocks_at + blocks <= n)
        mu_digest_add(digest, file + s->blocks_at, blocks);
    mu_digest_hex(digest, s->tables);
    mu_digest_free(digest);
}

static void write_manifest(mu_data_shard_t *shard, int width)
{
    char split[] = "1,0,0";
    mu_buf_t text = MU_BUF_INIT;
    mu_data_manifest_t m = {
        .vocab = width == 4 ? 70000 : 300, .token_bytes = width, .split = split, .shards = shard, .count = 1};
    mu_data_manifest_version(&m);
    mu_data_manifest_write(&m, &text);
    free(fuzz_file(MU_DATASET_MANIFEST, text.data, text.len));
    mu_buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t what = fuzz_byte(&data, &n);
    int width = what & 1 ? 4 : 2;
    mu_data_shard_t shard = {.split = MU_TRAIN};
    shard.documents = fuzz_short(&data, &n);
    shard.tokens = fuzz_short(&data, &n);
    shard.tokens_at = fuzz_short(&data, &n);
    shard.documents_at = fuzz_short(&data, &n);
    shard.blocks_at = fuzz_short(&data, &n);
    shard.bytes = (int64_t)n;
    uint8_t *file = mu_alloc(n + 1);
    memcpy(file, data, n);
    sign_blocks(&shard, width, file, n);
    sign_tables(&shard, file, n);
    if (what & 4)
        shard.tables[0] ^= 1;
    mu_digest_bytes(file, n, shard.digest);
    write_manifest(&shard, width);
    free(fuzz_file("train-00000.h5", file, n));
    free(file);
    mu_dataset_options_t options = {.split = "1,0,0", .vocab = what & 2 ? 100 : 0};
    mu_dataset_t *ds = NULL;
    fuzz_begin();
    if (fuzz_ok(mu_dataset_open(fuzz_dir(), &options, &ds), MU_DATA, MU_DATA)) {
        FUZZ_CHECK(mu_dataset_verify(ds) == MU_OK);
        walk_data(ds);
    }
    return 0;
}
