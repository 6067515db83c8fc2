/* Any file as one of torch.save(). When the first byte is 0xff, every CRC of its ZIP is made right first. */
#include "worker/convert/pickle.h"
#include "tests/fuzz/foreign_check.h"

#include <zlib.h>

static size_t number(const uint8_t *p, int bytes)
{
    size_t n = 0;
    for (int i = bytes - 1; i >= 0; i--)
        n = n << 8 | p[i];
    return n;
}

/* Entry by entry of the directory, wherever it lies; sizes and places as the plain fields say. */
static void sign(uint8_t *file, size_t n)
{
    for (size_t at = 0; at + 46 <= n; at++) {
        const uint8_t *p = file + at;
        if (memcmp(p, "PK\1\2", 4) != 0)
            continue;
        size_t size = number(p + 24, 4), local = number(p + 42, 4);
        if (local + 30 > n)
            continue;
        size_t begin = local + 30 + number(file + local + 26, 2) + number(file + local + 28, 2);
        if (begin > n || size > n - begin)
            continue;
        uint32_t crc = (uint32_t)crc32(crc32(0, NULL, 0), file + begin, (uInt)size);
        memcpy(file + at + 16, &crc, 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_foreign_t list = MU_FOREIGN_INIT;
    bool right = fuzz_byte(&data, &n) == 0xff;
    uint8_t *file = mu_alloc(n + 1);
    memcpy(file, data, n);
    if (right)
        sign(file, n);
    char *path = fuzz_file("layer_00-model_00-model_states.pt", file, n);
    fuzz_begin();
    if (fuzz_ok(mu_torch_open(path, NULL, "0.", &list), MU_DATA, MU_DATA))
        check_foreign(&list);
    mu_foreign_release(&list);
    free(file);
    free(path);
    return 0;
}
