/* Any config.json of Hugging Face's; what it becomes is a configuration of ours. */
#include "common/config/config.h"
#include "tests/fuzz/fuzz.h"
#include "worker/convert/hf_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    mu_hf_family_t family;
    mu_model_type_t type;
    mu_config_t *config = NULL;
    mu_buf_t yaml = MU_BUF_INIT, json = MU_BUF_INIT, back = MU_BUF_INIT;
    fuzz_begin();
    if (fuzz_ok(mu_hf_config_read("c", (const char *)data, n, &family, &yaml), MU_DATA, MU_CONFIG) &&
        fuzz_ok(mu_config_load_text("c", yaml.data, &config), MU_DATA, MU_CONFIG)) {
        mu_model_t model = config->model;
        model.vocab = config->padded_vocab_size;
        if (mu_hf_type("c", &model, MU_TYPE_AUTO, &type) == MU_OK) {
            mu_hf_config_write(&model, type, &(mu_hf_special_t){-1, -1, NULL, 0}, &json);
            FUZZ_CHECK(mu_hf_config_read("back", json.data, json.len, &family, &back) == MU_OK);
            FUZZ_CHECK(family == mu_hf_family(type));
        }
    }
    mu_config_free(config);
    mu_buf_release(&yaml);
    mu_buf_release(&json);
    mu_buf_release(&back);
    return 0;
}
