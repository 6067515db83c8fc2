/* Any text as a checkpoint's manifest, and with the digest that it should have after it. */
#include "tests/fuzz/fuzz.h"
#include "common/checkpoint/manifest.h"

static void try(const char *text, size_t n)
{
    mu_manifest_t m, again;
    mu_buf_t why = MU_BUF_INIT, out = MU_BUF_INIT;
    if (mu_manifest_parse(text, n, &m, &why)) {
        FUZZ_CHECK(mu_manifest_write(&m, &out) == MU_OK);
        FUZZ_CHECK(mu_manifest_parse(out.data, out.len, &again, &why));
        FUZZ_CHECK(again.tensor_count == m.tensor_count && again.shard_count == m.shard_count);
        FUZZ_CHECK(again.info.step == m.info.step && again.optimizer == m.optimizer);
        mu_manifest_release(&again);
        mu_manifest_release(&m);
    } else {
        FUZZ_CHECK(why.len > 0);
    }
    mu_buf_release(&out);
    mu_buf_release(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char digest[MU_DIGEST_HEX];
    mu_buf_t text = MU_BUF_INIT;
    fuzz_begin();
    try((const char *)data, n);
    mu_buf_add(&text, data, n);
    mu_digest_bytes(data, n, digest);
    mu_buf_addf(&text, MU_MANIFEST_END, digest);
    try(text.data, text.len);
    mu_buf_release(&text);
    return 0;
}
