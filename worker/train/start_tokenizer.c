#include "worker/train/start_tokenizer.h"
#include "common/checkpoint/manifest.h"
#include "common/file.h"

#include <stdlib.h>

mu_status_t mu_start_tokenizer(const mu_config_t *config, const char *run_dir, const mu_mixture_t *data,
                               char **path, mu_tokenizer_t **out)
{
    const char *own = mu_mixture_tokenizer(data);
    if (own) {
        MU_TRY(mu_tokenizer_load(own, out));
        *path = mu_strdup(own);
        return MU_OK;
    }
    if (!config->vocab_file)
        return MU_OK;
    MU_TRY(mu_tokenizer_load_whole(config->vocab_file, config->merge_file, out, path));
    if (*path)
        return MU_OK;
    *path = mu_path_join(run_dir, MU_TOKENIZER_NAME);
    return mu_tokenizer_save(*out, *path);
}
