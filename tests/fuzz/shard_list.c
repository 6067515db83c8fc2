/* Any text as a worker's account of its shard. */
#include "tests/fuzz/fuzz.h"
#include "common/checkpoint/shard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_shard_t shard, again;
    mu_buf_t packed = MU_BUF_INIT, repacked = MU_BUF_INIT;
    fuzz_begin();
    if (fuzz_ok(mu_shard_unpack((const char *)data, n, &shard), MU_DATA, MU_DATA)) {
        mu_shard_pack(&shard, &packed);
        FUZZ_CHECK(mu_shard_unpack(packed.data, packed.len, &again) == MU_OK);
        mu_shard_pack(&again, &repacked);
        FUZZ_CHECK(packed.len == repacked.len && memcmp(packed.data, repacked.data, packed.len) == 0);
        mu_shard_release(&again);
        mu_shard_release(&shard);
    }
    mu_buf_release(&packed);
    mu_buf_release(&repacked);
    return 0;
}
