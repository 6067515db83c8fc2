#include "common/config/config.h"
#include "common/log.h"
#include "common/num.h"
#include "worker/cmd/verbs.h"

mu_status_t mu_verb_words(int count, char **words, const char **checkpoint, char **overrides, int *noverrides)
{
    for (int i = 0; i < count; i++) {
        if (mu_config_is_override(words[i]))
            overrides[(*noverrides)++] = words[i];
        else if (!*checkpoint)
            *checkpoint = words[i];
        else
            return mu_fail(MU_USAGE, "one checkpoint at a time, not '%s' and '%s'", *checkpoint, words[i]);
    }
    return MU_OK;
}

mu_status_t mu_verb_threads(const char *text, int64_t *out)
{
    if (mu_parse_i64(text, out) && *out >= 1 && *out <= 1024)
        return MU_OK;
    return mu_fail(MU_USAGE, "--threads '%s': wanted a whole number from 1 to 1024", text);
}
