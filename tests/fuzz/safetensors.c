/* Any safetensors file. Its header's length is made right when the first byte of it is 0xff, or hardly
 * anything but that length would ever be tried. */
#include "worker/convert/safetensors.h"
#include "tests/fuzz/foreign_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_foreign_t list = MU_FOREIGN_INIT;
    mu_buf_t file = MU_BUF_INIT;
    mu_buf_add(&file, data, n);
    if (n > 8 && data[0] == 0xff) {
        const char *end = memchr(file.data + 8, '\n', n - 8); /* what is after are values */
        uint64_t length = end ? (uint64_t)(end - file.data) + 1 - 8 : n - 8;
        memcpy(file.data, &length, 8);
    }
    char *path = fuzz_file("model.safetensors", file.len ? file.data : "", file.len);
    fuzz_begin();
    if (fuzz_ok(mu_safetensors_open(path, &list), MU_DATA, MU_DATA))
        check_foreign(&list);
    mu_foreign_release(&list);
    mu_buf_release(&file);
    free(path);
    return 0;
}
