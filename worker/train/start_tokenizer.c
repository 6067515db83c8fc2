#include "worker/train/start_tokenizer.h"
#include "common/checkpoint/manifest.h"
#include "common/file.h"
#include "dataset/tokenizer/tokenizer.h"

#include <stdlib.h>

mu_status_t mu_start_tokenizer(const mu_config_t *config, const char *run_dir, const mu_mixture_t *data,
                               char **out)
{
    const char *own = mu_mixture_tokenizer(data);
    mu_tokenizer_t *tok;
    *out = own ? mu_strdup(own) : NULL;
    if (own || !config->vocab_file)
        return MU_OK;
    MU_TRY(mu_tokenizer_whole(config->vocab_file, out));
    if (*out)
        return MU_OK;
    MU_TRY(mu_tokenizer_load_files(config->vocab_file, config->merge_file, &tok));
    *out = mu_path_join(run_dir, MU_TOKENIZER_NAME);
    mu_status_t status = mu_tokenizer_save(tok, *out);
    mu_tokenizer_free(tok);
    return status;
}
