/* Any text as a data set's manifest; then the same with both of its digests made right, as someone who means
 * harm would. */
#include "dataset/store/shard_file.h"
#include "tests/fuzz/fuzz.h"

/* The shortest spelling with sorted keys is what the digest is of (docs/format-dataset.md). */
static void sign(json_t *root)
{
    char digest[MU_DIGEST_HEX];
    json_object_del(root, "digest");
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    mu_digest_bytes(text, strlen(text), digest);
    json_object_set_new(root, "digest", json_string(digest));
    free(text);
}

static bool try(const char *text, size_t n)
{
    mu_data_manifest_t m, again;
    mu_buf_t out = MU_BUF_INIT;
    fuzz_begin();
    if (!fuzz_ok(mu_data_manifest_parse("m", text, n, &m), MU_DATA, MU_DATA))
        return false;
    mu_data_manifest_write(&m, &out);
    FUZZ_CHECK(mu_data_manifest_parse("m", out.data, out.len, &again) == MU_OK);
    FUZZ_CHECK(again.count == m.count && strcmp(again.version, m.version) == 0);
    mu_data_manifest_free(&m);
    mu_data_manifest_free(&again);
    mu_buf_release(&out);
    return true;
}

static bool try_signed(json_t *root)
{
    sign(root);
    char *text = json_dumps(root, 0);
    bool good = try(text, strlen(text));
    free(text);
    return good;
}

/* The end of what was said, if it names the version that the shards have. */
static bool wanted_version(char out[MU_DIGEST_HEX])
{
    static const char before[] = "is not that of its shards, ";
    const char *said = fuzz_said();
    size_t n = strlen(said), m = sizeof before - 1, digits = MU_DIGEST_HEX - 1;
    if (n < m + digits || memcmp(said + n - digits - m, before, m) != 0)
        return false;
    snprintf(out, MU_DIGEST_HEX, "%s", said + n - digits);
    return strspn(out, "0123456789abcdef") == digits;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    bool good = try((const char *)data, n);
    json_t *root = json_loadb((const char *)data, n, JSON_REJECT_DUPLICATES, NULL);
    if (!good && json_is_object(root) && !try_signed(root)) {
        char version[MU_DIGEST_HEX];
        if (wanted_version(version)) {
            json_object_set_new(root, "version", json_string(version));
            FUZZ_CHECK(try_signed(root));
        }
    }
    json_decref(root);
    return 0;
}
