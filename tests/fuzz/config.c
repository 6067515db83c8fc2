/* Any text as a configuration; one that is accepted survives the way out and in. The first byte, if it is
 * below 32 and no blank, chooses the world. */
#include "common/config/config.h"
#include "common/digest.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_config_t *config = NULL, *back = NULL;
    mu_buf_t out = MU_BUF_INIT;
    char before[MU_DIGEST_HEX], after[MU_DIGEST_HEX];
    size_t length;
    mu_world_t world = {.workers = 4, .slots_per_host = 2};
    if (n && *data < 9) {
        world = (mu_world_t){.workers = *data, .slots_per_host = *data / 2, .device_has_fp16 = *data & 1};
        data++;
        n--;
    }
    char *text = fuzz_piece(&data, &n, &length);
    fuzz_begin();
    if (fuzz_ok(mu_config_load_text("f.yml", text, &config), MU_CONFIG, MU_DATA)) {
        int64_t vocab;
        fuzz_begin();
        fuzz_ok(mu_config_padded_vocab(config, 50277, &vocab), MU_CONFIG, MU_CONFIG);
        fuzz_begin();
        if (fuzz_ok(mu_config_resolve(config, &world), MU_CONFIG, MU_CONFIG))
            for (int64_t done = 0; done < 3; done++) {
                double lr = mu_config_lr(config, done);
                FUZZ_CHECK(lr - lr == 0);
            }
        mu_config_missing(config);
        mu_config_notes(config);
        mu_config_write_json(config, &out);
        mu_buf_clear(&out);
        mu_config_write_yaml(config, true, &out);
        mu_config_digest(config, before);
        FUZZ_CHECK(mu_config_load_text("back.yml", out.data, &back) == MU_OK);
        mu_config_digest(back, after);
        FUZZ_CHECK(strcmp(before, after) == 0);
    }
    mu_config_free(back);
    mu_config_free(config);
    mu_buf_release(&out);
    free(text);
    return 0;
}
