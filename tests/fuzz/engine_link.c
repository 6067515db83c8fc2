/* A stream of frames between front and engine. What is read is written again as the same bytes, but for unused ones. */
#include "common/control/engine_link.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    size_t at = 0, used, again;
    mu_engine_message_t m, same;
    mu_buf_t bytes = MU_BUF_INIT;
    while (at < n && mu_engine_read(data + at, n - at, &used, &m) == MU_ENGINE_GOT) {
        FUZZ_CHECK(used <= n - at);
        mu_buf_clear(&bytes);
        mu_engine_write(&m, &bytes);
        FUZZ_CHECK(bytes.len == used);
        FUZZ_CHECK(mu_engine_read(bytes.data, bytes.len, &again, &same) == MU_ENGINE_GOT && again == used);
        FUZZ_CHECK(same.type == m.type && same.id == m.id);
        mu_engine_release(&same);
        mu_engine_release(&m);
        at += used;
    }
    mu_buf_release(&bytes);
    return 0;
}
